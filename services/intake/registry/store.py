"""Registrations side by side, and moving one's drafts to another."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from services.intake.governments.domain import Government, Standing
from services.intake.governments.store import GOVERNMENTS, Member, as_government
from services.intake.registry.domain import Entry
from services.intake.registry.spelling import Registration

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence
    from datetime import datetime

    from services.chassis.database import Connection


@dataclass(frozen=True)
class Registered:
    """A government, and when it was registered (program time)."""

    government: Government
    at: datetime


async def page(db: Connection, standing: Standing | None, after: str | None, limit: int) -> list[Registered]:
    """Registrations in the order in which they came, from behind the government `after`."""
    rows = await db.fetch(
        f"""
        {GOVERNMENTS}
        where ($1::text is null or coalesce(standing, 'unconfirmed') = $1)
            and ($2::text is null or (registered, government)
                > (select registered, government from private.government where government = $2))
        order by registered, government limit $3
        """,  # noqa: S608  (a constant)
        standing,
        after,
        limit,
    )
    return [Registered(as_government(row), row["registered"]) for row in rows]


async def one(db: Connection, government: str) -> Registered:
    """A registration that is there."""
    row = await db.fetchrow(f"{GOVERNMENTS} where government = $1", government)
    if row is None:
        raise LookupError(government)
    return Registered(as_government(row), row["registered"])


async def registrations(db: Connection) -> list[Registration]:
    """All that was registered and not merged, by what they are compared by."""
    rows = await db.fetch(
        """
        select government, name, state, kind from private.government left join projection.standing using (government)
        where merged_into is null order by government
        """
    )
    return [Registration(*row) for row in rows]


async def members(db: Connection, governments: Collection[str]) -> list[tuple[str, Member]]:
    """(government, person) of all who act for any of `governments`."""
    rows = await db.fetch(
        """
        select government, person, role, issuer, subject, name, email
        from projection.member join private.person using (person)
        where government = any($1::text[]) order by government, role, person
        """,
        list(governments),
    )
    return [(row["government"], Member(*row[1:])) for row in rows]


async def entries(db: Connection, governments: Collection[str], now: datetime) -> list[Entry]:
    """All applications of any of `governments`."""
    rows = await db.fetch(
        """
        select d.government, d.application, d.cycle, a.application is not null,
            coalesce(a.withdrawn, false), not c.closed and c.deadline > $2
        from private.draft d join projection.cycle c using (cycle)
            left join projection.application a on a.application = d.application
        where d.government = any($1::text[]) order by d.cycle, d.application
        """,
        list(governments),
        now,
    )
    return [Entry(*row) for row in rows]


async def own(db: Connection, governments: Sequence[str]) -> None:
    """Keep everybody else from these governments and their drafts until the transaction ends."""
    for table, key in (("government", "government"), ("draft", "application")):
        await db.execute(
            f"select from private.{table} where government = any($1::text[]) order by {key} for update",
            list(governments),
        )


async def move_drafts(db: Connection, duplicate: str, kept: str, set_aside: Sequence[str]) -> None:
    """Hand the drafts of one registration, but those set aside, to another."""
    await db.execute(
        "update private.draft set government = $2 where government = $1 and application <> all($3::text[])",
        duplicate,
        kept,
        list(set_aside),
    )


async def revoke_invitations(db: Connection, government: str) -> None:
    """Take back what is open of a government's invitations."""
    await db.execute(
        "update private.invitation set revoked = true where government = $1 and accepted_by is null", government
    )


async def marked(db: Connection, cycle: str) -> list[tuple[str, Government]]:
    """(application, government) of what stands in a cycle and is of a government that nobody has confirmed."""
    rows = await db.fetch(
        f"""
        with g as ({GOVERNMENTS}) select d.application, g.* from g join private.draft d using (government)
            join projection.application a on a.application = d.application
        where d.cycle = $1 and not a.withdrawn and g.standing = 'unconfirmed' order by d.application
        """,  # noqa: S608  (a constant)
        cycle,
    )
    return [(row["application"], as_government(row)) for row in rows]
