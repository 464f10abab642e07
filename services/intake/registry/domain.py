"""What the program makes of a registration: confirms it, or merges it into another of the same government. Pure."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Final, Literal

from schemas.cycles import Account, MemberJoined, MemberLeft, MemberRoleChanged
from schemas.envelope import Event
from schemas.governments import GovernmentConfirmed, GovernmentMerged
from services.chassis.refusal import RefusedError, Violation
from services.intake.governments.domain import Government, Members, Role, must_not_be_merged

RANK: Final[dict[Role, int]] = {"viewer": 0, "editor": 1, "lead": 2}


@dataclass(frozen=True)
class Entry:
    """A government's application in a cycle, as far as a merge is decided by it."""

    government: str
    application: str
    cycle: str
    submitted: bool
    withdrawn: bool
    open: bool
    """Whether the cycle still takes applications."""

    @property
    def state(self) -> Literal["draft", "submitted", "withdrawn"]:
        """As its government's people see it."""
        return "withdrawn" if self.withdrawn else "submitted" if self.submitted else "draft"

    @property
    def stands(self) -> bool:
        """Whether it is in its cycle's set."""
        return self.state == "submitted"


def confirm(government: Government) -> GovernmentConfirmed:
    """The program finds a government to be what it says."""
    must_not_be_merged(government)
    if government.standing == "confirmed":
        raise RefusedError("confirmed-already", "This government is confirmed as it stands.")
    return GovernmentConfirmed(government=government.id)


def merge(duplicate: Government, kept: Government) -> GovernmentMerged:
    """One registration less: `duplicate` becomes `kept`."""
    if duplicate.id == kept.id:
        raise RefusedError("merged-into-itself", "Name another government.", field="/into", status=422)
    must_not_be_merged(duplicate)
    must_not_be_merged(kept)
    return GovernmentMerged(government=duplicate.id, into=kept.id)


def move_members(
    duplicate: tuple[str, Members],
    kept: tuple[str, Members],
    accounts: Mapping[str, Account],
    left_out: Collection[str],
) -> list[Event]:
    """Everybody leaves the duplicate, and all but those `left_out` act for the kept one, each in their highest role."""
    (old, leaving), (new, there) = duplicate, kept
    if unknown := set(left_out) - set(leaving):
        detail = f"Not among the people of the registration that is merged: {', '.join(sorted(unknown))}."
        raise RefusedError("not-a-member", detail, field="/leave_out", status=422)
    events: list[Event] = []
    for person, role in sorted(leaving.items()):
        events.append(MemberLeft(government=old, person=person))
        # An account that was erased has nobody behind it any more.
        if person in left_out or person not in accounts:
            continue
        if person not in there:
            events.append(MemberJoined(government=new, person=person, role=role, private=accounts[person]))
        elif RANK[role] > RANK[there[person]]:
            events.append(MemberRoleChanged(government=new, person=person, role=role))
    return events


def must_not_collide(duplicate: Iterable[Entry], kept: Iterable[Entry], set_aside: Collection[str]) -> None:
    """RefusedError unless one application is left of two in one cycle, naming the way out.

    One that does not stand, or of a cycle that is over, may be set aside: it stays with the duplicate, where the
    merged government's people can read it and nobody can change it.
    """
    theirs, wrong, met = {entry.cycle: entry for entry in kept}, [], set()
    for one in duplicate:
        other = theirs.get(one.cycle)
        if other is None:
            continue
        met.add(one.application)
        pair = (
            f"Both have an application in {one.cycle}: {other.application} of the one that is kept, {one.application}"
        )
        if one.open and one.stands and other.stands:
            way = "Both stand: have one withdrawn by its lead, then merge."
        elif one.open and one.stands:
            way = "The second one stands: merge the other way round, and set the first one aside."
        elif one.application not in set_aside:
            way = f'Send set_aside ["{one.application}"] to leave that one as it is, where nobody goes on with it.'
        else:
            continue
        wrong.append(Violation("two-applications", f"{pair} of the other. {way}", "/set_aside"))
    if unmet := set(set_aside) - met:
        detail = f"Nothing is in the way of {', '.join(sorted(unmet))}: leave it out of set_aside."
        wrong.append(Violation("not-to-set-aside", detail, "/set_aside"))
    if wrong:
        raise RefusedError.all(wrong, status=409 if wrong[0].rule == "two-applications" else 422)
