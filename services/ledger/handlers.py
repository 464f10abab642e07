"""From Kafka into the logs: each event once, after its predecessor and its cause, or held back until they are there."""

from __future__ import annotations

import asyncio
from time import monotonic
from typing import TYPE_CHECKING, Final

import structlog
from asyncpg import UniqueViolationError

from services.chassis.breaker import Fate
from services.chassis.parking import park_poison
from services.ledger import store
from services.ledger.batch import Batch, RepeatedError, open_log
from services.ledger.checkpoints import signer_of
from services.ledger.domain import PROGRAM
from services.ledger.incoming import Incoming, incoming_of

if TYPE_CHECKING:
    from services.chassis.database import Database, Tx
    from services.chassis.record import Record
    from services.chassis.service import Service
    from services.chassis.settings import Settings

HELD_SECONDS: Final = 60.0
"""Machine time after which an event that still waits is a warning: what it rests on should have come."""
LOOK_SECONDS: Final = 2.0
"""Between two looks for such events where none is known to wait: another process may have left them."""
PIECE: Final = 500
"""Records that are read while PostgreSQL takes the ones before."""
STEP: Final = 50
"""Records that are read at a stretch: about half a millisecond."""

log = structlog.get_logger()


async def open_program(service: Service) -> None:
    """At the start: see that the key is the one every log was opened under, and open the log `program` once."""
    async with service.database.transaction() as tx:
        await store.lock(tx.db)
        heads = {head.log: head for head in await store.every_head(tx.db)}
        for head in heads.values():
            signer_of(service.settings, head)
        if PROGRAM not in heads:
            opened, first = await open_log(tx, service.settings, PROGRAM)
            await store.append(tx.db, {PROGRAM: opened}, [first])
            await store.save_trees(tx.db, [opened])


class LedgerInbox:
    """Takes the records of all event topics into the logs."""

    parks = True

    def __init__(self, settings: Settings, group: str | None = None) -> None:
        """`group` names the topics of the dead letters."""
        self._settings = settings
        self._group = group
        self._repeats = True  # until a batch brought nothing but news
        self._waiting = True  # until the table was looked at
        self._look_at = 0.0

    async def process(self, tx: Tx, records: list[Record]) -> list[Fate | Exception]:
        """Append what can be appended, hold back the rest."""
        if not self._repeats:
            try:
                async with tx.db.transaction():
                    return await self._through(tx, records, trusting=True)
            except (UniqueViolationError, RepeatedError):
                tx.written.clear()
        return await self._through(tx, records, trusting=False)

    async def _through(self, tx: Tx, records: list[Record], *, trusting: bool) -> list[Fate | Exception]:
        """Take the records in pieces, each while the next one is read."""
        batch = Batch(tx, self._settings, trusting=trusting)
        await batch.begin()
        fates, readable = list[Fate | Exception](), list[Incoming]()
        for start in (*range(0, len(records), PIECE), len(records)):
            read, taken = await asyncio.gather(
                _read(records[start : start + PIECE]), batch.take(readable), return_exceptions=True
            )
            if isinstance(taken, BaseException):
                raise taken
            if isinstance(read, BaseException):
                raise read
            readable = [one for one in read if isinstance(one, Incoming)]
            fates += [Fate.EFFECT if isinstance(one, Incoming) else one for one in read]
        await batch.finish()
        self._repeats = batch.repeated
        self._waiting |= batch.held > 0
        return fates

    async def set_aside(self, tx: Tx, record: Record, error: Exception) -> None:
        """Keep a record that failed alone: no retry of the ledger's would mend it."""
        await park_poison(tx, record, error, self._group)

    async def retry(self, database: Database) -> None:
        """Nothing is tried again: what is held leaves with what it waits for. Warn once of what waits too long."""
        if not self._waiting and monotonic() < self._look_at:
            return
        async with database.transaction() as tx:
            self._waiting, self._look_at = await store.anything_held(tx.db), monotonic() + LOOK_SECONDS
            late = await store.overdue(tx.db, HELD_SECONDS)
        if late:
            first = late[0]
            log.warning(
                "events held back too long",
                count=len(late),
                oldest=first["id"],
                type=first["type"],
                log=first["log"],
            )


async def _read(records: list[Record]) -> list[Incoming | ValueError]:
    """Each record as what it is, or why it cannot be read."""
    found = list[Incoming | ValueError]()
    for number, record in enumerate(records):
        if number % STEP == 0:
            await asyncio.sleep(0)  # what PostgreSQL waits for goes out meanwhile
        try:
            found.append(incoming_of(record))
        except ValueError as error:
            found.append(error)
    return found
