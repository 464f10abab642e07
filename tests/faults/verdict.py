"""What must hold after any fault, whoever did what: violations, from Kafka's records and the tables alone."""

from __future__ import annotations

import asyncio
import time
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from itertools import product
from typing import Any

import asyncpg
import httpx
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient

from schemas.envelope import Envelope, leaf_of
from schemas.topics import COMMANDS, EVENT_TOPICS, READERS, TOPICS, dead_letters
from services.chassis import topics
from services.chassis.auth import KeySource, Tokens
from services.chassis.clock import MachineClock, ProgramClock
from services.chassis.feed import LedgerFeed
from services.chassis.issuer import Issuer
from services.chassis.replay import replay
from services.chassis.service import Runtime
from services.chassis.transparency import leaf_hash
from services.origin import SERVICES
from services.verifier import verify
from tests.faults.evidence import events_in, in_kafka
from tests.faults.lives import Plan
from tests.faults.points import NAMES

CONSUMED = {group: tuple(EVENT_TOPICS[service].name for service in services) for group, services in READERS.items()}
CONSUMED |= {"witness": tuple(topic.name for topic in EVENT_TOPICS.values()), "scoring-commands": (COMMANDS.name,)}
"""Topics by consumer group."""

AUDIENCES = ("public", "auditor")
"""Of exports. There is a public one once the cycle is announced."""

MISDATED = ": dated before what it follows from"
"""A finding of the verifier's."""

Broken = Mapping[tuple[str, int, int], bytes | None]
"""Records that nobody can read, by topic, partition and offset."""
Tables = Mapping[str, "asyncpg.Connection[asyncpg.Record]"]
"""A connection to every service's database, by service."""


async def prepare(kafka: str) -> None:
    """Apply the topics, the witness's dead letters among them."""
    await topics.apply(kafka, [*TOPICS, *(dead_letters(topic, "witness") for topic in CONSUMED["witness"])])


@asynccontextmanager
async def databases(plan: Plan, names: Iterable[str] = NAMES) -> AsyncIterator[Tables]:
    """Connect to the databases of these services."""
    async with AsyncExitStack() as opened:
        found = {}
        for name in names:
            found[name] = await asyncpg.connect(plan.postgres, database=f"cec_{name}")
            opened.push_async_callback(found[name].close)
        yield found


async def settled(plan: Plan, seconds: float, names: Iterable[str] = NAMES) -> None:
    """Wait until no event is on its way: outboxes empty, topics consumed, nothing waits. TimeoutError saying what."""
    admin, consumer = AIOKafkaAdminClient(bootstrap_servers=plan.kafka), AIOKafkaConsumer(bootstrap_servers=plan.kafka)
    groups = _groups(names)
    async with databases(plan, names) as tables:
        await admin.start()
        await consumer.start()
        try:
            ends = time.monotonic() + seconds
            while waiting := await _in_tables(tables) + await _in_topics(admin, consumer, groups):
                if time.monotonic() > ends:
                    raise TimeoutError(f"after {seconds:.0f} s there still waits: {waiting}")
                await asyncio.sleep(0.2)
        finally:
            await admin.close()
            await consumer.stop()


def _groups(names: Iterable[str]) -> list[str]:
    """The consumer groups of some services."""
    return [group for group in CONSUMED if group.removesuffix("-commands") in names]


async def _in_tables(tables: Tables) -> list[str]:
    found = []
    for name, connection in tables.items():
        for table in ("chassis.outbox", "chassis.parked where kind = 'not_yet'", *_QUEUES.get(name, ())):
            count = await connection.fetchval(f"select count(*) from {table}")  # noqa: S608  (names of our own tables)
            found += [f"{name}: {count} rows of {table}"] if count else []
    return found


_QUEUES = {"ledger": ("private.held",), "notifications": ("private.delivery where state = 'pending'",)}


async def _in_topics(admin: AIOKafkaAdminClient, consumer: AIOKafkaConsumer, groups: Iterable[str]) -> list[str]:
    found = []
    for group in groups:
        committed = await admin.list_consumer_group_offsets(group)
        partitions = [
            TopicPartition(topic.name, n) for topic in TOPICS if topic.name in CONSUMED[group] for n in range(12)
        ]
        for partition, end in (await consumer.end_offsets(partitions)).items():
            done = committed[partition].offset if partition in committed else 0
            found += [f"{group}: {end - done} behind in {partition}"] if end > max(done, 0) else []
    return found


