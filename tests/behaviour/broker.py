"""What the chassis needs of a broker, seen through the chassis. Inherited by a test class for each broker."""

from __future__ import annotations

import asyncio

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType

from deploy.embedded import Stack
from schemas.screening import ApplicationClarified, Clarification
from schemas.topics import COMMANDS, TOPICS
from services.chassis import consumer, relay
from services.chassis.clock import ProgramClock
from services.chassis.ids import opaque_id
from tests.behaviour.house import PARTITIONS, TOPIC, House, Load
from tests.given import eventually


def subjects(count: int) -> list[str]:
    return [opaque_id() for _ in range(count)]


class BrokerBehaviour:
    """Order, redelivery, groups, producers, sizes."""

    async def test_events_of_a_key_take_effect_in_the_order_of_their_commits(self, house: House) -> None:
        member, keys = await house.join(), subjects(7)
        for _ in range(30):
            await asyncio.gather(*(member.record(key) for key in keys))
        await house.shows(dict.fromkeys(keys, 30))

    async def test_a_topic_that_is_delivered_again_takes_no_second_effect(self, house: House) -> None:
        member, keys = await house.join(), subjects(5)
        for _ in range(10):
            await member.record(*keys)
        await house.shows(dict.fromkeys(keys, 10))
        await house.leave(member)
        await house.rewind()
        again = await house.join()
        await again.record(*keys)
        await house.shows(dict.fromkeys(keys, 11))
        assert sum(again.inbox.sizes) == 55
        assert sorted(again.attempted) == sorted((key, 11) for key in keys)

    @pytest.mark.parametrize("count", [2, 3])
    async def test_members_that_come_and_go_under_load_share_the_work_and_lose_and_double_nothing(
        self, house: House, count: int
    ) -> None:
        load = Load(await house.join(), subjects(40), seed=count)
        for _ in range(count - 1):
            await house.join()
            await house.settled()
        shares = [len(member.assignment) for member in house.members]
        assert max(shares) - min(shares) <= 1
        # Not the first, which commits the load.
        for member in house.members[1:]:
            await house.leave(member)
            await house.settled()
        await house.shows(await load.end())

    async def test_a_rebalance_waits_for_the_batch_under_way(self, house: House) -> None:
        first, keys = await house.join(), subjects(20)
        await house.settled()
        first.gate.clear()
        await first.record(*keys)
        await first.held.wait()
        joining = asyncio.create_task(house.join())

        async def rebalancing() -> bool:
            return first.rebalances >= 1

        await eventually(rebalancing)
        # Longer than the ten seconds after which a broker by default goes on without a member.
        await asyncio.sleep(11)
        assert not joining.done()
        first.gate.set()
        second = await joining
        await house.settled()
        await house.shows(dict.fromkeys(keys, 1))
        assert set(first.attempted) & set(second.attempted) == set()

    async def test_a_batch_that_outlasts_its_partitions_takes_effect_once_at_one_of_the_two_members(
        self, house: House, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(consumer, "DRAIN_SECONDS", 0.1)
        first, keys = await house.join(), subjects(20)
        await house.settled()
        first.gate.clear()
        await first.record(*keys)
        await first.held.wait()
        second = await house.join()
        await house.settled()

        async def second_is_done() -> bool:
            return bool(second.attempted) and bool(await house.effects())

        await eventually(second_is_done)
        first.gate.set()
        await house.shows(dict.fromkeys(keys, 1))
        assert set(first.attempted) & set(second.attempted), "both had it in hand"

    async def test_a_named_member_that_restarts_moves_no_partition(self, house: House) -> None:
        stays, restarts, keys = await house.join(instance="a"), await house.join(instance="b"), subjects(20)
        await house.settled()
        share, rebalances = restarts.assignment, stays.rebalances
        await house.leave(restarts)
        await stays.record(*keys)
        back = await house.join(instance="b")
        await house.settled()
        await house.shows(dict.fromkeys(keys, 1))
        assert back.assignment == share
        assert stays.rebalances == rebalances
        assert back.attempted, "it found what came meanwhile"

    async def test_a_member_that_restarts_under_load_goes_on_where_it_was(self, house: House) -> None:
        writer = await house.join()
        load = Load(writer, subjects(10), seed=1)
        for _ in range(2):
            reader = await house.join()
            await house.settled()
            await house.leave(reader)
        await house.shows(await load.end())

    async def test_a_producer_whose_numbers_the_broker_refuses_is_made_anew_and_order_is_kept(
        self, house: House, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        made: list[AIOKafkaProducer] = []
        make = relay.producer

        def remembered(bootstrap: str) -> AIOKafkaProducer:
            made.append(make(bootstrap))
            return made[-1]

        monkeypatch.setattr(relay, "producer", remembered)
        member, keys = await house.join(), subjects(5)
        await member.record(*keys)
        await house.shows(dict.fromkeys(keys, 1))
        (wedged,) = made
        for partition in range(PARTITIONS):
            wedged._txn_manager.increment_sequence_number(TopicPartition(TOPIC, partition), 7)
        for _ in range(10):
            await member.record(*keys)
        await house.shows(dict.fromkeys(keys, 11))
        assert len(made) > 1

    async def test_thousands_of_events_of_one_transaction_arrive_and_are_taken_in_huge_batches(
        self, house: House
    ) -> None:
        writer, keys = await house.join(), subjects(50)
        await writer.record(*(keys * 80))
        await house.shows(dict.fromkeys(keys, 80))
        await house.leave(writer)
        await house.rewind()
        async with house.connection() as db:
            await db.execute("truncate projection.seen, chassis.mark")
        reader = await house.join(batch_size=10_000)
        await house.shows(dict.fromkeys(keys, 80))
        assert max(reader.inbox.sizes) >= 1_000

    async def test_batches_of_nothing_and_of_nothing_new_pass(self, house: House) -> None:
        member, (key,) = await house.join(), subjects(1)
        await member.consumer.consume(())
        async with member.database.transaction():
            pass
        await member.record(key)
        await house.shows({key: 1})
        await house.leave(member)
        await house.rewind()
        again = await house.join()
        await house.shows({key: 1})
        assert sum(again.inbox.sizes) == 1
        assert again.attempted == []

    async def test_an_event_as_large_as_any_may_be_arrives(self, house: House) -> None:
        member, key = await house.join(), opaque_id()
        async with member.database.transaction() as tx:
            large = Clarification(text="x" * 670_000)
            tx.record(ApplicationClarified(cycle="c", application=key, question="q", private=large))
            (written,) = await tx.flush()
        assert 890_000 < len(written.record) <= 900_000
        await house.shows({key: 1})

    async def test_topics_are_kept_as_they_are_declared(self, stack: Stack) -> None:
        admin = AIOKafkaAdminClient(bootstrap_servers=stack.kafka_bootstrap)
        await admin.start()
        try:
            described = {topic["topic"]: topic for topic in await admin.describe_topics([t.name for t in TOPICS])}
            answers = await admin.describe_configs([ConfigResource(ConfigResourceType.TOPIC, t.name) for t in TOPICS])
        finally:
            await admin.close()
        settings = {
            resource[3]: {entry[0]: entry[1] for entry in resource[4]}
            for answer in answers
            for resource in answer.resources
        }
        for topic in TOPICS:
            assert len(described[topic.name]["partitions"]) == topic.partitions
            assert topic.config.items() <= settings[topic.name].items()

    async def test_a_command_has_the_time_of_its_arrival_at_the_broker_whatever_its_sender_says(
        self, stack: Stack, kafka: AIOKafkaProducer, clock: ProgramClock
    ) -> None:
        before = clock.machine.now().timestamp() * 1000
        sent = await kafka.send_and_wait(COMMANDS.name, b"{}", key=b"k", timestamp_ms=1_000)
        reader = AIOKafkaConsumer(bootstrap_servers=stack.kafka_bootstrap)
        await reader.start()
        try:
            place = TopicPartition(sent.topic, sent.partition)
            reader.assign([place])
            reader.seek(place, sent.offset)
            record = await reader.getone()
        finally:
            await reader.stop()
        assert before - 1_000 < record.timestamp < before + 60_000
