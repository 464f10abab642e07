"""The points between two steps at which a process can be made to end, and the end itself: SIGKILL, nothing less.

Nothing of this is known to the program: the clients that it stands on (asyncpg, aiokafka) and a few seams of the
chassis are wrapped from outside, in a process that is about to be killed. A point's name is `<scene>: <step>`.
"""

from __future__ import annotations

import math
import os
import random
import signal
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from datetime import timedelta
from functools import wraps
from pathlib import Path
from typing import Any, Protocol

import asyncpg
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from asyncpg.transaction import Transaction

from services.chassis.consumer import Consumer
from services.chassis.inbox import EventInbox
from services.chassis.relay import Relay
from services.chassis.schedule import Scheduler
from services.chassis.web import SAFE, Frontier
from services.ledger.handlers import LedgerInbox
from services.notifications import delivery
from services.notifications.delivery import Courier
from services.scoring.submissions import Submissions

COMMITTING = ("begun", "before COMMIT", "after COMMIT")
CONSUMING = (
    *("batch here", *COMMITTING, "before process", "after process"),
    *("before offsets are committed", "after offsets are committed"),
)
RELAYING = ("rows read", "before send", "after send", "acknowledged", "before DELETE", "after DELETE")
ANSWERING = (*COMMITTING, "before answer", "after answer")
SCHEDULED = ("before task", "after task", *COMMITTING[1:])
DELIVERING = ("before POST", "after POST", *COMMITTING[1:])

GROUPS = {
    "intake": ("intake",),
    "scoring": ("scoring", "scoring-commands"),
    "awards": ("awards",),
    "notifications": ("notifications",),
    "ledger": ("ledger",),
    "witness": ("witness",),
}
OTHERS: dict[str, dict[str, tuple[str, ...]]] = {
    "intake": {"relay": RELAYING, "http": ANSWERING, "schedule": SCHEDULED},
    "scoring": {"relay": RELAYING, "http": ANSWERING},
    "awards": {"relay": RELAYING, "http": ANSWERING, "schedule": SCHEDULED},
    "notifications": {"relay": RELAYING, "http": ANSWERING, "delivery": DELIVERING},
    "ledger": {"relay": RELAYING},
}
"""Beside consuming. The witness records nothing and is asked nothing."""
NAMES = ("intake", "scoring", "awards", "notifications", "ledger", "witness")


def points_of(name: str) -> list[str]:
    """Every point of a service."""
    consuming: dict[str, tuple[str, ...]] = dict.fromkeys(GROUPS.get(name, ()), CONSUMING)
    scenes = consuming | OTHERS.get(name, {})
    return [f"{scene}: {step}" for scene, steps in scenes.items() for step in steps]


@dataclass
class Scene:
    """What a task is at; `busy` once it does something that is worth an end."""

    name: str
    busy: bool = True


_scene: ContextVar[Scene | None] = ContextVar("scene", default=None)


def current() -> Scene | None:
    """What the present task is at."""
    return _scene.get()


@contextmanager
def scene(name: str, *, busy: bool = True) -> Iterator[Scene]:
    """Inside, steps are those of this scene."""
    set_up = Scene(name, busy)
    token = _scene.set(set_up)
    try:
        yield set_up
    finally:
        _scene.reset(token)


class Passing(Protocol):
    """What is told of every step."""

    def passed(self, step: str) -> None:
        """A step was reached."""
        ...


PATIENCE = 2.5
"""How long a life is waited for to come to its point before it ends wherever it is, as a multiple of how long it took
to begin; more, the more often the point was missed."""


