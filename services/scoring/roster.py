"""Who reviews in a cycle, the accounts behind them, and the keys that sign for them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from services.scoring.domain import Sender

if TYPE_CHECKING:
    from collections.abc import Collection

    from schemas.reviews import Account, ReviewerEnrolled
    from services.chassis.auth import Principal
    from services.chassis.database import Connection


async def reviewer_of(db: Connection, cycle: str, who: Principal) -> str | None:
    """The id under which an account reviews in a cycle."""
    name: str | None = await db.fetchval(
        "select reviewer from private.reviewer where cycle = $1 and issuer = $2 and subject = $3",
        cycle,
        who.issuer,
        who.subject,
    )
    return name


async def add_reviewer(db: Connection, event: ReviewerEnrolled, account: Account, name: str) -> bool:
    """Keep a new reviewer; False, and nothing kept, where the account is enrolled in the cycle already."""
    place = (event.cycle, account.issuer, account.subject)
    taken = "select true from private.reviewer where cycle = $1 and issuer = $2 and subject = $3"
    if await db.fetchval(taken, *place):
        return False
    await keep_reviewer(db, event)
    await db.execute("insert into private.reviewer values ($1, $2, $3, $4, $5)", event.reviewer, *place, name)
    return True


async def keep_reviewer(db: Connection, event: ReviewerEnrolled) -> None:
    """Keep what conflicts are judged by."""
    states = event.private.states if event.private else []
    await db.execute("insert into projection.reviewer values ($1, $2, $3)", event.reviewer, event.cycle, states)


async def enrolled(db: Connection, reviewer: str) -> bool:
    """Whether there is such a reviewer."""
    return bool(await db.fetchval("select true from projection.reviewer where reviewer = $1", reviewer))


async def reviewers(db: Connection, cycle: str) -> dict[str, list[str]]:
    """The states of a cycle's reviewers, by id; not of those that were erased, whose conflicts nobody knows."""
    rows = await db.fetch("select reviewer, states from projection.reviewer where cycle = $1 and states <> '{}'", cycle)
    return {row["reviewer"]: row["states"] for row in rows}


async def add_key(db: Connection, kid: str, reviewer: str, jwk: dict[str, Any]) -> bool:
    """Keep a key; False where it is another reviewer's."""
    owner = await db.fetchval(
        "insert into private.key as k (kid, reviewer, jwk) values ($1, $2, $3)"
        " on conflict (kid) do update set kid = k.kid returning reviewer",
        kid,
        reviewer,
        jwk,
    )
    return bool(owner == reviewer)


async def kids(db: Connection, reviewer: str) -> list[str]:
    """A reviewer's keys, the oldest first."""
    rows = await db.fetch("select kid from private.key where reviewer = $1 order by registered_at, kid", reviewer)
    return [row["kid"] for row in rows]


async def keys(db: Connection, kids: Collection[str]) -> dict[str, tuple[Sender, str]]:
    """Whose the known ones of `kids` are, and their public keys: the `x` of the JWK."""
    rows = await db.fetch(
        "select kid, jwk->>'x', reviewer, cycle from private.key join projection.reviewer using (reviewer)"
        " where kid = any($1::text[])",
        list(kids),
    )
    return {kid: (Sender(reviewer, cycle), x) for kid, x, reviewer, cycle in rows}
