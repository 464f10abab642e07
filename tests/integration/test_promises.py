"""What everything rests on, a promise a test: break any of them in the chassis, and the test of its name fails.

Two more promises have their tests elsewhere: `test_poison_holds_up_its_key_and_nothing_else_until_it_is_tried_again` in
`test_dead_letters.py`, and `test_a_record_that_no_registered_key_signed_is_counted_and_forgotten` in `test_scoring.py`.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType

from deploy.embedded import Stack
from schemas.cycles import CycleDeadlineExtended
from schemas.topics import Topic
from services.chassis import consumer, topics
from services.chassis.breaker import Fate
from services.chassis.clock import ProgramClock
from services.chassis.database import Tx
from services.chassis.ids import opaque_id
from services.chassis.record import Record
from services.chassis.service import Runtime
from services.chassis.settings import Settings
from tests.behaviour.house import TOPIC, House, Member
from tests.given import eventually, written

FAIL_THE_FIRST_COMMIT = """
create sequence tries;
create function fail_once() returns trigger language plpgsql as $$
    begin
        -- A sequence keeps its number when the transaction is rolled back.
        if nextval('tries') = 1 then
            raise exception 'could not serialize access' using errcode = '40001';
        end if;
        return null;
    end
$$;
create constraint trigger fail_once after insert on projection.seen deferrable initially deferred
    for each row execute function fail_once();
