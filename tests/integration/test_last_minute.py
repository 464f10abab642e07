"""Everybody submits in the last minute, on the real parts: each has a receipt or is told why not, and never both."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from datetime import timedelta

import httpx
import pytest

from schemas.exact import SetDigest
from services.chassis.issuer import Issuer
from services.chassis.service import Runtime
from services.chassis.settings import Settings
from services.intake.settings import IntakeSettings
from tests.intake import Intake, Person, refused, started

RuntimeMaker = Callable[[type[Settings]], Runtime]
SUBMITTERS = 60


@pytest.fixture
async def intake(runtime: RuntimeMaker, issuer: Issuer) -> AsyncIterator[Intake]:
    async with started(runtime(IntakeSettings), issuer) as running:
        yield running


async def test_who_submits_while_the_deadline_passes_has_a_receipt_that_counts_or_a_refusal_and_never_both(
    intake: Intake,
) -> None:
    cycle = await intake.cycle(hours=1)
    made = [await asyncio.gather(*(intake.drafted(cycle) for _ in range(6))) for _ in range(SUBMITTERS // 6)]
    leads = {path: lead for some in made for lead, path in some}
    through = 0

    async def submit(path: str, lead: Person) -> httpx.Response:
        nonlocal through
        answer = await lead("POST", f"{path}/submit", {"attest": True})
        through += 1
        if through == SUBMITTERS // 3:
            intake.clock.shift(timedelta(hours=2))
        return answer

    answers = dict(zip(leads, await asyncio.gather(*(submit(*one) for one in leads.items())), strict=True))
    await intake.until_closed(cycle)
    receipts = {path: answer.json()["event"] for path, answer in answers.items() if answer.status_code == 201}
    late = [path for path in answers if path not in receipts]
    assert len(receipts) >= SUBMITTERS // 3
    assert late
    for path in late:
        refused(answers[path], 409, "deadline-passed")
    kept = {path: await intake.events(path.rpartition("/")[2]) for path in leads}
    assert {path: events[-1][1]["id"] for path, events in kept.items() if events} == receipts
    assert all(len(events) <= 1 for events in kept.values())
    deadline = (await intake.admin.got(f"/cycles/{cycle}"))["deadline"]
    assert all(events[0][1]["time"] < deadline for events in kept.values() if events)
    ((_, closed),) = [one for one in await intake.events(cycle) if one[0] == "intake.cycle.closed.v1"]
    assert closed["data"]["submitted"] == SetDigest.of(receipts.values()).model_dump()
