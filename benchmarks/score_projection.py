"""`score-projection`: signed commands from Kafka into scoring's durable state, beside the bare way with the same bytes.

Each round takes the commands of one cycle (`reviewing`). The real service takes them on a copy of its prepared
database: ids of commands, projection, events into log and outbox, offsets. Its relay stands still, as where another
replica's is the active one: `relay` is measured by itself.

The bar is for scoring without the signatures, whose check is left out in this bench alone; `score-projection-signed`
gives the figure with them, its note what they cost by themselves. The bare way decodes and validates the same payloads
and copies the same bytes.
"""

from __future__ import annotations

import gc
import time
from contextlib import AbstractContextManager, asynccontextmanager
from itertools import islice
from typing import TYPE_CHECKING
from unittest.mock import patch

import asyncpg
from joserfc import jws

from benchmarks.harness import Ground, Result, assigned, bare_copy, drained, result
from benchmarks.reviewing import Reviewing, prepared
from schemas.envelope import unb64url
from schemas.reviews import ReviewCommand
from services.chassis import relay
from services.scoring import app, submissions
from services.scoring.commands import verifier
from services.scoring.settings import ScoringSettings

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from aiokafka import ConsumerRecord, TopicPartition

    from services.chassis.service import Service

UNIT = "commands/s"
CHECKED = 2_000
"""Signatures that are checked to see what one costs."""


async def run(ground: Ground, *, count: int, rounds: int) -> list[Result]:
    """Compare `count` commands, without the signatures' check and, where they are signed, with it."""
    reviewing = await prepared(ground, count - count % 3)
    rates: dict[str, list[float]] = {"unchecked": [], "checked": [], "bare": []}
    for _ in range(rounds):
        gc.collect()
        with unchecked():
            rate, begin = await taken(ground, reviewing)
        rates["unchecked"].append(rate)
        if reviewing.signed:
            gc.collect()
            rates["checked"].append((await taken(ground, reviewing, begin))[0])
        gc.collect()
        rates["bare"].append(await bare_copy(ground, begin, len(reviewing.seats), row=_validated))
    found = [result("score-projection", UNIT, rates["unchecked"], rates["bare"])]
    if reviewing.signed:
        alone = ", ".join(f"{rate:,.0f} by {library}" for library, rate in signatures(reviewing).items())
        note = f"checks alone: {alone}"
        found.append(result("score-projection-signed", UNIT, rates["checked"], rates["bare"], note=note))
    return found


async def taken(
    ground: Ground, reviewing: Reviewing, begin: dict[TopicPartition, int] | None = None
) -> tuple[float, dict[TopicPartition, int]]:
    """Commands per second that the real service takes, its database being a copy of the prepared one.

    Those behind `begin`; without that they are produced beforehand, and it is said from where on.
    """
    count = len(reviewing.seats)
    async with serving(ground, reviewing.database) as service:
        kafka = next(one for one in service.consumers if one.group == "scoring-commands").subscriber.consumer
        before = await assigned(kafka, begin)
        if begin is None:
            await ground.fill(reviewing.commands())
        started = time.perf_counter()
        await drained(kafka, before, count)
        seconds = time.perf_counter() - started
        types = await service.database.pool.fetch("select type, count(*) from chassis.event_log group by type")
    found = {row["type"]: row["count"] for row in types}
    if (found["scoring.review.submitted.v1"], found["scoring.application.scored.v1"]) != (count, count // 3):
        raise RuntimeError(f"{found} for {count} commands")
    return count / seconds, before


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


def unchecked() -> AbstractContextManager[object]:
    """Have signatures taken as good."""
    return patch.object(submissions, "_faults", lambda unpacked, _jwks: [None] * len(unpacked))


def payload(value: bytes) -> bytes:
    """What a command says, unsigned."""
    return unb64url(value.split(b".")[1].decode())


def _validated(record: ConsumerRecord[bytes, bytes]) -> tuple[bytes, bytes]:
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
