"""Every record of every topic, delivered again after a whole cycle: nothing takes effect twice."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Iterable
from typing import Any

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition

from deploy.demo.calls import until
from deploy.demo.receiver import Receiver
from schemas.topics import COMMANDS, EVENT_TOPICS, Topic
from services.chassis.service import Service
from services.origin import Origin

TOPICS = [*EVENT_TOPICS.values(), COMMANDS]


async def test_a_whole_cycle_delivered_twice_more_changes_nothing(
    played: tuple[Origin, Receiver], fault_seed: int
) -> None:
    chance = random.Random(fault_seed)
    origin, receiver = played
    await settled(origin)
    before = {service.name: await state(service) for service in origin.services}
    notices = len(receiver.received())
    assert before["ledger"]
    for _ in range(2):
        recorded = sum(len(tables["chassis.event_log"]) for tables in before.values())
        assert await deliver_again(origin.kafka_bootstrap, chance.sample(TOPICS, len(TOPICS))) >= recorded
        await settled(origin)
    after = {service.name: await state(service) for service in origin.services}
    for name, tables in before.items():
        assert after[name] == tables, name
    assert len(receiver.received()) == notices


async def state(service: Service) -> dict[str, list[str]]:
    """Every row of the projections, and of what was recorded and what waits."""
    tables = await service.database.pool.fetch(
        "select schemaname || '.' || tablename as name from pg_tables where schemaname = 'projection'"
        " or (schemaname, tablename) in (('chassis', 'event_log'), ('chassis', 'parked'), ('chassis', 'mark'))"
    )
    found: dict[str, list[str]] = {}
    for table in tables:
        rows = await service.database.pool.fetch(f"select t::text as row from {table['name']} t order by 1")  # noqa: S608  (names of our own tables)
        found[table["name"]] = [row["row"] for row in rows]
    return found


async def deliver_again(bootstrap: str, topics: Iterable[Topic] = TOPICS) -> int:
    """Send a copy of every record that the topics hold, topic by topic; returns how many."""
    copied = 0
    consumer = AIOKafkaConsumer(bootstrap_servers=bootstrap, auto_offset_reset="earliest", enable_auto_commit=False)
    producer = AIOKafkaProducer(bootstrap_servers=bootstrap)
    await consumer.start()
    await producer.start()
    try:
        for topic in topics:
            partitions = [TopicPartition(topic.name, number) for number in range(topic.partitions)]
            consumer.assign(partitions)
            ends = await consumer.end_offsets(partitions)
            records: list[Any] = []
            while any([await consumer.position(p) < ends[p] for p in partitions]):
                for batch in (await consumer.getmany(timeout_ms=200)).values():
                    records += batch
            for record in records:
                await producer.send(topic.name, record.value, key=record.key)
            copied += len(records)
        await producer.flush()
    finally:
        await consumer.stop()
        await producer.stop()
    return copied


async def settled(origin: Origin) -> None:
    """Wait until every consumer has committed all that the topics hold."""

    async def no_lag() -> bool:
        for service in origin.services:
            for consumer in service.consumers:
                kafka = consumer.subscriber.consumer
                assert kafka is not None
                ends = await kafka.end_offsets(kafka.assignment())
                for partition, end in ends.items():
                    if end and (await kafka.committed(partition) or 0) < end:
                        return False
        return True

    await until("every topic to be consumed", no_lag)
    await asyncio.sleep(0.5)
