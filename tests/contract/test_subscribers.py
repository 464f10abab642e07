"""FastStream's unsafe defaults: every subscriber of every service is looked at."""

from __future__ import annotations

import pytest
from faststream import AckPolicy
from faststream.kafka.subscriber.usecase import BatchSubscriber, LogicSubscriber

from schemas.topics import EVENT_TOPICS, READERS
from services.chassis.auth import KeySource, Tokens
from services.chassis.clock import MachineClock, ProgramClock
from services.chassis.service import Runtime, Service
from services.origin import SERVICES


def made(name: str) -> Service:
    machine = MachineClock()
    blueprint = SERVICES[name]
    tokens = Tokens(KeySource(""), issuer="", audience="", machine=machine)
    return blueprint.make(Runtime(blueprint.settings(), "127.0.0.1:1", "", ProgramClock(machine), tokens))


def unsafe(service: Service) -> list[str]:
    """What about the service's subscribers would lose records."""
    found = []
    for subscriber in service.broker.subscribers:
        assert isinstance(subscriber, LogicSubscriber)
        settings = subscriber._connection_args
        what = f"{service.name}: {', '.join(subscriber.topic_names)}"
        if subscriber.ack_policy is not AckPolicy.MANUAL:
            found.append(f"{what}: acknowledges by itself")
        if settings["enable_auto_commit"]:
            found.append(f"{what}: commits offsets on a timer")
        if settings["auto_offset_reset"] != "earliest":
            found.append(f"{what}: a new group would skip what is there")
        if subscriber.group_id is None:
            found.append(f"{what}: remembers no offsets")
        if not isinstance(subscriber, BatchSubscriber):
            found.append(f"{what}: one transaction per record")
    return found


def heard(service: Service) -> list[str]:
    """The topics that its subscribers read, once for each."""
    subscribers = [one for one in service.broker.subscribers if isinstance(one, LogicSubscriber)]
    return sorted(topic for subscriber in subscribers for topic in subscriber.topic_names)


@pytest.mark.parametrize("name", SERVICES)
def test_a_service_has_a_subscriber_for_every_topic_that_it_declares_and_for_no_other(name: str) -> None:
    service = made(name)
    assert heard(service) == sorted([*service.topics, *(t for more in service.subscriptions for t in more.topics)])


@pytest.mark.parametrize("name", SERVICES)
def test_a_service_reads_the_events_of_those_that_the_contract_names_for_it(name: str) -> None:
    events = {topic.name for topic in EVENT_TOPICS.values()}
    assert events.intersection(heard(made(name))) == {EVENT_TOPICS[one].name for one in READERS[name]}


@pytest.mark.parametrize("name", SERVICES)
def test_no_subscriber_keeps_an_unsafe_default(name: str) -> None:
    assert unsafe(made(name)) == []


def test_the_guard_sees_a_subscriber_with_faststreams_defaults() -> None:
    service = made("intake")
    service.broker.subscriber("intake.events.v1")
    assert len(unsafe(service)) == 5


@pytest.mark.parametrize("name", SERVICES)
def test_no_broker_creates_topics_by_itself(name: str) -> None:
    assert not made(name).broker.config.allow_auto_create_topics
