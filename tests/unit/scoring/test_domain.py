"""What scoring decides: exact scores that behave as scores must, reviews and commands judged by the charter."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from fractions import Fraction
from itertools import count
from pathlib import Path
from statistics import median
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from schemas.charter import Charter
from schemas.exact import Ratio
from schemas.reviews import Points, Remarks, ReviewBody, ReviewCommand, Scores
from services.chassis.refusal import RefusedError
from services.scoring import domain
from services.scoring.domain import (
    LEEWAY_SECONDS,
    Reason,
    Review,
    Scorecard,
    Seat,
    Sender,
    check_command,
    decide_review,
    decide_score,
    evolve,
    score,
)

PROGRAMS = Path(__file__).resolve().parents[3] / "deploy" / "programs"
SHIPPED = Charter.parse((PROGRAMS / "citizen-engaged-communities.toml").read_text(encoding="utf-8"))
OTHER = Charter.parse((PROGRAMS / "servicio-claro.toml").read_text(encoding="utf-8"))


@st.composite
def reviewed(draw: st.DrawFn) -> tuple[Charter, str, list[Points]]:
    """A charter, a kind of applicant, and reviews that the rules accept: null only on one claimed criterion an area."""
    charter = draw(st.sampled_from([SHIPPED, OTHER]))
    kind = draw(st.sampled_from(charter.eligibility.kinds))
    claimed = {
        draw(st.sampled_from(excusable))
        for area in charter.areas
        if (excusable := [one.id for one in area.applicable(kind) if one.na_when is not None])
        and len(area.applicable(kind)) > 1
    }
    given_points = st.integers(charter.scale.min, charter.scale.max)
    one_review = st.fixed_dictionaries(
        {name: given_points | st.none() if name in claimed else given_points for name in charter.criteria(kind)}
    )
    drawn = draw(st.lists(one_review, min_size=1, max_size=5))
    return charter, kind, [Points(points=points, recommendation=True) for points in drawn]


def again(charter: Charter, kind: str, reviews: list[Points]) -> tuple[dict[str, Fraction | None], Fraction]:
    """Criteria and total, computed another way: by lists and the standard library's statistics over fractions."""
    criteria: dict[str, Fraction | None] = {}
    total = Fraction(0)
    for area in charter.areas:
        scores = []
        for criterion in (one.id for one in area.criteria if one.applies_to(kind)):
            column = [review.points[criterion] for review in reviews]
            numbers = [Fraction(number) for number in column if number is not None]
            if column.count(None) > len(column) / 2:
                criteria[criterion] = None
                continue
            middle = median(numbers) if charter.scoring.criterion == "median" else sum(numbers) / Fraction(len(numbers))
            criteria[criterion] = middle
            scores.append(middle)
        total += Fraction(area.weight, 100) * sum(scores) / len(scores) / charter.scale.max
    return criteria, total


# Scores


@given(case=reviewed())
def test_scores_are_what_another_computation_gives_exactly(case: tuple[Charter, str, list[Points]]) -> None:
    scores = score(*case)
    criteria, total = again(*case)
    assert {name: value and value.fraction for name, value in scores.criteria.items()} == criteria
    assert list(scores.criteria) == list(criteria)
    assert scores.total.fraction == total


@given(case=reviewed())
def test_scores_stay_within_the_scale_and_shares_between_none_and_all(case: tuple[Charter, str, list[Points]]) -> None:
    charter, *_ = case
    scores, scale = score(*case), charter.scale
    assert all(scale.min <= value.fraction <= scale.max for value in scores.criteria.values() if value is not None)
    lowest = Fraction(scale.min, scale.max)
    assert set(scores.areas) == {area.id for area in charter.areas}
    for area in scores.areas.values():
        assert area.share.fraction == area.points.fraction / area.maximum
        assert lowest <= area.share.fraction <= 1
    assert lowest <= scores.total.fraction <= 1


@given(case=reviewed(), data=st.data())
def test_raising_one_point_never_lowers_a_score_a_share_or_the_total(
    case: tuple[Charter, str, list[Points]], data: st.DataObject
) -> None:
    charter, kind, reviews = case
    n = data.draw(st.integers(0, len(reviews) - 1))
    raisable = [name for name, points in reviews[n].points.items() if points is not None and points < charter.scale.max]
    assume(raisable)
    name = data.draw(st.sampled_from(raisable))
    higher = {**reviews[n].points, name: (reviews[n].points[name] or 0) + 1}
    before = score(charter, kind, reviews)
    after = score(charter, kind, [*reviews[:n], reviews[n].model_copy(update={"points": higher}), *reviews[n + 1 :]])
    assert after.total.fraction >= before.total.fraction
    assert all(after.areas[area].share.fraction >= share.share.fraction for area, share in before.areas.items())
    assert all((value is None) == (after.criteria[key] is None) for key, value in before.criteria.items())


