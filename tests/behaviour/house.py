"""A service with any number of members: one database, one consumer group, and a note of every effect."""

from __future__ import annotations

import asyncio
import random
import secrets
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any, Self

import asyncpg
from aiokafka import AIOKafkaConsumer, TopicPartition
from fastapi import APIRouter

from schemas.cycles import CycleDeadlineExtended
from schemas.envelope import Event, Header
from schemas.screening import ApplicationClarified
from schemas.topics import EVENT_TOPICS
from services.chassis.breaker import Fate
from services.chassis.database import Tx
from services.chassis.inbox import EventInbox, Handlers
from services.chassis.record import Record
from services.chassis.service import Runtime, Service, Subscription
from services.chassis.settings import Settings
from tests.given import eventually

TOPIC = EVENT_TOPICS["intake"].name
PARTITIONS = EVENT_TOPICS["intake"].partitions


class Noting(EventInbox):
    """An inbox that keeps the size of every batch."""

    def __init__(self, handlers: Handlers, group: str) -> None:
        super().__init__(handlers, group)
        self.sizes: list[int] = []

    async def process(self, tx: Tx, records: list[Record]) -> list[Fate | Exception]:
        self.sizes.append(len(records))
        return await super().process(tx, records)


class Member:
    """One process's worth of the service. Its effects can be held, from within, by closing the gate."""

    def __init__(self, runtime: Runtime, name: str, migrations: Path) -> None:
        self.gate = asyncio.Event()
        self.gate.set()
        self.held = asyncio.Event()
        """Set when an effect stands at the closed gate."""
        self.attempted: list[tuple[str, int]] = []
        """Subject and sequence of every event that was handed to a handler, in order."""
        self.rebalances = 0
        """How often it had to give its partitions up."""
        handlers = Handlers()
        handlers.on(CycleDeadlineExtended)(self._note)
        # What no service objects to, though its application was never submitted: all read the topic from its beginning.
        handlers.on(ApplicationClarified)(self._note)
        self.inbox = Noting(handlers, name)
        self.service = Service(
            name=name,
            runtime=runtime,
            router=APIRouter(),
            migrations=migrations,
            subscriptions=(Subscription((TOPIC,), name, self.inbox),),
            tasks={"ring": self._ring},
        )
        self.database = self.service.database
        (self.consumer,) = self.service.consumers
        self._revoked = self.consumer.on_partitions_revoked
        self.consumer.on_partitions_revoked = self._count_rebalance  # type: ignore[method-assign]

    @property
    def assignment(self) -> frozenset[TopicPartition]:
        """The partitions that it has now."""
        consumer = self.consumer.subscriber.consumer
        return frozenset(consumer.assignment()) if consumer else frozenset()

    async def record(self, *subjects: str, reason: str = "flood") -> None:
        """Commit one event about each of the cycles, in one transaction."""
        async with self.database.transaction() as tx:
            for subject in subjects:
                tx.record(CycleDeadlineExtended(cycle=subject, deadline=tx.clock.now(), reason=reason))

    async def _note(self, tx: Tx, event: Event, header: Header) -> None:
        self.attempted.append((header.subject, header.sequence))
        await self._pass_gate()
        await tx.db.execute("insert into projection.seen values ($1, $2)", header.subject, header.sequence)

    async def _ring(self, tx: Tx, subject: str, due: datetime, detail: dict[str, Any]) -> None:
        if detail:
            await self._pass_gate()
        await tx.db.execute("insert into projection.seen values ($1, 1)", subject)

    async def _pass_gate(self) -> None:
        if not self.gate.is_set():
            self.held.set()
            await self.gate.wait()

    async def _count_rebalance(self, revoked: object) -> None:
        self.rebalances += bool(revoked)
        await self._revoked(revoked)


