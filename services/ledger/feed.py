"""The feed over all logs: every record in the order of logging, in which a predecessor and a cause come first."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from schemas.envelope import record_of

if TYPE_CHECKING:
    from services.chassis.database import Connection

BYTES: Final = 8_000_000
"""After which a page ends: a thousand of the largest records would be a gigabyte."""


async def page(db: Connection, after: int, limit: int) -> tuple[list[bytes], int]:
    """The records behind position `after` with the disclosures that survive, and the position of the last of them.

    At most `limit`, and no more once they have BYTES. Without any, the position is `after`.
    """
    records, size = [], 0
    async for row in db.cursor(_NEXT, after, limit, prefetch=16):
        record = record_of(row["leaf"], dict(zip(row["blocks"] or (), row["openings"] or (), strict=True)))
        records.append(record)
        size, after = size + len(record), row["position"]
        if size >= BYTES:
            break
    return records, after


_NEXT = """
select position, leaf, blocks, openings from ledger.entry e cross join lateral (
    select array_agg(block) as blocks, array_agg(opening) as openings
    from private.disclosure d where d.log = e.log and d.index = e.index
) as opened
where position > $1 order by position limit $2
"""