@given(case=reviewed(), data=st.data())
def test_the_order_of_the_reviews_does_not_matter(case: tuple[Charter, str, list[Points]], data: st.DataObject) -> None:
    charter, kind, reviews = case
    assert score(charter, kind, data.draw(st.permutations(reviews))) == score(charter, kind, reviews)


@given(case=reviewed())
def test_scores_survive_the_way_through_json(case: tuple[Charter, str, list[Points]]) -> None:
    scores = score(*case)
    assert Scores.model_validate_json(scores.model_dump_json()) == scores


def same(charter: Charter, kind: str, points: int, **other: int | None) -> Points:
    return Points(points={**dict.fromkeys(charter.criteria(kind), points), **other}, recommendation=True)


@pytest.mark.parametrize(
    ("charter", "kind", "given_points", "expected"),
    [
        (SHIPPED, "city", [1, 4, 2], Fraction(2)),
        (SHIPPED, "city", [1, 4, 2, 3], Fraction(5, 2)),
        (OTHER, "municipio", [1, 4, 2], Fraction(7, 3)),
        (OTHER, "municipio", [1, 4], Fraction(5, 2)),
    ],
    ids=["median of three", "median of four", "mean of three", "mean of two"],
)
def test_the_charter_says_whether_the_median_or_the_mean_counts(
    charter: Charter, kind: str, given_points: list[int], expected: Fraction
) -> None:
    scores = score(charter, kind, [same(charter, kind, points) for points in given_points])
    assert {value.fraction for value in scores.criteria.values() if value} == {expected}
    assert scores.total.fraction == expected / charter.scale.max


def excusable(charter: Charter, kind: str) -> str:
    return next(name for name, one in charter.criteria(kind).items() if one.na_when)


def test_a_criterion_drops_out_of_points_and_maximum_where_more_than_half_agree_that_it_does_not_apply() -> None:
    name = excusable(SHIPPED, "city")
    area = next(area for area in SHIPPED.areas if name in {one.id for one in area.criteria})
    one, two, three = same(SHIPPED, "city", 4), same(SHIPPED, "city", 2, **{name: None}), same(SHIPPED, "city", 2)
    apart = score(SHIPPED, "city", [two, two, one])
    assert apart.criteria[name] is None
    assert apart.areas[area.id].maximum == 4 * (len(area.applicable("city")) - 1)
    assert apart.total.fraction == Fraction(1, 2)
    kept = score(SHIPPED, "city", [two, three, one])
    assert kept.criteria[name] == Ratio(num=3, den=1)  # over the two who gave points
    assert score(SHIPPED, "city", [two, one]).criteria[name] == Ratio(num=4, den=1)


def test_a_criterion_for_other_kinds_does_not_appear() -> None:
    assert "mostrador" in score(OTHER, "municipio", [same(OTHER, "municipio", 5)]).criteria
    other_kind = next(kind for kind in OTHER.eligibility.kinds if kind != "municipio")
    assert "mostrador" not in score(OTHER, other_kind, [same(OTHER, other_kind, 5)]).criteria


def test_an_area_of_which_nothing_applies_would_be_left_out_of_the_weights() -> None:
    area = SHIPPED.areas[0]
    nothing = {one.id: None for one in area.applicable("city")}
    scores = score(SHIPPED, "city", [same(SHIPPED, "city", 3, **nothing)])
    assert area.id not in scores.areas
    assert scores.total.fraction == Fraction(3, 4)


FIRST = next(iter(SHIPPED.criteria("city")))


@pytest.mark.parametrize(
    "spoilt",
    [
        lambda points: {},
        lambda points: {name: given_points for name, given_points in points.items() if name != FIRST},
        lambda points: points | {"made_up": 1},
        lambda points: points | {FIRST: 9},
    ],
    ids=["no points", "a criterion too few", "a criterion too many", "out of scale"],
)
def test_reviews_that_no_rule_lets_in_are_not_scored(
    spoilt: Callable[[dict[str, int | None]], dict[str, int | None]],
) -> None:
    good = same(SHIPPED, "city", 3)
    bad = good.model_copy(update={"points": spoilt(good.points)})
    with pytest.raises(ValueError, match="points"):
        score(SHIPPED, "city", [good, bad, good])


def test_no_reviews_give_no_score() -> None:
    with pytest.raises(ValueError, match="no points"):
        score(SHIPPED, "city", [])


