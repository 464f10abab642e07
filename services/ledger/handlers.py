"""From Kafka into the logs: each event once, after its predecessor and its cause, or held back until they are there.

The ledger looks at envelopes only and never dumps a model: a leaf is what its service sealed, whatever its type.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import structlog

from schemas.cycles import LogOpened
from schemas.envelope import LEAF_LIMIT, Envelope, UnreadableError, Written, leaf_of, parse
from schemas.topics import EVENT_TOPICS
from services.chassis.breaker import Fate
from services.chassis.parking import park_poison
from services.chassis.record import Record, envelope_of
from services.chassis.transparency import Frontier, leaf_hash
from services.ledger import store
from services.ledger.checkpoints import origin_of, signer, signer_of
from services.ledger.domain import PROGRAM, Arrival, Sequencer, log_of
from services.ledger.store import Head, Incoming

if TYPE_CHECKING:
    from services.chassis.database import Database, Tx
    from services.chassis.service import Service
    from services.chassis.settings import Settings

HELD_SECONDS: Final = 60.0
"""Machine time after which an event that still waits is a warning: what it rests on should have come."""

log = structlog.get_logger()


async def open_program(service: Service) -> None:
    """At the start: see that the key is the one every log was opened under, and open the log `program` once."""
    async with service.database.transaction() as tx:
        await store.lock(tx.db)
        heads = {head.log: head for head in await store.every_head(tx.db)}
        for head in heads.values():
            signer_of(service.settings, head)
        if PROGRAM not in heads:
            opened, first = await open_log(tx, service.settings, PROGRAM)
            await store.append(tx.db, {PROGRAM: opened}, [first])


async def open_log(tx: Tx, settings: Settings, name: str) -> tuple[Head, Incoming]:
    """A new log, and the event that must become its entry 0 in this transaction."""
    origin = origin_of(settings, name)
    key = str(signer(settings, origin).verifier)
    cycle = None if name == PROGRAM else name
    tx.record(LogOpened(log=name, cycle=cycle, origin=origin, verifier_key=key))
    (written,) = await tx.flush()
    opened = Head(name, origin, key, Frontier())
    await store.open_log(tx.db, opened)
    return opened, _own(written, name)


class LedgerInbox:
    """Takes the records of all event topics into the logs."""

    parks = True

    def __init__(self, settings: Settings, group: str | None = None) -> None:
        """`group` names the topics of the dead letters."""
        self._settings = settings
        self._group = group

    async def process(self, tx: Tx, records: list[Record]) -> list[Fate | Exception]:
        """Append what can be appended, hold back the rest."""
        readable, fates = [], list[Fate | Exception]()
        for record in records:
            try:
                readable.append(incoming_of(record))
                fates.append(Fate.EFFECT)
            except ValueError as error:
                fates.append(error)
        await self._take(tx, readable)
        return fates

    async def _take(self, tx: Tx, readable: list[Incoming]) -> None:
        await store.lock(tx.db)
        fresh = await _unknown(tx, readable)
        if not fresh:
            return
        placed = await _placed(tx, [incoming.arrival for incoming in fresh.values()])
        await store.hold(tx.db, [incoming for name, incoming in fresh.items() if name not in placed])
        released = await store.release(tx.db, [name for name in placed if name not in fresh])
        ready = fresh | {incoming.arrival.id: incoming for incoming in map(_read_again, released)}
        await self._append(tx, [ready[name] for name in placed])

    async def _append(self, tx: Tx, placed: list[Incoming]) -> None:
        logs = await store.heads(tx.db, {incoming.arrival.log for incoming in placed})
        entries = []
        for incoming in placed:
            name = incoming.arrival.log
            if name not in logs:
                logs[name], first = await open_log(tx, self._settings, name)
                entries.append(first)
            entries.append(incoming)
        await store.append(tx.db, logs, entries)

    async def set_aside(self, tx: Tx, record: Record, error: Exception) -> None:
        """Keep a record that failed alone: no retry of the ledger's would mend it."""
        await park_poison(tx, record, error, self._group)

    async def retry(self, database: Database) -> None:
        """Nothing is tried again: what is held leaves with what it waits for. Warn once of what waits too long."""
        async with database.transaction() as tx:
            late = await store.overdue(tx.db, HELD_SECONDS)
        if late:
            first = late[0]
            log.warning(
                "events held back too long",
                count=len(late),
                oldest=first["id"],
                type=first["type"],
                log=first["log"],
            )


