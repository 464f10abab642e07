"""Cycles as their events left them; their seeds as private."""

from __future__ import annotations

from typing import TYPE_CHECKING

from schemas.cycles import CycleOpened
from services.intake.cycles.domain import Cycle

if TYPE_CHECKING:
    import asyncpg

    from services.chassis.database import Connection
    from services.intake.locks import Lock


_KEPT = 32

_charters: dict[str, str] = {}
"""Texts by their SHA-256: one is 56 kB and never changes, and a cycle is read with every command."""


def columns(known: str, application: str) -> str:
    """SQL of what `as_cycle` reads; the parameters are `known_charters()`, and whose later deadline may hold."""
    return f"""
        cycle, program, charter_sha256, first_deadline, assignment_commitment, demonstration, closed, screened, latest,
        case when charter_sha256 = any({known}) then null else charter end as charter,
        greatest(deadline, (select deadline from projection.extension where application = {application})) as deadline
    """  # noqa: S608  (names of parameters)


def known_charters() -> list[str]:
    """Digests of the charters whose text need not be fetched."""
    return list(_charters)


async def cycle(db: Connection, name: str, lock: Lock = "", application: str = "") -> Cycle | None:
    """The cycle called `name`, if any, with the later deadline that an `application` may have for itself."""
    row = await db.fetchrow(
        f"select {columns('$2', '$3')} from projection.cycle where cycle = $1{lock}",  # noqa: S608  (one of three locks)
        name,
        known_charters(),
        application,
    )
    return as_cycle(row) if row else None


async def cycles(db: Connection) -> list[Cycle]:
    """All cycles, by name."""
    return [as_cycle(row) for row in await db.fetch("select * from projection.cycle order by cycle")]


def as_cycle(row: asyncpg.Record) -> Cycle:
    """The cycle in a row with `columns`."""
    charter = _charters.get(row["charter_sha256"]) or row["charter"]
    if len(_charters) < _KEPT:
        _charters.setdefault(row["charter_sha256"], charter)
    opened = CycleOpened(
        cycle=row["cycle"],
        program=row["program"],
        charter=charter,
        charter_sha256=row["charter_sha256"],
        deadline=row["first_deadline"],
        assignment_commitment=row["assignment_commitment"],
        demonstration=row["demonstration"],
    )
    return Cycle(
        opened=opened,
        deadline=row["deadline"],
        closed=row["closed"],
        latest=row["latest"],
        screened=row["screened"],
    )


async def claim_label(db: Connection, name: str, seed: bytes) -> bool:
    """Keep a new cycle's assignment seed; False where the label is taken. Of two at once, the second one waits."""
    row = "insert into private.seed values ($1, $2) on conflict do nothing returning true"
    return bool(await db.fetchval(row, name, seed))


async def seed(db: Connection, name: str) -> bytes:
    """The seed that a cycle committed to."""
    return bytes(await db.fetchval("select seed from private.seed where cycle = $1", name))


async def save_cycle(db: Connection, cycle: Cycle) -> None:
    """Keep a cycle's state."""
    opened = cycle.opened
    await db.execute(
        """
        insert into projection.cycle values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)
        on conflict (cycle) do update set
            deadline = excluded.deadline, closed = excluded.closed, latest = excluded.latest,
            screened = excluded.screened
        """,
        cycle.id,
        opened.program,
        opened.charter,
        opened.charter_sha256,
        opened.deadline,
        opened.assignment_commitment,
        opened.demonstration,
        cycle.deadline,
        cycle.closed,
        cycle.latest,
        cycle.screened,
    )
