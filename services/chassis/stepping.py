"""A Kafka consumer that steps over what it cannot decode: a record with a header whose name is not UTF-8.

aiokafka's own raises there, comes no further, and forgets what the same poll had already taken from other partitions:
whoever may write to a topic could stop its readers, and make them lose records. Here partitions are polled one by one,
and such a record is handed on with its place and nothing else.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, TypeAlias

import structlog
from aiokafka import AIOKafkaConsumer, ConsumerRecord
from aiokafka.errors import KafkaError

if TYPE_CHECKING:
    from collections.abc import Collection

    from aiokafka import TopicPartition

MOST = 1_000
CAREFUL_MS = 5_000
"""What the record that cannot be decoded is given to come once more."""

Batch: TypeAlias = "dict[TopicPartition, list[ConsumerRecord[bytes, bytes]]]"

log = structlog.get_logger()


class SteppingConsumer(AIOKafkaConsumer):  # type: ignore[misc]
    """Polls all assigned partitions."""

    undecodable: frozenset[TopicPartition] = frozenset()
    """Where such a record lies ahead: these are read record by record up to it."""

    async def getmany(
        self,
        *partitions: TopicPartition,  # noqa: ARG002  (all that are assigned)
        timeout_ms: float = 0,
        max_records: int | None = None,
    ) -> Batch:
        """Wait for a record, then take what is there; records by partition."""
        most = max_records or MOST
        try:
            # One record: where this fails, nothing of another partition is lost with it.
            found: Batch = await super().getmany(timeout_ms=timeout_ms, max_records=1)
        except UnicodeDecodeError:
            return await self._one_each(self.assignment())
        for partition in self.assignment() - self.undecodable:
            if room := most - sum(map(len, found.values())):
                try:
                    more: Batch = await super().getmany(partition, timeout_ms=0, max_records=room)
                except UnicodeDecodeError:
                    self.undecodable |= {partition}
                except KafkaError:
                    # It comes again with the next poll; what was taken does not.
                    if not found:
                        raise
                else:
                    _add(found, more)
        _add(found, await self._one_each(self.undecodable & self.assignment()))
        return found

    async def _one_each(self, partitions: Collection[TopicPartition]) -> Batch:
        """The next record of each partition that brings one, at least until one cannot be decoded."""
        if not partitions:
            return {}
        polls = {
            asyncio.ensure_future(super(SteppingConsumer, self).getmany(p, timeout_ms=CAREFUL_MS, max_records=1)): p
            for p in partitions
        }
        await asyncio.wait(polls, return_when=asyncio.FIRST_EXCEPTION)
        for poll in polls:
            poll.cancel()  # one that still waits holds nothing
        await asyncio.wait(polls)
        found: Batch = {}
        for poll, partition in polls.items():
            if poll.cancelled():
                continue
            error = poll.exception()
            if isinstance(error, UnicodeDecodeError):
                _add(found, {partition: [await self._step(partition)]})
            elif error is None and poll.result():
                _add(found, poll.result())
            else:
                self.undecodable -= {partition}
        return found

    async def _step(self, partition: TopicPartition) -> ConsumerRecord[bytes, bytes]:
        """Step over the next record; returns what is handed on in its place."""
        self.undecodable -= {partition}
        offset = await self.position(partition)
        self.seek(partition, offset + 1)
        log.error("record cannot be decoded", topic=partition.topic, partition=partition.partition, offset=offset)
        return ConsumerRecord(*partition, offset, -1, 0, None, None, None, -1, -1, ())


def _add(found: Batch, more: Batch) -> None:
    for partition, records in more.items():
        found.setdefault(partition, []).extend(records)
