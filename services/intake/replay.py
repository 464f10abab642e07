"""What intake's own events left in its projection: a replay applies them with what the commands themselves use."""

from __future__ import annotations

from typing import TYPE_CHECKING

from schemas.applications import ApplicationSubmitted, ApplicationWithdrawn
from schemas.cycles import CycleClosed, CycleDeadlineExtended, CycleOpened, MemberJoined, MemberLeft
from services.chassis.inbox import Handlers
from services.intake import domain, store

if TYPE_CHECKING:
    from schemas.envelope import Header
    from services.chassis.database import Tx

own = Handlers()


async def change_cycle(tx: Tx, event: CycleOpened | CycleDeadlineExtended | CycleClosed, header: Header) -> None:
    """The cycle as the event left it."""
    before = await store.cycle(tx.db, event.cycle)
    await store.save_cycle(tx.db, domain.evolve_cycle(before, event, header.id))


async def change_members(tx: Tx, event: MemberJoined | MemberLeft, _header: Header) -> None:
    """The government's people as the event left them."""
    before = await store.roles(tx.db, event.government)
    await store.save_members(tx.db, event.government, domain.evolve_members(before, event))


async def change_application(tx: Tx, event: ApplicationSubmitted | ApplicationWithdrawn, header: Header) -> None:
    """The application as the event left it."""
    before = await store.application(tx.db, event.application)
    await store.save_application(tx.db, domain.evolve_application(before, event, header.id))


own.on(CycleOpened)(change_cycle)
own.on(CycleDeadlineExtended)(change_cycle)
own.on(CycleClosed)(change_cycle)
own.on(MemberJoined)(change_members)
own.on(MemberLeft)(change_members)
own.on(ApplicationSubmitted)(change_application)
own.on(ApplicationWithdrawn)(change_application)
