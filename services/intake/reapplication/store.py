"""Which version a draft started from and what of it was confirmed, private; which results were disclosed, by events."""

from __future__ import annotations

from typing import TYPE_CHECKING

from schemas.exact import Ratio, SetDigest
from services.chassis.failures import NotYetError
from services.intake.cycles.store import cycle as cycle_of
from services.intake.reapplication.domain import Confirmed, Result, Then, basis, said

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping
    from datetime import datetime

    import asyncpg

    from schemas.charter import Charter
    from schemas.cycles import CohortAnnounced
    from schemas.designations import DesignationGranted
    from schemas.reviews import ApplicationScored
    from services.chassis.database import Connection
    from services.intake.applications.store import Sheet
    from services.intake.cycles.domain import Cycle
    from services.intake.reapplication.domain import Basis

_THEN = """
select stated.application, draft.cycle, stated.version, stated.submitted_at, stated.content
from private.version as stated join private.draft using (application)
"""


async def last(db: Connection, government: str, cycle: Cycle) -> Then | None:
    """What stood of the government's last application to an earlier cycle of this program, if it ever applied."""
    row = await db.fetchrow(
        f"""
        {_THEN}
        join projection.application as standing
            on standing.application = stated.application and standing.version = stated.version
        join projection.cycle as earlier on earlier.cycle = draft.cycle
        where draft.government = $1 and draft.cycle <> $2 and earlier.program = $3 and earlier.closed
            and not standing.withdrawn
        order by stated.submitted_at desc limit 1
        """,
        government,
        cycle.id,
        cycle.opened.program,
    )
    return _then(row) if row else None


def _then(row: asyncpg.Record) -> Then:
    return Then(row["application"], row["cycle"], row["version"], row["submitted_at"], said(row["content"]))


async def start(db: Connection, application: str, then: Then, person: str, at: datetime) -> None:
    """Keep what a draft starts from."""
    await db.execute(
        "insert into private.carried values ($1, $2, $3, $4, $5)",
        application,
        then.application,
        then.version,
        person,
        at,
    )


async def share_files(db: Connection, application: str, then: Then, charter: Charter) -> set[str]:
    """Have an application refer to the files that the earlier one cites; the SHA-256 of those that are still here."""
    cited = {one["file"] for answer in then.said.get("answers", {}).values() for one in _evidence(answer)}
    rows = await db.fetch(
        """
        insert into private.file (application, sha256, name, type, criterion, person, at)
        select $1, sha256, name, type, case when criterion = any($4::text[]) then criterion else '' end, person, at
        from private.file where application = $2 and sha256 = any($3::text[]) returning sha256
        """,
        application,
        then.application,
        list(cited),
        [criterion.id for area in charter.areas for criterion in area.criteria],
    )
    return {row["sha256"] for row in rows}


def _evidence(answer: Mapping[str, list[dict[str, str]]]) -> list[dict[str, str]]:
    return [one for one in answer.get("evidence", []) if "file" in one]


async def basis_of(db: Connection, sheet: Sheet, cycle: Cycle) -> Basis | None:
    """What a draft started from; None where it started afresh, or where that is not kept any more."""
    return await held_against(db, sheet.application, cycle) if sheet.carried else None


async def held_against(db: Connection, application: str, cycle: Cycle) -> Basis | None:
    """What an application's draft is held against in this cycle, if there is anything."""
    row = await db.fetchrow(
        f"{_THEN} join private.carried on source = stated.application and carried.version = stated.version"
        " where carried.application = $1",
        application,
    )
    if row is None:
        return None
    then = _then(row)
    rows = await db.fetch("select field, person, at from private.confirmed where application = $1", application)
    confirmed = {row["field"]: Confirmed(row["person"], row["at"]) for row in rows}
    return basis(then, cycle.charter, confirmed, await disclosed(db, then))


async def confirm(db: Connection, application: str, fields: Collection[str], person: str, at: datetime) -> None:
    """Note that what was said then still holds; who said so first stands."""
    await db.execute(
        "insert into private.confirmed select $1, field, $3, $4 from unnest($2::text[]) as field"
        " on conflict do nothing",
        application,
        list(fields),
        person,
        at,
    )


# --- what was disclosed ----------------------------------------------------------------------------------------------


async def disclosed(db: Connection, then: Then) -> dict[str, Result]:
    """What reviewers gave each criterion, once the announcement opened it by the charter of then; nothing before."""
    row = await db.fetchrow(
        """
        select criteria, exists (select from projection.designated where application = $1) as designated
        from projection.scored join projection.announced using (cycle) where application = $1
        """,
        then.application,
    )
    earlier = await cycle_of(db, then.cycle) if row else None
    if row is None or earlier is None:
        return {}
    charter = earlier.charter
    opened = charter.disclosure.designated if row["designated"] else charter.disclosure.not_designated
    if "scores" not in opened:
        return {}
    given = ((name, points) for name, points in row["criteria"].items() if points is not None)
    return {name: Result.of(Ratio.model_validate(points).fraction, charter.scale) for name, points in given}


async def keep_scores(db: Connection, event: ApplicationScored) -> None:
    """Keep what reviewers gave, as long as the block that says so is open."""
    if event.scores is None:
        return
    await db.execute(
        """
        insert into projection.scored values ($1, $2, $3)
        on conflict (application) do update set criteria = excluded.criteria
        """,
        event.application,
        event.cycle,
        event.scores.model_dump(mode="json")["criteria"],
    )


async def keep_designation(db: Connection, event: DesignationGranted) -> None:
    """Keep whose application it is that was designated."""
    await db.execute(
        "insert into projection.designated values ($1, $2, $3)", event.designation, event.cycle, event.application
    )


async def keep_announcement(db: Connection, event: CohortAnnounced) -> None:
    """Know that a cycle was announced; NotYetError before all its designations are here: they would pass for others."""
    rows = await db.fetch("select designation from projection.designated where cycle = $1", event.cycle)
    if SetDigest.of(row["designation"] for row in rows) != event.designations:
        raise NotYetError(f"not every designation of {event.cycle} is here yet")
    await db.execute("insert into projection.announced values ($1)", event.cycle)
