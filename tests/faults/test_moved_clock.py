"""The machine's clock leaps by hours, forward and back, while whole cycles go on: nothing is lost or doubled."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import uuid_utils
import uvicorn

from deploy.embedded import Stack
from deploy.embedded.ports import free_ports
from services import origin as origins
from services.chassis import database
from services.chassis.webhooks import new_secret
from services.origin import Origin
from services.webhook_listener import app
from tests.faults import outcome
from tests.faults.clients import eventually
from tests.faults.evidence import Witness
from tests.faults.lives import Plan
from tests.faults.points import NAMES
from tests.faults.stories import NEVER, Town
from tests.faults.verdict import prepare, settled

pytestmark = [pytest.mark.long, pytest.mark.timeout(1_500)]

ROOT = Path(__file__).resolve().parents[2]
LEAPS = 50
CYCLES = 2
FAR = timedelta(hours=6)


class Leaping:
    """The machine's clock as the services see it: some hours from the truth, for some tenths of a second."""

    def __init__(self, chance: random.Random) -> None:
        self.leaps = 0
        self._chance = chance
        self._ahead = timedelta()

    def now(self) -> datetime:
        return datetime.now(UTC) + self._ahead

    def event_id(self) -> str:
        """A UUIDv7 of that time."""
        return str(uuid_utils.uuid7(nanoseconds=int(self.now().timestamp() * 1e9)))

    async def keep_leaping(self, over: asyncio.Event) -> None:
        """Forward and back until it is over; then forward for good, so that what was put off becomes due."""
        while not over.is_set():
            self._ahead = self._chance.uniform(-1.0, 1.0) * FAR
            self.leaps += 1
            await asyncio.sleep(self._chance.uniform(0.1, 0.6))
        self._ahead = 2 * FAR


@asynccontextmanager
async def endpoint(file: Path, secret: str, port: int, clock: Leaping) -> AsyncIterator[str]:
    """A subscriber's, which lives by the same clock: it would refuse what was signed hours ago."""
    listener = app(secret=secret, out=file, tell=lambda _what, _fields: None, clock=clock)
    server = uvicorn.Server(uvicorn.Config(listener, port=port, log_config=None, access_log=False, lifespan="off"))
    serving = asyncio.create_task(server.serve())
    try:
        yield f"http://127.0.0.1:{port}/"
    finally:
        server.should_exit = True
        await serving


async def test_a_machine_clock_that_leaps_by_hours_loses_and_doubles_nothing(
    folder: Path, fault_seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock, secret, over = Leaping(random.Random(fault_seed)), new_secret(), asyncio.Event()
    monkeypatch.setattr(origins, "MachineClock", lambda: clock)
    monkeypatch.setattr(database, "event_id", clock.event_id)
    monkeypatch.setattr(time, "time", lambda: clock.now().timestamp())  # aiokafka's
    settings: dict[str, Any] = {
        "var": folder,
        "public_url": "http://127.0.0.1:0",
        "clock_movable": True,
        "poll_seconds": 0.2,
    }
    # The breaker is no part of this: there are people who wait, while what nobody can read goes on coming.
    settings |= {"webhooks_allow_loopback": True, "poison_limit": 10_000}
    (port,) = free_ports(folder / "ports", 1)
    async with Stack(folder, parts=ROOT / "var" / "parts", durable=False) as stack:
        await prepare(stack.kafka_bootstrap)
        async with (
            Origin(settings, kafka_bootstrap=stack.kafka_bootstrap, postgres_dsn=stack.postgres_dsn) as origin,
            Witness(origin.services[0].runtime),
            endpoint(folder / "notices.jsonl", secret, port, clock) as url,
            Town(
                *(dict.fromkeys(NAMES, origin.url), stack.kafka_bootstrap, origin.issuer, fault_seed),
                notices=url,
                secret=secret,
                astray=True,
            ) as town,
        ):
            ports = dict.fromkeys(NAMES, int(origin.url.rsplit(":")[-1]))
            plan = Plan(str(folder), stack.kafka_bootstrap, stack.postgres_dsn, fault_seed, ports)
            leaping = asyncio.create_task(clock.keep_leaping(over))
            town.begin(2)

            async def is_enough() -> bool:
                town.check()
                return clock.leaps >= LEAPS and len(town.notes.announced) >= CYCLES

            await eventually("cycles to be announced", is_enough, 600)
            await town.rest(600)
            over.set()
            await leaping
            await town.move(town.clock.now() + NEVER)
            await settled(plan, 600)
            verdict = await outcome.reach(plan, origin.issuer, town.notes, folder / "notices.jsonl", misdated=True)
            print(dict(town.notes.answers))  # noqa: T201  (pytest shows it with a failure)
            verdict.pronounce(leaps=clock.leaps)
