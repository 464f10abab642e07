"""The cohort files: what they hold, what is refused, and what the charter's rules make of the drawn points."""

from __future__ import annotations

import json
import random
import statistics
from collections import Counter
from fractions import Fraction
from itertools import combinations
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from deploy.demo.cohort import Applicant, Cohort, CohortError, draw_points, load
from schemas.charter import Charter

ROOT = Path(__file__).resolve().parents[2]
PROGRAMS = ROOT / "deploy" / "programs"
FACTS = ROOT.parent / "shared" / "domain" / "cohort-2011.json"
SHIPPED = PROGRAMS / "cohort-2011-2013.json"
CHARTER = Charter.parse((PROGRAMS / "citizen-engaged-communities.toml").read_text(encoding="utf-8"))
SPANISH = Charter.parse((PROGRAMS / "servicio-claro.toml").read_text(encoding="utf-8"))
COHORT = load(SHIPPED)
SPANISH_COHORT = load(PROGRAMS / "servicio-claro-2025.json")


def unmet(charter: Charter, reviews: list[dict[str, int]], level: int) -> list[str]:
    """The conditions of one level that the reviews miss, by the rules as the charter's comments state them."""
    middle = statistics.median if charter.scoring.criterion == "median" else statistics.mean
    scores = {name: Fraction(middle([Fraction(review[name]) for review in reviews])) for name in reviews[0]}
    shares = {}
    for area in charter.areas:
        mine = [scores[criterion.id] for criterion in area.criteria if criterion.id in scores]
        shares[area.id] = sum(mine, Fraction()) / (charter.scale.max * len(mine))
    bar = charter.levels[level]
    missed = [f"area:{name}" for name, share in shares.items() if share < bar.every_area]
    core = [criterion.id for area in charter.areas for criterion in area.criteria if criterion.core]
    missed += [f"core:{name}" for name in core if name in scores and scores[name] < (bar.every_core or 0)]
    total = sum((shares[area.id] * area.weight / 100 for area in charter.areas), Fraction())
    return missed if total >= bar.total else [*missed, "total"]


def outcomes(charter: Charter, cohort: Cohort, applicant: Applicant) -> Counter[tuple[str, ...]]:
    """What each possible panel of the cohort's reviewers makes of the lowest level."""
    reviews = [cohort.points(charter, applicant, number) for number in range(cohort.reviewers)]
    panels = combinations(reviews, charter.scoring.reviewers_per_application)
    return Counter(tuple(unmet(charter, list(panel), 0)) for panel in panels)


def test_the_shipped_files_fit_their_charters() -> None:
    COHORT.check(CHARTER)
    SPANISH_COHORT.check(SPANISH)


@pytest.mark.parametrize("applicant", COHORT.applicants[:10], ids=lambda one: one.name)
def test_each_of_the_ten_is_designated_by_whichever_reviewers(applicant: Applicant) -> None:
    assert set(outcomes(CHARTER, COHORT, applicant)) == {()}


@pytest.mark.parametrize(
    ("name", "reason"),
    [("Port Exemplar", "core:crm"), ("Specimen County", "area:performance_reporting")],
)
def test_each_declined_applicant_fails_for_the_one_intended_reason(name: str, reason: str) -> None:
    (applicant,) = [one for one in COHORT.applicants if one.name == name]
    assert set(outcomes(CHARTER, COHORT, applicant)) == {(reason,)}


def test_a_higher_cut_off_designates_some_but_not_all() -> None:
    text = (PROGRAMS / "citizen-engaged-communities.toml").read_text(encoding="utf-8")
    higher = Charter.parse(text.replace('total = "60 %"', 'total = "75 %"'))
    still = {one.name for one in COHORT.applicants[:10] if () in outcomes(higher, COHORT, one)}
    assert still == {"Santa Monica", "Winston-Salem", "Boston", "Kansas City", "Minneapolis"}
    assert all(len(outcomes(higher, COHORT, one)) == 1 for one in COHORT.applicants[:10])


def test_the_second_program_awards_each_of_its_levels_and_declines_one() -> None:
    awarded = {}
    for applicant in SPANISH_COHORT.applicants:
        if not applicant.withdraws:
            reviews = [SPANISH_COHORT.points(SPANISH, applicant, number) for number in range(2)]
            held = [level.id for number, level in enumerate(SPANISH.levels) if not unmet(SPANISH, reviews, number)]
            awarded[applicant.name] = held[-1] if held else None
    assert list(awarded.values()) == ["oro", "oro", "plata", "plata", "bronce", None]