class Verdict:
    """What there is to see once everything is settled, and what is wrong with it."""

    def __init__(
        self,
        plan: Plan,
        *,
        names: Sequence[str] = NAMES,
        broken: Broken | None = None,
        late: bool = False,
        misdated: bool = False,
    ) -> None:
        """`late`: a relay that was taken for dead, and is not, may have sent copies when nobody expected them.

        `misdated`: clocks went back, of which the verifier tells, as it should; of nothing else.
        """
        self.violations: list[str] = []
        self.events: dict[str, Envelope] = {}
        """Those in Kafka, by id."""
        self.hashes: dict[str, str] = {}
        """Their leaf hashes."""
        self._plan = plan
        self._names = names
        self._broken = broken or {}
        self._late = late
        self._misdated = misdated

    def expect(self, what: str, found: object, wanted: object) -> None:
        """Note a violation where they differ."""
        if found != wanted:
            self.violations.append(f"{what}: {_difference(found, wanted)}")

    def pronounce(self, **faults: int) -> None:
        """Tell whoever counts (`make faults`), and AssertionError with what is wrong."""
        counts = faults | {"events": len(self.events), "violations": len(self.violations)}
        print(", ".join(f"{number} {what}" for what, number in counts.items()))  # noqa: T201  (see above)
        assert not self.violations, "\n".join(self.violations)

    async def look(self) -> None:
        """At Kafka and the tables: each key is whole and in order, each event took effect once with each reader."""
        records = events_in(
            record
            for record in await in_kafka(self._plan.kafka, *EVENT_TOPICS.values())
            if (record.topic, record.partition, record.offset) not in self._broken
        )
        self._look_at_keys(records)
        self.events = {event.id: event for _, event in records}
        self.hashes = {event.id: leaf_hash(leaf_of(record)[0]).hex() for record, event in records}
        async with databases(self._plan, self._names) as tables:
            await self._look_at_effects(tables)
            await self._look_at_marks(tables)
            if "ledger" in tables:
                await self._look_at_ledger(tables["ledger"])
            for group in _groups(self._names):
                await self._look_at_letters(group, tables[group.removesuffix("-commands")])
            for name, connection in tables.items():
                self.expect(f"{name}: stops", await connection.fetch("select * from chassis.breaker"), [])

    def _look_at_keys(self, records: Sequence[tuple[bytes, Envelope]]) -> None:
        """Copies there may be (a producer that was given up may have been heard), but only of the very same bytes.

        The last ones are in order. With `late` it is enough that each event has a copy behind one of its predecessor.
        """
        copies: dict[str, set[bytes]] = defaultdict(set)
        keys: dict[tuple[str, str], list[int]] = defaultdict(list)
        for record, event in records:
            copies[event.id].add(record)
            keys[event.key].append(event.sequence)
        self.expect("one event in two shapes", [name for name, found in copies.items() if len(found) > 1], [])
        in_turn = _in_turn if self._late else _last
        wrong = {key: found for key, found in keys.items() if in_turn(found) != [*range(1, max(found) + 1)]}
        self.expect("sequences", wrong, {})

    async def _look_at_effects(self, tables: Tables) -> None:
        """The witness noted each event once, in order; each service recorded just what it sent."""
        rows = await tables["witness"].fetch("select * from projection.seen order by place")
        self.expect("effects on the witness", Counter(row["id"] for row in rows), Counter(list(self.events)))
        turns: dict[tuple[str, str], list[int]] = defaultdict(list)
        for row in rows:
            turns[row["source"], row["subject"]].append(row["sequence"])
        self.expect("order of effects", {k: v for k, v in turns.items() if v != sorted(v)}, {})
        for name, connection in tables.items():
            if name != "witness":
                sent = {e.id: self.hashes[e.id] for e in self.events.values() if e.source == f"/{name}"}
                self.expect(f"{name}: what it recorded", await recorded(connection), sent)

    async def _look_at_marks(self, tables: Tables) -> None:
        """Each reader stands behind the last event of each key."""
        last = {event.key: 0 for event in self.events.values()}
        for event in self.events.values():
            last[event.key] = max(last[event.key], event.sequence)
        for name, connection in tables.items():
            if name in CONSUMED and name != "ledger":
                sources = [f"/{topic.split('.')[0]}" for topic in CONSUMED[name]]
                marks = await connection.fetch("select source, subject, sequence from chassis.mark")
                found = {(row["source"], row["subject"]): row["sequence"] for row in marks}
                self.expect(f"{name}: marks", found, {k: n for k, n in last.items() if k[0] in sources})

    async def _look_at_ledger(self, table: asyncpg.Connection[asyncpg.Record]) -> None:
        """Each event is there once, without a gap in its log, behind its predecessor."""
        entries = await table.fetch("select * from ledger.entry order by log, index")
        self.expect(
            "the ledger", Counter((r["id"], r["leaf_hash"].hex()) for r in entries), Counter(self.hashes.items())
        )
        places: dict[str, list[int]] = defaultdict(list)
        turns: dict[tuple[str, str, str], list[int]] = defaultdict(list)
        for row in entries:
            places[row["log"]].append(row["index"])
            turns[row["log"], row["source"], row["subject"]].append(row["sequence"])
        self.expect("the ledger's places", places, {log: [*range(len(found))] for log, found in places.items()})
        self.expect("the ledger's order", {k: v for k, v in turns.items() if v != [*range(1, len(v) + 1)]}, {})
        self.expect("alarms", await table.fetch("select * from ledger.alarm"), [])

    async def _look_at_letters(self, group: str, table: asyncpg.Connection[asyncpg.Record]) -> None:
        """What nobody can read is kept and sent on as it was, with one and the same reason; and nothing else."""
        read = [topic for topic in CONSUMED[group] if topic != COMMANDS.name]
        wanted = {place: value for place, value in self._broken.items() if place[0] in read}
        rows = await table.fetch("select topic, part, position, record, reason from chassis.parked")
        parked = {(row["topic"], row["part"], row["position"]): row for row in rows if row["topic"] in CONSUMED[group]}
        self.expect(f"{group}: parked", {place: row["record"] for place, row in parked.items()}, wanted)
        letters = await in_kafka(self._plan.kafka, *(dead_letters(topic, group) for topic in read)) if read else []
        sent: dict[tuple[str, int, int], set[tuple[bytes, str]]] = defaultdict(set)
        for letter in letters:
            about = {name.removeprefix("dead-letter-"): value.decode() for name, value in letter.headers}
            place = (about["topic"], int(about["partition"]), int(about["offset"]))
            sent[place].add((letter.value, about["reason"]))
        due = {place: {(row["record"] or b"", row["reason"])} for place, row in parked.items()}
        found = {place: {(value or b"", reason) for value, reason in copies} for place, copies in sent.items()}
        self.expect(f"{group}: dead letters", found, due)

    async def recompute(self, issuer: Issuer, cycles: Iterable[str], audiences: Sequence[str] = AUDIENCES) -> None:
        """Every projection follows from the ledger alone, and the exports of these cycles can be verified."""
        url = f"http://127.0.0.1:{self._plan.ports['ledger']}"
        await self._replay(LedgerFeed(url, lambda: issuer.token("auditor", "replay")))
        auditor = {"Authorization": f"Bearer {issuer.token('auditor', 'verify')}"}
        async with httpx.AsyncClient(base_url=url, headers=auditor, trust_env=False, timeout=20) as client:
            for cycle, audience in product(cycles, audiences):
                await self._export(client, cycle, audience)

    async def _replay(self, feed: LedgerFeed) -> None:
        clock = ProgramClock(MachineClock())
        tokens = Tokens(KeySource(""), issuer="", audience="", machine=clock.machine)
        for blueprint in SERVICES.values():
            runtime = Runtime(blueprint.settings(), "", self._plan.postgres, clock, tokens)
            report = await replay(blueprint.make(runtime), feed, patience=5)
            if not report.equal or not report.events:
                self.violations.append(report.as_text())

    async def _export(self, client: httpx.AsyncClient, cycle: str, audience: str) -> None:
        log = (await client.get(f"/ledger/v1/logs/{cycle}")).raise_for_status().json()
        answer = await client.get(f"/ledger/v1/cycles/{cycle}/export", params={"for": audience})
        raw = answer.raise_for_status().content
        report = await asyncio.to_thread(verify, raw, f"log {log['verifier_key']}\nquorum none\n")
        wrong = [finding for finding in report.findings if not (self._misdated and finding.endswith(MISDATED))]
        if report.exit_code and (wrong or not self._misdated):
            self.violations.append(f"{audience} export of {cycle}: {report.headline()} {wrong}")


