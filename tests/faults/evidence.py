"""What must be true once the parts are back: seen in Kafka's records, in tables and in the clients' own notes."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path
from typing import Self

from aiokafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition
from fastapi import APIRouter

from schemas.applications import ApplicationSubmitted
from schemas.cycles import CycleDeadlineExtended
from schemas.envelope import Envelope, Event, Header, leaf_of, parse
from schemas.topics import EVENT_TOPICS, Topic, events_of
from schemas.versions import split
from services.chassis.database import Tx
from services.chassis.inbox import Handlers
from services.chassis.service import Runtime, Service
from services.chassis.transparency import leaf_hash
from services.chassis.web import CommandRoute
from services.origin import Origin
from tests.faults.clients import Clients


class Witness:
    """A service that writes down each event of intake as it takes effect, in this process."""

    def __init__(self, runtime: Runtime) -> None:
        self.service = witness(runtime, "intake")

    async def __aenter__(self) -> Self:
        await self.service.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.service.stop()

    async def seen(self) -> list[tuple[str, str, int]]:
        """(id, subject, sequence) of each effect, in the order in which they happened."""
        rows = await self.service.database.pool.fetch(
            "select id, subject, sequence from projection.seen order by place"
        )
        return [(row["id"], row["subject"], row["sequence"]) for row in rows]


def witness(runtime: Runtime, *sources: str) -> Service:
    """The service that does so; of all services' events, unless some are named."""
    handlers = Handlers()
    for model in newest(sources or tuple(EVENT_TOPICS)):
        handlers.on(model)(_note)
    return Service(
        name="witness",
        runtime=runtime,
        router=APIRouter(route_class=CommandRoute),
        migrations=Path(__file__).parent / "witness",
        topics=tuple(EVENT_TOPICS[source].name for source in sources or EVENT_TOPICS),
        handlers=handlers,
    )


def newest(sources: Iterable[str]) -> list[type[Event]]:
    """The events of these services, each in its newest version."""
    found = {split(model.TYPE)[0]: model for source in sources for model in sorted(events_of(source), key=_version)}
    return list(found.values())


def _version(model: type[Event]) -> int:
    return split(model.TYPE)[1]


async def _note(tx: Tx, _: Event, header: Header) -> None:
    await tx.db.execute(
        "insert into projection.seen (id, source, subject, sequence) values ($1, $2, $3, $4)",
        header.id,
        header.source,
        header.subject,
        header.sequence,
    )


async def assert_all_is_well(origin: Origin, witness: Witness, clients: Clients) -> None:
    """Nothing that was answered with success is missing, nothing is there twice, and each key is in order."""
    records = events_in(await in_kafka(origin.kafka_bootstrap, EVENT_TOPICS["intake"]))
    events = {event.id: event for _, event in records}
    hashes = {event.id: leaf_hash(leaf_of(record)[0]).hex() for record, event in records}
    assert clients.wrong == []
    _each_answer_has_one_event(clients, events, hashes)
    each_key_is_whole_and_in_order(records)
    _each_event_took_effect_once(await witness.seen(), events)
    await _the_ledger_has_each_once(origin, hashes)
    await _scoring_has_the_last_version(origin, clients)


async def in_kafka(bootstrap: str, *topics: Topic) -> list[ConsumerRecord]:
    """Every record of the topics, in the order of each partition."""
    consumer = AIOKafkaConsumer(bootstrap_servers=bootstrap, auto_offset_reset="earliest", enable_auto_commit=False)
    await consumer.start()
    try:
        partitions = [TopicPartition(topic.name, number) for topic in topics for number in range(topic.partitions)]
        consumer.assign(partitions)
        ends = await consumer.end_offsets(partitions)
        found = []
        while any([await consumer.position(p) < ends[p] for p in partitions]):
            for records in (await consumer.getmany(timeout_ms=200)).values():
                found += records
        return found
    finally:
        await consumer.stop()


def events_in(records: Iterable[ConsumerRecord]) -> list[tuple[bytes, Envelope]]:
    """The records' bytes with their events."""
    return [(record.value, parse(record.value)) for record in records]


def _each_answer_has_one_event(clients: Clients, events: dict[str, Envelope], hashes: dict[str, str]) -> None:
    told = {receipt.event: (receipt.application, receipt.version, receipt.leaf_hash) for receipt in clients.receipts}
    submitted = [event for event in events.values() if event.type == ApplicationSubmitted.TYPE]
    assert len(told) == len(clients.receipts)
    assert told == {e.id: (e.subject, e.data["version"], hashes[e.id]) for e in submitted}
    extended = [event for event in events.values() if event.type == CycleDeadlineExtended.TYPE]
    assert sorted(clients.deadlines) == sorted(event.data["deadline"] for event in extended)


def each_key_is_whole_and_in_order(records: list[tuple[bytes, Envelope]]) -> None:
    """Copies there may be (a producer that was given up may have been heard), but only of the very same bytes."""
    copies: dict[str, set[bytes]] = defaultdict(set)
    last: dict[str, int] = {}
    for place, (record, event) in enumerate(records):
        copies[event.id].add(record)
        last[event.id] = place
    assert [name for name, found in copies.items() if len(found) > 1] == []
    keys: dict[tuple[str, str], list[int]] = defaultdict(list)
    for place, (_, event) in enumerate(records):
        if last[event.id] == place:
            keys[event.key].append(event.sequence)
    assert {key: found for key, found in keys.items() if found != [*range(1, len(found) + 1)]} == {}


def _each_event_took_effect_once(seen: list[tuple[str, str, int]], events: dict[str, Envelope]) -> None:
    assert sorted(name for name, _, _ in seen) == sorted(events)
    order: dict[str, list[int]] = defaultdict(list)
    for _, subject, sequence in seen:
        order[subject].append(sequence)
    assert {key: found for key, found in order.items() if found != sorted(found)} == {}


async def _the_ledger_has_each_once(origin: Origin, hashes: dict[str, str]) -> None:
    (ledger,) = [service for service in origin.services if service.name == "ledger"]
    entries = await ledger.database.pool.fetch("select * from ledger.entry order by log, index")
    logged = {row["id"]: row["leaf_hash"].hex() for row in entries if row["source"] == "/intake"}
    assert logged == hashes
    places: dict[str, list[int]] = defaultdict(list)
    turns: dict[tuple[str, str], list[int]] = defaultdict(list)
    for row in entries:
        places[row["log"]].append(row["index"])
        turns[row["source"], row["subject"]].append(row["sequence"])
    assert all(found == [*range(len(found))] for found in places.values())
    assert all(found == [*range(1, len(found) + 1)] for found in turns.values())
    assert await ledger.database.pool.fetchval("select count(*) from private.held") == 0
    assert await ledger.database.pool.fetchval("select count(*) from ledger.alarm") == 0


async def _scoring_has_the_last_version(origin: Origin, clients: Clients) -> None:
    (scoring,) = [service for service in origin.services if service.name == "scoring"]
    last = {receipt.application: (receipt.version, receipt.event) for receipt in clients.receipts}
    rows = await scoring.database.pool.fetch("select application, version, submitted from projection.application")
    assert {row["application"]: (row["version"], row["submitted"]) for row in rows} == last
    cycle = await scoring.database.pool.fetchrow("select closed, submitted_count from projection.cycle")
    assert cycle is not None
    assert cycle["closed"] is not None
    assert cycle["submitted_count"] == len(last)
