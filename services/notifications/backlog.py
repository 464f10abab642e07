"""The queue of deliveries: filled in the transaction that makes a notice, leased by whoever sends, settled by attempt.

A lease is a row's own, and no transaction stays open while an endpoint is called; what a killed process held is taken
up again when its lease ends. `claim` is the only one that takes deliveries without their subscription's lock, and it
skips what is locked.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from services.chassis.ids import opaque_id
from services.notifications.domain import Delivery

if TYPE_CHECKING:
    from collections.abc import Iterable
    from datetime import datetime

    import asyncpg

    from services.chassis.database import Connection, Tx
    from services.notifications.domain import Settlement
    from services.notifications.notice import Message

WORK = "deliveries"
"""The alarm of the loop that sends what is due."""


async def send(tx: Tx, messages: Iterable[Message], recipients: Iterable[tuple[str, Message]]) -> None:
    """Queue each message for its recipients (subscription, message), once, and wake the loop that delivers."""
    every, pairs = list(messages), list(recipients)
    await tx.db.execute(
        """
        insert into private.message (message, kind, subject, body)
        select * from unnest($1::text[], $2::text[], $3::text[], $4::bytea[]) on conflict do nothing
        """,
        [message.id for message in every],
        [message.kind for message in every],
        [message.subject for message in every],
        [message.body for message in every],
    )
    await tx.db.execute(
        """
        insert into private.delivery (notice, subscription, message, subject)
        select notice, subscription, message, subject
        from unnest($1::text[], $2::text[], $3::text[], $4::text[]) with ordinality
            as t (notice, subscription, message, subject, n) order by n
        on conflict (subscription, message) do nothing
        """,
        [opaque_id() for _ in pairs],
        [subscription for subscription, _ in pairs],
        [message.id for _, message in pairs],
        [message.subject for _, message in pairs],
    )
    tx.wakes.add(WORK)


@dataclass(frozen=True, slots=True)
class Claim:
    """A delivery that this process may attempt until its lease ends."""

    lease: str
    subscription: str
    turn: int
    """The subscription's place in the round."""
    doubtful: bool
    """Whether the endpoint is failing, or has not yet proven that it is one."""
    delivery: Delivery
    url: str
    secret: str
    body: bytes


@dataclass(frozen=True, slots=True)
class Share:
    """What a process can take up: `places` deliveries, `each` of them to one subscription, beginning after `turn`."""

    doubtful: bool
    places: int
    each: int
    turn: int


async def claim(
    db: Connection | asyncpg.Pool[asyncpg.Record], share: Share, now: datetime, until: datetime
) -> list[Claim]:
    """Lease what is due at `now` as far as it fits into `share`: of its kind of endpoints only, in turn.

    Of a subscription and an aggregate only the first that is pending, so that they arrive in order.
    """
    lease = opaque_id()
    rows = await db.fetch(_CLAIM, now, until, lease, share.doubtful, share.places, share.each, share.turn)
    return [
        Claim(
            lease=lease,
            subscription=row["subscription"],
            turn=row["turn"],
            doubtful=share.doubtful,
            delivery=Delivery(row["notice"], row["message"], row["kind"], row["tries"], row["attempts"]),
            url=row["url"],
            secret=row["secret"],
            body=row["body"],
        )
        for row in rows
    ]


# Goes through the subscriptions in turn and stops when it has enough: sorting all that is due would cost the more, the
# longer the queue is.
_CLAIM = """
with head as (
    select d.notice from private.subscription s cross join lateral (
        select notice from private.delivery d
        where d.subscription = s.subscription and d.state = 'pending' and d.due <= $1
            and (d.leased_until is null or d.leased_until <= $1)
            and not exists (
                select from private.delivery earlier
                where earlier.subscription = d.subscription and earlier.subject = d.subject
                    and earlier.state = 'pending' and earlier.position < d.position
            )
        order by d.due, d.position
        limit greatest(0, $6 - (
            select count(*) from private.delivery busy
            where busy.subscription = s.subscription and busy.state = 'pending' and busy.leased_until > $1
        ))
    ) d
    where s.position > $7 and s.state in ('pending', 'confirmed')
        and (s.state = 'pending' or s.failing_since is not null) = $4
        and exists (select from private.delivery where state = 'pending' and due <= $1)
    order by s.position limit $5
), taken as (
    select notice from private.delivery d where notice in (select notice from head)
    -- Again, because another process may have taken it since the snapshot.
    and d.state = 'pending' and d.due <= $1 and (d.leased_until is null or d.leased_until <= $1)
    for update skip locked
)
update private.delivery d set lease = $3, leased_until = $2
from taken, private.subscription s, private.message m
where d.notice = taken.notice and s.subscription = d.subscription and m.message = d.message
returning d.notice, d.subscription, d.tries, d.attempts, s.position as turn, s.url, s.secret, m.message, m.kind, m.body
"""


async def leased(db: Connection, claim: Claim) -> Delivery | None:
    """The claimed delivery, locked; None where the lease was lost or nothing is to be sent any more."""
    row = await db.fetchrow(
        "select tries, attempts from private.delivery"
        " where notice = $1 and lease = $2 and state = 'pending' for update",
        claim.delivery.notice,
        claim.lease,
    )
    return None if row is None else replace(claim.delivery, tries=row["tries"], attempts=row["attempts"])


async def settle(db: Connection, delivery: Delivery, settlement: Settlement, at: datetime, status: int | None) -> None:
    """Keep what an attempt that began `at` came to, end its lease and log it."""
    await db.execute(
        """
        update private.delivery set state = $2, tries = $3, attempts = $4, due = coalesce($5, due),
            lease = null, leased_until = null
        where notice = $1
        """,
        delivery.notice,
        settlement.state,
        delivery.tries + 1,
        delivery.attempts + 1,
        settlement.next_at,
    )
    await db.execute(
        "insert into private.attempt (notice, number, at, status, reason, next_at) values ($1, $2, $3, $4, $5, $6)",
        delivery.notice,
        delivery.attempts + 1,
        at,
        status,
        settlement.reason,
        settlement.next_at,
    )


async def attempts(db: Connection, subscription: str, *, before: int | None, limit: int) -> list[asyncpg.Record]:
    """A subscription's attempts, newest first. `before` is the position of the last one seen."""
    return await db.fetch(
        """
        select a.position, a.notice, m.message as event, m.kind as type, a.number, a.at, a.status, a.reason, a.next_at
        from private.attempt a join private.delivery d using (notice) join private.message m using (message)
        where d.subscription = $1 and a.position < coalesce($2, 9223372036854775807)
        order by a.position desc limit $3
        """,
        subscription,
        before,
        limit,
    )


async def replay(tx: Tx, subscription: str, notice: str) -> asyncpg.Record | None:
    """Have a notice sent again at once, under its old id, with a new round of attempts; None where it isn't there."""
    row = await tx.db.fetchrow(
        """
        update private.delivery d set state = 'pending', tries = 0, due = '-infinity'
        from private.message m
        where d.notice = $2 and d.subscription = $1 and m.message = d.message and m.kind <> 'challenge'
        returning d.notice, m.message as event, m.kind as type
        """,
        subscription,
        notice,
    )
    tx.wakes.add(WORK)
    return row
