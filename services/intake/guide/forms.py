"""What is asked and answered about a charter's form over HTTP."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, Field

from schemas.applying import Appeal, Applying, Window
from schemas.catalogue import Fact, Metric
from schemas.charter import Area, Disclosure, Level, Program, Scale, Tier
from services.intake.forms import Given, Name
from services.intake.guide.domain import Answers, Assessment, Named
from services.intake.text import Prose


class FormView(BaseModel):
    """All that an applicant is asked, in the charter's order and words, with what to show beside each field.

    With `kind`, the criteria are those that applicants of this kind are judged by. `scale` says what points mean
    everywhere, a criterion's `looks_like` what some of them mean there.
    """

    cycle: str
    charter_sha256: str
    program: Program
    kind: str | None = None
    tiers: tuple[Tier, ...]
    scale: Scale
    applying: Applying | None = None
    levels: tuple[Level, ...]
    not_applicable_per_area: int
    areas: tuple[Area, ...]
    facts: tuple[Fact, ...]
    metrics: tuple[Metric, ...]
    published_service_delivery: int
    """How many of the `service_delivery` metrics must be published."""
    reply: Window | None = None
    appeal: Appeal | None = None
    disclosure: Disclosure


class OwnAssessment(Answers):
    """Somebody's own points; by the charter of `cycle`, else of the cycle with the latest deadline."""

    cycle: Name | None = None


class KeptAssessment(Given):
    """A self-assessment to be kept as the draft of a government, whose kind and population count.

    `statements` is what was noted beside the points, by criterion: an answer's statement, or why it does not apply.
    """

    government: Name
    points: Annotated[dict[Named, int], Field(max_length=1_000, default_factory=dict)]
    not_applicable: Annotated[list[Named], Field(max_length=1_000, default_factory=list)]
    published_metrics: Annotated[list[Named], Field(max_length=200, default_factory=list)]
    statements: Annotated[dict[Named, Prose], Field(max_length=1_000, default_factory=dict)]


class AssessmentView(Assessment):
    """Where they would stand, by which charter."""

    cycle: str
    charter_sha256: str
