"""What there is to see of events, whoever says what: Kafka's own records, and a witness that notes each effect."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Self

from aiokafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition
from fastapi import APIRouter

from schemas.envelope import Envelope, Event, Header, parse
from schemas.topics import EVENT_TOPICS, Topic, events_of
from schemas.versions import split
from services.chassis.database import Tx
from services.chassis.inbox import Handlers
from services.chassis.service import Runtime, Service
from services.chassis.web import CommandRoute


class Witness:
    """A service that writes down each event as it takes effect, in this process; of all services', or of some."""

    def __init__(self, runtime: Runtime, *sources: str) -> None:
        self.service = witness(runtime, *sources)

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
