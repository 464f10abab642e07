"""Self-assessment: the arithmetic of the real thing, in favor of nobody, and what to work on first."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from schemas.charter import Charter
from schemas.exact import Ratio
from schemas.reviews import Points
from services.awards.rules import outcome
from services.chassis.refusal import RefusedError
from services.intake.cycles.domain import parsed
from services.intake.guide.domain import Answers, Assessment, assess
from services.scoring.domain import score
from tests.applicants import SHIPPED, SMALL

CHARTER = parsed(SHIPPED)
CITY = list(CHARTER.criteria("city"))


def answers(points: dict[str, int] | int, **changes: Any) -> Answers:
    """A city's answers; one number stands for the same points everywhere."""
    given = dict.fromkeys(CITY, points) if isinstance(points, int) else points
    return Answers.model_validate(
        {"kind": "city", "population": 59_403, "points": given, "published_metrics": ["sla_compliance"], **changes}
    )


def assessed(points: dict[str, int] | int, **changes: Any) -> Assessment:
    return assess(CHARTER, answers(points, **changes))


def refused(**changes: Any) -> list[tuple[str, str]]:
    with pytest.raises(RefusedError) as error:
        assess(CHARTER, answers(**{"points": 3, **changes}))
    assert error.value.status == 422
    return [(violation.rule, violation.field) for violation in error.value.violations]


@st.composite
def filled(draw: st.DrawFn) -> tuple[Charter, Answers]:
    """A charter and complete answers to it, with or without what may be called not applicable."""
    charter = parsed(draw(st.sampled_from([SHIPPED, SMALL])))
    kind = draw(st.sampled_from(charter.eligibility.kinds))
    excused: list[str] = []
    for area in charter.areas:
        may = [one.id for one in area.applicable(kind) if one.na_when]
        allowed = min(charter.scoring.not_applicable_per_area, len(may))
        excused += draw(st.permutations(may))[: draw(st.integers(0, allowed))]
    points = st.integers(charter.scale.min, charter.scale.max)
    given = {name: draw(points) for name in charter.criteria(kind) if name not in excused}
    return charter, Answers(kind=kind, population=draw(st.integers(1, 10**7)), points=given, not_applicable=excused)


@given(filled())
def test_points_come_to_what_a_review_with_the_same_points_would_come_to(case: tuple[Charter, Answers]) -> None:
    charter, own = case
    result = assess(charter, own)
    points = {name: own.points.get(name) for name in charter.criteria(own.kind)}
    scores = score(charter, own.kind, [Points(points=points, recommendation=True)])
    assert result.total == scores.total
    assert {area.id: (Ratio.of(area.points), area.maximum, area.share) for area in result.areas} == {
        name: (area.points, area.maximum, area.share) for name, area in scores.areas.items()
    }
    assert result.level == outcome(charter, scores).level


@given(filled())
def test_the_points_that_an_area_misses_are_exactly_those_that_lift_it_to_its_floor(
    case: tuple[Charter, Answers],
) -> None:
    charter, own = case
    for area in assess(charter, own).areas:
        floor = area.floor.fraction * area.maximum
        assert area.holds == (area.points >= floor) == (area.points_missing == 0)
        assert area.holds or area.points + area.points_missing - 1 < floor <= area.points + area.points_missing


@given(filled(), st.data())
def test_answering_one_more_never_makes_it_worse(case: tuple[Charter, Answers], data: st.DataObject) -> None:
    charter, own = case
    left_out = data.draw(st.sampled_from(sorted(own.points)))
    fewer = own.model_copy(update={"points": {name: n for name, n in own.points.items() if name != left_out}})
    before, after = assess(charter, fewer), assess(charter, own)
    assert before.total.fraction <= after.total.fraction
    assert (before.answered, before.criteria) == (after.answered - 1, after.criteria)


@given(filled())
def test_every_criterion_is_either_strong_or_to_be_worked_on(case: tuple[Charter, Answers]) -> None:
    charter, own = case
    result = assess(charter, own)
    named = [one.id for one in (*result.strong, *result.work_on)]
    assert sorted(named) == sorted(own.points)


@given(filled(), st.integers(1, 10**7))
def test_the_tier_is_shown_and_moves_nothing(case: tuple[Charter, Answers], population: int) -> None:
    charter, own = case
    result, elsewhere = assess(charter, own), assess(charter, own.model_copy(update={"population": population}))
    assert elsewhere.tier == charter.tier_of(population)
    assert elsewhere.model_copy(update={"tier": result.tier}) == result


def test_points_of_three_everywhere_are_strong_and_reach_the_designation() -> None:
    result = assessed(3)
    assert (result.level, result.aim, result.needs, result.work_on) == ("designated", "designated", [], [])
    assert (result.total, result.total_basis_points) == (Ratio(num=3, den=4), 7500)
    assert result.tier is not None
    assert result.tier.label == "up to 75,000"


