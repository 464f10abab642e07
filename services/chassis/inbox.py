"""Once only: which events take effect, which are duplicates, and which must wait.

Per (source, subject) a mark holds the last `sequence` that took effect, moved in the effect's own transaction. A
lower number is a duplicate; a gap is *not yet*, and so is a handler's `NotYetError`: the event and all later ones of
its key wait in `chassis.parked` and are tried again. A record that cannot be read is *poison*: parked with its reason
and never retried by itself. Types without a handler only move the mark.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

import structlog

from schemas.envelope import RECORD_LIMIT, Envelope, Event, Header, UnreadableError, parse, read
from schemas.versions import split
from services.chassis.failures import NotYetError, RacedError, transient

if TYPE_CHECKING:
    from services.chassis.database import Connection, Database, Tx

E = TypeVar("E", bound=Event)
Handler = Callable[["Tx", Any, Header], Awaitable[None]]

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Record:
    """A record as the broker gave it."""

    topic: str
    partition: int
    offset: int
    key: bytes | None
    value: bytes | None
    timestamp_ms: int
    headers: tuple[tuple[str, bytes | None], ...] = ()

    @property
    def arrived(self) -> datetime:
        """When the broker took it (LogAppendTime), or when its producer made it, as the topic is set."""
        return datetime.fromtimestamp(self.timestamp_ms / 1000, UTC)


class Inbox(Protocol):
    """What a consumer hands its records to."""

    async def process(self, tx: Tx, records: list[Record]) -> None:
        """Apply a whole batch in `tx`; any exception that is not transient makes the consumer go record by record."""
        ...

    async def set_aside(self, tx: Tx, record: Record, error: Exception) -> None:
        """Keep a record that failed alone."""
        ...

    async def retry(self, database: Database) -> None:
        """Try again what waits."""
        ...


class Handlers:
    """The event types that a service reacts to, each with its one handler: for the newest version that it knows."""

    def __init__(self) -> None:
        self.by_type: dict[str, Handler] = {}
        self._handled: dict[str, str] = {}
        """The handled version of a type, by the type's name without the version."""

    def on(
        self, model: type[E]
    ) -> Callable[[Callable[[Tx, E, Header], Awaitable[None]]], Callable[[Tx, E, Header], Awaitable[None]]]:
        """Register `async def effect(tx, event, header)` for an event type."""

        def register(handler: Callable[[Tx, E, Header], Awaitable[None]]) -> Callable[[Tx, E, Header], Awaitable[None]]:
            name, _ = split(model.TYPE)
            if name in self._handled:
                message = f"{self._handled[name]} has a handler already: older events come as what it takes"
                raise ValueError(message)
            self._handled[name] = model.TYPE
            self.by_type[model.TYPE] = handler
            return handler

        return register

    def handled_as(self, event_type: str) -> str | None:
        """The type as which an event is handled: its own or a later version's; None where nothing here reacts to it.

        NotYetError for a version that is newer than the handled one: a rolling upgrade is under way, and skipping the
        event would lose it.
        """
        name, version = split(event_type)
        handled = self._handled.get(name)
        if handled is not None and version > split(handled)[1]:
            message = f"{event_type} is newer than {handled}, which this service handles"
            raise NotYetError(message)
        return handled


class EventInbox:
    """The inbox of a service that handles some event types of some topics."""

    def __init__(self, handlers: Handlers) -> None:
        self._handlers = handlers
        self._waiting = True  # until the table was looked at
        self._lock = asyncio.Lock()

    async def process(self, tx: Tx, records: list[Record]) -> None:
        """Apply the batch in the order of its records."""
        events: list[tuple[Record, Envelope]] = []
        for record in records:
            try:
                events.append((record, envelope_of(record)))
            except UnreadableError as error:
                await self.set_aside(tx, record, error)
        marks = await read_marks(tx.db, {envelope.key for _, envelope in events})
        before = dict(marks)
        for record, envelope in events:
            mark = marks.get(envelope.key, 0)
            if envelope.sequence <= mark:
                continue
            if early := self._early(envelope, mark):
                await self._park(tx, record, envelope, "not_yet", early)
                continue
            await self._apply(tx, envelope)
            marks[envelope.key] = envelope.sequence
        await move_marks(tx.db, before, marks)

    def _early(self, envelope: Envelope, mark: int) -> str | None:
        """Why an event must wait, as far as that is known before its handler runs."""
        if envelope.sequence > mark + 1:
            return f"sequence {mark + 1} is not here yet"
        try:
            self._handlers.handled_as(envelope.type)
        except NotYetError as error:
            return str(error)
        return None

    async def _apply(self, tx: Tx, envelope: Envelope) -> None:
        handled = self._handlers.handled_as(envelope.type)
        if handled is None:
            return
        tx.cause = envelope.id
        event = read(envelope, handled)
        await self._handlers.by_type[handled](tx, event, Header.model_validate(envelope, from_attributes=True))

    async def set_aside(self, tx: Tx, record: Record, error: Exception) -> None:
        """Park a record that failed alone: to wait if it is only early, as poison otherwise."""
        if not isinstance(error, NotYetError):
            await park_poison(tx, record, error)
            return
        await self._park(tx, record, envelope_of(record), "not_yet", _reason(error))

    async def _park(self, tx: Tx, record: Record, envelope: Envelope | None, kind: str, reason: str) -> None:
        self._waiting = True
        await park(tx, record, envelope, kind, reason)

    async def retry(self, database: Database) -> None:
        """Apply every waiting event whose turn has come, until none moves, in a transaction each."""
        if not self._waiting:
            return
        async with self._lock:
            moved = True
            while moved:
                moved = False
                for row in await database.pool.fetch(_DUE):
                    moved |= await self._retry_one(database, row)
            self._waiting = bool(
                await database.pool.fetchval("select exists (select from chassis.parked where kind = 'not_yet')")
            )

    async def _retry_one(self, database: Database, row: Any) -> bool:  # noqa: ANN401  (a row of _DUE)
        place = (row["topic"], row["part"], row["position"])
        try:
            async with database.transaction() as tx:
                # Whoever deletes the row owns the attempt: a second process finds nothing.
                found = await tx.db.execute(
                    "delete from chassis.parked where topic = $1 and part = $2 and position = $3", *place
                )
                envelope = parse(row["record"])
                marks = await read_marks(tx.db, {envelope.key})
                if found == "DELETE 0" or envelope.sequence <= marks.get(envelope.key, 0):
                    return True
                await self._apply(tx, envelope)
                await move_marks(tx.db, marks, {**marks, envelope.key: envelope.sequence})
        except Exception as error:
            if transient(error):
                raise
            kind = "not_yet" if isinstance(error, NotYetError) else "poison"
            await database.pool.execute(
                "update chassis.parked set attempts = attempts + 1, kind = $4, reason = $5"
                " where topic = $1 and part = $2 and position = $3",
                *place,
                kind,
                _reason(error),
            )
            return False
        return True


