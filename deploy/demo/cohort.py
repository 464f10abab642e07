"""The cohort file (`cec-cohort/1`, JSON): what a demonstration cycle is played from, and the points drawn for it.

It holds applicants with their facts, metrics and a strength per area; it never says who is designated, which follows
from the charter's rules. Facts (or "website", "population") listed under `assumed` are verified by nobody; drawn
metrics say `simulated`. Points are drawn around the strength, the same for the same seed, applicant and reviewer.
"""

from __future__ import annotations

import math
import random
from collections import Counter
from collections.abc import Iterator
from datetime import date
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, PlainValidator, ValidationError

from schemas import applications
from schemas.applications import FactValue
from schemas.charter import Charter, explained
from schemas.exact import Quantity

SPREAD = 0.2
"""How far a drawn point may lie from the strength, as a share of the scale's width."""

PROFILE = frozenset({"website", "population"})
"""What may be marked assumed beside the charter's facts."""


class CohortError(ValueError):
    """A cohort file that cannot be played; the message is one line that names every place."""


def _fact(value: object) -> FactValue:
    if isinstance(value, bool | int | str):
        return value
    if isinstance(value, list) and all(isinstance(item, str) for item in value):
        return value
    raise ValueError("must be true, false, a whole number, text or a list of texts")


def _decimal(value: object) -> object:
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise ValueError('must be a decimal, such as "93.5"')  # noqa: TRY004  (pydantic reports ValueErrors)
    # A JSON number's shortest spelling is the one that was written, but for trailing zeros: text keeps those, too.
    return Quantity.parse(str(value))


def _percent(value: object) -> int:
    if isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= 100:  # noqa: PLR2004  (percent)
        return value
    raise ValueError("must be a whole number from 0 to 100")


def _strength(value: object) -> int | dict[str, int]:
    if isinstance(value, dict):
        return {str(area): _percent(share) for area, share in value.items()}
    return _percent(value)


class Entry(BaseModel):
    """A part of the file: frozen, strict, and refusing what it does not know."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class Metric(Entry):
    """A measured figure; `value` is written as text ("93.5") and kept exactly, `simulated` if it was drawn."""

    id: str
    value: Annotated[Quantity, BeforeValidator(_decimal)]
    unit: str
    period: str
    published: bool
    simulated: bool = False


class Applicant(Entry):
    """One government and what it submits.

    `strength` is 0 to 100 of the scale's top, in every area or by area id. `reviews` overrides what is drawn: criterion
    id to the points that the first, second, third ... reviewer gives, taken in turn when there are more reviewers.
    """

    name: Annotated[str, Field(min_length=1)]
    state: Annotated[str, Field(min_length=1)]
    kind: str
    population: Annotated[int, Field(ge=1)]
    population_source: str
    website: Annotated[str, Field(pattern=r"^https?://[^\s/]+(/\S*)?$")]
    facts: dict[str, Annotated[FactValue, PlainValidator(_fact)]]
    assumed: tuple[str, ...] = ()
    metrics: tuple[Metric, ...] = ()
    strength: Annotated[int | dict[str, int], PlainValidator(_strength)]
    answers: dict[str, applications.Answer] = {}
    reviews: dict[str, Annotated[tuple[int, ...], Field(min_length=1)]] = {}
    withdraws: bool = False
    fictional: bool = False


class Cohort(Entry):
    """A whole file. `narrative` is the editor's text for the announcement; `notes` and `sources` explain the data."""

    form: Literal["cec-cohort/1"]
    cycle: str
    announced_on: date
    applicants: tuple[Applicant, ...] = Field(min_length=1)
    seed: int
    reviewers: Annotated[int, Field(ge=1)]
    narrative: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    sources: dict[str, str] = {}

    def check(self, charter: Charter) -> None:
        """CohortError, naming every place, if this cohort does not fit the charter that it shall be played under."""
        found = [f"{place}: {rule}" for place, rule in _misfits(self, charter)]
        if found:
            raise CohortError("; ".join(found))

    def points(self, charter: Charter, applicant: Applicant, reviewer: int) -> dict[str, int]:
        """What the applicant's reviewer number `reviewer` (from 0) gives: criterion id to points, always the same."""
        rng = random.Random(f"{self.seed}:{applicant.name}:{reviewer}")  # noqa: S311  (a drawing to be repeated)
        return draw_points(rng, charter, applicant, reviewer)


def load(path: Path) -> Cohort:
    """Read a cohort file; CohortError in one line that names the file and every place."""
    try:
        return Cohort.model_validate_json(path.read_bytes())
    except OSError as error:
        raise CohortError(f"{path}: cannot be read ({error.strerror}); give the path of a cohort file") from error
    except ValidationError as error:
        raise CohortError(f"{path}: " + "; ".join(explained(error, "a cohort file"))) from error


