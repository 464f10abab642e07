"""`score-projection`: signed commands from Kafka into scoring's durable state, beside bare ways with the same records.

Each round takes `count` commands of one cycle under the shipped charter (29 criteria, three reviewers an application,
six applications a reviewer), one per seat and in shuffled order, so that each is accepted and every third completes an
application. The real service takes them: ids of commands, projection, events into log and outbox, offsets. Cycle,
applications, reviewers, keys and seats are put into its database beforehand by scoring's own functions, without Kafka
or HTTP. Its relay stands still, as where another replica's is the active one: `relay` is measured by itself.

The bar is for scoring without the signatures, whose check is left out in this bench alone; the note gives the figure
with them, and what they cost by themselves. The bare way decodes and validates the same payloads and copies the same
bytes. `score-projection-tutorial` gives plain payloads to a plain FastStream handler: for each record one call, one
INSERT, one transaction, and the offset's commit that keeps a record from being lost.
"""

from __future__ import annotations

import gc
import random
import time
from contextlib import AbstractContextManager, asynccontextmanager
from dataclasses import dataclass, replace
from hashlib import sha256
from itertools import cycle as around
from itertools import islice
from typing import TYPE_CHECKING
from unittest.mock import patch

import asyncpg
from faststream import AckPolicy
from faststream.kafka import KafkaBroker
from joserfc import jws
from joserfc.jwk import OKPKey

from benchmarks.harness import ROOT, Ground, Record, Result, assigned, bare_copy, compare, drained, result
from schemas.applications import Answer, ApplicationSubmitted, Claims, Contact, Identity
from schemas.charter import charter_digest
from schemas.cycles import CycleClosed, CycleOpened
from schemas.envelope import unb64url
from schemas.exact import SetDigest
from schemas.reviews import Assignee, ReviewAssigned, ReviewBody, ReviewCommand
from schemas.topics import COMMANDS
from services.chassis import relay
from services.chassis.clock import MachineClock
from services.chassis.ids import event_id, opaque_id, secret
from services.scoring import app, store, submissions
from services.scoring.commands import sign, verifier
from services.scoring.cycle import Cycle, close_cycle, enroll, open_cycle
from services.scoring.settings import ScoringSettings

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from aiokafka import ConsumerRecord

    from services.chassis.database import Tx
    from services.chassis.service import Service

CHARTER = (ROOT / "deploy" / "programs" / "citizen-engaged-communities.toml").read_text(encoding="utf-8")
TUTORIAL_SHARE = 10
"""The tutorial's way is given a tenth of the records: its rate does not depend on how many there are."""
UNIT = "commands/s"
CHECKED = 2_000
"""Signatures that are checked to see what one costs."""


@dataclass(frozen=True)
class Reviewing:
    """Commands that fill every seat of a closed cycle, and the database of a scoring service that waits for them."""

    database: str
    commands: list[Record]
    keys: list[OKPKey]
    """The key of each command."""

    def payloads(self, topic: str) -> list[Record]:
        """What the commands say, unsigned."""
        return [(topic, key, _payload(value)) for _, key, value in self.commands]


async def run(ground: Ground, *, count: int, rounds: int) -> list[Result]:
    """Compare `count` commands of about 1,900 bytes, without the signatures' check and with it."""
    count -= count % 3
    reviewing = await prepared(ground, count)
    rates: dict[str, list[float]] = {"unchecked": [], "checked": [], "bare": []}
    for _ in range(rounds):
        gc.collect()
        with unchecked():
            rates["unchecked"].append(await taken(ground, reviewing))
        gc.collect()
        rates["checked"].append(await taken(ground, reviewing))
        gc.collect()
        columns = "key bytea, value bytea"
        bare = await bare_copy(ground, [COMMANDS.name], reviewing.commands, count, columns=columns, row=_validated)
        rates["bare"].append(bare)
    alone = ", ".join(f"{rate:,.0f} by {library}" for library, rate in signatures(reviewing).items())
    return [
        result("score-projection", UNIT, rates["unchecked"], rates["bare"]),
        result("score-projection-signed", UNIT, rates["checked"], rates["bare"], note=f"checks alone: {alone}"),
    ]


