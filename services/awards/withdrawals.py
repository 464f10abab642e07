"""Applications that are asked back after the deadline, over HTTP: the board settles each request, once."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

from fastapi import APIRouter, Path
from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from schemas.applications import Identity
from schemas.envelope import Instant
from services.awards import domain, store
from services.chassis.problems import not_found
from services.chassis.web import CommandRoute, Reading, SignedIn, Writing

if TYPE_CHECKING:
    from schemas.designations import WithdrawalAccepted, WithdrawalRefused
    from services.awards.domain import Application, Cycle
    from services.chassis.auth import Principal
    from services.chassis.database import Tx

router = APIRouter(route_class=CommandRoute)

Named = Annotated[str, Path(max_length=64, pattern=r"^[A-Za-z0-9_.-]+$")]
State = Literal["open", "accepted", "refused"]


class Refusal(BaseModel):
    """Why an application stays in the cycle; the applicant reads it."""

    model_config = ConfigDict(extra="forbid")

    reason: Annotated[str, StringConstraints(strip_whitespace=True, min_length=1), Field(max_length=5_000)]


class WithdrawalView(BaseModel):
    """A request to withdraw an application, with the reasons that were given on both sides."""

    application: str
    identity: Identity
    state: State
    asked_at: Instant
    reason: str
    answer: str


class Withdrawals(BaseModel):
    """The requests to withdraw of a cycle, the first one first."""

    cycle: str
    items: list[WithdrawalView]


class Settled(BaseModel):
    """How a request to withdraw was settled; `event` is the id of the event that says so."""

    application: str
    cycle: str
    state: Literal["accepted", "refused"]
    event: str


@router.get("/cycles/{cycle}/withdrawals")
async def list_withdrawals(cycle: Named, who: SignedIn, db: Reading) -> Withdrawals:
    """Every request to withdraw that was made in a cycle after its deadline: for board, program-admin and auditors."""
    who.require("board", "program-admin", "auditor")
    if await store.load_cycle(db, cycle) is None:
        raise not_found()
    items = [
        WithdrawalView(
            application=one.id,
            identity=one.identity,
            state="open" if one.asks else "accepted" if one.released else "refused",
            asked_at=said.asked_at,
            reason=said.reason,
            answer=said.answer,
        )
        for one, said in await store.withdrawals(db, cycle)
    ]
    return Withdrawals(cycle=cycle, items=items)


@router.post("/applications/{application}/withdrawal/accept")
async def accept_withdrawal(application: Named, who: SignedIn, tx: Writing) -> Settled:
    """Give an application back that was asked for: nothing is decided about it, and it is named nowhere."""
    cycle, found = await _owned(tx, who, application)
    event = domain.accept_withdrawal(cycle, await store.load_applications(tx.db, cycle.label), found)
    return await _settle(tx, found, event)


@router.post("/applications/{application}/withdrawal/refuse")
async def refuse_withdrawal(application: Named, body: Refusal, who: SignedIn, tx: Writing) -> Settled:
    """Keep an application in the cycle that was asked for."""
    cycle, found = await _owned(tx, who, application)
    return await _settle(tx, found, domain.refuse_withdrawal(cycle, found, body.reason), body.reason)


async def _owned(tx: Tx, who: Principal, application: str) -> tuple[Cycle, Application]:
    who.require("board")
    label = await store.cycle_of(tx.db, application)
    # The cycle first, as whoever ratifies takes it: a decision and a withdrawal wait for each other here.
    cycle = await store.load_cycle(tx.db, label, lock=True) if label else None
    found = await store.load_application(tx.db, application)
    if cycle is None or found is None:
        raise not_found()
    await tx.act_as(who.issuer, who.subject, cycle.label)
    return cycle, found


async def _settle(
    tx: Tx, found: Application, event: WithdrawalAccepted | WithdrawalRefused, answer: str = ""
) -> Settled:
    name = tx.record(event, cause=event.requested)
    settled = domain.evolve(found, event, name)
    await store.save_applications(tx.db, [settled])
    await store.keep_answer(tx.db, found.id, name, answer)
    state: Literal["accepted", "refused"] = "accepted" if settled.released else "refused"
    return Settled(application=found.id, cycle=found.cycle, state=state, event=name)
