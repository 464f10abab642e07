"""A record as the broker gave it, and the event in it."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import NamedTuple

from schemas import envelope as envelopes
from schemas.envelope import RECORD_LIMIT, Envelope, UnreadableError, parse


class Record(NamedTuple):
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
    return _keyed(record, parse(value_of(record)))


def taken_apart(record: Record) -> tuple[Envelope, bytes, dict[str, str]]:
    """The record's event as `schemas.envelope.taken_apart` gives it, with the errors of `envelope_of`, too."""
    envelope, leaf, openings = envelopes.taken_apart(value_of(record))
    return _keyed(record, envelope), leaf, openings


def value_of(record: Record) -> bytes:
    """The record's bytes, empty where it has none; UnreadableError where they are more than an event may have."""
    value = record.value or b""
    if len(value) > RECORD_LIMIT:
        message = f"the record has more than {RECORD_LIMIT:,} bytes"
        raise UnreadableError(message)
    return value


def _keyed(record: Record, envelope: Envelope) -> Envelope:
    if record.key != envelope.subject.encode():
        message = "the record's key is not the event's subject"
        raise UnreadableError(message)
    return envelope
