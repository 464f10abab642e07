"""Awards decides exactly what the charter says, for the term that it says, and announces only the whole decided set."""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import replace
from datetime import date, timedelta
from fractions import Fraction
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.applications import ApplicationSubmitted, ApplicationWithdrawn, Claims, Contact, Identity, Withdrawal
from schemas.charter import Charter
from schemas.cycles import CycleClosed
from schemas.designations import DecisionMade, DecisionProposed, Outcome, WithdrawalAccepted, WithdrawalRefused
from schemas.envelope import Event
from schemas.exact import Ratio, SetDigest
from schemas.reviews import ApplicationScored, AreaShare, Scores
from schemas.screening import ApplicationScreened, CycleScreened, Screening, Verdict, WithdrawalRequested
from services.awards import domain, rules
from services.awards.domain import Application, Cycle
from services.chassis.refusal import RefusedError
from tests.screened import SCREENED, UNSCREENED

PROGRAMS = Path(__file__).resolve().parents[3] / "deploy" / "programs"
CHARTER = Charter.parse(UNSCREENED)
SPANISH = Charter.parse((PROGRAMS / "servicio-claro.toml").read_text(encoding="utf-8"))
TODAY = date(2011, 10, 3)
DAY = date(2011, 10, 17)

charters = st.sampled_from([CHARTER, SPANISH])


def core(charter: Charter) -> list[str]:
    return [criterion.id for area in charter.areas for criterion in area.criteria if criterion.core]


def scores(charter: Charter, points: Mapping[str, Fraction]) -> Scores:
    """Scores as scoring computes them from each criterion's score."""
    areas, total = {}, Fraction(0)
    for area in charter.areas:
        given_here = [points[criterion.id] for criterion in area.criteria if criterion.id in points]
        maximum = charter.scale.max * len(given_here)
        share = sum(given_here, Fraction(0)) / maximum
        total += share * area.weight / 100
        areas[area.id] = AreaShare(
            points=Ratio.of(sum(given_here, Fraction(0))), maximum=maximum, share=Ratio.of(share)
        )
    return Scores(
        criteria={name: Ratio.of(score) for name, score in points.items()}, areas=areas, total=Ratio.of(total)
    )


def bare(charter: Charter, *, total: Fraction, areas: Mapping[str, Fraction], cores: Mapping[str, Fraction]) -> Scores:
    """Scores with each figure set for itself."""
    return Scores(
        criteria={name: Ratio.of(score) for name, score in cores.items()},
        areas={
            area.id: AreaShare(points=Ratio.of(0), maximum=1, share=Ratio.of(areas[area.id])) for area in charter.areas
        },
        total=Ratio.of(total),
    )


@st.composite
def points(draw: st.DrawFn, charter: Charter) -> dict[str, Fraction]:
    kind = draw(st.sampled_from(charter.eligibility.kinds))
    names = list(charter.criteria(kind))
    sixths = st.integers(6 * charter.scale.min, 6 * charter.scale.max)
    drawn = draw(st.lists(sixths, min_size=len(names), max_size=len(names)))
    return {name: Fraction(number, 6) for name, number in zip(names, drawn, strict=True)}


def rank(charter: Charter, outcome: Outcome) -> int:
    """-1 for no level, then 0 for the lowest."""
    return [level.id for level in charter.levels].index(outcome.level) if outcome.level else -1


# --- outcomes -------------------------------------------------------------------------------------------------------


@given(charters, st.data())
def test_a_level_is_reached_at_equality_and_missed_by_the_least_bit(charter: Charter, data: st.DataObject) -> None:
    number = data.draw(st.integers(0, len(charter.levels) - 1))
    level = charter.levels[number]
    least = Fraction(1, data.draw(st.integers(1000, 10**9)))
    areas = {area.id: level.every_area for area in charter.areas}
    cores = {name: Fraction(level.every_core or 0) for name in core(charter)}
    exactly = rules.outcome(charter, bare(charter, total=level.total, areas=areas, cores=cores))
    assert (exactly.level, exactly.unmet) == (level.id, [])

    condition = data.draw(
        st.sampled_from(["total", *(f"area:{name}" for name in areas), *(f"core:{c}" for c in cores)])
    )
    what, _, name = condition.partition(":")
    below = bare(
        charter,
        total=level.total - (least if what == "total" else 0),
        areas={**areas, name: level.every_area - least} if what == "area" else areas,
        cores={**cores, name: cores[name] - least} if what == "core" else cores,
    )
    missed = rules.outcome(charter, below)
    assert rank(charter, missed) < number
    if number == 0:
        assert missed.unmet == [condition]


