"""Rounds of ours and baseline in turn, on one embedded stack; a table for people and results.json for machines."""

from __future__ import annotations

import asyncio
import gc
import json
import statistics
import time
from collections.abc import Awaitable, Callable, Coroutine, Iterable
from concurrent.futures import ProcessPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass, field
from itertools import islice
from multiprocessing import get_context
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, TypeVar

import asyncpg
import uvloop
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition

from deploy.embedded import Stack
from schemas.topics import COMMANDS, Topic
from services.chassis import logs, topics
from services.chassis.auth import KeySource, Tokens
from services.chassis.clock import MachineClock, ProgramClock
from services.chassis.garbage import settle
from services.chassis.ids import secret
from services.chassis.relay import producer
from services.chassis.service import Runtime
from services.chassis.settings import Settings

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "var" / "bench" / "results.json"

BATCH = 1_000
"""Records per transaction, in ours and in the bare code."""
PARTITIONS = COMMANDS.partitions
FILL = 10_000
"""Records that are produced before the broker is waited for."""

BARS = {
    "score-projection": 0.5,
    "score-projection-tutorial": 25.0,
    "relay": 0.6,
    "commit-to-effect-p50": 1 / 2,
    "commit-to-effect-p99": 1 / 3,
    "ledger-append": 0.5,
    "save-section": 0.4,
    "submit": 0.5,
}
"""The ratio that is asked for, by comparison. What is not here is told, not judged."""

Record = tuple[str, bytes, bytes]
"""Topic, key, value."""
Offsets = dict[TopicPartition, int]
T = TypeVar("T")


@dataclass(frozen=True)
class Result:
    """One comparison. `ours`, `baseline` and `ratio` are medians over the rounds; ratio > 1 means ours is quicker."""

    id: str
    ours: float
    baseline: float
    ratio: float
    unit: str
    rounds: int
    spread: list[float] = field(default_factory=list)
    """Every round's ratio."""
    bar: float | None = None
    """The ratio that is asked for; None: it is told, not judged."""
    note: str = ""


async def compare(
    name: str,
    unit: str,
    ours: Callable[[], Awaitable[float]],
    baseline: Callable[[], Awaitable[float]],
    *,
    rounds: int,
    smaller_is_better: bool = False,
    note: str = "",
) -> Result:
    """Run both `rounds` times in turn. Each gives a rate (or, smaller is better, a time)."""
    mine: list[float] = []
    bare: list[float] = []
    for _ in range(rounds):
        for run, into in ((ours, mine), (baseline, bare)):
            gc.collect()
            into.append(await run())
    return result(name, unit, mine, bare, smaller_is_better=smaller_is_better, note=note)


def result(
    name: str,
    unit: str,
    ours: list[float],
    baseline: list[float],
    *,
    smaller_is_better: bool = False,
    note: str = "",
) -> Result:
    """The comparison of what was measured in the same rounds."""
    pairs = list(zip(ours, baseline, strict=True))
    ratios = [bare / mine if smaller_is_better else mine / bare for mine, bare in pairs]
    return Result(
        name,
        round(statistics.median(ours), 3),
        round(statistics.median(baseline), 3),
        round(statistics.median(ratios), 3),
        unit,
        len(pairs),
        [round(ratio, 3) for ratio in ratios],
        BARS.get(name),
        note,
    )


class Ground:
    """A running stack to measure on: fresh topics and databases for every round."""

    def __init__(self, bootstrap: str, dsn: str) -> None:
        self.bootstrap = bootstrap
        self.dsn = dsn

    def runtime(self, settings_class: type[Settings] = Settings, prefix: str | None = None) -> Runtime:
        """What a service is given, with a database of its own; that of another process, with its prefix."""
        machine = MachineClock()
        settings = settings_class(
            database_prefix=prefix or f"b{secret(4)}_", var=ROOT / "var" / "bench", batch_size=BATCH
        )
        tokens = Tokens(KeySource(""), issuer="", audience="", machine=machine)
        return Runtime(settings, self.bootstrap, self.dsn, ProgramClock(machine), tokens)

    async def topic(self) -> str:
        """A new topic, with one record in each partition: a new one has no leader at first, and producers back off."""
        name = f"bench.{secret(4)}"
        await topics.apply(self.bootstrap, [Topic(name, PARTITIONS, {"max.message.bytes": "1000000"})])
        kafka = await self.bare_producer()
        await asyncio.gather(*[kafka.send_and_wait(name, b"", partition=number) for number in range(PARTITIONS)])
        await kafka.stop()
        return name

    async def fill(self, records: Iterable[Record]) -> None:
        """Produce records, in order per key, as they come: a million of them need not be in memory."""
        kafka, more = await self.bare_producer(), iter(records)
        try:
            while pending := [await kafka.send(topic, value, key=key) for topic, key, value in islice(more, FILL)]:
                await asyncio.gather(*pending)
        finally:
            await kafka.stop()

    async def ahead(self, group: str, topic: str, records: Iterable[Record]) -> Offsets:
        """Produce records which `group` has taken, as far as it knows, and say where they begin."""
        consumer = AIOKafkaConsumer(bootstrap_servers=self.bootstrap, group_id=group, enable_auto_commit=False)
        await consumer.start()
        partitions = [TopicPartition(topic, number) for number in range(PARTITIONS)]
        consumer.assign(partitions)
        begin: Offsets = await consumer.end_offsets(partitions)
        await self.fill(records)
        await consumer.commit(await consumer.end_offsets(partitions))
        await consumer.stop()
        return begin

    async def bare_consumer(self, names: Iterable[str]) -> AIOKafkaConsumer:
        """A plain consumer of a new group, tuned like ours, with its partitions assigned."""
        consumer = AIOKafkaConsumer(
            *names,
            bootstrap_servers=self.bootstrap,
            group_id=f"bare-{secret(4)}",
            auto_offset_reset="earliest",
            enable_auto_commit=False,
            fetch_max_wait_ms=100,
        )
        await consumer.start()
        return consumer

    async def database(self) -> asyncpg.Connection[asyncpg.Record]:
        """A connection to a new database."""
        name = f"b{secret(6)}"
        connection = await asyncpg.connect(self.dsn)
        await connection.execute(f"create database {name}")
        await connection.close()
        return await asyncpg.connect(self.dsn, database=name)

    async def bare_producer(self) -> AIOKafkaProducer:
        """An idempotent producer tuned like the relay's."""
        kafka = producer(self.bootstrap)
        await kafka.start()
        return kafka


