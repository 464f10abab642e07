"""Replay: schema `projection` of a service, rebuilt from the ledger's feed beside the live one, and compared with it.

The live tables are copied at one instant, together with the last sequence per (source, subject) that had taken effect
in them. Just these events are then taken from the feed, whatever order it has within sequence and cause, into a scratch
database that is migrated like the live one. So a service that goes on meanwhile compares equal, too. What applies an
event is what applied it live, but for reactions: a replay records nothing, asks no clock, sends nothing.
"""

from __future__ import annotations

import asyncio
import secrets
from contextlib import asynccontextmanager
from dataclasses import dataclass
from itertools import count
from typing import TYPE_CHECKING, Any, NoReturn

import asyncpg

from schemas.envelope import Envelope, parse
from schemas.topics import EVENT_TOPICS
from services.chassis.comparison import Table, columns, compare
from services.chassis.database import Database, Tx
from services.chassis.inbox import EventInbox, Inbox, isolate
from services.chassis.migrations import OWN, migrate
from services.chassis.record import Record

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from datetime import datetime
    from pathlib import Path

    from schemas.envelope import Event
    from services.chassis.feed import Feed
    from services.chassis.service import Service

PATIENCE = 30.0
"""Seconds that the ledger is given to log what the service has already taken."""
SHOWN = 5
WIDE = 160
_POLL = 0.5
_CHUNKS = 8

TAKEN = """
select source, subject, sequence from chassis.mark
union all select '/{service}', subject, sequence from chassis.aggregate
"""


class ReplayError(RuntimeError):
    """What keeps a replay from beginning, and what to do."""


@dataclass(frozen=True)
class Rebuilding:
    """How a projection follows from the feed: what takes the records, and which of them the live one has taken."""

    inbox: Inbox
    taken: str
    """SQL on the live database: (source, subject, sequence), the last of each that took effect, counted from 1."""

    @classmethod
    def of(cls, service: Service) -> Rebuilding:
        """The service's own way, or what its handlers keep of the events that its marks say it has."""
        inbox = EventInbox(service.handlers.keeping(service.own))
        return service.rebuilding or cls(inbox, TAKEN.format(service=service.name))


@dataclass(frozen=True)
class Report:
    """What a replay came to."""

    service: str
    events: int
    """Applied."""
    lacking: int
    """Events that the live projection has taken and the ledger did not have, even after a while."""
    stuck: list[str]
    """Events that could not be applied, the first few, with the reason."""
    tables: list[Table]
    database: str | None
    """The scratch database, where it was kept: schema `projection` beside `live`."""

    @property
    def equal(self) -> bool:
        """Whether the rebuilt projection is the live one."""
        return not self.lacking and not self.stuck and not any(table.differences for table in self.tables)

    def as_json(self) -> dict[str, Any]:
        """The same for machines."""
        tables = [table.as_json() for table in self.tables]
        return {"service": self.service, "equal": self.equal, "events": self.events, "lacking": self.lacking} | {
            "stuck": self.stuck,
            "tables": tables,
            "database": self.database,
        }

    def as_text(self) -> str:
        """The same for people."""
        lines = [f"{self.service}: {self.events:,} events applied", ""]
        width = max([5, *(len(table.name) for table in self.tables)])
        lines.append(f"  {'table':{width}}  {'live':>10}  {'replayed':>10}  {'differences':>11}")
        for table in self.tables:
            lines.append(f"  {table.name:{width}}  {table.live:>10,}  {table.replayed:>10,}  {table.differences:>11,}")
            for one in table.shown:
                key = " ".join(f"{name}={value}" for name, value in one.key.items())
                lines.append(f"    {key}: live {_short(one.live)}, replayed {_short(one.replayed)}")
        lines.append("")
        if self.lacking:
            lines.append(f"The ledger lacks {self.lacking:,} events that the service has")
        lines += [f"Not applied: {one}" for one in self.stuck]
        if self.database:
            lines.append(f"Kept: database {self.database}, schemas projection (replayed) and live")
        lines.append("NO DIFFERENCE" if self.equal else "NOT EQUAL")
        return "\n".join(lines)


async def replay(
    service: Service,
    feed: Feed,
    *,
    keep: bool = False,
    progress: Callable[[int, int], None] = lambda _applied, _expected: None,
    patience: float = PATIENCE,
) -> Report:
    """Rebuild and compare. `service` need not run; `progress(applied, expected)` is called after every page."""
    scratch, rebuilding = Scratch(service.database), Rebuilding.of(service)
    await scratch.create()
    try:
        await scratch.prepare(service.migrations, rebuilding.taken)
        run = _Run(scratch, rebuilding.inbox, progress)
        await run.follow(feed, patience)
        tables = await scratch.compare()
        stuck = await scratch.pool.fetch(_STUCK, SHOWN)
        return Report(
            service=service.name,
            events=run.applied,
            lacking=run.expected - run.applied,
            stuck=[row["said"] for row in stuck],
            tables=tables,
            database=scratch.name if keep else None,
        )
    finally:
        await scratch.close()
        if not keep:
            await scratch.drop()


def _short(row: dict[str, Any] | None) -> str:
    if row is None:
        return "lacks it"
    text = ", ".join(f"{name}={value!r}" for name, value in row.items())
    return text if len(text) <= WIDE else text[:WIDE] + "…"


_STUCK = """
select format('%s %s of %s: %s', source, sequence, subject, reason) as said from chassis.parked
order by sequence, source, subject limit $1
"""


class _Run:
    """The feed on its way into the scratch database."""

    def __init__(self, scratch: Scratch, inbox: Inbox, progress: Callable[[int, int], None]) -> None:
        self.applied = 0
        self.expected = 0
        self._seen = 0
        self._scratch = scratch
        self._inbox = inbox
        self._progress = progress

    async def follow(self, feed: Feed, patience: float) -> None:
        """Take every event of the cut, waiting for the ledger as long as `patience` lasts."""
        self.expected = await self._scratch.pool.fetchval("select coalesce(sum(sequence), 0)::bigint from replay.cut")
        cursor, until = 0, asyncio.get_running_loop().time() + patience
        while True:
            async for page in feed.pages(cursor):
                await self._take([parse(record) for record in page.records], page.records)
                cursor = page.cursor
                self._progress(self.applied, self.expected)
            if self.applied >= self.expected or asyncio.get_running_loop().time() > until:
                return
            await asyncio.sleep(_POLL)

    async def _take(self, envelopes: list[Envelope], values: list[bytes]) -> None:
        cut = await self._scratch.cut({envelope.key for envelope in envelopes})
        chosen = [
            _record(envelope, value, number)
            for number, envelope, value in zip(count(self._seen), envelopes, values, strict=False)
            if envelope.sequence <= cut.get(envelope.key, 0)
        ]
        self._seen += len(values)
        if not chosen:
            return
        async for piece, fates in isolate(self._scratch, self._inbox, chosen):
            for record, fate in zip(piece, fates, strict=True):
                if isinstance(fate, Exception):
                    async with self._scratch.transaction() as tx:
                        await self._inbox.set_aside(tx, record, fate)
        await self._inbox.retry(self._scratch)
        self.applied += len(chosen)


def _record(envelope: Envelope, value: bytes, offset: int) -> Record:
    topic = EVENT_TOPICS[envelope.source.removeprefix("/")].name
    return Record(topic, 0, offset, envelope.subject.encode(), value, 0)


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
