"""A service's own PostgreSQL database, and the transaction through which its events leave.

`tx.record(event)` is the only way to publish: the sealed event goes to `event_log` and `outbox` in the transaction
that changes the state, so that either both happen or neither. Nothing but this module and the route class commits.
"""

from __future__ import annotations

import asyncio
import os
from collections import Counter
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, TypeAlias

import asyncpg
import orjson

from schemas.envelope import Event, Header, Written, write
from schemas.topics import topic_of
from services.chassis.ids import event_id, opaque_id
from services.chassis.metrics import Metrics

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from services.chassis.clock import Clock
    from services.chassis.metrics import Metric

CONNECT_SECONDS = 10.0
"""For a new connection: a server that takes it and says nothing is away as well."""
ACQUIRE_SECONDS = 10.0
"""For one of the pool to be free; TimeoutError then, so that whoever asks is told to come back."""
COMMAND_SECONDS = 60.0

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


class Tx:
    """One transaction: a connection (`db`) for the store's SQL, and the events that leave with it."""

    def __init__(self, db: Connection, clock: Clock, entropy: Callable[[int], bytes] = os.urandom) -> None:
        self.db = db
        self.clock = clock
        self.cause: str | None = None
        """Id of the event that is being handled; the default cause of what is recorded."""
        self.actor: str | None = None
        """The acting person's id in the cycle at hand."""
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

    async def flush(self) -> list[Written]:
        """Number, seal and write what was recorded since the last flush, and return it. The commit does it, too."""
        if not self._pending:
            return []
        pending, self._pending = self._pending, []
        counts = Counter(event.subject for _, event, _ in pending)
        rows = await self.db.fetch(_SEQUENCES, list(counts), list(counts.values()))
        following = {subject: last - counts[subject] + 1 for subject, last in rows}
        written = []
        for name, event, cause in pending:
            header = Header(
                id=name,
                type=event.TYPE,
                source=event.source(),
                subject=event.subject,
                time=self.clock.now(),
                sequence=following[event.subject],
                cycleid=getattr(event, "cycle", None),
                causationid=cause,
                actor=self.actor,
            )
            following[event.subject] += 1
            written.append(write(event, header, self._entropy))
        await self.db.execute(
            _WRITE,
            [w.header.id for w in written],
            [w.header.subject for w in written],
            [w.header.sequence for w in written],
            [w.header.type for w in written],
            [w.leaf_hash for w in written],
            [w.leaf for w in written],
            [topic_of(w.header.type) for w in written],
            [w.record for w in written],
            self.traceparent,
        )
        self.written += written
        return written

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
        await _json(connection)
        return connection

    async def open(self) -> None:
        """Open the pool."""
        self._pool = await asyncpg.create_pool(
            self.dsn,
            database=self.name,
            # None is kept: where one is, the pool tries to have it back once a second and logs each failure at length.
            min_size=0,
            max_size=self._pool_size,
            init=_json,
            timeout=CONNECT_SECONDS,
            command_timeout=COMMAND_SECONDS,
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


async def _json(connection: Any) -> None:  # noqa: ANN401  (pool.init is untyped)
    await connection.set_type_codec(
        "jsonb",
        schema="pg_catalog",
        encoder=lambda value: b"\x01" + orjson.dumps(value),
        decoder=lambda raw: orjson.loads(raw[1:]),
        format="binary",
    )
