"""Once only: which events take effect, which are duplicates, and which must wait.

Per (source, subject) a mark holds the last `sequence` that took effect, moved in the effect's own transaction. A
lower number is a duplicate; a gap is *not yet*, and so is a handler's `NotYetError`: the event and all later ones of
its key wait in `chassis.parked` and are tried again. A record that cannot be read or applied is *poison*: parked with
its reason and not retried by itself; later events of its key wait for it. Types without a handler only move the mark.
Whatever comes in comes without openings that were erased (`erased`).
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from time import monotonic, perf_counter
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from schemas.envelope import Envelope, Event, Header, UnreadableError, parse, read
from schemas.versions import split
from services.chassis import erased
from services.chassis.breaker import Fate
from services.chassis.failures import NotYetError, RacedError, transient
from services.chassis.metrics import HANDLER_SECONDS, PROCESS_SECONDS
from services.chassis.observed import about
from services.chassis.parking import condemn, park, park_poison, reason_of, record_of
from services.chassis.record import Record, envelope_of, read_ahead, reading

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from services.chassis.database import Connection, Database, Tx

E = TypeVar("E", bound=Event)
Handler = Callable[["Tx", Any, Header], Awaitable[None]]

LOOK_SECONDS = 2.0
"""Between two looks for what another process of this service left waiting: it may have ended, or be an older one."""


_ATTRIBUTES = tuple(Header.model_fields)


class Inbox(Protocol):
    """What a consumer hands its records to."""

    parks: bool
    """Whether what fails is parked and counts for the breaker. Commands neither park nor count."""

    async def read(self, records: list[Record]) -> list[Record]:
        """The same, with what can be made of each without the database, while an earlier batch is applied.

        `process` takes records that were read and such that were not.
        """
        ...

    async def process(self, tx: Tx, records: list[Record]) -> Sequence[Fate | Exception]:
        """Apply a whole batch in `tx`; returns per record what became of it, or why it can never take effect.

        An exception that is not transient makes the consumer isolate the record that raised it.
        """
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
        self._reactions: dict[str, Handler] = {}
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

    def then(
        self, model: type[E]
    ) -> Callable[[Callable[[Tx, E, Header], Awaitable[None]]], Callable[[Tx, E, Header], Awaitable[None]]]:
        """Register what the service does because of an event: what it decides and records, schedules or sends.

        It runs behind what `on` registered (which only keeps what the event says), and a replay leaves it out.
        """

        def register(react: Callable[[Tx, E, Header], Awaitable[None]]) -> Callable[[Tx, E, Header], Awaitable[None]]:
            name, _ = split(model.TYPE)
            if self._handled.setdefault(name, model.TYPE) != model.TYPE or model.TYPE in self._reactions:
                message = f"{self._handled[name]} has a reaction already, or is handled in another version"
                raise ValueError(message)
            self._reactions[model.TYPE] = react
            return react

        return register

    def steps(self, handled: str) -> list[Handler]:
        """What runs for an event that is handled as this type, in order."""
        return [step for step in (self.by_type.get(handled), self._reactions.get(handled)) if step is not None]

    def keeping(self, own: Handlers) -> Handlers:
        """What a replay applies: the same without reactions, and what the service's `own` events left."""
        both = Handlers()
        both.by_type = self.by_type | own.by_type
        both._handled = self._handled | own._handled
        return both

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

    parks = True

    def __init__(self, handlers: Handlers, group: str | None = None) -> None:
        """`group` names the topics of the dead letters; without it poison is parked only."""
        self._handlers = handlers
        self._group = group
        self._waiting = True  # until the table was looked at
        self._look_at = 0.0
        self._lock = asyncio.Lock()

    async def read(self, records: list[Record]) -> list[Record]:
        """Each with its envelope."""
        return await read_ahead(records, envelope_of)

    async def process(self, tx: Tx, records: list[Record]) -> list[Fate | Exception]:
        """Apply the batch in the order of its records. Behind a record that fails, those of its key find a gap."""
        records, _ = await erased.let_in(tx.db, records)
        fates: list[Fate | Exception] = [Fate.NOTHING] * len(records)
        events: list[tuple[int, Envelope]] = []
        for number, record in enumerate(records):
            found = reading(record, envelope_of)
            if isinstance(found, ValueError):
                fates[number] = found
            else:
                events.append((number, found))
        marks = await read_marks(tx.db, {envelope.key for _, envelope in events})
        before = dict(marks)
        for number, envelope in events:
            mark = marks.get(envelope.key, 0)
            if envelope.sequence <= mark:
                continue
            if early := self._early(envelope, mark):
                await self._park(tx, records[number], envelope, early)
                continue
            try:
                event = self._read(envelope)
            except UnreadableError as error:
                fates[number] = error
                continue
            await self._apply(tx, records[number], envelope, event)
            marks[envelope.key] = envelope.sequence
            fates[number] = Fate.EFFECT
        await move_marks(tx.db, before, marks)
        return fates

    def _early(self, envelope: Envelope, mark: int) -> str | None:
        """Why an event must wait, as far as that is known before its handler runs."""
        if envelope.sequence > mark + 1:
            return f"sequence {mark + 1} is not here yet"
        try:
            self._handlers.handled_as(envelope.type)
        except NotYetError as error:
            return str(error)
        return None

    def _read(self, envelope: Envelope) -> Event | None:
        """The event as it is handled; None for a type that only moves the mark."""
        handled = self._handlers.handled_as(envelope.type)
        return None if handled is None else read(envelope, handled)

    async def _apply(self, tx: Tx, record: Record, envelope: Envelope, event: Event | None) -> None:
        if event is None:
            return
        tx.cause = envelope.id
        # A header of its own: an envelope would pass for one, and take its data along to wherever a handler keeps it.
        header = Header.model_construct(**{name: getattr(envelope, name) for name in _ATTRIBUTES})
        began = perf_counter()
        with about(record, envelope):
            for step in self._handlers.steps(event.TYPE):
                await step(tx, event, header)
        tx.note(HANDLER_SECONDS, perf_counter() - began, type=event.TYPE)

    async def set_aside(self, tx: Tx, record: Record, error: Exception) -> None:
        """Park a record that failed alone: to wait if it is only early, as poison otherwise."""
        record = await erased.set_down(tx.db, record)
        if isinstance(error, NotYetError):
            await self._park(tx, record, envelope_of(record), reason_of(error))
        else:
            await park_poison(tx, record, error, self._group)

    async def _park(self, tx: Tx, record: Record, envelope: Envelope, reason: str) -> None:
        self._waiting = True
        await park(tx, record, envelope, "not_yet", reason)

    async def retry(self, database: Database) -> None:
        """Apply every waiting event whose turn has come, until none moves, in a transaction each."""
        if not self._waiting and monotonic() < self._look_at:
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
            self._look_at = monotonic() + LOOK_SECONDS

    async def _retry_one(self, database: Database, row: Any) -> bool:  # noqa: ANN401  (a row of _DUE)
        record = record_of(row)
        place = (record.topic, record.partition, record.offset)
        try:
            async with database.transaction() as tx:
                # Whoever deletes the row owns the attempt: a second process finds nothing.
                found = await tx.db.execute(
                    "delete from chassis.parked where topic = $1 and part = $2 and position = $3", *place
                )
                (record,), _ = await erased.let_in(tx.db, [record])
                envelope = parse(record.value or b"")
                marks = await read_marks(tx.db, {envelope.key})
                if found == "DELETE 0" or envelope.sequence <= marks.get(envelope.key, 0):
                    return True
                await self._apply(tx, record, envelope, self._read(envelope))
                await move_marks(tx.db, marks, {**marks, envelope.key: envelope.sequence})
        except NotYetError as error:
            await database.pool.execute(
                "update chassis.parked set attempts = attempts + 1, reason = $4"
                " where topic = $1 and part = $2 and position = $3",
                *place,
                reason_of(error),
            )
            return False
        except Exception as error:
            if transient(error):
                raise
            async with database.transaction() as tx:
                await condemn(tx, record, error, self._group)
            return False
        return True


async def isolate(
    database: Database, inbox: Inbox, records: list[Record], group: str = ""
) -> AsyncIterator[tuple[list[Record], Sequence[Fate | Exception]]]:
    """Hand over a batch in one transaction; after a failure its halves in one each, and so on, down to what is bad.

    Yields the pieces in order with what became of their records. Raises what is transient. With `group` each piece that
    is committed is timed.
    """
    pending = [records]
    while pending:
        piece = pending.pop()
        fates: Sequence[Fate | Exception]
        try:
            async with database.transaction() as tx:
                began = perf_counter()
                fates = await inbox.process(tx, piece)
                if group:
                    tx.note(PROCESS_SECONDS, perf_counter() - began, group=group)
        except Exception as error:
            if transient(error):
                raise
            if len(piece) > 1:
                half = len(piece) // 2
                pending += [piece[half:], piece[:half]]
                continue
            fates = [error]
        yield piece, fates


_DUE = """
select p.* from chassis.parked p
left join chassis.mark m using (source, subject)
where p.kind = 'not_yet' and p.sequence <= coalesce(m.sequence, 0) + 1
order by p.parked_at, p.topic, p.part, p.position limit 1000
"""


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
