"""What the offline verifier finds wrong with own deadlines and with a screening."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime, timedelta
from fractions import Fraction
from typing import Any

import pytest

from schemas.charter import Charter
from schemas.designations import DecisionMade, Outcome, WithdrawalAccepted, WithdrawalAnswer, WithdrawalRefused
from schemas.envelope import Event
from schemas.exact import Ratio, SetDigest
from schemas.reviews import Assignee, ReviewAssigned
from schemas.screening import (
    ApplicationExtended,
    ApplicationScreened,
    CycleScreened,
    Extension,
    Screening,
    Verdict,
    WithdrawalRequest,
    WithdrawalRequested,
)
from services.eligibility import eligible, own_deadlines, released
from tests.given import written
from tests.screened import SCREENED, UNSCREENED

CHARTER, PLAIN = Charter.parse(SCREENED), Charter.parse(UNSCREENED)
DEADLINE = datetime(2026, 11, 30, 17, tzinfo=UTC)
VERSIONS = {"a1": "s1", "a2": "s2"}


class Held:
    """A log that holds these events, each recorded at its time."""

    def __init__(self, *events: Event, at: datetime = DEADLINE) -> None:
        self._events = [(written(event, number, time=at).header, event) for number, event in enumerate(events, start=1)]

    def add(self, *events: Event) -> None:
        self._events += [(written(event, 1, time=DEADLINE).header, event) for event in events]

    def of(self, model: type[Event]) -> Iterator[Any]:
        return ((header, event) for header, event in self._events if isinstance(event, model))


def verdict(name: str, said: Verdict, *, on: str = "", ground: str = "") -> ApplicationScreened:
    return ApplicationScreened(
        cycle="c",
        application=name,
        submitted=on or VERSIONS[name],
        verdict=said,
        private=Screening(ground=ground or "not-eligible" * (said == "ineligible"), text="because"),
    )


def ended(*versions: str) -> CycleScreened:
    return CycleScreened(cycle="c", eligible=SetDigest.of(versions))


def seat(name: str) -> ReviewAssigned:
    return ReviewAssigned(cycle="c", application=name, review=f"r-{name}", private=Assignee(reviewer="p"))


GOOD = (verdict("a1", "eligible"), verdict("a2", "ineligible"), ended("s1"))


def test_a_screening_that_holds_leaves_what_was_last_found_eligible() -> None:
    again = (verdict("a1", "ineligible"), verdict("a1", "sent-back"), *GOOD, seat("a1"))
    assert eligible(Held(*again), CHARTER, VERSIONS) == ({"a1"}, [])  # type: ignore[arg-type]


def test_without_a_screening_everything_that_stands_is_reviewed() -> None:
    assert eligible(Held(seat("a1"), seat("a2")), PLAIN, VERSIONS) == ({"a1", "a2"}, [])  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("charter", "events", "says"),
    [
        (PLAIN, GOOD, "does not provide for"),
        (CHARTER, (*GOOD[:2], seat("a1")), "never ended"),
        (CHARTER, (*GOOD[:2], ended("s1", "s2")), "does not state the versions"),
        (CHARTER, (*GOOD, GOOD[2]), "does not state the versions"),
        (CHARTER, (*GOOD, seat("a2")), "application a2: reviewed"),
        (CHARTER, (GOOD[0], ended("s1")), "application a2: the screening ended without"),
        (CHARTER, (GOOD[0], verdict("a2", "sent-back"), ended("s1")), "application a2: the screening ended without"),
        (CHARTER, (GOOD[0], verdict("a2", "ineligible", on="s9"), ended("s1")), "a2: the verdict is on another"),
        (CHARTER, (GOOD[0], verdict("a2", "ineligible", ground="dislike"), ended("s1")), "a2: ineligible on a ground"),
    ],
)
def test_what_does_not_hold_is_named(charter: Charter, events: tuple[Event, ...], says: str) -> None:
    _, findings = eligible(Held(*events), charter, VERSIONS)  # type: ignore[arg-type]
    (finding,) = findings
    assert says in finding


ASKED, OTHER = (
    WithdrawalRequested(cycle="c", application=name, private=WithdrawalRequest(reason="no time")) for name in VERSIONS
)


def given(name: str, request: str) -> WithdrawalAccepted:
    return WithdrawalAccepted(cycle="c", application=name, requested=request)


def kept(name: str, request: str) -> WithdrawalRefused:
    return WithdrawalRefused(cycle="c", application=name, requested=request, private=WithdrawalAnswer(reason="no"))


def decided(name: str) -> DecisionMade:
    outcome = Outcome(level=None, total=Ratio.of(Fraction(1, 2)), unmet=["total"])
    return DecisionMade(cycle="c", application=name, proposed="p", announce_on=date(2027, 1, 1), scores=outcome)


def settled(*settlements: Callable[[str, str], Event], events: tuple[Event, ...] = ()) -> tuple[set[str], list[str]]:
    """What is found where these settle the request for a1, and a2's was made, too."""
    log = Held(ASKED, OTHER, *events)
    (asked, _), (other, _) = log.of(WithdrawalRequested)
    log.add(*(one(asked.id, other.id) for one in settlements))
    return released(log, set(VERSIONS))  # type: ignore[arg-type]


