"""The board's side of awards over HTTP: where a cycle stands, its decisions, ratifying and announcing them.

Nothing that is read or done here before the announcement leaves the service but to board and auditors; what anyone may
read is in `public`.
"""

from __future__ import annotations

from datetime import UTC, date, datetime, time
from typing import TYPE_CHECKING, Annotated, Literal

from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from schemas.applications import Identity
from schemas.designations import DecisionMade, Outcome
from services.awards import domain, public, rules, store, withdrawals
from services.awards.handlers import EXPIRY, RENEWAL
from services.chassis.ids import opaque_id
from services.chassis.problems import not_found
from services.chassis.schedule import schedule
from services.chassis.web import Asked, CommandRoute, Reading, SignedIn, Writing

if TYPE_CHECKING:
    from services.awards.domain import Application, Cycle
    from services.chassis.database import Tx

router = APIRouter(prefix="/v1", route_class=CommandRoute)
router.include_router(public.router)
router.include_router(withdrawals.router)

Sentence = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=600)]


class Progress(BaseModel):
    """Where a cycle stands. All numbers are of applications, withdrawn ones counted only under `withdrawn`."""

    cycle: str
    state: Literal["open", "deciding", "announced"]
    demonstration: bool
    """True: its scores are simulated."""
    submitted: int
    withdrawn: int
    withdrawals_to_settle: int
    """Requests to withdraw that the board has still to accept or to refuse."""
    proposed: int
    """Decisions proposed so far, those made included."""
    made: int
    granted: int | None
    """Designations; None for a program-admin, who sees no results."""
    announce_on: date | None
    missing: list[str]
    """What the announcement still waits for."""


class DecisionShown(BaseModel):
    """A decision as the board sees it; ids of events where it names a step."""

    application: str
    identity: Identity
    state: Literal["proposed", "made"]
    outcome: Outcome
    proposed: str
    made: str | None
    designation: str | None


class Decisions(BaseModel):
    """A cycle's decisions; `simulated`: their scores were drawn, not given."""

    cycle: str
    simulated: bool
    items: list[DecisionShown]


class Ratify(BaseModel):
    """Make all proposed decisions of a cycle, or those of `applications`."""

    model_config = ConfigDict(extra="forbid")

    announce_on: date
    applications: Annotated[list[str], Field(min_length=1)] | None = None


class Ratified(BaseModel):
    """What was made; nothing of it is public."""

    cycle: str
    announce_on: date
    items: list[DecisionShown]


class Announce(BaseModel):
    """An editor's sentences for the announcement."""

    model_config = ConfigDict(extra="forbid")

    narrative: Annotated[list[Sentence], Field(max_length=10)] = []


class Announced(BaseModel):
    """What became public; `event` is the id of the event that says so."""

    cycle: str
    announced_on: date
    designations: int
    event: str


@router.get("/cycles/{cycle}")
async def show_progress(cycle: str, who: SignedIn, db: Reading, service: Asked) -> Progress:
    """Where a cycle stands and what its announcement still waits for."""
    who.require("board", "auditor", "program-admin")
    found = await store.load_cycle(db, cycle)
    if found is None:
        raise not_found()
    applications = await store.load_applications(db, cycle)
    standing = [application for application in applications if not (application.withdrawn or application.released)]
    today = service.clock.now().date()
    granted = sum(application.designation is not None for application in standing)
    return Progress(
        cycle=cycle,
        state="announced" if found.announced else "deciding" if found.submitted else "open",
        demonstration=found.demonstration,
        submitted=len(standing),
        withdrawn=len(applications) - len(standing),
        withdrawals_to_settle=sum(application.asks for application in standing),
        proposed=sum(application.proposed is not None for application in standing),
        made=sum(application.made is not None for application in standing),
        granted=granted if who.roles & {"board", "auditor"} else None,
        announce_on=found.announce_on,
        missing=[] if found.announced else domain.missing(found, applications, today),
    )