def test_the_shipped_file_has_three_invented_applicants_of_whom_one_withdraws() -> None:
    invented = [one for one in COHORT.applicants if one.fictional]
    assert [one.withdraws for one in invented] == [False, False, True]
    assert all(one.website.endswith(".example") for one in invented)
    assert not any(one.withdraws or one.reviews for one in COHORT.applicants[:10])


def test_every_applicant_publishes_a_service_delivery_metric_and_every_metric_says_that_it_is_drawn() -> None:
    delivery = {metric.id for metric in CHARTER.metrics if metric.service_delivery}
    for applicant in COHORT.applicants:
        assert any(metric.published and metric.id in delivery for metric in applicant.metrics)
        assert all(metric.simulated for metric in applicant.metrics)


def test_what_nobody_verified_is_marked_assumed() -> None:
    """Of some designees by name; of all, where the raw facts lie beside the repository."""
    by_name = {one.name: one for one in COHORT.applicants}
    assert "mobile_channel" not in by_name["Santa Monica"].assumed
    assert "mobile_channel" in by_name["Boston"].assumed
    assert "sla_with_service_departments" not in by_name["Minneapolis"].assumed
    assert "population" in by_name["Philadelphia"].assumed
    assert [one.name for one in COHORT.applicants[:10] if "website" not in one.assumed] == ["Winston-Salem"]
    if FACTS.exists():
        for given_facts in json.loads(FACTS.read_text(encoding="utf-8"))["designees"]:
            applicant = by_name[given_facts["name"]]
            assert applicant.population == given_facts["population_2010"]
            facts = {name: value for name, value in given_facts["facts"].items() if name != "metrics_tracked"}
            assert dict(applicant.facts) == facts
            for name, basis in given_facts["basis"].items():
                if name in facts:
                    assert (name in applicant.assumed) == basis.startswith(("assumed", "from memory"))


def changed(tmp_path: Path, **changes: object) -> Path:
    """The shipped file with some of its first applicant's fields, or of its own, changed."""
    data = json.loads(SHIPPED.read_text(encoding="utf-8"))
    for name, value in changes.items():
        (data if name in data else data["applicants"][0])[name] = value
    path = tmp_path / "cohort.json"
    path.write_text(json.dumps(data), encoding="utf-8")
    return path


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"form": "cec-cohort/2"}, "form: Input should be 'cec-cohort/1'"),
        ({"seed": "1"}, "seed: Input should be a valid integer"),
        ({"population": 0}, "applicants[0].population: Input should be greater than or equal to 1"),
        ({"strenght": 3}, "applicants[0].strenght: is no field of a cohort file"),
        ({"strength": 101}, "applicants[0].strength: must be a whole number from 0 to 100"),
        ({"strength": {"a": 7.5}}, "applicants[0].strength: must be a whole number from 0 to 100"),
        ({"facts": {"gis_integrated": 0.5}}, "applicants[0].facts.gis_integrated: must be true, false, a whole number"),
        ({"website": "smgov.net"}, "applicants[0].website: String should match"),
        ({"metrics": [{"id": "x", "value": True}]}, 'metrics[0].value: must be a decimal, such as "93.5"'),
        ({"metrics": [{"id": "x", "value": "9e1"}]}, "applicants[0].metrics[0].value: '9e1' is not a plain decimal"),
        ({"reviews": {"crm": []}}, "applicants[0].reviews.crm: Tuple should have at least 1 item"),
    ],
)
def test_a_file_that_cannot_be_read_names_the_place_in_one_line(
    tmp_path: Path, changes: dict[str, object], problem: str
) -> None:
    with pytest.raises(CohortError) as refusal:
        load(changed(tmp_path, **changes))
    assert problem in str(refusal.value)
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"cycle": "2011"}, "cycle: must be '2011-2013', as the charter names a cycle announced on 2011-10-17"),
        ({"reviewers": 2}, "reviewers: an application needs 3"),
        ({"reviewers": 6}, "reviewers: 39 reviews are needed, at most 6 from each"),
        ({"name": "Boston", "state": "Massachusetts"}, "applicants[4].name: Boston, Massachusetts stands twice"),
        ({"kind": "village"}, "applicants[0].kind: must be one of: city, town, township, county, consolidated"),
        ({"fictional": True}, "applicants[0].website: an invented government needs a name under .example"),
        ({"facts": {}}, "applicants[0].facts.gis_integrated: is missing"),
        ({"facts": {"gis": True}}, "applicants[0].facts.gis: is no fact of the charter"),
        ({"facts": {"mobile_channel": "no"}}, "facts.mobile_channel: must be one of: implemented, in_process, none"),
        ({"assumed": ["gis"]}, "applicants[0].assumed: 'gis' is neither a fact of the charter nor one of: population"),
        ({"strength": {"crm": 70}}, "applicants[0].strength: must name each area once: citizen_participation, "),
        ({"reviews": {"cmr": [1]}}, "applicants[0].reviews.cmr: is no criterion for a city"),
        ({"answers": {"cmr": {}}}, "applicants[0].answers.cmr: is no criterion for a city"),
        ({"reviews": {"crm": [5]}}, "applicants[0].reviews.crm: points must be from 0 to 4"),
    ],
)
def test_a_cohort_that_does_not_fit_the_charter_names_the_place(
    tmp_path: Path, changes: dict[str, object], problem: str
) -> None:
    with pytest.raises(CohortError) as refusal:
        load(changed(tmp_path, **changes)).check(CHARTER)
    assert problem in str(refusal.value)


