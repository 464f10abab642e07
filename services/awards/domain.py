"""What the board may do when, and what follows from it. Pure, exact, and without a now(); the rules are in `rules`.

A decision is *proposed* by the charter once an application is scored, *made* by the board, and *grants* a designation
where it holds one. A cycle is announced once: when exactly the versions of applications that `CycleClosed` states are
here, all are decided, and its day has come; where nobody stands, any day after the closing will do. What was asked back
after the deadline stays in that set, and the board settles it before anything is decided about it. The offline
verifier re-runs a cycle by it and `rules`: `outcome`, `term`, `designee`, `announce` and `cohort_announced`.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import date, timedelta

from schemas.applications import ApplicationSubmitted, ApplicationWithdrawn, Claims, Identity
from schemas.charter import Charter
from schemas.cycles import CohortAnnounced, CycleClosed, CycleOpened, Highlight
from schemas.designations import (
    DecisionMade,
    DecisionProposed,
    DesignationGranted,
    Outcome,
    WithdrawalAccepted,
    WithdrawalAnswer,
    WithdrawalRefused,
)
from schemas.envelope import Event
from schemas.exact import SetDigest
from schemas.reviews import ApplicationScored
from schemas.screening import ApplicationScreened, CycleScreened, WithdrawalRequested
from services.awards.announcement import Announcement, Designee, announce
from services.awards.rules import outcome, term
from services.chassis.refusal import RefusedError, Violation

__all__ = [
    "Announcement",
    "Application",
    "Cycle",
    "Designation",
    "Designee",
    "accept_withdrawal",
    "announce",
    "announce_cohort",
    "cohort",
    "cohort_announced",
    "designated",
    "designee",
    "evolve",
    "grant",
    "missing",
    "open_cycle",
    "propose",
    "ratify",
    "refuse_withdrawal",
]

FARTHEST = timedelta(days=366)
"""How far ahead the day of an announcement may lie: a slip in the year could not be taken back."""


@dataclass(frozen=True, slots=True)
class Designation:
    """A term granted: `event` is the grant's id; on `ends_on` it is no longer active."""

    id: str
    event: str
    starts_on: date
    ends_on: date


@dataclass(frozen=True, slots=True)
class Application:
    """An application as far as awards is concerned.

    `submitted`, `scored`, `proposed`, `made`, `asked` (for its withdrawal after the deadline) and `settled` (that) are
    ids of events. `withdrawn` keeps it out of the set that is decided; `released` does not: it is in it, undecided.
    """

    id: str
    cycle: str
    version: int
    submitted: str
    identity: Identity
    claims: Claims
    withdrawn: bool = False
    scored: str | None = None
    proposed: str | None = None
    outcome: Outcome | None = None
    made: str | None = None
    designation: Designation | None = None
    asked: str | None = None
    settled: str | None = None
    released: bool = False

    @property
    def asks(self) -> bool:
        """Whether the board has its withdrawal still to settle."""
        return self.asked is not None and self.settled is None


@dataclass(frozen=True, slots=True)
class Cycle:
    """A cycle; `submitted` is the set of versions that are to be decided, None until `closed`, an event's id.

    Where the charter has a screening, its end replaces the set by what was found eligible.
    """

    label: str
    charter: Charter
    demonstration: bool = False
    submitted: SetDigest | None = None
    closed: str | None = None
    announce_on: date | None = None
    announced: bool = False
    screened: bool = False

    @property
    def fixed(self) -> bool:
        """Whether nothing changes any more which set is to be decided."""
        return self.submitted is not None and (self.screened or self.charter.screening is None)

    def evolve(self, event: Event, name: str | None = None) -> Cycle:
        """The cycle after one of its events; `name` is the id of its closing."""
        match event:
            case CycleClosed():
                return replace(self, submitted=event.submitted, closed=name)
            case CycleScreened():
                return replace(self, submitted=event.eligible, screened=True)
            case DecisionMade():
                return replace(self, announce_on=event.announce_on)
            case CohortAnnounced():
                return replace(self, announced=True)
            case _:
                return self


