"""A service at run time: database, relay, consumers, schedule and HTTP application, started and stopped together."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from structlog.contextvars import bound_contextvars

from services.chassis import consumer, dead_letters, erasure, health, idempotency
from services.chassis.database import Database
from services.chassis.inbox import EventInbox, Handlers, Inbox
from services.chassis.metrics import Metrics
from services.chassis.migrations import OWN, migrate
from services.chassis.relay import Relay
from services.chassis.schedule import Scheduler, TaskHandler
from services.chassis.web import api

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Mapping, Sequence
    from pathlib import Path

    from fastapi import APIRouter, FastAPI

    from services.chassis.auth import Tokens
    from services.chassis.clock import ProgramClock
    from services.chassis.metrics import Metric
    from services.chassis.replay import Rebuilding
    from services.chassis.settings import Settings


STOP_SECONDS = 5.0
"""What the relay is given to end its batch."""


@dataclass(frozen=True)
class Runtime:
    """What a service is given by whoever runs it."""

    settings: Settings
    kafka_bootstrap: str
    postgres_dsn: str
    clock: ProgramClock
    tokens: Tokens


@dataclass(frozen=True)
class Subscription:
    """Topics that feed one inbox under one consumer group."""

    topics: tuple[str, ...]
    group: str
    inbox: Inbox


@dataclass
class Service:
    """One service. Its `app.py` says what it is made of; everything that runs is here."""

    name: str
    runtime: Runtime
    router: APIRouter
    migrations: Path
    topics: Sequence[str] = ()
    """Event topics that `handlers` listen to, under the group named like the service."""
    handlers: Handlers = field(default_factory=Handlers)
    own: Handlers = field(default_factory=Handlers)
    """What the service's own events left in its projection: never consumed, applied by a replay."""
    rebuilding: Rebuilding | None = None
    """How a replay rebuilds the projection, where it is not by `handlers` and `own`."""
    subscriptions: Sequence[Subscription] = ()
    """Further inboxes: signed commands, the ledger's."""
    tasks: Mapping[str, TaskHandler] = field(default_factory=dict)
    """What the schedule may run, by kind."""
    loops: Sequence[Callable[[Service], Coroutine[Any, Any, None]]] = ()
    """Work that goes on while the service runs, e.g. deliveries."""
    measures: Mapping[Metric, str] = field(default_factory=dict)
    """Gauges of this service alone, as `services.chassis.health.MEASURES` has those of all."""
    forget: erasure.Forget | None = None
    """What erasing a person takes here besides emptying what is private."""
    attest: erasure.Attest | None = None
    """The signed receipt for an erasure."""
    prepare: Callable[[Service], Coroutine[Any, Any, None]] | None = None
    """Runs once after the migrations, before anything is consumed or served."""

    def __post_init__(self) -> None:
        """Put the parts together without starting any."""
        settings = self.runtime.settings
        self.settings: Any = settings
        self.clock = self.runtime.clock
        self.tokens = self.runtime.tokens
        self.metrics = Metrics(self.name)
        self.progress = health.Progress()
        self.database = Database(
            self.runtime.postgres_dsn,
            settings.database_prefix + self.name,
            self.clock,
            metrics=self.metrics,
            pool_size=settings.pool_size,
        )
        self.relay = Relay(self.database, self.runtime.kafka_bootstrap, poll_seconds=settings.poll_seconds)
        self.scheduler = Scheduler(self.database, self.clock, self.tasks, poll=settings.poll_seconds)
        self.broker = consumer.Reader(self.runtime.kafka_bootstrap, self.name)
        own = [Subscription(tuple(self.topics), self.name, EventInbox(self.handlers, self.name))] if self.topics else []
        self.consumers = [
            consumer.Consumer(self.broker, s.topics, s.group, s.inbox, self.database, settings)
            for s in (*own, *self.subscriptions)
        ]
        self.app: FastAPI = api(self)
        self.app.include_router(dead_letters.router)
        self.app.include_router(erasure.router)
        self.app.include_router(health.router(self))
        self._relaying: asyncio.Task[None] | None = None
        self._running: list[asyncio.Task[None]] = []

    async def migrate(self) -> list[str]:
        """Create the database if missing and apply what its schema lacks."""
        await self.database.create()
        connection = await self.database.connect(patient=True)
        try:
            return await migrate(connection, OWN, self.migrations)
        finally:
            await connection.close()

    async def start(self) -> None:
        """Migrate, then start relay, consumers, schedule and loops."""
        with bound_contextvars(service=self.name):  # in the log lines of all that is started
            await self._start()

    async def _start(self) -> None:
        await self.migrate()
        await self.database.open()
        self.database.on_recorded = self.relay.wake
        if self.prepare is not None:
            await self.prepare(self)
        await self.broker.start()
        self._relaying = asyncio.create_task(self.relay.run(), name=f"{self.name}:relay")
        self._running = [
            asyncio.create_task(work, name=f"{self.name}:{name}")
            for name, work in (
                ("schedule", self.scheduler.run()),
                ("loop", health.watch_loop(self.metrics)),
                ("answers", idempotency.keep_forgetting(self.database)),
                *((f"retry:{c.group}", c.keep_retrying(self.settings.poll_seconds)) for c in self.consumers),
                *((f"poll:{c.group}", c.keep_polling(self.settings.poll_seconds)) for c in self.consumers),
                *((loop.__name__, loop(self)) for loop in self.loops),
            )
        ]

    async def stop(self) -> None:
        """Let batches under way end, then stop everything."""
        await asyncio.gather(*(c.stop() for c in self.consumers))
        await self.broker.stop()
        self.relay.stop()
        ending = [self._relaying] if self._relaying else []
        if ending:
            await asyncio.wait(ending, timeout=STOP_SECONDS)
        for task in (*self._running, *ending):
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task
        await self.database.close()

    async def ready(self) -> dict[str, bool]:
        """Which of the parts that this service needs answer now."""
        try:
            async with asyncio.timeout(2):
                database = bool(await self.database.pool.fetchval("select true"))
        except Exception:  # noqa: BLE001  (whatever is wrong, it is not ready)
            database = False
        assigned = all(
            c.subscriber.consumer is not None and bool(c.subscriber.consumer.assignment()) for c in self.consumers
        )
        return {
            "database": database,
            "broker": await health.reachable(self.runtime.kafka_bootstrap),
            "consumers": assigned,
            "breaker": not any(c.breaker.stopped for c in self.consumers),
            "loops": all(t and not t.done() for t in (self._relaying, *self._running)),
        }
