"""Two processes of one service: they join, leave, die and stand still in the middle of their work, on one database."""

from __future__ import annotations

import asyncio
import random
import signal
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import asyncpg
import pytest
from aiokafka import AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import GroupCoordinatorNotAvailableError

from deploy.embedded import Stack
from deploy.embedded.ports import free_ports
from schemas.cycles import CycleDeadlineExtended
from schemas.topics import EVENT_TOPICS
from services.chassis.clock import MachineClock
from services.chassis.database import Database
from services.chassis.ids import opaque_id
from tests.faults.clients import eventually
from tests.faults.lives import Plan
from tests.faults.process import IDLE_SECONDS, SESSION_SECONDS, Process
from tests.faults.verdict import Verdict, databases, prepare, recorded, settled
from tests.given import written

pytestmark = [pytest.mark.long, pytest.mark.timeout(900)]

ROOT = Path(__file__).resolve().parents[2]
TOPIC = EVENT_TOPICS["intake"]
WITNESS = "witness"
CUT = "select pg_terminate_backend(pid) from pg_locks where locktype = 'advisory' and objid = 7311002 and granted"
"""Whoever has the relay's lock loses its connection."""


class Place:
    """Kafka, PostgreSQL, processes on them, and events that come."""

    def __init__(self, plan: Plan, kafka: AIOKafkaProducer, admin: AIOKafkaAdminClient) -> None:
        self.plan = plan
        self.chance = random.Random(plan.seed)
        self.counts: Counter[str] = Counter()
        """How many events there are about each key."""
        self.processes = 0
        self._kafka = kafka
        self._admin = admin
        self._running = AsyncExitStack()
        self._ports = iter(plan.ports.values())

    @asynccontextmanager
    async def open(self) -> AsyncIterator[None]:
        async with self._running:
            yield

    def process(self, stall: str = "") -> Process:
        self.processes += 1
        return self._running.enter_context(Process(self.plan, next(self._ports), stall))

    def some(self, least: int) -> int:
        """A number that differs from seed to seed."""
        return least + self.chance.randrange(least)

    async def send(self, keys: list[str]) -> None:
        """One more event about each, from elsewhere."""
        for key in keys:
            self.counts[key] += 1
            event = CycleDeadlineExtended(cycle=key, deadline=datetime.now(UTC), reason="flood")
            await self._kafka.send(TOPIC.name, written(event, self.counts[key]).record, key=key.encode())
        await self._kafka.flush()

    async def keep_sending(self, keys: list[str], over: asyncio.Event) -> None:
        while not over.is_set():
            await self.send(keys)
            await asyncio.sleep(0.05)

    async def members(self, number: int, seconds: float = 90) -> None:
        """Wait until the group has so many members, each with its share."""

        async def are() -> bool:
            try:
                (answer,) = await self._admin.describe_consumer_groups(["witness"])
            except GroupCoordinatorNotAvailableError:  # it is still being made
                return False
            (group,) = answer.groups
            return group[2] == "Stable" and len(group[5]) == number

        await eventually(f"{number} members", are, seconds)

    async def more(self, number: int, seconds: float = 90) -> None:
        """Wait until so many more events took effect."""
        enough = await self.effects() + number

        async def are() -> bool:
            return await self.effects() >= enough

        await eventually(f"{number} more effects", are, seconds)

    async def effects(self) -> int:
        return int(await self.query("select count(*) from projection.seen"))

    async def query(self, statement: str) -> Any:
        connection = await asyncpg.connect(self.plan.postgres, database="cec_witness")
        try:
            return await connection.fetchval(statement)
        finally:
            await connection.close()

    async def all_is_well(self, *, late: bool = False) -> None:
        """Every event took effect once, in the order of its key, and none waits or was set aside."""

        async def are_all() -> bool:
            return await self.effects() >= self.counts.total()

        await eventually("all effects", are_all, 120)
        await settled(self.plan, 120, [WITNESS])
        await asyncio.sleep(1)  # in which what comes twice would come
        verdict = Verdict(self.plan, names=[WITNESS], late=late)
        await verdict.look()
        verdict.expect("events", Counter(event.subject for event in verdict.events.values()), self.counts)
        async with databases(self.plan, [WITNESS]) as tables:
            told = await recorded(tables[WITNESS])
        # What the test recorded itself went through the outbox; the rest it wrote to Kafka.
        verdict.expect("what was recorded", told, verdict.hashes if late else {})
        verdict.pronounce(processes=self.processes)


