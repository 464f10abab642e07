"""PostgreSQL and Kafka die under load and come back: nobody is told a lie, nothing is lost, nothing happens twice."""

from __future__ import annotations

import asyncio
import os
import random
import shutil
import subprocess
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

import asyncpg
import psutil
import pytest

from deploy.demo.receiver import Receiver
from deploy.embedded import Pace, Stack
from deploy.embedded.kafka import Kafka
from deploy.embedded.part import Part
from deploy.embedded.postgres import Postgres
from schemas.applications import ApplicationSubmitted
from schemas.cycles import CycleDeadlineExtended
from services.chassis.database import ACQUIRE_SECONDS, CONNECT_SECONDS
from services.chassis.webhooks import new_secret
from services.origin import Origin
from tests.faults.clients import Clients, eventually
from tests.faults.evidence import Witness
from tests.faults.lives import Plan
from tests.faults.points import NAMES
from tests.faults.verdict import Verdict, databases, prepare, settled

pytestmark = [pytest.mark.long, pytest.mark.timeout(1_500)]

ROOT = Path(__file__).resolve().parents[2]
OFTEN = Pace(pauses=(0.0, 0.5, 0.5, 0.5), slow=1.0)
DISK = 256 * 2**20
MARGIN = 2**20
PATIENCE = ACQUIRE_SECONDS + CONNECT_SECONDS
"""How much longer than the fault lasts a command may take: what a service waits for its database before it says so."""


class World:
    """What a fault is caused in, and looked at afterwards: all services, a witness, and clients at work."""

    def __init__(
        self, stack: Stack, origin: Origin, clients: Clients, plan: Plan, receiver: Receiver, told: list[str]
    ) -> None:
        self.stack = stack
        self.clients = clients
        self.chance = random.Random(plan.seed)
        self._faults = Counter[str]()
        self._origin = origin
        self._plan = plan
        self._receiver = receiver
        self._told = told
        self._began = time.monotonic()

    @property
    def kafka(self) -> Kafka:
        assert self.stack.kafka is not None
        return self.stack.kafka

    @property
    def postgres(self) -> Postgres:
        assert self.stack.postgres is not None
        return self.stack.postgres

    async def kill(self, part: Part) -> None:
        """Kill a part some moment from now."""
        await asyncio.sleep(self.chance.uniform(0.0, 1.5))
        psutil.Process(part.pid).kill()
        self._faults["kills"] += 1

    async def stop(self, *parts: Part) -> None:
        """Stop parts some moment from now, each in its own."""
        moments = {part: self.chance.uniform(0.0, 1.0) for part in parts}

        async def stop(part: Part) -> None:
            await asyncio.sleep(moments[part])
            await part.stop()

        await asyncio.gather(*map(stop, parts))
        self._faults["stops"] += len(parts)

    async def back(self, part: Part, starts: int) -> None:
        """Wait until a part is ready for the `starts`th time."""

        async def is_ready() -> bool:
            return sum(line.startswith(f"{part.name} ready") for line in self._told) == starts

        await eventually(f"{part.name} to be ready again", is_ready, 120)

    async def failed(self, part: Part, starts: int, meanwhile: Callable[[], None]) -> None:
        """Wait until so many attempts to start a part again have failed."""

        async def has() -> bool:
            meanwhile()
            return sum(line.startswith(f"{part.name} ended while starting") for line in self._told) >= starts

        await eventually(f"{part.name} to fail", has, 120)

    async def afterwards(self) -> None:
        """Everything goes on, nobody waited in vain, and the evidence is complete."""
        lasted = time.monotonic() - self._began
        await self.clients.accepted(20)
        await self.clients.subscribed(self._receiver.url)
        await self.clients.rest()
        assert self.clients.slowest < lasted + PATIENCE
        await self.clients.close_by_the_clock()
        await settled(self._plan, 600)
        verdict = Verdict(self._plan)
        verdict.violations += self.clients.wrong
        await verdict.look()
        self._look_at_answers(verdict)
        async with databases(self._plan, ["scoring"]) as tables:
            await self._look_at_scoring(verdict, tables["scoring"])
        await verdict.recompute(self._origin.issuer, [self.clients.cycle], ["auditor"])
        verdict.pronounce(**self._faults)

    def _look_at_answers(self, verdict: Verdict) -> None:
        """Each answer has its event, and there is none that nobody asked for."""
        events, receipts = verdict.events.values(), self.clients.receipts
        told = sorted((one.event, one.application, one.version, one.leaf_hash) for one in receipts)
        submitted = [event for event in events if event.type == ApplicationSubmitted.TYPE]
        found = sorted((e.id, e.subject, e.data["version"], verdict.hashes[e.id]) for e in submitted)
        verdict.expect("submissions", found, told)
        deadlines = sorted(event.data["deadline"] for event in events if event.type == CycleDeadlineExtended.TYPE)
        verdict.expect("deadlines", deadlines, sorted(self.clients.deadlines))

    async def _look_at_scoring(self, verdict: Verdict, scoring: asyncpg.Connection[asyncpg.Record]) -> None:
        """It has the last version of each application, and the close."""
        last = {receipt.application: (receipt.version, receipt.event) for receipt in self.clients.receipts}
        rows = await scoring.fetch("select application, version, submitted from projection.application")
        found = {row["application"]: (row["version"], row["submitted"]) for row in rows}
        verdict.expect("scoring's applications", found, last)
        cycles = await scoring.fetch("select closed is not null, submitted_count from projection.cycle")
        verdict.expect("scoring's cycles", [tuple(row) for row in cycles], [(True, len(last))])


