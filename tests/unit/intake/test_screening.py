"""Who is found eligible, what is asked and answered until when, and who gets more time."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.charter import Charter, CharterError
from schemas.exact import SetDigest
from schemas.screening import (
    ApplicationScreened,
    Correspondent,
    Correspondents,
    DraftState,
    SectionState,
    Verdict,
)
from schemas.workdays import Calendar
from services.chassis.refusal import RefusedError
from services.intake.applications.domain import Application
from services.intake.cycles.domain import Cycle, open_cycle
from services.intake.deadlines.domain import Pending, Told, extend_application, is_due, remind, reminders
from services.intake.screening.domain import (
    Screened,
    clarify,
    evolve_screened,
    finish,
    request_withdrawal,
    screen,
    stage,
)
from tests.screened import SCREENED, UNSCREENED

OPENS = datetime(2026, 11, 2, 9, tzinfo=UTC)
DEADLINE = datetime(2026, 11, 30, 17, tzinfo=UTC)
AFTER = DEADLINE + timedelta(days=1)
"""A Tuesday."""
HERE = Application("a1", "c", 2, "s2")


def opened(charter: str = SCREENED) -> Cycle:
    event = open_cycle("c", charter, DEADLINE, seed=bytes(32), now=OPENS, taken=False, demonstration=False)
    return Cycle(opened=event, deadline=DEADLINE, closed=False, latest="opened")


CLOSED = replace(opened(), closed=True)


def judged(event: ApplicationScreened, name: str = "v1") -> Screened:
    return evolve_screened(None, event, name)


ASKED = judged(screen(CLOSED, HERE, None, "sent-back", text="Which year?", now=AFTER), "q1")


def rule_of(command: Callable[[], object]) -> str:
    with pytest.raises(RefusedError) as error:
        command()
    return error.value.rule


# --- verdicts -------------------------------------------------------------------------------------------------------


def test_a_verdict_names_the_version_that_it_is_on_and_seals_ground_and_reason() -> None:
    event = screen(CLOSED, HERE, None, "ineligible", ground="not-eligible", text="A museum.", now=AFTER)
    assert (event.submitted, event.verdict, event.due) == ("s2", "ineligible", None)
    assert event.public() == {"submitted": "s2", "verdict": "ineligible", "due": None}
    assert event.blocks() == {"private": {"ground": "not-eligible", "text": "A museum."}}


@pytest.mark.parametrize(
    ("cycle", "application", "verdict", "given", "rule"),
    [
        (opened(), HERE, "eligible", {}, "not-closed"),
        (replace(opened(UNSCREENED), closed=True), HERE, "eligible", {}, "no-screening"),
        (replace(CLOSED, screened=True), HERE, "eligible", {}, "screened"),
        (CLOSED, None, "eligible", {}, "not-standing"),
        (CLOSED, replace(HERE, withdrawn=True), "eligible", {}, "not-standing"),
        (CLOSED, HERE, "ineligible", {"text": "why"}, "unknown-ground"),
        (CLOSED, HERE, "ineligible", {"text": "why", "ground": "dislike"}, "unknown-ground"),
        (CLOSED, HERE, "ineligible", {"ground": "not-eligible", "text": " \n"}, "no-text"),
        (CLOSED, HERE, "sent-back", {}, "no-text"),
        (CLOSED, HERE, "sent-back", {"text": "?", "ground": "not-eligible"}, "ground"),
        (CLOSED, HERE, "sent-back", {"text": "?", "due": AFTER}, "due"),
        (CLOSED, HERE, "sent-back", {"text": "?", "due": AFTER + timedelta(days=9)}, "due"),
        (CLOSED, HERE, "eligible", {"due": AFTER + timedelta(days=2)}, "due"),
    ],
)
def test_what_the_rules_do_not_allow_is_refused(
    cycle: Cycle, application: Application | None, verdict: Verdict, given: dict[str, Any], rule: str
) -> None:
    assert rule_of(lambda: screen(cycle, application, None, verdict, **given, now=AFTER)) == rule


def test_a_question_is_due_after_the_charters_business_days_unless_it_says_sooner() -> None:
    assert ASKED.due == datetime(2026, 12, 8, 17, tzinfo=UTC)
    sooner = AFTER + timedelta(days=2)
    assert screen(CLOSED, HERE, None, "sent-back", text="?", due=sooner, now=AFTER).due == sooner


def test_while_a_question_is_open_there_is_no_other_verdict_and_afterwards_there_is() -> None:
    assert rule_of(lambda: screen(CLOSED, HERE, ASKED, "eligible", now=AFTER)) == "question-open"
    assert ASKED.due is not None
    assert stage(ASKED, ASKED.due - timedelta(milliseconds=1)) == "asked"
    assert stage(ASKED, ASKED.due) == "overdue"
    assert screen(CLOSED, HERE, ASKED, "eligible", now=ASKED.due).verdict == "eligible"
    answered = evolve_screened(ASKED, clarify(CLOSED, ASKED, "2025.", now=AFTER), "c1")
    assert stage(answered, ASKED.due) == "answered"
    assert screen(CLOSED, HERE, answered, "sent-back", text="Sure?", now=AFTER).verdict == "sent-back"


def test_a_question_is_answered_once_in_time_and_by_its_id() -> None:
    event = clarify(CLOSED, ASKED, "2025.", now=AFTER)
    assert event.question == "q1"
    answered = evolve_screened(ASKED, event, "c1")
    assert rule_of(lambda: clarify(CLOSED, answered, "2024.", now=AFTER)) == "answered"
    assert rule_of(lambda: clarify(CLOSED, ASKED, "2025.", now=ASKED.due or AFTER)) == "due-passed"
    assert rule_of(lambda: clarify(CLOSED, None, "2025.", now=AFTER)) == "no-question"


VERDICTS = st.sampled_from(["eligible", "ineligible", "sent-back", None])


@given(st.dictionaries(st.sampled_from(["a1", "a2", "a3", "a4"]), VERDICTS))
def test_a_screening_ends_with_exactly_the_eligible_ones_or_names_what_lacks_a_verdict(
    verdicts: dict[str, str | None],
) -> None:
    standing = {name: f"s-{name}" for name in verdicts}
    found = {
        name: Screened(name, "c", f"s-{name}", verdict, "v")  # type: ignore[arg-type]
        for name, verdict in verdicts.items()
        if verdict
    }
    lacking, event = finish(CLOSED, standing, found)
    assert lacking == sorted(name for name, verdict in verdicts.items() if verdict in {None, "sent-back"})
    assert (event is None) == bool(lacking)
    if event is not None:
        assert event.eligible == SetDigest.of(
            f"s-{name}" for name, verdict in verdicts.items() if verdict == "eligible"
        )


# --- withdrawal after the deadline ----------------------------------------------------------------------------------


def test_a_withdrawal_is_asked_for_once_and_only_after_the_deadline() -> None:
    event = request_withdrawal(CLOSED, HERE, "our budget", asked=False, now=AFTER)
    assert event.blocks() == {"private": {"reason": "our budget"}}


@pytest.mark.parametrize(
    ("cycle", "application", "asked", "now", "rule"),
    [
        (opened(), HERE, False, DEADLINE - timedelta(seconds=1), "deadline-not-passed"),
        (CLOSED, HERE, True, AFTER, "requested"),
        (CLOSED, None, False, AFTER, "not-submitted"),
        (CLOSED, replace(HERE, withdrawn=True), False, AFTER, "withdrawn"),
    ],
)
def test_what_cannot_be_asked_back_is_refused(
    cycle: Cycle, application: Application | None, asked: bool, now: datetime, rule: str
) -> None:
    assert rule_of(lambda: request_withdrawal(cycle, application, "", asked=asked, now=now)) == rule


# --- deadlines ------------------------------------------------------------------------------------------------------


def more(deadline: datetime, ground: str = "outage", now: datetime = OPENS, own: Cycle | None = None) -> datetime:
    event = extend_application(
        opened(), own or opened(), "a1", None, deadline, ground=ground, reason="A flood.", now=now
    )
    assert event.public() == {"deadline": event.model_dump(mode="json")["deadline"]}
    return event.deadline


def test_one_application_gets_more_time_up_to_ten_business_days_on_a_ground_of_the_charter() -> None:
    latest = datetime(2026, 12, 14, 17, tzinfo=UTC)
    assert more(latest) == latest
    assert rule_of(lambda: more(latest + timedelta(milliseconds=1))) == "extension-too-long"
    assert rule_of(lambda: more(DEADLINE)) == "deadline-not-later"
    assert rule_of(lambda: more(latest, ground="haste")) == "unknown-ground"
    assert rule_of(lambda: more(latest, now=DEADLINE)) == "deadline-passed"
    extended = replace(opened(), deadline=DEADLINE + timedelta(days=2))
    assert more(latest, own=extended, now=DEADLINE) == latest
    assert rule_of(lambda: more(DEADLINE + timedelta(days=1), own=extended)) == "deadline-not-later"


def test_business_days_leave_out_weekends_and_holidays_and_keep_the_hour_over_a_change_of_clocks() -> None:
    calendar = Charter.parse(SCREENED).calendar
    thursday = datetime(2026, 12, 24, 17, tzinfo=UTC)
    assert calendar.after(thursday, 1) == datetime(2026, 12, 28, 17, tzinfo=UTC)
    before = datetime(2026, 10, 30, 16, tzinfo=UTC)  # noon in New York, and an hour later by UTC once summer is over
    assert calendar.after(before, 1) == datetime(2026, 11, 2, 17, tzinfo=UTC)
    assert calendar.local(before).isoformat() == "2026-10-30T12:00:00-04:00"


@given(st.integers(0, 90_000), st.integers(1, 60))
def test_so_many_business_days_later_is_a_business_day(hours: int, days: int) -> None:
    moment = OPENS + timedelta(hours=hours)
    found = Calendar().after(moment, days)
    assert found.weekday() < 5
    assert days <= (found - moment).days <= days + 2 * (days // 5 + 1)


@pytest.mark.parametrize("zone", ["", "Nowhere/Land", "../etc/passwd", "America", "America/new_york_"])
def test_an_unknown_time_zone_is_refused_with_the_charter(zone: str) -> None:
    with pytest.raises(CharterError, match=r"calendar\.zone"):
        Charter.parse(SCREENED.replace("America/New_York", zone))


def test_a_ground_of_the_screening_that_is_named_twice_is_refused_with_the_charter() -> None:
    with pytest.raises(CharterError, match=r"applying.screening.grounds\[1\].id"):
        Charter.parse(SCREENED.replace('id = "not-authorised"', 'id = "not-eligible"'))


def test_reminders_come_14_7_and_2_days_before_and_none_that_is_past() -> None:
    assert [days for days, _ in reminders(DEADLINE, OPENS)] == [14, 7, 2]
    assert reminders(DEADLINE, DEADLINE - timedelta(days=3)) == [(2, DEADLINE - timedelta(days=2))]
    assert reminders(DEADLINE, DEADLINE) == []


def test_only_a_draft_whose_deadline_this_is_is_reminded_of() -> None:
    due, one = DEADLINE - timedelta(days=7), Pending("a1", "g1", DEADLINE)
    assert is_due(opened(), one, 7, DEADLINE, due)
    assert not is_due(opened(), replace(one, deadline=AFTER), 7, DEADLINE, due)
    assert not is_due(CLOSED, one, 7, DEADLINE, due)
    assert not is_due(opened(), one, 2, DEADLINE, DEADLINE)


def test_of_reminders_that_come_late_together_only_the_last_is_sent() -> None:
    one, late = Pending("a1", "g1", DEADLINE), DEADLINE - timedelta(days=1)
    assert [days for days in (14, 7, 2) if is_due(opened(), one, days, DEADLINE, late)] == [2]
    assert [days for days in (14, 7) if is_due(opened(), one, days, DEADLINE, DEADLINE - timedelta(days=6))] == [7]


def test_a_reminder_names_the_draft_its_people_and_what_it_lacks() -> None:
    people = Correspondents(people=[Correspondent(person="p1", email="lead@town.example")])
    state = DraftState(government="Town", incomplete=[SectionState(section="facts", asked=3, done=1)])
    event = remind(opened(), Pending("a1", "g1", DEADLINE), Told(people, state), 7)
    assert (event.government, event.of_cycle, event.days, event.deadline) == ("g1", "c", 7, DEADLINE)
    assert (event.contact, event.private) == (people, state)
