"""What awards' own events left in its projection: a replay applies them by what the commands themselves use."""

from __future__ import annotations

from typing import TYPE_CHECKING

from schemas.cycles import CohortAnnounced
from schemas.designations import (
    DecisionMade,
    DecisionProposed,
    DesignationGranted,
    WithdrawalAccepted,
    WithdrawalRefused,
)
from schemas.exact import SetDigest
from services.awards import domain, store
from services.chassis.failures import NotYetError
from services.chassis.inbox import Handlers

if TYPE_CHECKING:
    from schemas.envelope import Header
    from services.chassis.database import Tx

own = Handlers()


@own.on(DecisionProposed)
async def keep_proposal(tx: Tx, event: DecisionProposed, header: Header) -> None:
    """The decision that the scores led to, once these are here."""
    application = await store.load_application(tx.db, event.application)
    if application is None or application.scored != event.scored:
        raise NotYetError(f"the scores of application {event.application} are not here")
    await store.save_applications(tx.db, [domain.evolve(application, event, header.id)])


@own.on(DecisionMade)
async def keep_decision(tx: Tx, event: DecisionMade, header: Header) -> None:
    """The decision, and with a cycle's first one the day of the announcement."""
    application = await store.load_application(tx.db, event.application)
    cycle = await store.load_cycle(tx.db, event.cycle, lock=True)
    if application is None or cycle is None:
        raise NotYetError(f"application {event.application} or cycle {event.cycle} is not here")
    await store.save_applications(tx.db, [domain.evolve(application, event, header.id)])
    await store.save_cycle(tx.db, cycle.evolve(event))


@own.on(DesignationGranted)
async def keep_grant(tx: Tx, event: DesignationGranted, header: Header) -> None:
    """The designation, once the decision is here that granted it."""
    application = await store.load_application(tx.db, event.application)
    if application is None or application.made != event.decided:
        raise NotYetError(f"the decision about application {event.application} is not here")
    await store.save_applications(tx.db, [domain.evolve(application, event, header.id)])


async def keep_settlement(tx: Tx, event: WithdrawalAccepted | WithdrawalRefused, header: Header) -> None:
    """How the board settled a withdrawal, once the request for it is here."""
    application = await store.load_application(tx.db, event.application)
    if application is None or application.asked != event.requested:
        raise NotYetError(f"the request to withdraw application {event.application} is not here")
    await store.save_applications(tx.db, [domain.evolve(application, event, header.id)])


own.on(WithdrawalAccepted)(keep_settlement)
own.on(WithdrawalRefused)(keep_settlement)


@own.on(CohortAnnounced)
async def publish_cohort(tx: Tx, event: CohortAnnounced, header: Header) -> None:
    """What became public, once exactly the announced designations are here."""
    cycle = await store.load_cycle(tx.db, event.cycle, lock=True)
    designated = domain.designated(await store.load_applications(tx.db, event.cycle))
    here = SetDigest.of(one.designation.id for one in designated if one.designation is not None)
    if cycle is None or here != event.designations:
        raise NotYetError(f"{here.count} of {event.designations.count} announced designations are here")
    announcement = domain.cohort(cycle, designated, event.announced_on, event.narrative)
    await store.save_cycle(tx.db, cycle.evolve(event))
    await store.publish(tx.db, cycle, announcement, header.id, designated)
