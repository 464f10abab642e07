"""What intake's own events left in its projection: a replay applies them with what the commands themselves use."""

from __future__ import annotations

from typing import TYPE_CHECKING

from schemas.applications import ApplicationSubmitted, ApplicationWithdrawn
from schemas.cycles import CycleClosed, CycleDeadlineExtended, CycleOpened, MemberJoined, MemberLeft, MemberRoleChanged
from schemas.erasures import DisclosureErased
from schemas.evidence import EvidenceProbed
from schemas.governments import GovernmentChanged, GovernmentConfirmed, GovernmentMerged
from schemas.screening import (
    ApplicationClarified,
    ApplicationExtended,
    ApplicationScreened,
    CycleScreened,
    InvitationIssued,
    WithdrawalRequested,
)
from services.chassis.inbox import Handlers
from services.intake.applications.domain import evolve_application
from services.intake.applications.store import application, save_application
from services.intake.cycles.domain import evolve_cycle
from services.intake.cycles.store import cycle, save_cycle
from services.intake.deadlines.store import save_extension
from services.intake.erasure import store as erasure
from services.intake.governments.domain import evolve_members
from services.intake.governments.store import roles, save_members, save_standing
from services.intake.openness import invited
from services.intake.probes.store import save_probe
from services.intake.screening.domain import evolve_screened
from services.intake.screening.store import ask_withdrawal, save_screened, screened

if TYPE_CHECKING:
    from schemas.envelope import Header
    from services.chassis.database import Tx

own = Handlers()


async def change_cycle(
    tx: Tx, event: CycleOpened | CycleDeadlineExtended | CycleClosed | CycleScreened, header: Header
) -> None:
    """The cycle as the event left it."""
    before = await cycle(tx.db, event.cycle)
    await save_cycle(tx.db, evolve_cycle(before, event, header.id))


async def change_members(tx: Tx, event: MemberJoined | MemberRoleChanged | MemberLeft, _header: Header) -> None:
    """The government's people as the event left them."""
    before = await roles(tx.db, event.government)
    await save_members(tx.db, event.government, evolve_members(before, event))


async def change_standing(
    tx: Tx, event: GovernmentConfirmed | GovernmentChanged | GovernmentMerged, _header: Header
) -> None:
    """What the program made of the government."""
    await save_standing(tx.db, event)


async def change_application(tx: Tx, event: ApplicationSubmitted | ApplicationWithdrawn, header: Header) -> None:
    """The application as the event left it."""
    before = await application(tx.db, event.application)
    await save_application(tx.db, evolve_application(before, event, header.id))


async def change_verdict(tx: Tx, event: ApplicationScreened | ApplicationClarified, header: Header) -> None:
    """The last verdict on the application as the event left it."""
    before = await screened(tx.db, event.application)
    await save_screened(tx.db, evolve_screened(before, event, header.id))


@own.on(ApplicationExtended)
async def keep_extension(tx: Tx, event: ApplicationExtended, _header: Header) -> None:
    """The application's own deadline."""
    await save_extension(tx.db, event)


@own.on(WithdrawalRequested)
async def keep_request(tx: Tx, event: WithdrawalRequested, header: Header) -> None:
    """That its withdrawal was asked for."""
    await ask_withdrawal(tx.db, event, header.id)


@own.on(InvitationIssued)
async def keep_invitation(tx: Tx, event: InvitationIssued, header: Header) -> None:
    """That somebody was invited."""
    await invited.keep_invitation(tx.db, event, header.id)


@own.on(DisclosureErased)
async def forget_blocks(tx: Tx, event: DisclosureErased, _header: Header) -> None:
    """Nothing of what was erased."""
    await erasure.follow(tx.db, event)


@own.on(EvidenceProbed)
async def keep_probe(tx: Tx, event: EvidenceProbed, header: Header) -> None:
    """What a probe found."""
    await save_probe(tx.db, event, header)


own.on(CycleOpened)(change_cycle)
own.on(CycleDeadlineExtended)(change_cycle)
own.on(CycleClosed)(change_cycle)
own.on(CycleScreened)(change_cycle)
own.on(MemberJoined)(change_members)
own.on(MemberRoleChanged)(change_members)
own.on(MemberLeft)(change_members)
own.on(GovernmentConfirmed)(change_standing)
own.on(GovernmentChanged)(change_standing)
own.on(GovernmentMerged)(change_standing)
own.on(ApplicationSubmitted)(change_application)
own.on(ApplicationWithdrawn)(change_application)
own.on(ApplicationScreened)(change_verdict)
own.on(ApplicationClarified)(change_verdict)
