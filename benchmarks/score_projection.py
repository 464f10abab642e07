"""`score-projection`: signed commands from Kafka into scoring's durable state, beside the bare way with the same bytes.

Each round takes the commands of one cycle (`reviewing`). The real service, in a process of its own, takes them on a
copy of its prepared database: ids of commands, projection, events into log and outbox, offsets. Its relay stands still,
as where another replica's is the active one: `relay` is measured by itself.

The bar is for scoring without the signatures, whose check is left out in this bench alone; `score-projection-signed`
gives the figure with them, its note what they cost by themselves. The bare way decodes and validates the same payloads
and copies the same bytes.
"""

from __future__ import annotations

import time
from contextlib import asynccontextmanager
from itertools import islice
from typing import TYPE_CHECKING
from unittest.mock import patch

import asyncpg
from joserfc import jws

from benchmarks.harness import Ground, Offsets, Result, alone, bare_copy, result, taken
from benchmarks.reviewing import Reviewing, prepared
from schemas.envelope import unb64url
from schemas.reviews import ReviewCommand
from schemas.topics import COMMANDS
from services.chassis import relay
from services.scoring import app, submissions
from services.scoring.commands import verifier
from services.scoring.settings import ScoringSettings

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from aiokafka import ConsumerRecord

    from services.chassis.service import Service

UNIT = "commands/s"
GROUP = "scoring-commands"
CHECKED = 2_000
"""Signatures that are checked to see what one costs."""


async def run(ground: Ground, *, count: int, rounds: int) -> list[Result]:
    """Compare `count` commands, without the signatures' check and, where they are signed, with it."""
    reviewing = await prepared(ground, count - count % 3)
    count, database = len(reviewing.seats), reviewing.database
    rates: dict[str, list[float]] = {"unchecked": [], "checked": [], "bare": []}
    for _ in range(rounds):
        begin = await ground.ahead(GROUP, COMMANDS.name, reviewing.commands())
        rates["unchecked"].append(await alone(unchecked, ground, database, begin, count))
        if reviewing.signed:
            rates["checked"].append(await alone(checked, ground, database, begin, count))
        rates["bare"].append(await alone(bare_copy, ground, begin, count, validated))
    found = [result("score-projection", UNIT, rates["unchecked"], rates["bare"])]
    if reviewing.signed:
        by_library = ", ".join(f"{rate:,.0f} by {library}" for library, rate in signatures(reviewing).items())
        note = f"checks alone: {by_library}"
        found.append(result("score-projection-signed", UNIT, rates["checked"], rates["bare"], note=note))
    return found


async def unchecked(ground: Ground, database: str, begin: Offsets, count: int) -> float:
    """The same as `checked` with signatures taken as good."""
    with patch.object(submissions, "_faults", lambda unpacked, _jwks: [None] * len(unpacked)):
        return await checked(ground, database, begin, count)


async def checked(ground: Ground, database: str, begin: Offsets, count: int) -> float:
    """Commands per second that the real service takes from `begin` on, its database being a copy of `database`."""
    async with serving(ground, database) as service:
        kafka = next(one for one in service.consumers if one.group == GROUP).subscriber.consumer
        rate = await taken(kafka, begin, count)
        types = await service.database.pool.fetch("select type, count(*) from chassis.event_log group by type")
    found = {row["type"]: row["count"] for row in types}
    if (found["scoring.review.submitted.v1"], found["scoring.application.scored.v1"]) != (count, count // 3):
        raise RuntimeError(f"{found} for {count} commands")
    return rate


@asynccontextmanager
async def serving(ground: Ground, database: str) -> AsyncIterator[Service]:
    """Scoring, running on a copy of a database that is gone afterwards, with its relay held back."""
    service = app.service(ground.runtime(ScoringSettings))
    connection = await asyncpg.connect(ground.dsn)
    await connection.execute(f'create database "{service.database.name}" template "{database}"')
    other = await service.database.connect()
    await other.execute("select pg_advisory_lock($1)", relay._LOCK)  # noqa: SLF001  (as another replica's relay holds it)
    await service.start()
    try:
        yield service
    finally:
        await service.stop()
        await other.close()
        await connection.execute(f'drop database "{service.database.name}" with (force)')
        await connection.close()


def payload(value: bytes) -> bytes:
    """What a command says, unsigned."""
    return unb64url(value.split(b".")[1].decode())


def validated(record: ConsumerRecord[bytes, bytes]) -> tuple[bytes, bytes]:
    """A row of the bare way."""
    ReviewCommand.model_validate_json(payload(record.value))
    return record.key, record.value


def signatures(reviewing: Reviewing) -> dict[str, float]:
    """Checks per second and core, by library."""
    values = [value for _, _, value in islice(reviewing.commands(), CHECKED)]
    keys = [seat.key for seat in reviewing.seats[:CHECKED]]
    parts = [value.rpartition(b".") for value in values]
    raw = [
        (verifier(str(key.as_dict()["x"])), unb64url(signature.decode()), signed)
        for key, (signed, _, signature) in zip(keys, parts, strict=True)
    ]
    began = time.perf_counter()
    for public, signature, signed in raw:
        public.verify(signature, signed)
    between = time.perf_counter()
    for key, value in zip(keys, values, strict=True):
        jws.deserialize_compact(value, key, algorithms=["Ed25519"])
    return {"cryptography": len(values) / (between - began), "joserfc": len(values) / (time.perf_counter() - between)}