async def joined(consumer: AIOKafkaConsumer) -> set[TopicPartition]:
    """Wait for the group's assignment."""
    while not (partitions := consumer.assignment()):  # noqa: ASYNC110  (the client has no event for it)
        await asyncio.sleep(0.01)
    return set(partitions)


async def put_back(consumer: AIOKafkaConsumer, begin: Offsets) -> set[TopicPartition]:
    """Have a consumer go on at `begin`, once it is in its group: all its partitions."""
    partitions = await joined(consumer)
    for partition, offset in begin.items():
        consumer.seek(partition, offset)
    return partitions


async def taken(consumer: AIOKafkaConsumer, begin: Offsets, count: int) -> float:
    """Put a consumer back to `begin`, let it go, and wait until `count` records are committed: how many a second."""
    partitions = await put_back(consumer, begin)
    consumer.pause(*partitions)
    await consumer.commit(begin)
    started = time.perf_counter()
    consumer.resume(*partitions)
    # Its own note of where it stands costs nothing; the broker is asked, a request per partition, near the end only.
    while sum([await consumer.position(partition) - offset for partition, offset in begin.items()]) < count:  # noqa: ASYNC110
        await asyncio.sleep(0.01)
    while sum([(await consumer.committed(partition) or 0) - offset for partition, offset in begin.items()]) < count:  # noqa: ASYNC110
        await asyncio.sleep(0.01)
    return count / (time.perf_counter() - started)


async def bare_copy(ground: Ground, begin: Offsets, count: int, row: Callable[[Any], tuple[Any, ...]]) -> float:
    """The bare way with what lies behind `begin`, in records per second: aiokafka, a COPY per batch, the offsets."""
    consumer = await ground.bare_consumer({place.topic for place in begin})
    database = await ground.database()
    await database.execute("create table bare (key bytea, value bytea)")
    partitions = await put_back(consumer, begin)
    started = time.perf_counter()
    done = 0
    while done < count:
        batches = await consumer.getmany(*partitions, timeout_ms=200, max_records=BATCH)
        records = [record for batch in batches.values() for record in batch]
        if records:
            await database.copy_records_to_table("bare", records=[row(record) for record in records])
            await consumer.commit()
            done += len(records)
    seconds = time.perf_counter() - started
    await consumer.stop()
    await database.close()
    return count / seconds


async def alone(work: Callable[..., Coroutine[Any, Any, T]], ground: Ground, *given: object) -> T:
    """Await `work(ground, *given)` in a process of its own, in which nothing else goes on."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as process:
        return await asyncio.get_running_loop().run_in_executor(
            process, _begin, work, ground.bootstrap, ground.dsn, given
        )


def _begin(work: Callable[..., Coroutine[Any, Any, T]], bootstrap: str, dsn: str, given: tuple[object, ...]) -> T:
    logs.configure("error")
    settle()
    return uvloop.run(work(Ground(bootstrap, dsn), *given))


@asynccontextmanager
async def ground(*, durable: bool = True) -> AsyncIterator[Ground]:
    """An embedded stack for the time of a run: as `make up` has it; not `durable`, as the demo and the tests do."""
    with TemporaryDirectory(prefix="cec-bench-") as folder:
        var = Path(folder)
        var.chmod(0o755)  # noqa: ASYNC240  (nothing else runs yet)
        async with Stack(var, parts=ROOT / "var" / "parts", durable=durable) as stack:
            yield Ground(stack.kafka_bootstrap, stack.postgres_dsn)


def table(results: list[Result]) -> str:
    """The results for a person."""
    lines = [f"{'':28}{'ours':>12}{'bare':>12}  {'unit':10}{'ratio':>7}{'bar':>7}   each round"]
    lines += [
        f"{r.id:28}{r.ours:12,.1f}{r.baseline:12,.1f}  {r.unit:10}{r.ratio:7.2f}"
        f"{'' if r.bar is None else f'{r.bar:.2f}':>7}   {', '.join(f'{one:.2f}' for one in r.spread)}"
        + (f"   {r.note}" if r.note else "")
        for r in results
    ]
    return "\n".join(lines)


def keep(results: list[Result]) -> None:
    """Write results.json, in place of earlier results of the same ids."""
    RESULTS.parent.mkdir(parents=True, exist_ok=True)
    kept = json.loads(RESULTS.read_text(encoding="utf-8")) if RESULTS.exists() else []
    found = {one["id"]: one for one in (*kept, *map(asdict, results))}
    RESULTS.write_text(json.dumps([*found.values()], indent=1) + "\n", encoding="utf-8")