async def park_poison(tx: Tx, record: Record, error: Exception) -> None:
    """Keep a record that no retry will mend, with its reason, and say so in the log."""
    try:
        envelope = envelope_of(record)
    except UnreadableError:
        envelope = None
    log.error("poison record parked", topic=record.topic, position=record.offset, reason=_reason(error))
    await park(tx, record, envelope, "poison", _reason(error))


async def park(tx: Tx, record: Record, envelope: Envelope | None, kind: str, reason: str) -> None:
    """Keep a record in `chassis.parked`; one that is there already stays as it is."""
    await tx.db.execute(
        """
        insert into chassis.parked
            (topic, part, position, kind, source, subject, sequence, reason, record_key, record, headers, arrived_at)
        values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12) on conflict do nothing
        """,
        record.topic,
        record.partition,
        record.offset,
        kind,
        envelope and envelope.source,
        envelope and envelope.subject,
        envelope and envelope.sequence,
        reason,
        record.key,
        record.value,
        # A header may have no value, and PostgreSQL's text no NUL: neither may stop the partition.
        [[name.replace("\0", "\ufffd"), None if value is None else value.hex()] for name, value in record.headers],
        record.arrived,
    )


def _reason(error: Exception) -> str:
    return (str(error) or repr(error))[:500].replace("\0", "\ufffd")


_DUE = """
select p.topic, p.part, p.position, p.record from chassis.parked p
left join chassis.mark m using (source, subject)
where p.kind = 'not_yet' and p.sequence <= coalesce(m.sequence, 0) + 1
order by p.parked_at, p.topic, p.part, p.position limit 1000
"""


def envelope_of(record: Record) -> Envelope:
    """The record's event; UnreadableError also where the record's key is not the event's subject."""
    if len(record.value or b"") > RECORD_LIMIT:
        message = f"the record has more than {RECORD_LIMIT:,} bytes"
        raise UnreadableError(message)
    envelope = parse(record.value or b"")
    if record.key != envelope.subject.encode():
        message = "the record's key is not the event's subject"
        raise UnreadableError(message)
    return envelope


async def read_marks(db: Connection, keys: set[tuple[str, str]]) -> dict[tuple[str, str], int]:
    """The marks of `keys`; a key without one is absent."""
    if not keys:
        return {}
    rows = await db.fetch(
        "select source, subject, sequence from chassis.mark"
        " join unnest($1::text[], $2::text[]) as k (source, subject) using (source, subject)",
        [source for source, _ in keys],
        [subject for _, subject in keys],
    )
    return {(row["source"], row["subject"]): row["sequence"] for row in rows}


async def move_marks(db: Connection, before: dict[tuple[str, str], int], after: dict[tuple[str, str], int]) -> None:
    """Write the marks that moved; RacedError if any of them is no longer what it was read as."""
    moved = sorted((*key, mark, before.get(key, 0)) for key, mark in after.items() if mark != before.get(key, 0))
    if not moved:
        return
    sources, subjects, marks, previous = zip(*moved, strict=True)
    done = await db.fetch(
        """
        insert into chassis.mark as m (source, subject, sequence, previous)
        select * from unnest($1::text[], $2::text[], $3::bigint[], $4::bigint[])
        on conflict (source, subject) do update set sequence = excluded.sequence, previous = excluded.previous
        where m.sequence = excluded.previous
        returning 1
        """,
        sources,
        subjects,
        marks,
        previous,
    )
    if len(done) != len(moved):
        message = "another consumer moved a mark"
        raise RacedError(message)