@router.get("/cycles/{cycle}/decisions")
async def list_decisions(cycle: str, who: SignedIn, db: Reading) -> Decisions:
    """Every decision of a cycle, proposed or made."""
    who.require("board", "auditor")
    found = await store.load_cycle(db, cycle)
    if found is None:
        raise not_found()
    items = [shown for one in await store.load_applications(db, cycle) for shown in _shown(one)]
    return Decisions(cycle=cycle, simulated=found.demonstration, items=items)


@router.post("/cycles/{cycle}/ratify")
async def ratify_decisions(cycle: str, body: Ratify, who: SignedIn, tx: Writing) -> Ratified:
    """Make proposed decisions and grant what they designate. All of it stays sealed until the announcement."""
    who.require("board")
    found = await store.load_cycle(tx.db, cycle, lock=True)
    if found is None:
        raise not_found()
    applications = await store.load_applications(tx.db, cycle)
    decisions = domain.ratify(found, applications, body.announce_on, body.applications, tx.clock.now().date())
    await tx.act_as(who.issuer, who.subject, cycle)
    found = found.evolve(decisions[0])
    by_id = {application.id: application for application in applications}
    made = [_make(tx, found, by_id[decision.application], decision) for decision in decisions]
    await store.save_applications(tx.db, made)
    await store.save_cycle(tx.db, found)
    return Ratified(cycle=cycle, announce_on=body.announce_on, items=[shown for one in made for shown in _shown(one)])


def _make(tx: Tx, cycle: Cycle, application: Application, decision: DecisionMade) -> Application:
    made = tx.record(decision, cause=decision.proposed)
    application = domain.evolve(application, decision, made)
    granted = domain.grant(cycle, application, opaque_id())
    if granted is not None:
        application = domain.evolve(application, granted, tx.record(granted, cause=made))
    return application


@router.post("/cycles/{cycle}/announce")
async def announce_cohort(cycle: str, body: Announce, who: SignedIn, tx: Writing) -> Announced:
    """Make the cohort public, once, and have renewal notices and ends of terms happen from now on."""
    who.require("board")
    found = await store.load_cycle(tx.db, cycle, lock=True)
    if found is None:
        raise not_found()
    applications = await store.load_applications(tx.db, cycle)
    announcement = domain.announce_cohort(found, applications, body.narrative, tx.clock.now().date())
    await tx.act_as(who.issuer, who.subject, cycle)
    # Event ids are time-ordered: the greatest is the last decision's. Where nobody stood, it follows from the closing.
    last = max((application.made for application in applications if application.made is not None), default=found.closed)
    stated = domain.cohort_announced(announcement)
    event = tx.record(stated, cause=last)
    designated = domain.designated(applications)
    await store.save_cycle(tx.db, found.evolve(stated))
    await store.publish(tx.db, found, announcement, event, designated)
    for application in designated:
        await _follow(tx, found, application)
    return Announced(cycle=cycle, announced_on=announcement.announced_on, designations=announcement.total, event=event)


async def _follow(tx: Tx, cycle: Cycle, application: Application) -> None:
    if application.designation is None:
        return
    name, ends_on = application.designation.id, application.designation.ends_on
    for days, day in rules.renewal_dates(cycle.charter, ends_on):
        await schedule(tx, RENEWAL, name, _midnight(day), {"days": days})
    await schedule(tx, EXPIRY, name, _midnight(ends_on))


def _midnight(day: date) -> datetime:
    return datetime.combine(day, time(), UTC)


def _shown(application: Application) -> list[DecisionShown]:
    if application.proposed is None or application.outcome is None:
        return []
    return [
        DecisionShown(
            application=application.id,
            identity=application.identity,
            state="proposed" if application.made is None else "made",
            outcome=application.outcome,
            proposed=application.proposed,
            made=application.made,
            designation=application.designation.id if application.designation else None,
        )
    ]