def incoming_of(record: Record) -> Incoming:
    """Read a record; UnreadableError also for an event on another service's topic, or a leaf that is too large."""
    envelope = envelope_of(record)
    topic = EVENT_TOPICS.get(envelope.source.removeprefix("/"))
    if topic is None or topic.name != record.topic or not envelope.type.startswith(envelope.source[1:] + "."):
        raise UnreadableError(f"{envelope.type} of {envelope.source} does not belong on {record.topic}")
    return _sealed(envelope, record.value or b"")


def _sealed(envelope: Envelope, record: bytes) -> Incoming:
    leaf, openings = leaf_of(record)
    if len(leaf) > LEAF_LIMIT:
        raise UnreadableError(f"the leaf has {len(leaf):,} bytes, {LEAF_LIMIT:,} are allowed")
    arrival = Arrival(
        id=envelope.id,
        type=envelope.type,
        source=envelope.source,
        subject=envelope.subject,
        sequence=envelope.sequence,
        cause=envelope.causationid,
        log=log_of(envelope.type, envelope.cycleid),
    )
    return Incoming(arrival, leaf, leaf_hash(leaf), openings, record)


def _read_again(record: bytes) -> Incoming:
    return _sealed(parse(record), record)


def _own(written: Written, name: str) -> Incoming:
    header = written.header
    arrival = Arrival(header.id, header.type, header.source, header.subject, header.sequence, None, name)
    return Incoming(arrival, written.leaf, written.leaf_hash, {}, written.record)


async def _unknown(tx: Tx, readable: list[Incoming]) -> dict[str, Incoming]:
    """What is neither logged nor held, by id; what contradicts either is an alarm."""
    by_id, by_turn = await store.known(tx.db, [incoming.arrival for incoming in readable])
    fresh: dict[str, Incoming] = {}
    for incoming in readable:
        arrival = incoming.arrival
        if arrival.id in by_id:
            if by_id[arrival.id] != incoming.leaf_hash:
                await _alarm(tx, incoming, "same id, other bytes")
        elif arrival.turn in by_turn:
            await _alarm(tx, incoming, "same sequence, other id")
        elif arrival.own:
            await _alarm(tx, incoming, "not written by the ledger")
        else:
            by_id[arrival.id], by_turn[arrival.turn] = incoming.leaf_hash, arrival.id
            fresh[arrival.id] = incoming
    return fresh


async def _alarm(tx: Tx, incoming: Incoming, kind: str) -> None:
    if await store.raise_alarm(tx.db, incoming, kind):
        arrival = incoming.arrival
        log.error("event contradicts the log", kind=kind, id=arrival.id, type=arrival.type, log=arrival.log)


async def _placed(tx: Tx, arrivals: list[Arrival]) -> list[str]:
    """The ids of what can be appended now, in order: new events, and held ones that waited for nothing but these."""
    sequencer, seen, placed = Sequencer(), {arrival.id for arrival in arrivals}, []
    while arrivals:
        needs = set().union(*(arrival.needs for arrival in arrivals))
        now = sequencer.offer(arrivals, await store.met(tx.db, needs))
        placed += [arrival.id for arrival in now]
        behind = await store.waiting_behind(tx.db, now) if now else []
        arrivals = [arrival for arrival in behind if arrival.id not in seen]
        seen |= {arrival.id for arrival in arrivals}
    return placed
