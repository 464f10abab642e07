"""When a cycle opens, moves and closes.

Pure: every function takes what it judges, the instant included, and gives the event that follows, or raises
RefusedError. `evolve` gives the state after an event, so that the events alone rebuild it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import datetime
from functools import lru_cache
from hashlib import sha256
from typing import Literal

from schemas.charter import Charter, CharterError, charter_digest
from schemas.cycles import CycleClosed, CycleDeadlineExtended, CycleOpened
from schemas.envelope import Event, rfc3339
from schemas.exact import SetDigest
from schemas.screening import CycleScreened
from services.chassis.refusal import RefusedError, Violation

LABEL = re.compile(r"[a-z0-9][a-z0-9.-]{0,60}")


RESERVED = frozenset({"program"})
"""Names of logs that are no cycle's."""


@lru_cache(maxsize=32)
def parsed(charter: str) -> Charter:
    """The charter in a text that was parsed before; CharterError for any other that does not hold."""
    return Charter.parse(charter)


@dataclass(frozen=True)
class Cycle:
    """A cycle: its first event, which froze the charter, and what changed since."""

    opened: CycleOpened
    deadline: datetime
    closed: bool
    latest: str
    """Id of its last event: what every submission follows from."""
    screened: bool = False

    @property
    def id(self) -> str:
        """The cycle's id, which is its label."""
        return self.opened.cycle

    @property
    def charter(self) -> Charter:
        """The frozen charter."""
        return parsed(self.opened.charter)


def open_cycle(
    label: str, charter: str, deadline: datetime, *, seed: bytes, now: datetime, taken: bool, demonstration: bool
) -> CycleOpened:
    """A new cycle under this charter, committed to `seed` (32 random bytes)."""
    if taken:
        raise RefusedError("label-taken", f"There is a cycle {label} already: choose another label.", field="/label")
    if not LABEL.fullmatch(label) or label in RESERVED:
        detail = f"{label!r} cannot name a cycle: 1 to 61 of a-z, 0-9, dot and hyphen, not {', '.join(RESERVED)}."
        raise RefusedError("label", detail, field="/label", status=422)
    if deadline <= now:
        detail = f"The deadline {rfc3339(deadline)} is not in the future of program time, {rfc3339(now)}."
        raise RefusedError("deadline-not-future", detail, field="/deadline", status=422)
    try:
        program = parsed(charter).program.name
    except CharterError as error:
        raise RefusedError.all([Violation("charter", problem, "/charter") for problem in error.problems]) from error
    return CycleOpened(
        cycle=label,
        program=program,
        charter=charter,
        charter_sha256=charter_digest(charter),
        deadline=deadline,
        assignment_commitment=sha256(seed).hexdigest(),
        demonstration=demonstration,
    )


def extend_deadline(cycle: Cycle, deadline: datetime, reason: str, *, now: datetime) -> CycleDeadlineExtended:
    """A later deadline, for everyone."""
    must_be_open(cycle, now)
    if deadline <= cycle.deadline:
        detail = f"The deadline is {rfc3339(cycle.deadline)} and can only move to a later instant."
        raise RefusedError("deadline-not-later", detail, field="/deadline", status=422)
    return CycleDeadlineExtended(cycle=cycle.id, deadline=deadline, reason=reason)


def close_cycle(cycle: Cycle, standing: Iterable[str], seed: bytes, by: Literal["schedule", "hand"]) -> CycleClosed:
    """The end of intake; `standing` are the event ids of the versions that stand, of all that was not withdrawn."""
    if cycle.closed:
        raise RefusedError("closed", f"The cycle {cycle.id} is closed already.")
    return CycleClosed(cycle=cycle.id, submitted=SetDigest.of(standing), assignment_seed=seed.hex(), closed_by=by)


def must_be_open(cycle: Cycle, at: datetime) -> None:
    """RefusedError unless the cycle takes applications at `at`: before its deadline, and not closed by hand."""
    if cycle.closed or at >= cycle.deadline:
        detail = f"{ended(cycle, at)}; it is {rfc3339(at)}. Nothing can be changed any more."
        raise RefusedError("deadline-passed", detail)


def ended(cycle: Cycle, at: datetime) -> str:
    """How a cycle that takes no applications at `at` came to its end."""
    how = "The cycle was closed by hand before its deadline" if at < cycle.deadline else "The deadline passed"
    return f"{how}, {rfc3339(cycle.deadline)}"


def evolve_cycle(cycle: Cycle | None, event: Event, event_id: str) -> Cycle:
    """The cycle after one of its events."""
    match cycle, event:
        case None, CycleOpened():
            return Cycle(opened=event, deadline=event.deadline, closed=False, latest=event_id)
        case Cycle(), CycleDeadlineExtended():
            return replace(cycle, deadline=event.deadline, latest=event_id)
        case Cycle(), CycleClosed():
            return replace(cycle, closed=True, latest=event_id)
        case Cycle(), CycleScreened():
            return replace(cycle, screened=True, latest=event_id)
    raise TypeError(f"{event.TYPE} does not follow here")