async def run_tutorial(ground: Ground, *, count: int, rounds: int) -> list[Result]:
    """Compare the same, without the signatures' check, with the tutorial's way."""
    count -= count % 3
    reviewing = await prepared(ground, count)

    async def ours() -> float:
        with unchecked():
            return await taken(ground, reviewing)

    async def tutorial() -> float:
        topic = await ground.topic()
        return await handled(ground, topic, reviewing.payloads(topic)[: count // TUTORIAL_SHARE])

    return [await compare("score-projection-tutorial", UNIT, ours, tutorial, rounds=rounds)]


# --- ours -----------------------------------------------------------------------------------------------------------


async def taken(ground: Ground, reviewing: Reviewing) -> float:
    """Commands per second that the real service takes, its database being a copy of the prepared one."""
    count = len(reviewing.commands)
    async with serving(ground, reviewing.database) as service:
        kafka = next(one for one in service.consumers if one.group == "scoring-commands").subscriber.consumer
        before = await assigned(kafka)
        await ground.fill(reviewing.commands)
        started = time.perf_counter()
        await drained(kafka, before, count)
        seconds = time.perf_counter() - started
        types = await service.database.pool.fetch("select type, count(*) from chassis.event_log group by type")
    found = {row["type"]: row["count"] for row in types}
    if (found["scoring.review.submitted.v1"], found["scoring.application.scored.v1"]) != (count, count // 3):
        raise RuntimeError(f"{found} for {count} commands")
    return count / seconds


@asynccontextmanager
async def serving(ground: Ground, database: str) -> AsyncIterator[Service]:
    """Scoring, running on a copy of a database, with its relay held back."""
    service = app.service(ground.runtime(ScoringSettings))
    connection = await asyncpg.connect(ground.dsn)
    await connection.execute(f'create database "{service.database.name}" template "{database}"')
    await connection.close()
    other = await service.database.connect()
    await other.execute("select pg_advisory_lock($1)", relay._LOCK)  # noqa: SLF001  (as another replica's relay holds it)
    await service.start()
    try:
        yield service
    finally:
        await service.stop()
        await other.close()


def unchecked() -> AbstractContextManager[object]:
    """Have signatures taken as good."""
    return patch.object(submissions, "_faults", lambda unpacked, _jwks: [None] * len(unpacked))


# --- others ---------------------------------------------------------------------------------------------------------


def _payload(value: bytes) -> bytes:
    return unb64url(value.split(b".")[1].decode())


def _validated(record: ConsumerRecord[bytes, bytes]) -> tuple[bytes, bytes]:
    ReviewCommand.model_validate_json(_payload(record.value))
    return record.key, record.value


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


def signatures(reviewing: Reviewing) -> dict[str, float]:
    """Checks per second and core, by library."""
    values = [value for _, _, value in reviewing.commands[:CHECKED]]
    keys = reviewing.keys[:CHECKED]
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


# --- a cycle --------------------------------------------------------------------------------------------------------


async def prepared(ground: Ground, count: int) -> Reviewing:
    """A cycle with as many seats as `count`, ready to be reviewed."""
    service = app.service(ground.runtime(ScoringSettings))
    await service.migrate()
    await service.database.open()
    applications = [opaque_id() for _ in range(-(-count // 3))]
    async with service.database.transaction() as tx:
        cycle = await closed_cycle(tx, applications)
        reviewers = [await reviewer(tx, cycle) for _ in range(max(3, -(-len(applications) // 2)))]
        places = around(reviewers)
        seated = [(name, *who) for name in applications for who in islice(places, 3)]
        seats = [
            ReviewAssigned(cycle=cycle.name, application=name, review=opaque_id(), private=Assignee(reviewer=who))
            for name, who, _ in seated
        ]
        for seat in seats:
            tx.record(seat)
        await store.add_seats(tx.db, seats)
    await service.database.pool.execute("truncate chassis.outbox")
    await service.database.pool.execute("vacuum analyze")
    await service.database.close()
    draw = random.Random(count)  # noqa: S311  (an order that is the same in every run)
    draw.shuffle(seated)
    commands = [
        (COMMANDS.name, name.encode(), sign(command(cycle, name, who, draw), key).encode()) for name, who, key in seated
    ]
    return Reviewing(service.database.name, commands, [key for *_, key in seated])


async def closed_cycle(tx: Tx, applications: Sequence[str]) -> Cycle:
    """The cycle with these applications."""
    name, seed, now = f"c-{secret(4)}", bytes(32), tx.clock.now()
    opened = CycleOpened(
        cycle=name,
        program="p",
        charter=CHARTER,
        charter_sha256=charter_digest(CHARTER),
        deadline=now,
        assignment_commitment=sha256(seed).hexdigest(),
    )
    cycle = open_cycle(opened, event_id())
    await store.add_cycle(tx.db, cycle, opened)
    versions = []
    for application in applications:
        versions.append(event_id())
        await store.enter_application(tx.db, submitted(cycle, application), versions[-1])
    closed = CycleClosed(cycle=name, submitted=SetDigest.of(versions), assignment_seed=seed.hex(), closed_by="hand")
    cycle = replace(close_cycle(cycle, closed, event_id()), assigned=True)
    await store.save_cycle(tx.db, cycle)
    return cycle


def submitted(cycle: Cycle, application: str) -> ApplicationSubmitted:
    """A city's application with an answer to every criterion."""
    identity = Identity(
        government=opaque_id(),
        name="Town",
        state="Ohio",
        kind="city",
        population=9_000,
        population_source="census",
        website="https://town.example",
        tier="T1",
    )
    statement = "Residents reach us by phone, over the web and in person, and see there what became of their request."
    return ApplicationSubmitted(
        cycle=cycle.name,
        application=application,
        version=1,
        identity=identity,
        claims=Claims(facts={"channels": ["phone"]}, assumed=[], metrics=[]),
        answers={name: Answer(statement=statement) for name in cycle.charter.criteria("city")},
        contact=Contact(official="o", title="t", email="o@town.example"),
    )


async def reviewer(tx: Tx, cycle: Cycle) -> tuple[str, OKPKey]:
    """One who is enrolled, with a registered key."""
    event, key = enroll(cycle, opaque_id(), ["Maine"]), OKPKey.generate_key("Ed25519")
    await store.add_reviewer(tx.db, event, issuer="https://issuer.example", subject=event.reviewer, name="A Name")
    await store.add_key(tx.db, key.thumbprint(), event.reviewer, dict(key.as_dict(private=False)))
    return event.reviewer, key


def command(cycle: Cycle, application: str, who: str, draw: random.Random) -> ReviewCommand:
    """A review with points for every criterion."""
    now = int(MachineClock().now().timestamp())
    body = ReviewBody(
        application=application,
        points={name: draw.randint(0, 4) for name in cycle.charter.criteria("city")},
        recommendation=draw.random() < 1 / 2,
        comment="A sound case; the next application should say more about how complaints are followed up.",
    )
    return ReviewCommand(
        aud="scoring.submissions.v1",
        command_id=opaque_id(),
        cycle=cycle.name,
        sub=who,
        iat=now,
        exp=now + 3_600,
        body=body,
    )
