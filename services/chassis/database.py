"""A service's own PostgreSQL database, and the transaction through which its events leave.

`tx.record(event)` is the only way to publish: the sealed event goes to `event_log` and `outbox` in the transaction
that changes the state, so that either both happen or neither. Nothing but this module and the route class commits.
"""

from __future__ import annotations

import asyncio
import os
import re
from collections import Counter
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, Self, TypeAlias, TypeVar

import asyncpg
import orjson

from schemas.envelope import Event, Header, Written, write
from schemas.topics import topic_of
from services.chassis.ids import Drawn, event_id, opaque_id
from services.chassis.metrics import Metrics

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Coroutine
    from datetime import datetime

    from services.chassis.clock import Clock
    from services.chassis.metrics import Metric

T = TypeVar("T")

CONNECT_SECONDS = 10.0
"""For a new connection: a server that takes it and says nothing is away as well."""
ACQUIRE_SECONDS = 10.0
"""For one of the pool to be free; TimeoutError then, so that whoever asks is told to come back."""
COMMAND_SECONDS = 60.0
IDLE_SECONDS = 20.0
"""In a transaction without a command, after which PostgreSQL ends it: a process that stands still, or whose machine is
gone, must not hold its locks any longer. Less than `COMMAND_SECONDS`, for which others wait for them."""
CHUNK = 500
"""Events that are sealed while PostgreSQL writes as many that were before them."""

Connection: TypeAlias = "asyncpg.Connection[asyncpg.Record] | asyncpg.pool.PoolConnectionProxy[asyncpg.Record]"
"""A connection, whether of the pool or not."""

# The aggregate's rows are taken in the order of their ids, so that two transactions never wait for each other.
_SEQUENCES = """
insert into chassis.aggregate as a (subject, sequence)
select * from unnest($1::text[], $2::bigint[]) as t (subject, sequence) order by 1
on conflict (subject) do update set sequence = a.sequence + excluded.sequence
returning subject, sequence
"""
_WRITE = """
with logged as (
    insert into chassis.event_log (id, subject, sequence, type, leaf_hash, leaf)
    select * from unnest($1::text[], $2::text[], $3::bigint[], $4::text[], $5::bytea[], $6::bytea[])
)
insert into chassis.outbox (key, topic, record, traceparent)
select key, topic, record, $9 from unnest($2::text[], $7::text[], $8::bytea[]) with ordinality
    as t (key, topic, record, n) order by n
"""
_PLAIN = re.compile(r"[!-~]{1,200}")
"""Subjects as ids are: fit for a header without a look at its rules."""


