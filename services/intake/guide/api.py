"""What a charter asks, and where somebody would stand by it, over HTTP: for anyone, and nothing is kept.

Unless somebody who acts for a government keeps it as its draft: then it is that, and nothing beside it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from fastapi import APIRouter, Query, Response

from services.chassis.problems import Problem, not_found
from services.chassis.refusal import RefusedError
from services.chassis.web import CommandRoute, QuestionRoute, Reading, SignedIn, Writing
from services.intake.access import known_cycle
from services.intake.applications import comments
from services.intake.applications.api import application_view
from services.intake.applications.domain import must_be_editable
from services.intake.applications.forms import ApplicationView
from services.intake.applications.starting import fill, start
from services.intake.applications.store import application
from services.intake.cycles import store as cycles
from services.intake.forms import Named
from services.intake.guide.domain import Answers, assess
from services.intake.guide.forms import AssessmentView, FormView, KeptAssessment, OwnAssessment
from services.intake.guide.keeping import drafted, remarks

if TYPE_CHECKING:
    from services.chassis.database import Connection
    from services.intake.cycles.domain import Cycle

router = APIRouter(route_class=QuestionRoute)
keeping = APIRouter(route_class=CommandRoute)

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


@keeping.post("/cycles/{cycle}/self-assessment", status_code=201)
async def keep_assessment(
    cycle: Named, body: KeptAssessment, response: Response, tx: Writing, who: SignedIn
) -> ApplicationView:
    """Keep a self-assessment as a government's draft of this cycle, where it has none or an empty one.

    The points become comments beside the answers, for the draft's people alone; nothing else of it is kept.
    """
    started = await start(tx, who, cycle, body.government)
    name, government = started.sheet.application, started.government
    response.headers["Location"] = f"/intake/v1/applications/{name}"
    if started.sheet.content or started.sheet.carried:
        detail = f"This government has begun its draft already: {name}. Edit it, section by section."
        raise Problem(409, "draft-begun", detail, headers={"Location": response.headers["Location"]})
    must_be_editable(started.cycle, await application(tx.db, name), tx.clock.now())
    charter = started.cycle.charter
    told = body.model_dump(exclude={"government", "statements"})
    answers = Answers(kind=government.kind, population=government.population, **told)
    sheet = await fill(tx, started, drafted(charter, answers, body.statements))
    for field, text in remarks(charter, answers):
        await comments.add(tx.db, name, field, text, started.person, tx.clock.now())
    return await application_view(tx.db, sheet, response)


async def _latest(db: Connection) -> Cycle:
    found = await cycles.cycles(db)
    if not found:
        raise not_found("No cycle was opened here yet, so there is no charter to answer by.")
    return max(found, key=lambda cycle: (cycle.deadline, cycle.id))
