"""The topics: one per producing service, one for signed commands, one that moves program time in demos and tests.

Importing this module also registers every event type.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from schemas import applications, cycles, designations, notices, reviews
from schemas.envelope import EVENTS, Event

__all__ = ["CLOCK", "COMMANDS", "EVENTS", "EVENT_TOPICS", "TOPICS", "Topic", "events_of", "topic_of"]

_MODULES = (applications, cycles, designations, notices, reviews)

DAY_MS = 86_400_000


@dataclass(frozen=True)
class Topic:
    """A topic and how the broker keeps it."""

    name: str
    partitions: int = 12
    """Never changed: a key's order rests on it."""
    config: dict[str, str] = field(default_factory=dict)


def _events(service: str) -> Topic:
    """Thirty days: the ledger is the archive and the source of replay."""
    return Topic(f"{service}.events.v1", config={"retention.ms": str(30 * DAY_MS), "max.message.bytes": "1000000"})


EVENT_TOPICS: dict[str, Topic] = {
    service: _events(service) for service in ("intake", "scoring", "awards", "notifications", "ledger")
}
"""By producing service."""

COMMANDS = Topic(
    "scoring.submissions.v1",
    config={
        "retention.ms": str(7 * DAY_MS),
        "max.message.bytes": "1000000",
        # A command's validity is judged at the broker's time of arrival, never at a time that its sender states.
        "message.timestamp.type": "LogAppendTime",
    },
)
CLOCK = Topic("program.clock.v1", partitions=1, config={"cleanup.policy": "compact"})

TOPICS: tuple[Topic, ...] = (*EVENT_TOPICS.values(), COMMANDS, CLOCK)


def topic_of(event_type: str) -> str:
    """The topic that carries an event type."""
    return EVENT_TOPICS[event_type.split(".", 1)[0]].name


def events_of(service: str) -> list[type[Event]]:
    """The event models that a service produces, by type."""
    return [model for name, model in sorted(EVENTS.items()) if name.startswith(f"{service}.")]
