"""Which log, which order, and what is opened."""

from __future__ import annotations

from datetime import date

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.charter import Disclosure
from schemas.cycles import CohortAnnounced
from schemas.designations import DesignationGranted
from schemas.exact import SetDigest
from services.chassis.refusal import RefusedError
from services.ledger.domain import (
    PROGRAM,
    Arrival,
    Need,
    Sequencer,
    designated_subjects,
    log_of,
    opens,
    require_announced,
)

CYCLE = "2011-2013"


def arrival(name: str, subject: str, sequence: int, cause: str | None = None, event_type: str = "a.b.c.v1") -> Arrival:
    return Arrival(name, event_type, "/a", subject, sequence, cause, CYCLE)


OPENED = Arrival("opened", "intake.cycle.opened.v1", "/intake", CYCLE, 1, None, CYCLE)


@pytest.mark.parametrize(
    ("event_type", "cycle", "log"),
    [
        ("intake.application.submitted.v1", CYCLE, CYCLE),
        ("scoring.review.submitted.v1", CYCLE, CYCLE),
        ("awards.designation.expired.v1", CYCLE, CYCLE),
        ("ledger.log.opened.v1", CYCLE, CYCLE),
        ("ledger.log.opened.v1", None, PROGRAM),
        ("scoring.reviewer.enrolled.v1", CYCLE, PROGRAM),
        ("intake.member.joined.v1", None, PROGRAM),
        ("intake.member.left.v2", CYCLE, PROGRAM),
        ("notifications.notice.delivered.v1", CYCLE, PROGRAM),
        ("awards.practice.published.v1", "", PROGRAM),
    ],
)
def test_an_event_goes_to_its_cycles_log_or_to_the_programs(event_type: str, cycle: str | None, log: str) -> None:
    assert log_of(event_type, cycle) == log


def test_nothing_of_a_cycle_is_placed_before_its_opening() -> None:
    sequencer = Sequencer()
    first, second = arrival("1", "s", 1), arrival("2", "s", 2)
    assert sequencer.offer([second, first], []) == []
    assert sequencer.offer([OPENED], []) == [OPENED, first, second]


def test_a_log_is_opened_by_a_version_that_this_release_does_not_know() -> None:
    newer = OPENED._replace(type="intake.cycle.opened.v9")
    assert Sequencer().offer([arrival("1", "s", 1), newer], []) == [newer, arrival("1", "s", 1)]


def test_an_event_waits_for_its_cause_and_its_predecessor_both() -> None:
    sequencer = Sequencer()
    waiting = arrival("2", "s", 2, cause="elsewhere")
    assert sequencer.offer([OPENED, waiting], []) == [OPENED]
    assert sequencer.offer([arrival("1", "s", 1)], []) == [arrival("1", "s", 1)]
    cause = arrival("elsewhere", "t", 1)
    assert sequencer.offer([cause], []) == [cause, waiting]


def test_what_the_log_already_holds_is_not_waited_for() -> None:
    met: list[Need] = [("log", CYCLE), ("turn", "/a", "s", "1"), ("event", "why")]
    late = arrival("2", "s", 2, cause="why")
    assert Sequencer().offer([late], met) == [late]


def test_an_event_that_names_itself_as_its_cause_waits_for_ever() -> None:
    assert Sequencer().offer([OPENED, arrival("1", "s", 1, cause="1")], []) == [OPENED]


@st.composite
def histories(draw: st.DrawFn) -> list[Arrival]:
    """Events in an order in which they could have happened: gap-free per subject, causes before effects."""
    counts: dict[str, int] = {}
    made = [OPENED]
    for number in range(draw(st.integers(0, 25))):
        subject = draw(st.sampled_from("pqrs"))
        counts[subject] = counts.get(subject, 0) + 1
        cause = draw(st.none() | st.sampled_from([event.id for event in made]))
        made.append(arrival(f"e{number}", subject, counts[subject], cause))
    return made


@given(histories(), st.data())
def test_every_order_of_delivery_places_every_event_once_after_what_it_rests_on(
    history: list[Arrival], data: st.DataObject
) -> None:
    """As the inbox does it: a new sequencer per batch, the log and the held events in between."""
    delivered = data.draw(st.permutations(history))
    log: list[Arrival] = []
    held: list[Arrival] = []
    while delivered:
        size = data.draw(st.integers(1, len(delivered)))
        batch, delivered = delivered[:size], delivered[size:]
        met = [need for event in log for need in event.gives]
        log += Sequencer().offer(batch + held, met)
        held = [event for event in batch + held if event not in log]
    assert held == []
    assert sorted(event.id for event in log) == sorted(event.id for event in history)
    given_so_far: set[Need] = set()
    for event in log:
        assert given_so_far.issuperset(event.needs)
        given_so_far |= set(event.gives)


def grant(designation: str, application: str) -> DesignationGranted:
    return DesignationGranted(
        cycle=CYCLE,
        designation=designation,
        application=application,
        decided="d",
        starts_on=date(2011, 10, 17),
        ends_on=date(2013, 10, 17),
    )


def announcement(*designations: str) -> CohortAnnounced:
    return CohortAnnounced(
        cycle=CYCLE,
        announced_on=date(2011, 10, 17),
        designations=SetDigest.of(designations),
        highlights=[],
        narrative=[],
    )


def test_a_cycle_is_public_once_it_is_announced_with_exactly_the_designations_here() -> None:
    require_announced([announcement("d1", "d2")], [grant("d1", "a1"), grant("d2", "a2")])


@pytest.mark.parametrize(
    ("announced", "granted"),
    [
        ([], []),
        ([], [grant("d1", "a1")]),
        ([announcement("d1", "d2")], [grant("d1", "a1")]),
        ([announcement("d1")], [grant("d2", "a2")]),
        ([announcement("d1")], [grant("d1", "a1"), grant("d2", "a2")]),
    ],
    ids=["nothing", "granted only", "one missing", "another", "one too many"],
)
def test_it_is_not_public_before(announced: list[CohortAnnounced], granted: list[DesignationGranted]) -> None:
    with pytest.raises(RefusedError) as refused:
        require_announced(announced, granted)
    assert (refused.value.rule, refused.value.status) == ("not-announced", 409)


def test_only_what_the_charter_names_is_opened_and_only_of_the_designated() -> None:
    rule = Disclosure(designated=("identity", "answers"), not_designated=())
    designated = designated_subjects([grant("d1", "a1")])
    assert designated == {"d1", "a1"}
    assert opens(rule, designated, "a1", "identity")
    assert opens(rule, designated, "d1", "identity")
    assert opens(rule, designated, "a1", "answers/crm")
    assert not opens(rule, designated, "a1", "contact")
    assert not opens(rule, designated, "a1", "private")
    assert not opens(rule, designated, "a1", "identity2")
    assert not opens(rule, designated, "a2", "identity")
    counted = Disclosure(designated=(), not_designated=("scores",))
    assert opens(counted, designated, "a2", "scores")
    assert not opens(counted, designated, "a1", "scores")
