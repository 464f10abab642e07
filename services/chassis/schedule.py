"""What must happen at a program time: rows with a due instant, claimed one transaction each.

Rows of one moment run in the order of their due time. A row is deleted in the transaction of its effect, so it takes
effect exactly once; two processes never take the same row (`for update skip locked`).
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from services.chassis.clock import sleep_until
from services.chassis.looping import keep_taking_up
from services.chassis.metrics import LATENESS

if TYPE_CHECKING:
    from services.chassis.clock import ProgramClock
    from services.chassis.database import Database, Tx

TaskHandler = Callable[["Tx", str, datetime, dict[str, Any]], Awaitable[None]]
"""`async def effect(tx, subject, due, detail)`."""

_CLAIM = """
delete from chassis.schedule where ctid = (
    select ctid from chassis.schedule where due <= $1 and kind = any($2::text[])
    order by due, kind, subject limit 1 for update skip locked
) returning kind, subject, due, detail
"""

_FOLLOWING = "select min(due) from chassis.schedule where due > $1"


async def schedule(tx: Tx, kind: str, subject: str, due: datetime, detail: dict[str, Any] | None = None) -> None:
    """Have `kind` happen to `subject` at program time `due`; the same row twice is one."""
    await tx.db.execute(
        "insert into chassis.schedule values ($1, $2, $3, $4) on conflict do nothing", kind, subject, due, detail or {}
    )


async def unschedule(tx: Tx, kind: str, subject: str) -> None:
    """Take back every row of `kind` for `subject`."""
    await tx.db.execute("delete from chassis.schedule where kind = $1 and subject = $2", kind, subject)


class Scheduler:
    """Runs due rows until cancelled."""

    def __init__(
        self, database: Database, clock: ProgramClock, tasks: Mapping[str, TaskHandler], *, poll: float
    ) -> None:
        self._database = database
        self._clock = clock
        self._tasks = tasks
        self._poll = poll
        self._woken = asyncio.Event()
        clock.on_move(self._woken.set)

    async def run(self) -> None:
        """Run what is due; sleep until the next due time, a move of the clock, or the poll."""
        await keep_taking_up("scheduled tasks", self._run_due, self._rest, database=self._database.name)

    async def _run_due(self) -> datetime | None:
        """Run what is due; when the next one is."""
        while await self._run_one(asked := self._clock.now()):
            pass
        # A row that was due and is still here is in another process's hands: don't spin on it.
        following: datetime | None = await self._database.pool.fetchval(_FOLLOWING, asked)
        return following

    async def _rest(self, following: datetime | None) -> None:
        soon = self._clock.now() + timedelta(seconds=self._poll)
        await sleep_until(self._clock, following or soon, self._woken, self._poll)

    async def _run_one(self, now: datetime) -> bool:
        async with self._database.transaction() as tx:
            row = await tx.db.fetchrow(_CLAIM, now, list(self._tasks))
            if row is None:
                return False
            late = (self._clock.now() - row["due"]).total_seconds()
            await self._tasks[row["kind"]](tx, row["subject"], row["due"], row["detail"])
        self._database.metrics.observe(LATENESS, late)
        return True
