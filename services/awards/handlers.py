"""What awards does about other services' events, and when program time comes to renewals and ends of terms."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from schemas.applications import ApplicationSubmitted, ApplicationWithdrawn
from schemas.cycles import CycleClosed, CycleOpened
from schemas.designations import DesignationExpired, RenewalDue
from schemas.erasures import DisclosureErased
from schemas.reviews import ApplicationScored
from schemas.screening import ApplicationScreened, CycleScreened, WithdrawalRequested
from services.awards import domain, store
from services.chassis.failures import NotYetError
from services.chassis.inbox import Handlers

if TYPE_CHECKING:
    from datetime import datetime

    from schemas.envelope import Header
    from services.chassis.database import Tx
    from services.chassis.schedule import TaskHandler

RENEWAL, EXPIRY = "renewal-due", "expire"

handlers = Handlers()


@handlers.on(CycleOpened)
async def open_cycle(tx: Tx, event: CycleOpened, _header: Header) -> None:
    """Know the rules before anything is decided by them."""
    await store.insert_cycle(tx.db, domain.open_cycle(event), event.charter)


@handlers.on(CycleClosed)
async def fix_set(tx: Tx, event: CycleClosed, header: Header) -> None:
    """Know which set has to be decided before the cycle may be announced."""
    cycle = await store.load_cycle(tx.db, event.cycle, lock=True)
    if cycle is None:
        raise NotYetError(f"cycle {event.cycle} is not here")
    await store.save_cycle(tx.db, cycle.evolve(event, header.id))


@handlers.on(CycleScreened)
async def fix_eligible(tx: Tx, event: CycleScreened, header: Header) -> None:
    """Of that set, only what was found eligible has to be decided."""
    cycle = await store.load_cycle(tx.db, event.cycle, lock=True)
    if cycle is None:
        raise NotYetError(f"cycle {event.cycle} is not here")
    await store.save_cycle(tx.db, cycle.evolve(event, header.id))


@handlers.on(ApplicationSubmitted)
async def keep_application(tx: Tx, event: ApplicationSubmitted, header: Header) -> None:
    """Know who applies, with what facts; the highest version stands."""
    application = await store.load_application(tx.db, event.application)
    await store.save_applications(tx.db, [domain.evolve(application, event, header.id)])


@handlers.on(ApplicationWithdrawn)
async def withdraw_application(tx: Tx, event: ApplicationWithdrawn, header: Header) -> None:
    """Decide nothing about it."""
    application = await store.load_application(tx.db, event.application)
    await store.save_applications(tx.db, [domain.evolve(application, event, header.id)])


@handlers.on(ApplicationScreened)
async def keep_verdict(tx: Tx, event: ApplicationScreened, header: Header) -> None:
    """Decide nothing about what is ineligible."""
    application = await store.load_application(tx.db, event.application)
    await store.save_applications(tx.db, [domain.evolve(application, event, header.id)])


@handlers.on(WithdrawalRequested)
async def keep_request(tx: Tx, event: WithdrawalRequested, header: Header) -> None:
    """Have the board settle it."""
    application = await store.load_application(tx.db, event.application)
    await store.save_applications(tx.db, [domain.evolve(application, event, header.id)])
    reason = event.private.reason if event.private else ""
    await store.keep_request(tx.db, event.application, header.id, reason, header.time)


@handlers.on(DisclosureErased)
async def forget_words(tx: Tx, event: DisclosureErased, _header: Header) -> None:
    """Know nothing any more of what was said with a request to withdraw, or in answer to it."""
    await store.forget(tx.db, event.event)


@handlers.on(ApplicationScored)
async def keep_score(tx: Tx, event: ApplicationScored, header: Header) -> None:
    """Know which version is scored, as soon as it is here."""
    application = await store.load_application(tx.db, event.application)
    if application is None or application.submitted != event.submitted:
        raise NotYetError(f"application {event.application} is not here in the version that was reviewed")
    await store.save_applications(tx.db, [domain.evolve(application, event, header.id)])


@handlers.then(ApplicationScored)
async def propose_decision(tx: Tx, event: ApplicationScored, header: Header) -> None:
    """Apply the charter, as soon as the cycle is here."""
    cycle = await store.load_cycle(tx.db, event.cycle)
    application = await store.load_application(tx.db, event.application)
    if cycle is None or application is None:
        raise NotYetError(f"cycle {event.cycle} is not here")
    if application.withdrawn and cycle.charter.screening is not None:
        # It was reviewed, so that its last verdict says eligible: that one is on its way.
        raise NotYetError(f"application {event.application} is not here as eligible")
    if application.released:
        return  # its reviewers did not know
    proposed = domain.propose(cycle, application, event, header.id)
    name = tx.record(proposed, cause=header.id)
    await store.save_applications(tx.db, [domain.evolve(application, proposed, name)])


async def announce_renewal(tx: Tx, subject: str, _due: datetime, detail: dict[str, Any]) -> None:
    """Say that a designation ends in so many days."""
    row = await store.load_designee(tx.db, subject)
    event = RenewalDue(cycle=row["cycle"], designation=subject, days=detail["days"], ends_on=row["ends_on"])
    tx.record(event, cause=row["event"])


async def expire_designation(tx: Tx, subject: str, _due: datetime, _detail: dict[str, Any]) -> None:
    """Say that a term is over."""
    row = await store.load_designee(tx.db, subject)
    event = DesignationExpired(cycle=row["cycle"], designation=subject, ended_on=row["ends_on"])
    tx.record(event, cause=row["event"])


TASKS: dict[str, TaskHandler] = {RENEWAL: announce_renewal, EXPIRY: expire_designation}
