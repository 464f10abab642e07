"""Consuming in batches: one transaction per batch, offsets committed after it, the partition always moves on.

While PostgreSQL takes a batch, the next one is polled and read, and waits for its turn. FastStream runs the poll loop;
what it hands over never raises (an exception would lose or hotly redeliver records, by policy). A transient failure
keeps the batch and backs off; after a minute it is given back to the broker with the one behind it, well inside
`max_poll_interval_ms`. Any other failure sends the batch through by halves, to isolate what is bad, which is set aside
when the rest has taken effect. So does a batch wait at which the breaker trips.
"""

from __future__ import annotations

import asyncio
import logging
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any

import structlog
from aiokafka import ConsumerRebalanceListener, TopicPartition
from aiokafka.errors import IllegalStateError, KafkaError
from faststream import AckPolicy
from faststream.kafka import KafkaBroker
from faststream.kafka.message import KafkaMessage
from structlog.contextvars import bound_contextvars

from services.chassis.breaker import Breaker, Row, TrippedError
from services.chassis.failures import backoff, severity
from services.chassis.inbox import Inbox, isolate
from services.chassis.kafka import PollingConsumer
from services.chassis.metrics import BATCH_RETRIES, BATCH_SECONDS, TAKEN
from services.chassis.observed import about
from services.chassis.offsets import Offsets, behind
from services.chassis.parking import alarm, forget_mended, reason_of, try_again
from services.chassis.record import Record

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from aiokafka import AIOKafkaConsumer, ConsumerRecord

    from services.chassis.database import Database
    from services.chassis.settings import Settings

GIVE_BACK_SECONDS = 60.0
DRAIN_SECONDS = 20.0
CANCEL_SECONDS = 3.0

log = structlog.get_logger()


class Reader(KafkaBroker):
    """A FastStream broker that reads only: what is published, the relay publishes."""

    def __init__(self, bootstrap: str, name: str) -> None:
        super().__init__(
            bootstrap,
            client_id=name,
            consumer_only=True,
            allow_auto_create_topics=False,
            apply_types=False,
            logger=None,
            # A service lets its batches end before it stops the broker.
            graceful_timeout=1.0,
        )

    async def _connect(self) -> Callable[..., AIOKafkaConsumer]:
        builder = await super()._connect()
        self.config.broker_config.builder = partial(PollingConsumer, **getattr(builder, "keywords", {}))
        return builder


