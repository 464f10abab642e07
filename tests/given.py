"""What tests are given: records of other services, made as those would make them."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime

from aiokafka import AIOKafkaProducer

from schemas.envelope import Event, Header, Written, write
from schemas.topics import topic_of
from services.chassis.ids import event_id


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


async def eventually(check: Callable[[], Awaitable[bool]], seconds: float = 15) -> None:
    """Wait until `check` holds; TimeoutError after `seconds`."""
    async with asyncio.timeout(seconds):
        while not await check():  # noqa: ASYNC110  (it looks into a database or over HTTP)
            await asyncio.sleep(0.05)
