"""What intake's own events left in its projection: a replay applies them with what the commands themselves use."""

from __future__ import annotations

from typing import TYPE_CHECKING

from schemas.applications import ApplicationSubmitted, ApplicationWithdrawn
from schemas.cycles import CycleClosed, CycleDeadlineExtended, CycleOpened, MemberJoined, MemberLeft
from services.chassis.inbox import Handlers
from services.intake.applications.domain import evolve_application
from services.intake.applications.store import application, save_application
from services.intake.cycles.domain import evolve_cycle
from services.intake.cycles.store import cycle, save_cycle
from services.intake.governments.domain import evolve_members
from services.intake.governments.store import roles, save_members

if TYPE_CHECKING:
    from schemas.envelope import Header
    from services.chassis.database import Tx

own = Handlers()


async def change_cycle(tx: Tx, event: CycleOpened | CycleDeadlineExtended | CycleClosed, header: Header) -> None:
    """The cycle as the event left it."""
    before = await cycle(tx.db, event.cycle)
    await save_cycle(tx.db, evolve_cycle(before, event, header.id))


async def change_members(tx: Tx, event: MemberJoined | MemberLeft, _header: Header) -> None:
    """The government's people as the event left them."""
    before = await roles(tx.db, event.government)
    await save_members(tx.db, event.government, evolve_members(before, event))


async def change_application(tx: Tx, event: ApplicationSubmitted | ApplicationWithdrawn, header: Header) -> None:
    """The application as the event left it."""
    before = await application(tx.db, event.application)
    await save_application(tx.db, evolve_application(before, event, header.id))


own.on(CycleOpened)(change_cycle)
own.on(CycleDeadlineExtended)(change_cycle)
own.on(CycleClosed)(change_cycle)
own.on(MemberJoined)(change_members)
own.on(MemberLeft)(change_members)
own.on(ApplicationSubmitted)(change_application)
own.on(ApplicationWithdrawn)(change_application)
