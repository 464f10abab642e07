"""Awards' tables: cycles and applications as events left them, and what an announcement made public."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from pydantic import TypeAdapter

from schemas.applications import Claims, Identity
from schemas.charter import Charter
from schemas.designations import Outcome
from schemas.exact import SetDigest
from services.awards.domain import Announcement, Application, Cycle, Designation
from services.awards.rules import renewal_dates

if TYPE_CHECKING:
    from collections.abc import Iterable
    from datetime import datetime

    from services.chassis.database import Connection

_ANNOUNCEMENT = TypeAdapter(Announcement)
_charter = lru_cache(maxsize=8)(Charter.parse)


@dataclass(frozen=True)
class Said:
    """What was said with a request to withdraw, and in answer to it; empty where nothing was, or it was erased."""

    asked_at: datetime
    reason: str
    answer: str


async def insert_cycle(db: Connection, cycle: Cycle, charter: str) -> None:
    """Keep a cycle that opened, with its charter's text."""
    await db.execute(
        "insert into projection.cycle (cycle, charter, demonstration) values ($1, $2, $3)",
        cycle.label,
        charter,
        cycle.demonstration,
    )


async def load_cycle(db: Connection, label: str, *, lock: bool = False) -> Cycle | None:
    """The cycle, or None; locked against other commands about it until the transaction ends."""
    row = await db.fetchrow(_LOCKED_CYCLE if lock else _CYCLE, label)
    if row is None:
        return None
    closed = row["submitted_sha256"] is not None
    return Cycle(
        label=row["cycle"],
        charter=_charter(row["charter"]),
        demonstration=row["demonstration"],
        submitted=SetDigest(count=row["submitted_count"], sha256=row["submitted_sha256"]) if closed else None,
        closed=row["closed"],
        announce_on=row["announce_on"],
        announced=row["announced"],
        screened=row["screened"],
    )


_CYCLE = "select * from projection.cycle where cycle = $1"
_LOCKED_CYCLE = _CYCLE + " for update"


async def save_cycle(db: Connection, cycle: Cycle) -> None:
    """Keep a cycle as it is now."""
    await db.execute(
        "update projection.cycle set submitted_count = $2, submitted_sha256 = $3, closed = $4, announce_on = $5,"
        " announced = $6, screened = $7"
        " where cycle = $1",
        cycle.label,
        cycle.submitted and cycle.submitted.count,
        cycle.submitted and cycle.submitted.sha256,
        cycle.closed,
        cycle.announce_on,
        cycle.announced,
        cycle.screened,
    )


async def load_application(db: Connection, name: str) -> Application | None:
    """The application, locked until the transaction ends, or None."""
    row = await db.fetchrow("select * from projection.application where application = $1 for update", name)
    return None if row is None else _application(row)


async def cycle_of(db: Connection, application: str) -> str | None:
    """The cycle of an application."""
    label: str | None = await db.fetchval(
        "select cycle from projection.application where application = $1", application
    )
    return label


async def load_applications(db: Connection, cycle: str) -> list[Application]:
    """All applications of a cycle, withdrawn ones included, by id."""
    rows = await db.fetch("select * from projection.application where cycle = $1 order by application", cycle)
    return [_application(row) for row in rows]


def _application(row: Any) -> Application:  # noqa: ANN401  (asyncpg's Record)
    granted = row["designation"] is not None
    return Application(
        id=row["application"],
        cycle=row["cycle"],
        version=row["version"],
        submitted=row["submitted"],
        identity=Identity.model_validate(row["identity"]),
        claims=Claims.model_validate(row["claims"]),
        withdrawn=row["withdrawn"],
        scored=row["scored"],
        proposed=row["proposed"],
        outcome=Outcome.model_validate(row["outcome"]) if row["outcome"] is not None else None,
        made=row["made"],
        designation=Designation(row["designation"], row["granted"], row["starts_on"], row["ends_on"])
        if granted
        else None,
        asked=row["asked"],
        settled=row["settled"],
        released=row["released"],
    )


async def save_applications(db: Connection, applications: Iterable[Application]) -> None:
    """Keep applications as they are now, new ones and known ones."""
    await db.executemany(_SAVE, [_row(application) for application in applications])


_SAVE = """
insert into projection.application
values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18)
on conflict (application) do update set
    version = excluded.version, submitted = excluded.submitted, identity = excluded.identity, claims = excluded.claims,
    withdrawn = excluded.withdrawn, scored = excluded.scored, proposed = excluded.proposed, outcome = excluded.outcome,
    made = excluded.made, designation = excluded.designation, granted = excluded.granted,
    starts_on = excluded.starts_on, ends_on = excluded.ends_on,
    asked = excluded.asked, settled = excluded.settled, released = excluded.released
"""