@pytest.fixture
async def place(folder: Path, fault_seed: int) -> AsyncIterator[Place]:
    async with Stack(folder, parts=ROOT / "var" / "parts", durable=False) as stack:
        await prepare(stack.kafka_bootstrap)
        ports = {str(n): port for n, port in enumerate(free_ports(folder / "ports", 8))}
        plan = Plan(str(folder), stack.kafka_bootstrap, stack.postgres_dsn, fault_seed, ports)
        admin = AIOKafkaAdminClient(bootstrap_servers=plan.kafka)
        await admin.start()
        try:
            async with AIOKafkaProducer(bootstrap_servers=plan.kafka) as kafka:
                made = Place(plan, kafka, admin)
                async with made.open():
                    yield made
        finally:
            await admin.close()


async def test_members_that_join_leave_die_and_stand_still_in_the_middle_of_batches_double_nothing(
    place: Place,
) -> None:
    over, keys = asyncio.Event(), [opaque_id() for _ in range(place.some(20))]
    first = place.process("witness: before COMMIT")
    await place.members(1)
    sending = asyncio.create_task(place.keep_sending(keys, over))
    await place.more(place.some(60))
    second = place.process()
    await place.members(2)
    await place.more(place.some(60))
    await first.stand_still()
    await place.members(1, SESSION_SECONDS * 10)
    # What it has in hand is done by the other one, as soon as its transaction has been ended.
    await place.more(len(keys) * 2, IDLE_SECONDS * 12)
    first.signal(signal.SIGCONT)
    await place.members(2)
    await place.more(place.some(60))
    second.signal(signal.SIGKILL)
    third = place.process()
    await place.members(2, SESSION_SECONDS * 10)
    await place.more(place.some(60))
    first.signal(signal.SIGTERM)
    await place.members(1)
    await place.more(place.some(60))
    over.set()
    await sending
    await place.all_is_well()
    third.signal(signal.SIGTERM)


@pytest.mark.parametrize("point", ["rows read", "after send", "before DELETE"])
async def test_a_relay_that_stands_still_and_believes_that_it_is_the_active_one_does_no_harm(
    place: Place, point: str
) -> None:
    keys = [opaque_id() for _ in range(place.some(8))]
    database = Database(place.plan.postgres, "cec_witness", MachineClock())
    stalls = place.process(f"relay: {point}")
    await place.members(1)
    await database.open()
    try:

        async def record() -> None:
            async with database.transaction() as tx:
                for key in keys:
                    place.counts[key] += 1
                    tx.record(CycleDeadlineExtended(cycle=key, deadline=datetime.now(UTC), reason="flood"))

        async def is_empty() -> bool:
            return bool(await place.query("select count(*) from chassis.outbox") == 0)

        await record()
        await eventually("it to send", is_empty, 60)
        standing = asyncio.create_task(stalls.stand_still())
        await asyncio.sleep(0)
        await record()
        await standing
        place.process()
        for _ in range(place.some(3)):
            await record()
        await asyncio.sleep(2)
        assert await place.query("select count(*) from chassis.outbox") != 0, "somebody else sent what it holds"
        # As when the network between it and PostgreSQL is cut: the lock is gone, and it cannot know.
        await place.query(CUT)
        await eventually("the other one to send", is_empty, 60)
        await record()
        await eventually("the other one to send more", is_empty, 60)
        stalls.signal(signal.SIGCONT)
        for _ in range(5):
            await record()
            await asyncio.sleep(place.chance.uniform(0.0, 0.4))
        await place.all_is_well(late=True)
    finally:
        await database.close()
