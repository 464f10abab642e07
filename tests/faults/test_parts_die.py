"""PostgreSQL and Kafka die under load and come back: nobody is told a lie, nothing is lost, nothing happens twice."""

from __future__ import annotations

import asyncio
import os
import random
import shutil
import subprocess
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import psutil
import pytest

from deploy.demo.receiver import Receiver
from deploy.embedded import Pace, Stack
from deploy.embedded.kafka import Kafka
from deploy.embedded.postgres import Postgres
from services.chassis.webhooks import new_secret
from services.origin import Origin
from tests.faults.clients import Clients, eventually, settled
from tests.faults.evidence import Witness, assert_all_is_well

pytestmark = [pytest.mark.long, pytest.mark.timeout(300)]

ROOT = Path(__file__).resolve().parents[2]
OFTEN = Pace(pauses=(0.0, 0.5, 0.5, 0.5), slow=1.0)
DISK = 256 * 2**20
MARGIN = 2**20


@asynccontextmanager
async def world(folder: Path, pace: Pace | None = OFTEN, disk: Path | None = None) -> AsyncIterator[World]:
    """All services on parts of their own, with clients at work, a witness that consumes, and a webhook's receiver."""
    overrides = {"var": folder, "public_url": "http://127.0.0.1:0", "clock_movable": True, "poll_seconds": 0.5}
    overrides["webhooks_allow_loopback"] = True
    secret = new_secret()
    told: list[str] = []
    async with (
        Stack(disk or folder, parts=ROOT / "var" / "parts", durable=False, pace=pace, progress=told.append) as stack,
        Origin(overrides, kafka_bootstrap=stack.kafka_bootstrap, postgres_dsn=stack.postgres_dsn) as origin,
        Witness(origin.services[0].runtime) as witness,
        Clients(origin, secret) as clients,
        Receiver(folder / "notices.jsonl", secret) as receiver,
    ):
        clients.begin()
        await clients.accepted(20)
        yield World(stack, origin, witness, clients, receiver.url, told)


class World:
    """What a fault is caused in, and looked at afterwards."""

    def __init__(
        self, stack: Stack, origin: Origin, witness: Witness, clients: Clients, url: str, told: list[str]
    ) -> None:
        self.stack = stack
        self.origin = origin
        self.clients = clients
        self._witness = witness
        self._url = url
        self._told = told

    @property
    def kafka(self) -> Kafka:
        assert self.stack.kafka is not None
        return self.stack.kafka

    @property
    def postgres(self) -> Postgres:
        assert self.stack.postgres is not None
        return self.stack.postgres

    async def back(self, part: Kafka | Postgres, starts: int) -> None:
        """Wait until a part is ready for the `starts`th time."""

        async def is_ready() -> bool:
            return sum(line.startswith(f"{part.name} ready") for line in self._told) == starts

        await eventually(f"{part.name} to be ready again", is_ready, 60)

    async def failed(self, part: Kafka | Postgres, starts: int, meanwhile: Callable[[], None]) -> None:
        """Wait until so many attempts to start a part again have failed."""

        async def has() -> bool:
            meanwhile()
            return sum(line.startswith(f"{part.name} ended while starting") for line in self._told) >= starts

        await eventually(f"{part.name} to fail", has, 60)

    async def afterwards(self) -> None:
        """Everything goes on, and the evidence is complete."""
        await self.clients.accepted(20)
        await self.clients.subscribed(self._url)
        await self.clients.rest()
        await self.clients.close_by_the_clock()
        await settled(self.stack.kafka_bootstrap, [*self.origin.services, self._witness.service], 60)
        await assert_all_is_well(self.origin, self._witness, self.clients)


@pytest.fixture
def folder() -> Iterator[Path]:
    with TemporaryDirectory(prefix="cec-tests-") as made:
        path = Path(made)
        path.chmod(0o755)
        yield path


async def test_postgresql_killed_under_load_loses_and_doubles_nothing(folder: Path) -> None:
    chance = random.Random(20131001)
    async with world(folder) as it:
        for kills in range(1, 4):
            psutil.Process(it.postgres.pid).kill()
            await it.back(it.postgres, kills + 1)
            await asyncio.sleep(chance.uniform(0.2, 1.5))
        await it.afterwards()
        assert it.clients.answers[503] > 0


async def test_kafka_killed_under_load_loses_and_doubles_nothing(folder: Path) -> None:
    async with world(folder) as it:
        psutil.Process(it.kafka.pid).kill()
        await it.clients.accepted(20)  # commands need no broker: their events wait
        await it.back(it.kafka, 2)
        await it.afterwards()
        assert it.clients.answers[503] == 0


async def test_both_away_for_ten_seconds_and_back(folder: Path) -> None:
    async with world(folder, pace=None) as it:
        before = (it.stack.kafka_bootstrap, it.stack.postgres_dsn)
        await asyncio.gather(*(part.stop() for part in it.stack.parts))
        refused = it.clients.answers[503]
        await asyncio.sleep(10)
        assert it.clients.answers[503] > refused + 10
        await asyncio.gather(*(part.start() for part in it.stack.parts))
        assert (it.stack.kafka_bootstrap, it.stack.postgres_dsn) == before
        await it.afterwards()


@pytest.mark.parametrize("away", ["kafka", "postgres"])
async def test_one_away_for_ten_seconds_and_back(folder: Path, away: str) -> None:
    async with world(folder, pace=None) as it:
        part = it.kafka if away == "kafka" else it.postgres
        await part.stop()
        refused = it.clients.answers[503]
        await asyncio.sleep(10)
        # Commands need no broker, and nothing goes without the database.
        assert (it.clients.answers[503] > refused) == (away == "postgres")
        await part.start()
        await it.afterwards()


async def test_everything_stops_within_seconds_while_both_are_away(folder: Path) -> None:
    async with world(folder, pace=None) as it:
        it.clients.leave()
        await asyncio.gather(*(part.stop() for part in it.stack.parts))
        began = time.monotonic()
    assert time.monotonic() - began < 20


async def test_a_full_disk_that_is_freed_again_loses_and_doubles_nothing(folder: Path) -> None:
    with small_disk(folder / "disk") as disk:
        async with world(folder, disk=disk) as it:
            with filled(disk) as top_up:
                # It may live on and refuse each write; killed, it can't recover before there is room.
                psutil.Process(it.postgres.pid).kill()
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
