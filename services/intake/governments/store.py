"""Governments as they were registered, and their people as the events left them."""

from __future__ import annotations

from dataclasses import astuple, dataclass
from typing import TYPE_CHECKING

from services.chassis.ids import opaque_id
from services.intake.governments.domain import Government, Members, Role

if TYPE_CHECKING:
    from services.chassis.database import Connection
    from services.intake.locks import Lock


@dataclass(frozen=True)
class Member:
    """A person's account and role in a government."""

    person: str
    role: Role
    issuer: str
    subject: str


async def person(db: Connection, issuer: str, subject: str) -> str:
    """The random id of whoever signs in as (`issuer`, `subject`); made the first time."""
    return str(
        await db.fetchval(
            """
            insert into private.person values ($1, $2, $3)
            on conflict (issuer, subject) do update set subject = excluded.subject returning person
            """,
            issuer,
            subject,
            opaque_id(),
        )
    )


async def membership(db: Connection, issuer: str, subject: str, government: str) -> tuple[str, Role] | None:
    """(person, role) of an account in a government; None for a stranger."""
    row = await db.fetchrow(
        """
        select person, role from projection.member join private.person using (person)
        where government = $1 and issuer = $2 and subject = $3
        """,
        government,
        issuer,
        subject,
    )
    return (row["person"], row["role"]) if row else None


async def government(db: Connection, name: str, lock: Lock = "") -> Government | None:
    """The government with this id, if any. Its row, owned, stands for its whole list of members."""
    row = await db.fetchrow(f"select * from private.government where government = $1{lock}", name)  # noqa: S608  (likewise)
    return Government(*row) if row else None


async def add_government(db: Connection, government: Government) -> None:
    """Keep a new government."""
    await db.execute("insert into private.government values ($1, $2, $3, $4, $5, $6, $7)", *astuple(government))


async def members(db: Connection, government: str) -> list[Member]:
    """The people who act for a government."""
    rows = await db.fetch(
        """
        select person, role, issuer, subject from projection.member join private.person using (person)
        where government = $1 order by role, person
        """,
        government,
    )
    return [Member(*row) for row in rows]


async def roles(db: Connection, government: str) -> Members:
    """The roles of the people who act for a government."""
    rows = await db.fetch("select person, role from projection.member where government = $1", government)
    return {row["person"]: row["role"] for row in rows}


async def save_members(db: Connection, government: str, members: Members) -> None:
    """Keep a government's people."""
    await db.execute("delete from projection.member where government = $1", government)
    await db.execute(
        "insert into projection.member select $1, * from unnest($2::text[], $3::text[])",
        government,
        list(members),
        list(members.values()),
    )