async def recorded(database: asyncpg.Connection[asyncpg.Record]) -> dict[str, str]:
    """What a service says that it recorded: leaf hashes by event."""
    rows = await database.fetch("select id, leaf_hash from chassis.event_log")
    return {row["id"]: row["leaf_hash"].hex() for row in rows}


def _last(numbers: Iterable[int]) -> list[int]:
    """Each where it is for the last time."""
    return [*dict.fromkeys(reversed([*numbers]))][::-1]


def _in_turn(numbers: Iterable[int]) -> list[int]:
    """Those that come when they are the next one."""
    found: list[int] = []
    for number in numbers:
        found += [number] if number == len(found) + 1 else []
    return found


def _difference(found: Any, wanted: Any) -> str:
    """What is there and should not be, and the other way round."""
    if isinstance(found, Counter) and isinstance(wanted, Counter):
        more, less = dict(found - wanted), dict(wanted - found)
    elif isinstance(found, dict) and isinstance(wanted, dict):
        more = {name: value for name, value in found.items() if wanted.get(name) != value}
        less = {name: value for name, value in wanted.items() if found.get(name) != value}
    elif isinstance(found, list) and isinstance(wanted, list) and wanted:
        more, less = dict(Counter(found) - Counter(wanted)), dict(Counter(wanted) - Counter(found))
    else:
        more, less = found, wanted
    return f"there is {str(more)[:1_500]} where there should be {str(less)[:1_500]}"
