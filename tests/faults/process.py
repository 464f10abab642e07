"""One witness in a process of its own, which a test may signal as it likes; beside others on the same database."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, replace
from functools import partial
from typing import Any, Self

import psutil
from aiokafka import AIOKafkaConsumer

from services.chassis import database
from services.chassis.inbox import EventInbox
from tests.faults import lives, points
from tests.faults.clients import eventually
from tests.faults.lives import Plan

SESSION_SECONDS = 6.0
"""After which a member that says nothing is out of its group: the shortest time that a broker allows."""
IDLE_SECONDS = 5.0
"""After which PostgreSQL ends the transaction of a process that stands still."""
BATCH_SECONDS = 0.15
"""How much longer each batch takes, so that whatever happens, happens in the middle of one."""


class Process:
    """A process. It can be told to stand still as soon as it comes to the point `stall`, until SIGCONT."""

    def __init__(self, plan: Plan, port: int, stall: str = "") -> None:
        told = asdict(replace(plan, ports={"witness": port})) | {"stall": stall}
        self._process = lives.started("process")
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(told).encode())
        self._process.stdin.close()

    @property
    def pid(self) -> int:
        return self._process.pid

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        with suppress(ProcessLookupError):
            self.signal(signal.SIGKILL)
        self._process.wait()

    def signal(self, number: signal.Signals) -> None:
        """Send a signal."""
        os.kill(self.pid, number)

    async def stand_still(self) -> None:
        """Have it come to its point, and wait until it has."""
        self.signal(signal.SIGUSR1)

        async def stands_still() -> bool:
            return psutil.Process(self.pid).status() == psutil.STATUS_STOPPED

        await eventually("it to stand still", stands_still, 60)


class Stall:
    """Stands in for an end: once armed, the process is stopped at the point, and goes on when it is told to."""

    def __init__(self, point: str) -> None:
        self._point = point
        self._armed = False
        signal.signal(signal.SIGUSR1, self._arm)

    def _arm(self, *_: object) -> None:
        self._armed = True

    def passed(self, step: str) -> None:
        at = points.current()
        if self._armed and at is not None and f"{at.name}: {step}" == self._point:
            self._armed = False
            os.kill(os.getpid(), signal.SIGSTOP)


def _take_long(real: Callable[..., Any]) -> Callable[..., Any]:
    async def process(self: Any, tx: Any, records: Any) -> Any:
        await asyncio.sleep(BATCH_SECONDS)
        return await real(self, tx, records)

    return process


def main() -> None:
    """The process."""
    lives.end_with_parent()
    told = json.loads(sys.stdin.read())
    points.install(Stall(told.pop("stall")))
    database.IDLE_SECONDS = IDLE_SECONDS
    EventInbox.process = _take_long(EventInbox.process)  # type: ignore[method-assign]
    AIOKafkaConsumer.__init__ = _impatient(AIOKafkaConsumer.__init__)
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with suppress(KeyboardInterrupt):
        lives.serve("witness", Plan(**told))


def _impatient(real: Callable[..., None]) -> Callable[..., None]:
    return lambda self, *topics, **how: partial(real, self, *topics)(
        **how | {"session_timeout_ms": int(SESSION_SECONDS * 1_000), "heartbeat_interval_ms": 500}
    )


if __name__ == "__main__":
    main()
