"""Where a replay works: a database of its own beside a live one, in which nothing can be recorded or asked of a clock.

It is migrated like the live one. The schema `live` holds a copy of the live projection as it stood at one instant, and
`replay.cut` up to which sequence per (source, subject) events had taken effect in it then.
"""

from __future__ import annotations

import asyncio
import secrets
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, NoReturn

import asyncpg

from services.chassis.comparison import Table, columns, compare
from services.chassis.database import Database, Tx
from services.chassis.migrations import OWN, migrate

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from datetime import datetime
    from pathlib import Path

    from schemas.envelope import Event

_CHUNKS = 8


class ReplayError(RuntimeError):
    """What keeps a replay from beginning, and what to do."""


class Scratch(Database):
    """A database of its own beside a live one: migrated like it, with its tables copied into the schema `live`."""

    def __init__(self, live: Database) -> None:
        super().__init__(live.dsn, f"{live.name}_replay_{secrets.token_hex(4)}", _NoClock())
        self._live = live
        self._tables: list[str] = []

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[Tx]:
        """One transaction, in which nothing can be recorded."""
        async with self.pool.acquire() as connection, connection.transaction():
            yield _Replaying(connection, self.clock)

    async def prepare(self, migrations: Path, taken: str) -> None:
        """Migrate, and copy the live projection with the cut at which it stands."""
        try:
            live = await self._live.connect(patient=True)
        except asyncpg.InvalidCatalogNameError as error:
            raise ReplayError(f"there is no database {self._live.name}: run `cec up` or `cec migrate` first") from error
        here = await self.connect(patient=True)
        try:
            await migrate(here, OWN, migrations)
            await here.execute(_CUT)
            async with live.transaction(isolation="repeatable_read", readonly=True):
                await self._copy_live(live, here)
                await _copy(live, taken, here, "replay", "cut", ("source", "subject", "sequence"))
            await here.execute("analyze")
        finally:
            await here.close()
            await live.close()
        await self.open()

    async def _copy_live(
        self, live: asyncpg.Connection[asyncpg.Record], here: asyncpg.Connection[asyncpg.Record]
    ) -> None:
        tables = await columns(here, "projection")
        if await columns(live, "projection") != tables:
            raise ReplayError(f"{self._live.name} has another schema than this version's: run `cec migrate` first")
        for table, its in tables.items():
            await here.execute(f'create table live."{table}" (like projection."{table}")')
            names = tuple(name for name, _ in its)
            listed = ", ".join(f'"{name}"' for name in names)
            await _copy(live, f'select {listed} from projection."{table}"', here, "live", table, names)  # noqa: S608  (names of our own tables)
        self._tables = list(tables)

    async def cut(self, keys: set[tuple[str, str]]) -> dict[tuple[str, str], int]:
        """Up to which sequence the live projection has taken each of `keys`."""
        rows = await self.pool.fetch(
            "select source, subject, sequence from replay.cut"
            " join unnest($1::text[], $2::text[]) as k (source, subject) using (source, subject)",
            [source for source, _ in keys],
            [subject for _, subject in keys],
        )
        return {(row["source"], row["subject"]): row["sequence"] for row in rows}

    async def compare(self) -> list[Table]:
        """Every table of the projection, live and replayed."""
        here = await self.connect(patient=True)
        try:
            return await compare(here, self._tables, live="live", replayed="projection")
        finally:
            await here.close()

    async def drop(self) -> None:
        """Leave nothing behind."""
        connection = await asyncpg.connect(self.dsn)
        try:
            await connection.execute(f'drop database if exists "{self.name}" with (force)')
        finally:
            await connection.close()


_CUT = """
create schema live;
create schema replay;
create table replay.cut (
    source text collate "C", subject text collate "C", sequence bigint not null, primary key (source, subject)
);
"""


async def _copy(
    live: asyncpg.Connection[asyncpg.Record],
    query: str,
    here: asyncpg.Connection[asyncpg.Record],
    schema: str,
    table: str,
    names: tuple[str, ...],
) -> None:
    """Stream a query's rows into a table, a few chunks at a time."""
    chunks: asyncio.Queue[bytes | None] = asyncio.Queue(_CHUNKS)

    async def source() -> AsyncIterator[bytes]:
        while (chunk := await chunks.get()) is not None:
            yield chunk

    async with asyncio.TaskGroup() as group:
        group.create_task(
            here.copy_to_table(table, source=source(), columns=names, schema_name=schema, format="binary")
        )
        await live.copy_from_query(query, output=chunks.put, format="binary")
        await chunks.put(None)


class _Replaying(Tx):
    """A transaction of a replay: a handler that would publish is a mistake in its service, shown as its event's."""

    def record(self, event: Event, *, cause: str | None = None) -> NoReturn:  # noqa: ARG002  (as a transaction is called)
        """Refuse."""
        raise ReplayError(f"{event.TYPE} would be recorded: what a service does about an event belongs in a reaction")


class _NoClock:
    """Refuses to tell the time: what a projection holds follows from events alone."""

    def now(self) -> datetime:
        """Refuse."""
        raise ReplayError("a projection does not depend on the time of its replay: take the event's")