# Reviews

CLAIMED = excusable(SHIPPED, "city")
KEPT = st.characters(codec="utf-8", exclude_characters="\0")
"""What a text may hold."""


def card(**changes: Any) -> Scorecard:
    seats = tuple(Seat(f"review-{n}", f"reviewer-{n}") for n in (1, 2, 3))
    return replace(Scorecard("a", "c", 2, "submitted", "city", frozenset({CLAIMED}), seats), **changes)


def handed_in(number: int = 1, points: Mapping[str, int | None] | None = None, **body: Any) -> Review:
    whole = {**same(SHIPPED, "city", 3).points, **(points or {})}
    return Review(
        reviewer=f"reviewer-{number}",
        cycle="c",
        body=ReviewBody.model_validate({"application": "a", "points": whole, "recommendation": False, **body}),
        via="http",
        sha256="00",
    )


def test_a_review_that_fits_is_accepted_under_the_reviewers_alias() -> None:
    event = decide_review(SHIPPED, card(), handed_in(2, {CLAIMED: None}, comment="clear", rationales={FIRST: "why"}))
    assert (event.cycle, event.application, event.review, event.version, event.via) == ("c", "a", "review-2", 2, "http")
    assert event.scores is not None
    assert event.scores.points[CLAIMED] is None
    assert event.private is not None
    assert event.private.model_dump() == {
        "reviewer": "reviewer-2",
        "command_sha256": "00",
        "rationales": {FIRST: "why"},
        "comment": "clear",
    }
    assert "reviewer-2" not in str(event.public())


def refused(review: Review, **changes: Any) -> RefusedError:
    with pytest.raises(RefusedError) as refusal:
        decide_review(SHIPPED, card(**changes), review)
    return refusal.value


@pytest.mark.parametrize("points", [5, -1, 2**80])
def test_points_that_the_scale_does_not_have_are_refused(points: int) -> None:
    refusal = refused(handed_in(points={FIRST: points}))
    assert [(v.rule, v.field) for v in refusal.violations] == [(Reason.OUT_OF_SCALE, f"/points/{FIRST}")]
    assert "from 0 to 4" in str(refusal)


def test_an_unknown_criterion_is_refused_in_points_and_in_rationales() -> None:
    refusal = refused(handed_in(points={"a/b": 1}, rationales={"c~d": "?"}))
    assert [(v.rule, v.field) for v in refusal.violations] == [
        (Reason.UNKNOWN_CRITERION, "/points/a~1b"),
        (Reason.UNKNOWN_CRITERION, "/rationales/c~0d"),
    ]


def test_every_criterion_must_have_points_unless_the_applicant_claims_that_it_does_not_apply() -> None:
    points = {name: given_points for name, given_points in same(SHIPPED, "city", 3).points.items() if name != FIRST}
    assert refused(replace(handed_in(), body=handed_in().body.model_copy(update={"points": points}))).rule == (
        Reason.MISSING_CRITERION
    )
    assert refused(handed_in(points={FIRST: None})).rule == Reason.NOT_CLAIMED
    assert refused(handed_in(points={CLAIMED: None}), claimed=frozenset()).rule == Reason.NOT_CLAIMED


def test_nobody_reviews_what_they_were_not_given_and_learns_nothing_about_it() -> None:
    stranger = handed_in(4)
    assert refused(stranger).rule == Reason.NOT_ASSIGNED
    with pytest.raises(RefusedError) as absent:
        decide_review(SHIPPED, domain.unassigned(stranger), stranger)
    assert (str(absent.value), absent.value.status) == (str(refused(stranger)), 404)


def test_a_second_review_of_the_same_application_is_refused() -> None:
    first = decide_review(SHIPPED, card(), handed_in(1))
    assert refused(handed_in(1), seats=evolve(card(), first, "event-1").seats).rule == Reason.ALREADY_SUBMITTED


def test_remarks_that_would_not_fit_into_an_event_are_refused() -> None:
    long = dict.fromkeys(SHIPPED.criteria("city"), "\u0001" * 2_000)  # six bytes each in JSON
    assert refused(handed_in(rationales=long, comment="\u0001" * 5_000)).rule == Reason.REMARKS_TOO_LONG