def draw_points(rng: random.Random, charter: Charter, applicant: Applicant, reviewer: int) -> dict[str, int]:
    """Points for every criterion that the applicant is judged by; explicit ones where `reviews` has them."""
    scale, points = charter.scale, {}
    reach = SPREAD * (scale.max - scale.min)
    for area in charter.areas:
        strength = applicant.strength if isinstance(applicant.strength, int) else applicant.strength[area.id]
        for criterion in area.applicable(applicant.kind):
            # Drawn also where it is not used, so that an override moves no other criterion's points.
            near = scale.max * strength / 100 + reach * (2 * rng.random() - 1)
            answer = applicant.answers.get(criterion.id)
            if answer is not None and answer.not_applicable is not None:
                continue
            explicit = applicant.reviews.get(criterion.id)
            drawn = min(max(math.floor(near + 0.5), scale.min), scale.max)
            points[criterion.id] = explicit[reviewer % len(explicit)] if explicit else drawn
    return points


def _misfits(cohort: Cohort, charter: Charter) -> Iterator[tuple[str, str]]:
    label = charter.cycle_label(cohort.announced_on.year)
    if cohort.cycle != label:
        yield "cycle", f"must be {label!r}, as the charter names a cycle announced on {cohort.announced_on}"
    scoring = charter.scoring
    reviews = len(cohort.applicants) * scoring.reviewers_per_application
    if cohort.reviewers < scoring.reviewers_per_application:
        yield "reviewers", f"an application needs {scoring.reviewers_per_application}"
    elif cohort.reviewers * scoring.applications_per_reviewer < reviews:
        yield "reviewers", f"{reviews} reviews are needed, at most {scoring.applications_per_reviewer} from each"
    names = Counter((applicant.name, applicant.state) for applicant in cohort.applicants)
    for number, applicant in enumerate(cohort.applicants):
        place = f"applicants[{number}]"
        if names[applicant.name, applicant.state] > 1:
            yield f"{place}.name", f"{applicant.name}, {applicant.state} stands twice"
        yield from ((f"{place}.{field}", rule) for field, rule in _misfit(applicant, charter))


def _misfit(applicant: Applicant, charter: Charter) -> Iterator[tuple[str, str]]:
    if applicant.kind not in charter.eligibility.kinds:
        yield "kind", f"must be one of: {', '.join(charter.eligibility.kinds)}"
    if charter.tiers and charter.tier_of(applicant.population) is None:
        yield "population", f"{applicant.population} is in no tier of the charter"
    if applicant.fictional and not applicant.website.split("/")[2].endswith(".example"):
        yield "website", "an invented government needs a name under .example, which nobody owns"
    yield from _misfit_claims(applicant, charter)
    yield from _misfit_scores(applicant, charter)


def _misfit_claims(applicant: Applicant, charter: Charter) -> Iterator[tuple[str, str]]:
    facts = {fact.id: fact for fact in charter.facts}
    for fact in charter.facts:
        if fact.required and fact.id not in applicant.facts:
            yield f"facts.{fact.id}", "is missing"
    for name, value in applicant.facts.items():
        wrong = facts[name].problem(value) if name in facts else "is no fact of the charter"
        if wrong:
            yield f"facts.{name}", wrong
    for name in applicant.assumed:
        if name not in facts and name not in PROFILE:
            yield "assumed", f"{name!r} is neither a fact of the charter nor one of: {', '.join(sorted(PROFILE))}"
    metrics = {metric.id for metric in charter.metrics}
    for number, metric in enumerate(applicant.metrics):
        if metric.id not in metrics:
            yield f"metrics[{number}].id", f"{metric.id!r} is no metric of the charter"


def _misfit_scores(applicant: Applicant, charter: Charter) -> Iterator[tuple[str, str]]:
    if isinstance(applicant.strength, dict) and set(applicant.strength) != {area.id for area in charter.areas}:
        yield "strength", f"must name each area once: {', '.join(area.id for area in charter.areas)}"
    criteria = charter.criteria(applicant.kind)
    explicit = [("answers", name) for name in applicant.answers] + [("reviews", name) for name in applicant.reviews]
    for field, name in explicit:
        if name not in criteria:
            yield f"{field}.{name}", f"is no criterion for a {applicant.kind}"
    for name, points in applicant.reviews.items():
        if any(point not in charter.scale for point in points):
            yield f"reviews.{name}", f"points must be from {charter.scale.min} to {charter.scale.max}"
