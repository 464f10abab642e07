"""Intake's rules: when a cycle opens, moves and closes, who acts for a government, what may be submitted until when.

Pure: every function takes what it judges, the instant included, and gives the event that follows, or raises
RefusedError. `evolve_…` give the state after an event, so that the events alone rebuild every state here.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from functools import lru_cache
from hashlib import sha256
from typing import Literal

from schemas.applications import ApplicationSubmitted, ApplicationWithdrawn, Identity, Withdrawal
from schemas.charter import Charter, CharterError, charter_digest
from schemas.cycles import Account, CycleClosed, CycleDeadlineExtended, CycleOpened, MemberJoined, MemberLeft
from schemas.envelope import Event, rfc3339
from schemas.exact import SetDigest
from services.chassis.refusal import RefusedError, Violation
from services.intake import drafts
from services.intake.drafts import Draft

Role = Literal["lead", "editor", "viewer"]
Members = Mapping[str, Role]
"""A government's people, by person id."""

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

    @property
    def id(self) -> str:
        """The cycle's id, which is its label."""
        return self.opened.cycle

    @property
    def charter(self) -> Charter:
        """The frozen charter."""
        return parsed(self.opened.charter)


@dataclass(frozen=True)
class Government:
    """Who applies, as its people registered it."""

    id: str
    name: str
    state: str
    kind: str
    population: int
    population_source: str
    website: str


@dataclass(frozen=True)
class Application:
    """An application that was submitted at least once; before that there is only a draft."""

    id: str
    cycle: str
    version: int
    submitted: str
    """Id of that version's event."""
    withdrawn: bool = False


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
        how = "The cycle was closed by hand before its deadline" if at < cycle.deadline else "The deadline passed"
        detail = f"{how}, {rfc3339(cycle.deadline)}; it is {rfc3339(at)}. Nothing can be changed any more."
        raise RefusedError("deadline-passed", detail)


def evolve_cycle(cycle: Cycle | None, event: Event, event_id: str) -> Cycle:
    """The cycle after one of its events."""
    match cycle, event:
        case None, CycleOpened():
            return Cycle(opened=event, deadline=event.deadline, closed=False, latest=event_id)
        case Cycle(), CycleDeadlineExtended():
            return replace(cycle, deadline=event.deadline, latest=event_id)
        case Cycle(), CycleClosed():
            return replace(cycle, closed=True, latest=event_id)
    raise TypeError(f"{event.TYPE} does not follow here")


def join(members: Members, government: str, person: str, role: Role, account: Account) -> MemberJoined:
    """One more person who acts for a government."""
    if person in members:
        detail = f"This person is its {members[person]} already; to change the role, remove and add again."
        raise RefusedError("member-already", detail, field="/subject")
    return MemberJoined(government=government, person=person, role=role, private=account)


def leave(members: Members, government: str, person: str) -> MemberLeft:
    """One person less; never the last lead, who alone can let others in."""
    if [name for name, role in members.items() if role == "lead"] == [person]:
        raise RefusedError("last-lead", "This is the government's last lead: add another lead first.")
    return MemberLeft(government=government, person=person)


def evolve_members(members: Members, event: Event) -> Members:
    """A government's people after one of its events."""
    match event:
        case MemberJoined():
            return {**members, event.person: event.role}
        case MemberLeft():
            return {name: role for name, role in members.items() if name != event.person}
    raise TypeError(f"{event.TYPE} does not follow here")


def must_be_eligible(cycle: Cycle, government: Government) -> None:
    """RefusedError (422) unless the charter lets this government apply."""
    kinds, charter = cycle.charter.eligibility.kinds, cycle.charter
    if government.kind not in kinds:
        detail = f"A {government.kind} cannot apply: the charter is for {', '.join(kinds)}."
        raise RefusedError("not-eligible", detail, field="/government", status=422)
    if charter.tiers and charter.tier_of(government.population) is None:
        detail = f"A population of {government.population:,} is in no tier of the charter."
        raise RefusedError("not-eligible", detail, field="/government", status=422)


def must_be_editable(cycle: Cycle, application: Application | None, now: datetime) -> None:
    """RefusedError unless a draft can still become a submission."""
    must_be_open(cycle, now)
    if application is not None and application.withdrawn:
        raise RefusedError("withdrawn", "This application was withdrawn; that cannot be taken back in this cycle.")


def submit(
    cycle: Cycle,
    government: Government,
    application: str,
    before: Application | None,
    draft: Draft,
    *,
    attested: bool,
    now: datetime,
) -> ApplicationSubmitted:
    """The first version of an application, or an amendment that replaces the whole version `before`."""
    must_be_editable(cycle, before, now)
    must_be_eligible(cycle, government)
    charter = cycle.charter
    wrong = drafts.gaps(draft, charter, government.kind)
    if not attested:
        detail = "An authorised official must attest to accuracy and to what becomes public: send attest true."
        wrong.append(Violation("not-attested", detail, "/attest"))
    if wrong:
        raise RefusedError.all(wrong)
    tier = charter.tier_of(government.population)
    return ApplicationSubmitted(
        cycle=cycle.id,
        application=application,
        version=before.version + 1 if before else 1,
        identity=Identity(
            government=government.id,
            name=government.name,
            state=government.state,
            kind=government.kind,
            population=government.population,
            population_source=government.population_source,
            website=government.website,
            tier=tier.id if tier else "",
        ),
        claims=drafts.claims(draft),
        answers=drafts.answers(draft, charter),
        contact=drafts.contact(draft),
    )


def withdraw(
    cycle: Cycle, application: str, before: Application | None, reason: str, *, now: datetime
) -> ApplicationWithdrawn:
    """An application taken back, for this cycle for good."""
    if before is None:
        raise RefusedError("not-submitted", "There is nothing to withdraw: this application was never submitted.")
    if before.withdrawn:
        raise RefusedError("withdrawn", "This application was withdrawn already.")
    if cycle.closed or now >= cycle.deadline:
        detail = f"The deadline, {rfc3339(cycle.deadline)}, passed: a withdrawal goes by a request to the board."
        raise RefusedError("deadline-passed", detail)
    return ApplicationWithdrawn(cycle=cycle.id, application=application, private=Withdrawal(reason=reason))


def evolve_application(application: Application | None, event: Event, event_id: str) -> Application:
    """The application after one of its events."""
    match application, event:
        case _, ApplicationSubmitted():
            return Application(event.application, event.cycle, event.version, event_id)
        case Application(), ApplicationWithdrawn():
            return replace(application, withdrawn=True)
    raise TypeError(f"{event.TYPE} does not follow here")
