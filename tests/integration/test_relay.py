"""The relay's batches: as many rows as there is room for, at least one, in order, until the outbox is empty."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest
from fastapi import APIRouter

from schemas.cycles import CycleDeadlineExtended
from schemas.topics import EVENT_TOPICS
from services.chassis import relay
from services.chassis.clock import ProgramClock
from services.chassis.ids import opaque_id
from services.chassis.service import Runtime, Service
from services.chassis.settings import Settings
from tests.given import eventually


async def test_a_batch_ends_with_its_bytes_and_what_has_none_leaves_as_well(
    runtime: Callable[[type[Settings]], Runtime],
    clock: ProgramClock,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    service = Service(name="probe", runtime=runtime(Settings), router=APIRouter(), migrations=tmp_path)
    await service.migrate()
    await service.database.open()
    cycle = opaque_id()
    async with service.database.transaction() as tx:
        for _ in range(5):
            tx.record(CycleDeadlineExtended(cycle=cycle, deadline=clock.now(), reason="flood"))
    await service.database.pool.execute(
        "insert into chassis.outbox (key, topic, record, letter) values ('', $1, null, $2)",
        EVENT_TOPICS["intake"].name,
        {"key": b"k".hex(), "headers": []},
    )
    sizes = list[int]()
    monkeypatch.setattr(relay, "ROOM", 1)
    real = relay.Relay._send

    async def counted(rows: list[object], kafka: object) -> object:
        sizes.append(len(rows))
        return await real(rows, kafka)  # type: ignore[arg-type]

    monkeypatch.setattr(relay.Relay, "_send", staticmethod(counted))
    running = asyncio.create_task(service.relay.run())

    async def drained() -> bool:
        return not await service.database.pool.fetchval("select exists (select from chassis.outbox)")

    await eventually(drained)
    service.relay.stop()
    await running
    await service.database.close()
    assert sizes == [1, 1, 1, 1, 1, 1]
