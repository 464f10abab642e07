"""A record on its way into a log. Of the event only the envelope is looked at: a leaf is what its service sealed."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from schemas import envelope as envelopes
from schemas.envelope import LEAF_LIMIT, UnreadableError
from schemas.topics import EVENT_TOPICS
from services.chassis.record import taken_apart
from services.chassis.transparency import leaf_hash
from services.ledger.domain import Arrival, log_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from schemas.envelope import Envelope, Written
    from services.chassis.record import Record


class Incoming(NamedTuple):
    """An event on its way into a log: its place, the leaf's bytes and hash, and the openings beside it."""

    arrival: Arrival
    leaf: bytes
    leaf_hash: bytes
    openings: Mapping[str, str]
    record: bytes
    """As Kafka carried it."""


def incoming_of(record: Record) -> Incoming:
    """Read a record; UnreadableError also for an event on another service's topic, or a leaf that is too large."""
    envelope, leaf, openings = taken_apart(record)
    service = envelope.source[1:]
    topic = EVENT_TOPICS.get(service)
    if topic is None or topic.name != record.topic or not envelope.type.startswith(service + "."):
        raise UnreadableError(f"{envelope.type} of {envelope.source} does not belong on {record.topic}")
    return _sealed(envelope, leaf, openings, record.value or b"")


def read_again(record: bytes) -> Incoming:
    """What was held, from its record."""
    return _sealed(*envelopes.taken_apart(record), record)


def own(written: Written, log: str) -> Incoming:
    """An event of the ledger's, which is logged in the transaction that writes it."""
    header = written.header
    arrival = Arrival(header.id, header.type, header.source, header.subject, header.sequence, None, log)
    return Incoming(arrival, written.leaf, written.leaf_hash, {}, written.record)


def _sealed(envelope: Envelope, leaf: bytes, openings: dict[str, str], record: bytes) -> Incoming:
    if len(leaf) > LEAF_LIMIT:
        raise UnreadableError(f"the leaf has {len(leaf):,} bytes, {LEAF_LIMIT:,} are allowed")
    arrival = Arrival(
        envelope.id,
        envelope.type,
        envelope.source,
        envelope.subject,
        envelope.sequence,
        envelope.causationid,
        log_of(envelope.type, envelope.cycleid),
    )
    return Incoming(arrival, leaf, leaf_hash(leaf), openings, record)
