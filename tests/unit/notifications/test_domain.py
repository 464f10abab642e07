"""The rules of notices: filters, the retry schedule, what an answer means, and a subscription's life."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from functools import reduce
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from schemas.notices import (
    EndpointDisabled,
    NoticeDelivered,
    NoticeFailed,
    SubscriptionCancelled,
    SubscriptionConfirmed,
)
from services.chassis.refusal import RefusedError
from services.notifications import domain
from services.notifications.domain import (
    CHALLENGE_RETRIES,
    PATIENCE,
    RETRIES,
    Answer,
    AttemptFailed,
    ChallengeFailed,
    Delivery,
    Filters,
    Kind,
    Place,
    State,
    Subscription,
    Topic,
    after,
    evolve,
    matches,
    next_attempt,
    retry_after,
    settle,
)

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
NOTICE = Delivery(notice="n1", event="e1", kind="award")
CHALLENGE = Delivery(notice="n0", event="c1", kind="challenge")
PENDING = Subscription(subscription="s1", url="https://receiver.example/")
CONFIRMED = Subscription(subscription="s1", url="https://receiver.example/", state="confirmed")
FAILURES = (
    Answer(500),
    Answer(302),
    Answer(404),
    Answer(100),
    Answer(None, "no answer"),
    Answer(None, "no", final=True),
)

# --- filters --------------------------------------------------------------------------------------------------------

NAMES, STATES, TIERS, CYCLES = (
    ["Boston", "Dallas", "Denver"],
    ["Ohio", "Texas"],
    ["t1", "t2"],
    ["2011-2013", "2013-2015"],
)
places = st.builds(Place, st.sampled_from(NAMES), st.sampled_from(STATES), st.sampled_from(TIERS))
topics = st.builds(
    Topic,
    st.sampled_from(get_args(Kind)),
    st.sampled_from(CYCLES),
    st.lists(places, max_size=3).map(tuple),
)
filters = st.builds(
    Filters,
    types=st.lists(st.sampled_from(get_args(Kind)), max_size=2),
    states=st.lists(st.sampled_from(STATES), max_size=1),
    tiers=st.lists(st.sampled_from(TIERS), max_size=1),
    governments=st.lists(st.sampled_from(NAMES), max_size=2),
    cycles=st.lists(st.sampled_from(CYCLES), max_size=1),
)


@given(topics)
def test_who_asks_for_nothing_in_particular_gets_everything(topic: Topic) -> None:
    assert matches(Filters(), topic)


@given(filters, topics)
def test_a_notice_fits_where_its_kind_and_cycle_and_one_of_its_places_fit(wanted: Filters, topic: Topic) -> None:
    fitting = [
        place
        for place in topic.places
        if place.state in (wanted.states or STATES)
        and place.tier in (wanted.tiers or TIERS)
        and place.name in (wanted.governments or NAMES)
    ]
    local = wanted.states or wanted.tiers or wanted.governments
    assert matches(wanted, topic) == (
        topic.kind in (wanted.types or get_args(Kind))
        and topic.cycle in (wanted.cycles or CYCLES)
        and bool(fitting or not local)
    )


def test_governments_are_named_in_any_case() -> None:
    topic = Topic("award", "2011-2013", (Place("Santa Monica", "California", "t2"),))
    assert matches(Filters(governments=["SANTA monica"]), topic)
    assert not matches(Filters(governments=["Santa"]), topic)


@pytest.mark.parametrize("wrong", [{"state": ["Ohio"]}, {"types": ["decline"]}, {"states": [""]}, {"tiers": "t1"}])
def test_a_filter_that_would_be_ignored_is_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        Filters.model_validate(wrong)


# --- when to try again ----------------------------------------------------------------------------------------------

jitters = st.floats(0, 1, exclude_max=True)
waits = st.none() | st.timedeltas(timedelta(), timedelta(days=400))


def test_the_schedule_is_the_published_one() -> None:
    hours = [delay / timedelta(hours=1) for delay in RETRIES]
    assert hours == [5 / 3600, 5 / 60, 0.5, 2, 5, 10, 14, 20, 24]
    assert sum(RETRIES, timedelta()) < PATIENCE


@given(st.integers(1, 30), waits, jitters)
def test_there_are_ten_attempts_each_no_earlier_than_planned_or_asked_and_soon_enough(
    failed: int, wait: timedelta | None, jitter: float
) -> None:
    found = next_attempt(failed, NOW, wait, jitter)
    if failed >= 10:
        assert found is None
        return
    assert found is not None
    planned, asked = RETRIES[failed - 1], min(wait or timedelta(), RETRIES[-1])
    assert found - NOW >= max(planned, asked)
    assert found - NOW <= max(planned * 1.2, asked)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("120", 120),
        ("0", 0),
        ("9" * 300, 10**8),
        ("Sun, 01 Mar 2026 12:01:00 GMT", 60),
        ("Sun, 01 Mar 2026 12:01:00", 60),
        ("Sun, 01 Mar 2020 12:01:00 GMT", 0),
        ("-1", None),
        ("soon", None),
        ("", None),
        ("١٢", None),
        ("Sun, 99 Mar 2026 12:01:00 GMT", None),
        (None, None),
    ],
)
def test_retry_after_is_read_as_seconds_or_as_a_date(text: str | None, seconds: int | None) -> None:
    assert retry_after(text, NOW) == (None if seconds is None else timedelta(seconds=seconds))


@given(st.text())
def test_no_retry_after_is_too_strange(text: str) -> None:
    wait = retry_after(text, NOW)
    assert wait is None or wait >= timedelta()


# --- what an answer means -------------------------------------------------------------------------------------------


@given(st.integers(200, 299), st.integers(0, 9), jitters)
def test_any_2xx_delivers_and_ends_a_streak_of_failures(status: int, tries: int, jitter: float) -> None:
    failing = evolve(CONFIRMED, AttemptFailed(NOW))
    delivery = Delivery("n1", "e1", "award", tries=tries, attempts=tries + 3)
    settled = settle(failing, delivery, Answer(status), NOW, jitter)
    assert settled.facts == (NoticeDelivered(subscription="s1", notice="n1", event="e1", attempts=tries + 4),)
    assert (settled.state, settled.reason, settled.next_at) == ("delivered", "", None)
    assert after(failing, settled) == CONFIRMED


@pytest.mark.parametrize("answer", FAILURES, ids=lambda answer: f"{answer.status}-{answer.final}")
def test_anything_else_is_tried_nine_more_times_and_then_given_up(answer: Answer) -> None:
    subscription, now, reasons = CONFIRMED, NOW, set()
    for tries in range(9):
        settled = settle(subscription, Delivery("n1", "e1", "award", tries, tries), answer, now, 0)
        assert settled.state == "pending"
        assert settled.next_at == now + RETRIES[tries]
        subscription, now = after(subscription, settled), settled.next_at
        reasons.add(settled.reason)
    settled = settle(subscription, Delivery("n1", "e1", "award", 9, 9), answer, now, 0)
    (reason,) = reasons
    assert reason == (answer.reason or settled.reason)
    assert settled.facts[1:] == (NoticeFailed(subscription="s1", notice="n1", event="e1", attempts=10, reason=reason),)
    assert (settled.state, settled.next_at) == ("failed", None)
    assert after(subscription, settled).state == "confirmed"


def test_a_redirect_is_told_as_one_that_is_not_followed() -> None:
    assert settle(CONFIRMED, NOTICE, Answer(302), NOW, 0).reason == "answered 302: redirects are not followed"


def test_410_ends_the_subscription_at_once() -> None:
    settled = settle(CONFIRMED, NOTICE, Answer(410), NOW, 0)
    assert [type(fact) for fact in settled.facts] == [AttemptFailed, NoticeFailed, EndpointDisabled]
    assert settled.state == "failed"
    ended = after(CONFIRMED, settled)
    assert (ended.state, ended.reason) == ("disabled", "the endpoint answered 410: it wants no more notices")


@given(st.lists(st.timedeltas(timedelta(seconds=1), timedelta(days=6)), max_size=12))
def test_an_endpoint_is_disabled_by_five_days_of_failure_and_by_nothing_less(gaps: list[timedelta]) -> None:
    subscription, earlier, streak = CONFIRMED, NOW, NOW
    for gap in [timedelta(), *gaps]:
        now = earlier + gap
        streak = now if gap >= PATIENCE else streak
        settled = settle(subscription, NOTICE, Answer(500), now, 0)
        subscription, earlier = after(subscription, settled), now
        assert (subscription.state == "disabled") == (now - streak >= PATIENCE)
        if subscription.state == "disabled":
            assert settled.facts[-1] == EndpointDisabled(subscription="s1", reason="failing")
            return


def test_one_failure_long_after_another_is_no_streak() -> None:
    failed = after(CONFIRMED, settle(CONFIRMED, NOTICE, Answer(500), NOW, 0))
    again = after(failed, settle(failed, NOTICE, Answer(500), NOW + timedelta(days=700), 0))
    assert again.state == "confirmed"
    assert again.failing_since == NOW + timedelta(days=700)


# --- the challenge --------------------------------------------------------------------------------------------------


def test_a_challenge_that_is_answered_confirms() -> None:
    settled = settle(PENDING, CHALLENGE, Answer(200, proof=True), NOW, 0)
    (fact,) = settled.facts
    assert isinstance(fact, SubscriptionConfirmed)
    assert fact.contact is not None
    assert fact.contact.url == PENDING.url
    assert after(PENDING, settled).state == "confirmed"


@pytest.mark.parametrize(
    "answer", [Answer(200), Answer(204), Answer(410), Answer(None, "not a public address", final=True)]
)
def test_an_answer_without_the_challenge_or_without_hope_fails_at_once(answer: Answer) -> None:
    settled = settle(PENDING, CHALLENGE, answer, NOW, 0)
    ended = after(PENDING, settled)
    assert (settled.state, ended.state) == ("failed", "failed")
    assert ended.reason


def test_a_challenge_without_answer_is_repeated_within_minutes_whatever_the_endpoint_asks_for() -> None:
    subscription, now, seen = PENDING, NOW, []
    for tries in range(4):
        delivery = Delivery("n0", "c1", "challenge", tries, tries)
        settled = settle(subscription, delivery, Answer(503, retry_after=timedelta(days=1)), now, 0)
        subscription, now = after(subscription, settled), settled.next_at or now
        seen.append(settled.state)
    assert seen == ["pending", "pending", "pending", "failed"]
    assert now - NOW == CHALLENGE_RETRIES[-1] * 3
    assert (subscription.state, subscription.reason) == ("failed", "answered 503")


# --- a subscription's life ------------------------------------------------------------------------------------------

answers = st.builds(
    Answer,
    st.sampled_from([None, 200, 204, 302, 410, 500]),
    reason=st.just("no answer"),
    proof=st.booleans(),
    final=st.booleans(),
)
commands = st.one_of(
    st.just("cancel"),
    st.tuples(st.sampled_from([NOTICE, CHALLENGE, Delivery("n2", "e2", "expiry", 9, 9)]), answers),
)
NEXT: dict[State, set[State]] = {
    "pending": {"pending", "confirmed", "failed", "cancelled"},
    "confirmed": {"confirmed", "disabled", "cancelled"},
    "failed": {"failed", "cancelled"},
    "disabled": {"disabled", "cancelled"},
    "cancelled": {"cancelled"},
}


@given(st.lists(st.tuples(commands, st.timedeltas(timedelta(), timedelta(days=3))), max_size=30))
def test_a_subscription_only_goes_forward_and_is_told_of_nothing_unless_confirmed(
    history: list[tuple[str | tuple[Delivery, Answer], timedelta]],
) -> None:
    subscription, now = PENDING, NOW
    for command, passed in history:
        now += passed
        if isinstance(command, str):
            facts: tuple[domain.Fact, ...] = tuple(domain.cancel(subscription))
        else:
            facts = settle(subscription, *command, now, 0).facts
        if subscription.state != "confirmed":
            assert not any(isinstance(fact, NoticeDelivered | NoticeFailed | EndpointDisabled) for fact in facts)
        if subscription.state != "pending":
            assert not any(isinstance(fact, SubscriptionConfirmed | ChallengeFailed) for fact in facts)
        following = reduce(evolve, facts, subscription)
        assert following.state in NEXT[subscription.state]
        subscription = following


def test_cancelling_twice_is_cancelling_once() -> None:
    (event,) = domain.cancel(CONFIRMED)
    assert event == SubscriptionCancelled(subscription="s1")
    assert domain.cancel(evolve(CONFIRMED, event)) == []


@pytest.mark.parametrize("state", ["pending", "failed", "disabled", "cancelled"])
def test_nothing_is_sent_again_to_an_endpoint_that_gets_nothing(state: State) -> None:
    with pytest.raises(RefusedError, match=state) as refused:
        domain.replay(Subscription(subscription="s1", url="https://receiver.example/", state=state))
    assert refused.value.status == 409


def test_a_person_holds_no_more_subscriptions_than_the_settings_say() -> None:
    domain.subscribe(held=2, limit=3)
    with pytest.raises(RefusedError, match="cancel one"):
        domain.subscribe(held=3, limit=3)