class End:
    """One life's: at the nth passing of a point, at once or a moment later; elsewhere, if it does not come there."""

    def __init__(self, name: str, chance: random.Random, deaths: Path, peace: Path, misses: Counter[str]) -> None:
        """`deaths` is the file that is told, `misses` counts the lives that did not come to their point."""
        self._name = name
        self._deaths = deaths
        self._peace = peace
        met = Counter(line["point"] for line in read(deaths) if line["name"] == name and not line["late"])
        fewest = min(met[point] for point in points_of(name))
        self.point = chance.choice([point for point in points_of(name) if met[point] == fewest])
        self._passings = 1 if misses[self.point] else chance.choice([1, 1, 2, 3])
        # Measured by how long it takes to begin: on a slow machine, too, something is done between two ends; and more,
        # once every point was met, so that others come to theirs.
        self._respite = chance.choice([1.0, 2.0, 4.0] if fewest else [0.0, 0.5, 1.0, 2.0])
        self._patience = PATIENCE * min(6, 1 + misses[self.point])
        self._began = time.monotonic()
        self._from = math.inf if self._respite else 0.0
        self._until = math.inf
        # Only once every point was met exactly: a moment later is anywhere behind it.
        self._late = chance.uniform(0.0001, 0.004) if fewest and chance.random() < 0.5 else 0.0

    def ready(self) -> None:
        """Everything runs: from here on it is waited for the point, after a respite."""
        now = time.monotonic()
        took = now - self._began
        self._from = now + self._respite * took if self._respite else 0.0
        self._until = now + self._respite * took + self._patience * took

    def passed(self, step: str) -> None:
        """A step was reached: maybe the last."""
        at = _scene.get()
        now = time.monotonic()
        if at is None or not at.busy or now < self._from:
            return
        point = f"{at.name}: {step}"
        if point == self.point:
            self._passings -= 1
        elif now < self._until:
            return
        if (point != self.point or not self._passings) and not self._peace.exists():
            self._end(point)

    def _end(self, point: str) -> None:
        late = self._late if point == self.point else 0.0
        write(self._deaths, name=self._name, point=point, aim=self.point, late=late, pid=os.getpid())
        if late:
            # The kernel ends it, whatever it does then: nobody handles this signal.
            signal.signal(signal.SIGALRM, signal.SIG_DFL)
            signal.setitimer(signal.ITIMER_REAL, late)
        else:
            os.kill(os.getpid(), signal.SIGKILL)


def read(deaths: Path) -> list[dict[str, Any]]:
    """What was told of ends so far."""
    if not deaths.exists():
        return []
    fields = [line.split("\t") for line in deaths.read_text().splitlines()]
    return [{"name": n, "point": p, "aim": a, "late": float(late), "pid": int(pid)} for n, p, a, late, pid in fields]