@given(charters, st.data())
def test_a_higher_score_never_lowers_the_level(charter: Charter, data: st.DataObject) -> None:
    before = data.draw(points(charter))
    raised = data.draw(st.sampled_from(sorted(before)))
    step = data.draw(st.fractions(min_value=0, max_value=charter.scale.max - before[raised], max_denominator=6))
    after = {**before, raised: before[raised] + step}
    lower, higher = (rules.outcome(charter, scores(charter, each)) for each in (before, after))
    assert rank(charter, higher) >= rank(charter, lower)
    assert set(higher.unmet) <= set(lower.unmet)


@given(charters, st.data())
def test_a_failing_core_criterion_cannot_be_bought_by_the_rest(charter: Charter, data: st.DataObject) -> None:
    failing = data.draw(st.sampled_from(core(charter)))
    needed = charter.levels[0].every_core
    assert needed is not None
    best = {name: Fraction(charter.scale.max) for kind in charter.eligibility.kinds for name in charter.criteria(kind)}
    score = data.draw(st.fractions(min_value=charter.scale.min, max_value=needed, max_denominator=100))
    outcome = rules.outcome(charter, scores(charter, {**best, failing: score}))
    assert (f"core:{failing}" in outcome.unmet) == (outcome.level is None) == (score < needed)


@given(charters, st.data())
def test_nobody_is_designated_with_a_condition_unmet_and_everybody_without(
    charter: Charter, data: st.DataObject
) -> None:
    outcome = rules.outcome(charter, scores(charter, data.draw(points(charter))))
    assert (outcome.level is None) == bool(outcome.unmet)


def test_the_highest_level_that_holds_is_awarded() -> None:
    best = dict.fromkeys(SPANISH.criteria("municipio"), Fraction(10))
    assert [level.id for level in SPANISH.levels] == ["bronce", "plata", "oro"]
    assert rules.outcome(SPANISH, scores(SPANISH, best)).level == "oro"
    weaker = {**best, core(SPANISH)[0]: Fraction(13, 2)}
    assert rules.outcome(SPANISH, scores(SPANISH, weaker)).level == "plata"


def test_a_core_criterion_that_does_not_apply_fails_nobody() -> None:
    best = scores(CHARTER, dict.fromkeys(CHARTER.criteria("city"), Fraction(4)))
    without = best.model_copy(update={"criteria": {**best.criteria, "crm": None}})
    assert rules.outcome(CHARTER, without).level == "designated"


def test_scores_that_lack_an_area_decide_nothing() -> None:
    best = scores(CHARTER, dict.fromkeys(CHARTER.criteria("city"), Fraction(4)))
    cut = best.model_copy(update={"areas": {}})
    with pytest.raises(ValueError, match="citizen_participation"):
        rules.outcome(CHARTER, cut)


# --- terms ----------------------------------------------------------------------------------------------------------


@given(charters, st.dates(date(1990, 1, 1), date(2200, 12, 31)))
def test_a_term_ends_on_the_same_day_so_many_years_later(charter: Charter, starts_on: date) -> None:
    ends_on = rules.term(charter, starts_on)
    assert ends_on.year == starts_on.year + charter.term.years
    leap_day = (starts_on.month, starts_on.day) == (2, 29)
    assert (ends_on.month, ends_on.day) in {(starts_on.month, starts_on.day), (2, 28) if leap_day else None}


def test_a_term_that_starts_on_february_29_ends_on_february_28() -> None:
    assert rules.term(CHARTER, date(2012, 2, 29)) == date(2014, 2, 28)
    assert rules.term(CHARTER, date(2011, 10, 17)) == date(2013, 10, 17)


@given(charters, st.dates(date(1990, 1, 1), date(2200, 12, 31)))
def test_renewal_notices_come_in_order_within_the_term(charter: Charter, starts_on: date) -> None:
    ends_on = rules.term(charter, starts_on)
    notices = rules.renewal_dates(charter, ends_on)
    assert [days for days, _ in notices] == list(charter.term.renewal_notice_days)
    days = [starts_on, *(day for _, day in notices), ends_on]
    assert days == sorted(set(days))
    statuses = [rules.status(ends_on, notices[0][1], day) for day in days]
    assert statuses == ["active", *("renewal-due" for _ in notices), "expired"]
    assert rules.status(ends_on, notices[0][1], notices[0][1] - timedelta(days=1)) == "active"
    assert rules.status(ends_on, None, notices[0][1]) == "active"


