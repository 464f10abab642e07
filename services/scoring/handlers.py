"""What intake's events do here: a charter is kept, applications come and go, at the close reviewers are assigned."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING

from schemas.applications import ApplicationSubmitted, ApplicationWithdrawn
from schemas.cycles import CycleClosed, CycleOpened
from services.chassis.failures import NotYetError
from services.chassis.ids import opaque_id
from services.chassis.inbox import Handlers
from services.scoring import store
from services.scoring.assignment import ImpossibleError
from services.scoring.cycle import assign_reviewers, close_cycle, open_cycle, supersedes, withdraw

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
    cycle = close_cycle(await _cycle(tx, event.cycle), event, header.id)
    await store.save_cycle(tx.db, cycle)
    await seat_reviewers(tx, cycle)


@handlers.on(ApplicationSubmitted)
async def enter_application(tx: Tx, event: ApplicationSubmitted, header: Header) -> None:
    """The highest version stands."""
    cycle = await _cycle(tx, event.cycle)
    if supersedes(cycle, await store.application(tx.db, event.application), event):
        await store.enter_application(tx.db, event, header.id)
        await seat_reviewers(tx, cycle)


@handlers.on(ApplicationWithdrawn)
async def withdraw_application(tx: Tx, event: ApplicationWithdrawn, header: Header) -> None:  # noqa: ARG001  (a handler gets the header)
    """It is not reviewed."""
    cycle = await _cycle(tx, event.cycle)
    withdraw(cycle, event)
    await store.withdraw_application(tx.db, event.application)
    await seat_reviewers(tx, cycle)


async def _cycle(tx: Tx, name: str) -> Cycle:
    cycle = await store.locked_cycle(tx.db, name)
    if cycle is None:
        raise NotYetError(f"cycle {name} is not here yet")
    return cycle


async def seat_reviewers(tx: Tx, cycle: Cycle) -> None:
    """Assign reviewers once the cycle is closed and all its applications are here; keep why, where they do not suffice.

    `cycle` is locked by this transaction.
    """
    applications = await store.standing(tx.db, cycle.name)
    if cycle.closing is None or cycle.assigned or not cycle.has_all(applications):
        return
    reviewers = await store.reviewers(tx.db, cycle.name)
    try:
        # In a thread: a thousand applications take a second.
        seats = await asyncio.to_thread(assign_reviewers, cycle, applications, reviewers, opaque_id)
    except ImpossibleError as shortage:
        await store.save_cycle(tx.db, replace(cycle, problem=str(shortage)))
        return
    for seat in seats:
        tx.record(seat, cause=cycle.closing.event)
    await store.add_seats(tx.db, seats)
    await store.save_cycle(tx.db, replace(cycle, assigned=True, problem=None))
