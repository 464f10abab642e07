"""Self-assessment: what somebody's own points come to under a charter, and where to work first.

Pure, and binding nobody: reviewers decide, by evidence. The arithmetic is that of a single review; what is not answered
counts as the scale's lowest point, so that answering more never lowers a result. The tier is shown and moves no bar.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from fractions import Fraction
from math import ceil
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from schemas.charter import Area, Charter, Criterion, Level, Tier
from schemas.exact import Ratio, SafeInt, basis_points
from services.chassis.refusal import RefusedError, Violation, pointer

Named = Annotated[str, Field(max_length=64)]


class Answers(BaseModel):
    """Points by criterion, what does not apply, and the metrics that are published, all by the charter's ids."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    kind: Named
    population: Annotated[SafeInt, Field(ge=1)]
    points: Annotated[dict[Named, int], Field(max_length=1_000)] = {}
    not_applicable: Annotated[list[Named], Field(max_length=1_000)] = []
    published_metrics: Annotated[list[Named], Field(max_length=200)] = []


class AreaStanding(BaseModel):
    """An area's points against the floor of the level aimed at; `points_missing` reach it."""

    id: str
    name: str
    points: int
    maximum: int
    share: Ratio
    share_basis_points: int
    floor: Ratio
    holds: bool
    points_missing: int


class NextPoints(BaseModel):
    """The next points that the charter describes, and what they look like."""

    points: int
    text: str


class CriterionStanding(BaseModel):
    """One criterion; `points` is absent where it was not answered, `text` is what these points mean."""

    id: str
    name: str
    area: str
    core: bool
    points: int | None = None
    text: str | None = None
    next: NextPoints | None = None


class Need(BaseModel):
    """One thing that is missing for the level aimed at: `id` names the area, criterion or level."""

    what: Literal["core", "area", "total", "metrics"]
    id: str | None = None
    detail: str


class Assessment(BaseModel):
    """Where the answers stand. `level` is the highest level that the points reach, `aim` the one that is next.

    `strong` are the criteria at or above the last but one of the points that the charter describes; `work_on` are all
    others, the most urgent first: core criteria that miss the bar, then areas below their floor, then what moves the
    total most.
    """

    tier: Tier | None = None
    answered: int
    criteria: int
    level: str | None = None
    aim: str
    total: Ratio
    total_basis_points: int
    needed: Ratio
    areas: list[AreaStanding]
    core_missing: list[str]
    needs: list[Need]
    strong: list[CriterionStanding]
    work_on: list[CriterionStanding]


@dataclass(frozen=True)
class _Tally:
    """An area's points by criterion, of those that apply; the lowest of the scale for what was not answered."""

    area: Area
    points: Mapping[str, int]
    maximum: int

    @property
    def sum(self) -> int:
        return sum(self.points.values())

    @property
    def share(self) -> Fraction:
        return Fraction(self.sum, self.maximum)

    @property
    def core(self) -> list[Criterion]:
        return [one for one in self.area.criteria if one.core and one.id in self.points]


def assess(charter: Charter, answers: Answers) -> Assessment:
    """What the answers come to. RefusedError (422) names everything in them that does not fit the charter."""
    must_fit(charter, answers)
    tallies = [_tally(charter, area, answers) for area in charter.areas]
    total = sum((tally.area.weight * tally.share for tally in tallies), Fraction(0)) / 100
    reached = [level for level in charter.levels if _holds(level, total, tallies)]
    aim = next((level for level in charter.levels if level not in reached), charter.levels[-1])
    areas = [_area(tally, aim) for tally in tallies]
    missing = [one for tally in tallies for one in _short(aim, tally)]
    standings = [one for tally in tallies for one in _standings(charter, tally, aim, answers)]
    return Assessment(
        tier=charter.tier_of(answers.population),
        answered=len(answers.points),
        criteria=len(standings),
        level=reached[-1].id if reached else None,
        aim=aim.id,
        total=Ratio.of(total),
        total_basis_points=basis_points(total),
        needed=Ratio.of(aim.total),
        areas=areas,
        core_missing=[one.id for one in missing],
        needs=[
            *(_core_need(one, answers.points.get(one.id), aim) for one in missing),
            *(_area_need(area) for area in areas if not area.holds),
            *_total_need(total, aim),
            *_metric_need(charter, answers),
        ],
        strong=[standing for urgency, standing in standings if urgency is None],
        work_on=[
            standing for urgency, standing in sorted(standings, key=lambda one: one[0] or ()) if urgency is not None
        ],
    )


def must_fit(charter: Charter, answers: Answers) -> None:
    """RefusedError (422) naming everything in the answers that does not fit the charter."""
    if wrong := list(_misfits(charter, answers)):
        raise RefusedError.all(wrong)


def _misfits(charter: Charter, answers: Answers) -> Iterator[Violation]:
    kinds = charter.eligibility.kinds
    if answers.kind not in kinds:
        yield Violation(
            "not-eligible", f"A {answers.kind} cannot apply: the charter is for {', '.join(kinds)}.", "/kind"
        )
        return
    if charter.tiers and charter.tier_of(answers.population) is None:
        detail = f"A population of {answers.population:,} is in no tier of the charter."
        yield Violation("not-eligible", detail, "/population")
    yield from _point_misfits(charter, answers)
    yield from _excuse_misfits(charter, answers)
    metrics = {metric.id for metric in charter.metrics}
    for number, name in enumerate(answers.published_metrics):
        if name not in metrics:
            detail = f"{name!r} is no metric of the charter."
            yield Violation("unknown-metric", detail, pointer(("published_metrics", number)))


