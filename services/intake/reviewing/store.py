"""Reviewers' accounts and what they were assigned, kept in whatever order they come: neither needs the other."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from schemas.reviews import Account, ReviewAssigned, ReviewerEnrolled
    from services.chassis.auth import Principal
    from services.chassis.database import Connection


async def keep_account(db: Connection, event: ReviewerEnrolled, account: Account, event_id: str) -> None:
    """Know whose tokens are a reviewer's."""
    await db.execute(
        "insert into projection.reviewer values ($1, $2, $3, $4, $5)",
        event.reviewer,
        event.cycle,
        account.issuer,
        account.subject,
        event_id,
    )


async def keep_assignment(db: Connection, event: ReviewAssigned, reviewer: str, event_id: str) -> None:
    """Know that a reviewer was given an application."""
    await db.execute(
        "insert into projection.review values ($1, $2, $3, $4)", event.review, event.application, reviewer, event_id
    )


async def review_of(db: Connection, who: Principal, application: str) -> str | None:
    """The alias under which the caller reviews an application; None where it was not given to them."""
    alias: str | None = await db.fetchval(
        "select review from projection.review join projection.reviewer using (reviewer)"
        " join projection.application using (application)"
        " where application = $1 and issuer = $2 and subject = $3 and not withdrawn",
        application,
        who.issuer,
        who.subject,
    )
    return alias
