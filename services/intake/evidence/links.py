"""The table of links: named by drafts, taken one at a time of a host to be looked at, kept with what was found."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from services.intake.evidence.domain import citations, must_be_uploaded
from services.intake.evidence.store import files

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from services.chassis.database import Connection
    from services.intake.applications.sections import Document
    from services.intake.evidence.domain import Look, State

SETTLED = timedelta(seconds=30)
"""How long a link stands before it is looked at: whoever saves while typing is not done yet."""
_TURN = 80
"""The advisory lock of who takes the next link: of one host, one at a time, over all processes."""


async def cite(db: Connection, application: str, section: str, content: Document) -> None:
    """Take note of the evidence in the new content of a section that is owned.

    Its links will be looked at; those of a draft that was never submitted are forgotten with it. RefusedError (422) for
    a file that was not uploaded.
    """
    cited = list(citations(content))
    if any(one.file for one in cited):
        must_be_uploaded(cited, await files(db, application))
    links = sorted({one.url for one in cited if one.url})
    await db.execute(
        """
        with gone as (
            delete from private.link where application = $1 and section = $2 and url <> all($3::text[])
                and not exists (select from projection.application as standing where standing.application = $1)
        )
        insert into private.link (application, section, url, host, due)
        select $1, $2, url, host, clock_timestamp() + $5 from unnest($3::text[], $4::text[]) as named (url, host)
        on conflict do nothing
        """,
        application,
        section,
        links,
        [host_of(url) for url in links],
        SETTLED,
    )


def host_of(url: str) -> str:
    """The host of a link; empty where it has none."""
    try:
        return (urlsplit(url).hostname or "").lower()
    except ValueError:
        return ""


@dataclass(frozen=True)
class Link:
    """A link of a draft, and what was found there; `title` is of when it was last reachable, at `seen_at`."""

    application: str
    section: str
    url: str
    host: str
    state: State
    status: int | None
    reason: str
    title: str
    failures: int
    checked_at: datetime | None
    seen_at: datetime | None


@dataclass(frozen=True)
class Errand:
    """A link to look at, in a cycle that ends its first part at `deadline` (program time)."""

    link: Link
    demonstration: bool
    deadline: datetime


_LINK = "application, section, url, host, state, status, reason, title, failures, checked_at, seen_at"


async def links(db: Connection, application: str) -> dict[str, Link]:
    """What is known of an application's links, by their address."""
    rows = await db.fetch(f"select {_LINK} from private.link where application = $1 order by section", application)  # noqa: S608  (the names of columns)
    return {row["url"]: Link(*row) for row in rows}


def broken(named: Mapping[str, Link]) -> dict[str, str]:
    """Those of the links at which the last look found nothing, and why."""
    return {url: link.reason for url, link in named.items() if link.state == "broken"}


async def claim_link(db: Connection, now: datetime, until: datetime) -> Errand | None:
    """Take the next link until `until`: none of a host that somebody asks, or asked a moment ago."""
    await db.execute("select pg_advisory_xact_lock($1)", _TURN)
    row = await db.fetchrow(
        f"""
        with taken as (
            update private.link set due = $2, busy_until = $2 where (application, section, url) = (
                select application, section, url from private.link as waiting
                where due <= $1 and not exists (
                    select from private.link as busy where busy.host = waiting.host and busy.busy_until > $1
                ) order by due, application, section, url limit 1 for update skip locked
            ) returning {_LINK}
        )
        select taken.*, demonstration, deadline from taken
            join private.draft using (application) join projection.cycle using (cycle)
        """,  # noqa: S608  (likewise)
        now,
        until,
    )
    return Errand(Link(*row[:-2]), row["demonstration"], row["deadline"]) if row else None


async def leave_link(db: Connection, link: Link) -> None:
    """Look at a link no more: the time in which anyone relies on it is over, or it was made up."""
    await db.execute(
        "update private.link set due = 'infinity', busy_until = '-infinity'"
        " where application = $1 and section = $2 and url = $3",
        link.application,
        link.section,
        link.url,
    )


async def save_look(
    db: Connection, link: Link, look: Look, *, now: datetime, due: datetime, busy_until: datetime
) -> None:
    """Keep what a look found, unless the link is gone."""
    await db.execute(
        """
        update private.link set state = $4, status = $5, reason = $6, checked_at = $8, due = $9, busy_until = $10,
            title = case when $4 = 'reachable' then $7 else title end,
            failures = case when $4 = 'broken' then failures + 1 else 0 end,
            seen_at = case when $4 = 'reachable' then $8 else seen_at end
        where application = $1 and section = $2 and url = $3
        """,
        link.application,
        link.section,
        link.url,
        look.state,
        look.status,
        look.reason,
        look.title,
        now,
        due,
        busy_until,
    )
