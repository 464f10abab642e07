"""The chassis on the real parts: what is recorded arrives, once, in order; what is early waits; what is bad is kept."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
from aiokafka import AIOKafkaProducer
from fastapi import APIRouter

from deploy.embedded import Stack
from schemas.cycles import CycleDeadlineExtended
from schemas.envelope import Header, parse, read
from schemas.topics import EVENT_TOPICS, dead_letters
from services.chassis import topics
from services.chassis.clock import ProgramClock
from services.chassis.database import CHUNK, Tx
from services.chassis.failures import NotYetError
from services.chassis.ids import opaque_id
from services.chassis.inbox import Handlers
from services.chassis.service import Runtime, Service
from services.chassis.settings import Settings
from services.chassis.web import CommandRoute
from tests.given import eventually, written

RuntimeMaker = Callable[[type[Settings]], Runtime]


class Probe:
    """A service that notes what takes effect on it."""

    def __init__(self, runtime: Runtime, folder: Path) -> None:
        self.handlers = Handlers()
        self.ready: set[str] = set()
        (folder / "0001_probe.sql").write_text("create table projection.seen (id text, subject text, sequence bigint);")
        self.service = Service(
            name="probe",
            runtime=runtime,
            router=APIRouter(route_class=CommandRoute),
            migrations=folder,
            topics=(EVENT_TOPICS["intake"].name,),
            handlers=self.handlers,
        )

        @self.handlers.on(CycleDeadlineExtended)
        async def note(tx: Tx, event: CycleDeadlineExtended, header: Header) -> None:
            if event.reason == "early" and event.cycle not in self.ready:
                raise NotYetError("its cycle is not here")
            if event.reason == "bug":
                raise ZeroDivisionError
            await tx.db.execute(
                "insert into projection.seen values ($1, $2, $3)", header.id, header.subject, header.sequence
            )

    async def seen(self, subject: str) -> list[int]:
        rows = await self.service.database.pool.fetch(
            "select sequence from projection.seen where subject = $1", subject
        )
        return [row["sequence"] for row in rows]

    async def parked(self) -> list[tuple[str, str]]:
        rows = await self.service.database.pool.fetch("select kind, reason from chassis.parked order by position")
        return [(row["kind"], row["reason"]) for row in rows]


@pytest.fixture
async def probe(runtime: RuntimeMaker, stack: Stack, tmp_path: Path) -> AsyncIterator[Probe]:
    made = Probe(runtime(Settings), tmp_path)
    await topics.apply(stack.kafka_bootstrap, [dead_letters(topic, "probe") for topic in made.service.topics])
    await made.service.start()
    yield made
    await made.service.stop()


def extended(clock: ProgramClock, cycle: str, sequence: int, reason: str = "flood") -> bytes:
    return written(CycleDeadlineExtended(cycle=cycle, deadline=clock.now(), reason=reason), sequence).record


async def test_what_a_transaction_records_takes_effect_elsewhere_once_and_in_order(
    probe: Probe, clock: ProgramClock
) -> None:
    cycle = opaque_id()
    for _ in range(20):
        async with probe.service.database.transaction() as tx:
            tx.record(CycleDeadlineExtended(cycle=cycle, deadline=clock.now(), reason="flood"))

    async def all_seen() -> bool:
        return len(await probe.seen(cycle)) >= 20

    await eventually(all_seen)
    assert await probe.seen(cycle) == list(range(1, 21))
    assert await probe.service.database.pool.fetchval("select count(*) from chassis.outbox") == 0


async def test_what_one_transaction_records_many_of_is_written_whole_and_in_order(
    probe: Probe, clock: ProgramClock
) -> None:
    cycles, many = [opaque_id() for _ in range(3)], 2 * CHUNK + 100
    async with probe.service.database.transaction() as tx:
        for number in range(many):
            tx.record(CycleDeadlineExtended(cycle=cycles[number % 3], deadline=clock.now(), reason=f"{number}"))
        made = list(await tx.flush())

    async def all_seen() -> bool:
        return sum([len(await probe.seen(cycle)) for cycle in cycles]) >= many

    await eventually(all_seen)
    for cycle in cycles:
        assert await probe.seen(cycle) == [one.header.sequence for one in made if one.header.subject == cycle]
    rows = await probe.service.database.pool.fetch(
        "select id, subject, sequence, type, leaf_hash, leaf from chassis.event_log order by id"
    )
    assert [tuple(row) for row in rows] == [
        (h.id, h.subject, h.sequence, h.type, one.leaf_hash, one.leaf) for one in made for h in (one.header,)
    ]
    assert [read(parse(one.record)).model_dump()["reason"] for one in made] == [f"{number}" for number in range(many)]


async def test_of_many_events_none_leaves_where_one_cannot_be_written(probe: Probe, clock: ProgramClock) -> None:
    cycle = opaque_id()

    async def record(size: int) -> None:
        async with probe.service.database.transaction() as tx:
            for number in range(2 * CHUNK):
                reason = "x" * size if number == CHUNK + 1 else "flood"
                tx.record(CycleDeadlineExtended(cycle=cycle, deadline=clock.now(), reason=reason))

    with pytest.raises(ValueError, match="60,000 are allowed"):
        await record(60_000)
    assert await probe.service.database.pool.fetchval("select count(*) from chassis.event_log") == 0
    await record(1)
    assert await probe.service.database.pool.fetchval("select count(*) from chassis.event_log") == 2 * CHUNK


async def test_what_a_failed_transaction_recorded_never_leaves(probe: Probe, clock: ProgramClock) -> None:
    cycle = opaque_id()
    with pytest.raises(ZeroDivisionError):  # noqa: PT012  (the transaction is what is under test)
        async with probe.service.database.transaction() as tx:
            tx.record(CycleDeadlineExtended(cycle=cycle, deadline=clock.now(), reason="flood"))
            await tx.flush()
            raise ZeroDivisionError
    assert await probe.service.database.pool.fetchval("select count(*) from chassis.event_log") == 0
    assert await probe.service.database.pool.fetchval("select count(*) from chassis.outbox") == 0


async def test_a_duplicate_takes_no_second_effect(probe: Probe, clock: ProgramClock, kafka: AIOKafkaProducer) -> None:
    cycle, topic = opaque_id(), EVENT_TOPICS["intake"].name
    first, second = extended(clock, cycle, 1), extended(clock, cycle, 2)
    for record in (first, first, second, first, second):
        await kafka.send_and_wait(topic, record, key=cycle.encode())

    async def both_seen() -> bool:
        return len(await probe.seen(cycle)) >= 2

    await eventually(both_seen)
    await asyncio.sleep(0.5)
    assert await probe.seen(cycle) == [1, 2]


async def test_a_gap_makes_the_rest_of_its_key_wait_and_nothing_else(
    probe: Probe, clock: ProgramClock, kafka: AIOKafkaProducer
) -> None:
    late, other, topic = opaque_id(), opaque_id(), EVENT_TOPICS["intake"].name
    one, two, three = (extended(clock, late, n) for n in (1, 2, 3))
    for record in (three, two):
        await kafka.send_and_wait(topic, record, key=late.encode())
    await kafka.send_and_wait(topic, extended(clock, other, 1), key=other.encode())

    async def other_seen() -> bool:
        return await probe.seen(other) == [1]

    await eventually(other_seen)
    assert await probe.seen(late) == []
    await kafka.send_and_wait(topic, one, key=late.encode())

    async def all_seen() -> bool:
        return len(await probe.seen(late)) == 3

    await eventually(all_seen)
    assert await probe.seen(late) == [1, 2, 3]
    assert await probe.parked() == []


async def test_an_event_whose_ground_is_missing_waits_with_its_successors_until_it_is_there(
    probe: Probe, clock: ProgramClock, kafka: AIOKafkaProducer
) -> None:
    cycle, topic = opaque_id(), EVENT_TOPICS["intake"].name
    for sequence, reason in ((1, "early"), (2, "flood")):
        await kafka.send_and_wait(topic, extended(clock, cycle, sequence, reason), key=cycle.encode())

    async def both_wait() -> bool:
        return len(await probe.parked()) == 2

    await eventually(both_wait)
    assert await probe.seen(cycle) == []
    probe.ready.add(cycle)

    async def both_seen() -> bool:
        return len(await probe.seen(cycle)) == 2

    await eventually(both_seen)
    assert await probe.seen(cycle) == [1, 2]


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (b"{", "JSON"),
        (b"\xff\xfe", "JSON"),
        (b"null", "object"),
        (b'{"specversion":"1.0"}', "id"),
        (None, "JSON"),
        (b'{"data":"' + b"x" * 920_000 + b'"}', "900,000 bytes"),
    ],
    ids=["cut off", "not text", "no object", "no event", "tombstone", "oversized"],
)
async def test_a_record_that_cannot_be_read_is_kept_with_its_reason_and_the_next_one_takes_effect(
    probe: Probe, clock: ProgramClock, kafka: AIOKafkaProducer, value: bytes | None, reason: str
) -> None:
    cycle, topic = opaque_id(), EVENT_TOPICS["intake"].name
    await kafka.send_and_wait(topic, value, key=cycle.encode(), headers=[("odd", b"\xff")])
    await kafka.send_and_wait(topic, extended(clock, cycle, 1), key=cycle.encode())

    async def taken() -> bool:
        return await probe.seen(cycle) == [1] and bool(await probe.parked())

    await eventually(taken)
    ((kind, said),) = await probe.parked()
    assert kind == "poison"
    assert reason in said


async def test_an_event_that_breaks_its_handler_is_set_aside_and_others_of_its_batch_take_effect(
    probe: Probe, clock: ProgramClock, kafka: AIOKafkaProducer
) -> None:
    topic = EVENT_TOPICS["intake"].name
    cycles = [opaque_id() for _ in range(10)]
    for n, cycle in enumerate(cycles):
        await kafka.send(topic, extended(clock, cycle, 1, "bug" if n == 4 else "flood"), key=cycle.encode())
    await kafka.flush()

    async def the_others_seen() -> bool:
        seen = [await probe.seen(cycle) for cycle in cycles]
        return seen == [[] if n == 4 else [1] for n in range(10)] and bool(await probe.parked())

    await eventually(the_others_seen)
    ((kind, said),) = await probe.parked()
    assert kind == "poison"
    assert said.startswith("ZeroDivisionError at tests/integration/test_chassis.py:")


async def test_types_without_a_handler_only_move_the_mark_and_newer_versions_wait(
    probe: Probe, clock: ProgramClock, kafka: AIOKafkaProducer
) -> None:
    cycle, topic = opaque_id(), EVENT_TOPICS["intake"].name
    unknown = extended(clock, cycle, 1).replace(b"deadline-extended.v1", b"deadline-painted.v1")
    newer = extended(clock, cycle, 3).replace(b"deadline-extended.v1", b"deadline-extended.v2")
    for record in (unknown, extended(clock, cycle, 2), newer):
        await kafka.send_and_wait(topic, record, key=cycle.encode())

    async def newer_waits() -> bool:
        return [kind for kind, _ in await probe.parked()] == ["not_yet"]

    await eventually(newer_waits)
    assert await probe.seen(cycle) == [2]
