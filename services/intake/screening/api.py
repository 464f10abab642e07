"""Screening over HTTP: verdicts by the program, questions and answers, and the end, after which reviewing begins."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fastapi import APIRouter

from services.chassis.problems import not_found
from services.chassis.refusal import RefusedError
from services.chassis.web import Asked, CommandRoute, Reading, SignedIn, Writing
from services.intake.access import known_cycle, sheet_of
from services.intake.applications import store as applications
from services.intake.applications.submission import readable
from services.intake.cycles.domain import evolve_cycle
from services.intake.cycles.store import save_cycle
from services.intake.forms import Named
from services.intake.locks import OWNED, SHARED
from services.intake.screening import domain, store
from services.intake.screening.forms import (
    Answer,
    CandidatesView,
    CandidateView,
    Finish,
    NewVerdict,
    ScreeningView,
    StatementView,
)

if TYPE_CHECKING:
    from datetime import datetime

    from services.chassis.database import Connection
    from services.intake.cycles.domain import Cycle

router = APIRouter(route_class=CommandRoute)


@router.get("/cycles/{cycle}/screening")
async def list_candidates(cycle: Named, asked: Asked, db: Reading, who: SignedIn) -> CandidatesView:
    """The applications that stand, with the verdicts so far; questions that nobody answered in time are *overdue*."""
    who.require("program-admin", "auditor")
    return await _candidates(db, await known_cycle(db, cycle), asked.clock.now())


@router.post("/applications/{application}/screening", status_code=201)
async def screen_application(application: Named, body: NewVerdict, tx: Writing, who: SignedIn) -> ScreeningView:
    """Find an application eligible or ineligible, or send it back with a question. Until the end the last stands."""
    who.require("program-admin")
    cycle = await _held_cycle(tx.db, application)
    found = await applications.application(tx.db, application)
    before = await store.screened(tx.db, application)
    now = tx.clock.now()
    event = domain.screen(cycle, found, before, body.verdict, ground=body.ground, text=body.text, due=body.due, now=now)
    await tx.act_as(who.issuer, who.subject, cycle.id)
    recorded = tx.record(event, cause=cycle.latest)
    after = domain.evolve_screened(before, event, recorded)
    await store.save_screened(tx.db, after)
    await store.keep_statement(
        tx.db, recorded, application, body.verdict, body.text, now, ground=body.ground, due=event.due
    )
    return await _screening(tx.db, after, application, now)


@router.get("/applications/{application}/screening")
async def show_screening(application: Named, asked: Asked, who: SignedIn) -> ScreeningView:
    """What was said about an application: to its government's people, to program-admin and auditors."""
    await readable(asked, who, application, "screening")
    async with asked.database.reading() as db:
        return await _screening(db, await store.screened(db, application), application, asked.clock.now())


@router.post("/applications/{application}/clarification", status_code=201)
async def answer_question(application: Named, body: Answer, tx: Writing, who: SignedIn) -> ScreeningView:
    """Answer the question with which an application was sent back. The answer stands beside what was submitted."""
    sheet = await sheet_of(tx.db, who, application, "lead", "editor", lock=OWNED)
    cycle = await known_cycle(tx.db, sheet.cycle, SHARED)
    before, now = await store.screened(tx.db, application), tx.clock.now()
    event = domain.clarify(cycle, before, body.text, now=now)
    await tx.act_as(who.issuer, who.subject, cycle.id)
    recorded = tx.record(event, cause=event.question)
    after = domain.evolve_screened(before, event, recorded)
    await store.save_screened(tx.db, after)
    await store.keep_statement(tx.db, recorded, application, "answer", body.text, now)
    return await _screening(tx.db, after, application, now)


@router.post("/cycles/{cycle}/screening/finish")
async def finish_screening(cycle: Named, body: Finish, tx: Writing, who: SignedIn) -> CandidatesView:
    """End the screening: reviewers are assigned to what is eligible. Refused while an application has no verdict."""
    who.require("program-admin")
    found, now = await known_cycle(tx.db, cycle, OWNED), tx.clock.now()
    await tx.act_as(who.issuer, who.subject, cycle)
    every = await store.candidates(tx.db, cycle)
    standing = {one.application: one.submitted for one in every}
    screened = {one.application: one.screened for one in every if one.screened is not None}
    if body.rest_eligible:
        for name in standing.keys() - screened.keys():
            event = domain.screen(found, await applications.application(tx.db, name), None, "eligible", now=now)
            recorded = tx.record(event, cause=found.latest)
            screened[name] = domain.evolve_screened(None, event, recorded)
            await store.save_screened(tx.db, screened[name])
            await store.keep_statement(tx.db, recorded, name, "eligible", "", now)
    lacking, ended = domain.finish(found, standing, screened)
    if ended is None:
        detail = (
            f"{len(lacking)} applications have no verdict yet, such as {', '.join(lacking[:5])}: screen them first."
        )
        raise RefusedError("unscreened", detail)
    finished = evolve_cycle(found, ended, tx.record(ended, cause=found.latest))
    await save_cycle(tx.db, finished)
    return await _candidates(tx.db, finished, now)


async def _held_cycle(db: Connection, application: str) -> Cycle:
    """The cycle of an application, held: verdicts go side by side, and whoever ends the screening waits for them."""
    sheet = await applications.sheet(db, application, OWNED)
    if sheet is None:
        raise not_found()
    return await known_cycle(db, sheet.cycle, SHARED)


async def _screening(
    db: Connection, screened: domain.Screened | None, application: str, now: datetime
) -> ScreeningView:
    return ScreeningView(
        application=application,
        stage=domain.stage(screened, now),
        due=screened.due if screened else None,
        now=now,
        statements=[StatementView(**vars(one)) for one in await store.statements(db, application)],
    )


async def _candidates(db: Connection, cycle: Cycle, now: datetime) -> CandidatesView:
    window = cycle.charter.screening
    found = await store.candidates(db, cycle.id) if cycle.closed else []
    return CandidatesView(
        cycle=cycle.id,
        finished=cycle.screened,
        grounds={ground.id: ground.text for ground in window.grounds} if window else {},
        applications=[
            CandidateView(
                application=one.application,
                government=one.government,
                name=one.name,
                confirmed=one.confirmed,
                stage=domain.stage(one.screened, now),
                due=one.screened.due if one.screened else None,
            )
            for one in found
        ],
    )
