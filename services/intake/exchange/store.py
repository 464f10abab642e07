"""A cycle's applications as they were submitted last, page by page; and who took them out of here."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from services.chassis.auth import Principal
    from services.chassis.database import Connection, Database

PAGE = 50

STANDING = """
select standing.application, standing.cycle, standing.version, standing.submitted as event, submitted_at, content
from projection.application as standing
join private.version as stated on stated.application = standing.application and stated.event = standing.submitted
"""


async def submitted(database: Database, cycle: str) -> AsyncIterator[list[dict[str, Any]]]:
    """What stands of a cycle, some at a time: no connection is held while somebody takes it slowly."""
    after = ""
    while True:
        async with database.reading() as db:
            rows = await db.fetch(
                f"{STANDING} where standing.cycle = $1 and not withdrawn and standing.application > $2"
                " order by standing.application limit $3",
                cycle,
                after,
                PAGE,
            )
        if rows:
            after = rows[-1]["application"]
            yield [dict(row) for row in rows]
        if len(rows) < PAGE:
            return


async def count(db: Connection, cycle: str) -> int:
    """How many applications of a cycle stand."""
    query = "select count(*) from projection.application where cycle = $1 and not withdrawn"
    return int(await db.fetchval(query, cycle))


async def note_export(db: Connection, who: Principal, what: str, cycle: str, applications: int) -> None:
    """Write down who is about to take how many applications out of a cycle, and as what."""
    await db.execute(
        "insert into private.export_log (issuer, subject, what, cycle, applications) values ($1, $2, $3, $4, $5)",
        who.issuer,
        who.subject,
        what,
        cycle,
        applications,
    )
