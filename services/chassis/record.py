"""A record as the broker gave it, and the event in it."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final, NamedTuple, TypeVar, cast

from schemas import envelope as envelopes
from schemas.envelope import RECORD_LIMIT, Envelope, UnreadableError, parse

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

T = TypeVar("T")

STEP: Final = 50
"""Records that are read at a stretch: about half a millisecond."""


class Record(NamedTuple):
    """A record as the broker gave it."""

    topic: str
    partition: int
    offset: int
    key: bytes | None
    value: bytes | None
    timestamp_ms: int
    headers: tuple[tuple[str, bytes | None], ...] = ()
    read: object = None
    """What an inbox made of it ahead of its turn."""

    @property
    def place(self) -> str:
        """Where it lies: `topic/partition/offset`."""
        return f"{self.topic}/{self.partition}/{self.offset}"

    @property
    def arrived(self) -> datetime:
        """When the broker took it (LogAppendTime), or when its producer made it, as the topic is set."""
        return datetime.fromtimestamp(self.timestamp_ms / 1000, UTC)


async def read_ahead(records: Sequence[Record], reader: Callable[[Record], object]) -> list[Record]:
    """The records with what `reader` makes of each, so that `reading` has it at hand. The loop goes on meanwhile."""
    found = list[Record]()
    for number, record in enumerate(records):
        if number % STEP == 0:
            await asyncio.sleep(0)  # what PostgreSQL waits for goes out meanwhile
        found.append(Record(*record[:-1], reading(record, reader)))
    return found


def reading(record: Record, reader: Callable[[Record], T]) -> T | ValueError:
    """What `reader` makes of a record, or made of it ahead; the ValueError that it raises, where it does."""
    if record.read is not None:
        return cast("T | ValueError", record.read)
    try:
        return reader(record)
    except ValueError as error:
        return error


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
