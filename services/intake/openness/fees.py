"""Fees over HTTP: what an application costs by the charter, and that it was paid or waived: no payment is taken."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from fastapi import APIRouter, Query

from services.chassis.problems import not_found
from services.chassis.web import CommandRoute, Reading, SignedIn, Writing
from services.intake.access import acting, known_cycle, known_government, sheet_of
from services.intake.applications import store as applications
from services.intake.forms import Named
from services.intake.locks import OWNED
from services.intake.openness import domain, recorded
from services.intake.openness.forms import (
    FeeLine,
    FeesView,
    FeeView,
    GroundView,
    Payment,
    Reopening,
    WaiverClaim,
)
from services.intake.people import store as people

if TYPE_CHECKING:
    from schemas.applying import Waiver
    from schemas.charter import Charter
    from services.chassis.auth import Principal
    from services.chassis.database import Connection, Tx
    from services.intake.applications.store import Sheet
    from services.intake.openness.domain import FeeStep

router = APIRouter(route_class=CommandRoute)

After = Annotated[str, Query(max_length=64, pattern=r"^[A-Za-z0-9_.-]*$")]
Limit = Annotated[int, Query(ge=1, le=500)]


@router.get("/applications/{application}/fee")
async def show_fee(application: Named, db: Reading, who: SignedIn) -> FeeView:
    """How an application's fee stands, to its government's people and to the program."""
    if who.roles & {"program-admin", "auditor"}:
        sheet = await _any(db, application)
    else:
        sheet = await sheet_of(db, who, application)
    return await _view(db, sheet)


@router.post("/applications/{application}/fee/waiver-request")
async def ask_waiver(application: Named, body: WaiverClaim, tx: Writing, who: SignedIn) -> FeeView:
    """Ask for the fee to be waived, on one of the charter's grounds."""
    sheet = await sheet_of(tx.db, who, application, "lead", lock=OWNED)
    person, _ = await acting(tx.db, who, sheet.government, "lead")
    _, grounds = await _rules(tx.db, sheet)
    step = domain.ask_waiver(await recorded.fee(tx.db, application), body.ground, body.note, grounds)
    await recorded.add_fee_step(tx.db, application, step, person, tx.clock.now())
    return await _view(tx.db, sheet)


@router.post("/applications/{application}/fee/waive")
async def waive(application: Named, body: WaiverClaim, tx: Writing, who: SignedIn) -> FeeView:
    """Waive the fee on one of the charter's grounds, whether that was asked for or not."""
    sheet = await _held(tx, who, application)
    _, grounds = await _rules(tx.db, sheet)
    step = domain.waive(await recorded.fee(tx.db, application), body.ground, body.note, grounds)
    return await _stepped(tx, who, sheet, step)


@router.post("/applications/{application}/fee/pay")
async def pay(application: Named, body: Payment, tx: Writing, who: SignedIn) -> FeeView:
    """Record that the fee was paid, and by which reference the books have it."""
    sheet = await _held(tx, who, application)
    await _rules(tx.db, sheet)
    step = domain.pay(await recorded.fee(tx.db, application), body.reference, body.note)
    return await _stepped(tx, who, sheet, step)


@router.post("/applications/{application}/fee/reopen")
async def reopen(application: Named, body: Reopening, tx: Writing, who: SignedIn) -> FeeView:
    """Call the fee due again: what was recorded was wrong, or the waiver that was asked for is refused."""
    sheet = await _held(tx, who, application)
    await _rules(tx.db, sheet)
    step = domain.reopen(await recorded.fee(tx.db, application), body.note)
    return await _stepped(tx, who, sheet, step)


@router.get("/cycles/{cycle}/fees")
async def list_fees(cycle: Named, db: Reading, who: SignedIn, after: After = "", limit: Limit = 100) -> FeesView:
    """How the fees of a cycle's applications stand, to the program."""
    who.require("program-admin", "auditor")
    fee = domain.fee_of((await known_cycle(db, cycle)).charter)
    found = await recorded.fees(db, cycle, after, limit + 1)
    lines = [
        FeeLine(application=name, government=government, name=called, at=at, **vars(step))
        for name, government, called, step, at in found
    ]
    return FeesView(
        cycle=cycle,
        amount=fee.amount,
        currency=fee.currency,
        counts=await recorded.fee_counts(db, cycle),
        fees=lines[:limit],
        next=lines[limit - 1].application if len(lines) > limit else None,
    )


async def _any(db: Connection, application: str) -> Sheet:
    sheet = await applications.sheet(db, application)
    if sheet is None:
        raise not_found()
    return sheet


async def _held(tx: Tx, who: Principal, application: str) -> Sheet:
    """Whose application it is, for the program; its fee is held."""
    who.require("program-admin")
    sheet = await applications.sheet(tx.db, application, OWNED)
    if sheet is None:
        raise not_found()
    return sheet


async def _rules(db: Connection, sheet: Sheet) -> tuple[Charter, list[Waiver]]:
    """The charter, which asks for a fee, and the grounds that are there for this applicant."""
    charter = (await known_cycle(db, sheet.cycle)).charter
    domain.fee_of(charter)
    return charter, domain.waivers(charter, await known_government(db, sheet.government))


async def _stepped(tx: Tx, who: Principal, sheet: Sheet, step: FeeStep) -> FeeView:
    person = await people.caller(tx.db, who)
    await recorded.add_fee_step(tx.db, sheet.application, step, person, tx.clock.now())
    return await _view(tx.db, sheet)


async def _view(db: Connection, sheet: Sheet) -> FeeView:
    charter, grounds = await _rules(db, sheet)
    fee = domain.fee_of(charter)
    return FeeView(
        application=sheet.application,
        amount=fee.amount,
        currency=fee.currency,
        at=await recorded.fee_at(db, sheet.application),
        grounds=[GroundView(id=one.id, text=one.text) for one in grounds],
        **vars(await recorded.fee(db, sheet.application)),
    )
