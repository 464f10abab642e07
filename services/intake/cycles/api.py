"""Cycles over HTTP."""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING

from fastapi import APIRouter
from fastapi.responses import PlainTextResponse

from services.chassis.web import Anyone, Asked, CommandRoute, Reading, SignedIn, Writing
from services.intake.access import known_cycle
from services.intake.applications import store as applications
from services.intake.cycles import domain, store
from services.intake.cycles.forms import CycleView, LaterDeadline, NewCycle
from services.intake.deadlines.schedule import hold_close, schedule_close
from services.intake.forms import Named
from services.intake.handlers import close
from services.intake.locks import OWNED

if TYPE_CHECKING:
    from datetime import datetime

    from services.chassis.auth import Principal

router = APIRouter(route_class=CommandRoute)

SEED_BYTES = 32


@router.post("/cycles", status_code=201, response_model_exclude_none=True)
async def open_cycle(body: NewCycle, tx: Writing, who: SignedIn) -> CycleView:
    """Open a cycle under a charter, which is frozen with it."""
    who.require("program-admin")
    seed = secrets.token_bytes(SEED_BYTES)
    event = domain.open_cycle(
        body.label,
        body.charter,
        body.deadline,
        seed=seed,
        now=tx.clock.now(),
        taken=not await store.claim_label(tx.db, body.label, seed),
        demonstration=body.demonstration,
    )
    await tx.act_as(who.issuer, who.subject, event.cycle)
    cycle = domain.evolve_cycle(None, event, tx.record(event))
    await store.save_cycle(tx.db, cycle)
    await schedule_close(tx, cycle)
    return _cycle_view(cycle, tx.clock.now())


@router.get("/cycles", response_model_exclude_none=True)
async def list_cycles(db: Reading, who: Anyone, asked: Asked) -> list[CycleView]:
    """All cycles, by name."""
    counts = await applications.standing_counts(db) if _sees_counts(who) else None
    return [_cycle_view(cycle, asked.clock.now(), counts) for cycle in await store.cycles(db)]


@router.get("/cycles/{cycle}", response_model_exclude_none=True)
async def show_cycle(cycle: Named, db: Reading, who: Anyone, asked: Asked) -> CycleView:
    """One cycle."""
    found = await known_cycle(db, cycle)
    counts = await applications.standing_counts(db) if _sees_counts(who) else None
    return _cycle_view(found, asked.clock.now(), counts)


@router.get("/cycles/{cycle}/charter", response_class=PlainTextResponse)
async def show_charter(cycle: Named, db: Reading) -> str:
    """The charter's TOML text, exactly as it was given."""
    return (await known_cycle(db, cycle)).opened.charter


@router.post("/cycles/{cycle}/extend", response_model_exclude_none=True)
async def extend_cycle(cycle: Named, body: LaterDeadline, tx: Writing, who: SignedIn) -> CycleView:
    """Move the deadline to a later instant, for everyone."""
    who.require("program-admin")
    await hold_close(tx, cycle)
    found = await known_cycle(tx.db, cycle, OWNED)
    event = domain.extend_deadline(found, body.deadline, body.reason, now=tx.clock.now())
    await tx.act_as(who.issuer, who.subject, cycle)
    extended = domain.evolve_cycle(found, event, tx.record(event))
    await store.save_cycle(tx.db, extended)
    await schedule_close(tx, extended)
    return _cycle_view(extended, tx.clock.now())


@router.post("/cycles/{cycle}/close", response_model_exclude_none=True)
async def close_cycle(cycle: Named, tx: Writing, who: SignedIn) -> CycleView:
    """Close a cycle by hand, before its deadline."""
    who.require("program-admin")
    await hold_close(tx, cycle)
    found = await known_cycle(tx.db, cycle, OWNED)
    await tx.act_as(who.issuer, who.subject, cycle)
    return _cycle_view(await close(tx, found, "hand"), tx.clock.now())


def _sees_counts(who: Principal | None) -> bool:
    return who is not None and bool(who.roles & {"program-admin", "auditor"})


def _cycle_view(cycle: domain.Cycle, now: datetime, counts: dict[str, int] | None = None) -> CycleView:
    calendar = cycle.charter.calendar
    return CycleView(
        cycle=cycle.id,
        label=cycle.id,
        program=cycle.opened.program,
        charter_sha256=cycle.opened.charter_sha256,
        deadline=cycle.deadline,
        time_zone=calendar.zone,
        deadline_local=calendar.local(cycle.deadline).isoformat(timespec="milliseconds"),
        now=now,
        state="closed" if cycle.closed else "open",
        assignment_commitment=cycle.opened.assignment_commitment,
        demonstration=cycle.opened.demonstration,
        submitted=None if counts is None else counts.get(cycle.id, 0),
    )
