"""The rules of notices: who gets which, what an answer means, when to try again, and a subscription's life.

Instants here are machine time. A subscription goes pending → confirmed or failed, confirmed → disabled, and from any of
these → cancelled; only a confirmed one is sent notices. Facts that are no events stay inside this service.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from functools import reduce
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from schemas.envelope import Event
from schemas.notices import (
    Endpoint,
    EndpointDisabled,
    NoticeDelivered,
    NoticeFailed,
    SubscriptionCancelled,
    SubscriptionConfirmed,
)
from services.chassis.refusal import RefusedError

Kind = Literal["award", "renewal-due", "expiry", "announcement"]
CHALLENGE: Literal["challenge"] = "challenge"
State = Literal["pending", "confirmed", "failed", "disabled", "cancelled"]

RETRIES = (
    timedelta(seconds=5),
    timedelta(minutes=5),
    timedelta(minutes=30),
    *(timedelta(hours=hours) for hours in (2, 5, 10, 14, 20, 24)),
)
"""How long after the first, second, … failed attempt of a notice the next one comes. After the tenth none does."""
CHALLENGE_RETRIES = (timedelta(seconds=5), timedelta(seconds=30), timedelta(minutes=2))
"""The same for a challenge: somebody is waiting for it."""
JITTER = 5
"""A delay is stretched by up to a fifth, so that what failed together isn't tried again together."""
PATIENCE = timedelta(days=5)
"""Of failure without any success, after which an endpoint is disabled."""

OK, REDIRECT, CLIENT_ERROR, GONE = 200, 300, 400, 410

# --- who gets which -------------------------------------------------------------------------------------------------

Word = Annotated[str, Field(min_length=1, max_length=200)]
Words = Annotated[list[Word], Field(max_length=100)]


class Filters(BaseModel):
    """What a subscriber wants to be told of; an empty list leaves nothing out. `governments` are names, in any case."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    types: Annotated[list[Kind], Field(max_length=10)] = []
    states: Words = []
    tiers: Words = []
    governments: Words = []
    cycles: Words = []


@dataclass(frozen=True, slots=True)
class Place:
    """A government as filters see it."""

    name: str
    state: str
    tier: str


@dataclass(frozen=True, slots=True)
class Topic:
    """What a notice tells of: one government, or all that an announcement designates; none that must stay unnamed."""

    kind: Kind
    cycle: str
    places: tuple[Place, ...]


def matches(filters: Filters, topic: Topic) -> bool:
    """Whether a subscriber with these filters gets a notice of this; one place that fits all filters suffices."""
    if filters.types and topic.kind not in filters.types:
        return False
    if filters.cycles and topic.cycle not in filters.cycles:
        return False
    anywhere = not (filters.states or filters.tiers or filters.governments)
    return anywhere or any(_inside(filters, place) for place in topic.places)


def _inside(filters: Filters, place: Place) -> bool:
    names = [name.casefold() for name in filters.governments]
    return (
        (not filters.states or place.state in filters.states)
        and (not filters.tiers or place.tier in filters.tiers)
        and (not names or place.name.casefold() in names)
    )


# --- a subscription's life ------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Subscription:
    """A subscription as it stands. `failing_since` and `failed_at` are the first and last failure since a success."""

    subscription: str
    url: str
    state: State = "pending"
    reason: str = ""
    failing_since: datetime | None = None
    failed_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class ChallengeFailed:
    """An endpoint did not answer its challenge; `reason` is for who asked for the subscription."""

    reason: str


@dataclass(frozen=True, slots=True)
class AttemptFailed:
    """An endpoint did not take a notice this time."""

    at: datetime


Fact = Event | ChallengeFailed | AttemptFailed
DISABLED_BECAUSE = {
    "gone": "the endpoint answered 410: it wants no more notices",
    "failing": "the endpoint took no notice for five days",
}


def evolve(subscription: Subscription, fact: Fact) -> Subscription:
    """The subscription after a fact."""
    changes: dict[str, Any] = {}
    match fact:
        case SubscriptionConfirmed():
            changes = {"state": "confirmed"}
        case ChallengeFailed(reason):
            changes = {"state": "failed", "reason": reason}
        case SubscriptionCancelled():
            changes = {"state": "cancelled", "reason": ""}
        case EndpointDisabled(reason=why):
            changes = {"state": "disabled", "reason": DISABLED_BECAUSE[why]}
        case NoticeDelivered():
            changes = {"failing_since": None, "failed_at": None}
        case AttemptFailed(at):
            # Where nothing was sent for days, the endpoint did not fail for days.
            streak = subscription.failed_at is not None and at - subscription.failed_at < PATIENCE
            changes = {"failing_since": subscription.failing_since if streak else at, "failed_at": at}
    return replace(subscription, **changes)


def subscribe(held: int, limit: int) -> None:
    """Refuse a person who has `limit` live subscriptions: each one makes us call an address that a stranger named."""
    if held >= limit:
        raise RefusedError("too-many-subscriptions", f"You have {held} subscriptions; cancel one of them first.")


def cancel(subscription: Subscription) -> list[Event]:
    """Cancel; cancelling again changes nothing."""
    if subscription.state == "cancelled":
        return []
    return [SubscriptionCancelled(subscription=subscription.subscription)]


def replay(subscription: Subscription) -> None:
    """Refuse to send a notice again to an endpoint that gets none."""
    if subscription.state != "confirmed":
        detail = f"This subscription is {subscription.state}; only a confirmed one is sent notices."
        raise RefusedError("not-confirmed", detail)


# --- attempts -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Delivery:
    """A notice, or a challenge, on its way. `tries` counts the failed attempts of this round, `attempts` all so far."""

    notice: str
    event: str
    kind: Kind | Literal["challenge"]
    tries: int = 0
    attempts: int = 0


@dataclass(frozen=True, slots=True)
class Answer:
    """What an attempt met with. `status` None: no answer, for `reason`; `final`: trying again is of no use."""

    status: int | None
    reason: str = ""
    retry_after: timedelta | None = None
    proof: bool = False
    """Whether the body held the challenge."""
    final: bool = False

    @property
    def taken(self) -> bool:
        """Only 2xx is success."""
        return self.status is not None and OK <= self.status < REDIRECT

    @property
    def complaint(self) -> str:
        """Why it is no success, for the subscriber; nothing of what was answered."""
        if self.status is None or self.taken:
            return self.reason
        if REDIRECT <= self.status < CLIENT_ERROR:
            return f"answered {self.status}: redirects are not followed"
        return f"answered {self.status}"


@dataclass(frozen=True, slots=True)
class Settlement:
    """What an attempt came to: facts in their order, the delivery's new state and, while it is pending, what is due."""

    facts: tuple[Fact, ...]
    state: Literal["pending", "delivered", "failed", "dropped"]
    reason: str = ""
    next_at: datetime | None = None