class Consumer(ConsumerRebalanceListener):  # type: ignore[misc]
    """One consumer group's member over some topics, feeding one inbox."""

    def __init__(
        self,
        kafka: KafkaBroker,
        topics: Sequence[str],
        group: str,
        inbox: Inbox,
        database: Database,
        settings: Settings,
    ) -> None:
        self.breaker = Breaker(group, settings.poison_limit)
        self.inbox = inbox
        self._database = database
        self._busy = asyncio.Lock()
        self._stopping = asyncio.Event()
        self._offsets = Offsets(group)
        self._stands: dict[TopicPartition, int] = {}
        self._building = asyncio.Lock()
        self._reign = 0
        """Counts how often the partitions were taken from this member: what was polled before is no more its own."""
        self._under_way: asyncio.Task[bool] | None = None
        self._taking: list[Record] = []
        """The batch of `_under_way`."""
        self._next = False
        """Whether another one waits behind it."""
        self._spent = False
        self.topics = tuple(topics)
        self.group = group
        self.subscriber = kafka.subscriber(
            *topics,
            batch=True,
            group_id=group,
            group_instance_id=settings.instance or None,
            auto_offset_reset="earliest",
            ack_policy=AckPolicy.MANUAL,
            max_records=settings.batch_size,
            batch_timeout_ms=200,
            fetch_max_wait_ms=100,
            max_poll_interval_ms=300_000,
            # 10 s by default: the group would go on without a member whose batch takes longer to end.
            rebalance_timeout_ms=int(DRAIN_SECONDS * 1_000) + 10_000,
            listener=self,
            no_reply=True,
            parser=_unparsed,
            decoder=_raw,
        )
        self.subscriber(self.consume)

    async def consume(self, batch: tuple[ConsumerRecord[bytes, bytes], ...]) -> None:
        """Read a batch, wait for the one before it to take effect, and let it go its way meanwhile. Never raises."""
        reign = self._reign
        records = [Record(r.topic, r.partition, r.offset, r.key, r.value, r.timestamp, tuple(r.headers)) for r in batch]
        for place, first in _firsts(records).items():
            self._stands.setdefault(place, first)
        records = await self._read(records)
        self._next = True
        if not await self._went_through():
            # Only here, where no poll is under way: it would bring what lies behind them before they come again.
            self._give_back([*self._taking, *records])
            self._under_way = None
        elif reign == self._reign:
            self._next, self._taking = False, records
            self._under_way = asyncio.create_task(self._carry(records, reign))

    async def _went_through(self) -> bool:
        """Wait for the batch under way; False where it must be given back."""
        if self._under_way is None:
            return True
        # Not awaited itself: whoever cancels the poll loop, to make the client anew, would cancel it as well.
        await asyncio.wait({self._under_way})
        return not self._under_way.cancelled() and self._under_way.result()

    async def _read(self, records: list[Record]) -> list[Record]:
        try:
            return await self.inbox.read(records)
        except Exception as error:  # noqa: BLE001  (it is met again where the record can be isolated)
            log.info("batch not read ahead", group=self.group, error=repr(error))
            return records

    async def _carry(self, records: list[Record], reign: int) -> bool:
        """Take a batch through its transaction and commit its offsets; False where it must be given back."""
        with bound_contextvars(group=self.group), self._database.metrics.timed(BATCH_SECONDS, group=self.group):
            async with self._busy:
                attempt, started = 0, asyncio.get_running_loop().time()
                while not self._stopping.is_set():
                    if reign != self._reign:
                        # Its partitions are being given out anew, and read from where their offsets were committed.
                        return True
                    try:
                        await self._take(records)
                        self._offsets.took(records)
                        self._offsets.soon(self.subscriber.consumer)
                        await self.inbox.retry(self._database)
                    except Exception as error:  # noqa: BLE001  (see the module's contract)
                        attempt += 1
                        # Of a tripped breaker it was said that the consumer stands, loudly and once.
                        level = logging.INFO if isinstance(error, TrippedError) else severity(error)
                        log.log(level, "batch waits", attempt=attempt, error=repr(error))
                        self._database.metrics.add(BATCH_RETRIES, group=self.group)
                        if self._next and asyncio.get_running_loop().time() - started > GIVE_BACK_SECONDS:
                            return False
                        with suppress(TimeoutError):
                            async with asyncio.timeout(backoff(attempt)):
                                await self._stopping.wait()
                    else:
                        self._passed(records)
                        return True
                return False

    def _passed(self, records: list[Record]) -> None:
        self._stands |= behind(records)
        self._database.metrics.add(TAKEN, len(records), group=self.group)

    async def standing(self) -> dict[TopicPartition, tuple[int, int]]:
        """Per assigned partition: the offset of the next record to take, and how many there are from it on."""
        client = self.subscriber.consumer
        if client is None or not (assigned := client.assignment()):
            return {}
        found = {}
        for partition, end in (await client.end_offsets(assigned)).items():
            # The client's own position is behind the batch under way, and right where no batch came yet.
            stands = self._stands.get(partition)
            position = await client.position(partition) if stands is None else stands
            found[partition] = position, max(0, end - position)
        return found

    async def _take(self, records: list[Record]) -> None:
        """Let all that is good take effect, then set the rest aside: nothing of it, where the breaker trips."""
        try:
            row, bad = await self._sift(records)
        except TrippedError as stop:
            await self.breaker.trip(self._database, stop, reason_of(stop.cause))
            row, bad = await self._sift(records)
        if bad:
            async with self._database.transaction() as tx:
                for record, error in bad:
                    with about(record):
                        await self.inbox.set_aside(tx, record, error)
        await self.breaker.passed(self._database, row, {(record.topic, record.partition) for record in records})

    async def _sift(self, records: list[Record]) -> tuple[Row, list[tuple[Record, Exception]]]:
        row, bad = self.breaker.row, list[tuple[Record, Exception]]()
        async for piece, fates in isolate(self._database, self.inbox, records, self.group):
            bad += [(r, fate) for r, fate in zip(piece, fates, strict=False) if isinstance(fate, Exception)]
            if self.inbox.parks:
                row = row.after(piece, fates, self.breaker.limit)
        return row, bad

    def _give_back(self, records: list[Record]) -> None:
        for place, first in _firsts(records).items():
            if self.subscriber.consumer is not None:
                with suppress(IllegalStateError, KafkaError):
                    self.subscriber.consumer.seek(place, first)

    async def keep_retrying(self, seconds: float) -> None:
        """Try again what waits every so often, until cancelled: what it waits for may come by another way.

        Likewise the poison that somebody asked for, at once where this process was asked.
        """
        asked = self._database.alarm(alarm(self.group))
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(seconds):
                    await asked.wait()
            asked.clear()
            try:
                if self.inbox.parks:
                    await try_again(self._database, self.inbox, self.topics)
                    await forget_mended(self._database, self.topics)
                await self.inbox.retry(self._database)
            except Exception as error:  # noqa: BLE001  (the next round tries again)
                log.log(severity(error), "retry waits", group=self.group, error=repr(error))

    async def keep_polling(self, seconds: float) -> None:
        """Look after the client, until stopped: commit what is owed, and make a client anew that is spent."""
        while not self._stopping.is_set():
            await asyncio.sleep(seconds)
            try:
                await self._offsets.commit(self.subscriber.consumer)
                client = self.subscriber.consumer
                self._spent |= isinstance(client, PollingConsumer) and client.spent
                self._spent |= all(task.done() for task in self.subscriber.tasks)
                async with self._building:
                    if self._spent and not self._stopping.is_set():
                        log.error("consumer made anew", group=self.group)
                        await self.subscriber.stop()
                        await self.subscriber.start()
                        self._spent = False
            except Exception as error:  # noqa: BLE001  (the next round tries again)
                log.log(severity(error), "consumer waits", group=self.group, error=repr(error))

    async def on_partitions_revoked(self, revoked: object) -> None:  # noqa: ARG002  (aiokafka's signature)
        """Let the batch under way end, and its offsets be committed, before another member gets its partitions."""
        self._reign += 1
        with suppress(TimeoutError):
            async with asyncio.timeout(DRAIN_SECONDS), self._busy:
                pass
        await self._offsets.commit(self.subscriber.consumer)
        self._offsets.forget()
        self.breaker.forget()

    async def on_partitions_assigned(self, assigned: object) -> None:  # noqa: ARG002  (aiokafka's signature)
        """Where this member stood in them when it last had them is of no more use."""
        self._stands.clear()

    async def stop(self) -> None:
        """Let the batch under way end, or give it back if it is waiting; one that takes too long is rolled back."""
        self._stopping.set()
        with suppress(TimeoutError):
            async with asyncio.timeout(DRAIN_SECONDS), self._building, self._busy:
                await self._offsets.commit(self.subscriber.consumer)
        if self._under_way is not None:
            self._under_way.cancel()
            await asyncio.wait({self._under_way}, timeout=CANCEL_SECONDS)


def _firsts(records: list[Record]) -> dict[TopicPartition, int]:
    """By partition, the lowest offset."""
    firsts = dict[tuple[str, int], int]()
    for record in records:
        place = record.topic, record.partition
        if firsts.setdefault(place, record.offset) > record.offset:
            firsts[place] = record.offset
    return {TopicPartition(*place): offset for place, offset in firsts.items()}


async def _unparsed(batch: tuple[ConsumerRecord[bytes, bytes], ...]) -> KafkaMessage:
    """Wrap the raw batch without touching it: FastStream's own parser skips a record with an odd header silently."""
    return KafkaMessage(raw_message=batch, body=b"", consumer=None)  # type: ignore[arg-type]


async def _raw(message: KafkaMessage) -> Any:  # noqa: ANN401  (the records as aiokafka gave them)
    return message.raw_message
