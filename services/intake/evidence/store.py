"""Tables of files and of what is still coming of them, all private. When a file came is program time, else machine."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Literal

from services.intake.evidence.domain import Kept, Upload

if TYPE_CHECKING:
    from datetime import datetime

    from schemas.applications import File
    from services.chassis.database import Connection
    from services.intake.applications.sections import Document

Swept = Literal["content", "upload"]

GRACE = timedelta(hours=1)
"""How long a content to which nothing refers is kept: longer than it takes to refer to what was just stored."""

_KEPT = "sha256, name, type, bytes, criterion, person, at, frozen"
_UPLOAD = "upload, application, name, kind, criterion, length, received, person, expires, sha256"
# --- files ----------------------------------------------------------------------------------------------------------


async def files(db: Connection, application: str) -> dict[str, Kept]:
    """An application's files by SHA-256, the oldest first."""
    rows = await db.fetch(
        f"select {_KEPT} from private.file join private.content using (sha256)"  # noqa: S608  (the names of columns)
        " where application = $1 order by at, sha256",
        application,
    )
    return {row["sha256"]: Kept(*row) for row in rows}


async def freeze(db: Connection, application: str, content: Document) -> dict[str, File]:
    """The files that a draft cites, by SHA-256, which are no longer to be removed: it is being submitted."""
    evidence = (one for answer in content.get("answers", {}).values() for one in answer.get("evidence", []))
    cited = {one["file"] for one in evidence if one.get("file")}
    if not cited:
        return {}
    await db.execute(
        "update private.file set frozen = true where application = $1 and sha256 = any($2::text[])",
        application,
        list(cited),
    )
    return {name: kept.file for name, kept in (await files(db, application)).items() if name in cited}


async def touch_content(db: Connection, sha256: str, size: int, now: datetime) -> None:
    """Know a content that is about to be stored and referred to; whoever sweeps leaves it alone for a while."""
    await db.execute(
        "insert into private.content values ($1, $2, $3) on conflict (sha256) do update set touched = excluded.touched",
        sha256,
        size,
        now,
    )
    await look_again(db, "content", sha256, now + GRACE)


async def add_file(db: Connection, upload: Upload, start: int, file: File, at: datetime) -> bool:
    """Have the application refer to the file that its upload became by the piece at `start`.

    False where the upload does not go on there.
    """
    done = await db.fetchval(
        """
        update private.upload set received = length, sha256 = $2
        where upload = $1 and received = $3 and sha256 is null returning true
        """,
        upload.upload,
        file.sha256,
        start,
    )
    if not done:
        return False
    await db.execute(
        """
        insert into private.file (application, sha256, name, type, criterion, person, at)
        values ($1, $2, $3, $4, $5, $6, $7) on conflict (application, sha256) do update set
            name = excluded.name, type = excluded.type, criterion = excluded.criterion where not file.frozen
        """,
        upload.application,
        file.sha256,
        file.name,
        file.type,
        upload.criterion,
        upload.person,
        at,
    )
    await db.execute("delete from private.piece where upload = $1", upload.upload)
    return True


async def remove_file(db: Connection, application: str, sha256: str, now: datetime) -> None:
    """Have an application not refer to a content any more."""
    await db.execute("delete from private.file where application = $1 and sha256 = $2", application, sha256)
    await look_again(db, "content", sha256, now + GRACE)


async def forget(db: Connection, application: str, now: datetime) -> None:
    """Have nothing of an application's evidence: its files, frozen or not, what is coming, and its links."""
    for row in await db.fetch("delete from private.file where application = $1 returning sha256", application):
        await look_again(db, "content", row["sha256"], now + GRACE)
    for row in await db.fetch("select upload from private.upload where application = $1", application):
        await remove_upload(db, row["upload"], now)
    await db.execute("delete from private.link where application = $1", application)


# --- uploads --------------------------------------------------------------------------------------------------------


async def add_upload(db: Connection, upload: Upload) -> None:
    """Have an upload begin, and end by itself when it expires."""
    await db.execute(
        f"insert into private.upload ({_UPLOAD}) values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)",  # noqa: S608  (the names of columns)
        upload.upload,
        upload.application,
        upload.name,
        upload.kind,
        upload.criterion,
        upload.length,
        upload.received,
        upload.person,
        upload.expires,
        upload.sha256,
    )
    await look_again(db, "upload", upload.upload, upload.expires)


async def upload(db: Connection, application: str, name: str) -> Upload | None:
    """An upload of this application."""
    row = await db.fetchrow(
        f"select {_UPLOAD} from private.upload where application = $1 and upload = $2",  # noqa: S608  (likewise)
        application,
        name,
    )
    return Upload(*row) if row else None


async def coming(db: Connection, application: str) -> list[int]:
    """Bytes of each file that is still coming."""
    rows = await db.fetch("select length from private.upload where application = $1 and sha256 is null", application)
    return [row["length"] for row in rows]


async def add_piece(db: Connection, upload: str, start: int, size: int, sha256: str) -> bool:
    """Know a piece that is in the archive; False where the upload does not go on at `start`."""
    return bool(
        await db.fetchval(
            """
            with moved as (
                update private.upload set received = received + $3
                where upload = $1 and received = $2 and sha256 is null returning upload
            )
            insert into private.piece select upload, $2, $4 from moved returning true
            """,
            upload,
            start,
            size,
            sha256,
        )
    )


async def pieces(db: Connection, upload: str) -> list[tuple[int, str]]:
    """(start, SHA-256) of an upload's pieces, in order."""
    rows = await db.fetch("select start, sha256 from private.piece where upload = $1 order by start", upload)
    return [(row["start"], row["sha256"]) for row in rows]


async def remove_upload(db: Connection, upload: str, now: datetime) -> None:
    """Have an upload be over, and its pieces swept."""
    await db.execute("delete from private.upload where upload = $1", upload)
    await look_again(db, "upload", upload, now)


# --- sweeping -------------------------------------------------------------------------------------------------------


async def look_again(db: Connection, kind: Swept, name: str, due: datetime) -> None:
    """Have somebody see, when it is due, whether this can be removed from the archive."""
    await db.execute(
        "insert into private.sweep values ($1, $2, $3) on conflict (kind, name) do update set due = excluded.due",
        kind,
        name,
        due,
    )


async def claim_sweep(db: Connection, now: datetime) -> tuple[Swept, str] | None:
    """(kind, name) of what is due to be looked at, taken: it is gone once the transaction commits."""
    row = await db.fetchrow(
        """
        delete from private.sweep where (kind, name) = (
            select kind, name from private.sweep where due <= $1 order by due limit 1 for update skip locked
        ) returning kind, name
        """,
        now,
    )
    return (row["kind"], row["name"]) if row else None


async def drop_upload(db: Connection, upload: str, now: datetime) -> bool:
    """Whether an upload is over; one that expired is over now, any other is looked at again when it expires."""
    await db.execute("delete from private.upload where upload = $1 and expires <= $2", upload, now)
    expires = await db.fetchval("select expires from private.upload where upload = $1", upload)
    if expires is None:
        return True
    await look_again(db, "upload", upload, expires)
    return False


async def drop_content(db: Connection, sha256: str, now: datetime) -> bool:
    """Whether nobody refers to a content, nor is about to: then it is known no longer."""
    return bool(
        await db.fetchval(
            """
            delete from private.content where sha256 = $1 and touched <= $2
                and not exists (select from private.file where file.sha256 = content.sha256) returning true
            """,
            sha256,
            now - GRACE,
        )
    )
