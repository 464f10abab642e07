"""What is asked and answered about a charter's form over HTTP."""

from __future__ import annotations

from pydantic import BaseModel

from schemas.applying import Appeal, Applying, Window
from schemas.catalogue import Fact, Metric
from schemas.charter import Area, Disclosure, Level, Program, Scale, Tier
from services.intake.forms import Name
from services.intake.guide.domain import Answers, Assessment


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


class AssessmentView(Assessment):
    """Where they would stand, by which charter. Nothing of it is kept."""

    cycle: str
    charter_sha256: str
