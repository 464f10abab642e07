"""The relay: moves outbox rows to Kafka, each deleted only after the broker has acknowledged it.

A queue of rows, never a position cursor: transactions commit out of the order of their ids, and a cursor would skip
the slower ones. One relay per database is active (an advisory lock, held by the very connection that reads and
deletes, so that losing the lock is losing the power to delete). It is woken by commits in this process, by a
coalesced NOTIFY from others, and by a poll that alone suffices.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import structlog
from aiokafka.errors import KafkaError

from schemas.topics import DEAD_LETTER_ROOM
from services.chassis.failures import backoff, severity
from services.chassis.kafka import Producer
from services.chassis.looping import sleep_until_woken
from services.chassis.metrics import RELAYED
from services.chassis.parking import raw_headers

if TYPE_CHECKING:
    import asyncpg

    from services.chassis.database import Database

CHANNEL = "outbox"
BATCH = 1_000
ROOM = 16_000_000
"""Bytes of a batch, after which it ends: a thousand of the largest records would be a gigabyte."""
SEND_SECONDS = 30.0
_LOCK = 7_311_002
_NEXT = """
select position, key, topic, record, traceparent, letter from (
    select *, sum(octet_length(record)) over (
        order by position rows between unbounded preceding and 1 preceding
    ) as before
    from (select * from chassis.outbox order by position limit $1) as next
) as sized where coalesce(before, 0) < $2 order by position
"""
_DONE = "delete from chassis.outbox where position = any($1::bigint[])"


def producer(bootstrap: str) -> Producer:
    """An idempotent producer as the relay uses it: in order, acknowledged by all replicas, full batches."""
    return Producer(
        bootstrap_servers=bootstrap,
        acks="all",
        enable_idempotence=True,
        linger_ms=0,
        max_batch_size=128 * 1024,
        max_request_size=DEAD_LETTER_ROOM,
        request_timeout_ms=10_000,
    )


class Relay:
    """The outbox of one database on its way to Kafka; `run` until cancelled, `wake` after a commit."""

    def __init__(self, database: Database, bootstrap: str, *, poll_seconds: float = 1.0) -> None:
        self._database = database
        self._bootstrap = bootstrap
        self._poll = poll_seconds
        self._woken = asyncio.Event()
        self._stopping = False
        self._active = False
        self._failures = 0
        """In a row."""
        self._notifying: asyncio.Task[None] | None = None
        self._log = structlog.get_logger().bind(relay=database.name)

    def wake(self) -> None:
        """Say that rows were committed: here, or through PostgreSQL where another process's relay is the active one."""
        if self._active:
            self._woken.set()
        elif self._notifying is None or self._notifying.done():
            self._notifying = asyncio.create_task(self._notify())

    async def _notify(self) -> None:
        """One NOTIFY for many commits: in every transaction it would make commits wait for each other."""
        await asyncio.sleep(0.01)
        with suppress(Exception):  # the poll alone suffices
            await self._database.pool.execute(f"notify {CHANNEL}")

    def stop(self) -> None:
        """Let `run` end after the batch under way; cancelling it while it connects would leave connections behind."""
        self._stopping = True
        self._woken.set()

    async def run(self) -> None:
        """Hold or await the lock and drain the outbox until stopped, riding out every absence of either part."""
        while not self._stopping:
            try:
                await self._serve()
            except Exception as error:  # noqa: BLE001  (told by `severity`; a relay never dies of one bad moment)
                self._failures += 1
                self._log.log(severity(error), "relay interrupted", error=repr(error), attempt=self._failures)
                await sleep_until_woken(self._woken, backoff(self._failures))
            finally:
                self._active = False

    async def _serve(self) -> None:
        connection = await self._database.connect()
        try:
            while not await connection.fetchval("select pg_try_advisory_lock($1)", _LOCK):
                await sleep_until_woken(self._woken, self._poll)
                if self._stopping:
                    return
            await connection.add_listener(CHANNEL, lambda *_: self._woken.set())
            kafka = producer(self._bootstrap)
            try:
                await kafka.start()
                self._active = True
                while not self._stopping:
                    while await self._drain(connection, kafka):
                        pass
                    await sleep_until_woken(self._woken, self._poll)
            finally:
                await kafka.abandon()
        finally:
            connection.terminate()

    async def _drain(self, connection: asyncpg.Connection[asyncpg.Record], kafka: Producer) -> bool:
        """Send one batch in order and delete what was acknowledged; False if there was none.

        After a failure every later row of the same key stays, too: it is sent again behind the one that failed, and
        consumers drop what they had. The producer is made anew, since an idempotent one may be wedged.
        """
        rows = await connection.fetch(_NEXT, BATCH, ROOM)
        if not rows:
            self._failures = 0
            return False
        try:
            results = await self._send(rows, kafka)
        except TimeoutError:
            self._database.metrics.add(RELAYED, len(rows), result="failed")
            raise
        failed: set[str] = set()
        acknowledged: list[int] = []
        failure: BaseException | None = None
        for row, result in zip(rows, results, strict=True):
            if isinstance(result, BaseException):
                failure = result
                failed.add(row["key"])
            elif row["key"] not in failed:
                acknowledged.append(row["position"])
        if acknowledged:
            await connection.execute(_DONE, acknowledged)
        self._database.metrics.add(RELAYED, len(acknowledged), result="acknowledged")
        self._database.metrics.add(RELAYED, len(rows) - len(acknowledged), result="failed")
        if failure is not None:
            raise failure
        self._failures = 0
        return True

    @staticmethod
    async def _send(rows: list[asyncpg.Record], kafka: Producer) -> list[Any]:
        """Hand every row to the producer in order and wait for all: per row its metadata or its exception."""
        pending: list[Any] = []
        for row in rows:
            key, headers = _addressed(row)
            try:
                pending.append(await kafka.send(row["topic"], row["record"], key=key, headers=headers))
            except KafkaError as error:
                pending.append(_failed(error))
        # An idempotent producer tries for ever, and one that is wedged in vain: after a while a new one is tried.
        async with asyncio.timeout(SEND_SECONDS):
            return await asyncio.gather(*pending, return_exceptions=True)


def _addressed(row: asyncpg.Record) -> tuple[bytes | None, list[tuple[str, bytes | None]]]:
    """The key and headers that a row goes out with: an event's, or those of the record that is a dead letter."""
    if letter := row["letter"]:
        return None if letter["key"] is None else bytes.fromhex(letter["key"]), raw_headers(letter["headers"])
    headers = _EVENT
    if row["traceparent"]:
        headers = [*_EVENT, ("traceparent", row["traceparent"].encode())]
    return row["key"].encode(), headers


_EVENT: list[tuple[str, bytes | None]] = [("content-type", b"application/cloudevents+json")]


def _failed(error: BaseException) -> asyncio.Future[Any]:
    future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
    future.set_exception(error)
    return future
