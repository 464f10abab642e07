"""A cycle until its reviewing begins, decided without I/O: charter, applications, reviewers, and who reviews what."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from hashlib import sha256

from schemas.applications import ApplicationSubmitted, ApplicationWithdrawn
from schemas.charter import Charter, charter_digest
from schemas.cycles import CycleClosed, CycleOpened
from schemas.exact import SetDigest
from schemas.reviews import Account, Assignee, ReviewAssigned, Reviewer, ReviewerEnrolled
from schemas.screening import CycleScreened
from services.scoring.assignment import assign


class ContradictionError(ValueError):
    """An event that cannot be after those before it: it is set aside with this reason, and changes nothing."""


@dataclass(frozen=True, slots=True)
class Closing:
    """What closing a cycle fixed: the event's id, the revealed seed, the set of versions to be reviewed."""

    event: str
    seed: bytes
    submitted: SetDigest


@dataclass(frozen=True, slots=True)
class Cycle:
    """A cycle as far as scoring is concerned; `opened` is the id of its first event."""

    name: str
    charter: Charter
    opened: str
    commitment: str
    closing: Closing | None = None
    assigned: bool = False
    eligible: SetDigest | None = None
    """What the end of the screening stated, where the charter has one."""

    @property
    def reviewed(self) -> SetDigest | None:
        """The set of versions to be reviewed, once it is known."""
        if self.charter.screening is not None:
            return self.eligible
        return self.closing.submitted if self.closing is not None else None

    def has_all(self, versions: Collection[str]) -> bool:
        """Whether it is known what is to be reviewed, and `versions`, event ids, are exactly that set."""
        return self.reviewed is not None and self.reviewed == SetDigest.of(versions)

    def state(self, versions: Collection[str], *, all_scored: bool) -> str:
        """Where it stands.

        One of open, waiting-for-screening, waiting-for-applications, waiting-for-reviewers, assigned, scored.
        """
        if self.assigned:
            return "scored" if all_scored else "assigned"
        if self.closing is None:
            return "open"
        if self.reviewed is None:
            return "waiting-for-screening"
        return "waiting-for-reviewers" if self.has_all(versions) else "waiting-for-applications"


def open_cycle(event: CycleOpened, name: str) -> Cycle:
    """The cycle after its first event, whose id is `name`. ContradictionError for a charter without its digest."""
    if charter_digest(event.charter) != event.charter_sha256:
        stated = f"cycle {event.cycle}: the charter does not have the SHA-256 that is stated beside it"
        raise ContradictionError(stated)
    return Cycle(event.cycle, Charter.parse(event.charter), name, event.assignment_commitment)


def close_cycle(cycle: Cycle, event: CycleClosed, name: str) -> Cycle:
    """The cycle after its closing. ContradictionError for a seed that is not the one committed to when it opened."""
    seed = bytes.fromhex(event.assignment_seed)
    if sha256(seed).hexdigest() != cycle.commitment:
        raise ContradictionError(f"cycle {event.cycle}: the revealed seed is not the one that its opening committed to")
    # Where nothing is to be reviewed, no assignment will ever say so.
    return replace(cycle, closing=Closing(name, seed, event.submitted), assigned=not event.submitted.count)


def end_screening(cycle: Cycle, event: CycleScreened) -> Cycle:
    """The cycle after its screening. ContradictionError where its charter has none."""
    if cycle.charter.screening is None:
        raise ContradictionError(f"cycle {event.cycle}: its charter has no screening that could end")
    return replace(cycle, eligible=event.eligible, assigned=cycle.assigned or not event.eligible.count)


def enroll(cycle: Cycle, reviewer: str, states: Sequence[str], account: Account) -> ReviewerEnrolled:
    """A reviewer enters the cycle under a fresh random id; its account is sealed, for who gives out files."""
    private = Reviewer(states=sorted({state.strip() for state in states} - {""}), account=account)
    return ReviewerEnrolled(cycle=cycle.name, reviewer=reviewer, private=private)


def assign_reviewers(
    cycle: Cycle, applications: Mapping[str, str], reviewers: Mapping[str, Collection[str]], alias: Callable[[], str]
) -> list[ReviewAssigned]:
    """Give every application its reviewers, each under a fresh `alias()`.

    `applications` are states by id, `reviewers` lists of states by id. ValueError before the cycle is closed,
    ImpossibleError where reviewers do not suffice.
    """
    if cycle.closing is None:
        raise ValueError(f"cycle {cycle.name} is not closed")
    scoring, same_state = cycle.charter.scoring, cycle.charter.conflicts.same_state
    theirs = {reviewer: {_place(state) for state in states} for reviewer, states in reviewers.items()}
    candidates = {
        application: [name for name, places in theirs.items() if not (same_state and _place(state) in places)]
        for application, state in applications.items()
    }
    panels = assign(
        cycle.closing.seed,
        candidates,
        each=scoring.reviewers_per_application,
        most=scoring.applications_per_reviewer,
    )
    return [
        ReviewAssigned(cycle=cycle.name, application=application, review=alias(), private=Assignee(reviewer=reviewer))
        for application, panel in sorted(panels.items())
        for reviewer in panel
    ]


def _place(state: str) -> str:
    """What is compared: a conflict must not hide behind a capital letter or a space."""
    return state.strip().casefold()


@dataclass(frozen=True, slots=True)
class Standing:
    """A submitted, not withdrawn application: the event id of the version that stands, and the state it is in."""

    submitted: str
    state: str


def supersedes(before: int | None, event: ApplicationSubmitted, *, seated: bool) -> bool:
    """Whether this version is the one that stands from now on, after version `before`: the highest does.

    ContradictionError where a block is missing, and once the application has reviewers (`seated`): it gets them when
    exactly the versions that closing stated are here, so that no other of it can be on its way. One that comes later
    and has none was withdrawn before the close, and its withdrawal follows.
    """
    name = f"application {event.application}"
    if event.identity is None or event.claims is None or event.answers is None:
        raise ContradictionError(f"{name}: a block that reviewers need is not opened")
    if seated:
        raise ContradictionError(f"{name}: version {event.version} is not in the set that was closed")
    return before is None or event.version > before


def withdraw(event: ApplicationWithdrawn, *, seated: bool) -> None:
    """ContradictionError once the application has reviewers: closing stated it as submitted."""
    if seated:
        detail = f"application {event.application} is in the set that was closed: it cannot be withdrawn"
        raise ContradictionError(detail)
