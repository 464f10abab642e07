"""Who signs in: an account, the random id that stands for it everywhere else, and a name and an address if known."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from services.chassis.ids import opaque_id

if TYPE_CHECKING:
    from datetime import datetime

    from services.chassis.auth import Principal
    from services.chassis.database import Connection
    from services.intake.governments.domain import Role, Standing


@dataclass(frozen=True)
class Kept:
    """What is kept about a person."""

    person: str
    name: str
    email: str


@dataclass(frozen=True)
class Membership:
    """A government that a person acts for."""

    government: str
    name: str
    role: Role
    standing: Standing


@dataclass(frozen=True)
class Offer:
    """An open invitation to an address."""

    invitation: str
    name: str
    role: Role
    expires_at: datetime


@dataclass(frozen=True)
class OfDomain:
    """A government that names an address's domain as its own."""

    government: str
    name: str
    state: str


async def person(db: Connection, issuer: str, subject: str, *, name: str = "", email: str = "") -> str:
    """The random id of whoever signs in as (`issuer`, `subject`); made the first time.

    A name and an address are kept where there is none yet: what the person said stands.
    """
    return str(
        await db.fetchval(
            """
            insert into private.person (issuer, subject, person, name, email) values ($1, $2, $3, $4, $5)
            on conflict (issuer, subject) do update set
                name = coalesce(nullif(person.name, ''), excluded.name),
                email = coalesce(nullif(person.email, ''), excluded.email)
            returning person
            """,
            issuer,
            subject,
            opaque_id(),
            name,
            email,
        )
    )


async def caller(db: Connection, who: Principal) -> str:
    """The id of whoever is asking; what their token says of them is kept."""
    return await person(db, who.issuer, who.subject, name=who.name, email=who.email)


async def kept(db: Connection, who: Principal) -> Kept | None:
    """What is kept about whoever is asking, if anything."""
    row = await db.fetchrow(
        "select person, name, email from private.person where issuer = $1 and subject = $2", who.issuer, who.subject
    )
    return Kept(*row) if row else None


async def save(db: Connection, person: str, name: str, email: str) -> None:
    """Keep what a person says of themselves."""
    await db.execute("update private.person set name = $2, email = $3 where person = $1", person, name, email)


async def account(db: Connection, person: str) -> tuple[str, str] | None:
    """(issuer, subject) of a person; None for one that was erased."""
    row = await db.fetchrow("select issuer, subject from private.person where person = $1", person)
    return (row["issuer"], row["subject"]) if row else None


async def memberships(db: Connection, person: str) -> list[Membership]:
    """The governments that a person acts for, by name."""
    rows = await db.fetch(
        """
        select government, name, role, coalesce(standing, 'unconfirmed')
        from projection.member join private.government using (government)
            left join projection.standing using (government)
        where person = $1 order by name, government
        """,
        person,
    )
    return [Membership(*row) for row in rows]


async def offers(db: Connection, email: str, now: datetime) -> list[Offer]:
    """The open invitations to an address, the newest first."""
    rows = await db.fetch(
        """
        select invitation, name, role, expires_at from private.invitation join private.government using (government)
        where lower(email) = lower($1) and email <> '' and accepted_by is null and not revoked and expires_at > $2
        order by invited_at desc, invitation
        """,
        email,
        now,
    )
    return [Offer(*row) for row in rows]


async def of_domain(db: Connection, who: Principal) -> list[OfDomain]:
    """The governments of whose e-mail domain the caller's proven address is, and which they do not act for."""
    _, _, host = who.email.lower().rpartition("@")
    labels = host.split(".")
    rows = await db.fetch(
        """
        select government, name, state from private.government left join projection.standing using (government)
        where email_domain = any($1::text[]) and email_domain <> '' and merged_into is null and not exists (
            select from projection.member m join private.person using (person)
            where m.government = private.government.government and issuer = $2 and subject = $3
        ) order by name, government limit 50
        """,
        [".".join(labels[number:]) for number in range(len(labels))],
        who.issuer,
        who.subject,
    )
    return [OfDomain(*row) for row in rows]
