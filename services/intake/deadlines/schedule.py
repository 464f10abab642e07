"""What the schedule does about deadlines: a cycle closes after the last of them, and drafts are reminded of before."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any

from schemas.envelope import rfc3339
from schemas.screening import Correspondents, DraftState, SectionState
from services.chassis.schedule import schedule, unschedule
from services.intake.applications import store as applications
from services.intake.applications.domain import ground
from services.intake.applications.drafts import Draft
from services.intake.applications.findings import reports
from services.intake.cycles import store as cycles
from services.intake.deadlines import domain, store
from services.intake.governments import store as governments
from services.intake.locks import SHARED
from services.intake.reapplication.store import basis_of

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
        if domain.is_due(cycle, one, detail["days"], deadline, now):
            tx.record(domain.remind(cycle, one, await _told(tx, cycle, one), detail["days"]))


async def _told(tx: Tx, cycle: Cycle, pending: domain.Pending) -> domain.Told:
    sheet = await applications.sheet(tx.db, pending.application)
    government = await governments.government(tx.db, pending.government)
    if sheet is None or government is None:
        raise LookupError(pending.application)
    draft = Draft.model_validate(sheet.content)
    lacking = [
        SectionState(section=one.section.name, asked=one.asked, done=one.done)
        for one in reports(draft, ground(cycle, government, draft, await basis_of(tx.db, sheet, cycle)))
        if not one.complete
    ]
    return domain.Told(
        people=Correspondents(people=await store.correspondents(tx.db, pending.government)),
        state=DraftState(government=government.name, incomplete=lacking),
    )