def open_cycle(event: CycleOpened) -> Cycle:
    """A cycle's beginning; CharterError for a charter that cannot be used."""
    return Cycle(event.cycle, Charter.parse(event.charter), event.demonstration)


def evolve(application: Application | None, event: Event, name: str) -> Application:
    """The application after an event with the id `name`; the highest version submitted stands."""
    if isinstance(event, ApplicationSubmitted):
        return application if application and application.version >= event.version else _entered(event, name)
    if application is None:
        raise ValueError(f"{name}: {event.TYPE} of an application that was never submitted")
    match event:
        case ApplicationWithdrawn():
            application = replace(application, withdrawn=True)
        case ApplicationScreened():
            # Nothing is decided about what is ineligible, as if it were withdrawn; the last verdict stands.
            application = replace(application, withdrawn=event.verdict == "ineligible")
        case ApplicationScored():
            application = replace(application, scored=name)
        case DecisionProposed():
            application = replace(application, proposed=name, outcome=event.scores)
        case DecisionMade():
            application = replace(application, made=name)
        case WithdrawalRequested() | WithdrawalAccepted() | WithdrawalRefused():
            application = _asked_back(application, event, name)
        case DesignationGranted():
            granted = Designation(event.designation, name, event.starts_on, event.ends_on)
            application = replace(application, designation=granted)
    return application


def _asked_back(
    application: Application, event: WithdrawalRequested | WithdrawalAccepted | WithdrawalRefused, name: str
) -> Application:
    if isinstance(event, WithdrawalRequested):
        return replace(application, asked=name)
    return replace(application, settled=name, released=isinstance(event, WithdrawalAccepted))


def _entered(event: ApplicationSubmitted, name: str) -> Application:
    if event.identity is None or event.claims is None:
        raise ValueError(f"{name}: an application without its blocks identity and claims cannot be decided")
    return Application(event.application, event.cycle, event.version, name, event.identity, event.claims)


# --- what may be done when ------------------------------------------------------------------------------------------


def propose(cycle: Cycle, application: Application, event: ApplicationScored, scored: str) -> DecisionProposed:
    """The decision that follows from the scores in the event with the id `scored`."""
    if application.withdrawn or application.released:
        raise RefusedError("withdrawn", f"Application {application.id} was withdrawn; there is nothing to decide.")
    if application.made is not None:
        raise RefusedError("already-made", f"Application {application.id} is decided; scores come too late.")
    if event.scores is None:
        raise ValueError(f"{scored}: scores without their block cannot be decided")
    return DecisionProposed(
        cycle=cycle.label, application=application.id, scored=scored, scores=outcome(cycle.charter, event.scores)
    )


def ratify(
    cycle: Cycle, applications: Sequence[Application], announce_on: date, chosen: Sequence[str] | None, today: date
) -> list[DecisionMade]:
    """The board makes all proposed decisions, or those `chosen`; RefusedError names every one that cannot be made.

    What is asked back is left out until that is settled.
    """
    _check_day(cycle, announce_on, today)
    known = {application.id: application for application in applications}
    if chosen is not None:
        _check_chosen(known, chosen)
    wanted = set(known if chosen is None else chosen)
    made = [
        DecisionMade(
            cycle=cycle.label,
            application=one.id,
            proposed=one.proposed,
            announce_on=announce_on,
            scores=one.outcome,
        )
        for one in applications
        if one.id in wanted and one.proposed is not None and one.made is None and not (one.asks or one.released)
    ]
    if not made and deserted(cycle, applications):
        raise RefusedError("nothing-proposed", "Nobody stands in this cycle: there is nothing to ratify; announce it.")
    if not made:
        raise RefusedError("nothing-proposed", "No decision of this cycle waits to be ratified.")
    return made


