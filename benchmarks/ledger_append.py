"""`ledger-append`: Kafka to committed tree, beside bare aiokafka and a COPY of the same bytes."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from benchmarks.harness import Ground, Offsets, Record, Result, alone, bare_copy, compare, taken
from schemas.cycles import Account, MemberJoined
from schemas.envelope import Header, write
from schemas.topics import EVENT_TOPICS
from services.chassis.clock import MachineClock
from services.chassis.ids import event_id, opaque_id
from services.ledger import app
from services.ledger.settings import LedgerSettings

if TYPE_CHECKING:
    from collections.abc import Iterator

    from aiokafka import ConsumerRecord

TOPIC = EVENT_TOPICS["intake"].name


async def run(ground: Ground, *, count: int, rounds: int) -> list[Result]:
    """Compare `count` events of about 700 bytes with one sealed block each, in a process of its own each way."""
    begin: Offsets = {}

    async def ours() -> float:
        nonlocal begin
        begin = await ground.ahead("ledger", TOPIC, events(count))
        return await alone(appended, ground, begin, count)

    async def bare() -> float:
        return await alone(bare_copy, ground, begin, count, bytes_of)

    return [await compare("ledger-append", "events/s", ours, bare, rounds=rounds)]


async def appended(ground: Ground, begin: Offsets, count: int) -> float:
    """Events per second that the real service takes, its database being new."""
    service = app.service(ground.runtime(LedgerSettings))
    await service.start()
    rate = await taken(service.consumers[0].subscriber.consumer, begin, count)
    logged = await service.database.pool.fetchval("select sum(size) from projection.log")
    await service.stop()
    if logged < count:
        raise RuntimeError(f"{logged} entries for {count} events")
    return rate


def bytes_of(record: ConsumerRecord[bytes, bytes]) -> tuple[bytes | None, bytes | None]:
    """A row of the bare way."""
    return record.key, record.value


def events(count: int) -> Iterator[Record]:
    """Memberships of that many governments."""
    now = MachineClock().now()
    for _ in range(count):
        name = opaque_id()
        account = Account(issuer="https://issuer.example", subject_claim=name)
        event = MemberJoined(government=name, person=opaque_id(), role="lead", private=account)
        header = Header(id=event_id(), type=event.TYPE, source=event.source(), subject=name, time=now, sequence=1)
        yield TOPIC, name.encode(), write(event, header, os.urandom).record
