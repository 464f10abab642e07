"""Consuming in batches: one transaction per batch, offsets committed after it, the partition always moves on.

FastStream runs the poll loop; what it hands over never raises (an exception would lose or hotly redeliver records, by
policy). A transient failure keeps the batch and backs off; after a minute the batch is given back to the broker, well
inside `max_poll_interval_ms`. Any other failure sends the batch through record by record, to isolate what is bad.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import structlog
from aiokafka import ConsumerRebalanceListener, TopicPartition
from aiokafka.errors import IllegalStateError, KafkaError
from faststream import AckPolicy
from faststream.kafka import KafkaBroker
from faststream.kafka.message import KafkaMessage

from services.chassis.failures import backoff, transient
from services.chassis.inbox import Inbox, Record

if TYPE_CHECKING:
    from collections.abc import Sequence

    from aiokafka import ConsumerRecord

    from services.chassis.database import Database

GIVE_BACK_SECONDS = 60.0
DRAIN_SECONDS = 20.0

log = structlog.get_logger()


def broker(bootstrap: str, name: str) -> KafkaBroker:
    """A FastStream broker that creates no topics, decodes nothing and answers nothing."""
    return KafkaBroker(
        bootstrap,
        client_id=name,
        acks="all",
        enable_idempotence=True,
        allow_auto_create_topics=False,
        apply_types=False,
        logger=None,
    )


class Consumer(ConsumerRebalanceListener):  # type: ignore[misc]
    """One consumer group's member over some topics, feeding one inbox."""

    def __init__(
        self, kafka: KafkaBroker, topics: Sequence[str], group: str, inbox: Inbox, database: Database, *, batch: int
    ) -> None:
        self._inbox = inbox
        self._database = database
        self._busy = asyncio.Lock()
        self._stopping = asyncio.Event()
        self.topics = tuple(topics)
        self.group = group
        self.subscriber = kafka.subscriber(
                *topics,
                batch=True,
                group_id=group,
                auto_offset_reset="earliest",
                ack_policy=AckPolicy.MANUAL,
                max_records=batch,
                batch_timeout_ms=200,
                fetch_max_wait_ms=100,
                max_poll_interval_ms=300_000,
                listener=self,
                no_reply=True,
                parser=_unparsed,
                decoder=_raw,
        )
        self.subscriber(self.consume)

    async def consume(self, batch: tuple[ConsumerRecord[bytes, bytes], ...]) -> None:
        """Take one batch through its transaction and commit its offsets. Never raises."""
        records = [Record(r.topic, r.partition, r.offset, r.key, r.value, r.timestamp, tuple(r.headers)) for r in batch]
        async with self._busy:
            attempt, started = 0, asyncio.get_running_loop().time()
            while not self._stopping.is_set():
                try:
                    await self._take(records)
                    await self._commit(records)
                    await self._inbox.retry(self._database)
                except Exception as error:  # noqa: BLE001  (see the module's contract)
                    attempt += 1
                    say = log.info if transient(error) else log.error
                    say("batch waits", group=self.group, attempt=attempt, error=repr(error))
                    if asyncio.get_running_loop().time() - started > GIVE_BACK_SECONDS:
                        self._give_back(records)
                        return
                    with suppress(TimeoutError):
                        async with asyncio.timeout(backoff(attempt)):
                            await self._stopping.wait()
                else:
                    return
            self._give_back(records)

    async def _take(self, records: list[Record]) -> None:
        try:
            async with self._database.transaction() as tx:
                await self._inbox.process(tx, records)
        except Exception as error:
            if transient(error):
                raise
        else:
            return
        for record in records:
            await self._take_alone(record)

    async def _take_alone(self, record: Record) -> None:
        try:
            async with self._database.transaction() as tx:
                await self._inbox.process(tx, [record])
        except Exception as error:
            if transient(error):
                raise
            async with self._database.transaction() as tx:
                await self._inbox.set_aside(tx, record, error)

    async def _commit(self, records: list[Record]) -> None:
        """Commit just what was taken. Where the partition was lost meanwhile, its new owner finds duplicates."""
        ends: dict[TopicPartition, int] = {}
        for record in records:
            ends[TopicPartition(record.topic, record.partition)] = record.offset + 1
        if self.subscriber.consumer is not None:
            try:
                await self.subscriber.consumer.commit(ends)
            except (KafkaError, IllegalStateError) as error:
                log.info("offsets not committed", group=self.group, error=repr(error))

    def _give_back(self, records: list[Record]) -> None:
        for record in reversed(records):
            if self.subscriber.consumer is not None:
                with suppress(IllegalStateError, KafkaError):
                    self.subscriber.consumer.seek(TopicPartition(record.topic, record.partition), record.offset)

    async def keep_retrying(self, seconds: float) -> None:
        """Try again what waits every so often, until cancelled: what it waits for may come by another way."""
        while True:
            await asyncio.sleep(seconds)
            try:
                await self._inbox.retry(self._database)
            except Exception as error:  # noqa: BLE001  (the next round tries again)
                log.info("retry waits", group=self.group, error=repr(error))

    async def on_partitions_revoked(self, revoked: object) -> None:  # noqa: ARG002  (aiokafka's signature)
        """Let the batch under way end before another member gets its partitions."""
        with suppress(TimeoutError):
            async with asyncio.timeout(DRAIN_SECONDS), self._busy:
                pass

    async def on_partitions_assigned(self, assigned: object) -> None:
        """Nothing to prepare."""

    async def stop(self) -> None:
        """Let the batch under way end, or give it back if it is waiting."""
        self._stopping.set()
        async with self._busy:
            pass


async def _unparsed(batch: tuple[ConsumerRecord[bytes, bytes], ...]) -> KafkaMessage:
    """Wrap the raw batch without touching it: FastStream's own parser skips a record with an odd header silently."""
    return KafkaMessage(raw_message=batch, body=b"", consumer=None)  # type: ignore[arg-type]


async def _raw(message: KafkaMessage) -> Any:  # noqa: ANN401
    return message.raw_message