# --- ratifying and announcing ---------------------------------------------------------------------------------------

YES = Outcome(level="designated", total=Ratio.of(Fraction(3, 4)), unmet=[])
NO = Outcome(level=None, total=Ratio.of(Fraction(1, 2)), unmet=["total"])


def submitted(name: str, version: int = 1) -> ApplicationSubmitted:
    identity = Identity(
        government=f"g-{name}",
        name=f"Town {name}",
        state="Ohio",
        kind="town",
        population=80_000,
        population_source="census",
        website="https://town.example",
        tier="t2",
    )
    return ApplicationSubmitted(
        cycle="c",
        application=name,
        version=version,
        identity=identity,
        claims=Claims(facts={"issues_service_requests": True}, assumed=["website"], metrics=[]),
        answers={},
        contact=Contact(official="O", title="T", email="o@town.example"),
    )


def proposed(name: str, outcome: Outcome = YES) -> DecisionProposed:
    return DecisionProposed(cycle="c", application=name, scored=f"scored-{name}", scores=outcome)


def made(name: str) -> DecisionMade:
    return DecisionMade(cycle="c", application=name, proposed=f"p-{name}", announce_on=DAY, scores=YES)


def application(name: str, *events: Event) -> Application:
    state = domain.evolve(None, submitted(name), f"s-{name}")
    for event in events:
        state = domain.evolve(state, event, f"{event.TYPE.split('.')[2][0]}-{name}")
    return state


def closed(*names: str) -> Cycle:
    digest = SetDigest.of(f"s-{name}" for name in names)
    return Cycle("c", CHARTER).evolve(
        CycleClosed(cycle="c", submitted=digest, assignment_seed="00" * 32, closed_by="hand")
    )


def test_ratifying_makes_every_proposed_decision_and_grants_where_it_designates() -> None:
    cycle = closed("a", "b", "w")
    applications = [application("a", proposed("a")), application("b", proposed("b", NO))]
    decisions = domain.ratify(cycle, applications, DAY, None, TODAY)
    assert [(one.application, one.proposed, one.scores) for one in decisions] == [("a", "p-a", YES), ("b", "p-b", NO)]
    granted = [
        domain.grant(cycle.evolve(decision), domain.evolve(state, decision, f"m-{state.id}"), "d")
        for state, decision in zip(applications, decisions, strict=True)
    ]
    assert granted[1] is None
    assert granted[0] is not None
    assert (granted[0].decided, granted[0].starts_on, granted[0].ends_on) == ("m-a", DAY, date(2013, 10, 17))
    assert granted[0].identity == applications[0].identity


@pytest.mark.parametrize(
    ("day", "chosen", "rule"),
    [
        (TODAY - timedelta(days=1), None, "announce-on-out-of-range"),
        (date(2101, 10, 17), None, "announce-on-out-of-range"),
        (DAY, ["x"], "unknown-application"),
        (DAY, ["n"], "not-proposed"),
        (DAY, ["m"], "already-made"),
    ],
)
def test_what_cannot_be_ratified_is_refused_by_name(day: date, chosen: list[str] | None, rule: str) -> None:
    applications = [application("a", proposed("a")), application("n"), application("m", proposed("m"), made("m"))]
    with pytest.raises(RefusedError) as refused:
        domain.ratify(closed("a", "n", "m"), applications, day, chosen, TODAY)
    assert refused.value.rule == rule


def test_nothing_is_ratified_before_the_cycle_is_closed_nor_twice() -> None:
    with pytest.raises(RefusedError, match="not closed"):
        domain.ratify(Cycle("c", CHARTER), [application("a", proposed("a"))], DAY, None, TODAY)
    with pytest.raises(RefusedError, match="No decision"):
        domain.ratify(closed("a"), [application("a", proposed("a"), made("a"))], DAY, None, TODAY)


