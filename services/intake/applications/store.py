"""Drafts, which are private, and applications as their events left them."""

from __future__ import annotations

from dataclasses import astuple, dataclass
from typing import TYPE_CHECKING, Any

from services.intake.applications.domain import Application

if TYPE_CHECKING:
    from services.chassis.database import Connection
    from services.intake.locks import Lock


@dataclass(frozen=True)
class Sheet:
    """A stored draft: whose it is, its revision (the ETag) and its document."""

    application: str
    cycle: str
    government: str
    revision: int
    content: dict[str, Any]


async def standing(db: Connection, cycle: str) -> list[str]:
    """Event ids of the versions that stand: of the cycle's applications that were submitted and not withdrawn."""
    rows = await db.fetch("select submitted from projection.application where cycle = $1 and not withdrawn", cycle)
    return [row["submitted"] for row in rows]


async def standing_counts(db: Connection) -> dict[str, int]:
    """How many applications stand, by cycle; a cycle without any is absent."""
    rows = await db.fetch("select cycle, count(*) from projection.application where not withdrawn group by cycle")
    return {row["cycle"]: row["count"] for row in rows}


async def add_draft(db: Connection, application: str, cycle: str, government: str) -> str | None:
    """Keep an empty draft; where there is one of this government in this cycle already, its application's id."""
    added = await db.fetchval(
        """
        insert into private.draft (application, cycle, government) values ($1, $2, $3)
        on conflict (cycle, government) do nothing returning true
        """,
        application,
        cycle,
        government,
    )
    if added:
        return None
    existing = "select application from private.draft where cycle = $1 and government = $2"
    return str(await db.fetchval(existing, cycle, government))


async def sheet(db: Connection, application: str, lock: Lock = "") -> Sheet | None:
    """The draft of an application, if any. Its row, owned, stands for the application too."""
    row = await db.fetchrow(
        "select application, cycle, government, revision, content from private.draft"  # noqa: S608  (likewise)
        f" where application = $1{lock}",
        application,
    )
    return Sheet(*row) if row else None


async def save_draft(db: Connection, application: str, content: dict[str, Any]) -> int:
    """Keep a draft's new document; its new revision."""
    changed = "update private.draft set content = $2, revision = revision + 1 where application = $1 returning revision"
    return int(await db.fetchval(changed, application, content))


async def application(db: Connection, name: str) -> Application | None:
    """The application's state, once it was submitted."""
    row = await db.fetchrow("select * from projection.application where application = $1", name)
    return Application(*row) if row else None


async def save_application(db: Connection, application: Application) -> None:
    """Keep an application's state."""
    await db.execute(
        """
        insert into projection.application values ($1, $2, $3, $4, $5)
        on conflict (application) do update set
            version = excluded.version, submitted = excluded.submitted, withdrawn = excluded.withdrawn
        """,
        *astuple(application),
    )