def write(deaths: Path, *, name: str, point: str, aim: str, late: float, pid: int) -> None:
    """Tell of an end: one write, so that lines of several processes don't mix."""
    handle = os.open(deaths, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    os.write(handle, f"{name}\t{point}\t{aim}\t{late}\t{pid}\n".encode())
    os.close(handle)


def install(end: Passing) -> None:
    """Have every step of this process told to `end`."""
    _wrap_transactions(end)
    _wrap_consuming(end)
    _wrap_relaying(end)
    _wrap_answering(end)
    _wrap_schedule(end)
    _wrap_delivery(end)


def _replace(owner: Any, name: str, make: Callable[[Any], Any]) -> None:
    real = getattr(owner, name)
    setattr(owner, name, wraps(real)(make(real)))


def _around(owner: Any, name: str, end: Passing, before: str | None, after: str | None) -> None:
    def make(real: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[Any]]:
        async def told(*args: Any, **kwargs: Any) -> Any:
            if before:
                end.passed(before)
            result = await real(*args, **kwargs)
            if after:
                end.passed(after)
            return result

        return told

    _replace(owner, name, make)


def _wrap_transactions(end: Passing) -> None:
    def entered(real: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[Any]]:
        async def told(self: Any) -> None:
            await real(self)
            if not self._readonly:
                end.passed("begun")

        return told

    def left(real: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[Any]]:
        async def told(self: Any, kind: Any, error: Any, trace: Any) -> None:
            commits = kind is None and not self._readonly
            if commits:
                end.passed("before COMMIT")
            await real(self, kind, error, trace)
            if commits:
                end.passed("after COMMIT")

        return told

    _replace(Transaction, "__aenter__", entered)
    _replace(Transaction, "__aexit__", left)


def _wrap_consuming(end: Passing) -> None:
    def set_scene(real: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[Any]]:
        async def told(self: Any, batch: Any) -> Any:
            with scene(self.group):
                end.passed("batch here")
                return await real(self, batch)

        return told

    def commit(real: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[Any]]:
        async def told(self: Any, *args: Any, **kwargs: Any) -> Any:
            with scene(self._group_id):
                end.passed("before offsets are committed")
                await real(self, *args, **kwargs)
                end.passed("after offsets are committed")

        return told

    _replace(Consumer, "consume", set_scene)
    _replace(AIOKafkaConsumer, "commit", commit)
    for inbox in (EventInbox, LedgerInbox, Submissions):
        _around(inbox, "process", end, "before process", "after process")


def _wrap_relaying(end: Passing) -> None:
    def run(real: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[Any]]:
        async def told(self: Any) -> None:
            with scene("relay"):
                await real(self)

        return told

    _replace(Relay, "run", run)
    _wrap_queries(end)
    _wrap_sending(end)


def _wrap_queries(end: Passing) -> None:
    def query(real: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[Any]]:
        async def told(self: Any, statement: str, *args: Any, **kwargs: Any) -> Any:
            deletes = "delete from chassis.outbox" in statement.lower()
            if deletes and _relaying():
                end.passed("before DELETE")
            result = await real(self, statement, *args, **kwargs)
            if deletes and _relaying():
                end.passed("after DELETE")
            elif "from chassis.outbox" in statement.lower() and result and _relaying():
                end.passed("rows read")
            return result

        return told

    for name in ("execute", "fetch", "fetchval", "fetchrow"):
        _replace(asyncpg.Connection, name, query)


def _wrap_sending(end: Passing) -> None:
    def send(real: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[Any]]:
        async def told(self: Any, *args: Any, **kwargs: Any) -> Any:
            if not _relaying():
                return await real(self, *args, **kwargs)
            end.passed("before send")
            pending: Any = await real(self, *args, **kwargs)
            end.passed("after send")
            pending.add_done_callback(acknowledged)
            return pending

        return told

    def acknowledged(pending: Any) -> None:
        if not pending.cancelled() and pending.exception() is None:
            end.passed("acknowledged")

    for name in ("send", "send_batch"):
        _replace(AIOKafkaProducer, name, send)


def _relaying() -> bool:
    at = _scene.get()
    return at is not None and at.name == "relay"


def _wrap_answering(end: Passing) -> None:
    def call(real: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[Any]]:
        async def told(self: Any, asked: Any, receive: Any, send: Any) -> None:
            if asked["type"] != "http" or asked["method"] in SAFE:
                await real(self, asked, receive, send)
                return

            async def sent(message: Any) -> None:
                if message["type"] == "http.response.start":
                    end.passed("before answer")
                await send(message)
                if message["type"] == "http.response.body" and not message.get("more_body"):
                    end.passed("after answer")

            with scene("http"):
                await real(self, asked, receive, sent)

        return told

    _replace(Frontier, "__call__", call)


def _wrap_schedule(end: Passing) -> None:
    def run_one(real: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[Any]]:
        async def told(self: Any, now: Any) -> Any:
            with scene("schedule", busy=False):
                return await real(self, now)

        return told

    def made(real: Callable[..., None]) -> Callable[..., None]:
        def told(self: Any, database: Any, clock: Any, tasks: Any, **how: Any) -> None:
            real(self, database, clock, {kind: _task(end, task) for kind, task in tasks.items()}, **how)

        return told

    _replace(Scheduler, "_run_one", run_one)
    _replace(Scheduler, "__init__", made)


def _task(end: Passing, task: Callable[..., Awaitable[None]]) -> Callable[..., Awaitable[None]]:
    async def told(*args: Any) -> None:
        at = _scene.get()
        assert at is not None
        at.busy = True
        end.passed("before task")
        await task(*args)
        end.passed("after task")

    return told


def _wrap_delivery(end: Passing) -> None:
    def deliver(real: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[Any]]:
        async def told(self: Any, claim: Any) -> None:
            with scene("delivery"):
                await real(self, claim)

        return told

    _replace(Courier, "_deliver", deliver)
    _around(Courier, "_post", end, "before POST", "after POST")
    # What a killed process had taken up waits for the end of its lease, which is three quarters of a minute.
    delivery.LEASE = timedelta(seconds=2)
