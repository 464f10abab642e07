"""What became of whole cycles whose services were killed: violations, from Kafka's records, tables and notes alone."""

from __future__ import annotations

import asyncio
import json
import time
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import asyncpg
import httpx
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient

from schemas.applications import ApplicationSubmitted, ApplicationWithdrawn
from schemas.cycles import CohortAnnounced, CycleClosed, CycleDeadlineExtended, CycleOpened, LogOpened
from schemas.designations import DecisionMade, DecisionProposed, DesignationExpired, DesignationGranted, RenewalDue
from schemas.envelope import Envelope, Event, leaf_of, read
from schemas.exact import SetDigest
from schemas.notices import NoticeDelivered
from schemas.reviews import ApplicationScored, CommandRefused, ReviewAssigned, ReviewSubmitted
from schemas.topics import COMMANDS, EVENT_TOPICS, READERS, TOPICS, dead_letters
from services.chassis.auth import KeySource, Tokens
from services.chassis.clock import MachineClock, ProgramClock
from services.chassis.feed import LedgerFeed
from services.chassis.issuer import Issuer
from services.chassis.replay import replay
from services.chassis.service import Runtime
from services.chassis.transparency import leaf_hash
from services.origin import SERVICES
from services.verifier import verify
from tests.faults.evidence import each_key_is_whole_and_in_order, events_in, in_kafka
from tests.faults.lives import Plan
from tests.faults.points import GROUPS, NAMES
from tests.faults.stories import CHARTER, Notes

CONSUMED = {group: tuple(EVENT_TOPICS[service].name for service in services) for group, services in READERS.items()}
CONSUMED |= {"witness": tuple(topic.name for topic in EVENT_TOPICS.values()), "scoring-commands": (COMMANDS.name,)}


@asynccontextmanager
async def databases(plan: Plan) -> AsyncIterator[dict[str, asyncpg.Connection[asyncpg.Record]]]:
    """A connection to every service's database, by service."""
    async with AsyncExitStack() as opened:
        found = {}
        for name in NAMES:
            found[name] = await asyncpg.connect(plan.postgres, database=f"cec_{name}")
            opened.push_async_callback(found[name].close)
        yield found


async def settled(plan: Plan, seconds: float) -> None:
    """Wait until no event is on its way: outboxes empty, topics consumed, nothing waits. TimeoutError saying what."""
    admin, consumer = AIOKafkaAdminClient(bootstrap_servers=plan.kafka), AIOKafkaConsumer(bootstrap_servers=plan.kafka)
    async with databases(plan) as tables:
        await admin.start()
        await consumer.start()
        try:
            ends = time.monotonic() + seconds
            while waiting := await _in_tables(tables) + await _in_topics(admin, consumer):
                if time.monotonic() > ends:
                    raise TimeoutError(f"after {seconds:.0f} s there still waits: {waiting}")
                await asyncio.sleep(0.2)
        finally:
            await admin.close()
            await consumer.stop()


async def _in_tables(tables: Mapping[str, asyncpg.Connection[asyncpg.Record]]) -> list[str]:
    found = []
    for name, connection in tables.items():
        for table in ("chassis.outbox", "chassis.parked where kind = 'not_yet'", *_QUEUES.get(name, ())):
            count = await connection.fetchval(f"select count(*) from {table}")  # noqa: S608  (names of our own tables)
            found += [f"{name}: {count} rows of {table}"] if count else []
    return found


_QUEUES = {"ledger": ("private.held",), "notifications": ("private.delivery where state = 'pending'",)}


async def _in_topics(admin: AIOKafkaAdminClient, consumer: AIOKafkaConsumer) -> list[str]:
    found = []
    for group, topics in CONSUMED.items():
        committed = await admin.list_consumer_group_offsets(group)
        partitions = [TopicPartition(topic.name, n) for topic in TOPICS if topic.name in topics for n in range(12)]
        for partition, end in (await consumer.end_offsets(partitions)).items():
            done = committed[partition].offset if partition in committed else 0
            found += [f"{group}: {end - done} behind in {partition}"] if end > max(done, 0) else []
    return found


