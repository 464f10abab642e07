"""The two clocks, injected everywhere.

*Machine time* (tokens, retries, signatures, ids) is never moved. *Program time* (deadlines, terms, event time) is
machine time plus an offset that demos and tests move, by a record on the topic `program.clock.v1`; in production it
refuses to move. This is the one place where either clock is read.
"""

from __future__ import annotations

import asyncio
import contextlib
from datetime import UTC, datetime, timedelta
from itertools import count
from typing import TYPE_CHECKING, Protocol

import orjson
import structlog
from aiokafka import TopicPartition
from aiokafka.errors import KafkaError

from schemas.envelope import rfc3339
from services.chassis.failures import backoff
from services.chassis.kafka import PollingConsumer
from services.chassis.looping import sleep_until_woken

if TYPE_CHECKING:
    from collections.abc import Callable

log = structlog.get_logger()


class Clock(Protocol):
    """Something that tells the time, in UTC."""

    def now(self) -> datetime:
        """The present instant, aware, UTC."""
        ...


class MachineClock:
    """The machine's own time."""

    def now(self) -> datetime:
        """The present instant, aware, UTC."""
        return datetime.now(UTC)


class ClockFixedError(RuntimeError):
    """Program time was asked to move where it must not."""


class ProgramClock:
    """Program time: machine time plus an offset, movable only where the settings say so."""

    def __init__(self, machine: Clock, *, movable: bool = False) -> None:
        self.machine = machine
        self.movable = movable
        self._offset = timedelta()
        self._listeners: list[Callable[[], None]] = []

    def now(self) -> datetime:
        """The present program time, aware, UTC."""
        return self.machine.now() + self._offset

    def on_move(self, listener: Callable[[], None]) -> None:
        """Have `listener` called after every move."""
        self._listeners.append(listener)

    def shift(self, offset: timedelta) -> None:
        """Set the distance from machine time. Raises ClockFixedError in production."""
        if not self.movable:
            message = "program time cannot be moved here: CEC_CLOCK_MOVABLE is not set"
            raise ClockFixedError(message)
        self._offset = offset
        for listener in self._listeners:
            listener()


def move_record(clock: ProgramClock, to: datetime) -> bytes:
    """The control record that moves every service's program clock to `to`, from now on running."""
    offset = to - clock.machine.now()
    return orjson.dumps({"offset_ms": offset // timedelta(milliseconds=1), "to": rfc3339(to)})


async def follow(clock: ProgramClock, bootstrap: str, topic: str, ready: Callable[[], None]) -> None:
    """Apply every control record of the clock topic, from the last one on, until cancelled; Kafka may come and go.

    `ready` is called once the records that were there at the start are applied: no service starts in a wrong year.
    """
    partition = TopicPartition(topic, 0)
    applied = 0
    """The offset behind the last record that was."""

    async def listen(consumer: PollingConsumer) -> None:
        nonlocal applied
        await consumer.start()
        consumer.assign([partition])
        end = (await consumer.end_offsets([partition]))[partition]
        if end == 0:
            ready()
        while not consumer.spent:
            for record in (await consumer.getmany(timeout_ms=1_000)).get(partition, []):
                # After a reconnection: time must not pass once more through what it was before.
                if record.offset < applied:
                    continue
                applied = record.offset + 1
                with contextlib.suppress(ValueError, KeyError, TypeError, OverflowError):
                    clock.shift(timedelta(milliseconds=int(orjson.loads(record.value)["offset_ms"])))
            if await consumer.position(partition) >= end:
                ready()

    for attempt in count(1):
        # From the earliest record by policy: a seek right after `assign` can lose against the client's own look-up.
        consumer = PollingConsumer(bootstrap_servers=bootstrap, enable_auto_commit=False, auto_offset_reset="earliest")
        try:
            await listen(consumer)
        except (KafkaError, OSError) as error:
            log.info("clock waits", attempt=attempt, error=repr(error))
        finally:
            await consumer.stop()
        await asyncio.sleep(backoff(attempt))


async def sleep_until(clock: Clock, moment: datetime, woken: asyncio.Event, limit: float) -> None:
    """Sleep until program time `moment`, at most `limit` seconds, or until `woken` is set (and clear it)."""
    seconds = min(max((moment - clock.now()).total_seconds(), 0.0), limit)
    await sleep_until_woken(woken, seconds)