def _check_day(cycle: Cycle, announce_on: date, today: date) -> None:
    if cycle.submitted is None:
        raise RefusedError("cycle-open", "The cycle is not closed yet; ratify once it is.")
    if cycle.announce_on is not None:
        # Not compared with today: what is left of a cycle must stay possible to ratify after its day has come.
        if announce_on != cycle.announce_on:
            detail = f"This cycle is announced on {cycle.announce_on}; give that day for its other decisions, too."
            raise RefusedError("announce-on-differs", detail, field="/announce_on")
    elif not today <= announce_on <= today + FARTHEST:
        detail = f"Announce on a day from {today} to {today + FARTHEST}."
        raise RefusedError("announce-on-out-of-range", detail, field="/announce_on", status=422)


def _check_chosen(known: dict[str, Application], chosen: Sequence[str]) -> None:
    wrong: list[Violation] = []
    for number, name in enumerate(chosen):
        application, place = known.get(name), f"/applications/{number}"
        if application is None:
            wrong.append(Violation("unknown-application", f"{name} is no application of this cycle", place))
        elif application.proposed is None:
            wrong.append(Violation("not-proposed", f"{name} has no proposed decision", place))
        elif application.made is not None:
            wrong.append(Violation("already-made", f"{name} is decided already", place))
        elif application.released:
            wrong.append(Violation("withdrawn", f"{name} was given back to its applicant", place))
        elif application.asks:
            wrong.append(Violation("withdrawal-open", f"{name} is asked back: settle that first", place))
    if wrong:
        raise RefusedError.all(wrong, status=409)


def grant(cycle: Cycle, application: Application, designation: str) -> DesignationGranted | None:
    """The designation that a decision just made grants, under the id `designation`; None where it grants none."""
    found = application.outcome
    if found is None or found.level is None or application.made is None or cycle.announce_on is None:
        return None
    return DesignationGranted(
        cycle=cycle.label,
        designation=designation,
        application=application.id,
        decided=application.made,
        starts_on=cycle.announce_on,
        ends_on=term(cycle.charter, cycle.announce_on),
        identity=application.identity,
        scores=found,
    )


def accept_withdrawal(cycle: Cycle, applications: Sequence[Application], chosen: Application) -> WithdrawalAccepted:
    """The board gives back what was asked for. `applications` are the cycle's, `chosen` is one of them.

    Only between the end of all that changes the set and the board's decision, so that it races neither.
    """
    requested = _request(chosen)
    if not cycle.fixed or not _complete(cycle, applications):
        detail = "What will be decided in this cycle is not fixed yet: settle this after its close and its screening."
        raise RefusedError("not-fixed", detail)
    if chosen.withdrawn:
        raise RefusedError("not-standing", "This application was found ineligible: nothing is decided about it anyway.")
    if chosen.made is not None:
        raise RefusedError("already-made", "Its decision is made, and cannot be unmade: refuse the request, saying so.")
    return WithdrawalAccepted(cycle=cycle.label, application=chosen.id, requested=requested)


def refuse_withdrawal(cycle: Cycle, application: Application, reason: str) -> WithdrawalRefused:
    """The board keeps what was asked for, and says why."""
    return WithdrawalRefused(
        cycle=cycle.label,
        application=application.id,
        requested=_request(application),
        private=WithdrawalAnswer(reason=reason),
    )


def _request(application: Application) -> str:
    if application.asked is None:
        raise RefusedError("not-requested", "Nobody asked for this application's withdrawal.")
    if application.settled is not None:
        raise RefusedError("settled", "The board settled this request already; that stands.")
    return application.asked


def deserted(cycle: Cycle, applications: Iterable[Application]) -> bool:
    """Whether it is closed and nobody is left to decide about: no decision will ever be made."""
    left = cycle.submitted.count if cycle.submitted else 1
    return not left - sum(one.released for one in applications)


def _complete(cycle: Cycle, applications: Iterable[Application]) -> bool:
    """Whether exactly the versions are here that are to be decided."""
    return SetDigest.of(one.submitted for one in applications if not one.withdrawn) == cycle.submitted


