"""What a draft's people say to each other about its fields: private, and in no event."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from datetime import datetime

    from services.chassis.database import Connection


@dataclass(frozen=True)
class Comment:
    """What somebody said to the others about a field."""

    number: int
    field: str
    text: str
    person: str
    at: datetime
    resolved_by: str | None
    resolved_at: datetime | None


_COMMENT = "comment, field, text, person, at, resolved_by, resolved_at"


async def add(db: Connection, application: str, field: str, text: str, person: str, at: datetime) -> Comment:
    """Keep a comment."""
    (row,) = await db.fetch(
        f"""
        insert into private.comment (application, field, text, person, at) values ($1, $2, $3, $4, $5)
        returning {_COMMENT}
        """,  # noqa: S608  (the names of columns)
        application,
        field,
        text,
        person,
        at,
    )
    return Comment(*row)


async def resolve(db: Connection, application: str, number: int, person: str, at: datetime) -> Comment | None:
    """The comment, settled by this person unless it was before; None where there is none."""
    row = await db.fetchrow(
        f"""
        update private.comment set resolved_by = coalesce(resolved_by, $3), resolved_at = coalesce(resolved_at, $4)
        where application = $1 and comment = $2 returning {_COMMENT}
        """,  # noqa: S608  (the names of columns)
        application,
        number,
        person,
        at,
    )
    return Comment(*row) if row else None


async def said(
    db: Connection, application: str, after: int, limit: int, *, field: str | None, unresolved: bool
) -> list[Comment]:
    """Comments on a draft, the oldest first, from above number `after`; on one field or unresolved ones, if asked."""
    rows = await db.fetch(
        f"""
        select {_COMMENT} from private.comment
        where application = $1 and comment > $2
            and ($4::text is null or field = $4) and not ($5 and resolved_at is not null)
        order by comment limit $3
        """,  # noqa: S608  (likewise)
        application,
        after,
        limit,
        field,
        unresolved,
    )
    return [Comment(*row) for row in rows]
