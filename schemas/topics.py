"""The topics: one per producing service, one for signed commands, one that moves program time, and the dead letters'.

Importing this module also registers every event type.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from schemas import applications, cycles, designations, erasures, evidence, governments, notices, reviews, screening
from schemas.envelope import EVENTS, Event

__all__ = [
    "CLOCK",
    "COMMANDS",
    "DEAD_LETTER_LIMIT",
    "DEAD_LETTER_ROOM",
    "EVENTS",
    "EVENT_TOPICS",
    "READERS",
    "TOPICS",
    "Topic",
    "dead_letters",
    "events_of",
    "topic_of",
]

_MODULES = (applications, cycles, designations, erasures, evidence, governments, notices, reviews, screening)

DAY_MS = 86_400_000
PLAIN = {"max.message.bytes": "1000000", "compression.type": "uncompressed"}
"""The broker unpacks what comes compressed: no reader meets a codec that it lacks, or more bytes than it expects."""


@dataclass(frozen=True)
class Topic:
    """A topic and how the broker keeps it."""

    name: str
    partitions: int = 12
    """Never changed: a key's order rests on it."""
    config: dict[str, str] = field(default_factory=dict)


def _kept(days: int) -> dict[str, str]:
    """How long a record is kept. The broker deletes whole segments only: each ends after a day, so none keeps more."""
    return {"retention.ms": str(days * DAY_MS), "segment.ms": str(DAY_MS)}


def _events(service: str) -> Topic:
    """Thirty days: the ledger is the archive and the source of replay."""
    return Topic(f"{service}.events.v1", config=PLAIN | _kept(30))


EVENT_TOPICS: dict[str, Topic] = {
    service: _events(service) for service in ("intake", "scoring", "awards", "notifications", "ledger")
}
"""By producing service."""

COMMANDS = Topic(
    "scoring.submissions.v1",
    config=PLAIN
    | _kept(7)
    | {
        # A command's validity is judged at the broker's time of arrival, never at a time that its sender states.
        "message.timestamp.type": "LogAppendTime",
    },
)
CLOCK = Topic("program.clock.v1", partitions=1, config={"cleanup.policy": "compact"})

READERS: dict[str, tuple[str, ...]] = {
    "intake": ("scoring", "awards", "notifications"),
    "scoring": ("intake", "awards"),
    "awards": ("intake", "scoring"),
    "notifications": ("intake", "awards"),
    "ledger": tuple(EVENT_TOPICS),
}
"""By consumer group, the services whose events it reads. Commands have no dead letters: each is answered alone."""

DEAD_LETTER_LIMIT = 1_000_000
"""Bytes of key, value and headers: no event topic takes more, unless compressed."""
DEAD_LETTER_ROOM = DEAD_LETTER_LIMIT + 20_000
"""Bytes with the headers that say where a dead letter comes from."""


def dead_letters(topic: str, group: str) -> Topic:
    """Where the records of `topic` go that `group` could not take. Nothing rests on their order."""
    config = _kept(30) | {"max.message.bytes": str(DEAD_LETTER_ROOM)}
    return Topic(f"{topic}.{group}.dlt", partitions=1, config=config)


TOPICS: tuple[Topic, ...] = (
    *EVENT_TOPICS.values(),
    COMMANDS,
    CLOCK,
    *(dead_letters(EVENT_TOPICS[service].name, group) for group, services in READERS.items() for service in services),
)


def topic_of(event_type: str) -> str:
    """The topic that carries an event type."""
    return EVENT_TOPICS[event_type.split(".", 1)[0]].name


def events_of(service: str) -> list[type[Event]]:
    """The event models that a service produces, by type."""
    return [model for name, model in sorted(EVENTS.items()) if name.startswith(f"{service}.")]
