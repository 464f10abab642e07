"""The embedded pair: Apache Kafka and PostgreSQL, started in parallel, kept up, stopped together.

A part for which the caller names an existing one (`kafka_bootstrap`, `postgres_dsn`) is not started.
"""

import asyncio
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Self

from deploy.embedded.kafka import Kafka
from deploy.embedded.part import Part
from deploy.embedded.postgres import Postgres
from deploy.embedded.supervisor import PACE, Pace, Supervisor


class Stack:
    """What a program needs around it. Use it as an async context manager, or call `start` and `stop`."""

    def __init__(
        self,
        var: Path,
        *,
        progress: Callable[[str], None] | None = None,
        parts: Path | None = None,
        durable: bool = True,
        pace: Pace | None = PACE,
        kafka_bootstrap: str | None = None,
        postgres_dsn: str | None = None,
    ) -> None:
        """Data under `var`, fetched jars under `parts` (else `var/parts`).

        `progress` is told what happens in short lines. Not `durable` is faster and loses data with the machine's power:
        for tests and the demo. A part that ends is started again at `pace`; with None it stays down.
        """
        tell = progress or (lambda _: None)
        self.kafka = None if kafka_bootstrap else Kafka(var / "kafka", parts or var / "parts", tell)
        self.postgres = None if postgres_dsn else Postgres(var / "postgres", tell, durable=durable)
        self._supervisor = Supervisor(self.parts, tell, pace) if pace else None
        self._kafka_bootstrap = kafka_bootstrap or ""
        self._postgres_dsn = postgres_dsn or ""

    @property
    def kafka_bootstrap(self) -> str:
        """Host and port of the broker."""
        return self.kafka.bootstrap if self.kafka else self._kafka_bootstrap

    @property
    def postgres_dsn(self) -> str:
        """The superuser's address of the database `postgres`."""
        return self.postgres.dsn if self.postgres else self._postgres_dsn

    @property
    def parts(self) -> list[Part]:
        """The parts that run here."""
        return [part for part in (self.kafka, self.postgres) if part]

    async def start(self) -> None:
        """Start both; if one cannot start, stop the other and raise what the first said."""
        try:
            async with asyncio.TaskGroup() as group:
                for part in self.parts:
                    group.create_task(part.start())
        except ExceptionGroup as problems:
            await self.stop()
            raise problems.exceptions[0] from None
        except BaseException:
            await self.stop()
            raise
        if self._supervisor:
            self._supervisor.start()

    async def stop(self) -> None:
        """Stop both cleanly, within their grace of 10 s each; harmless when they don't run."""
        if self._supervisor:
            await self._supervisor.stop()
        await asyncio.gather(*(part.stop() for part in self.parts))

    async def __aenter__(self) -> Self:
        """Start."""
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop."""
        await self.stop()