def test_a_missed_bar_is_named_condition_by_condition() -> None:
    points = dict.fromkeys(CITY, 2) | {"crm": 1, "gis": 1}
    result = assessed(points, published_metrics=["service_level"])
    assert (result.level, result.core_missing) == (None, ["crm"])
    assert [(need.what, need.id) for need in result.needs] == [
        ("core", "crm"),
        ("area", "integrated_technology"),
        ("total", "designated"),
        ("metrics", None),
    ]
    assert result.needs[0].detail == "CRM is a core criterion: you gave it 1, at least 2 is needed."
    assert result.needs[1].detail == (
        "Integrated Technology: 14 of 32 points are 43.75 %, the floor is 50 %: 2 more needed."
    )
    assert result.needs[2].detail == "The total is 48.44 %; Citizen-Engaged Community takes 60 %."
    assert "(0 named): Service-request SLA compliance, Median time to close" in result.needs[3].detail


def test_nothing_answered_counts_as_nothing_there() -> None:
    result = assessed({})
    assert (result.answered, result.criteria, result.total) == (0, 29, Ratio(num=0, den=1))
    assert [area.points_missing for area in result.areas] == [16, 16, 16, 10]
    assert result.needs[0].detail == "Service requests is a core criterion: it is not answered, at least 2 is needed."
    assert {one.points for one in result.work_on} == {None}


def test_what_is_most_urgent_comes_first() -> None:
    points = dict.fromkeys(CITY, 3) | {
        "crm": 1,
        "gis": 2,  # a core criterion below its bar, and another of the same area
        **{one.id: 1 for one in CHARTER.areas[0].criteria if not one.core},  # an area below its floor
        "real_time_data": 2,  # in the smallest area, where a point moves the total most
    }
    order = [one.id for one in assessed(points).work_on]
    assert order[:2] == ["crm", "information"]
    assert order[-2:] == ["real_time_data", "gis"]


def test_beside_each_criterion_stands_what_its_points_mean_and_what_the_next_look_like() -> None:
    result = assessed(dict.fromkeys(CITY, 3) | {"gis": 1, "surveys": 4})
    gis, surveys = result.work_on[0], next(one for one in result.strong if one.id == "surveys")
    described = CHARTER.criteria("city")["gis"].looks_like
    assert gis.text == CHARTER.scale.anchors[1].text
    assert gis.next is not None
    assert (gis.next.points, gis.next.text) == (2, described[2])
    assert surveys.next is None


def test_the_next_level_is_aimed_at_where_there_are_several() -> None:
    charter = parsed(SMALL)
    points = dict.fromkeys(charter.criteria("municipio"), 7)
    result = assess(charter, Answers(kind="municipio", population=48_200, points=points))
    assert (result.tier, result.level, result.aim) == (None, "plata", "oro")
    assert [need.what for need in result.needs] == ["total", "metrics"]
    assert {area.floor for area in result.areas} == {Ratio(num=7, den=10)}


@pytest.mark.parametrize(
    ("changes", "found"),
    [
        ({"kind": "kingdom"}, [("not-eligible", "/kind")]),
        ({"points": {"a/b": 1}}, [("unknown-criterion", "/points/a~1b")]),
        ({"points": {"crm": 5, "gis": -1}}, [("out-of-scale", "/points/crm"), ("out-of-scale", "/points/gis")]),
        ({"kind": "town", "points": {"neighborhood_stations": 2}}, None),
        ({"points": {}, "not_applicable": ["crm"]}, [("always-applicable", "/not_applicable/0")]),
        ({"points": {"chats": 1}, "not_applicable": ["chats"]}, [("both", "/not_applicable/0")]),
        ({"not_applicable": ["x"]}, [("unknown-criterion", "/not_applicable/0")]),
        ({"published_metrics": ["luck"]}, [("unknown-metric", "/published_metrics/0")]),
    ],
)
def test_what_does_not_fit_the_charter_is_refused_with_its_place(
    changes: dict[str, Any], found: list[tuple[str, str]] | None
) -> None:
    assert refused(**changes) == (found or [("unknown-criterion", "/points/neighborhood_stations")])


def test_no_more_may_be_called_not_applicable_than_in_an_application() -> None:
    strict = parsed(SHIPPED.replace("not_applicable_per_area = 2", "not_applicable_per_area = 1"))
    with pytest.raises(RefusedError, match="at most 1 may be"):
        assess(strict, answers({}, not_applicable=["chats", "focus_groups"]))


def test_a_population_outside_of_all_tiers_is_refused() -> None:
    closed = parsed(SHIPPED.replace("min = 300001\n", "min = 300001\nmax = 9000000\n"))
    with pytest.raises(RefusedError, match="9,000,001 is in no tier"):
        assess(closed, answers(3, population=9_000_001))


@pytest.mark.parametrize(
    "changes",
    [{"population": 0}, {"points": {"crm": 3.0}}, {"points": {"crm": True}}, {"points": {"crm": "3"}}, {"score": 1}],
)
def test_what_is_no_answer_is_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        answers(**{"points": 3, **changes})
