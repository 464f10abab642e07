"""What cannot take effect now is parked in `chassis.parked`: events that wait, and poison.

What waits is tried again by its inbox. Poison is not tried again by itself, and is also sent to the topic
`<topic>.<group>.dlt`: through the outbox, in the transaction that parks it, so that neither happens without the other.
`ask_again` has poison tried again, in the order of its key, by the consumer that parked it.
"""

from __future__ import annotations

from pathlib import Path
from traceback import extract_tb
from typing import TYPE_CHECKING

import asyncpg
import structlog

from schemas.envelope import UnreadableError, rfc3339
from schemas.topics import DEAD_LETTER_LIMIT, dead_letters
from services.chassis.failures import NotYetError, transient
from services.chassis.observed import about
from services.chassis.record import Record, envelope_of

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from schemas.envelope import Envelope
    from services.chassis.database import Database, Tx
    from services.chassis.inbox import Inbox

_ROOT = Path(__file__).resolve().parents[2]

log = structlog.get_logger()


async def park(tx: Tx, record: Record, envelope: Envelope | None, kind: str, reason: str) -> datetime | None:
    """Keep a record; returns since when, or None where it is kept already and stays as it is."""
    parked_at: datetime | None = await tx.db.fetchval(
        """
        insert into chassis.parked
            (topic, part, position, kind, source, subject, sequence, reason, record_key, record, headers, arrived_at)
        values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12) on conflict do nothing returning parked_at
        """,
        record.topic,
        record.partition,
        record.offset,
        kind,
        envelope and envelope.source,
        envelope and envelope.subject,
        envelope and envelope.sequence,
        reason,
        record.key,
        record.value,
        _kept(record.headers),
        record.arrived,
    )
    return parked_at


async def park_poison(tx: Tx, record: Record, error: Exception, group: str | None) -> None:
    """Keep a record that no retry will mend, send it to the dead letters of `group`, and say so in the log."""
    envelope = _readable(record)
    if parked_at := await park(tx, record, envelope, "poison", reason_of(error)):
        await _send(tx, record, envelope, error, group, parked_at)


async def condemn(tx: Tx, record: Record, error: Exception, group: str | None) -> None:
    """Call a parked event that waited poison."""
    parked_at = await tx.db.fetchval(
        "update chassis.parked set kind = 'poison', reason = $4, attempts = attempts + 1"
        " where topic = $1 and part = $2 and position = $3 and kind = 'not_yet' returning clock_timestamp()",
        record.topic,
        record.partition,
        record.offset,
        reason_of(error),
    )
    if parked_at is not None:
        await _send(tx, record, _readable(record), error, group, parked_at)


async def _send(
    tx: Tx, record: Record, envelope: Envelope | None, error: Exception, group: str | None, at: datetime
) -> None:
    reason = reason_of(error)
    with about(record, envelope):
        log.error("poison parked", group=group, at=record.place, reason=reason, trace=_trace(error))
    if group is None:
        return
    letter = {
        "dead-letter-topic": record.topic,
        "dead-letter-partition": str(record.partition),
        "dead-letter-offset": str(record.offset),
        "dead-letter-group": group,
        "dead-letter-reason": reason,
        "dead-letter-time": rfc3339(at),
    }
    key, value, headers = record.key, record.value, record.headers
    size = sum(map(len, (key or b"", value or b"", *(name.encode() + (text or b"") for name, text in headers))))
    if size > DEAD_LETTER_LIMIT:
        # A compressed batch can hold what no topic takes in the open; the parked row has all of it.
        letter["dead-letter-omitted"] = f"{size:,} bytes are too many to be sent on"
        key, value, headers = None, None, ()
    if key is None and value is None:
        value = b""  # Kafka's client refuses a record with neither
    headers = (*((name, text.encode()) for name, text in letter.items()), *headers)
    await tx.db.execute(
        "insert into chassis.outbox (key, topic, record, letter) values ($1, $2, $3, $4)",
        f"{record.topic}/{record.partition}",
        dead_letters(record.topic, group).name,
        value,
        {"key": None if key is None else key.hex(), "headers": _kept(headers)},
    )


def _readable(record: Record) -> Envelope | None:
    try:
        return envelope_of(record)
    except UnreadableError:
        return None


def _kept(headers: Sequence[tuple[str, bytes | None]]) -> list[list[str | None]]:
    """Headers for jsonb: one may have no value, and PostgreSQL's text no NUL; neither may stop the partition."""
    return [[name.replace("\0", "\ufffd"), None if value is None else value.hex()] for name, value in headers]


def raw_headers(kept: list[tuple[str, str | None]]) -> list[tuple[str, bytes | None]]:
    """The inverse."""
    return [(name, None if value is None else bytes.fromhex(value)) for name, value in kept]


