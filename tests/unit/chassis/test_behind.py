"""Work behind the loop: one piece at a time, nothing left under way, errors told."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any

import pytest

from services.chassis.database import Behind


class Connection:
    """Something that does one thing at a time, as a connection."""

    def __init__(self) -> None:
        self.busy = False
        self.done: list[int] = []

    async def work(self, number: int) -> int:
        assert not self.busy
        self.busy = True
        try:
            await asyncio.sleep(0.001)
        finally:
            self.busy = False
        self.done.append(number)
        return number

    async def fail(self) -> None:
        await self.work(-1)
        raise ZeroDivisionError


async def test_pieces_are_done_in_turn_while_the_caller_goes_on() -> None:
    connection, ahead, tasks = Connection(), [], []
    async with Behind() as behind:
        for number in range(3):
            tasks.append(await behind.go(connection.work(number)))
            ahead.append(len(connection.done))
    assert connection.done == [task.result() for task in tasks] == [0, 1, 2]
    assert ahead == [0, 1, 2]


async def in_turn(*pieces: Coroutine[Any, Any, object]) -> None:
    async with Behind() as behind:
        for piece in pieces:
            await behind.go(piece)


async def test_what_failed_behind_is_told_in_front_and_nothing_begins_after_it() -> None:
    connection = Connection()
    with pytest.raises(ZeroDivisionError):
        await in_turn(connection.fail(), connection.work(1))
    assert connection.done == [-1]
    with pytest.raises(ZeroDivisionError):
        await in_turn(connection.fail())


async def test_after_an_error_in_front_the_connection_is_free() -> None:
    connection = Connection()

    async def wrong() -> None:
        async with Behind() as behind:
            await behind.go(connection.work(1))
            raise KeyError

    with pytest.raises(KeyError):
        await wrong()
    assert not connection.busy
    assert connection.done == []
    assert await connection.work(2) == 2


async def test_cancelling_the_caller_ends_what_is_behind_it() -> None:
    connection = Connection()

    async def caller() -> None:
        async with Behind() as behind:
            await behind.go(connection.work(1))
            await asyncio.sleep(10)

    task = asyncio.create_task(caller())
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert not connection.busy
