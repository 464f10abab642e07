"""The loop of a task that takes up what there is to do, rests, and looks again, riding out every bad moment."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from datetime import datetime
from itertools import count
from typing import TYPE_CHECKING, NoReturn, TypeVar

import structlog

from services.chassis.failures import backoff, severity, transient

if TYPE_CHECKING:
    from services.chassis.clock import Clock

Found = TypeVar("Found")

log = structlog.get_logger()


async def keep_taking_up(
    what: str,
    take_up: Callable[[], Awaitable[Found]],
    rest: Callable[[Found], Awaitable[None]],
    **context: object,
) -> NoReturn:
    """Call `take_up`, then `rest` with what it gave, until cancelled. After a failure: log "`what` wait", back off.

    `context` stands in the log's lines. Only what passes by itself is logged as usual; all else is an error.
    """
    attempt, waits = 0, f"{what} wait"
    while True:
        try:
            found = await take_up()
        except Exception as error:  # noqa: BLE001  (a loop never dies of one bad moment)
            attempt += 1
            log.log(severity(error), waits, attempt=attempt, error=repr(error), **context)
            await asyncio.sleep(backoff(attempt))
            continue
        attempt = 0
        await rest(found)


async def insist(work: Callable[[], Awaitable[None]], machine: Clock, until: datetime) -> None:
    """Do it, again after each failure that passes by itself, as long as machine time is not past `until`."""
    for attempt in count(1):
        try:
            await work()
        except Exception as error:
            if not transient(error) or machine.now() > until:
                raise
            await asyncio.sleep(backoff(attempt))
        else:
            return


async def sleep_until_woken(alarm: asyncio.Event, seconds: float) -> None:
    """Sleep until the alarm is set, at most so long; then clear it."""
    with suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await alarm.wait()
    alarm.clear()