class Verdict:
    """Everything there is to see, and what is wrong with it."""

    def __init__(self, plan: Plan, issuer: Issuer, notes: Notes, notices: Path) -> None:
        """`notices` is the file that a subscriber wrote."""
        self.violations: list[str] = []
        self.events = 0
        self._plan = plan
        self._issuer = issuer
        self._notes = notes
        self._notices = notices

    async def reach(self) -> None:
        """Look at everything."""
        self.violations += self._notes.wrong
        records = events_in(
            record
            for record in await in_kafka(self._plan.kafka, *EVENT_TOPICS.values())
            if (record.topic, record.partition, record.offset) not in self._notes.broken
        )
        each_key_is_whole_and_in_order(records)
        events = {event.id: event for _, event in records}
        hashes = {event.id: leaf_hash(leaf_of(record)[0]).hex() for record, event in records}
        self.events = len(events)
        self._look_at_answers(events.values(), hashes)
        self._look_at_effects(events.values())
        async with databases(self._plan) as tables:
            await self._look_at_tables(tables, events, hashes)
            await self._look_at_notices(tables["notifications"], events.values())
            for name, topics in CONSUMED.items():
                if name in tables:
                    await self._look_at_letters(name, topics, tables[name])
        await self._replay()
        await self._export()

    def _expect(self, what: str, found: object, wanted: object) -> None:
        if found != wanted:
            self.violations.append(f"{what}: {_difference(found, wanted)}")

    def _look_at_answers(self, events: Iterable[Envelope], hashes: dict[str, str]) -> None:
        """Every answer has its event, and there is none that nobody asked for."""
        notes, by_type = self._notes, _by_type(events)
        told = {one.event: (one.application, one.version, one.leaf_hash) for one in notes.submitted}
        found = {e.id: (e.subject, e.data["version"], hashes[e.id]) for e in by_type[ApplicationSubmitted]}
        self._expect("submissions", found, told)
        found_deadlines = sorted((e.subject, e.data["deadline"]) for e in by_type[CycleDeadlineExtended])
        self._expect("deadlines", found_deadlines, sorted(notes.deadlines))
        self._expect("withdrawals", sorted(e.subject for e in by_type[ApplicationWithdrawn]), sorted(notes.withdrawn))
        reviews = [(e, review) for e in by_type[ReviewSubmitted] if isinstance(review := read(e), ReviewSubmitted)]
        over_http = {e.id: hashes[e.id] for e, review in reviews if review.via == "http"}
        self._expect("reviews over HTTP", over_http, notes.reviewed)
        signed = sorted((r.private.command_sha256, r.application) for _, r in reviews if r.via == "kafka" and r.private)
        self._expect("signed reviews", signed, sorted(notes.signed.items()))
        refused = sorted((e.subject, e.data["reason"]) for e in by_type[CommandRefused])
        self._expect("refused commands", refused, sorted(notes.refused.items()))
        self._expect("announcements", {e.subject: e.id for e in by_type[CohortAnnounced]}, notes.announced)

    def _look_at_effects(self, events: Iterable[Envelope]) -> None:
        """What one event makes of another service happens once for each, and for no other."""
        by_type = _by_type(events)
        cycles = sorted(e.subject for e in by_type[CycleOpened])
        self._expect("cycles announced", sorted(self._notes.announced), cycles)
        self._expect("cycles closed", sorted(e.subject for e in by_type[CycleClosed]), cycles)
        self._expect("logs opened", sorted(e.subject for e in by_type[LogOpened]), sorted([*cycles, "program"]))
        withdrawn = {e.subject for e in by_type[ApplicationWithdrawn]}
        standing = sorted({e.subject for e in by_type[ApplicationSubmitted]} - withdrawn)
        for model in (ApplicationScored, DecisionProposed, DecisionMade):
            self._expect(model.TYPE, sorted(e.subject for e in by_type[model]), standing)
        each = CHARTER.scoring.reviewers_per_application
        for seat in (ReviewAssigned, ReviewSubmitted):
            found = Counter(e.subject for e in by_type[seat])
            self._expect(seat.TYPE, found, Counter(dict.fromkeys(standing, each)))
        granted = sorted(e.subject for e in by_type[DesignationGranted])
        self._expect("designations expired", sorted(e.subject for e in by_type[DesignationExpired]), granted)
        renewals = sorted((e.subject, e.data["days"]) for e in by_type[RenewalDue])
        days = CHARTER.term.renewal_notice_days
        self._expect("renewals", renewals, sorted((name, day) for name in granted for day in days))
        latest = {e.subject: e.id for e in by_type[ApplicationSubmitted] if e.subject not in withdrawn}
        for closed in by_type[CycleClosed]:
            stated = [latest[e.subject] for e in by_type[ApplicationScored] if e.cycleid == closed.subject]
            digest = SetDigest.of(stated).model_dump(mode="json")
            self._expect(f"what closing {closed.subject} stated", closed.data["submitted"], digest)

    async def _look_at_tables(
        self,
        tables: Mapping[str, asyncpg.Connection[asyncpg.Record]],
        events: dict[str, Envelope],
        hashes: dict[str, str],
    ) -> None:
        rows = await tables["witness"].fetch("select * from projection.seen order by place")
        self._expect("effects on the witness", Counter(row["id"] for row in rows), Counter(list(events)))
        turns: dict[tuple[str, str], list[int]] = defaultdict(list)
        for row in rows:
            turns[row["source"], row["subject"]].append(row["sequence"])
        self._expect("order of effects", {k: v for k, v in turns.items() if v != sorted(v)}, {})
        last = {event.key: 0 for event in events.values()}
        for event in events.values():
            last[event.key] = max(last[event.key], event.sequence)
        for name, connection in tables.items():
            own = await connection.fetch("select id, leaf_hash, subject, sequence from chassis.event_log")
            sent = {e.id: hashes[e.id] for e in events.values() if e.source == f"/{name}"}
            self._expect(f"{name}: what it recorded", {row["id"]: row["leaf_hash"].hex() for row in own}, sent)
            if name in GROUPS and name != "ledger":
                sources = [f"/{topic.split('.')[0]}" for topic in CONSUMED[name]]
                marks = await connection.fetch("select source, subject, sequence from chassis.mark")
                found = {(row["source"], row["subject"]): row["sequence"] for row in marks}
                self._expect(f"{name}: marks", found, {k: n for k, n in last.items() if k[0] in sources})
            self._expect(f"{name}: stops", await connection.fetch("select * from chassis.breaker"), [])
        entries = await tables["ledger"].fetch("select log, index, id, leaf_hash from ledger.entry order by log, index")
        self._expect("the ledger", Counter((r["id"], r["leaf_hash"].hex()) for r in entries), Counter(hashes.items()))
        places: dict[str, list[int]] = defaultdict(list)
        for row in entries:
            places[row["log"]].append(row["index"])
        self._expect("the ledger's places", places, {log: [*range(len(found))] for log, found in places.items()})
        self._expect("alarms", await tables["ledger"].fetch("select * from ledger.alarm"), [])

    async def _look_at_letters(
        self, group: str, topics: Sequence[str], table: asyncpg.Connection[asyncpg.Record]
    ) -> None:
        """What nobody can read is kept and sent on as it was, with one and the same reason; and nothing else."""
        wanted = {place: value for place, value in self._notes.broken.items() if place[0] in topics}
        rows = await table.fetch("select topic, part, position, record, reason from chassis.parked")
        parked = {(row["topic"], row["part"], row["position"]): row for row in rows}
        self._expect(f"{group}: parked", {place: row["record"] for place, row in parked.items()}, wanted)
        letters = await in_kafka(self._plan.kafka, *(dead_letters(topic, group) for topic in topics))
        sent: dict[tuple[str, int, int], set[tuple[bytes, str]]] = defaultdict(set)
        for letter in letters:
            about = {name.removeprefix("dead-letter-"): value.decode() for name, value in letter.headers}
            place = (about["topic"], int(about["partition"]), int(about["offset"]))
            sent[place].add((letter.value, about["reason"]))
        due = {place: {(row["record"] or b"", row["reason"])} for place, row in parked.items()}
        found = {place: {(value or b"", reason) for value, reason in copies} for place, copies in sent.items()}
        self._expect(f"{group}: dead letters", found, due)

    async def _look_at_notices(self, table: asyncpg.Connection[asyncpg.Record], events: Iterable[Envelope]) -> None:
        """Each subscriber is told of each event of its cycle under one id, which came to its endpoint."""
        by_type = _by_type(events)
        wanted: Counter[tuple[str, str]] = Counter()
        for cycle, subscription in self._notes.subscriptions.items():
            for model in (DesignationGranted, CohortAnnounced, RenewalDue, DesignationExpired):
                wanted.update((subscription, e.id) for e in by_type[model] if e.cycleid == cycle)
        rows = await table.fetch(
            "select d.subscription, d.message, d.notice, d.state from private.delivery d"
            " join private.message m using (message) where m.kind <> 'challenge'"
        )
        self._expect("notices", Counter((row["subscription"], row["message"]) for row in rows), wanted)
        self._expect("undelivered", [tuple(row) for row in rows if row["state"] != "delivered"], [])
        delivered = Counter((e.subject, e.data["event"]) for e in by_type[NoticeDelivered])
        self._expect("delivered notices", delivered, wanted)
        received = [json.loads(line) for line in self._notices.read_text().splitlines()]
        self._expect("received notices", Counter(n["id"] for n in received), Counter(row["notice"] for row in rows))

    async def _replay(self) -> None:
        """Every projection follows from the ledger alone."""
        feed = LedgerFeed(self._url("ledger"), lambda: self._issuer.token("auditor", "replay"))
        clock = ProgramClock(MachineClock())
        tokens = Tokens(KeySource(""), issuer="", audience="", machine=clock.machine)
        for blueprint in SERVICES.values():
            runtime = Runtime(blueprint.settings(), "", self._plan.postgres, clock, tokens)
            report = await replay(blueprint.make(runtime), feed, patience=5)
            if not report.equal or not report.events:
                self.violations.append(report.as_text())

    async def _export(self) -> None:
        """Every cycle can be verified by anyone, and all of it by an auditor."""
        auditor = {"Authorization": f"Bearer {self._issuer.token('auditor', 'verify')}"}
        async with httpx.AsyncClient(base_url=self._url("ledger"), headers=auditor, trust_env=False) as client:
            for cycle in self._notes.announced:
                log = (await client.get(f"/ledger/v1/logs/{cycle}")).raise_for_status().json()
                for audience in ("public", "auditor"):
                    path = f"/ledger/v1/cycles/{cycle}/export"
                    raw = (await client.get(path, params={"for": audience})).raise_for_status().content
                    report = await asyncio.to_thread(verify, raw, f"log {log['verifier_key']}\nquorum none\n")
                    if report.exit_code:
                        self.violations.append(f"{audience} export of {cycle}: {report.headline()} {report.findings}")

    def _url(self, name: str) -> str:
        return f"http://127.0.0.1:{self._plan.ports[name]}"


def _by_type(events: Iterable[Envelope]) -> Any:
    """Events by model, in the order of their numbers."""
    found: dict[type[Event], list[Envelope]] = defaultdict(list)
    models = {model.TYPE: model for model in _MODELS}
    for event in sorted(events, key=lambda event: event.sequence):
        if event.type in models:
            found[models[event.type]].append(event)
    return found


_MODELS: tuple[type[Event], ...] = (
    *(CycleOpened, CycleDeadlineExtended, CycleClosed, ApplicationSubmitted, ApplicationWithdrawn),
    *(ReviewAssigned, ReviewSubmitted, ApplicationScored, CommandRefused),
    *(DecisionProposed, DecisionMade, DesignationGranted, CohortAnnounced, RenewalDue, DesignationExpired),
    *(NoticeDelivered, LogOpened),
)


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
