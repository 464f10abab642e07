"""What other services' events make notifications do: nothing before a cycle's announcement, then all at once."""

from __future__ import annotations

from typing import TYPE_CHECKING

from schemas.cycles import CohortAnnounced, CycleOpened
from schemas.designations import DesignationExpired, DesignationGranted, RenewalDue
from schemas.exact import SetDigest
from services.chassis.failures import NotYetError
from services.chassis.inbox import Handlers
from services.notifications import backlog, notice, store
from services.notifications.domain import matches
from services.notifications.mail import handlers as mail
from services.notifications.notice import Cycle, Grant

if TYPE_CHECKING:
    from collections.abc import Sequence

    from schemas.envelope import Header
    from services.chassis.database import Tx
    from services.notifications.notice import Notice

handlers = Handlers()
mail.join(handlers)


@handlers.on(CycleOpened)
async def learn_rules(tx: Tx, event: CycleOpened, _header: Header) -> None:
    """Know what may be opened, and whether the cycle is a demonstration."""
    await store.insert_cycle(tx.db, event.cycle, event.charter, demonstration=event.demonstration)


@handlers.on(DesignationGranted)
async def keep_grant(tx: Tx, event: DesignationGranted, header: Header) -> None:
    """Keep it to ourselves until it is announced."""
    await store.insert_grant(tx.db, Grant(header, event))


@handlers.on(CohortAnnounced)
async def keep_announcement(tx: Tx, event: CohortAnnounced, _header: Header) -> None:
    """Know that the cycle is public, once exactly the announced designations are here."""
    cycle = await store.load_cycle(tx.db, event.cycle)
    if cycle is None:
        raise NotYetError(f"cycle {event.cycle} is not here")
    grants = await store.load_grants(tx.db, event.cycle)
    if SetDigest.of(grant.event.designation for grant in grants) != event.designations:
        raise NotYetError(f"{len(grants)} of {event.designations.count} announced designations are here")
    await store.mark_announced(tx.db, event.cycle)


@handlers.then(CohortAnnounced)
async def tell_announcement(tx: Tx, event: CohortAnnounced, header: Header) -> None:
    """Tell of every designation and of the announcement."""
    cycle = await store.load_cycle(tx.db, event.cycle)
    if cycle is None:
        raise NotYetError(f"cycle {event.cycle} is not here")
    grants = await store.load_grants(tx.db, event.cycle)
    awards = [notice.award(cycle, grant) for grant in grants]
    await _tell(tx, [*awards, notice.announcement(cycle, grants, event, header)])


@handlers.then(RenewalDue)
async def tell_renewal(tx: Tx, event: RenewalDue, header: Header) -> None:
    """Tell that a designation ends in so many days."""
    cycle, grant = await _announced(tx, event.cycle, event.designation)
    await _tell(tx, [notice.renewal_due(cycle, grant, event, header)])


@handlers.then(DesignationExpired)
async def tell_expiry(tx: Tx, event: DesignationExpired, header: Header) -> None:
    """Tell that a designation ended."""
    cycle, grant = await _announced(tx, event.cycle, event.designation)
    await _tell(tx, [notice.expiry(cycle, grant, event, header)])


async def _announced(tx: Tx, name: str, designation: str) -> tuple[Cycle, Grant]:
    cycle = await store.load_cycle(tx.db, name)
    grants = await store.load_grants(tx.db, name, designation)
    if cycle is None or not cycle.announced or not grants:
        raise NotYetError(f"designation {designation} is not announced")
    return cycle, grants[0]


async def _tell(tx: Tx, notices: Sequence[Notice]) -> None:
    subscriptions = await store.confirmed(tx.db)
    recipients = [
        (subscription, told.message)
        for told in notices
        for subscription, filters in subscriptions
        if matches(filters, told.topic)
    ]
    await backlog.send(tx, [told.message for told in notices], recipients)
