"""Deadlines of single applications as their events left them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from schemas.screening import Correspondent
from services.intake.deadlines.domain import Pending

if TYPE_CHECKING:
    from datetime import datetime

    from schemas.screening import ApplicationExtended
    from services.chassis.database import Connection


async def save_extension(db: Connection, event: ApplicationExtended) -> None:
    """Keep an application's own deadline."""
    await db.execute(
        "insert into projection.extension values ($1, $2, $3)"
        " on conflict (application) do update set deadline = excluded.deadline",
        event.application,
        event.cycle,
        event.deadline,
    )


async def extensions(db: Connection, cycle: str) -> dict[str, datetime]:
    """The own deadlines in a cycle, by application; whether they are later than the cycle's is for it to say."""
    rows = await db.fetch("select application, deadline from projection.extension where cycle = $1", cycle)
    return {row["application"]: row["deadline"] for row in rows}


async def pending(db: Connection, cycle: str) -> list[Pending]:
    """The drafts of a cycle that were never submitted, each with the deadline that holds for it."""
    rows = await db.fetch(
        """
        select application, government, greatest(cycle.deadline, own.deadline) as deadline
        from private.draft
        join projection.cycle using (cycle)
        left join projection.extension as own using (application)
        left join projection.application as entered using (application)
        where draft.cycle = $1 and entered.application is null order by application
        """,
        cycle,
    )
    return [Pending(*row) for row in rows]


async def correspondents(db: Connection, government: str) -> list[Correspondent]:
    """A government's leads and editors, or those of the one that it was merged into, if their addresses are known.

    One for each address: who signs in by two accounts is reminded once.
    """
    rows = await db.fetch(
        """
        select distinct on (lower(email)) person, email from projection.member join private.person using (person)
        where email <> '' and role in ('lead', 'editor') and government = coalesce(
            (select merged_into from projection.standing where government = $1), $1)
        order by lower(email), person
        """,
        government,
    )
    return [Correspondent(person=row["person"], email=row["email"]) for row in rows]