def test_a_cycle_in_which_nobody_stands_is_announced_without_decisions_on_the_day_it_is_done() -> None:
    left = application("a", ApplicationWithdrawn(cycle="c", application="a", private=Withdrawal()))
    for applications in ([], [left]):
        with pytest.raises(RefusedError, match="announce it"):
            domain.ratify(closed(), applications, DAY, None, TODAY)
        announcement = domain.announce_cohort(closed(), applications, [], TODAY)
        event = domain.cohort_announced(announcement)
        assert (event.announced_on, event.designations, event.highlights) == (TODAY, SetDigest.of([]), [])
        with pytest.raises(RefusedError, match="not closed"):
            domain.announce_cohort(Cycle("c", CHARTER), applications, [], TODAY)
    for waiting in (application("a"), application("a", proposed("a"))):
        with pytest.raises(RefusedError, match="not that set"):
            domain.announce_cohort(closed(), [waiting], [], TODAY)


def test_all_decisions_of_a_cycle_have_one_day_also_when_it_has_passed() -> None:
    cycle = closed("a", "b").evolve(made("a"))
    applications = [application("a", proposed("a"), made("a")), application("b", proposed("b"))]
    later = DAY + timedelta(days=3)
    with pytest.raises(RefusedError) as refused:
        domain.ratify(cycle, applications, later, None, later)
    assert refused.value.rule == "announce-on-differs"
    assert [one.application for one in domain.ratify(cycle, applications, DAY, None, later)] == ["b"]


def test_scores_come_too_late_for_what_is_withdrawn_or_decided() -> None:
    scored = ApplicationScored(
        cycle="c",
        application="a",
        submitted="s-a",
        reviews=[],
        scores=scores(CHARTER, dict.fromkeys(CHARTER.criteria("town"), Fraction(4))),
    )
    left = application("a", ApplicationWithdrawn(cycle="c", application="a", private=Withdrawal()))
    decided = application("a", proposed("a"), made("a"))
    assert domain.propose(closed("a"), application("a"), scored, "e").scores == rules.outcome(
        CHARTER, scored.scores or pytest.fail("no scores")
    )
    for state, rule in ((left, "withdrawn"), (decided, "already-made")):
        with pytest.raises(RefusedError) as refused:
            domain.propose(closed("a"), state, scored, "e")
        assert refused.value.rule == rule


@st.composite
def histories(draw: st.DrawFn) -> tuple[list[list[tuple[str, Event]]], set[str]]:
    """One list of (id, event) per aggregate, each in its order, and the applications that stand at the close."""
    lanes: list[list[tuple[str, Event]]] = []
    last: dict[str, str] = {}
    names = [f"a{number}" for number in range(draw(st.integers(1, 5)))]
    leaving = set(draw(st.lists(st.sampled_from(names), unique=True, max_size=len(names) - 1)))
    for name in names:
        versions = draw(st.integers(1, 3))
        lane: list[tuple[str, Event]] = [(f"s{n}-{name}", submitted(name, n)) for n in range(1, versions + 1)]
        last[name] = lane[-1][0]
        if name in leaving:
            lane.append((f"w-{name}", ApplicationWithdrawn(cycle="c", application=name, private=Withdrawal())))
        else:
            lane += [(f"p-{name}", proposed(name, draw(st.sampled_from([YES, NO])))), (f"m-{name}", made(name))]
        lanes.append(lane)
    standing = set(names) - leaving
    digest = SetDigest.of(last[name] for name in standing)
    lanes.append(
        [("closed", CycleClosed(cycle="c", submitted=digest, assignment_seed="00" * 32, closed_by="schedule"))]
    )
    return lanes, standing


def step(
    cycle: Cycle, applications: dict[str, Application], name: str, event: Event
) -> tuple[Cycle, dict[str, Application]]:
    if isinstance(event, CycleClosed):
        return cycle.evolve(event), applications
    if isinstance(event, DecisionMade):
        cycle = cycle.evolve(event)
    return cycle, {**applications, event.subject: domain.evolve(applications.get(event.subject), event, name)}


