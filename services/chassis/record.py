"""A record as the broker gave it, and the event in it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime

from schemas.envelope import RECORD_LIMIT, Envelope, UnreadableError, parse


@dataclass(frozen=True, slots=True)
class Record:
    """A record as the broker gave it."""

    topic: str
    partition: int
    offset: int
    key: bytes | None
    value: bytes | None
    timestamp_ms: int
    headers: tuple[tuple[str, bytes | None], ...] = ()

    @property
    def place(self) -> str:
        """Where it lies: `topic/partition/offset`."""
        return f"{self.topic}/{self.partition}/{self.offset}"

    @property
    def arrived(self) -> datetime:
        """When the broker took it (LogAppendTime), or when its producer made it, as the topic is set."""
        return datetime.fromtimestamp(self.timestamp_ms / 1000, UTC)


def envelope_of(record: Record) -> Envelope:
    """The record's event; UnreadableError also where the record's key is not the event's subject."""
    if len(record.value or b"") > RECORD_LIMIT:
        message = f"the record has more than {RECORD_LIMIT:,} bytes"
        raise UnreadableError(message)
    envelope = parse(record.value or b"")
    if record.key != envelope.subject.encode():
        message = "the record's key is not the event's subject"
        raise UnreadableError(message)
    return envelope
