"""Notifications' tables of what notices are written from, and of subscriptions; `backlog` has what is sent to them.

Whoever changes a subscription or its deliveries locks the subscription first.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

from schemas.charter import Charter
from schemas.designations import DesignationGranted
from schemas.envelope import Header
from services.notifications.domain import Filters, Subscription
from services.notifications.notice import Cycle, Grant

if TYPE_CHECKING:
    from datetime import datetime

    import asyncpg

    from services.chassis.auth import Principal
    from services.chassis.database import Connection

_charter = lru_cache(maxsize=8)(Charter.parse)

# --- what notices are written from ----------------------------------------------------------------------------------


async def insert_cycle(db: Connection, cycle: str, charter: str, *, demonstration: bool) -> None:
    """Keep a cycle that opened, with its charter's text."""
    await db.execute(
        "insert into projection.cycle (cycle, charter, demonstration) values ($1, $2, $3)",
        cycle,
        charter,
        demonstration,
    )


async def load_cycle(db: Connection, name: str) -> Cycle | None:
    """The cycle, or None."""
    row = await db.fetchrow("select * from projection.cycle where cycle = $1", name)
    if row is None:
        return None
    return Cycle(row["cycle"], _charter(row["charter"]), row["demonstration"], row["announced"])


async def mark_announced(db: Connection, cycle: str) -> None:
    """From here on everything about the cycle's designations may be told."""
    await db.execute("update projection.cycle set announced = true where cycle = $1", cycle)


async def insert_grant(db: Connection, grant: Grant) -> None:
    """Keep a designation, with its blocks apart."""
    event, blocks = grant.event, set(grant.event.block_fields())
    await db.execute(
        "insert into projection.designation values ($1, $2, $3, $4)",
        event.designation,
        event.cycle,
        grant.header.model_dump(mode="json"),
        event.model_dump(mode="json", exclude=blocks),
    )
    await db.execute(
        "insert into private.opening values ($1, $2)",
        event.designation,
        event.model_dump(mode="json", include=blocks, exclude_none=True),
    )


async def load_grants(db: Connection, cycle: str, designation: str | None = None) -> list[Grant]:
    """A cycle's designations as far as they are here, by id; or the one."""
    rows = await db.fetch(
        """
        select header, public || coalesce(blocks, '{}') as event
        from projection.designation left join private.opening using (designation)
        where cycle = $1 and designation = coalesce($2, designation) order by designation
        """,
        cycle,
        designation,
    )
    return [
        Grant(Header.model_validate(row["header"]), DesignationGranted.model_validate(row["event"])) for row in rows
    ]


# --- subscriptions --------------------------------------------------------------------------------------------------


async def count_live(db: Connection, who: Principal) -> int:
    """How many subscriptions a person has pending or confirmed; the person's next ones wait for this transaction."""
    await db.execute("select pg_advisory_xact_lock(hashtextextended($1, 0))", f"{who.issuer} {who.subject}")
    count: int = await db.fetchval(
        "select count(*) from private.subscription"
        " where issuer = $1 and subject = $2 and state in ('pending', 'confirmed')",
        who.issuer,
        who.subject,
    )
    return count


async def insert_subscription(
    db: Connection, who: Principal, name: str, *, url: str, secret: str, filters: Filters, now: datetime
) -> None:
    """Keep a new, pending subscription."""
    await db.execute(
        "insert into private.subscription (subscription, issuer, subject, url, secret, filters, created_at)"
        " values ($1, $2, $3, $4, $5, $6, $7)",
        name,
        who.issuer,
        who.subject,
        url,
        secret,
        filters.model_dump(),
        now,
    )


async def load_subscription(db: Connection, name: str, who: Principal | None = None) -> Subscription | None:
    """The subscription, locked; None where it isn't there or isn't `who`'s."""
    row = await db.fetchrow("select * from private.subscription where subscription = $1 for no key update", name)
    if row is None or (who is not None and (row["issuer"], row["subject"]) != (who.issuer, who.subject)):
        return None
    fields = ("subscription", "url", "state", "reason", "failing_since", "failed_at")
    return Subscription(**{field: row[field] for field in fields})


async def save_subscription(db: Connection, subscription: Subscription) -> None:
    """Keep what changed. One that ended loses its secret, and nothing more of it is sent."""
    await db.execute(
        """
        update private.subscription set state = $2, reason = $3, failing_since = $4, failed_at = $5,
            secret = case when $2 in ('pending', 'confirmed') then secret end
        where subscription = $1
        """,
        subscription.subscription,
        subscription.state,
        subscription.reason,
        subscription.failing_since,
        subscription.failed_at,
    )
    if subscription.state not in {"pending", "confirmed"}:
        await db.execute(
            "update private.delivery set state = 'dropped' where subscription = $1 and state = 'pending'",
            subscription.subscription,
        )


async def owned(
    db: Connection, who: Principal, *, name: str | None = None, before: int | None = None, limit: int = 1
) -> list[asyncpg.Record]:
    """A person's subscriptions, newest first; or the one. `before` is the position of the last one seen."""
    return await db.fetch(
        """
        select position, subscription, state, reason, url, filters, created_at from private.subscription
        where issuer = $1 and subject = $2 and subscription = coalesce($3, subscription)
            and position < coalesce($4, 9223372036854775807)
        order by position desc limit $5
        """,
        who.issuer,
        who.subject,
        name,
        before,
        limit,
    )


async def subscribed(db: Connection, issuer: str, subject: str) -> list[str]:
    """All subscriptions of an account, also those that ended, locked."""
    rows = await db.fetch(
        "select subscription from private.subscription where issuer = $1 and subject = $2 order by 1 for update",
        issuer,
        subject,
    )
    return [row["subscription"] for row in rows]


async def confirmed(db: Connection) -> list[tuple[str, Filters]]:
    """Every confirmed subscription with its filters. None of them ends before this transaction does."""
    rows = await db.fetch(
        "select subscription, filters from private.subscription where state = 'confirmed' order by 1 for share"
    )
    return [(row["subscription"], Filters.model_validate(row["filters"])) for row in rows]