@given(histories(), st.data())
def test_in_any_order_the_announcement_waits_for_exactly_the_submitted_set_and_comes_out_the_same(
    history: tuple[list[list[tuple[str, Event]]], set[str]], data: st.DataObject
) -> None:
    lanes, standing = history
    ends = []
    for _ in range(2):
        cycle, applications = Cycle("c", CHARTER), dict[str, Application]()
        turns = [number for number, lane in enumerate(lanes) for _ in lane]
        random.Random(data.draw(st.integers(0, 2**32))).shuffle(turns)
        queues = [iter(lane) for lane in lanes]
        for turn in turns:
            cycle, applications = step(cycle, applications, *next(queues[turn]))
            decided = {one.id for one in applications.values() if one.made}
            present = {one.id for one in applications.values() if not one.withdrawn}
            allowed = cycle.submitted is not None and decided == standing == present
            assert (domain.missing(cycle, applications.values(), DAY) == []) == allowed
            if not allowed:
                with pytest.raises(RefusedError, match="must wait"):
                    domain.announce_cohort(cycle, list(applications.values()), [], DAY)
        ends.append((cycle, applications))
    assert ends[0] == ends[1]
    assert domain.announce_cohort(*(ends[0][0], list(ends[0][1].values())), [], DAY).label == "c"


def test_the_announcement_waits_for_an_application_and_for_a_withdrawal_that_are_not_here() -> None:
    decided = application("a", proposed("a"), made("a"))
    for cycle, applications in ((closed("a", "b"), [decided]), (closed("a"), [decided, application("w")])):
        (first, *_) = domain.missing(cycle.evolve(made("a")), applications, DAY)
        assert "are not that set" in first


def test_the_announcement_waits_for_the_last_version_of_what_is_here_and_decided() -> None:
    cycle = Cycle("c", CHARTER, submitted=SetDigest.of(["s2-a"])).evolve(made("a"))
    decided = application("a", proposed("a"), made("a"))
    (lacking,) = domain.missing(cycle, [decided], DAY)
    assert "are not that set" in lacking
    amended = domain.evolve(decided, submitted("a", 2), "s2-a")
    assert domain.missing(cycle, [amended], DAY) == ["applications without a proposed decision: 1"]
    for number, event in enumerate((proposed("a"), made("a"))):
        amended = domain.evolve(amended, event, f"e{number}")
    assert domain.missing(cycle, [amended], DAY) == []


def test_an_earlier_or_repeated_version_changes_nothing() -> None:
    state = domain.evolve(application("a"), submitted("a", 2), "s2-a")
    assert state.submitted == "s2-a"
    for version in (1, 2):
        assert domain.evolve(state, submitted("a", version), "again") == state


def test_the_announcement_waits_for_its_day_and_is_made_once() -> None:
    cycle = closed("a").evolve(made("a"))
    applications = [application("a", proposed("a"), made("a"))]
    with pytest.raises(RefusedError, match="2011-10-17, has not come"):
        domain.announce_cohort(cycle, applications, [], DAY - timedelta(days=1))
    with pytest.raises(RefusedError) as refused:
        domain.announce_cohort(replace(cycle, announced=True), applications, [], DAY)
    assert refused.value.rule == "already-announced"


def test_the_event_states_the_designations_and_every_highlight_as_it_is_worded() -> None:
    cycle = closed("a", "b").evolve(made("a"))
    granted = domain.grant(cycle, application("a", proposed("a"), made("a")), "d-a")
    assert granted is not None
    applications = [
        domain.evolve(application("a", proposed("a"), made("a")), granted, "g-a"),
        application("b", proposed("b", NO), made("b")),
    ]
    announcement = domain.announce_cohort(cycle, applications, ["Well done."], DAY)
    event = domain.cohort_announced(announcement)
    assert event.designations == SetDigest.of(["d-a"])
    assert (event.announced_on, event.narrative) == (DAY, ["Well done."])
    assert [(one.id, one.text) for one in event.highlights] == [("service_requests", "Issue service requests")]
    assert event.highlights[0].counted == [SetDigest.of(["d-a"])]
    assert not event.highlights[0].assumed


# --- withdrawals after the deadline ----------------------------------------------------------------------------------

ASKED = WithdrawalRequested(cycle="c", application="a")


def settled(state: Application, event: Event) -> Application:
    return domain.evolve(state, event, "settled")


def test_what_is_asked_back_is_not_ratified_and_the_announcement_waits_until_it_is_settled() -> None:
    cycle = closed("a", "b")
    asked, other = application("a", proposed("a"), ASKED), application("b", proposed("b"))
    assert [one.application for one in domain.ratify(cycle, [asked, other], DAY, None, TODAY)] == ["b"]
    with pytest.raises(RefusedError) as refused:
        domain.ratify(cycle, [asked, other], DAY, ["a"], TODAY)
    assert refused.value.rule == "withdrawal-open"
    lacking = domain.missing(cycle.evolve(made("b")), [asked, application("b", proposed("b"), made("b"))], DAY)
    assert lacking == ["requests to withdraw to settle: 1", "proposed decisions to ratify: 1"]