def test_what_the_board_gave_back_on_request_is_left_out_and_what_it_kept_is_not() -> None:
    assert settled(lambda mine, _: given("a1", mine), lambda _, other: kept("a2", other)) == ({"a1"}, [])


@pytest.mark.parametrize(
    ("settlements", "events", "says"),
    [
        ((lambda _, other: given("a1", other),), (), "a1: its withdrawal was settled, which it did not ask for"),
        ((lambda _, __: kept("a1", "nothing"),), (), "a1: its withdrawal was settled, which it did not ask for"),
        ((lambda mine, _: given("a1", mine), lambda mine, _: kept("a1", mine)), (), "settled more than once"),
        ((lambda mine, _: kept("a1", mine), lambda mine, _: kept("a1", mine)), (), "settled more than once"),
        ((lambda mine, _: given("a1", mine), lambda mine, _: given("a1", mine)), (), "settled more than once"),
        ((lambda _, other: given("a1", other), lambda mine, _: given("a1", mine)), (), "which it did not ask for"),
        ((lambda mine, _: given("a1", mine),), (decided("a1"),), "a1: withdrawn, yet decided"),
    ],
)
def test_a_settlement_that_does_not_hold_is_named(
    settlements: tuple[Callable[[str, str], Event], ...], events: tuple[Event, ...], says: str
) -> None:
    _, (finding, *_) = settled(*settlements, events=events)
    assert says in finding


def test_what_did_not_stand_cannot_be_given_back() -> None:
    log = Held(ASKED)
    ((asked, _),) = log.of(WithdrawalRequested)
    log.add(given("a1", asked.id))
    assert released(log, {"a2"}) == (  # type: ignore[arg-type]
        {"a1"},
        ["application a1: withdrawn, though it did not stand"],
    )


def more(hours: float, ground: str = "outage") -> ApplicationExtended:
    deadline = DEADLINE + timedelta(hours=hours)
    return ApplicationExtended(
        cycle="c", application="a1", deadline=deadline, private=Extension(ground=ground, reason="a flood")
    )


def test_the_latest_own_deadline_holds() -> None:
    before = DEADLINE - timedelta(days=1)
    log = Held(more(24), more(48), at=before)
    assert own_deadlines(log, CHARTER, DEADLINE) == ({"a1": DEADLINE + timedelta(days=2)}, [])  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("event", "at", "says"),
    [
        (more(24 * 14 + 1), DEADLINE, "that the charter does not allow"),
        (more(24, "haste"), DEADLINE, "that is not the charter's"),
        (more(24), DEADLINE + timedelta(days=1), "had passed when it was given"),
    ],
)
def test_an_own_deadline_that_does_not_hold_is_named(event: Event, at: datetime, says: str) -> None:
    _, findings = own_deadlines(Held(event, at=at), CHARTER, DEADLINE)  # type: ignore[arg-type]
    (finding,) = findings
    assert says in finding