"""


@pytest.fixture
async def house(runtime: Callable[[type[Settings]], Runtime], tmp_path: Path) -> AsyncIterator[House]:
    made = await House(runtime, tmp_path).open()
    yield made
    for member in list(made.members):
        await made.leave(member)


def event(member: Member, subject: str, reason: str = "flood") -> CycleDeadlineExtended:
    return CycleDeadlineExtended(cycle=subject, deadline=member.service.clock.now(), reason=reason)


async def test_nothing_is_published_before_its_transaction_is_committed(house: House) -> None:
    member, key = await house.join(), opaque_id()
    async with member.database.transaction() as tx:
        tx.record(event(member, key))
        await tx.flush()
        member.service.relay.wake()
        await asyncio.sleep(0.5)  # two polls of the relay's, which find nothing
        assert key not in await house.effects()
    await house.shows({key: 1})


async def test_a_row_that_is_committed_behind_later_ones_is_sent_all_the_same(house: House) -> None:
    member, late, early = await house.join(), opaque_id(), [opaque_id() for _ in range(3)]
    async with member.database.transaction() as tx:
        tx.record(event(member, late))
        await tx.flush()  # it has the first number of the queue, and nobody sees it
        await member.record(*early)
        await house.shows(dict.fromkeys(early, 1))
    await house.shows({late: 1})


async def test_what_the_broker_refuses_stays_in_the_outbox_until_it_takes_it(house: House, stack: Stack) -> None:
    member, key = await house.join(), opaque_id()
    await house.settled()
    narrow = Topic(f"narrow.{opaque_id()}", 1, {"max.message.bytes": "200"})
    await topics.apply(stack.kafka_bootstrap, [narrow])
    async with member.database.transaction() as tx:
        for _ in range(3):
            tx.record(event(member, key))
        await tx.flush()
        await tx.db.execute("update chassis.outbox set topic = $1", narrow.name)
    await asyncio.sleep(1)
    assert await member.database.pool.fetchval("select count(*) from chassis.outbox") == 3
    await widen(stack, narrow.name)
    await eventually(lambda: emptied(member), 20)
    records = await everything(stack, narrow.name)
    assert [record.key for record in records] == [key.encode()] * 3
    assert [b'"sequence":%d,' % (n + 1) in record.value for n, record in enumerate(records)] == [True] * 3


async def test_behind_a_row_that_the_broker_refuses_no_row_of_its_key_is_deleted(house: House, stack: Stack) -> None:
    member, key = await house.join(), opaque_id()
    narrow, wide = Topic(f"narrow.{opaque_id()}", 1, {"max.message.bytes": "200"}), Topic(f"wide.{opaque_id()}", 1, {})
    await topics.apply(stack.kafka_bootstrap, [narrow, wide])
    async with member.database.transaction() as tx:
        tx.record(event(member, key))
        tx.record(event(member, key))
        await tx.flush()
        await tx.db.execute("update chassis.outbox set topic = $1", wide.name)
        first = "update chassis.outbox set topic = $1 where position = (select min(position) from chassis.outbox)"
        await tx.db.execute(first, narrow.name)
    await asyncio.sleep(1)
    assert await member.database.pool.fetchval("select count(*) from chassis.outbox") == 2
    await widen(stack, narrow.name)
    await eventually(lambda: emptied(member), 20)
    assert len(await everything(stack, narrow.name)) == 1


async def test_a_relay_that_nobody_wakes_finds_by_itself_what_there_is_to_send(house: House) -> None:
    member, key = await house.join(), opaque_id()
    member.database.on_recorded = lambda: None
    await member.record(key)
    await house.shows({key: 1})


async def test_a_batch_that_was_given_back_comes_again(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(consumer, "GIVE_BACK_SECONDS", 0.5)
    member, keys = await house.join(), [opaque_id() for _ in range(10)]
    await house.settled()
    process, away = member.inbox.process, True

    async def fail_while_away(tx: Tx, records: list[Record]) -> list[Fate | Exception]:
        if away:
            raise ConnectionError
        return await process(tx, records)

    monkeypatch.setattr(member.inbox, "process", fail_while_away)
    await member.record(*keys)
    await asyncio.sleep(3)
    away = False
    await member.record(*keys)
    await house.shows(dict.fromkeys(keys, 2))


async def two_batches(house: House, first: str, others: list[str], monkeypatch: pytest.MonkeyPatch) -> Member:
    """A member that stands in its first batch at its closed gate, and has read the next one."""
    member, ahead = await house.join(), asyncio.Event()
    await house.settled()
    read = member.inbox.read

    async def told(records: list[Record]) -> list[Record]:
        ahead.set()
        return await read(records)

    member.gate.clear()
    await member.record(first)
    await asyncio.wait_for(member.held.wait(), 10)
    monkeypatch.setattr(member.inbox, "read", told)
    await member.record(*others)
    await asyncio.wait_for(ahead.wait(), 10)
    return member


async def test_a_batch_is_read_while_the_one_before_it_takes_effect(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, *others = [opaque_id() for _ in range(10)]
    member = await two_batches(house, first, others, monkeypatch)
    assert member.attempted == [(first, 1)]
    member.gate.set()
    await house.shows(dict.fromkeys([first, *others], 1))


async def test_a_batch_that_was_read_ahead_of_a_rebalance_is_left_to_whoever_has_its_partitions_then(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, *others = [opaque_id() for _ in range(40)]
    member = await two_batches(house, first, others, monkeypatch)
    joining = asyncio.create_task(house.join())

    async def rebalancing() -> bool:
        return member.rebalances >= 1

    await eventually(rebalancing)
    member.gate.set()
    second = await joining
    await house.settled()
    await house.shows(dict.fromkeys([first, *others], 1))
    assert second.attempted
    assert set(member.attempted) & set(second.attempted) == set()


async def test_a_client_that_is_made_anew_leaves_the_batch_under_way_to_its_end(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, *others = [opaque_id() for _ in range(10)]
    member = await two_batches(house, first, others, monkeypatch)
    before = member.consumer.subscriber.consumer
    member.consumer._spent = True

    async def made_anew() -> bool:
        return member.consumer.subscriber.consumer not in {None, before}

    await eventually(made_anew, 20)
    member.gate.set()
    await house.shows(dict.fromkeys([first, *others], 1))
    assert member.attempted.count((first, 1)) == 1


async def test_a_batch_that_is_given_back_takes_the_one_behind_it_along(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(consumer, "GIVE_BACK_SECONDS", 0.2)
    member, keys = await house.join(), [opaque_id() for _ in range(5)]
    await house.settled()
    process, away = member.inbox.process, True
    failed, taken = set[tuple[int, int]](), list[tuple[int, int]]()

    async def fail_while_away(tx: Tx, records: list[Record]) -> list[Fate | Exception]:
        places = [(record.partition, record.offset) for record in records]
        if away:
            failed.update(places)
            raise ConnectionError
        taken.extend(places)
        return await process(tx, records)

    monkeypatch.setattr(member.inbox, "process", fail_while_away)
    for _ in range(4):
        await member.record(*keys)
        await asyncio.sleep(0.5)
    away = False
    await house.shows(dict.fromkeys(keys, 4))
    assert sorted(taken, key=lambda place: place[0]) == sorted(set(taken)), "once, and in order"
    assert len(failed) > len(keys), "with what came behind it"


async def test_offsets_are_not_committed_before_the_effect_is(house: House) -> None:
    member, key = await house.join(), opaque_id()
    await house.settled()
    member.gate.clear()
    await member.record(key)
    await member.held.wait()
    await asyncio.sleep(0.5)  # a commit that comes too early has come by now
    assert not await house.consumed()
    member.gate.set()
    await house.shows({key: 1})


async def test_a_mark_moves_with_its_effect_or_not_at_all(house: House) -> None:
    member, key = await house.join(), opaque_id()
    async with house.connection() as db:
        await db.execute(FAIL_THE_FIRST_COMMIT)
    await member.record(key)
    await house.shows({key: 1})
    assert member.attempted.count((key, 1)) == 2


async def test_a_later_event_does_not_overtake_a_parked_one(
    house: House, kafka: AIOKafkaProducer, clock: ProgramClock
) -> None:
    member, key = await house.join(), opaque_id()

    async def send(*sequences: int) -> None:
        for sequence in sequences:
            body = CycleDeadlineExtended(cycle=key, deadline=clock.now(), reason="flood")
            await kafka.send_and_wait(TOPIC, written(body, sequence).record, key=key.encode())

    await send(1, 3)
    await eventually(lambda: parked(member, 1))
    await send(4, 5)
    await eventually(lambda: parked(member, 3))
    assert (await house.effects())[key] == [1]
    await send(2)
    await house.shows({key: 5})
    assert [sequence for subject, sequence in member.attempted if subject == key] == [1, 2, 3, 4, 5]


async def parked(member: Member, count: int) -> bool:
    return bool(await member.database.pool.fetchval("select count(*) = $1 from chassis.parked", count))


async def emptied(member: Member) -> bool:
    return bool(await member.database.pool.fetchval("select not exists (select from chassis.outbox)"))


async def widen(stack: Stack, topic: str) -> None:
    admin = AIOKafkaAdminClient(bootstrap_servers=stack.kafka_bootstrap)
    await admin.start()
    try:
        change = ConfigResource(ConfigResourceType.TOPIC, topic, {"max.message.bytes": "1000000"})
        await admin.alter_configs([change])
    finally:
        await admin.close()


async def everything(stack: Stack, topic: str) -> list[Any]:
    """The records of a topic's only partition."""
    consumer = AIOKafkaConsumer(bootstrap_servers=stack.kafka_bootstrap, auto_offset_reset="earliest")
    await consumer.start()
    try:
        place = TopicPartition(topic, 0)
        consumer.assign([place])
        end = (await consumer.end_offsets([place]))[place]
        found: list[Any] = []
        while len(found) < end:
            found += (await consumer.getmany(timeout_ms=200)).get(place, [])
        return found
    finally:
        await consumer.stop()
