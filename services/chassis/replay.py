"""Replay: schema `projection` of a service, rebuilt from the ledger's feed beside the live one, and compared with it.

The live tables are copied at one instant, together with the last sequence per (source, subject) that had taken effect
in them. Just these events are then taken from the feed, whatever order it has within sequence and cause, into a scratch
database that is migrated like the live one. So a service that goes on meanwhile compares equal, too. What applies an
event is what applied it live, but for reactions: a replay records nothing, asks no clock, sends nothing.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from itertools import count
from typing import TYPE_CHECKING, Any

import asyncpg

from schemas.envelope import Envelope, parse
from schemas.topics import EVENT_TOPICS
from services.chassis.comparison import Table
from services.chassis.inbox import EventInbox, Inbox, isolate
from services.chassis.record import Record
from services.chassis.scratch import ReplayError, Scratch

if TYPE_CHECKING:
    from collections.abc import Callable

    from services.chassis.feed import Feed
    from services.chassis.service import Service

PATIENCE = 30.0
"""Seconds that the ledger is given to log what the service has already taken."""
SHOWN = 5
WIDE = 160
_POLL = 0.5

TAKEN = """
select source, subject, sequence from chassis.mark
union all select '/{service}', subject, sequence from chassis.aggregate
"""


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
        lines = [f"{self.service}, events applied: {self.events:,}", ""]
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
    try:
        await scratch.create()
    except (OSError, asyncpg.PostgresError) as error:
        reason = str(error) or repr(error)
        raise ReplayError(
            f"no database can be made beside {service.database.name} ({reason}): PostgreSQL must run, and"
            " CEC_POSTGRES_DSN name a role that may create databases"
        ) from error
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
