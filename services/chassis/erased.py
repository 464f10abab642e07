"""Openings that were erased: forgotten when an erasure arrives, and not let in when they come behind it.

An erasure works the moment its record is read, whatever it must wait for: neither behind poison nor in a gap may an
erased text stay. Its digests are remembered, so that a record with such an opening, from Kafka or from what was parked,
goes on without it. What handlers kept of an opening they delete themselves, when the erasure's turn comes.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import orjson

from schemas.canonical import NotCanonicalError, canonical
from schemas.envelope import UnreadableError, digest, parse, read
from schemas.erasures import RECORD, DisclosureErased
from schemas.topics import topic_of
from schemas.versions import split
from services.chassis.record import envelope_of

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Sequence

    from services.chassis.database import Connection
    from services.chassis.record import Record

_GATE = 7_311_004
"""Held exclusively by an erasure until it commits, shared by whoever takes records in: neither can miss the other."""
_MARK = f'"{split(DisclosureErased.TYPE)[0]}.v'.encode()
_TOKEN = re.compile(rb"[A-Za-z0-9_-]{40,}")


async def let_in(db: Connection, records: Sequence[Record]) -> tuple[list[Record], list[DisclosureErased]]:
    """The records without openings that were erased, and the erasures among them, which are remembered."""
    erasures = list(_erasures(records))
    if erasures:
        await remember(db, erasures)
    else:
        await db.execute("select pg_advisory_xact_lock_shared($1)", _GATE)
        if not await db.fetchval("select exists (select from chassis.erased)"):
            return list(records), []
    opened = {digest(opening) for record in records for opening in _openings(record.value).values()}
    gone = await _known(db, opened)
    return [_without(record, gone) for record in records], erasures


async def set_down(db: Connection, record: Record) -> Record:
    """A record that failed and is kept as it is, readable or not, without what was erased.

    Whatever it failed of, an erasure is remembered: what the failed attempt knew of it was rolled back.
    """
    (record,), _ = await let_in(db, [record])
    value = record.value or b""
    gone = await _known(db, {digest(token) for token in tokens(value)})
    return record._replace(value=stripped(value, gone), read=None) if gone else record


async def alone(db: Connection) -> None:
    """Have no record taken in until the transaction ends."""
    await db.execute("select pg_advisory_xact_lock($1)", _GATE)


async def remember(db: Connection, erasures: Iterable[DisclosureErased]) -> None:
    """Know these digests from now on, and keep nothing of them in what is parked."""
    await alone(db)
    every = list(erasures)
    gone = {one for erasure in every for one in erasure.digests.values()}
    await know(db, gone)
    parked = await db.fetch(
        "select topic, part, position, record from chassis.parked"
        " where record is not null and (subject is null or subject = any($1::text[]))",
        [erasure.about for erasure in every],
    )
    for *place, record in parked:
        if (without := stripped(record, gone)) != record:
            await db.execute(
                "update chassis.parked set record = $4 where topic = $1 and part = $2 and position = $3",
                *place,
                without,
            )


async def know(db: Connection, gone: Collection[str]) -> None:
    """Let no opening in with one of these digests."""
    await db.execute("insert into chassis.erased select unnest($1::text[]) on conflict do nothing", sorted(gone))


def stripped(value: bytes, gone: Collection[str]) -> bytes:
    """A record without the openings whose digests are `gone`; of one that cannot be read, without their bytes.

    A government's record is not touched, whatever an erasure says of it.
    """
    gone = set(gone) - {digest(opening) for opening in _openings(value, RECORD).values()}
    try:
        body = orjson.loads(value)
        openings = body["data"]["disclosures"]
        kept = {name: opening for name, opening in openings.items() if digest(opening) not in gone}
        if len(kept) < len(openings):
            value = canonical({**body, "data": {**body["data"], "disclosures": kept}})
    except (ValueError, TypeError, KeyError, AttributeError, NotCanonicalError):
        pass
    # What is left is no opening of a readable record, as when its name or its JSON is broken.
    return _TOKEN.sub(lambda found: b"" if digest(found[0].decode()) in gone else found[0], value)


def tokens(value: bytes) -> list[str]:
    """What may be openings that an erasure reaches, in a record, readable or not."""
    stays = set(_openings(value, RECORD).values())
    return [token for found in _TOKEN.findall(value) if (token := found.decode()) not in stays]


def readable(value: bytes) -> bool:
    """Whether a record is an event, whose public part stays as it is."""
    try:
        parse(value)
    except UnreadableError:
        return False
    return True


def _erasures(records: Sequence[Record]) -> Iterable[DisclosureErased]:
    for record in records:
        if record.topic == _TOPIC and _MARK in (record.value or b""):
            try:
                event = read(envelope_of(record))
            except UnreadableError:
                continue  # poison, for whoever takes the record
            if isinstance(event, DisclosureErased):
                yield event


_TOPIC = topic_of(DisclosureErased.TYPE)


async def _known(db: Connection, digests: Collection[str]) -> set[str]:
    rows = await db.fetch("select digest from chassis.erased where digest = any($1::text[])", list(digests))
    return {row["digest"] for row in rows}


def _without(record: Record, gone: Collection[str]) -> Record:
    if not gone or not any(digest(opening) in gone for opening in _openings(record.value).values()):
        return record
    return record._replace(value=stripped(record.value or b"", gone), read=None)


def _openings(value: bytes | None, classes: Collection[str] | None = None) -> dict[str, str]:
    """The openings of a readable record, by block; only those of some classes, if given."""
    try:
        found: Any = parse(value or b"").data.get("disclosures", {})
        return {
            name: opening
            for name, opening in found.items()
            if isinstance(opening, str) and opening.isascii() and (classes is None or name.partition("/")[0] in classes)
        }
    except (UnreadableError, AttributeError):
        return {}
