"""From Kafka into the logs: each event once, after its predecessor and its cause, or held back until they are there."""

from __future__ import annotations

from time import monotonic
from typing import TYPE_CHECKING, Final

import structlog
from asyncpg import UniqueViolationError

from services.chassis import erased
from services.chassis.breaker import Fate
from services.chassis.parking import park_poison
from services.chassis.record import read_ahead, reading
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

    async def read(self, records: list[Record]) -> list[Record]:
        """Each with what is to be appended of it."""
        return await read_ahead(records, incoming_of)

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
        batch = Batch(tx, self._settings, trusting=trusting)
        await batch.begin()
        records, erasures = await erased.let_in(tx.db, records)
        await store.forget(tx.db, erasures)
        read = [reading(record, incoming_of) for record in records]
        await batch.take([one for one in read if isinstance(one, Incoming)])
        await batch.finish()
        self._repeats = batch.repeated
        self._waiting |= batch.held > 0
        return [Fate.EFFECT if isinstance(one, Incoming) else one for one in read]

    async def set_aside(self, tx: Tx, record: Record, error: Exception) -> None:
        """Keep a record that failed alone: no retry of the ledger's would mend it."""
        await park_poison(tx, await erased.set_down(tx.db, record), error, self._group)

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
