"""Letters on their way: queued in the transaction that makes them, leased by whoever sends, settled by attempt.

An address and what a letter says are kept until it is settled, and no longer; then it is known by a fingerprint, so
that its reader can still want no more.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from services.chassis.ids import opaque_id, secret
from services.notifications.mail.domain import Letter, fingerprint, mail_id

if TYPE_CHECKING:
    from collections.abc import Iterable
    from datetime import datetime

    import asyncpg

    from services.chassis.database import Connection, Tx
    from services.notifications.mail.domain import Kind, Settlement

WORK = "mail"
"""The alarm of the loop that sends letters."""


@dataclass(frozen=True)
class Recipient:
    """Whom a letter is for: `reader` is their id, the same whenever the letter is made again."""

    reader: str
    email: str


@dataclass(frozen=True)
class Occasion:
    """What a letter is about: an event, in it an application or an invitee. After `until` the letter is of no use."""

    kind: Kind
    event: str
    about: str
    cycle: str
    until: datetime | None = None


async def send(tx: Tx, on: Occasion, recipients: Iterable[Recipient], said: dict[str, Any]) -> None:
    """Queue a letter for each of the recipients, once, and wake the loop that sends."""
    people = [one for one in recipients if one.email.strip()]
    await tx.db.executemany(
        """
        insert into private.mail (mail, event, kind, about, cycle, email, address, said, until, stop)
        values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10) on conflict do nothing
        """,
        [
            (
                mail_id(on.event, one.reader),
                on.event,
                on.kind,
                on.about,
                on.cycle,
                one.email,
                fingerprint(one.email),
                said,
                on.until,
                secret(16),
            )
            for one in people
        ],
    )
    tx.wakes.add(WORK)


@dataclass(frozen=True, slots=True)
class Claim:
    """A letter that this process may attempt until its lease ends."""

    lease: str
    letter: Letter
    cycle: str
    email: str
    said: dict[str, Any]
    stop: str


async def claim(
    db: Connection | asyncpg.Pool[asyncpg.Record], most: int, now: datetime, until: datetime
) -> list[Claim]:
    """Lease what is due at `now`, machine time, in the order in which it became so."""
    lease = opaque_id()
    rows = await db.fetch(_CLAIM, now, until, lease, most)
    return [
        Claim(
            lease=lease,
            letter=Letter(row["mail"], row["event"], row["kind"], row["tries"], row["until"], row["stopped"]),
            cycle=row["cycle"],
            email=row["email"],
            said=row["said"],
            stop=row["stop"],
        )
        for row in rows
    ]


_CLAIM = """
with taken as (
    select mail from private.mail
    where state = 'pending' and due <= $1 and (leased_until is null or leased_until <= $1)
    order by due, position limit $4 for update skip locked
)
update private.mail as m set lease = $3, leased_until = $2 from taken where m.mail = taken.mail
returning m.mail, m.event, m.kind, m.cycle, m.email, m.said, m.until, m.stop, m.tries,
    exists (select from private.mail_stop where mail_stop.address = m.address) as stopped
"""


async def settle(db: Connection, claim: Claim, settlement: Settlement, at: datetime) -> bool:
    """Keep what an attempt came to and end the lease; False where it was lost. What is over loses its address."""
    found = await db.fetchval(
        """
        update private.mail set state = $3, why = $4, tries = tries + $5, due = coalesce($6, due), at = $7,
            lease = null, leased_until = null,
            email = case when $3 = 'pending' then email end, said = case when $3 = 'pending' then said end
        where mail = $1 and lease = $2 and state = 'pending' returning true
        """,
        claim.letter.mail,
        claim.lease,
        settlement.state,
        settlement.why,
        int(settlement.attempted),
        settlement.next_at,
        at,
    )
    return bool(found)


async def forget(db: Connection, event: str) -> None:
    """Have nothing sent any more to where an event's erased blocks said, and know no address of it."""
    await db.execute(
        "update private.mail set state = 'failed', why = 'erased', email = null, said = null, lease = null"  # noqa: S608  (a constant)
        f" where state = 'pending' and {_SAID_BY}",
        event,
    )
    # Its fingerprint, too, says whose it was to who has the address. That it wants no more letters stays.
    await db.execute(f"update private.mail set address = '' where {_SAID_BY}", event)  # noqa: S608  (likewise)
    await db.execute("update private.official set email = '' where event = $1", event)


_SAID_BY = """
(event = $1 and kind in ('reminder', 'invitation', 'receipt') or kind not in ('reminder', 'invitation')
    and about = (select application from private.official where official.event = $1))
"""
"""Letters whose address an event said. Of what tells an official of a later event, a submission did."""


async def release(db: asyncpg.Pool[asyncpg.Record], claims: Iterable[Claim]) -> None:
    """End leases of what was not attempted."""
    await db.execute(
        "update private.mail set lease = null, leased_until = null from unnest($1::text[], $2::text[]) as t (m, l)"
        " where mail = m and lease = l",
        [one.letter.mail for one in claims],
        [one.lease for one in claims],
    )


async def stopping(db: Connection, token: str) -> tuple[str, bool] | None:
    """The cycle of a letter, by its token, and whether its reader wants no more already; None for no token of ours."""
    row = await db.fetchrow(
        """
        select cycle, exists (select from private.mail_stop where mail_stop.address = mail.address)
        from private.mail where stop = $1
        """,
        token,
    )
    return (row[0], row[1]) if row else None


async def stop(db: Connection, token: str, at: datetime) -> None:
    """Send no more reminders and invitations to a letter's address."""
    await db.execute(
        "insert into private.mail_stop select address, $2 from private.mail"
        " where stop = $1 and address <> '' on conflict do nothing",
        token,
        at,
    )


async def save_official(db: Connection, application: str, event: str, email: str, government: str) -> None:
    """Keep where letters about an application go: to the official whom its last version names."""
    await db.execute(
        """
        insert into private.official values ($1, $2, $3, $4)
        on conflict (application) do update set event = excluded.event, email = excluded.email,
            government = excluded.government
        """,
        application,
        event,
        email,
        government,
    )


async def official(db: Connection, application: str) -> tuple[str, str] | None:
    """(address, the government's name) for letters about an application."""
    row = await db.fetchrow("select email, government from private.official where application = $1", application)
    return (row["email"], row["government"]) if row else None


async def letters(db: Connection, before: int | None, limit: int, state: str | None) -> list[asyncpg.Record]:
    """Letters, the newest first, without addresses. `before` is the position of the last one seen."""
    return await db.fetch(
        """
        select position, mail, event, kind, about, cycle, state, why, tries, at from private.mail
        where position < coalesce($1, 9223372036854775807) and ($3::text is null or state = $3)
        order by position desc limit $2
        """,
        before,
        limit,
        state,
    )