def _point_misfits(charter: Charter, answers: Answers) -> Iterator[Violation]:
    criteria, scale = charter.criteria(answers.kind), charter.scale
    for name, given in answers.points.items():
        at = pointer(("points", name))
        if name not in criteria:
            yield Violation("unknown-criterion", f"{name!r} is no criterion for a {answers.kind}.", at)
        elif given not in scale:
            yield Violation("out-of-scale", f"{name}: points are whole numbers from {scale.min} to {scale.max}.", at)


def _excuse_misfits(charter: Charter, answers: Answers) -> Iterator[Violation]:
    criteria = charter.criteria(answers.kind)
    for number, name in enumerate(answers.not_applicable):
        at = pointer(("not_applicable", number))
        if name not in criteria:
            yield Violation("unknown-criterion", f"{name!r} is no criterion for a {answers.kind}.", at)
        elif criteria[name].na_when is None:
            yield Violation("always-applicable", f"{name} applies to every applicant: give points.", at)
        elif name in answers.points:
            yield Violation("both", f"{name} has points and is called not applicable: keep one of them.", at)
    allowed = charter.scoring.not_applicable_per_area
    for area in charter.areas:
        excused = {one.id for one in area.applicable(answers.kind)} & set(answers.not_applicable)
        if len(excused) > allowed:
            detail = f"{area.id}: {len(excused)} criteria are called not applicable, at most {allowed} may be."
            yield Violation("too-many-not-applicable", detail, "/not_applicable")


def _tally(charter: Charter, area: Area, answers: Answers) -> _Tally:
    points = {
        criterion.id: answers.points.get(criterion.id, charter.scale.min)
        for criterion in area.applicable(answers.kind)
        if criterion.id not in answers.not_applicable
    }
    return _Tally(area, points, charter.scale.max * len(points))


def _holds(level: Level, total: Fraction, tallies: list[_Tally]) -> bool:
    floors = total >= level.total and all(tally.share >= level.every_area for tally in tallies)
    return floors and not any(_short(level, tally) for tally in tallies)


def _short(level: Level, tally: _Tally) -> list[Criterion]:
    """The core criteria that miss the level's least score."""
    return [one for one in tally.core if level.every_core is not None and tally.points[one.id] < level.every_core]


def _area(tally: _Tally, aim: Level) -> AreaStanding:
    missing = aim.every_area - tally.share
    return AreaStanding(
        id=tally.area.id,
        name=tally.area.name,
        points=tally.sum,
        maximum=tally.maximum,
        share=Ratio.of(tally.share),
        share_basis_points=basis_points(tally.share),
        floor=Ratio.of(aim.every_area),
        holds=missing <= 0,
        points_missing=max(0, ceil(missing * tally.maximum)),
    )


def _standings(
    charter: Charter, tally: _Tally, aim: Level, answers: Answers
) -> Iterator[tuple[tuple[bool, bool, Fraction, int] | None, CriterionStanding]]:
    """Each criterion of an area with its urgency, which sorts the most urgent first; None for a strong one."""
    anchors = {anchor.score: anchor.text for anchor in charter.scale.anchors}
    worth = Fraction(tally.area.weight, len(tally.points))
    short = _short(aim, tally)
    for one in tally.area.criteria:
        if one.id not in tally.points:
            continue
        given, points = answers.points.get(one.id), tally.points[one.id]
        ahead = min((score for score in one.looks_like if score > points), default=None)
        strong = points >= sorted(one.looks_like)[-2:][0] and one not in short
        urgency = None if strong else (one not in short, tally.share >= aim.every_area, -worth, points)
        yield (
            urgency,
            CriterionStanding(
                id=one.id,
                name=one.name,
                area=tally.area.id,
                core=one.core,
                points=given,
                text=None if given is None else one.looks_like.get(given, anchors.get(given)),
                next=None if ahead is None else NextPoints(points=ahead, text=one.looks_like[ahead]),
            ),
        )


def _core_need(one: Criterion, given: int | None, aim: Level) -> Need:
    stated = "it is not answered" if given is None else f"you gave it {given}"
    detail = f"{one.name} is a core criterion: {stated}, at least {aim.every_core} is needed."
    return Need(what="core", id=one.id, detail=detail)


def _area_need(area: AreaStanding) -> Need:
    detail = (
        f"{area.name}: {area.points} of {area.maximum} points are {_percent(area.share.fraction)}, the floor is"
        f" {_percent(area.floor.fraction)}: {area.points_missing} more needed."
    )
    return Need(what="area", id=area.id, detail=detail)


def _total_need(total: Fraction, aim: Level) -> Iterator[Need]:
    if total < aim.total:
        detail = f"The total is {_percent(total)}; {aim.name} takes {_percent(aim.total)}."
        yield Need(what="total", id=aim.id, detail=detail)


def _metric_need(charter: Charter, answers: Answers) -> Iterator[Need]:
    wanted = [metric for metric in charter.metrics if metric.service_delivery]
    published = sum(metric.id in answers.published_metrics for metric in wanted)
    needed = charter.metrics_rule.published_service_delivery
    if published < needed:
        names = ", ".join(metric.name for metric in wanted)
        detail = f"To apply, publish {needed} of these service-delivery metrics ({published} named): {names}."
        yield Need(what="metrics", id=None, detail=detail)


def _percent(share: Fraction) -> str:
    whole, rest = divmod(basis_points(share), 100)
    return f"{whole}.{rest:02} %" if rest else f"{whole} %"
