"""The ledger takes events on trust that they are news, and in pieces: the same logs as by looking at each one first."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import orjson
import pytest

from schemas.canonical import canonical
from schemas.cycles import Account, CycleDeadlineExtended, CycleOpened, MemberJoined
from schemas.envelope import Written
from schemas.topics import topic_of
from services.chassis.ids import event_id, opaque_id
from services.chassis.record import Record
from services.chassis.service import Runtime, Service
from services.chassis.settings import Settings
from services.ledger import handlers
from services.ledger.app import service as ledger
from services.ledger.handlers import LedgerInbox
from services.ledger.settings import LedgerSettings
from tests.given import written

RuntimeMaker = Callable[[type[Settings]], Runtime]
NOW = datetime(2011, 10, 17, tzinfo=UTC)


@asynccontextmanager
async def database(runtime: RuntimeMaker, tmp_path: Path, name: str) -> AsyncIterator[tuple[Service, LedgerInbox]]:
    """A ledger whose records come from nowhere but the test."""
    made = runtime(LedgerSettings)
    changed = {"var": tmp_path, "database_prefix": f"{made.settings.database_prefix}{name}_"}
    here = replace(made, settings=made.settings.model_copy(update=changed))
    service = ledger(here)
    await service.migrate()
    await service.database.open()
    await handlers.open_program(service)
    yield service, LedgerInbox(here.settings)
    await service.database.close()


async def take(service: Service, inbox: LedgerInbox, events: list[bytes], *, ahead: bool = False) -> None:
    records = [record(event) for event in events]
    if ahead:
        records = await inbox.read(records)
    async with service.database.transaction() as tx:
        fates = await inbox.process(tx, records)
    assert len(fates) == len(records)


def record(event: bytes) -> Record:
    body = orjson.loads(event)
    return Record(topic_of(body["type"]), 0, 0, body["subject"].encode(), event, 0)


def history(draw: random.Random) -> list[bytes]:
    """A cycle's events and some of the program's, each resting on earlier ones; some forged; some twice; shuffled."""
    cycle, told = opaque_id(), list[Written]()
    counts: dict[str, int] = {}

    def tell(event: Any) -> None:
        counts[event.subject] = counts.get(event.subject, 0) + 1
        cause = draw.choice(told).header.id if draw.random() < 0.4 else None
        told.append(written(event, counts[event.subject], cause=cause))

    told.append(
        written(
            CycleOpened(
                cycle=cycle,
                program="p",
                charter="",
                charter_sha256="0" * 64,
                deadline=NOW,
                assignment_commitment="0" * 64,
            ),
            1,
        )
    )
    counts[cycle] = 1
    governments = [opaque_id() for _ in range(3)]
    for _ in range(25):
        if draw.random() < 0.5:
            tell(CycleDeadlineExtended(cycle=cycle, deadline=NOW, reason="flood"))
        else:
            account = Account(issuer="https://i.example", subject_claim="s")
            tell(MemberJoined(government=draw.choice(governments), person=opaque_id(), role="lead", private=account))
    records = [one.record for one in told]
    for _ in range(3):
        change: dict[str, object] = draw.choice(
            [
                {"time": "2011-01-01T00:00:00.000Z"},
                {"causationid": event_id()},
                {"id": event_id()},
                {"id": event_id(), "causationid": event_id()},
                {"id": event_id(), "sequence": 99},
            ]
        )
        records.append(canonical({**orjson.loads(draw.choice(told).record), **change}))
    records += draw.sample(records, 8)
    draw.shuffle(records)
    return records


async def outcome(service: Service) -> dict[str, list[tuple[Any, ...]]]:
    """Everything but what differs from one ledger to the next: its own events, and when it was."""
    pool = service.database.pool
    return {
        "entries": [
            tuple(row)
            for row in await pool.fetch(
                "select log, index, id, leaf_hash from ledger.entry where source <> '/ledger' order by position"
            )
        ],
        "openings": [tuple(row) for row in await pool.fetch("select * from private.disclosure order by log, index")],
        "held": [tuple(row) for row in await pool.fetch("select id, leaf_hash from private.held order by position")],
        "alarms": [
            tuple(row) for row in await pool.fetch("select id, leaf_hash, kind from ledger.alarm order by 1, 2")
        ],
        "sizes": [tuple(row) for row in await pool.fetch("select log, size from projection.log order by log")],
    }


@pytest.mark.parametrize("seed", range(6))
async def test_what_is_taken_on_trust_ends_as_what_is_looked_at_first(
    runtime: RuntimeMaker, tmp_path: Path, seed: int
) -> None:
    draw = random.Random(seed)
    events = history(draw)
    batches = list[list[bytes]]()
    while events:
        size = draw.randint(1, 15)
        batches.append(events[:size])
        events = events[size:]
    async with database(runtime, tmp_path, "fast") as fast, database(runtime, tmp_path, "slow") as slow:
        for batch in batches:
            fast[1]._repeats = False
            await take(*fast, batch, ahead=True)
            slow[1]._repeats = True
            await take(*slow, batch)
            assert await outcome(fast[0]) == await outcome(slow[0])
        entries = (await outcome(fast[0]))["entries"]
        assert len(entries) > 5


async def test_news_are_taken_on_trust_again_once_a_batch_brought_nothing_else(
    runtime: RuntimeMaker, tmp_path: Path
) -> None:
    def joined() -> bytes:
        account = Account(issuer="https://i.example", subject_claim="s")
        return written(MemberJoined(government=opaque_id(), person=opaque_id(), role="lead", private=account), 1).record

    first, second = joined(), joined()
    async with database(runtime, tmp_path, "one") as (service, inbox):
        for batch, trusted_after in (([first], True), ([first], False), ([first, second], False), ([joined()], True)):
            await take(service, inbox, batch)
            assert inbox._repeats is not trusted_after
        assert len((await outcome(service))["entries"]) == 3