def _row(application: Application) -> tuple[Any, ...]:
    designation = application.designation
    return (
        application.id,
        application.cycle,
        application.version,
        application.submitted,
        application.identity.model_dump(mode="json"),
        application.claims.model_dump(mode="json"),
        application.withdrawn,
        application.scored,
        application.proposed,
        application.outcome and application.outcome.model_dump(mode="json"),
        application.made,
        designation and designation.id,
        designation and designation.event,
        designation and designation.starts_on,
        designation and designation.ends_on,
        application.asked,
        application.settled,
        application.released,
    )


async def keep_request(db: Connection, application: str, event: str, reason: str, at: datetime) -> None:
    """Keep what was said with a request to withdraw."""
    await db.execute(
        "insert into private.withdrawal (application, event, reason, asked_at) values ($1, $2, $3, $4)"
        " on conflict (application) do nothing",
        application,
        event,
        reason,
        at,
    )


async def keep_answer(db: Connection, application: str, event: str, answer: str) -> None:
    """Keep what the board answered."""
    update = "update private.withdrawal set settled = $2, answer = $3 where application = $1"
    await db.execute(update, application, event, answer)


async def forget(db: Connection, event: str) -> None:
    """Delete what was said with an event."""
    await db.execute("update private.withdrawal set reason = '' where event = $1", event)
    await db.execute("update private.withdrawal set answer = '' where settled = $1", event)


async def withdrawals(db: Connection, cycle: str) -> list[tuple[Application, Said]]:
    """The requests to withdraw in a cycle, the first one first."""
    rows = await db.fetch(
        """
        select application.*, asked_at, reason, answer
        from projection.application join private.withdrawal using (application)
        where cycle = $1 order by asked_at, application
        """,
        cycle,
    )
    return [(_application(row), Said(row["asked_at"], row["reason"], row["answer"])) for row in rows]


async def publish(
    db: Connection, cycle: Cycle, announcement: Announcement, event: str, designated: Iterable[Application]
) -> None:
    """Make the announcement, stated by the event with the id `event`, and its designees public."""
    await db.execute(
        "insert into projection.announcement values ($1, $2, $3, $4, $5, $6)",
        cycle.label,
        event,
        announcement.announced_on,
        announcement.simulated,
        announcement.total,
        _ANNOUNCEMENT.dump_python(announcement, mode="json"),
    )
    await db.executemany(
        "insert into projection.designee values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15)",
        [row for application in designated for row in _designee(cycle, application)],
    )


def _designee(cycle: Cycle, application: Application) -> list[tuple[Any, ...]]:
    identity, designation, decided = application.identity, application.designation, application.outcome
    if designation is None or decided is None:
        return []
    tier = cycle.charter.tier_of(identity.population)
    level = next(level for level in cycle.charter.levels if level.id == decided.level)
    notices = renewal_dates(cycle.charter, designation.ends_on)
    return [
        (
            designation.id,
            cycle.label,
            identity.name,
            identity.state,
            identity.kind,
            tier and tier.id,
            tier and tier.label,
            level.id,
            level.name,
            designation.starts_on,
            designation.ends_on,
            notices[0][1] if notices else None,
            cycle.demonstration,
            application.submitted,
            designation.event,
        )
    ]


async def load_announcement(db: Connection, cycle: str) -> Announcement | None:
    """The announcement as it was made; None before, and for a cycle that does not exist."""
    content = await db.fetchval("select content from projection.announcement where cycle = $1", cycle)
    return None if content is None else _ANNOUNCEMENT.validate_python(content)


async def announcements(db: Connection) -> list[Any]:
    """One row per announcement, the latest first."""
    return await db.fetch(
        "select cycle, announced_on, designations, simulated from projection.announcement"
        " order by announced_on desc, cycle"
    )


async def designees(
    db: Connection,
    *,
    cycle: str | None = None,
    state: str | None = None,
    tier: str | None = None,
    after: tuple[str, str] = ("", ""),
    limit: int | None = None,
) -> list[Any]:
    """Rows of announced designees by name, of those that match, behind `after` (name, designation)."""
    return await db.fetch(
        "select * from projection.designee where ($1::text is null or cycle = $1) and ($2::text is null or state = $2)"
        " and ($3::text is null or tier = $3) and (name, designation) > ($4, $5) order by name, designation limit $6",
        cycle,
        state,
        tier,
        *after,
        limit,
    )


async def load_designee(db: Connection, designation: str) -> Any:  # noqa: ANN401  (asyncpg's Record)
    """The row of an announced designee with `event`, the announcement's id; None before."""
    return await db.fetchrow(
        "select d.*, a.event from projection.designee d join projection.announcement a using (cycle)"
        " where designation = $1",
        designation,
    )
