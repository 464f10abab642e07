"""What scoring's own events left in its projection: a replay applies them by what the commands themselves use."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from schemas.reviews import ApplicationScored, ReviewAssigned, ReviewerEnrolled, ReviewSubmitted
from services.chassis.failures import NotYetError
from services.chassis.inbox import Handlers
from services.scoring import roster, store
from services.scoring.handlers import known_cycle

if TYPE_CHECKING:
    from schemas.envelope import Header
    from services.chassis.database import Tx

own = Handlers()


@own.on(ReviewerEnrolled)
async def keep_reviewer(tx: Tx, event: ReviewerEnrolled, _header: Header) -> None:
    """One more who can be assigned."""
    await known_cycle(tx, event.cycle)
    await roster.keep_reviewer(tx.db, event)


@own.on(ReviewAssigned)
async def keep_seat(tx: Tx, event: ReviewAssigned, _header: Header) -> None:
    """Who reviews what, once reviewer and exactly the versions that closing stated are here, as when it was drawn."""
    cycle = await known_cycle(tx, event.cycle)
    if not cycle.assigned:
        standing = await store.standing(tx.db, event.cycle)
        if not cycle.has_all([one.submitted for one in standing.values()]):
            raise NotYetError(f"cycle {event.cycle}: the versions that its closing stated are not all here")
        await store.save_cycle(tx.db, replace(cycle, assigned=True))
    if event.private is None or not await roster.enrolled(tx.db, event.private.reviewer):
        raise NotYetError(f"review {event.review}: its reviewer is not here")
    await store.add_seats(tx.db, [event])


@own.on(ReviewSubmitted)
async def keep_review(tx: Tx, event: ReviewSubmitted, header: Header) -> None:
    """The points that were given."""
    await store.save_reviews(tx.db, [(header.id, event)], [])


@own.on(ApplicationScored)
async def keep_score(tx: Tx, event: ApplicationScored, header: Header) -> None:
    """All reviews are in."""
    await store.save_reviews(tx.db, [], [(header.id, event)])
