"""aiokafka's two clients, made to outlive a broker that goes away and comes back.

The producer can be given up without waiting for what it still wants to send. The consumer makes a short pause of an
error, closes within seconds whoever is away, and says when it is of no use any more and must be made anew.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any, TypeAlias

import structlog
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, ConsumerRecord
from aiokafka.errors import KafkaError
from faststream.kafka import KafkaBroker

from services.chassis.failures import backoff

if TYPE_CHECKING:
    from collections.abc import Callable

    from aiokafka import TopicPartition

CLOSE_SECONDS = 3.0
PAUSE_SECONDS = 2.0
"""The longest pause after an error of the poll."""
ERRORS = 8
"""Errors in a row after which a consumer is given up: a broker that is merely away causes none."""

MOST = 1_000
CAREFUL_MS = 200

Batch: TypeAlias = "dict[TopicPartition, list[ConsumerRecord[bytes, bytes]]]"

log = structlog.get_logger()


class Producer(AIOKafkaProducer):  # type: ignore[misc]
    """A producer whose unsent records are kept elsewhere."""

    async def abandon(self) -> None:
        """Close at once. `stop` would wait for records that an idempotent producer tries to send for ever."""
        self._closed = True
        with suppress(Exception):  # of the sender, which may have died of one
            async with asyncio.timeout(CLOSE_SECONDS):
                await self._sender.close()
        await self.client.close()


class PollingConsumer(AIOKafkaConsumer):  # type: ignore[misc]
    """A consumer whose poll does not raise what passes."""

    errors = 0
    """Of the poll, in a row."""
    undecodable: frozenset[TopicPartition] = frozenset()
    """Where a record may lie ahead that the client cannot decode: these are read record by record up to it."""

    async def getmany(
        self,
        *partitions: TopicPartition,  # noqa: ARG002  (all that are assigned)
        timeout_ms: float = 0,
        max_records: int | None = None,
    ) -> Batch:
        """Records by partition; none after an error, which is logged and followed by a pause."""
        try:
            found = await self._poll(timeout_ms, max_records or MOST)
        except KafkaError as error:
            self.errors += 1
            log.info("poll waits", group=self._group_id, attempt=self.errors, error=repr(error))
            # FastStream would sleep for five seconds.
            await asyncio.sleep(backoff(self.errors, most=PAUSE_SECONDS))
            return {}
        self.errors = 0
        return found

    async def _poll(self, timeout_ms: float, most: int) -> Batch:
        """Wait for a record, then take what is there, partition by partition.

        The client raises where a header's name is not UTF-8, and forgets what that poll had already taken from other
        partitions: whoever may write to a topic could stop its readers, and make them lose records.
        """
        found: Batch = {}
        try:
            found |= await super().getmany(timeout_ms=timeout_ms, max_records=1)
        except UnicodeDecodeError:
            self.undecodable = frozenset(self.assignment())
        for partition in self.assignment():
            if room := most - sum(map(len, found.values())):
                found[partition] = found.get(partition, []) + await self._poll_one(partition, room)
        return {partition: records for partition, records in found.items() if records}

    async def _poll_one(self, partition: TopicPartition, most: int) -> list[ConsumerRecord[bytes, bytes]]:
        careful = partition in self.undecodable
        try:
            found = await super().getmany(
                partition, timeout_ms=CAREFUL_MS if careful else 0, max_records=1 if careful else most
            )
        except UnicodeDecodeError:
            if careful:
                return [await self._skip(partition)]
            self.undecodable |= {partition}
            return []
        records: list[ConsumerRecord[bytes, bytes]] = found.get(partition, [])
        if not records:
            self.undecodable -= {partition}
        return records

    async def _skip(self, partition: TopicPartition) -> ConsumerRecord[bytes, bytes]:
        """Step over the next record; what is handed on in its place has its offset and nothing else."""
        self.undecodable = frozenset()
        offset = await self.position(partition)
        self.seek(partition, offset + 1)
        log.error("record cannot be decoded", topic=partition.topic, partition=partition.partition, offset=offset)
        return ConsumerRecord(*partition, offset, -1, 0, None, None, None, -1, -1, ())

    @property
    def spent(self) -> bool:
        """Whether it will never bring a record again: a task behind it has ended, whose error each poll may repeat."""
        return not self._closed and (self.errors >= ERRORS or (self._fetcher and self._fetcher.error_future.done()))

    async def stop(self) -> None:
        """Leave the group and close; without leaving, where the broker does not answer."""
        with suppress(TimeoutError):
            async with asyncio.timeout(CLOSE_SECONDS):
                await super().stop()
                return
        await self._client.close()


class Reader(KafkaBroker):
    """A FastStream broker that reads only, with consumers of the kind above. What is published, the relay publishes."""

    def __init__(self, bootstrap: str, name: str) -> None:
        super().__init__(
            bootstrap,
            client_id=name,
            consumer_only=True,
            allow_auto_create_topics=False,
            apply_types=False,
            logger=None,
            # The chassis lets a batch end before it stops the broker.
            graceful_timeout=1.0,
        )

    async def _connect(self) -> Callable[..., Any]:
        await super()._connect()
        made = self.config.broker_config
        made.builder = partial(PollingConsumer, **getattr(made.builder, "keywords", {}))
        return made.builder
