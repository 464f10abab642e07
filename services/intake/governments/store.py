"""Governments as they were registered, their history, and their people as the events left them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from schemas.governments import GovernmentChanged, GovernmentConfirmed, GovernmentMerged
from services.intake.governments.domain import PROFILE, Government, Members, Role

if TYPE_CHECKING:
    from datetime import datetime

    import asyncpg

    from services.chassis.database import Connection
    from services.intake.locks import Lock

What = Literal[
    "registered",
    "profile-changed",
    "confirmed",
    "merged",
    "member-joined",
    "member-left",
    "role-changed",
    "invited",
    "invitation-revoked",
    "recovered",
]
"""What can happen to a government and its people."""

_COLUMNS = f"government, {', '.join(PROFILE)}, revision"
GOVERNMENTS = f"""
select {_COLUMNS}, coalesce(standing, 'unconfirmed') as standing, merged_into, registered
from private.government left join projection.standing using (government)
"""  # noqa: S608  (the names of PROFILE)


@dataclass(frozen=True)
class Member:
    """A person's account and role in a government, with what is kept about them."""

    person: str
    role: Role
    issuer: str
    subject: str
    name: str
    email: str


@dataclass(frozen=True)
class Happening:
    """One line of a government's history; `by` is a person id, None for the program."""

    number: int
    at: datetime
    by: str | None
    what: What
    detail: dict[str, Any]


def membership_of(government: str, issuer: str, subject: str) -> str:
    """SQL of an account's (person, role) in a government, or in the one that it was merged into."""
    return f"""
        select person, role from projection.member join private.person using (person)
        where issuer = {issuer} and subject = {subject} and government = coalesce(
            (select merged_into from projection.standing where government = {government}), {government})
    """  # noqa: S608  (names of columns and parameters)


async def membership(db: Connection, issuer: str, subject: str, government: str) -> tuple[str, Role] | None:
    """(person, role) of an account in a government, or in the one that it was merged into; None for a stranger."""
    row = await db.fetchrow(membership_of("$1", "$2", "$3"), government, issuer, subject)
    return (row["person"], row["role"]) if row else None


async def member_elsewhere(db: Connection, issuer: str, subject: str) -> str | None:
    """The person id of an account that acts for any government; None for one that acts for none."""
    found: str | None = await db.fetchval(
        """
        select person from projection.member join private.person using (person)
        where issuer = $1 and subject = $2 limit 1
        """,
        issuer,
        subject,
    )
    return found


async def government(db: Connection, name: str, lock: Lock = "") -> Government | None:
    """The government with this id, if any. Its row, owned, stands for its members, invitations and standing too."""
    if lock:
        # A statement of its own: what else is read must be as it is once the lock is there.
        await db.execute(f"select from private.government where government = $1{lock}", name)
    row = await db.fetchrow(f"{GOVERNMENTS} where government = $1", name)
    return as_government(row) if row else None


def as_government(row: asyncpg.Record) -> Government:
    """A government from a row of GOVERNMENTS."""
    return Government(
        id=row["government"],
        revision=row["revision"],
        standing=row["standing"],
        merged_into=row["merged_into"],
        **{name: row[name] for name in PROFILE},
    )


async def add_government(db: Connection, government: Government, at: datetime) -> None:
    """Keep a new government."""
    profile = government.profile
    await db.execute(
        f"insert into private.government ({_COLUMNS}, registered)"  # noqa: S608  (the names of PROFILE)
        " values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)",
        government.id,
        *(profile[name] for name in PROFILE),
        government.revision,
        at,
    )


async def save_profile(db: Connection, government: Government) -> None:
    """Keep a government's changed profile."""
    profile = government.profile
    await db.execute(
        """
        update private.government set (name, state, kind, population, population_source, population_year, website,
            email_domain, revision) = ($2, $3, $4, $5, $6, $7, $8, $9, $10) where government = $1
        """,
        government.id,
        *(profile[name] for name in PROFILE),
        government.revision,
    )


async def save_standing(db: Connection, event: GovernmentConfirmed | GovernmentChanged | GovernmentMerged) -> None:
    """Keep what the program made of a government."""
    standing, into = "unconfirmed", None
    if isinstance(event, GovernmentConfirmed):
        standing = "confirmed"
    elif isinstance(event, GovernmentMerged):
        standing, into = "merged", event.into
    # Merged twice over, in whichever order this is learned: all point at the one that is left.
    await db.execute(
        """
        with left_over as (
            insert into projection.standing as s (government, standing, merged_into)
            values ($1, $2, coalesce((select merged_into from projection.standing where government = $3), $3))
            on conflict (government) do update set standing = excluded.standing, merged_into = excluded.merged_into
            returning merged_into
        )
        update projection.standing set merged_into = left_over.merged_into from left_over
        where projection.standing.merged_into = $1 and left_over.merged_into is not null
        """,
        event.government,
        standing,
        into,
    )


async def note(db: Connection, government: str, at: datetime, by: str | None, what: What, **detail: object) -> None:
    """Add a line to a government's history."""
    await db.execute(
        "insert into private.government_history (government, at, by_person, what, detail) values ($1, $2, $3, $4, $5)",
        government,
        at,
        by,
        what,
        detail,
    )


async def history(db: Connection, government: str, before: int, limit: int) -> list[Happening]:
    """Lines of a government's history, the newest first, from below number `before`."""
    rows = await db.fetch(
        """
        select number, at, by_person, what, detail from private.government_history
        where government = $1 and number < $2 order by number desc limit $3
        """,
        government,
        before,
        limit,
    )
    return [Happening(*row) for row in rows]


async def members(db: Connection, government: str) -> list[Member]:
    """The people who act for a government."""
    rows = await db.fetch(
        """
        select person, role, issuer, subject, name, email
        from projection.member join private.person using (person)
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
