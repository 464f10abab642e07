"""Offsets are committed after the effect; a broker that is away holds nobody up, and what is owed is paid later."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from aiokafka import TopicPartition
from aiokafka.errors import CommitFailedError, IllegalStateError

from services.chassis import offsets
from services.chassis.offsets import Offsets
from services.chassis.record import Record

ZERO, ONE = TopicPartition("t", 0), TopicPartition("t", 1)


class Broker:
    """A consumer that notes what it is asked to commit."""

    def __init__(self, *held: TopicPartition) -> None:
        self.held = {*held}
        self.committed: list[dict[TopicPartition, int]] = []
        self.answer: Callable[[], Awaitable[None]] = self.good

    async def good(self) -> None:
        pass

    async def silent(self) -> None:
        await asyncio.Event().wait()

    def assignment(self) -> set[TopicPartition]:
        return self.held

    async def commit(self, due: dict[TopicPartition, int]) -> None:
        await self.answer()
        self.committed.append(due)


def record(partition: TopicPartition, offset: int) -> Record:
    return Record(partition.topic, partition.partition, offset, b"", b"", 0)


async def commit(owed: Offsets, broker: Broker) -> None:
    consumer: Any = broker
    await owed.commit(consumer)


async def test_what_was_taken_is_committed_once() -> None:
    owed, broker = Offsets("g"), Broker(ZERO, ONE)
    owed.took([record(ZERO, 4), record(ZERO, 5), record(ONE, 9)])
    await commit(owed, broker)
    await commit(owed, broker)
    assert broker.committed == [{ZERO: 6, ONE: 10}]


async def test_a_broker_that_does_not_answer_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(offsets, "COMMIT_SECONDS", 0.05)
    owed, broker = Offsets("g"), Broker(ZERO, ONE)
    broker.answer = broker.silent
    owed.took([record(ZERO, 1), record(ONE, 1)])
    await commit(owed, broker)
    assert broker.committed == []
    broker.answer = broker.good
    owed.took([record(ZERO, 2)])
    await commit(owed, broker)
    assert broker.committed == [{ZERO: 3, ONE: 2}]


@pytest.mark.parametrize("error", [CommitFailedError(), IllegalStateError()])
async def test_a_commit_that_fails_is_tried_again(error: Exception) -> None:
    async def fail() -> None:
        raise error

    owed, broker = Offsets("g"), Broker(ZERO)
    broker.answer = fail
    owed.took([record(ZERO, 1)])
    await commit(owed, broker)
    broker.answer = broker.good
    await commit(owed, broker)
    assert broker.committed == [{ZERO: 2}]


async def test_what_was_taken_during_a_commit_stays_owed() -> None:
    owed, broker = Offsets("g"), Broker(ZERO)

    async def take_more() -> None:
        owed.took([record(ZERO, 7)])

    broker.answer = take_more
    owed.took([record(ZERO, 6)])
    await commit(owed, broker)
    broker.answer = broker.good
    await commit(owed, broker)
    assert broker.committed == [{ZERO: 7}, {ZERO: 8}]


async def test_partitions_that_others_hold_are_left_alone() -> None:
    owed, broker = Offsets("g"), Broker(ZERO)
    owed.took([record(ZERO, 1), record(ONE, 1)])
    await commit(owed, broker)
    owed.forget()
    broker.held = {ONE}
    await commit(owed, broker)
    assert broker.committed == [{ZERO: 2}]


async def test_offsets_that_are_on_their_way_hold_no_batch_up_and_one_request_carries_what_came_meanwhile() -> None:
    owed, broker, answered = Offsets("g"), Broker(ZERO), asyncio.Event()

    async def slow() -> None:
        await answered.wait()

    broker.answer = slow
    consumer: Any = broker
    for offset in (1, 2, 3):
        owed.took([record(ZERO, offset)])
        owed.soon(consumer)
        await asyncio.sleep(0)
    assert broker.committed == []
    answered.set()
    await commit(owed, broker)
    assert broker.committed == [{ZERO: 2}, {ZERO: 4}]
