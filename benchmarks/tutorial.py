"""`score-projection-tutorial`: scoring without the signatures' check, beside the way that a tutorial shows.

The same commands as plain payloads go to a plain FastStream handler: for each record one call, one INSERT, one
transaction, and the offset's commit that keeps a record from being lost.
"""

from __future__ import annotations

from itertools import islice

import asyncpg
from faststream import AckPolicy
from faststream.kafka import KafkaBroker

from benchmarks.harness import Ground, Offsets, Result, alone, compare, taken
from benchmarks.reviewing import prepared
from benchmarks.score_projection import GROUP, UNIT, payload, unchecked
from schemas.reviews import ReviewCommand
from schemas.topics import COMMANDS
from services.chassis.ids import secret

SHARE = 10
"""This way is given a tenth of the records: its rate does not depend on how many there are."""


async def run(ground: Ground, *, count: int, rounds: int) -> list[Result]:
    """Compare `count` commands with a tenth as many of the tutorial's."""
    reviewing = await prepared(ground, count - count % 3)

    async def ours() -> float:
        begin = await ground.ahead(GROUP, COMMANDS.name, reviewing.commands())
        return await alone(unchecked, ground, reviewing.database, begin, len(reviewing.seats))

    async def tutorial() -> float:
        group, topic = f"tutorial-{secret(4)}", await ground.topic()
        some = [(topic, key, payload(value)) for _, key, value in islice(reviewing.commands(), count // SHARE)]
        begin = await ground.ahead(group, topic, some)
        return await alone(handled, ground, group, begin, len(some))

    return [await compare("score-projection-tutorial", UNIT, ours, tutorial, rounds=rounds)]


async def handled(ground: Ground, group: str, begin: Offsets, count: int) -> float:
    """Records per second, each by a call of a FastStream handler that inserts it."""
    name = f"b{secret(6)}"
    connection = await asyncpg.connect(ground.dsn)
    await connection.execute(f"create database {name}")
    await connection.close()
    broker = KafkaBroker(ground.bootstrap, logger=None)
    policy = AckPolicy.NACK_ON_ERROR
    async with asyncpg.create_pool(ground.dsn, database=name) as pool:
        await pool.execute("create table review (command uuid primary key, application text, reviewer text, body text)")

        (topic,) = {partition.topic for partition in begin}
        subscriber = broker.subscriber(topic, group_id=group, auto_offset_reset="earliest", ack_policy=policy)

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
        rate = await taken(subscriber.consumer, begin, count)
        await broker.stop()
        kept = await pool.fetchval("select count(*) from review")
    if kept != count:
        raise RuntimeError(f"{kept} rows for {count} records")
    return rate
