"""Reviews come in, over HTTP or as signed commands: each is taken or refused alone, the last one brings the score."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from services.chassis.refusal import RefusedError
from services.scoring import store
from services.scoring.domain import decide_review, decide_score, evolve, unassigned

if TYPE_CHECKING:
    from collections.abc import Sequence

    from schemas.reviews import ApplicationScored, ReviewSubmitted
    from services.chassis.database import Tx
    from services.scoring.domain import Review, Scorecard


@dataclass(frozen=True, slots=True)
class Taken:
    """A review that is in; `event` is its event's id."""

    review: str
    application: str
    event: str


async def take_reviews(
    tx: Tx, reviews: Sequence[Review], cards: dict[str, Scorecard] | None = None
) -> list[Taken | RefusedError]:
    """Take what the rules allow, in order, and score what is complete; says of each in turn what became of it.

    `cards` are those of all `reviews`, where this transaction has them locked already.
    """
    if cards is None:
        cards = await store.scorecards(tx.db, {review.body.application for review in reviews})
    cycles = await store.cycles(tx.db, {review.cycle for review in reviews})
    answers: list[Taken | RefusedError] = []
    taken: list[tuple[str, ReviewSubmitted]] = []
    scored: list[tuple[str, ApplicationScored]] = []
    for review in reviews:
        charter, card = cycles[review.cycle].charter, cards.get(review.body.application) or unassigned(review)
        try:
            event = decide_review(charter, card, review)
        except RefusedError as refusal:
            answers.append(refusal)
            continue
        event_id = tx.record(event)
        taken.append((event_id, event))
        answers.append(Taken(event.review, event.application, event_id))
        card = cards[event.application] = evolve(card, event, event_id)
        if complete := decide_score(charter, card):
            scored.append((tx.record(complete, cause=event_id), complete))
    await store.save_reviews(tx.db, taken, scored)
    return answers
