"""`ledger-append`: Kafka to committed tree, beside bare aiokafka and a COPY of the same bytes."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator

from aiokafka import TopicPartition

from benchmarks.harness import Ground, Record, Result, assigned, bare_copy, compare, drained
from schemas.cycles import Account, MemberJoined
from schemas.envelope import Header, write
from schemas.topics import EVENT_TOPICS
from services.chassis.clock import MachineClock
from services.chassis.ids import event_id, opaque_id
from services.ledger import app
from services.ledger.settings import LedgerSettings

TOPIC = EVENT_TOPICS["intake"].name


async def run(ground: Ground, *, count: int, rounds: int) -> list[Result]:
    """Compare `count` events of about 700 bytes with one sealed block each."""
    begin: dict[TopicPartition, int] = {}

    async def ours() -> float:
        nonlocal begin
        service = app.service(ground.runtime(LedgerSettings))
        await service.start()
        kafka = service.consumers[0].subscriber.consumer
        before = await assigned(kafka)
        begin = {partition: end for partition, end in before.items() if partition.topic == TOPIC}
        await ground.fill(events(count))
        started = time.perf_counter()
        await drained(kafka, begin, count)
        seconds = time.perf_counter() - started
        logged = await service.database.pool.fetchval("select sum(size) from projection.log")
        await service.stop()
        if logged < count:
            raise RuntimeError(f"{logged} entries for {count} events")
        return count / seconds

    async def bare() -> float:
        return await bare_copy(ground, begin, count, row=lambda r: (r.key, r.value))

    return [await compare("ledger-append", "events/s", ours, bare, rounds=rounds)]


def events(count: int) -> Iterator[Record]:
    """Memberships of that many governments."""
    now = MachineClock().now()
    for _ in range(count):
        name = opaque_id()
        account = Account(issuer="https://issuer.example", subject_claim=name)
        event = MemberJoined(government=name, person=opaque_id(), role="lead", private=account)
        header = Header(id=event_id(), type=event.TYPE, source=event.source(), subject=name, time=now, sequence=1)
        yield TOPIC, name.encode(), write(event, header, os.urandom).record
