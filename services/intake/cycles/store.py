"""Cycles as their events left them; their seeds as private."""

from __future__ import annotations

from typing import TYPE_CHECKING

from schemas.cycles import CycleOpened
from services.intake.cycles.domain import Cycle

if TYPE_CHECKING:
    import asyncpg

    from services.chassis.database import Connection
    from services.intake.locks import Lock


async def cycle(db: Connection, name: str, lock: Lock = "") -> Cycle | None:
    """The cycle called `name`, if any."""
    row = await db.fetchrow(f"select * from projection.cycle where cycle = $1{lock}", name)  # noqa: S608  (one of three locks)
    return _cycle(row) if row else None


async def cycles(db: Connection) -> list[Cycle]:
    """All cycles, by name."""
    return [_cycle(row) for row in await db.fetch("select * from projection.cycle order by cycle")]


def _cycle(row: asyncpg.Record) -> Cycle:
    opened = CycleOpened(
        cycle=row["cycle"],
        program=row["program"],
        charter=row["charter"],
        charter_sha256=row["charter_sha256"],
        deadline=row["first_deadline"],
        assignment_commitment=row["assignment_commitment"],
        demonstration=row["demonstration"],
    )
    return Cycle(opened=opened, deadline=row["deadline"], closed=row["closed"], latest=row["latest"])


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
        insert into projection.cycle values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)
        on conflict (cycle) do update set
            deadline = excluded.deadline, closed = excluded.closed, latest = excluded.latest
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
    )
