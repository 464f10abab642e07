"""aiokafka's clients in states from which they never come back by themselves: noticed, and made anew."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.errors import KafkaError, NodeNotReadyError

from deploy.embedded import Stack
from schemas.cycles import CycleDeadlineExtended
from schemas.topics import TOPICS
from services.chassis import kafka as clients
from services.chassis import topics
from services.chassis.clock import MachineClock, ProgramClock, follow, move_record
from services.chassis.ids import opaque_id
from services.chassis.relay import producer
from services.chassis.service import Runtime
from services.chassis.settings import Settings
from tests.faults.evidence import Witness
from tests.given import eventually

pytestmark = pytest.mark.long

RuntimeMaker = Callable[[type[Settings]], Runtime]


@pytest.fixture
async def witness(runtime: RuntimeMaker) -> AsyncIterator[Witness]:
    async with Witness(runtime(Settings), "intake") as made:
        yield made


async def goes_round(witness: Witness, seconds: float = 15) -> None:
    """See that an event leaves the witness's outbox, comes back by Kafka and takes effect, once."""
    cycle = opaque_id()
    async with witness.service.database.transaction() as tx:
        name = tx.record(CycleDeadlineExtended(cycle=cycle, deadline=datetime.now(UTC), reason="flood"))

    async def is_seen() -> bool:
        return name in [seen for seen, _, _ in await witness.seen()]

    await eventually(is_seen, seconds)
    assert [seen for seen, _, _ in await witness.seen()].count(name) == 1


def client_of(witness: Witness) -> Any:
    """The client of the witness's only consumer."""
    (consumer,) = witness.service.consumers
    return consumer.subscriber.consumer


async def refuse_heartbeats(witness: Witness) -> None:
    async def unforeseen() -> bool:
        raise KafkaError("an answer that aiokafka does not know")

    client_of(witness)._coordinator._do_heartbeat = unforeseen


async def end_the_fetches(witness: Witness) -> None:
    client_of(witness)._fetcher._fetch_task.cancel()


async def end_the_poll(witness: Witness) -> None:
    (consumer,) = witness.service.consumers
    consumer.subscriber.tasks[0].cancel()


@pytest.mark.parametrize("fault", [refuse_heartbeats, end_the_fetches, end_the_poll])
async def test_a_consumer_that_is_spent_is_made_anew(
    witness: Witness, fault: Callable[[Witness], Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(clients, "ERRORS", 3)
    await goes_round(witness)
    spent = client_of(witness)
    await fault(witness)

    async def is_another() -> bool:
        return client_of(witness) is not spent

    await eventually(is_another)
    await goes_round(witness)
    assert witness.service.relay is not None
    assert all((await witness.service.ready()).values())


async def test_an_error_of_the_poll_is_a_short_pause(witness: Witness) -> None:
    await goes_round(witness)
    client = client_of(witness)
    told = asyncio.ensure_future(client._coordinator._push_error_to_user(KafkaError("one that passes")))
    await goes_round(witness, 4)
    await told
    assert client_of(witness) is client


async def test_a_producer_that_is_given_up_before_its_first_step_cancels_nobody(stack: Stack) -> None:
    given_up = producer(stack.kafka_bootstrap)
    await given_up.start()
    await given_up.abandon()
    assert given_up._sender.sender_task.cancelled()


async def test_a_producer_with_unsent_records_is_given_up_at_once(stack: Stack) -> None:
    given_up = producer(stack.kafka_bootstrap)
    await given_up.start()
    given_up.client.cluster.leader_for_partition = lambda _: -1  # as while a broker is away
    await given_up.send("intake.events.v1", b"never sent", partition=0)
    async with asyncio.timeout(clients.CLOSE_SECONDS + 1):
        await given_up.abandon()


async def test_topics_are_applied_once_a_broker_that_has_just_started_counts_as_one(
    stack: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    polls, list_topics = 0, AIOKafkaAdminClient.list_topics

    async def fails_for_a_while(self: AIOKafkaAdminClient) -> Any:
        nonlocal polls
        polls += 1
        if polls <= 2:
            raise NodeNotReadyError
        return await list_topics(self)

    monkeypatch.setattr(AIOKafkaAdminClient, "list_topics", fails_for_a_while)
    assert await topics.apply(stack.kafka_bootstrap, TOPICS) == []
    assert polls == 3


async def test_program_time_is_followed_through_errors_and_never_goes_back(
    stack: Stack, kafka: AIOKafkaProducer, monkeypatch: pytest.MonkeyPatch
) -> None:
    topic, clock = f"clock-{opaque_id()}", ProgramClock(MachineClock(), movable=True)
    moves: list[int] = []
    clock.on_move(lambda: moves.append(round((clock.now() - clock.machine.now()) / timedelta(days=1))))
    admin = AIOKafkaAdminClient(bootstrap_servers=stack.kafka_bootstrap)
    await admin.start()
    await admin.create_topics([NewTopic(topic, num_partitions=1, replication_factor=1)])
    await admin.close()
    for days in (1, 2):
        await kafka.send_and_wait(topic, move_record(clock, datetime.now(UTC) + timedelta(days=days)), partition=0)
    ready = asyncio.Event()
    following = asyncio.create_task(follow(clock, stack.kafka_bootstrap, topic, ready.set))
    try:
        async with asyncio.timeout(10):
            await ready.wait()
        polls, getmany = 0, AIOKafkaConsumer.getmany

        async def fails_for_a_while(self: Any, *partitions: Any, **how: Any) -> Any:
            nonlocal polls
            polls += 1
            if polls <= 2:
                raise KafkaError("one that aiokafka repeats for ever")
            return await getmany(self, *partitions, **how)

        monkeypatch.setattr(clients, "ERRORS", 2)
        monkeypatch.setattr(AIOKafkaConsumer, "getmany", fails_for_a_while)

        async def is_connected_anew() -> bool:
            return polls > 3

        await eventually(is_connected_anew)
        await kafka.send_and_wait(topic, move_record(clock, datetime.now(UTC) + timedelta(days=3)), partition=0)

        async def is_moved() -> bool:
            return moves[-1] == 3

        await eventually(is_moved)
        assert moves == [1, 2, 3]
    finally:
        following.cancel()
