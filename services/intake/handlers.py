"""What intake does by its schedule. It listens to no other service."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from services.intake.applications import store as applications
from services.intake.cycles import domain, store
from services.intake.deadlines.schedule import CLOSE, REMIND, remind
from services.intake.locks import OWNED
from services.intake.probes.runs import AGAIN, probe_again

if TYPE_CHECKING:
    from datetime import datetime

    from services.chassis.database import Tx
    from services.chassis.schedule import TaskHandler


async def close_at_deadline(tx: Tx, subject: str, due: datetime, detail: dict[str, Any]) -> None:  # noqa: ARG001  (as a schedule calls its tasks)
    """Close the cycle `subject`, whose deadline passed."""
    cycle = await store.cycle(tx.db, subject, OWNED)
    if cycle is not None and not cycle.closed:
        await close(tx, cycle, "schedule")


async def close(tx: Tx, cycle: domain.Cycle, by: Literal["schedule", "hand"]) -> domain.Cycle:
    """Close a cycle whose row is owned: whoever submits holds that row, so that the set is exact."""
    standing = await applications.standing(tx.db, cycle.id)
    event = domain.close_cycle(cycle, standing, await store.seed(tx.db, cycle.id), by)
    closed = domain.evolve_cycle(cycle, event, tx.record(event))
    await store.save_cycle(tx.db, closed)
    return closed


TASKS: dict[str, TaskHandler] = {CLOSE: close_at_deadline, REMIND: remind, AGAIN: probe_again}
