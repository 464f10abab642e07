"""How a replay rebuilds the ledger's projection: every log's tree, grown anew from its leaves in the feed's order."""

from __future__ import annotations

from typing import TYPE_CHECKING

from schemas.cycles import LogOpened
from schemas.envelope import parse, read
from services.chassis.breaker import Fate
from services.chassis.parking import park_poison
from services.chassis.replay import Rebuilding
from services.chassis.transparency import Frontier
from services.ledger import store
from services.ledger.incoming import incoming_of
from services.ledger.store import Head

if TYPE_CHECKING:
    from services.chassis.database import Database, Tx
    from services.chassis.record import Record

TAKEN = "select source, subject, max(sequence) as sequence from ledger.entry group by source, subject"


def rebuilding() -> Rebuilding:
    """The ledger's own way: what it has taken stands in its archive, and no record is new to it."""
    return Rebuilding(Trees(), TAKEN)


class Trees:
    """The inbox of a replay. A leaf that is not what was hashed, or an opening that is not of its leaf, shows here."""

    parks = True

    async def read(self, records: list[Record]) -> list[Record]:
        """Nothing is read ahead."""
        return records

    async def process(self, tx: Tx, records: list[Record]) -> list[Fate | Exception]:
        """Append every record to its log's tree; the first of a log must say that the log is opened."""
        arrived = [(record, incoming_of(record)) for record in records]
        heads = await store.heads(tx.db, {incoming.arrival.log for _, incoming in arrived})
        for record, incoming in arrived:
            log = incoming.arrival.log
            if log not in heads:
                heads[log] = _opened(record)
                await store.open_log(tx.db, heads[log])
            heads[log].tree.append(incoming.leaf_hash)
        await store.save_trees(tx.db, heads.values())
        return [Fate.EFFECT] * len(records)

    async def set_aside(self, tx: Tx, record: Record, error: Exception) -> None:
        """Show it in the replay's report."""
        await park_poison(tx, record, error, None)

    async def retry(self, database: Database) -> None:
        """Nothing ever waits."""


def _opened(record: Record) -> Head:
    event = read(parse(record.value or b""))
    if not isinstance(event, LogOpened):
        raise ValueError(f"{event.TYPE} is the first entry of a log that was never opened")  # noqa: TRY004  (a record's fault, not a call's)
    return Head(event.log, event.origin, event.verifier_key, Frontier())