class House:
    """The members of one service, and what they did. Events that were there before it are none of its business."""

    def __init__(self, runtime: Callable[[type[Settings]], Runtime], folder: Path) -> None:
        self.name = f"house{secrets.token_hex(4)}"
        self.members: list[Member] = []
        self._begin: dict[TopicPartition, int] = {}
        self._runtime = runtime
        self._migrations = folder
        table = "create table projection.seen (subject text, sequence bigint, n bigint generated always as identity);"
        (folder / "0001_seen.sql").write_text(table)

    async def open(self) -> Self:
        """Put the group at the topic's end."""
        async with self._offsets() as group:
            self._begin = await group.end_offsets(group.assignment())
            await group.commit(self._begin)
        return self

    async def rewind(self) -> None:
        """Put the group, which must have no member now, where it began."""
        async with self._offsets() as group:
            await group.commit(self._begin)

    async def join(self, **settings: Any) -> Member:
        """A new member; `settings` differ from the usual ones."""
        runtime = self._runtime(Settings)
        runtime = replace(runtime, settings=runtime.settings.model_copy(update=settings))
        member = Member(runtime, self.name, self._migrations)
        self.members.append(member)
        await member.service.start()
        return member

    async def leave(self, member: Member) -> None:
        """Stop a member."""
        self.members.remove(member)
        member.gate.set()
        await member.service.stop()

    async def settled(self) -> None:
        """Wait until every partition has one member, and every member a partition."""

        async def all_assigned() -> bool:
            shares = [member.assignment for member in self.members]
            return all(shares) and sum(map(len, shares)) == PARTITIONS == len(frozenset().union(*shares))

        await eventually(all_assigned, 30)

    @asynccontextmanager
    async def connection(self) -> AsyncIterator[asyncpg.Connection[asyncpg.Record]]:
        """A connection of nobody's to the members' database."""
        runtime = self._runtime(Settings)
        name = runtime.settings.database_prefix + self.name
        connection = await asyncpg.connect(runtime.postgres_dsn, database=name)
        try:
            yield connection
        finally:
            await connection.close()

    async def effects(self) -> dict[str, list[int]]:
        """The sequences that took effect, by subject, in the order in which they did."""
        async with self.connection() as db:
            rows = await db.fetch(
                "select subject, array_agg(sequence order by n) as order from projection.seen group by subject"
            )
        return {row["subject"]: row["order"] for row in rows}

    async def shows(self, wanted: dict[str, int], seconds: float = 30) -> None:
        """Wait until the group consumed all and as many events took effect; AssertionError unless once and in order."""
        found: dict[str, list[int]] = {}

        async def complete() -> bool:
            nonlocal found
            effects = await self.effects()
            found = {subject: effects.get(subject, []) for subject in wanted}
            return all(len(found[subject]) >= count for subject, count in wanted.items()) and await self.consumed()

        with suppress(TimeoutError):
            await eventually(complete, seconds)
        assert found == {subject: list(range(1, count + 1)) for subject, count in wanted.items()}

    @asynccontextmanager
    async def _offsets(self) -> AsyncIterator[AIOKafkaConsumer]:
        """A client that sees the group's offsets, and may set them while the group has no member."""
        consumer = AIOKafkaConsumer(
            bootstrap_servers=self._runtime(Settings).kafka_bootstrap, group_id=self.name, enable_auto_commit=False
        )
        await consumer.start()
        try:
            consumer.assign([TopicPartition(TOPIC, number) for number in range(PARTITIONS)])
            yield consumer
        finally:
            await consumer.stop()

    async def consumed(self) -> bool:
        """Whether the group's committed offsets are at the topic's end."""
        async with self._offsets() as group:
            ends = await group.end_offsets(group.assignment())
            return all([await group.committed(partition) == end for partition, end in ends.items()])


class Load:
    """Transactions that one member commits, one event each, about seeded random subjects, until it is told to end."""

    def __init__(self, member: Member, subjects: list[str], seed: int) -> None:
        self.counts = dict.fromkeys(subjects, 0)
        """How many events were committed, by subject."""
        self._member = member
        self._draw = random.Random(seed)
        self._ending = False
        self._task = asyncio.create_task(self._run())

    async def _run(self) -> None:
        while not self._ending:
            subject = self._draw.choice(list(self.counts))
            await self._member.record(subject)
            self.counts[subject] += 1
            await asyncio.sleep(0.005)

    async def end(self) -> dict[str, int]:
        """End between two transactions; returns the counts."""
        self._ending = True
        await self._task
        return self.counts