def missing(cycle: Cycle, applications: Collection[Application], today: date) -> list[str]:
    """What the announcement still waits for, as sentences without a full stop; empty when it may be made."""
    standing = [application for application in applications if not application.withdrawn]
    lacking: list[str] = []
    if cycle.submitted is None:
        lacking.append("the cycle is not closed")
    elif not _complete(cycle, applications):
        closing = "closing" if cycle.charter.screening is None else "end of the screening"
        stated = f"the {closing} states {cycle.submitted.count} applications, each in its last version"
        lacking.append(f"{stated}; the {len(standing)} here are not that set")
    if waiting := sum(application.asks for application in standing):
        lacking.append(f"requests to withdraw to settle: {waiting}")
    deciding = [application for application in standing if not application.released]
    if waiting := sum(application.proposed is None for application in deciding):
        lacking.append(f"applications without a proposed decision: {waiting}")
    if waiting := sum(application.proposed is not None and application.made is None for application in deciding):
        lacking.append(f"proposed decisions to ratify: {waiting}")
    if cycle.announce_on is None:
        if not deserted(cycle, applications):
            lacking.append("no decision is ratified, so the day of the announcement is not set")
    elif today < cycle.announce_on:
        lacking.append(f"its day, {cycle.announce_on}, has not come")
    return lacking


def announce_cohort(
    cycle: Cycle, applications: Sequence[Application], narrative: Sequence[str], today: date
) -> Announcement:
    """The board announces, once: the cohort as worded by the charter, with the editor's `narrative`.

    On the day that it ratified; where nobody stands, so that no day was set, `today`.
    """
    if cycle.announced:
        raise RefusedError("already-announced", f"Cycle {cycle.label} is announced; that cannot be repeated.")
    lacking = missing(cycle, applications, today)
    if lacking:
        raise RefusedError("not-decided", f"The announcement must wait: {'; '.join(lacking)}.")
    return cohort(cycle, applications, cycle.announce_on or today, narrative)


def designated(applications: Iterable[Application]) -> list[Application]:
    """Those of a cycle's applications that hold a designation."""
    return [one for one in applications if one.designation is not None and not one.withdrawn]


def cohort(
    cycle: Cycle, applications: Iterable[Application], announced_on: date, narrative: Sequence[str]
) -> Announcement:
    """The announcement of all that is designated."""
    return announce(
        cycle.charter,
        [
            designee(cycle.charter, one.designation.id, one.identity, one.claims, one.outcome)
            for one in designated(applications)
            if one.designation is not None and one.outcome is not None
        ],
        label=cycle.label,
        announced_on=announced_on,
        narrative=narrative,
        simulated=cycle.demonstration,
    )


def designee(charter: Charter, designation: str, identity: Identity, claims: Claims, decided: Outcome) -> Designee:
    """A designated government as the announcement sees it; ValueError where the outcome designates nobody."""
    if decided.level is None:
        raise ValueError(f"designation {designation} rests on an outcome without a level")
    tier = charter.tier_of(identity.population)
    return Designee(
        id=designation,
        name=identity.name,
        state=identity.state,
        tier=tier.id if tier else None,
        level=decided.level,
        facts=claims.facts,
        assumed=frozenset(claims.assumed),
    )


def cohort_announced(announcement: Announcement) -> CohortAnnounced:
    """The event that states an announcement."""
    return CohortAnnounced(
        cycle=announcement.label,
        announced_on=announcement.announced_on,
        designations=SetDigest.of(member for group in announcement.groups for member in group.members),
        highlights=[
            Highlight(
                id=finding.id,
                scope=finding.scope,
                text=finding.text,
                assumed=finding.assumed,
                counted=[SetDigest.of(statement.counts) for statement in finding.statements],
            )
            for finding in announcement.findings
        ],
        narrative=list(announcement.narrative),
    )
