"""Creates the topics as `schemas.topics` declares them."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.errors import NodeNotReadyError, TopicAlreadyExistsError, for_code

from services.chassis.failures import backoff

if TYPE_CHECKING:
    from collections.abc import Iterable

    from schemas.topics import Topic


TRIES = 10
"""Some ten seconds: on a machine that is overloaded a broker that has started does not yet count as one."""


async def apply(bootstrap: str, topics: Iterable[Topic], *, replication: int = 1) -> list[str]:
    """Create the topics that are missing and return their names. An existing topic is left as it is."""
    wanted = list(topics)
    for attempt in range(1, TRIES):
        try:
            return await _apply(bootstrap, wanted, replication)
        except NodeNotReadyError:
            await asyncio.sleep(backoff(attempt))
    return await _apply(bootstrap, wanted, replication)


async def _apply(bootstrap: str, topics: Iterable[Topic], replication: int) -> list[str]:
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap)
    try:
        await admin.start()
        present = set(await admin.list_topics())
        missing = [
            NewTopic(topic.name, topic.partitions, replication, topic_configs=topic.config)
            for topic in topics
            if topic.name not in present
        ]
        if missing:
            answer = await admin.create_topics(missing)
            for name, code, *_ in answer.topic_errors:
                error = for_code(code)
                if code and error is not TopicAlreadyExistsError:
                    raise error(name)
        return [topic.name for topic in missing]
    finally:
        await admin.close()