def record_of(row: asyncpg.Record) -> Record:
    """The record in a row of `chassis.parked`."""
    return Record(
        row["topic"],
        row["part"],
        row["position"],
        row["record_key"],
        row["record"],
        round(row["arrived_at"].timestamp() * 1000),
        tuple(raw_headers(row["headers"])),
    )


def reason_of(error: Exception) -> str:
    """Why, in a line without private data.

    Our own words are such. Of any other failure only its type and place are told, for its message may quote the very
    value that it failed on (PostgreSQL quotes whole rows).
    """
    if type(error).__module__.startswith(("schemas.", "services.")):
        text = str(error)
    else:
        rule = getattr(error, "constraint_name", None) or getattr(error, "sqlstate", None)
        where = _trace(error)[-1:]
        text = " ".join([type(error).__name__, *([f"({rule})"] if rule else []), *(f"at {place}" for place in where)])
    return text[:500].replace("\0", "\ufffd")


def _trace(error: Exception) -> list[str]:
    """Where it came through, innermost last: our own code only."""
    frames = [frame for frame in extract_tb(error.__traceback__) if Path(frame.filename).is_relative_to(_ROOT)]
    return [
        f"{Path(frame.filename).relative_to(_ROOT)}:{frame.lineno} {frame.name}"
        for frame in frames
        if ".venv" not in frame.filename
    ]


# --- again ---------------------------------------------------------------------------------------------------------


def alarm(group: str) -> str:
    """The alarm that has a consumer of this process look for what is to be tried again."""
    return f"again:{group}"


async def ask_again(tx: Tx, places: Sequence[tuple[str, int, int]] | None) -> list[tuple[str, int, int]]:
    """Have the poison at these places (None: all of it) tried again soon; returns what will be."""
    rows = await tx.db.fetch(
        """
        update chassis.parked set again = true where kind = 'poison' and ($1 or (topic, part, position) in (
            select * from unnest($2::text[], $3::int[], $4::bigint[])
        )) returning topic, part, position
        """,
        places is None,
        [topic for topic, _, _ in places or ()],
        [part for _, part, _ in places or ()],
        [position for _, _, position in places or ()],
    )
    return sorted(tuple(row) for row in rows)


async def dismiss(tx: Tx, places: Sequence[tuple[str, int, int]], why: str) -> list[tuple[str, int, int]]:
    """Drop poison in which no event can be read, of those at these places; its dead letter on Kafka stays.

    An event is never dropped: later ones of its key would wait for it for ever.
    """
    rows = await tx.db.fetch(
        """
        delete from chassis.parked where kind = 'poison' and subject is null and (topic, part, position) in (
            select * from unnest($1::text[], $2::int[], $3::bigint[])
        ) returning topic, part, position, reason
        """,
        *map(list, zip(*places, strict=True)),
    )
    for topic, part, position, reason in rows:
        log.warning("poison dismissed", at=f"{topic}/{part}/{position}", reason=reason, why=why)
    return [(topic, part, position) for topic, part, position, _ in rows]


async def try_again(database: Database, inbox: Inbox, topics: Sequence[str]) -> None:
    """Hand over what was asked for as if it came from the broker now, in the order of each key.

    What fails again stays poison, with the reason of this time; it is not sent to the dead letters once more.
    """
    for asked in await database.pool.fetch(_ASKED, topics):
        place = tuple(asked)
        failed: Exception | None = None
        try:
            async with database.transaction() as tx:
                # Whoever deletes the row owns the attempt: a second process finds nothing.
                row = await tx.db.fetchrow(_TAKE, *place)
                if row is not None:
                    (fate,) = await inbox.process(tx, [record_of(row)])
                    if isinstance(fate, Exception):
                        raise fate
        except Exception as error:
            if transient(error):
                raise
            failed = error
        if isinstance(failed, NotYetError):
            async with database.transaction() as tx:
                if row := await tx.db.fetchrow(_TAKE, *place):
                    await inbox.set_aside(tx, record_of(row), failed)
        elif failed is not None:
            await database.pool.execute(_FAILED, *place, reason_of(failed))


async def forget_mended(database: Database, topics: Sequence[str]) -> None:
    """Drop poison whose event took effect from another record: a good copy that was sent later."""
    for row in await database.pool.fetch(_MENDED, topics):
        log.warning("poison mended by another record", subject=row["subject"], sequence=row["sequence"])


_ASKED = """
select topic, part, position from chassis.parked where again and topic = any($1::text[])
order by source, subject, sequence, topic, part, position
"""
_TAKE = "delete from chassis.parked where topic = $1 and part = $2 and position = $3 and again returning *"
_FAILED = """
update chassis.parked set again = false, attempts = attempts + 1, reason = $4
where topic = $1 and part = $2 and position = $3
"""
_MENDED = """
delete from chassis.parked p using chassis.mark m
where p.kind = 'poison' and p.topic = any($1::text[]) and p.source = m.source and p.subject = m.subject
    and p.sequence <= m.sequence
returning p.subject, p.sequence
"""
