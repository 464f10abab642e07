"""Offsets on their way to the broker, after the effect. What cannot be committed now is owed and tried again later.

aiokafka's own `commit` waits for as long as the broker is away; here nobody waits for more than a moment. Offsets that
are never committed bring records a second time, which take no effect.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import structlog
from aiokafka import TopicPartition
from aiokafka.errors import IllegalStateError, KafkaError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from aiokafka import AIOKafkaConsumer

    from services.chassis.record import Record

COMMIT_SECONDS = 3.0

log = structlog.get_logger()


def behind(records: Iterable[Record]) -> dict[TopicPartition, int]:
    """By partition, the offset behind the last of its records."""
    ends = {(record.topic, record.partition): record.offset + 1 for record in records}
    return {TopicPartition(*place): end for place, end in ends.items()}


class Offsets:
    """What one group's member has taken and not yet committed."""

    def __init__(self, group: str) -> None:
        self._group = group
        self._owed: dict[TopicPartition, int] = {}
        # One at a time: of two that overtake each other, the older one would stand.
        self._lock = asyncio.Lock()
        self._going: asyncio.Task[None] | None = None

    def took(self, records: Iterable[Record]) -> None:
        """Owe the offsets behind `records`, which have taken effect."""
        self._owed |= behind(records)

    def forget(self) -> None:
        """Owe nothing: partitions are about to be given to others, who may get further."""
        self._owed.clear()

    def soon(self, consumer: AIOKafkaConsumer | None) -> None:
        """Commit what is owed while further batches are under way, and what is owed by then, until nothing is."""
        if self._going is None or self._going.done():
            self._going = asyncio.create_task(self._keep_committing(consumer))

    async def _keep_committing(self, consumer: AIOKafkaConsumer | None) -> None:
        while await self.commit(consumer):
            pass

    async def commit(self, consumer: AIOKafkaConsumer | None) -> bool:
        """Commit what is owed, if that can be done now; says whether anything was. Never raises what passes."""
        async with self._lock:
            if consumer is None or not self._owed:
                return False
            due = {partition: self._owed[partition] for partition in consumer.assignment() & self._owed.keys()}
            if not due:
                return False
            try:
                async with asyncio.timeout(COMMIT_SECONDS):
                    await consumer.commit(due)
            except (KafkaError, IllegalStateError, TimeoutError) as error:
                log.info("offsets not committed", group=self._group, error=repr(error))
                return False
            # Forgotten meanwhile, or gone further: either way the present value stands.
            self._owed = {p: offset for p, offset in self._owed.items() if due.get(p) != offset}
            return True