@pytest.mark.parametrize("scored", [True, False])
def test_what_was_given_back_needs_no_decision_and_is_designated_nowhere(*, scored: bool) -> None:
    cycle = closed("a", "b").evolve(made("b"))
    asked = application("a", *([proposed("a")] if scored else []), ASKED)
    decided = application("b", proposed("b"), made("b"))
    event = domain.accept_withdrawal(cycle, [asked, decided], asked)
    released = settled(asked, event)
    assert (event.application, event.requested) == ("a", asked.asked)
    assert domain.missing(cycle, [released, decided], DAY) == []
    assert domain.designated([released, decided]) == []
    with pytest.raises(RefusedError) as refused:
        domain.ratify(cycle, [released, decided], DAY, ["a"], TODAY)
    assert refused.value.rule == ("withdrawn" if scored else "not-proposed")


def test_a_refused_withdrawal_is_decided_as_if_nobody_had_asked() -> None:
    cycle = closed("a")
    asked = application("a", proposed("a"), ASKED)
    event = domain.refuse_withdrawal(cycle, asked, "The reviews are in.")
    assert event.private is not None
    assert event.private.reason == "The reviews are in."
    kept = settled(asked, event)
    assert [one.application for one in domain.ratify(cycle, [kept], DAY, None, TODAY)] == ["a"]


def test_a_cycle_whose_last_application_was_given_back_can_be_announced() -> None:
    cycle, asked = closed("a"), application("a", ASKED)
    released = settled(asked, domain.accept_withdrawal(cycle, [asked], asked))
    assert domain.announce_cohort(cycle, [released], [], TODAY).total == 0
    with pytest.raises(RefusedError, match="announce it"):
        domain.ratify(cycle, [released], DAY, None, TODAY)


def test_a_withdrawal_is_settled_once_on_request_and_never_beside_closing_screening_or_deciding() -> None:
    asked = application("a", ASKED)
    screening = replace(closed("a"), charter=Charter.parse(SCREENED))
    released = settled(asked, WithdrawalAccepted(cycle="c", application="a", requested="w-a"))
    kept = settled(asked, WithdrawalRefused(cycle="c", application="a", requested="w-a"))
    ineligible = ApplicationScreened(
        cycle="c", application="a", submitted="s-a", verdict="ineligible", private=Screening()
    )
    for cycle, state, rule in (
        (closed("a"), application("a"), "not-requested"),
        (closed("a"), released, "settled"),
        (closed("a"), kept, "settled"),
        (Cycle("c", CHARTER), asked, "not-fixed"),
        (screening, asked, "not-fixed"),
        (closed("a", "b"), asked, "not-fixed"),
        (closed(), application("a", ineligible, ASKED), "not-standing"),
        (closed("a"), application("a", proposed("a"), made("a"), ASKED), "already-made"),
    ):
        with pytest.raises(RefusedError) as refused:
            domain.accept_withdrawal(cycle, [state], state)
        assert refused.value.rule == rule
    after = screening.evolve(CycleScreened(cycle="c", eligible=SetDigest.of(["s-a"])))
    assert domain.accept_withdrawal(after, [asked], asked).application == "a"


def test_after_a_screening_only_what_is_eligible_has_to_be_decided() -> None:
    def screened(name: str, verdict: Verdict) -> ApplicationScreened:
        return ApplicationScreened(
            cycle="c", application=name, submitted=f"s-{name}", verdict=verdict, private=Screening()
        )

    decided = application("a", screened("a", "eligible"), proposed("a"), made("a"))
    cycle = replace(closed("a", "b"), charter=Charter.parse(SCREENED)).evolve(made("a"))
    late, out = application("b"), application("b", screened("b", "ineligible"))
    assert "are not that set" in domain.missing(cycle, [decided, out], DAY)[0]
    after = cycle.evolve(CycleScreened(cycle="c", eligible=SetDigest.of(["s-a"])))
    assert "the end of the screening states 1 application" in domain.missing(after, [decided, late], DAY)[0]
    assert domain.missing(after, [decided, out], DAY) == []
    again = application("b", screened("b", "ineligible"), screened("b", "eligible"))
    assert not again.withdrawn
