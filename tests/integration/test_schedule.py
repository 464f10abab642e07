"""The schedule on the real database: what is due happens once, in order, also when program time leaps."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from fastapi import APIRouter

from services.chassis.clock import ClockFixedError, MachineClock, ProgramClock
from services.chassis.database import Tx
from services.chassis.schedule import schedule, unschedule
from services.chassis.service import Runtime, Service
from services.chassis.settings import Settings
from tests.given import eventually


class Bell:
    """Rings at program times."""

    def __init__(self) -> None:
        self.rung: list[str] = []
        self.fail = 0

    async def ring(self, tx: Tx, subject: str, due: datetime, detail: dict[str, Any]) -> None:
        if self.fail:
            self.fail -= 1
            raise ConnectionResetError
        self.rung.append(f"{subject} {detail.get('day', '')}")


@pytest.fixture
def bell() -> Bell:
    return Bell()


@pytest.fixture
async def service(runtime: Callable[[type[Settings]], Runtime], bell: Bell, tmp_path: Path) -> AsyncIterator[Service]:
    folder = tmp_path / "migrations"
    folder.mkdir()
    made = Service(
        name="bell", runtime=runtime(Settings), router=APIRouter(), migrations=folder, tasks={"ring": bell.ring}
    )
    await made.start()
    yield made
    await made.stop()


async def rows(service: Service) -> int:
    return int(await service.database.pool.fetchval("select count(*) from chassis.schedule"))


async def test_what_is_due_happens_in_the_order_of_its_time_when_the_clock_leaps_over_all_of_it(
    service: Service, bell: Bell, clock: ProgramClock
) -> None:
    start = clock.now()
    async with service.database.transaction() as tx:
        for day in (30, 10, 20):
            await schedule(tx, "ring", "a", start + timedelta(days=day), {"day": day})
            await schedule(tx, "ring", "a", start + timedelta(days=day), {"day": day})
    clock.shift(timedelta(days=25))

    async def two() -> bool:
        return len(bell.rung) >= 2

    await eventually(two)
    assert bell.rung == ["a 10", "a 20"]
    assert await rows(service) == 1
    clock.shift(timedelta(days=31))

    async def three() -> bool:
        return len(bell.rung) >= 3

    await eventually(three)
    assert bell.rung == ["a 10", "a 20", "a 30"]


async def test_a_task_that_fails_is_done_later_and_once(service: Service, bell: Bell, clock: ProgramClock) -> None:
    bell.fail = 2
    async with service.database.transaction() as tx:
        await schedule(tx, "ring", "b", clock.now() - timedelta(seconds=1))

    async def done() -> bool:
        return await rows(service) == 0

    await eventually(done)
    assert bell.rung == ["b "]


async def test_what_was_taken_back_does_not_happen(service: Service, bell: Bell, clock: ProgramClock) -> None:
    async with service.database.transaction() as tx:
        await schedule(tx, "ring", "c", clock.now() + timedelta(days=1))
        await schedule(tx, "ring", "d", clock.now() + timedelta(days=1))
    async with service.database.transaction() as tx:
        await unschedule(tx, "ring", "c")
    clock.shift(timedelta(days=2))

    async def done() -> bool:
        return await rows(service) == 0

    await eventually(done)
    assert bell.rung == ["d "]


def test_program_time_refuses_to_move_in_production_and_machine_time_never_moves() -> None:
    machine = MachineClock()
    clock = ProgramClock(machine)
    with pytest.raises(ClockFixedError, match="CEC_CLOCK_MOVABLE"):
        clock.shift(timedelta(days=1))
    movable = ProgramClock(machine, movable=True)
    movable.shift(timedelta(days=-5000))
    assert movable.now() < machine.now() - timedelta(days=4999)
    assert abs(machine.now() - MachineClock().now()) < timedelta(seconds=5)
