"""`relay`: outbox rows to acknowledged Kafka records, beside a bare idempotent producer that sends the same bytes."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from tempfile import mkdtemp

from fastapi import APIRouter

from benchmarks.harness import Ground, Result, compare
from schemas.cycles import CycleDeadlineExtended
from services.chassis.clock import MachineClock
from services.chassis.ids import opaque_id
from services.chassis.service import Service

BARE_BATCH = 2_000
PIECE = 100_000
"""Records that the bare way is given at a time: it has them in memory."""


async def run(ground: Ground, *, count: int, rounds: int) -> list[Result]:
    """Compare `count` records of about 400 bytes."""
    service = Service(
        name="bench", runtime=ground.runtime(), router=APIRouter(), migrations=Path(mkdtemp(prefix="cec-none-"))
    )
    await service.migrate()
    await service.database.open()
    now = MachineClock().now()

    async def fill() -> str:
        for start in range(0, count, 5_000):
            async with service.database.transaction() as tx:
                for _ in range(min(5_000, count - start)):
                    tx.record(CycleDeadlineExtended(cycle=opaque_id(), deadline=now, reason="a flood of the river"))
        topic = await ground.topic()
        await service.database.pool.execute("update chassis.outbox set topic = $1", topic)
        await service.database.pool.execute("vacuum analyze chassis.outbox")
        return topic

    async def ours() -> float:
        await fill()
        started = time.perf_counter()
        running = asyncio.create_task(service.relay.run())
        while await service.database.pool.fetchval("select exists (select from chassis.outbox)"):  # noqa: ASYNC110  (it looks into a table)
            await asyncio.sleep(0.005)
        seconds = time.perf_counter() - started
        service.relay.stop()
        await running
        service.relay._stopping = False  # noqa: SLF001  (the same relay serves the next round)
        return count / seconds

    async def bare() -> float:
        topic, seconds = await fill(), 0.0
        kafka = await ground.bare_producer()
        async with service.database.pool.acquire() as db, db.transaction():
            rows = await db.cursor("select key, record from chassis.outbox order by position")
            while piece := await rows.fetch(PIECE):
                sent = [(row["key"].encode(), row["record"]) for row in piece]
                started = time.perf_counter()
                for start in range(0, len(sent), BARE_BATCH):
                    batch = sent[start : start + BARE_BATCH]
                    await asyncio.gather(*[await kafka.send(topic, value, key=key) for key, value in batch])
                seconds += time.perf_counter() - started
        await kafka.stop()
        await service.database.pool.execute("truncate chassis.outbox")
        return count / seconds

    try:
        return [await compare("relay", "records/s", ours, bare, rounds=rounds)]
    finally:
        await service.database.close()
