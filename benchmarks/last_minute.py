"""`last-minute`: everybody submits at once shortly before the deadline, beside as many bare transactions at once.

First, in rounds, with a minute left, where all get their receipts; then once so that the deadline passes on the way,
where some are late. Who is told to come back (503) does, with the same Idempotency-Key. What is true of the outcome is
asked of the tables and of the events, not of the answers: the versions that `cycle.closed` states are those of the last
receipts, one of each applicant, and who was refused as late has no version after it.
"""

from __future__ import annotations

import asyncio
import gc
import time
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING

import asyncpg
import orjson

from benchmarks.applicants import prepared
from benchmarks.harness import Ground, Result, result
from benchmarks.serving import serving
from schemas.applications import ApplicationSubmitted
from schemas.cycles import CycleClosed
from schemas.envelope import parse, read
from schemas.exact import SetDigest
from schemas.topics import CLOCK, topic_of
from services.chassis.clock import MachineClock, ProgramClock, move_record
from services.chassis.ids import opaque_id

if TYPE_CHECKING:
    from datetime import datetime

    from benchmarks.applicants import Answer, Client, Stand

SUBMITTERS = 1_000
FOLLOWS = 1.0
"""Seconds after which the server is at a program time that it was told."""
BUSY = 503


@dataclass(frozen=True)
class Outcome:
    """What became of a submission: the last answer to it, after how many seconds and how many before it."""

    answer: Answer
    seconds: float
    sent: int

    @property
    def event(self) -> str | None:
        """The event that its receipt names; None for a refusal as late, RuntimeError for anything else."""
        told = orjson.loads(self.answer.content)
        if self.answer.status == 201:  # noqa: PLR2004  (HTTP: created)
            return str(told["event"])
        if told.get("type") == "urn:cec:problem:deadline-passed":
            return None
        raise RuntimeError(f"neither a receipt nor a refusal as late: {self.answer.content.decode()}")


async def run(ground: Ground, *, count: int, rounds: int) -> list[Result]:
    """Compare submissions in submissions per second, and the longest that anybody waits."""
    async with serving(ground, "benchmarks.intake") as server:
        stand = await prepared(server, min(count, SUBMITTERS), days=1)
        ours: list[list[Outcome]] = []
        by_hand: list[list[Outcome]] = []
        for _ in range(rounds):
            await _move(ground, stand.deadline - timedelta(minutes=1))
            ours.append(await _all(stand, "/intake/v1/applications/{}/submit"))
            by_hand.append(await _all(stand, "/intake/bare/{}/submit"))
        before = _receipts(stand, ours[-1])
        if late := [name for name, event in before.items() if event is None]:
            raise RuntimeError(f"{len(late)} were refused with a minute left")
        # So that it passes when half of them are through.
        await _move(ground, stand.deadline - timedelta(seconds=FOLLOWS + _longest(ours[-1]) / 2))
        last = await _all(stand, "/intake/v1/applications/{}/submit")
        after = _receipts(stand, last)
        last_receipts = {name: after[name] or before[name] for name in after}
        versions = {name: rounds + (after[name] is not None) for name in after}
        await _must_be_true(ground, server.database, stand.label, last_receipts, versions)
        given = sum(event is not None for event in after.values())
        note = (
            f"the deadline on the way: {given} receipts, {len(after) - given} refused as late, none both;"
            f" {sum(one.sent for one in last)} were told to come back; the longest waited {_longest(last):.1f} s"
        )
        number, longest = len(stand.clients), [[1e3 * _longest(one) for one in way] for way in (ours, by_hand)]
        rates = [[number / _longest(one) for one in way] for way in (ours, by_hand)]
        return [
            result("last-minute", "requests/s", *rates, note=note),
            result("last-minute-longest", "ms", *longest, smaller_is_better=True),
        ]


async def _move(ground: Ground, to: datetime) -> None:
    """Have the server's program time be `to`, or a little more."""
    kafka = await ground.bare_producer()
    await kafka.send_and_wait(CLOCK.name, move_record(ProgramClock(MachineClock()), to), key=b"clock", partition=0)
    await kafka.stop()
    await asyncio.sleep(FOLLOWS)


async def _all(stand: Stand, path: str) -> list[Outcome]:
    """What became of everybody's submission, all sent at once over connections that are there already."""
    gc.collect()
    for client in stand.clients:
        await client.connect()
    start = time.perf_counter()
    outcomes = await asyncio.gather(*(_one(client, path.format(client.application), start) for client in stand.clients))
    for client in stand.clients:
        client.close()
    return outcomes


async def _one(client: Client, path: str, start: float) -> Outcome:
    key, sent = f"Idempotency-Key: {opaque_id()}\r\n", 0
    while (answer := await client.send("POST", path, {"attest": True}, key)).status == BUSY:
        sent += 1
        await asyncio.sleep(float(answer.fields["retry-after"]))
    return Outcome(answer, time.perf_counter() - start, sent)


def _longest(outcomes: list[Outcome]) -> float:
    return max(one.seconds for one in outcomes)


def _receipts(stand: Stand, outcomes: list[Outcome]) -> dict[str, str | None]:
    """By application, the event that its receipt names; None for who was late."""
    return {client.application: one.event for client, one in zip(stand.clients, outcomes, strict=True)}


async def _must_be_true(
    ground: Ground, database: str, label: str, receipts: dict[str, str | None], versions: dict[str, int]
) -> None:
    """RuntimeError unless tables and events say what the last receipts say, and nothing more."""
    db = await asyncpg.connect(ground.dsn, database=database)
    rows = await db.fetch(
        """
        select application, count(*) as versions, (array_agg(event order by version desc))[1] as event
        from private.version join private.draft using (application) where cycle = $1 group by application
        """,
        label,
    )
    await db.close()
    if {row["application"]: row["event"] for row in rows} != receipts:
        raise RuntimeError("the last version is not everywhere the one of the last receipt")
    if {row["application"]: row["versions"] for row in rows} != versions:
        raise RuntimeError("there are more or fewer versions than receipts")
    closed, events = await _closed(ground, label)
    if events != receipts:
        raise RuntimeError("the last event is not everywhere the one of the last receipt")
    if closed.submitted != SetDigest.of(filter(None, receipts.values())):
        raise RuntimeError("cycle.closed states others than the last receipts do")


async def _closed(ground: Ground, label: str) -> tuple[CycleClosed, dict[str, str | None]]:
    """How a cycle was closed, and the id of the last submission of each application, as they are on Kafka."""
    consumer = await ground.bare_consumer([topic_of(CycleClosed.TYPE)])
    closed, quiet = None, False
    last: dict[str, tuple[int, str | None]] = {}
    try:
        async with asyncio.timeout(60):
            while closed is None or not quiet:
                batches = await consumer.getmany(timeout_ms=1_000)
                quiet = not batches
                for envelope in (parse(record.value) for records in batches.values() for record in records):
                    if envelope.type == ApplicationSubmitted.TYPE:
                        last[envelope.subject] = max(
                            last.get(envelope.subject, (0, None)), (envelope.sequence, envelope.id)
                        )
                    elif envelope.type == CycleClosed.TYPE and envelope.subject == label:
                        event = read(envelope)
                        closed = event if isinstance(event, CycleClosed) else None
    finally:
        await consumer.stop()
    return closed, {name: event for name, (_, event) in last.items()}
