"""`commit-to-effect`: from COMMIT in one service to COMMIT of the effect in another, idle; beside the bare round trip.

Writer and reader are processes of their own. The bare pair does the same work by hand: a COMMIT, a record sent by an
idempotent producer, a consumer that inserts a row and commits. Both instants are read from the machine's one monotonic
clock, right after the COMMIT was answered.
"""

from __future__ import annotations

import asyncio
import statistics
import sys
import time
from asyncio.subprocess import PIPE
from contextlib import asynccontextmanager
from pathlib import Path
from tempfile import mkdtemp
from typing import TYPE_CHECKING

import uvloop
from fastapi import APIRouter

from benchmarks.harness import Ground, Result, joined, result
from schemas.cycles import CycleDeadlineExtended
from services.chassis import logs
from services.chassis.clock import MachineClock
from services.chassis.ids import opaque_id
from services.chassis.inbox import Handlers
from services.chassis.service import Service

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from schemas.envelope import Header
    from services.chassis.database import Tx

TRIPS = 500
"""In a round, each way, at most: `--count` may ask for fewer."""
PAUSE_SECONDS = 0.02
WARM_UP = 20
TABLE = "create table projection.seen (id text primary key);"
SEEN = "insert into seen values ($1)"


async def run(ground: Ground, *, count: int, rounds: int) -> list[Result]:
    """Compare the medians and the 99th percentiles of as many trips, in milliseconds."""
    trips = min(count, TRIPS)
    mine: list[list[float]] = []
    bare: list[list[float]] = []
    async with service_writer(ground) as commit, reader("service", ground, "intake.events.v1") as effect:
        topic = await ground.topic()
        async with bare_writer(ground, topic) as bare_commit, reader("bare", ground, topic) as bare_effect:
            for _ in range(rounds):
                mine.append(await times(trips, commit, effect))
                bare.append(await times(trips, bare_commit, bare_effect))
    return [
        result(
            f"commit-to-effect-{name}",
            "ms",
            [percentile(sample, share) for sample in mine],
            [percentile(sample, share) for sample in bare],
            smaller_is_better=True,
        )
        for name, share in (("p50", 0.50), ("p99", 0.99))
    ]


async def times(
    count: int, commit: Callable[[str], Awaitable[float]], effect: Callable[[], Awaitable[tuple[str, float]]]
) -> list[float]:
    """Milliseconds of `count` trips, one after the other with a pause between, after a few that are not counted."""
    found = []
    for _ in range(count + WARM_UP):
        name = opaque_id()
        committed = await commit(name)
        seen, at = await effect()
        if seen != name:
            raise RuntimeError(f"{seen} came in place of {name}")
        found.append((at - committed) * 1_000)
        await asyncio.sleep(PAUSE_SECONDS)
    return found[WARM_UP:]


def percentile(sample: list[float], share: float) -> float:
    """The value below which `share` of the sample lies."""
    return statistics.quantiles(sample, n=100, method="inclusive")[round(share * 100) - 1]


@asynccontextmanager
async def service_writer(ground: Ground) -> AsyncIterator[Callable[[str], Awaitable[float]]]:
    """A service that records an event in a transaction; its relay sends it."""
    service = bench_service(ground)
    await service.start()
    now = MachineClock().now()

    async def commit(name: str) -> float:
        async with service.database.transaction() as tx:
            tx.record(CycleDeadlineExtended(cycle=name, deadline=now, reason="a flood of the river"))
        return time.monotonic()

    try:
        yield commit
    finally:
        await service.stop()


@asynccontextmanager
async def bare_writer(ground: Ground, topic: str) -> AsyncIterator[Callable[[str], Awaitable[float]]]:
    """A COMMIT, and a send after it."""
    database, kafka = await ground.database(), await ground.bare_producer()
    await database.execute("create table seen (id text primary key)")

    async def commit(name: str) -> float:
        async with database.transaction():
            await database.execute(SEEN, name)
        at = time.monotonic()
        await kafka.send_and_wait(topic, name.encode(), key=name.encode())
        return at

    try:
        yield commit
    finally:
        await kafka.stop()
        await database.close()


@asynccontextmanager
async def reader(kind: str, ground: Ground, topic: str) -> AsyncIterator[Callable[[], Awaitable[tuple[str, float]]]]:
    """A process that says, of each effect, its id and when it was committed."""
    arguments = ("-m", "benchmarks.commit_to_effect", kind, ground.bootstrap, ground.dsn, topic)
    process = await asyncio.create_subprocess_exec(sys.executable, *arguments, stdin=PIPE, stdout=PIPE)
    assert process.stdout is not None  # noqa: S101  (asked for above)
    lines = process.stdout

    async def effect() -> tuple[str, float]:
        async with asyncio.timeout(30):
            name, at = (await lines.readline()).split()
        return name.decode(), float(at)

    try:
        async with asyncio.timeout(60):
            await lines.readline()
        yield effect
    finally:
        process.terminate()
        await process.communicate()


# --- the reading process ------------------------------------------------------------------------------------------


def bench_service(ground: Ground, handlers: Handlers | None = None, table: str = "") -> Service:
    """A service with one table that listens to intake's events, if it handles any."""
    folder = Path(mkdtemp(prefix="cec-bench-"))
    if table:
        (folder / "0001_seen.sql").write_text(table, encoding="utf-8")
    return Service(
        name="bench",
        runtime=ground.runtime(),
        router=APIRouter(),
        migrations=folder,
        topics=("intake.events.v1",) if handlers else (),
        handlers=handlers or Handlers(),
    )


async def read_as_service(ground: Ground) -> None:
    """Say each effect that a service's handler has, once its transaction is committed."""
    handlers, seen = Handlers(), list[str]()

    @handlers.on(CycleDeadlineExtended)
    async def see(tx: Tx, event: CycleDeadlineExtended, _: Header) -> None:
        await tx.db.execute("insert into projection.seen values ($1)", event.cycle)
        tx.wakes.add("seen")
        seen.append(event.cycle)

    service = bench_service(ground, handlers, TABLE)
    await service.start()
    await joined(service.consumers[0].subscriber.consumer)
    say("ready")
    committed = service.database.alarm("seen")
    while True:
        await committed.wait()
        committed.clear()
        at = time.monotonic()
        for name in seen:
            say(f"{name} {at}")
        seen.clear()


async def read_barely(ground: Ground, topic: str) -> None:
    """Say each row that was inserted and committed."""
    database, kafka = await ground.database(), await ground.bare_consumer([topic])
    await database.execute("create table seen (id text primary key)")
    await joined(kafka)
    say("ready")
    while True:
        for records in (await kafka.getmany(timeout_ms=200)).values():
            for record in records:
                if not record.value:
                    continue  # what warmed the topic
                async with database.transaction():
                    await database.execute(SEEN, record.value.decode())
                say(f"{record.value.decode()} {time.monotonic()}")
            await kafka.commit()


def say(line: str) -> None:
    """Tell the measuring process."""
    print(line, flush=True)  # noqa: T201


def main() -> None:
    """Be the reading process."""
    kind, bootstrap, dsn, topic = sys.argv[1:]
    logs.configure("error")
    ground = Ground(bootstrap, dsn)
    uvloop.run(read_as_service(ground) if kind == "service" else read_barely(ground, topic))


if __name__ == "__main__":
    main()
