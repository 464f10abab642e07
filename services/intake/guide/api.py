"""What a charter asks, and where somebody would stand by it, over HTTP: for anyone, and nothing is kept."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from fastapi import APIRouter, Query

from services.chassis.problems import not_found
from services.chassis.refusal import RefusedError
from services.chassis.web import QuestionRoute, Reading
from services.intake.access import known_cycle
from services.intake.cycles import store as cycles
from services.intake.forms import Named
from services.intake.guide.domain import Answers, assess
from services.intake.guide.forms import AssessmentView, FormView, OwnAssessment

if TYPE_CHECKING:
    from services.chassis.database import Connection
    from services.intake.cycles.domain import Cycle

router = APIRouter(route_class=QuestionRoute)

Kind = Annotated[str | None, Query(max_length=64)]


@router.get("/cycles/{cycle}/form", response_model_exclude_none=True)
async def show_form(cycle: Named, db: Reading, kind: Kind = None) -> FormView:
    """The form that applicants of a kind fill in: every criterion with definition, evidence, levels and grounds."""
    found = await known_cycle(db, cycle)
    charter = found.charter
    kinds = charter.eligibility.kinds
    if kind is not None and kind not in kinds:
        detail = f"A {kind} cannot apply: the charter is for {', '.join(kinds)}."
        raise RefusedError("not-eligible", detail, field="/kind", status=422)
    areas = charter.areas
    if kind is not None:
        areas = tuple(area.model_copy(update={"criteria": area.applicable(kind)}) for area in areas)
    return FormView(
        cycle=found.id,
        charter_sha256=found.opened.charter_sha256,
        program=charter.program,
        kind=kind,
        tiers=charter.tiers,
        scale=charter.scale,
        applying=charter.applying,
        levels=charter.levels,
        not_applicable_per_area=charter.scoring.not_applicable_per_area,
        areas=areas,
        facts=charter.facts,
        metrics=charter.metrics,
        published_service_delivery=charter.metrics_rule.published_service_delivery,
        reply=charter.reply,
        appeal=charter.appeal,
        disclosure=charter.disclosure,
    )


@router.post("/self-assessment", response_model_exclude_none=True)
async def self_assessment(body: OwnAssessment, db: Reading) -> AssessmentView:
    """Where one's own points would stand, what is strong and what to work on. Nothing of it is kept."""
    found = await known_cycle(db, body.cycle) if body.cycle else await _latest(db)
    assessment = assess(found.charter, Answers(**body.model_dump(exclude={"cycle"})))
    return AssessmentView(cycle=found.id, charter_sha256=found.opened.charter_sha256, **dict(assessment))


async def _latest(db: Connection) -> Cycle:
    found = await cycles.cycles(db)
    if not found:
        raise not_found("No cycle was opened here yet, so there is no charter to answer by.")
    return max(found, key=lambda cycle: (cycle.deadline, cycle.id))
