"""`relay`: outbox rows to acknowledged Kafka records, beside a bare idempotent producer that sends the same bytes."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from tempfile import mkdtemp

import asyncpg
from fastapi import APIRouter

from benchmarks.harness import Ground, Result, alone, compare
from schemas.cycles import CycleDeadlineExtended
from services.chassis.clock import MachineClock
from services.chassis.ids import opaque_id, secret
from services.chassis.service import Service

BARE_BATCH = 2_000
PIECE = 100_000
"""Records that the bare way is given at a time: it has them in memory."""


async def run(ground: Ground, *, count: int, rounds: int) -> list[Result]:
    """Compare `count` records of about 400 bytes, in a process of its own each way."""
    prefix = f"b{secret(4)}_"
    service = bench_service(ground, prefix)
    await service.migrate()
    await service.database.open()

    async def ours() -> float:
        await fill(ground, service, count)
        return count / await alone(relayed, ground, prefix)

    async def bare() -> float:
        topic = await fill(ground, service, count)
        seconds = await alone(bare_sent, ground, service.database.name, topic)
        await service.database.pool.execute("truncate chassis.outbox")
        return count / seconds

    try:
        return [await compare("relay", "records/s", ours, bare, rounds=rounds)]
    finally:
        await service.database.close()


def bench_service(ground: Ground, prefix: str) -> Service:
    """A service without anything but the chassis."""
    migrations = Path(mkdtemp(prefix="cec-none-"))
    return Service(name="bench", runtime=ground.runtime(prefix=prefix), router=APIRouter(), migrations=migrations)


async def fill(ground: Ground, service: Service, count: int) -> str:
    """Have as many records wait in the outbox, for a new topic: its name."""
    now = MachineClock().now()
    for start in range(0, count, 5_000):
        async with service.database.transaction() as tx:
            for _ in range(min(5_000, count - start)):
                tx.record(CycleDeadlineExtended(cycle=opaque_id(), deadline=now, reason="a flood of the river"))
    topic = await ground.topic()
    await service.database.pool.execute("update chassis.outbox set topic = $1", topic)
    await service.database.pool.execute("vacuum analyze chassis.outbox")
    return topic


async def relayed(ground: Ground, prefix: str) -> float:
    """Seconds until the service's relay has emptied its outbox."""
    service = bench_service(ground, prefix)
    await service.database.open()
    started = time.perf_counter()
    running = asyncio.create_task(service.relay.run())
    while await service.database.pool.fetchval("select exists (select from chassis.outbox)"):  # noqa: ASYNC110  (it looks into a table)
        await asyncio.sleep(0.005)
    seconds = time.perf_counter() - started
    service.relay.stop()
    await running
    await service.database.close()
    return seconds


async def bare_sent(ground: Ground, database: str, topic: str) -> float:
    """Seconds in which a bare producer sends what waits in that outbox."""
    seconds, kafka = 0.0, await ground.bare_producer()
    connection = await asyncpg.connect(ground.dsn, database=database)
    async with connection.transaction():
        rows = await connection.cursor("select key, record from chassis.outbox order by position")
        while piece := await rows.fetch(PIECE):
            sent = [(row["key"].encode(), row["record"]) for row in piece]
            started = time.perf_counter()
            for start in range(0, len(sent), BARE_BATCH):
                batch = sent[start : start + BARE_BATCH]
                await asyncio.gather(*[await kafka.send(topic, value, key=key) for key, value in batch])
            seconds += time.perf_counter() - started
    await kafka.stop()
    await connection.close()
    return seconds