@asynccontextmanager
async def world(folder: Path, seed: int, pace: Pace | None = OFTEN, disk: Path | None = None) -> AsyncIterator[World]:
    """All of it on parts of their own, with work under way."""
    overrides = {"var": folder, "public_url": "http://127.0.0.1:0", "clock_movable": True, "poll_seconds": 0.5}
    overrides["webhooks_allow_loopback"] = True
    secret = new_secret()
    told: list[str] = []
    async with Stack(
        disk or folder, parts=ROOT / "var" / "parts", durable=False, pace=pace, progress=told.append
    ) as stack:
        await prepare(stack.kafka_bootstrap)
        async with (
            Origin(overrides, kafka_bootstrap=stack.kafka_bootstrap, postgres_dsn=stack.postgres_dsn) as origin,
            Witness(origin.services[0].runtime),
            Clients(origin, secret) as clients,
            Receiver(folder / "notices.jsonl", secret) as receiver,
        ):
            ports = dict.fromkeys(NAMES, int(origin.url.rsplit(":")[-1]))
            plan = Plan(str(folder), stack.kafka_bootstrap, stack.postgres_dsn, seed, ports)
            clients.begin()
            await clients.accepted(20)
            yield World(stack, origin, clients, plan, receiver, told)


async def test_kafka_and_postgresql_killed_under_load_lose_and_double_nothing(folder: Path, fault_seed: int) -> None:
    async with world(folder, fault_seed) as it:
        await it.kill(it.kafka)
        await it.clients.accepted(20)  # commands need no broker: their events wait
        assert it.clients.answers[503] == 0
        await it.back(it.kafka, 2)
        for kills in range(1, 4):
            await it.kill(it.postgres)
            await it.back(it.postgres, kills + 1)
        await it.kill(it.kafka)
        await it.kill(it.postgres)
        await it.back(it.kafka, 3)
        await it.back(it.postgres, 5)
        await it.afterwards()
        assert it.clients.answers[503] > 0


async def test_one_away_for_ten_seconds_and_then_both_and_back(folder: Path, fault_seed: int) -> None:
    async with world(folder, fault_seed, pace=None) as it:
        before = (it.stack.kafka_bootstrap, it.stack.postgres_dsn)
        faults: list[list[Part]] = [[it.kafka], [it.postgres], [it.kafka, it.postgres]]
        for away in it.chance.sample(faults, 3):
            refused = it.clients.answers[503]
            await it.stop(*away)
            await asyncio.sleep(10 if len(away) == 1 else 5)
            # Commands need no broker, and nothing goes without the database.
            assert (it.clients.answers[503] > refused + 10) == (it.postgres in away)
            await asyncio.gather(*(part.start() for part in away))
            await it.clients.accepted(10)
        assert (it.stack.kafka_bootstrap, it.stack.postgres_dsn) == before
        await it.afterwards()


async def test_everything_stops_within_seconds_while_both_are_away(folder: Path, fault_seed: int) -> None:
    async with world(folder, fault_seed, pace=None) as it:
        it.clients.leave()
        await it.stop(it.kafka, it.postgres)
        began = time.monotonic()
    assert time.monotonic() - began < 20


async def test_a_full_disk_that_is_freed_again_loses_and_doubles_nothing(folder: Path, fault_seed: int) -> None:
    with small_disk(folder / "disk") as disk:
        async with world(folder, fault_seed, disk=disk) as it:
            await asyncio.sleep(it.chance.uniform(0.0, 1.0))
            with filled(disk) as top_up:
                # It may live on and refuse each write; killed, it can't recover before there is room.
                await it.kill(it.postgres)
                for part in (it.kafka, it.postgres):
                    await it.failed(part, 2, top_up)
                assert it.clients.answers[503] > 10
            await it.back(it.postgres, 2)
            await it.back(it.kafka, 2)
            await it.afterwards()


@contextmanager
def small_disk(folder: Path) -> Iterator[Path]:
    """A disk of its own, which can be filled without harm to the machine's."""
    folder.mkdir()
    options = f"size={DISK},mode=755"
    try:
        subprocess.run(
            ["/bin/mount", "-t", "tmpfs", "-o", options, "cec-tests", str(folder)], check=True, capture_output=True
        )
    except (OSError, subprocess.CalledProcessError) as error:
        pytest.fail(f"a small disk cannot be mounted here ({error}): run this test as root, or with -k 'not full_disk'")
    try:
        yield folder
    finally:
        subprocess.run(["/bin/umount", str(folder)], check=True)


@contextmanager
def filled(disk: Path) -> Iterator[Callable[[], None]]:
    """Fill the disk to its last byte, again at each call; empty it afterwards."""
    ballast = disk / "ballast"

    def top_up() -> None:
        with ballast.open("ab", buffering=0) as file:
            for size in (MARGIN, os.sysconf("SC_PAGE_SIZE")):
                try:
                    while file.write(bytes(size)) == size:
                        pass
                except OSError:
                    continue

    top_up()
    assert shutil.disk_usage(disk).free < MARGIN
    try:
        yield top_up
    finally:
        ballast.unlink()
