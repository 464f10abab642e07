"""Intake over HTTP, subject by subject."""

from __future__ import annotations

from fastapi import APIRouter

from services.chassis.web import CommandRoute
from services.intake.applications.api import router as applications
from services.intake.cycles.api import router as cycles
from services.intake.governments.api import router as governments

router = APIRouter(prefix="/v1", route_class=CommandRoute)
for subject in (cycles, governments, applications):
    router.include_router(subject)
