"""What an erasure changes in intake's tables. A person's id stays where it stood: it leads to nobody any more."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from services.intake.erasure.domain import without
from services.intake.evidence.store import look_again

if TYPE_CHECKING:
    from collections.abc import Collection
    from datetime import datetime

    from schemas.erasures import DisclosureErased
    from services.chassis.database import Connection
    from services.chassis.sought import Account

WROTE = (("comment", "text"), ("question", "asked"), ("charter_comment", "text"), ("recovery", "reason"))
"""Tables of what people write as such, and not for a government: emptied with their author."""


@dataclass(frozen=True)
class Somebody:
    """A person as intake knows them."""

    person: str
    issuer: str
    subject: str
    name: str
    email: str


async def find(db: Connection, person: str, issuer: str) -> list[Somebody]:
    """Whoever has this id, this address, or is this subject of the issuer."""
    rows = await db.fetch(
        "select person, issuer, subject, name, email from private.person"
        " where person = $1 or (lower(email) = lower($1) and email <> '') or (subject = $1 and issuer = $2)"
        " order by person",
        person,
        issuer,
    )
    return [Somebody(*row) for row in rows]


async def person_of(db: Connection, account: Account) -> str | None:
    """The id of an account, which is locked."""
    query = "select person from private.person where issuer = $1 and subject = $2 for update"
    person: str | None = await db.fetchval(query, account.issuer, account.subject)
    return person


async def governments_of(db: Connection, person: str) -> list[str]:
    """The governments that a person acts for, locked."""
    rows = await db.fetch(
        "select government from private.government where government in"
        " (select government from projection.member where person = $1) order by government for update",
        person,
    )
    return [row["government"] for row in rows]


async def forget_person(db: Connection, person: str, places: Counter[str]) -> None:
    """Keep no account of a person, and nothing that they wrote as such."""
    for table, column in WROTE:
        done = await db.execute(
            f"update private.{table} set {column} = '' where person = $1 and {column} <> ''",  # noqa: S608  (of WROTE)
            person,
        )
        places[f"private.{table}.{column}"] += int(done.split()[-1])
    await db.execute("delete from private.person where person = $1", person)
    places["private.person"] += 1


async def forget_invitees(db: Connection, texts: Collection[str], places: Counter[str]) -> None:
    """Invite nobody at an address that is erased."""
    addresses = [text.lower() for text in texts]
    done = await db.execute("delete from private.invitee where lower(email) = any($1::text[])", addresses)
    places["private.invitee"] += int(done.split()[-1])


async def contents(db: Connection, events: Collection[str]) -> dict[str, dict[str, Any]]:
    """The contents of those of `events` that are submissions."""
    rows = await db.fetch("select event, content from private.version where event = any($1::text[])", list(events))
    return {row["event"]: row["content"] for row in rows}


async def apply(db: Connection, erasure: DisclosureErased, places: Counter[str]) -> None:
    """Keep nothing of the erased blocks: neither of a version, nor of what was said with an event."""
    if content := (await contents(db, [erasure.event])).get(erasure.event):
        await db.execute(
            "update private.version set content = $2, erased = array("
            "select distinct one from unnest(erased || $3::text[]) as one order by one) where event = $1",
            erasure.event,
            without(content, erasure.digests),
            list(erasure.digests),
        )
        places["private.version.content"] += 1
    if "private" in erasure.digests:
        done = await db.execute("update private.statement set text = '' where event = $1 and text <> ''", erasure.event)
        places["private.statement.text"] += int(done.split()[-1])
    await follow(db, erasure)


async def follow(db: Connection, erasure: DisclosureErased) -> None:
    """The same of the projection, which a replay does, too."""
    await db.execute("delete from projection.reviewer where event = $1", erasure.event)


async def forget_file(db: Connection, sha256: str, now: datetime) -> int:
    """Have nobody refer to a content, and have it swept at once; how many referred to it."""
    done = await db.execute("delete from private.file where sha256 = $1", sha256)
    await db.execute("update private.content set touched = '-infinity' where sha256 = $1", sha256)
    await look_again(db, "content", sha256, now)
    return int(done.split()[-1])
