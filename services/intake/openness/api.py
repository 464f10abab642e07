"""Openness over HTTP, part by part."""

from __future__ import annotations

from fastapi import APIRouter

from services.intake.openness.campaign import router as campaign
from services.intake.openness.consultation import brief as comments
from services.intake.openness.consultation import router as consultation
from services.intake.openness.fees import router as fees
from services.intake.openness.questions import router as questions
from services.intake.openness.research import router as research

router = APIRouter()
for part in (campaign, questions, consultation, comments, fees, research):
    router.include_router(part)