@given(
    points=st.dictionaries(st.sampled_from([FIRST, CLAIMED, "made_up"]), st.integers(-1, 5) | st.none()),
    rationales=st.dictionaries(st.sampled_from([FIRST, "made_up"]), st.text(KEPT, max_size=3)),
    lacks=st.booleans(),
)
def test_what_is_seen_to_fit_at_once_breaks_no_rule(
    points: dict[str, int | None], rationales: dict[str, str], *, lacks: bool
) -> None:
    body = handed_in(points=points, rationales=rationales).body
    if lacks:
        body = body.model_copy(update={"points": points})
    misfits = list(domain._misfits(SHIPPED, card(), body))
    if domain._plainly_fits(SHIPPED, card(), body):
        assert misfits == []
    else:
        assert misfits or None in body.points.values()


@given(
    rationales=st.dictionaries(st.text(max_size=5), st.text(max_size=30), max_size=5), comment=st.text(), name=st.text()
)
def test_remarks_take_no_more_bytes_than_is_reckoned(rationales: dict[str, str], comment: str, name: str) -> None:
    remarks = Remarks(reviewer=name, command_sha256="ab" * 32, rationales=rationales, comment=comment)
    assert len(remarks.model_dump_json().encode()) <= domain._most_bytes(remarks)


def test_a_refusal_shows_no_more_than_a_person_reads() -> None:
    refusal = refused(handed_in(points={f"x{n}" * 1_000: 1 for n in range(500)}))
    assert len(refusal.violations) == domain.VIOLATIONS_SHOWN
    assert len(str(refusal)) < 3_000


def test_the_last_review_brings_the_score_with_its_inputs() -> None:
    current, names = card(), count(9, -1)
    for number in (3, 1, 2):
        assert decide_score(SHIPPED, current) is None
        current = evolve(current, decide_review(SHIPPED, current, handed_in(number)), f"event-{next(names)}")
    scored = decide_score(SHIPPED, current)
    assert scored is not None
    assert scored.submitted == "submitted"
    assert scored.reviews == ["event-7", "event-8", "event-9"]
    assert scored.scores == score(SHIPPED, "city", [same(SHIPPED, "city", 3)] * 3)


# Signed commands

SENDER = Sender("reviewer-1", "c")
NOW = 1_800_000_000


def command(**changes: Any) -> ReviewCommand:
    return ReviewCommand.model_validate(
        {
            "aud": "scoring.submissions.v1",
            "command_id": "01234567-89ab-4def-8123-456789abcdef",
            "cycle": "c",
            "sub": "reviewer-1",
            "iat": NOW,
            "exp": NOW + 600,
            "body": handed_in().body.model_dump(),
            **changes,
        }
    )


def judge(made: ReviewCommand, *, key: bytes | None = b"a", at: float = NOW) -> str | None:
    try:
        check_command(made, SENDER, record_key=key, arrived_ms=int(at * 1000), cycles={"c", "d"})
    except RefusedError as refusal:
        return refusal.rule
    return None


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({}, None),
        ({"sub": "reviewer-2"}, Reason.WRONG_SENDER),
        ({"cycle": "d"}, Reason.WRONG_CYCLE),
        ({"cycle": "e"}, Reason.UNKNOWN_CYCLE),
        ({"exp": NOW + 3_600}, None),
        ({"exp": NOW + 3_601}, Reason.VALID_TOO_LONG),
        ({"exp": NOW}, Reason.VALID_TOO_LONG),
        ({"iat": NOW + LEEWAY_SECONDS}, None),
        ({"iat": NOW + LEEWAY_SECONDS + 1}, Reason.NOT_YET_VALID),
        ({"iat": NOW - 900, "exp": NOW - LEEWAY_SECONDS}, None),
        ({"iat": NOW - 900, "exp": NOW - LEEWAY_SECONDS - 1}, Reason.EXPIRED),
        ({"iat": 10**30, "exp": 10**30 + 1}, Reason.NOT_YET_VALID),
    ],
)
def test_a_command_is_judged_by_its_sender_and_by_when_it_arrived(
    changes: dict[str, Any], reason: Reason | None
) -> None:
    assert judge(command(**changes)) == reason


def test_a_command_must_lie_under_its_applications_key() -> None:
    assert [judge(command(), key=key) for key in (b"a", b"b", None)] == [
        None,
        Reason.WRONG_RECORD_KEY,
        Reason.WRONG_RECORD_KEY,
    ]


def test_a_refused_command_keeps_sender_and_detail_out_of_its_public_part() -> None:
    refusal = RefusedError(Reason.OUT_OF_SCALE, "secret" * 1_000)
    event = domain.refuse(SENDER, "id", "ab", refusal)
    assert event.public() == {"reason": "out-of-scale", "record_sha256": "ab"}
    assert event.subject == "id"
    assert event.private is not None
    assert (event.private.reviewer, len(event.private.detail)) == ("reviewer-1", 4_000)
