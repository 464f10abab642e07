"""The list of whom the program invites to a cycle, and the applications that somebody opened."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from services.intake.openness.domain import Invited

if TYPE_CHECKING:
    from collections.abc import Iterable
    from datetime import datetime

    from schemas.screening import InvitationIssued
    from services.chassis.database import Connection

Became = Literal["listed", "queued", "sent", "bounced", "opened", "submitted"]


@dataclass(frozen=True)
class Invitee:
    """Somebody on the list, and the government that is likely theirs."""

    invitee: str
    name: str
    state: str
    email: str
    added_at: datetime
    sent_at: datetime | None
    became: Became
    government: str | None
    reason: str
    """Why an invitation that should have gone out did not."""


@dataclass(frozen=True)
class Opened:
    """An application that somebody opened."""

    application: str
    government: str
    name: str
    state: str
    kind: str
    became: Literal["draft", "submitted", "withdrawn"]


_CAMPAIGN = """
with opened as (
    select government, name, state, email_domain, standing.application is not null as submitted
    from private.draft join private.government using (government)
        left join projection.application as standing using (application)
    where draft.cycle = $1
), listed as (
    select * from private.invitee where cycle = $1
), matched as (
    select distinct on (invitee) invitee, government, submitted from (
        select invitee, government, submitted from listed join opened
            on lower(listed.name) = lower(opened.name) and lower(listed.state) = lower(opened.state)
        union all
        select invitee, government, submitted from listed join opened
            on split_part(lower(email), '@', 2) = lower(email_domain)
        union all
        select invitee, government, submitted from listed
            join private.person as known on lower(known.email) = lower(listed.email)
            join projection.member using (person) join opened using (government)
    ) as any_way order by invitee, submitted desc, government
), campaign as (
    select invitee, name, state, email, added_at, coalesce(sent_at, at) as sent_at,
        case when submitted then 'submitted' when government is not null then 'opened'
            when coalesce(sent_at, at) is not null then 'sent'
            when invitation.became in ('queued', 'bounced') then invitation.became else 'listed' end as became,
        government, coalesce(reason, '') as reason
    from listed left join matched using (invitee)
        left join projection.invitation using (invitee)
)
"""


async def add_invitees(db: Connection, cycle: str, rows: Iterable[tuple[str, Invited]], at: datetime) -> int:
    """Keep those whose address is not on the list yet; how many these are."""
    names, invited = zip(*rows, strict=True) if (rows := list(rows)) else ((), ())
    added = await db.fetch(
        """
        insert into private.invitee (invitee, cycle, name, state, email, added_at)
        select invitee, $1, name, state, email, $2
        from unnest($3::text[], $4::text[], $5::text[], $6::text[]) as t (invitee, name, state, email)
        on conflict (cycle, lower(email)) do nothing returning invitee
        """,
        cycle,
        at,
        list(names),
        [one.name for one in invited],
        [one.state for one in invited],
        [one.email for one in invited],
    )
    return len(added)


async def invitees(db: Connection, cycle: str, after: str, limit: int) -> list[Invitee]:
    """Those on a cycle's list, by id."""
    query = f"{_CAMPAIGN} select * from campaign where invitee > $2 order by invitee limit $3"  # noqa: S608  (ours)
    rows = await db.fetch(query, cycle, after, limit)
    return [Invitee(*row) for row in rows]


async def campaign_counts(db: Connection, cycle: str) -> dict[Became, int]:
    """How many of a cycle's list there are of each."""
    query = f"{_CAMPAIGN} select became, count(*) from campaign group by became"  # noqa: S608  (a query of ours)
    rows = await db.fetch(query, cycle)
    return {row["became"]: row["count"] for row in rows}


async def mark_sent(db: Connection, cycle: str, names: list[str], at: datetime) -> list[str]:
    """Note that these went out, and give those that are not on the list."""
    query = """
        update private.invitee set sent_at = coalesce(sent_at, $3)
        where cycle = $1 and invitee = any($2::text[]) returning invitee
    """
    known = {row["invitee"] for row in await db.fetch(query, cycle, names, at)}
    return [name for name in names if name not in known]


async def uninvited(db: Connection, cycle: str, names: list[str] | None) -> list[Invitee]:
    """Those on the list who have opened no application and to whom no invitation went out, is on its way or came back.

    Of `names`, if there are any.

    No other transaction invites them meanwhile.
    """
    await db.execute("select pg_advisory_xact_lock(hashtextextended($1, 0))", f"campaign {cycle}")
    query = f"""{_CAMPAIGN}
        select * from campaign where became = 'listed' and ($2::text[] is null or invitee = any($2)) order by invitee
    """  # noqa: S608  (ours)
    rows = await db.fetch(query, cycle, names)
    return [Invitee(*row) for row in rows]


async def keep_invitation(db: Connection, event: InvitationIssued, event_id: str) -> None:
    """Keep that somebody is invited."""
    await db.execute(
        """
        insert into projection.invitation (invitee, cycle, event) values ($1, $2, $3)
        on conflict (invitee) do update set event = excluded.event, became = 'queued', at = null, reason = ''
        """,
        event.invitee,
        event.of_cycle,
        event_id,
    )


async def keep_fate(
    db: Connection, event: str, became: Literal["sent", "bounced", "dropped"], at: datetime | None, reason: str
) -> None:
    """Keep what became of the letter about an event, where that is an invitation."""
    update = "update projection.invitation set became = $2, at = $3, reason = $4 where event = $1"
    await db.execute(update, event, became, at, reason)


async def remove_invitee(db: Connection, cycle: str, name: str) -> bool:
    """Forget somebody; False where they are not on the list."""
    query = "delete from private.invitee where cycle = $1 and invitee = $2 returning true"
    return bool(await db.fetchval(query, cycle, name))


async def opened(db: Connection, cycle: str, after: str, limit: int) -> list[Opened]:
    """The applications that somebody opened in a cycle, by id."""
    rows = await db.fetch(
        """
        select draft.application, government, name, state, kind,
            case when withdrawn then 'withdrawn' when withdrawn is null then 'draft' else 'submitted' end
        from private.draft join private.government using (government)
            left join projection.application as standing using (application)
        where draft.cycle = $1 and draft.application > $2 order by draft.application limit $3
        """,
        cycle,
        after,
        limit,
    )
    return [Opened(*row) for row in rows]