class Behind:
    """What a connection does while the loop makes ready what comes next: one piece of work at a time.

    Leaving the block waits for it; an error there or in the block leaves the connection free.
    """

    def __init__(self) -> None:
        self._work: asyncio.Task[Any] | None = None

    async def go(self, work: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        """Start `work` once what went before it has ended."""
        try:
            if self._work is not None:
                await self._work
        except BaseException:
            work.close()
            raise
        self._work = task = asyncio.ensure_future(work)
        await asyncio.sleep(0)
        return task

    async def __aenter__(self) -> Self:
        """Nothing is under way."""
        return self

    async def __aexit__(self, kind: object, *_: object) -> None:
        """Wait for what is."""
        if self._work is None:
            return
        if kind is None:
            await self._work
        else:
            self._work.cancel()
            await asyncio.wait({self._work})


class Tx:
    """One transaction: a connection (`db`) for the store's SQL, and the events that leave with it."""

    def __init__(self, db: Connection, clock: Clock, entropy: Callable[[int], bytes] = os.urandom) -> None:
        self.db = db
        self.clock = clock
        self.cause: str | None = None
        """Id of the event that is being handled; the default cause of what is recorded."""
        self.actor: str | None = None
        """The acting person's id in the cycle at hand."""
        self.kept: dict[str, Any] | None = None
        """What a repeated Idempotency-Key is answered instead of the answer itself: one that shows a secret once."""
        self.traceparent: str | None = None
        self.written: list[Written] = []
        """What `flush` wrote so far, in order."""
        self.wakes: set[str] = set()
        """Loops of this service to wake after the commit, by the names of their `Database.alarm`."""
        self._entropy = entropy
        self._pending: list[tuple[str, Event, str | None]] = []
        self.noted: list[tuple[Metric, float, dict[str, str]]] = []

    def note(self, metric: Metric, value: float = 1, **labels: str) -> None:
        """Add to a counter, or put seconds into a histogram, if and when this transaction is committed."""
        self.noted.append((metric, value, labels))

    def record(self, event: Event, *, cause: str | None = None) -> str:
        """Have `event` leave with this transaction; returns its id. `cause` is the id of the event it follows from."""
        name = event_id()
        self._pending.append((name, event, cause or self.cause))
        return name

    def unrecord(self) -> None:
        """Have nothing leave that was recorded since the last flush."""
        self._pending.clear()

    async def flush(self) -> list[Written]:
        """Number, seal and write what was recorded since the last flush, and return it. The commit does it, too."""
        if not self._pending:
            return []
        pending, self._pending = self._pending, []
        counts = Counter(event.subject for _, event, _ in pending)
        rows = await self.db.fetch(_SEQUENCES, list(counts), list(counts.values()))
        following = {subject: last - counts[subject] + 1 for subject, last in rows}
        now, drawn = self.clock.now(), Drawn(self._entropy)
        written: list[Written] = []
        async with Behind() as behind:
            for start in range(0, len(pending), CHUNK):
                sealed = [
                    self._sealed(name, event, cause, now, following, drawn)
                    for name, event, cause in pending[start : start + CHUNK]
                ]
                # While PostgreSQL takes these, the next ones are sealed; where there are none, a task is for nothing.
                await (behind.go(self._write(sealed)) if len(pending) > CHUNK else self._write(sealed))
                written += sealed
        self.written += written
        return written

    def _sealed(
        self, name: str, event: Event, cause: str | None, now: datetime, following: dict[str, int], drawn: Drawn
    ) -> Written:
        subject = event.subject
        # Anything but the subject is of our own making: only an unusual one is worth a validation for every event.
        make = Header.model_construct if _PLAIN.fullmatch(subject) else Header
        header = make(
            id=name,
            type=event.TYPE,
            source=event.source(),
            subject=subject,
            time=now,
            sequence=following[subject],
            cycleid=getattr(event, "cycle", None),
            causationid=cause,
            actor=self.actor,
        )
        following[subject] += 1
        return write(event, header, drawn)

    async def _write(self, written: list[Written]) -> None:
        headers = [one.header for one in written]
        await self.db.execute(
            _WRITE,
            [header.id for header in headers],
            [header.subject for header in headers],
            [header.sequence for header in headers],
            [header.type for header in headers],
            [one.leaf_hash for one in written],
            [one.leaf for one in written],
            [topic_of(header.type) for header in headers],
            [one.record for one in written],
            self.traceparent,
        )

    async def act_as(self, issuer: str, subject: str, cycle: str) -> str:
        """Name the acting person by an id that is random per cycle, and return that id."""
        self.actor = await self.db.fetchval(
            """
            insert into private.actor (issuer, subject, cycle, actor) values ($1, $2, $3, $4)
            on conflict (issuer, subject, cycle) do update set cycle = excluded.cycle returning actor
            """,
            issuer,
            subject,
            cycle,
            opaque_id(),
        )
        return str(self.actor)


class Database:
    """A pool of connections to one service's database."""

    def __init__(
        self, dsn: str, name: str, clock: Clock, *, metrics: Metrics | None = None, pool_size: int = 8
    ) -> None:
        self.dsn = dsn
        self.name = name
        self.clock = clock
        self.metrics = metrics or Metrics(name)
        """The service's; what works on its database counts there."""
        self.on_recorded: Callable[[], None] = lambda: None
        """Called after a commit that recorded events: wakes the relay."""
        self._alarms: dict[str, asyncio.Event] = {}
        self._pool_size = pool_size
        self._pool: asyncpg.Pool[asyncpg.Record] | None = None

    @property
    def pool(self) -> asyncpg.Pool[asyncpg.Record]:
        """The open pool; RuntimeError before `open`."""
        if self._pool is None:
            message = f"database {self.name} is not open"
            raise RuntimeError(message)
        return self._pool

    def alarm(self, name: str) -> asyncio.Event:
        """Is set after every commit of a transaction with `name` in `wakes`: a loop that waits for work clears it."""
        return self._alarms.setdefault(name, asyncio.Event())

    async def create(self) -> None:
        """Create the database where it is missing."""
        connection = await asyncpg.connect(self.dsn)
        try:
            if not await connection.fetchval("select true from pg_database where datname = $1", self.name):
                try:
                    await connection.execute(
                        f'create database "{self.name}" template template0 encoding utf8 lc_collate "C" lc_ctype "C"'
                    )
                except (asyncpg.DuplicateDatabaseError, asyncpg.UniqueViolationError):
                    return
        finally:
            await connection.close()

    async def connect(self, *, patient: bool = False) -> asyncpg.Connection[asyncpg.Record]:
        """A direct connection outside the pool, for locks that must live as long as their holder.

        A `patient` one waits for its commands as long as they take: for migrations.
        """
        connection = await asyncpg.connect(
            self.dsn,
            database=self.name,
            timeout=CONNECT_SECONDS,
            command_timeout=None if patient else COMMAND_SECONDS,
        )
        await speak_json(connection)
        return connection

    async def open(self) -> None:
        """Open the pool."""
        self._pool = await asyncpg.create_pool(
            self.dsn,
            database=self.name,
            # None is kept: where one is, the pool tries to have it back once a second and logs each failure at length.
            min_size=0,
            max_size=self._pool_size,
            init=speak_json,
            reset=_nothing,
            timeout=CONNECT_SECONDS,
            command_timeout=COMMAND_SECONDS,
            server_settings={"idle_in_transaction_session_timeout": f"{IDLE_SECONDS:.0f}s"},
        )

    async def close(self) -> None:
        """Close the pool, giving queries under way three seconds."""
        if self._pool is not None:
            pool, self._pool = self._pool, None
            try:
                async with asyncio.timeout(3):
                    await pool.close()
            except TimeoutError:
                pool.terminate()

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[Tx]:
        """One transaction; committed when the block ends, rolled back when it raises."""
        async with self.pool.acquire(timeout=ACQUIRE_SECONDS) as connection:
            async with connection.transaction():
                tx = Tx(connection, self.clock)
                yield tx
                await tx.flush()
            for metric, value, labels in tx.noted:
                self.metrics.note(metric, value, **labels)
            if tx.written:
                self.on_recorded()
            for name in tx.wakes:
                self.alarm(name).set()

    @asynccontextmanager
    async def reading(self) -> AsyncIterator[Connection]:
        """A connection for queries only: one consistent snapshot, and PostgreSQL refuses writes."""
        async with (
            self.pool.acquire(timeout=ACQUIRE_SECONDS) as connection,
            connection.transaction(isolation="repeatable_read", readonly=True),
        ):
            yield connection


async def _nothing(_: object) -> None:
    """What a connection is reset by: no setting, lock or cursor here outlives its transaction."""


async def speak_json(connection: Any) -> None:  # noqa: ANN401  (pool.init is untyped)
    """Have a connection take and give jsonb as what orjson reads and writes."""
    await connection.set_type_codec(
        "jsonb",
        schema="pg_catalog",
        encoder=lambda value: b"\x01" + orjson.dumps(value),
        decoder=lambda raw: orjson.loads(raw[1:]),
        format="binary",
    )