def test_a_metric_that_the_charter_does_not_have_is_refused(tmp_path: Path) -> None:
    metric = {"id": "luck", "value": "7", "unit": "%", "period": "2010", "published": True}
    with pytest.raises(CohortError, match=r"applicants\[0\]\.metrics\[0\]\.id: 'luck' is no metric of the charter"):
        load(changed(tmp_path, metrics=[metric])).check(CHARTER)


def test_a_population_outside_every_tier_is_refused() -> None:
    closed = CHARTER.model_copy(update={"tiers": CHARTER.tiers[:1]})
    with pytest.raises(CohortError, match=r"applicants\[0\]\.population: 89736 is in no tier of the charter"):
        COHORT.check(closed)


def test_a_file_that_is_not_there_says_so(tmp_path: Path) -> None:
    with pytest.raises(CohortError, match="cannot be read"):
        load(tmp_path / "none.json")


def test_points_are_the_same_each_time_and_differ_between_reviewers() -> None:
    applicant = COHORT.applicants[0]
    first = COHORT.points(CHARTER, applicant, 0)
    assert first == COHORT.points(CHARTER, applicant, 0)
    assert first != COHORT.points(CHARTER, applicant, 1)


def test_an_explicit_point_moves_no_other_and_is_taken_in_turn() -> None:
    applicant = COHORT.applicants[0]
    overridden = applicant.model_copy(update={"reviews": {"crm": (0, 1)}})
    for reviewer, point in enumerate((0, 1, 0)):
        drawn = COHORT.points(CHARTER, applicant, reviewer)
        assert COHORT.points(CHARTER, overridden, reviewer) == {**drawn, "crm": point}


def test_what_is_not_applicable_or_not_for_its_kind_gets_no_points(tmp_path: Path) -> None:
    answers = {"chats": {"not_applicable": "barred"}, "surveys": {"statement": "twice a year"}}
    applicant = load(changed(tmp_path, answers=answers, kind="town")).applicants[0]
    missing = set(CHARTER.criteria("city")) - set(COHORT.points(CHARTER, applicant, 0))
    assert missing == {"chats", "neighborhood_stations"}


@settings(max_examples=60, deadline=None)
@given(st.sampled_from([CHARTER, SPANISH]), st.integers(0, 100), st.integers())
def test_every_drawn_point_is_on_the_scale_and_near_the_strength(charter: Charter, strength: int, seed: int) -> None:
    kind = charter.eligibility.kinds[0]
    applicant = COHORT.applicants[0].model_copy(update={"strength": strength, "kind": kind})
    points = draw_points(random.Random(seed), charter, applicant, 0)
    assert set(points) == set(charter.criteria(kind))
    for point in points.values():
        assert point in charter.scale
        near = charter.scale.max * strength / 100
        width = charter.scale.max - charter.scale.min
        assert abs(point - near) <= 0.2 * width + 0.5 or point == charter.scale.min


def test_a_metric_may_also_be_a_json_number_and_keeps_its_digits(tmp_path: Path) -> None:
    metric = {"id": "x", "value": 93.5, "unit": "%", "period": "2010", "published": True}
    (kept,) = load(changed(tmp_path, metrics=[metric])).applicants[0].metrics
    assert (kept.value.value, kept.value.scale) == (935, 1)
