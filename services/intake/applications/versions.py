"""What was submitted, version by version, as it was: frozen with its event, readable ever after, comparable."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from services.chassis.receipts import Stated
from services.intake.applications.sections import changes, fields, tidy
from services.intake.applications.store import SAVE, values

if TYPE_CHECKING:
    from datetime import datetime

    from schemas.applications import ApplicationSubmitted
    from schemas.envelope import Written
    from services.chassis.database import Connection
    from services.intake.applications.domain import Application
    from services.intake.applications.sections import Document

BLOCKS = frozenset({"identity", "claims", "answers", "contact"})


@dataclass(frozen=True)
class Version:
    """A version: `content` are its event's sealed blocks, `receipt` is the compact JWS that was given for it."""

    application: str
    version: int
    event: str
    leaf_hash: bytes
    submitted_at: datetime
    content: Document
    receipt: str
    erased: Collection[str] = ()
    """The blocks that were erased since: `content` goes on without them."""


@dataclass(frozen=True)
class Difference:
    """A field that two versions do not share: its pointer, and its value in both, None where there is none."""

    field: str
    before: Any
    after: Any


def frozen(event: ApplicationSubmitted) -> Document:
    """What a submission says, as JSON: nothing of the draft that is not in it, and all that is."""
    return event.model_dump(mode="json", include=set(BLOCKS))


def stated(event: ApplicationSubmitted, written: Written, issuer: str) -> Stated:
    """What the receipt for a submission says; `issuer` is the public address here."""
    return Stated(
        iss=issuer,
        cycle=event.cycle,
        application=event.application,
        version=event.version,
        event=written.header.id,
        leaf_hash=written.leaf_hash.hex(),
        submitted_at=written.header.time,
    )


def differences(before: Document, after: Document) -> list[Difference]:
    """Every field that differs between two versions' contents, in the order of the later one, then what is gone."""
    old, new = tidy(before), tidy(after)
    was, now = fields(old), fields(new)
    return [Difference(field, was.get(field), now.get(field)) for field in changes(old, new)]


async def keep(
    db: Connection, application: Application, event: ApplicationSubmitted, written: Written, receipt: str
) -> None:
    """Keep an application's state, and the version that it is of; there is never another one under its number."""
    await db.execute(
        f"with stated as (insert into private.version values ($1, $3, $4, $6, $7, $8, $9)) {SAVE}",  # noqa: S608  (a constant)
        *values(application),
        written.leaf_hash,
        written.header.time,
        frozen(event),
        receipt,
    )


async def version(db: Connection, application: str, number: int) -> Version | None:
    """One version, if there is such a one."""
    row = await db.fetchrow(
        "select * from private.version where application = $1 and version = $2", application, number
    )
    return Version(*row) if row else None


async def standing(db: Connection, application: str) -> Version | None:
    """The newest version, which is the one that is reviewed; None where nothing was submitted."""
    row = await db.fetchrow(
        "select * from private.version where application = $1 order by version desc limit 1", application
    )
    return Version(*row) if row else None


async def versions(db: Connection, application: str) -> list[tuple[int, str, bytes, datetime, str]]:
    """(number, event, leaf hash, submitted at, receipt) of all versions, the newest first."""
    rows = await db.fetch(
        "select version, event, leaf_hash, submitted_at, receipt from private.version where application = $1"
        " order by version desc",
        application,
    )
    return [tuple(row) for row in rows]


async def note_reading(db: Connection, issuer: str, subject: str, what: str, application: str) -> None:
    """Write down who of the program, or which reviewer, is about to read an application."""
    await db.execute(
        "insert into private.read_log (issuer, subject, what, application) values ($1, $2, $3, $4)",
        issuer,
        subject,
        what,
        application,
    )
