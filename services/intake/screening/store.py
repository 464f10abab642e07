"""Verdicts as their events left them; what was said with them, which is private."""

from __future__ import annotations

from dataclasses import astuple, dataclass
from typing import TYPE_CHECKING, Literal

from services.intake.screening.domain import Screened

if TYPE_CHECKING:
    from datetime import datetime

    from schemas.screening import WithdrawalRequested
    from services.chassis.database import Connection

Kind = Literal["eligible", "ineligible", "sent-back", "answer", "extension", "withdrawal", "withdrawal-refused"]
AskedBack = Literal["requested", "withdrawn", "refused"]


@dataclass(frozen=True)
class Statement:
    """What was said with an event."""

    event: str
    at: datetime
    kind: Kind
    ground: str
    text: str
    due: datetime | None


@dataclass(frozen=True)
class Candidate:
    """An application that stands in a cycle, with the last verdict on it, and what its government is to the program."""

    application: str
    submitted: str
    government: str
    name: str
    confirmed: bool
    screened: Screened | None


async def screened(db: Connection, application: str) -> Screened | None:
    """The last verdict on an application, if there is one."""
    row = await db.fetchrow("select * from projection.screening where application = $1", application)
    return Screened(*row) if row else None


async def save_screened(db: Connection, screened: Screened) -> None:
    """Keep the last verdict on an application."""
    await db.execute(
        """
        insert into projection.screening values ($1, $2, $3, $4, $5, $6, $7)
        on conflict (application) do update set submitted = excluded.submitted, verdict = excluded.verdict,
            event = excluded.event, due = excluded.due, answered = excluded.answered
        """,
        *astuple(screened),
    )


async def candidates(db: Connection, cycle: str) -> list[Candidate]:
    """The applications that stand in a cycle, by id."""
    rows = await db.fetch(
        """
        select standing.application, standing.submitted as version, draft.government, government.name,
            coalesce(judged.standing, 'unconfirmed') = 'confirmed' as confirmed,
            screening.application as screened, screening.cycle, screening.submitted, verdict, event, due, answered
        from projection.application as standing
        join private.draft using (application)
        join private.government using (government)
        left join projection.standing as judged using (government)
        left join projection.screening on screening.application = standing.application
        where standing.cycle = $1 and not standing.withdrawn order by standing.application
        """,
        cycle,
    )
    return [
        Candidate(
            application=row["application"],
            submitted=row["version"],
            government=row["government"],
            name=row["name"],
            confirmed=row["confirmed"],
            screened=Screened(*tuple(row)[5:]) if row["screened"] else None,
        )
        for row in rows
    ]


async def keep_statement(  # noqa: PLR0913  (a row)
    db: Connection,
    event: str,
    application: str,
    kind: Kind,
    text: str,
    at: datetime,
    *,
    ground: str = "",
    due: datetime | None = None,
) -> None:
    """Keep what was said with an event."""
    await db.execute(
        "insert into private.statement values ($1, $2, $3, $4, $5, $6, $7)",
        event,
        application,
        at,
        kind,
        ground,
        text,
        due,
    )


async def statements(db: Connection, application: str) -> list[Statement]:
    """What was said about an application, the oldest first."""
    rows = await db.fetch(
        "select event, at, kind, ground, text, due from private.statement where application = $1 order by event",
        application,
    )
    return [Statement(*row) for row in rows]


async def asked_withdrawal(db: Connection, application: str) -> bool:
    """Whether its withdrawal was asked for."""
    row = "select true from projection.withdrawal_request where application = $1"
    return bool(await db.fetchval(row, application))


async def ask_withdrawal(db: Connection, event: WithdrawalRequested, event_id: str) -> None:
    """Keep that its withdrawal was asked for."""
    await db.execute("insert into projection.withdrawal_request values ($1, $2)", event.application, event_id)


async def withdrawal_request(db: Connection, application: str) -> tuple[str, AskedBack, str] | None:
    """(event, state, the board's answer) of the request to withdraw an application, if there is one."""
    row = await db.fetchrow(
        """
        select request.event, request.state, coalesce(text, '')
        from projection.withdrawal_request as request
        left join private.statement on statement.event = request.settled
        where request.application = $1
        """,
        application,
    )
    return (row[0], row[1], row[2]) if row else None


async def settle_withdrawal(db: Connection, application: str, state: AskedBack, event_id: str) -> bool:
    """Keep how the board settled a request; False where the application is none of ours."""
    found = await db.fetchval(
        "update projection.withdrawal_request set state = $2, settled = $3 where application = $1 returning true",
        application,
        state,
        event_id,
    )
    if state == "withdrawn":
        await db.execute("update projection.application set withdrawn = true where application = $1", application)
    return bool(found)
