"""How applications' fees and governments' consents to research stand: step by step, the last one holds."""

from __future__ import annotations

from dataclasses import astuple
from typing import TYPE_CHECKING, Any

from services.intake.exchange.store import PAGE, STANDING
from services.intake.openness.domain import DUE, FeeState, FeeStep

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from datetime import datetime

    from services.chassis.database import Connection, Database

_FEES = """
select draft.application, government, name, coalesce(last.state, 'due') as became, coalesce(ground, '') as ground,
    coalesce(reference, '') as reference, coalesce(note, '') as note, at
from private.draft join private.government using (government) left join lateral (
    select * from private.fee_step where application = draft.application order by step desc limit 1
) as last on true
where draft.cycle = $1
"""


async def fee(db: Connection, application: str) -> FeeStep:
    """How an application's fee stands."""
    query = """
        select state, ground, reference, note from private.fee_step where application = $1 order by step desc limit 1
    """
    row = await db.fetchrow(query, application)
    return FeeStep(*row) if row else DUE


async def fee_at(db: Connection, application: str) -> datetime | None:
    """Since when it stands so; None where nothing was recorded."""
    found: datetime | None = await db.fetchval(
        "select at from private.fee_step where application = $1 order by step desc limit 1", application
    )
    return found


async def add_fee_step(db: Connection, application: str, step: FeeStep, person: str, at: datetime) -> None:
    """Keep what became of a fee; the application's draft is owned."""
    await db.execute(
        """
        insert into private.fee_step (application, step, state, ground, reference, note, person, at)
        select $1, coalesce(max(step), 0) + 1, $2, $3, $4, $5, $6, $7 from private.fee_step where application = $1
        """,
        application,
        *astuple(step),
        person,
        at,
    )


async def fees(
    db: Connection, cycle: str, after: str, limit: int
) -> list[tuple[str, str, str, FeeStep, datetime | None]]:
    """(application, government, its name, fee, since when) of a cycle's applications, by id."""
    query = f"{_FEES} and draft.application > $2 order by draft.application limit $3"
    return [
        (row["application"], row["government"], row["name"], FeeStep(*row[3:7]), row["at"])
        for row in await db.fetch(query, cycle, after, limit)
    ]


async def fee_counts(db: Connection, cycle: str) -> dict[FeeState, int]:
    """How many of a cycle's applications there are in each state."""
    rows = await db.fetch(f"select became, count(*) from ({_FEES}) as fee group by became", cycle)  # noqa: S608  (a query of ours)
    return {row["became"]: row["count"] for row in rows}


_CONSENTED = f"""
select found.*, charter_sha256 from ({STANDING} where not withdrawn and standing.application > $2) as found
join projection.cycle using (cycle) join private.draft using (application)
where cycle.closed and ($1::text is null or cycle.cycle = $1) and coalesce((
    select consents from private.research_consent as said where said.government = draft.government
    order by step desc limit 1), false)
"""  # noqa: S608  (a query of ours)


async def consent(db: Connection, government: str) -> tuple[bool, datetime | None]:
    """Whether a government's submissions may be read by partners, and since when it says so."""
    query = "select consents, at from private.research_consent where government = $1 order by step desc limit 1"
    row = await db.fetchrow(query, government)
    return (row["consents"], row["at"]) if row else (False, None)


async def add_consent(db: Connection, government: str, person: str, at: datetime, *, consents: bool) -> None:
    """Keep what a government said; its row is owned."""
    await db.execute(
        """
        insert into private.research_consent (government, step, consents, person, at)
        select $1, coalesce(max(step), 0) + 1, $2, $3, $4 from private.research_consent where government = $1
        """,
        government,
        consents,
        person,
        at,
    )


async def consented_count(db: Connection, cycle: str | None) -> int:
    """How many applications partners may read now."""
    return int(await db.fetchval(f"select count(*) from ({_CONSENTED}) as consented", cycle, ""))  # noqa: S608  (a query of ours)


async def consented(database: Database, cycle: str | None) -> AsyncIterator[list[dict[str, Any]]]:
    """What partners may read, some at a time: a consent that is withdrawn meanwhile ends it for what is left."""
    after = ""
    while True:
        async with database.reading() as db:
            rows = await db.fetch(f"{_CONSENTED} order by found.application limit $3", cycle, after, PAGE)
        if rows:
            after = rows[-1]["application"]
            yield [dict(row) for row in rows]
        if len(rows) < PAGE:
            return
