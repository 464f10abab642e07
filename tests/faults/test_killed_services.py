"""Every service is killed hundreds of times, between any two steps, while whole cycles go on: nothing shows of it."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from deploy.demo.receiver import Receiver
from deploy.embedded import Stack
from deploy.embedded.ports import free_ports
from services.chassis.clock import MachineClock
from services.chassis.issuer import Issuer
from services.chassis.settings import Settings
from services.chassis.webhooks import new_secret
from tests.faults import outcome
from tests.faults.lives import Lives, Plan, counted
from tests.faults.points import NAMES
from tests.faults.stories import NEVER, Town
from tests.faults.verdict import prepare, settled

pytestmark = pytest.mark.long

ROOT = Path(__file__).resolve().parents[2]
KILLS = 250
AT_MOST = 2_000
"""Kills among which each point must be met. Not a time: that says something about the machine."""
PEOPLE = 4
"""Cycles at a time."""


@pytest.mark.timeout(1_800)
async def test_services_killed_between_any_two_steps_lose_and_double_nothing(folder: Path, fault_seed: int) -> None:
    settings, secret = Settings(), new_secret()
    issuer = Issuer.at(
        folder / "keys", issuer=settings.token_issuer, audience=settings.token_audience, machine=MachineClock()
    )
    async with Stack(folder, parts=ROOT / "var" / "parts", durable=False) as stack:
        await prepare(stack.kafka_bootstrap)
        ports = dict(zip(NAMES, free_ports(folder / "ports", len(NAMES)), strict=True))
        plan = Plan(str(folder), stack.kafka_bootstrap, stack.postgres_dsn, fault_seed, ports)
        urls = {name: f"http://127.0.0.1:{port}" for name, port in ports.items()}
        notices = folder / "notices.jsonl"
        async with (
            Receiver(notices, secret) as receiver,
            Lives(plan) as lives,
            Town(urls, plan.kafka, issuer, fault_seed, notices=receiver.url, secret=secret) as town,
        ):
            town.begin(PEOPLE)
            await under_fire(lives, town)
            await town.rest(600)
            await town.move(town.clock.now() + NEVER)
            await settled(plan, 600)
            verdict = await outcome.reach(plan, issuer, town.notes, notices)
            told = [counted(lives.kills().items()), str(dict(town.notes.answers))]
            print("\n".join(told))  # noqa: T201  (pytest shows it with a failure)
            verdict.pronounce(kills=lives.kills().total())
            lives.check()


async def under_fire(lives: Lives, town: Town) -> None:
    """Let services be killed until it is enough, and each point of each was met."""
    while (kills := lives.kills().total()) < KILLS or lives.missing():
        lives.check()
        town.check()
        assert kills < AT_MOST, f"nobody came to {sorted(lives.missing())}"
        await asyncio.sleep(0.5)
    lives.rest()