def settle(subscription: Subscription, delivery: Delivery, answer: Answer, now: datetime, jitter: float) -> Settlement:
    """Judge one attempt. `jitter` is a random number from 0 to 1."""
    if delivery.kind == CHALLENGE:
        return _settle_challenge(subscription, delivery, answer, now, jitter)
    if subscription.state != "confirmed":
        return Settlement((), "dropped", "the subscription ended meanwhile")
    name, attempts = subscription.subscription, delivery.attempts + 1
    if answer.taken:
        told = NoticeDelivered(subscription=name, notice=delivery.notice, event=delivery.event, attempts=attempts)
        return Settlement((told,), "delivered")
    missed = AttemptFailed(now)
    disabled = _disabled(evolve(subscription, missed), answer, now)
    next_at = next_attempt(delivery.tries + 1, now, answer.retry_after, jitter)
    if next_at is not None and disabled is None:
        return Settlement((missed,), "pending", answer.complaint, next_at)
    given_up = NoticeFailed(
        subscription=name, notice=delivery.notice, event=delivery.event, attempts=attempts, reason=answer.complaint
    )
    return Settlement((missed, given_up, *([disabled] if disabled else [])), "failed", answer.complaint)


def _disabled(failing: Subscription, answer: Answer, now: datetime) -> EndpointDisabled | None:
    if answer.status == GONE:
        return EndpointDisabled(subscription=failing.subscription, reason="gone")
    if failing.failing_since is not None and now - failing.failing_since >= PATIENCE:
        return EndpointDisabled(subscription=failing.subscription, reason="failing")
    return None


def _settle_challenge(
    subscription: Subscription, delivery: Delivery, answer: Answer, now: datetime, jitter: float
) -> Settlement:
    if subscription.state != "pending":
        return Settlement((), "dropped", "the subscription ended meanwhile")
    if answer.taken and answer.proof:
        endpoint = Endpoint(url=subscription.url)
        confirmed = SubscriptionConfirmed(subscription=subscription.subscription, channel="webhook", contact=endpoint)
        return Settlement((confirmed,), "delivered")
    reason = answer.complaint or "the answer does not hold the challenge"
    next_at = next_attempt(delivery.tries + 1, now, answer.retry_after, jitter, CHALLENGE_RETRIES)
    if next_at is None or answer.taken or answer.final or answer.status == GONE:
        return Settlement((ChallengeFailed(reason),), "failed", reason)
    return Settlement((), "pending", reason, next_at)


def after(subscription: Subscription, settlement: Settlement) -> Subscription:
    """The subscription once an attempt is settled."""
    return reduce(evolve, settlement.facts, subscription)


def next_attempt(
    failed: int,
    now: datetime,
    retry_after: timedelta | None,
    jitter: float,
    delays: tuple[timedelta, ...] = RETRIES,
) -> datetime | None:
    """When to try again after the `failed`th failure (from 1), or None for never.

    An endpoint may ask for more time with Retry-After, up to the longest of `delays`; never for less.
    """
    if failed > len(delays):
        return None
    planned = delays[failed - 1]
    asked = min(retry_after or timedelta(), max(delays))
    return now + max(planned + planned * jitter / JITTER, asked)


def retry_after(text: str | None, now: datetime) -> timedelta | None:
    """A Retry-After header's value, seconds or an HTTP date, as a delay from `now`; None where it is neither."""
    if text is None:
        return None
    if text.isascii() and text.isdigit():
        return timedelta(seconds=min(int(text[:10]), 10**8))
    try:
        moment = parsedate_to_datetime(text)
    except ValueError:
        return None
    return max(moment.replace(tzinfo=moment.tzinfo or UTC) - now, timedelta())
