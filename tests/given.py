"""What tests are given: records of other services, made as those would make them."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition

from schemas.envelope import Event, Header, Written, write
from schemas.topics import topic_of
from services.chassis.ids import event_id
from services.chassis.service import Service


class Machine:
    """Machine time that a test can move, as if it had waited."""

    def __init__(self) -> None:
        self.ahead = timedelta()

    def now(self) -> datetime:
        return datetime.now(UTC) + self.ahead


def written(event: Event, sequence: int, *, cause: str | None = None, time: datetime | None = None) -> Written:
    """The event as its service would write it."""
    header = Header(
        id=event_id(),
        type=event.TYPE,
        source=event.source(),
        subject=event.subject,
        time=time or datetime.now(UTC),
        sequence=sequence,
        cycleid=getattr(event, "cycle", None),
        causationid=cause,
    )
    return write(event, header, os.urandom)


async def publish(
    kafka: AIOKafkaProducer, event: Event, sequence: int, *, cause: str | None = None, time: datetime | None = None
) -> Written:
    """Send the event on its topic, as its service would; returns it (`.header.id` is its id)."""
    made = written(event, sequence, cause=cause, time=time)
    await kafka.send_and_wait(topic_of(event.TYPE), made.record, key=event.subject.encode())
    return made


async def from_now_on(service: Service) -> None:
    """Have a service that is not started yet begin with what is published from now on: topics are the whole run's."""
    for consumer in service.consumers:
        async with AIOKafkaConsumer(
            bootstrap_servers=service.runtime.kafka_bootstrap, group_id=consumer.group, enable_auto_commit=False
        ) as client:
            parts = [TopicPartition(topic, part) for topic in consumer.topics for part in range(12)]
            client.assign(parts)
            await client.commit(await client.end_offsets(parts))


async def eventually(check: Callable[[], Awaitable[bool]], seconds: float = 15) -> None:
    """Wait until `check` holds; TimeoutError after `seconds`."""
    async with asyncio.timeout(seconds):
        while not await check():  # noqa: ASYNC110  (it looks into a database or over HTTP)
            await asyncio.sleep(0.05)
