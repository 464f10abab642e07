"""Intake over HTTP, subject by subject."""

from __future__ import annotations

from fastapi import APIRouter

from services.chassis.web import CommandRoute
from services.intake.admission.api import router as admission
from services.intake.applications.api import router as applications
from services.intake.applications.editing import router as editing
from services.intake.applications.submission import router as submission
from services.intake.cycles.api import router as cycles
from services.intake.deadlines.api import router as deadlines
from services.intake.erasure.api import router as erasure
from services.intake.evidence.api import router as evidence
from services.intake.exchange.api import router as exchange
from services.intake.exchange.api import streaming as forms
from services.intake.governments.api import router as governments
from services.intake.guide.api import keeping
from services.intake.guide.api import router as guide
from services.intake.openness.api import router as openness
from services.intake.people.api import router as people
from services.intake.probes.api import router as probes
from services.intake.reapplication.api import router as reapplication
from services.intake.registry.api import router as registry
from services.intake.screening.api import router as screening

router = APIRouter(prefix="/v1", route_class=CommandRoute)
# The one that is asked most stands first: every route before it is tried in vain, more than once.
for subject in (
    editing,
    applications,
    guide,
    keeping,
    cycles,
    governments,
    registry,
    admission,
    people,
    probes,
    evidence,
    submission,
    reapplication,
    screening,
    deadlines,
    exchange,
    forms,
    openness,
    erasure,
):
    router.include_router(subject)
