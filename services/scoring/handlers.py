"""What intake's events do here: a charter is kept, applications come and go, at the close reviewers are assigned."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING

from schemas.applications import ApplicationSubmitted, ApplicationWithdrawn
from schemas.cycles import CycleClosed, CycleOpened
from schemas.designations import WithdrawalAccepted
from schemas.erasures import DisclosureErased
from schemas.evidence import EvidenceProbed
from schemas.screening import ApplicationClarified, ApplicationScreened, CycleScreened
from services.chassis.failures import NotYetError
from services.chassis.ids import opaque_id
from services.chassis.inbox import Handlers
from services.scoring import probes, roster, store
from services.scoring.assignment import ImpossibleError
from services.scoring.cycle import assign_reviewers, close_cycle, end_screening, open_cycle, supersedes, withdraw

if TYPE_CHECKING:
    from schemas.envelope import Header
    from services.chassis.database import Tx
    from services.scoring.cycle import Cycle

handlers = Handlers()


@handlers.on(CycleOpened)
async def keep_charter(tx: Tx, event: CycleOpened, header: Header) -> None:
    """Everything about a cycle follows from its charter."""
    await store.add_cycle(tx.db, open_cycle(event, header.id), event)


@handlers.on(CycleClosed)
async def fix_set(tx: Tx, event: CycleClosed, header: Header) -> None:
    """From here on it is known which applications are reviewed, and by which seed reviewers are drawn."""
    await store.save_cycle(tx.db, close_cycle(await known_cycle(tx, event.cycle), event, header.id))


@handlers.on(ApplicationSubmitted)
async def enter_application(tx: Tx, event: ApplicationSubmitted, header: Header) -> None:
    """The highest version stands."""
    await known_cycle(tx, event.cycle)
    before, seated = await store.standing_version(tx.db, event.application)
    if supersedes(before, event, seated=seated):
        await store.enter_application(tx.db, event, header)


@handlers.on(ApplicationWithdrawn)
async def withdraw_application(tx: Tx, event: ApplicationWithdrawn, _header: Header) -> None:
    """It is not reviewed."""
    await known_cycle(tx, event.cycle)
    _, seated = await store.standing_version(tx.db, event.application)
    withdraw(event, seated=seated)
    await store.withdraw_application(tx.db, event.application)


@handlers.on(ApplicationScreened)
async def keep_verdict(tx: Tx, event: ApplicationScreened, header: Header) -> None:
    """What is ineligible is not reviewed, as if it were withdrawn; what was asked, reviewers see."""
    await known_cycle(tx, event.cycle)
    await store.keep_verdict(tx.db, event)
    if event.verdict == "sent-back":
        await store.keep_question(tx.db, event, header.id)


@handlers.on(ApplicationClarified)
async def keep_answer(tx: Tx, event: ApplicationClarified, header: Header) -> None:
    """So they do what was answered."""
    await store.keep_answer(tx.db, event, header.id)


@handlers.on(DisclosureErased)
async def forget_blocks(tx: Tx, event: DisclosureErased, _header: Header) -> None:
    """What was erased is not kept here either; what it takes to score goes on to hold."""
    await store.forget(tx.db, event)


@handlers.on(CycleScreened)
async def fix_eligible(tx: Tx, event: CycleScreened, _header: Header) -> None:
    """Of what closing stated, this is reviewed."""
    await store.save_cycle(tx.db, end_screening(await known_cycle(tx, event.cycle), event))


@handlers.on(EvidenceProbed)
async def keep_figures(tx: Tx, event: EvidenceProbed, header: Header) -> None:
    """Reviewers see what a government's Open311 server says."""
    await probes.keep_probe(tx.db, event, header)


@handlers.on(WithdrawalAccepted)
async def release_application(tx: Tx, event: WithdrawalAccepted, header: Header) -> None:
    """The board gave it back: reviewers are done with it. The set that was closed, and who was drawn, stay."""
    await store.release(tx.db, event.application, header.id)


Settling = CycleClosed | CycleScreened | ApplicationSubmitted | ApplicationWithdrawn | ApplicationScreened


async def seat(tx: Tx, event: Settling, _header: Header) -> None:
    """Whatever completes the set lets reviewing begin."""
    await seat_reviewers(tx, await known_cycle(tx, event.cycle))


handlers.then(CycleClosed)(seat)
handlers.then(CycleScreened)(seat)
handlers.then(ApplicationScreened)(seat)
handlers.then(ApplicationSubmitted)(seat)
handlers.then(ApplicationWithdrawn)(seat)


async def known_cycle(tx: Tx, name: str) -> Cycle:
    """The cycle, locked; NotYetError before it is here."""
    cycle = await store.locked_cycle(tx.db, name)
    if cycle is None:
        raise NotYetError(f"cycle {name} is not here yet")
    return cycle


async def seat_reviewers(tx: Tx, cycle: Cycle) -> None:
    """Assign reviewers once the cycle is closed, screened if its charter says so, and exactly what was stated is here.

    Keeps why, where the reviewers do not suffice. `cycle` is locked by this transaction.
    """
    if cycle.closing is None or cycle.assigned:
        return
    standing = await store.standing(tx.db, cycle.name)
    if not cycle.has_all([one.submitted for one in standing.values()]):
        return
    states = {application: one.state for application, one in standing.items()}
    reviewers = await roster.reviewers(tx.db, cycle.name)
    try:
        # In a thread: a thousand applications take a second.
        seats = await asyncio.to_thread(assign_reviewers, cycle, states, reviewers, opaque_id)
    except ImpossibleError as shortage:
        await store.note_shortage(tx.db, cycle.name, str(shortage))
        return
    for seat in seats:
        tx.record(seat, cause=cycle.closing.event)
    await store.add_seats(tx.db, seats)
    await store.save_cycle(tx.db, replace(cycle, assigned=True))
    await store.note_shortage(tx.db, cycle.name, None)
