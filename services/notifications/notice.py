"""What a notice says: an event's envelope and public data, the blocks that the charter opens, and a line for people.

The body is one structured CloudEvent, serialised once, without actor and salt. `data` holds the event's public fields,
the opened blocks under their names, and `summary`; in a demonstration also `demonstration`, and `simulated` in scores.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal

from schemas.canonical import canonical
from services.notifications.domain import CHALLENGE, Kind, Place, Topic

if TYPE_CHECKING:
    from collections.abc import Sequence

    from schemas.charter import Charter
    from schemas.cycles import CohortAnnounced
    from schemas.designations import DesignationExpired, DesignationGranted, RenewalDue
    from schemas.envelope import Event, Header


@dataclass(frozen=True)
class Cycle:
    """A cycle with the rules that say what may be opened."""

    name: str
    charter: Charter
    demonstration: bool
    announced: bool

    @cached_property
    def opens(self) -> frozenset[str]:
        """The classes of blocks that the announcement opens of the designated."""
        return frozenset(self.charter.disclosure.designated)


@dataclass(frozen=True)
class Grant:
    """A designation as it was granted."""

    header: Header
    event: DesignationGranted


@dataclass(frozen=True)
class Message:
    """A body for all who want to know of its topic; `id` is the event's, `subject` its aggregate."""

    id: str
    kind: Kind | Literal["challenge"]
    subject: str
    body: bytes


@dataclass(frozen=True)
class Notice:
    """A message and what it tells of."""

    topic: Topic
    message: Message


def award(cycle: Cycle, grant: Grant) -> Notice:
    """A government is designated."""
    line = f"{_name(cycle, grant)} is designated {_level(cycle, grant)} until {grant.event.ends_on}"
    if cycle.demonstration and "scores" in cycle.opens:
        line += f" ({cycle.charter.announcement.mark_simulated})"
    return _notice("award", cycle, [grant], grant.header, grant.event, _opened(cycle, grant.event), f"{line}.")


def renewal_due(cycle: Cycle, grant: Grant, event: RenewalDue, header: Header) -> Notice:
    """A designation ends in so many days."""
    line = (
        f"{_name(cycle, grant)}: the designation ends on {event.ends_on}; renewal is due ({event.days} days' notice)."
    )
    return _notice("renewal-due", cycle, [grant], header, event, _identity(cycle, grant), line)


def expiry(cycle: Cycle, grant: Grant, event: DesignationExpired, header: Header) -> Notice:
    """A designation ended."""
    line = f"{_name(cycle, grant)}: the designation ended on {event.ended_on}."
    return _notice("expiry", cycle, [grant], header, event, _identity(cycle, grant), line)


def announcement(cycle: Cycle, grants: Sequence[Grant], event: CohortAnnounced, header: Header) -> Notice:
    """The cohort is public: the highlights as worded, and the editor's sentences."""
    count = event.designations.count
    designated = "1 government is" if count == 1 else f"{count or 'no'} governments are"
    line = f"{cycle.charter.program.name} {cycle.name}: {designated} designated."
    return _notice("announcement", cycle, grants, header, event, {}, line)


def challenge(name: str, subscription: str, proof: str) -> Message:
    """What an endpoint must answer with `{"challenge": "<the same>"}` before it is sent notices."""
    body = canonical({"type": "cec.webhook.challenge", "challenge": proof})
    return Message(name, CHALLENGE, subscription, body)


def _notice(
    kind: Kind,
    cycle: Cycle,
    grants: Sequence[Grant],
    header: Header,
    event: Event,
    opened: dict[str, Any],
    line: str,
) -> Notice:
    data = {**event.public(), **opened, "summary": line}
    if cycle.demonstration:
        data |= {"summary": f"DEMONSTRATION: {line}", "demonstration": True}
        if "scores" in data:
            data["scores"] = {**data["scores"], "simulated": True}
    body = {
        **header.model_dump(mode="json", exclude={"actor"}, exclude_none=True),
        "specversion": "1.0",
        "datacontenttype": "application/json",
        "dataschema": f"/schemas/{header.type}.json",
        "data": data,
    }
    places = tuple(place for grant in grants if (place := _place(cycle, grant)) is not None)
    return Notice(Topic(kind, cycle.name, places), Message(header.id, kind, header.subject, canonical(body)))


def _opened(cycle: Cycle, event: Event) -> dict[str, Any]:
    """The blocks that the charter opens, as far as they are here: an erased one is not."""
    names = cycle.opens.intersection(event.block_fields())
    return event.model_dump(mode="json", include=set(names), exclude_none=True)


def _identity(cycle: Cycle, grant: Grant) -> dict[str, Any]:
    opened = _opened(cycle, grant.event)
    return {"identity": opened["identity"]} if "identity" in opened else {}


def _place(cycle: Cycle, grant: Grant) -> Place | None:
    identity = grant.event.identity
    # Who must stay unnamed must not be found by filtering for it either.
    if identity is None or "identity" not in cycle.opens:
        return None
    return Place(identity.name, identity.state, identity.tier)


def _name(cycle: Cycle, grant: Grant) -> str:
    place = _place(cycle, grant)
    if place is None:
        return "A government that is not named"
    return cycle.charter.announcement.designee.format(name=place.name, state=place.state)


def _level(cycle: Cycle, grant: Grant) -> str:
    scores = grant.event.scores
    if scores is None or "scores" not in cycle.opens:
        return f"by {cycle.charter.program.name}"
    names = {level.id: level.name for level in cycle.charter.levels}
    return names.get(scores.level or "", cycle.charter.program.name)
