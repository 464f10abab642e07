"""`score-projection-tutorial`: scoring without the signatures' check, beside the way that a tutorial shows.

The same commands as plain payloads go to a plain FastStream handler: for each record one call, one INSERT, one
transaction, and the offset's commit that keeps a record from being lost.
"""

from __future__ import annotations

import time
from itertools import islice

import asyncpg
from faststream import AckPolicy
from faststream.kafka import KafkaBroker

from benchmarks.harness import Ground, Record, Result, assigned, compare, drained
from benchmarks.reviewing import prepared
from benchmarks.score_projection import UNIT, payload, taken, unchecked
from schemas.reviews import ReviewCommand
from services.chassis.ids import secret

SHARE = 10
"""This way is given a tenth of the records: its rate does not depend on how many there are."""


async def run(ground: Ground, *, count: int, rounds: int) -> list[Result]:
    """Compare `count` commands with a tenth as many of the tutorial's."""
    reviewing = await prepared(ground, count - count % 3)

    async def ours() -> float:
        with unchecked():
            return (await taken(ground, reviewing))[0]

    async def tutorial() -> float:
        topic = await ground.topic()
        some = islice(reviewing.commands(), len(reviewing.seats) // SHARE)
        return await handled(ground, topic, [(topic, key, payload(value)) for _, key, value in some])

    return [await compare("score-projection-tutorial", UNIT, ours, tutorial, rounds=rounds)]


async def handled(ground: Ground, topic: str, records: list[Record]) -> float:
    """Records per second, each by a call of a FastStream handler that inserts it."""
    name = f"b{secret(6)}"
    connection = await asyncpg.connect(ground.dsn)
    await connection.execute(f"create database {name}")
    await connection.close()
    broker = KafkaBroker(ground.bootstrap, logger=None)
    policy = AckPolicy.NACK_ON_ERROR
    async with asyncpg.create_pool(ground.dsn, database=name) as pool:
        await pool.execute("create table review (command uuid primary key, application text, reviewer text, body text)")

        subscriber = broker.subscriber(
            topic, group_id=f"tutorial-{secret(4)}", auto_offset_reset="earliest", ack_policy=policy
        )

        @subscriber
        async def handle(command: ReviewCommand) -> None:
            async with pool.acquire() as db, db.transaction():
                await db.execute(
                    "insert into review values ($1, $2, $3, $4)",
                    command.command_id,
                    command.body.application,
                    command.sub,
                    command.body.model_dump_json(),
                )

        await broker.start()
        kafka = subscriber.consumer
        before = await assigned(kafka)
        await ground.fill(records)
        started = time.perf_counter()
        await drained(kafka, before, len(records))
        seconds = time.perf_counter() - started
        await broker.stop()
        kept = await pool.fetchval("select count(*) from review")
    if kept != len(records):
        raise RuntimeError(f"{kept} rows for {len(records)} records")
    return len(records) / seconds
