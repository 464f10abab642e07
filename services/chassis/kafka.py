"""aiokafka's two clients, made to outlive a broker that goes away and comes back.

The producer can be given up without waiting for what it still wants to send. The consumer makes a short pause of an
error, closes within seconds whoever is away, and says when it is of no use any more and must be made anew.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import structlog
from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError

from services.chassis.failures import backoff
from services.chassis.stepping import SteppingConsumer

if TYPE_CHECKING:
    from aiokafka import ConsumerRecord, TopicPartition

CLOSE_SECONDS = 3.0
PAUSE_SECONDS = 2.0
"""The longest pause after an error of the poll."""
ERRORS = 8
"""Errors in a row after which a consumer is given up: a broker that is merely away causes none."""

log = structlog.get_logger()


class Producer(AIOKafkaProducer):  # type: ignore[misc]
    """A producer whose unsent records are kept elsewhere."""

    async def abandon(self) -> None:
        """Close at once. `stop` would wait for records that an idempotent producer tries to send for ever."""
        self._closed = True
        if self._sender.sender_task is not None:
            self._sender.sender_task.cancel()
            await _ended(self._sender.sender_task)
        await self.client.close()


class PollingConsumer(SteppingConsumer):
    """A consumer whose poll does not raise what passes."""

    errors = 0
    """Of the poll, in a row."""

    async def getmany(
        self, *partitions: TopicPartition, timeout_ms: float = 0, max_records: int | None = None
    ) -> dict[TopicPartition, list[ConsumerRecord[bytes, bytes]]]:
        """Records by partition; none after an error, which is logged and followed by a pause."""
        try:
            found: dict[TopicPartition, list[ConsumerRecord[bytes, bytes]]] = await super().getmany(
                *partitions, timeout_ms=timeout_ms, max_records=max_records
            )
        except KafkaError as error:
            self.errors += 1
            log.info("poll waits", group=self._group_id, attempt=self.errors, error=repr(error))
            # FastStream would sleep for five seconds.
            await asyncio.sleep(backoff(self.errors, most=PAUSE_SECONDS))
            return {}
        self.errors = 0
        return found

    @property
    def spent(self) -> bool:
        """Whether it will never bring a record again: a task behind it has ended, whose error each poll may repeat."""
        return self.errors >= ERRORS or (self._fetcher is not None and self._fetcher.error_future.done())

    async def stop(self) -> None:
        """Leave the group and close; without leaving, where the broker does not answer."""
        if not await _ended(asyncio.ensure_future(super().stop())):
            await self._client.close()


async def _ended(task: asyncio.Future[Any]) -> bool:
    """Give a task its seconds, however it ends; says whether it did.

    Never awaited itself: a task of aiokafka's that is cancelled before its first step cancels whoever awaits it.
    """
    done, late = await asyncio.wait({task}, timeout=CLOSE_SECONDS)
    for one in late:
        one.cancel()
    for one in done:
        if not one.cancelled() and (error := one.exception()) is not None:
            log.info("closed with an error", error=repr(error))
    return bool(done)
