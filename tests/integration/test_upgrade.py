"""A rolling upgrade on the real parts: releases that know different versions of an event work side by side."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from aiokafka import AIOKafkaProducer
from fastapi import APIRouter

from schemas.envelope import Event, Header
from schemas.topics import EVENT_TOPICS
from services.chassis.database import Tx
from services.chassis.ids import opaque_id
from services.chassis.inbox import Handlers
from services.chassis.service import Runtime, Service
from services.chassis.settings import Settings
from tests.given import eventually, publish
from tests.releases import Person, TakenV1, TakenV2, release, with_remarks

pytestmark = pytest.mark.long

RuntimeMaker = Callable[[type[Settings]], Runtime]


class Release:
    """One release of a service: it handles `model`, and notes what it got."""

    def __init__(self, name: str, model: type[Event], runtime: Runtime, folder: Path) -> None:
        (folder / "0001_probe.sql").write_text(
            "create table projection.seen (n bigint generated always as identity, subject text, sequence bigint,"
            " type text, event jsonb);"
        )
        handlers = Handlers()
        self.service = Service(
            name=name,
            runtime=runtime,
            router=APIRouter(),
            migrations=folder,
            topics=(EVENT_TOPICS["intake"].name,),
            handlers=handlers,
        )

        @handlers.on(model)
        async def note(tx: Tx, event: Event, header: Header) -> None:
            assert type(event) is model
            await tx.db.execute(
                "insert into projection.seen (subject, sequence, type, event) values ($1, $2, $3, $4)",
                header.subject,
                header.sequence,
                header.type,
                event.model_dump(mode="json"),
            )

    async def seen(self, subject: str) -> list[tuple[int, str]]:
        rows = await self.service.database.pool.fetch(
            "select sequence, type from projection.seen where subject = $1 order by n", subject
        )
        return [(row["sequence"], row["type"]) for row in rows]

    async def waiting(self, subject: str) -> list[tuple[int, str]]:
        rows = await self.service.database.pool.fetch(
            "select sequence, kind from chassis.parked where subject = $1 order by sequence", subject
        )
        return [(row["sequence"], row["kind"]) for row in rows]


def first(subject: str, note: str = "cold") -> TakenV1:
    return TakenV1(cycle="c", sample=subject, note=note, by=Person(name="Ada"))


async def mixed(kafka: AIOKafkaProducer, subject: str) -> None:
    """What producers of two releases write to one aggregate, one after the other."""
    events: list[Event] = [first(subject), with_remarks(first(subject)), first(subject, "warm")]
    for sequence, event in enumerate(events, 1):
        await publish(kafka, event, sequence)


IN_ORDER = [(1, TakenV1.TYPE), (2, TakenV2.TYPE), (3, TakenV1.TYPE)]


async def test_a_release_behind_keeps_newer_events_waiting_and_its_upgrade_takes_all_in_order(
    runtime: RuntimeMaker, tmp_path: Path, kafka: AIOKafkaProducer
) -> None:
    given, upgraded, plain = runtime(Settings), opaque_id(), opaque_id()
    with release(1):
        behind = Release("probe", TakenV1, given, tmp_path)
        await behind.service.start()
        try:
            await mixed(kafka, upgraded)
            await publish(kafka, first(plain), 1)

            async def both_came() -> bool:
                return len(await behind.waiting(upgraded)) == 2 and await behind.seen(plain) == [(1, TakenV1.TYPE)]

            await eventually(both_came)
            assert await behind.seen(upgraded) == [(1, TakenV1.TYPE)]
            assert await behind.waiting(upgraded) == [(2, "not_yet"), (3, "not_yet")]
        finally:
            await behind.service.stop()
    with release(2):
        current = Release("probe", TakenV2, given, tmp_path)
        await current.service.start()
        try:

            async def all_seen() -> bool:
                return len(await current.seen(upgraded)) == 3

            await eventually(all_seen)
            assert await current.seen(upgraded) == IN_ORDER
            assert await current.waiting(upgraded) == []
            rows = await current.service.database.pool.fetch(
                "select event from projection.seen where subject = $1 order by n", upgraded
            )
            assert [set(row["event"]) >= {"remarks"} for row in rows] == [False, True, True]
            assert json.dumps(rows[2]["event"]["by"]) == '{"names": ["Ada"]}'
        finally:
            await current.service.stop()


async def test_a_release_ahead_takes_what_older_producers_write_as_its_own_version(
    runtime: RuntimeMaker, tmp_path: Path, kafka: AIOKafkaProducer
) -> None:
    subject = opaque_id()
    with release(2):
        ahead = Release("probe", TakenV2, runtime(Settings), tmp_path)
        await ahead.service.start()
        try:
            await mixed(kafka, subject)

            async def all_seen() -> bool:
                return len(await ahead.seen(subject)) == 3

            await eventually(all_seen)
            assert await ahead.seen(subject) == IN_ORDER
            rows = await ahead.service.database.pool.fetch(
                "select event from projection.seen where subject = $1 order by n", subject
            )
            assert [row["event"]["remarks"] for row in rows] == [["cold"], ["cold"], ["warm"]]
        finally:
            await ahead.service.stop()


@pytest.mark.timeout(180)
async def test_two_releases_of_a_service_share_its_partitions_and_what_one_keeps_waiting_the_other_takes(
    runtime: RuntimeMaker, tmp_path: Path, kafka: AIOKafkaProducer
) -> None:
    given, subjects = runtime(Settings), [opaque_id() for _ in range(24)]
    with release(2):
        behind = Release("probe", TakenV1, given, tmp_path)
        ahead = Release("probe", TakenV2, given, tmp_path)
        await behind.service.start()
        await ahead.service.start()
        behind_runs = True
        try:

            async def shared() -> bool:
                assigned = [
                    len(c.subscriber.consumer.assignment()) if c.subscriber.consumer else 0
                    for one in (behind, ahead)
                    for c in one.service.consumers
                ]
                return sum(assigned) == 12 and min(assigned) > 0

            await eventually(shared, 30)
            for subject in subjects:
                await mixed(kafka, subject)

            async def all_seen() -> bool:
                return [await ahead.seen(subject) for subject in subjects] == [IN_ORDER] * len(subjects)

            # Both still run: what the older one must leave, the newer one finds in the table that they share.
            await eventually(all_seen, 30)
            await behind.service.stop()
            behind_runs = False
            late = opaque_id()
            await mixed(kafka, late)

            async def late_seen() -> bool:
                return await ahead.seen(late) == IN_ORDER

            await eventually(late_seen, 30)
            assert await ahead.service.database.pool.fetchval("select count(*) from chassis.parked") == 0
        finally:
            if behind_runs:
                await behind.service.stop()
            await ahead.service.stop()
