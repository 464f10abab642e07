"""What the schedule does about deadlines: a cycle closes after the last of them, and drafts are reminded of before."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any

from schemas.envelope import rfc3339
from services.chassis.schedule import schedule, unschedule
from services.intake.cycles import store as cycles
from services.intake.deadlines import domain, store
from services.intake.locks import SHARED

if TYPE_CHECKING:
    from services.chassis.database import Tx
    from services.intake.cycles.domain import Cycle

CLOSE, REMIND = "close-cycle", "remind"


async def hold_close(tx: Tx, cycle: str) -> None:
    """Take the cycle's close off the schedule.

    Before the cycle's row, as the schedule itself takes them: the other way round the two could wait for each other.
    """
    await unschedule(tx, CLOSE, cycle)


async def schedule_close(tx: Tx, cycle: Cycle) -> None:
    """Have a cycle closed at the last deadline that anyone in it has, and its drafts reminded of."""
    own = await store.extensions(tx.db, cycle.id)
    await schedule(tx, CLOSE, cycle.id, max([cycle.deadline, *own.values()]))
    for deadline in {cycle.deadline, *own.values()}:
        for days, moment in domain.reminders(deadline, tx.clock.now()):
            await schedule(tx, REMIND, cycle.id, moment, {"days": days, "deadline": rfc3339(deadline)})


async def remind(tx: Tx, subject: str, _due: datetime, detail: dict[str, Any]) -> None:
    """Say of every draft of the cycle `subject` that its deadline is near, unless it has another one by now."""
    cycle = await cycles.cycle(tx.db, subject, SHARED)
    if cycle is None:
        return
    deadline, now = datetime.fromisoformat(detail["deadline"]), tx.clock.now()
    for one in await store.pending(tx.db, subject):
        event = domain.remind(cycle, one, detail["days"], deadline, now)
        if event is not None:
            tx.record(event)
