"""Poison on the real parts: alone in its batch, holding up its key and nothing else, kept, sent on, tried again."""

from __future__ import annotations

import asyncio
import json
import os
import random
import secrets
import sys
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, NamedTuple

import httpx
import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, ConsumerRecord, TopicPartition
from aiokafka.errors import MessageSizeTooLargeError
from fastapi import APIRouter
from structlog.contextvars import merge_contextvars
from structlog.testing import capture_logs

from deploy.embedded import Stack
from schemas.cycles import CycleDeadlineExtended
from schemas.envelope import Header
from schemas.reviews import Assignee, ReviewAssigned
from schemas.topics import COMMANDS, EVENT_TOPICS, Topic, dead_letters
from services.chassis import topics
from services.chassis.clock import ProgramClock
from services.chassis.database import Tx
from services.chassis.failures import NotYetError
from services.chassis.ids import opaque_id
from services.chassis.inbox import Handlers
from services.chassis.issuer import Issuer
from services.chassis.parking import park_poison
from services.chassis.record import Record
from services.chassis.service import Runtime, Service
from services.chassis.settings import Settings
from services.chassis.web import CommandRoute
from services.origin import Origin
from tests.given import eventually, written

RuntimeMaker = Callable[[type[Settings]], Runtime]

ROOT = Path(__file__).resolve().parents[2]
LIMIT = 5


class Ended(NamedTuple):
    """What a command came to."""

    code: int | None
    out: str
    errors: str


class Brittle(Settings):
    """Stops at few."""

    poison_limit: int = LIMIT


class Probe:
    """A service with a topic of its own that notes what takes effect on it, in order, and fails where told to."""

    def __init__(self, stack: Stack, runtime: Runtime, issuer: Issuer, folder: Path, partitions: int) -> None:
        name = f"probe{secrets.token_hex(3)}"
        self.topic = Topic(f"{name}.events.v1", partitions)
        self.letters = dead_letters(self.topic.name, name)
        self.stack = stack
        self.runtime = runtime
        self.issuer = issuer
        self.broken: set[str] = {"bug"}
        self.early: set[str] = set()
        self.attempts: Counter[str] = Counter()
        self._folder = folder
        (folder / "0001_probe.sql").write_text(
            "create table projection.seen ("
            "n bigint generated always as identity, subject text, sequence bigint, reason text)"
        )
        self.service = self.deployed(name)

    def deployed(self, name: str) -> Service:
        """The service anew, as after a deployment."""
        handlers = Handlers()

        @handlers.on(CycleDeadlineExtended)
        async def note(tx: Tx, event: CycleDeadlineExtended, header: Header) -> None:
            self.attempts[event.cycle] += 1
            if event.cycle in self.early:
                raise NotYetError("its cycle is not here")
            if event.reason in self.broken:
                raise ValueError(f"private: {event}")
            await insert(tx, header, event.reason)

        @handlers.on(ReviewAssigned)
        async def assign(tx: Tx, event: ReviewAssigned, header: Header) -> None:
            if "assign" in self.broken:
                raise ValueError(f"private: {event}")
            await insert(tx, header, event.review)

        async def insert(tx: Tx, header: Header, text: str) -> None:
            await tx.db.execute(
                "insert into projection.seen (subject, sequence, reason) values ($1, $2, $3)",
                header.subject,
                header.sequence,
                text,
            )

        return Service(
            name=name,
            runtime=self.runtime,
            router=APIRouter(route_class=CommandRoute),
            migrations=self._folder,
            topics=(self.topic.name,),
            handlers=handlers,
        )

    async def seen(self, *subjects: str) -> list[int]:
        """The sequences that took effect, in order; of some subjects."""
        rows = await self.service.database.pool.fetch(
            "select sequence from projection.seen where subject = any($1::text[]) order by n", subjects
        )
        return [row["sequence"] for row in rows]

    async def effects(self) -> int:
        return int(await self.service.database.pool.fetchval("select count(*) from projection.seen"))

    async def parked(self, kind: str = "poison") -> int:
        return int(
            await self.service.database.pool.fetchval("select count(*) from chassis.parked where kind = $1", kind)
        )

    async def ask(self, method: str, path: str = "", role: str = "auditor", body: object = None) -> httpx.Response:
        """Ask the service's dead letters."""
        headers = {"Authorization": f"Bearer {self.issuer.token(role, f'{role}-1')}"}
        async with httpx.AsyncClient(
            transport=httpx.ASGITransport(app=self.service.app), base_url="http://test", headers=headers
        ) as client:
            return await client.request(method, f"/dead-letters{path}", json=body)

    async def listed(self, query: str = "") -> dict[str, Any]:
        answer = await self.ask("GET", query)
        assert answer.status_code == 200, answer.text
        found: dict[str, Any] = answer.json()
        return found

    async def redrive(self, *records: dict[str, Any]) -> list[dict[str, Any]]:
        """Have poison tried again and wait until it was; returns what was."""
        places = [{name: record[name] for name in ("topic", "partition", "offset")} for record in records]
        answer = await self.ask("POST", "/redrive", "program-admin", {"records": places} if records else {})
        assert answer.status_code == 202, answer.text

        async def tried() -> bool:
            return bool((await self.listed())["again"] == 0)

        await eventually(tried)
        found: list[dict[str, Any]] = answer.json()
        return found

    async def sent_on(self, expected: int) -> list[ConsumerRecord]:
        """All records of the dead letter topic, once there are as many, and a moment later."""

        async def none_leaving() -> bool:
            return not await self.service.database.pool.fetchval("select exists (select from chassis.outbox)")

        await eventually(none_leaving)
        consumer = AIOKafkaConsumer(
            bootstrap_servers=self.stack.kafka_bootstrap, auto_offset_reset="earliest", enable_auto_commit=False
        )
        await consumer.start()
        try:
            partition = TopicPartition(self.letters.name, 0)
            consumer.assign([partition])
            end = (await consumer.end_offsets([partition]))[partition]
            found: list[ConsumerRecord] = []
            while await consumer.position(partition) < end:
                found += (await consumer.getmany(timeout_ms=200)).get(partition, [])
        finally:
            await consumer.stop()
        assert len(found) == expected
        return found

    async def committed(self) -> int:
        """How far the group says it has taken partition 0."""
        kafka = self.service.consumers[0].subscriber.consumer
        assert kafka is not None
        return await kafka.committed(TopicPartition(self.topic.name, 0)) or 0


ProbeMaker = Callable[..., Awaitable[Probe]]


@pytest.fixture
async def make(stack: Stack, runtime: RuntimeMaker, issuer: Issuer, tmp_path: Path) -> ProbeMaker:
    """Makes a probe whose topics are there; `started` runs it."""

    async def made(settings: type[Settings] = Settings, *, partitions: int = 1) -> Probe:
        probe = Probe(stack, runtime(settings), issuer, tmp_path, partitions)
        await topics.apply(stack.kafka_bootstrap, [probe.topic, probe.letters])
        return probe

    return made


@asynccontextmanager
async def started(probe: Probe) -> AsyncIterator[Service]:
    """The probe's service while it runs."""
    await probe.service.start()
    try:
        yield probe.service
    finally:
        await probe.service.stop()


def extended(clock: ProgramClock, cycle: str, sequence: int, reason: str = "flood") -> bytes:
    return written(CycleDeadlineExtended(cycle=cycle, deadline=clock.now(), reason=reason), sequence).record


def headers_of(record: ConsumerRecord) -> dict[str, str]:
    return {name: value.decode() for name, value in record.headers if name.startswith("dead-letter-")}


# Alone in its batch


async def test_one_bad_record_in_a_batch_of_a_thousand_costs_a_few_transactions(
    make: ProbeMaker, clock: ProgramClock, kafka: AIOKafkaProducer, monkeypatch: pytest.MonkeyPatch
) -> None:
    probe = await make()
    cycles = [opaque_id() for _ in range(1_000)]
    for n, cycle in enumerate(cycles):
        await kafka.send(probe.topic.name, extended(clock, cycle, 1, "bug" if n == 617 else "flood"), cycle.encode())
    await kafka.flush()
    transactions = 0
    transaction = probe.service.database.transaction

    def counted() -> Any:
        nonlocal transactions
        transactions += 1
        return transaction()

    monkeypatch.setattr(probe.service.database, "transaction", counted)
    async with started(probe):

        async def others_seen() -> bool:
            return await probe.effects() == 999 and await probe.parked() == 1

        await eventually(others_seen)
        assert transactions < 50
        assert sum(probe.attempts.values()) < 4_000
        (record,) = (await probe.listed())["records"]
        assert (record["subject"], record["sequence"], record["kind"]) == (cycles[617], 1, "poison")


def _with(**attributes: Any) -> Callable[[bytes], bytes]:
    return lambda record: json.dumps(json.loads(record) | attributes).encode()


def _with_data(**fields: Any) -> Callable[[bytes], bytes]:
    def changed(record: bytes) -> bytes:
        body = json.loads(record)
        body["data"] = {name: value for name, value in (body["data"] | fields).items() if value is not ...}
        return json.dumps(body).encode()

    return changed


def _without_id(record: bytes) -> bytes:
    return json.dumps({name: value for name, value in json.loads(record).items() if name != "id"}).encode()


def _another_opening(record: bytes) -> bytes:
    body = json.loads(record)
    other = written(ReviewAssigned(cycle="c", application="a", review="r", private=Assignee(reviewer="Eve")), 1)
    body["data"]["disclosures"] = json.loads(other.record)["data"]["disclosures"]
    return json.dumps(body).encode()


BROKEN: dict[str, tuple[Callable[[bytes], bytes | None], str]] = {
    "cut off": (lambda record: record[:-1], "JSON"),
    "another CloudEvents": (_with(specversion="0.3"), "specversion"),
    "no id": (_without_id, "id"),
    "another opening": (_another_opening, "does not match its digest"),
    "another key": (_with(subject="somebody-else"), "key"),
    "a field of another type": (_with_data(deadline={"in": "May"}, review=17), "review"),
    "a sequence from zero": (_with(sequence=0), "sequence"),
    "a text with NUL": (_with_data(review="flo\0od"), "CharacterNotInRepertoireError"),
    "too large": (_with_data(more="x" * 900_000), "900,000 bytes"),
    "not UTF-8": (lambda record: record.replace(b'"data"', b'"d\xff\xfeta"'), "JSON"),
    "a tombstone": (lambda _: None, "JSON"),
    "a field too few": (_with_data(review=...), "review"),
}


async def test_every_tenth_record_broken_in_twelve_ways_leaves_the_others_their_effect(
    make: ProbeMaker, clock: ProgramClock, kafka: AIOKafkaProducer, fault_seed: int
) -> None:
    probe = await make(partitions=3)
    keys = [opaque_id() for _ in range(60)]
    counts: Counter[str] = Counter()
    bad: dict[bytes, tuple[bytes | None, str]] = {}
    chance = random.Random(fault_seed)
    turn, ways = chance.randrange(10), iter(chance.sample([*BROKEN.items()] * 5, 60))
    async with started(probe):
        for n in range(600):
            if n % 10 == turn:
                way, (breaks, _) = next(ways)
                name = f"{way.replace(' ', '-')}-{n}"
                event = ReviewAssigned(cycle=name, application=name, review="r", private=Assignee(reviewer="Ada"))
                key, value = name.encode(), breaks(written(event, 1).record)
                bad[key] = (value, way)
            else:
                cycle = keys[n % len(keys)]
                counts[cycle] += 1
                key, value = cycle.encode(), extended(clock, cycle, counts[cycle])
            await kafka.send(probe.topic.name, value, key=key)
        await kafka.flush()

        async def all_taken() -> bool:
            return await probe.effects() == 540 and await probe.parked() == 60

        await eventually(all_taken, 30)
        for cycle in keys:
            assert await probe.seen(cycle) == list(range(1, counts[cycle] + 1))
        records = (await probe.listed("?limit=1000"))["records"]
        assert len(records) == 60
        reasons = {(r["topic"], r["partition"], r["offset"]): r["reason"] for r in records}
        for letter in await probe.sent_on(60):
            about = headers_of(letter)
            value, way = bad.pop(letter.key)
            assert letter.value == value
            place = (about["dead-letter-topic"], int(about["dead-letter-partition"]), int(about["dead-letter-offset"]))
            assert about["dead-letter-reason"] == reasons[place]
            assert BROKEN[way][1] in reasons[place], way
            assert about["dead-letter-group"] == probe.service.name
            assert about["dead-letter-time"].endswith("Z")
        assert bad == {}
        assert not any("Ada" in reason or "Eve" in reason for reason in reasons.values())
        assert all((await probe.service.ready()).values())


# Its key


async def test_poison_holds_up_its_key_and_nothing_else_until_it_is_tried_again(
    make: ProbeMaker, clock: ProgramClock, kafka: AIOKafkaProducer
) -> None:
    probe = await make()
    held, other = opaque_id(), opaque_id()
    async with started(probe):
        for sequence in range(1, 6):
            reason = "bug" if sequence == 2 else "flood"
            await kafka.send(probe.topic.name, extended(clock, held, sequence, reason), key=held.encode())
            await kafka.send(probe.topic.name, extended(clock, other, sequence), key=other.encode())
        later = [extended(clock, held, sequence) for sequence in (3, 4, 6)]
        for record in later:
            await kafka.send(probe.topic.name, record, key=held.encode())
        await kafka.flush()

        async def parked() -> bool:
            return (await probe.parked(), await probe.parked("not_yet")) == (1, 6)

        await eventually(parked)
        assert await probe.seen(other) == [1, 2, 3, 4, 5]
        await asyncio.sleep(0.5)
        assert await probe.seen(held) == [1]
        (poison,) = (await probe.listed("?kind=poison"))["records"]
        assert (await probe.ask("GET", where(poison))).json()["behind"] == 6

        assert len(await probe.redrive()) == 1
        (still,) = (await probe.listed("?kind=poison"))["records"]
        assert (still["attempts"], still["parked_at"]) == (2, poison["parked_at"])
        assert await probe.seen(held) == [1]

        probe.broken.clear()
        assert await probe.redrive(poison) == [{name: poison[name] for name in ("topic", "partition", "offset")}]

        async def all_seen() -> bool:
            return len(await probe.seen(held)) == 6

        await eventually(all_seen)
        assert await probe.seen(held) == [1, 2, 3, 4, 5, 6]
        assert (await probe.listed())["records"] == []
        assert (await probe.ask("GET", where(poison))).status_code == 404
        (letter,) = await probe.sent_on(1)
        assert letter.key == held.encode()


async def test_several_keys_are_tried_again_each_in_its_order(
    make: ProbeMaker, clock: ProgramClock, kafka: AIOKafkaProducer
) -> None:
    probe = await make()
    probe.broken = {"bug", "flood"}
    cycles = [opaque_id() for _ in range(3)]
    async with started(probe):
        for sequence in (1, 2, 3):
            for cycle in cycles:
                await kafka.send(probe.topic.name, extended(clock, cycle, sequence), key=cycle.encode())
        await kafka.flush()

        async def parked() -> bool:
            return (await probe.parked(), await probe.parked("not_yet")) == (3, 6)

        await eventually(parked)
        probe.broken.clear()
        await probe.redrive()

        async def all_seen() -> bool:
            return await probe.effects() == 9

        await eventually(all_seen)
        for cycle in cycles:
            assert await probe.seen(cycle) == [1, 2, 3]


async def test_an_event_that_waited_and_then_fails_is_a_dead_letter_too(
    make: ProbeMaker, clock: ProgramClock, kafka: AIOKafkaProducer
) -> None:
    probe = await make()
    cycle = opaque_id()
    probe.early.add(cycle)
    async with started(probe):
        await kafka.send_and_wait(probe.topic.name, extended(clock, cycle, 1, "bug"), key=cycle.encode())

        async def waits() -> bool:
            return await probe.parked("not_yet") == 1

        await eventually(waits)
        await probe.sent_on(0)
        probe.early.clear()

        async def poison() -> bool:
            return await probe.parked() == 1

        await eventually(poison)
        (letter,) = await probe.sent_on(1)
        assert headers_of(letter)["dead-letter-reason"].startswith("ValueError at tests/integration/")


async def test_a_good_copy_that_is_sent_later_mends_poison(
    make: ProbeMaker, clock: ProgramClock, kafka: AIOKafkaProducer
) -> None:
    probe = await make()
    cycle = opaque_id()
    async with started(probe):
        for sequence, reason in ((1, "bug"), (2, "flood")):
            await kafka.send_and_wait(probe.topic.name, extended(clock, cycle, sequence, reason), key=cycle.encode())

        async def parked() -> bool:
            return await probe.parked() == 1

        await eventually(parked)
        await kafka.send_and_wait(probe.topic.name, extended(clock, cycle, 1), key=cycle.encode())

        async def mended() -> bool:
            return await probe.seen(cycle) == [1, 2] and await probe.parked() == 0

        await eventually(mended)


async def test_a_record_that_only_a_later_release_can_read_takes_effect_when_it_is_tried_again(
    make: ProbeMaker, clock: ProgramClock, kafka: AIOKafkaProducer, monkeypatch: pytest.MonkeyPatch
) -> None:
    probe = await make()
    cycle = opaque_id()
    monkeypatch.setattr("services.chassis.record.RECORD_LIMIT", 100)
    async with started(probe):
        await kafka.send_and_wait(probe.topic.name, extended(clock, cycle, 1), key=cycle.encode())

        async def parked() -> bool:
            return await probe.parked() == 1

        await eventually(parked)
        (poison,) = (await probe.listed())["records"]
        assert (poison["subject"], poison["sequence"]) == (None, None)
        monkeypatch.undo()
        await probe.redrive(poison)
        assert await probe.seen(cycle) == [1]
        assert await probe.parked() == 0


# What is sent on


async def test_a_dead_letter_leaves_with_the_transaction_that_parks_it_or_not_at_all(
    make: ProbeMaker, clock: ProgramClock
) -> None:
    probe = await make()
    cycle = opaque_id()
    record = Record(probe.topic.name, 0, 0, cycle.encode(), extended(clock, cycle, 1), 0)
    async with started(probe) as service:
        with pytest.raises(ZeroDivisionError):  # noqa: PT012  (the transaction is what is under test)
            async with service.database.transaction() as tx:
                await park_poison(tx, record, ValueError(), service.name)
                raise ZeroDivisionError
        assert await probe.parked() == 0
        await probe.sent_on(0)
        with capture_logs([merge_contextvars]) as lines:
            for _ in range(2):
                async with service.database.transaction() as tx:
                    await park_poison(tx, record, ValueError(), service.name)
        assert await probe.parked() == 1
        await probe.sent_on(1)
        (line,) = [line for line in lines if line["event"] == "poison parked"]
        assert (line["at"], line["type"], line["subject"]) == (record.place, CycleDeadlineExtended.TYPE, cycle)


async def test_a_dead_letter_keeps_its_records_key_and_headers_whatever_these_are(make: ProbeMaker) -> None:
    probe = await make()
    headers = (("odd\0", b"\xff\0"), ("empty", None), ("traceparent", b"00-1-2-3"))
    odd = [
        Record(probe.topic.name, 0, 0, b"\xff\0", b"\0", 0, headers),
        Record(probe.topic.name, 0, 1, None, b"{", 0),
        Record(probe.topic.name, 0, 2, None, None, -1),
    ]
    async with started(probe) as service:
        async with service.database.transaction() as tx:
            for record in odd:
                await park_poison(tx, record, ValueError(), service.name)
        letters = await probe.sent_on(3)
        assert [(letter.key, letter.value) for letter in letters] == [(b"\xff\0", b"\0"), (None, b"{"), (None, b"")]
        assert [pair for pair in letters[0].headers if not pair[0].startswith("dead-letter-")] == [
            ("odd\ufffd", b"\xff\0"),
            ("empty", None),
            ("traceparent", b"00-1-2-3"),
        ]
        assert [headers_of(letter)["dead-letter-offset"] for letter in letters] == ["0", "1", "2"]


async def test_a_record_that_is_small_only_while_compressed_is_kept_and_named_but_not_sent_on(
    make: ProbeMaker, stack: Stack, clock: ProgramClock, kafka: AIOKafkaProducer
) -> None:
    probe = await make()
    cycle = opaque_id()
    async with started(probe):
        async with AIOKafkaProducer(
            bootstrap_servers=stack.kafka_bootstrap, compression_type="gzip", max_request_size=10_000_000
        ) as packing:
            await packing.send_and_wait(probe.topic.name, b"0" * 5_000_000, key=cycle.encode())
        await kafka.send_and_wait(probe.topic.name, extended(clock, cycle, 1), key=cycle.encode())

        async def seen() -> bool:
            return await probe.seen(cycle) == [1]

        await eventually(seen)
        (letter,) = await probe.sent_on(1)
        assert "5,000,036 bytes" in headers_of(letter)["dead-letter-omitted"]
        kept = await probe.service.database.pool.fetchval("select length(record) from chassis.parked")
        assert kept == 5_000_000


# Who may look, and at what


async def test_what_is_sealed_is_not_shown(make: ProbeMaker, kafka: AIOKafkaProducer) -> None:
    probe = await make()
    probe.broken.add("assign")
    name = opaque_id()
    event = ReviewAssigned(cycle="2027", application=name, review="alias-1", private=Assignee(reviewer="Ada Secret"))
    made = written(event, 1)
    opening = json.loads(made.record)["data"]["disclosures"]["private"]
    async with started(probe):
        await kafka.send_and_wait(probe.topic.name, made.record, key=name.encode())
        await kafka.send_and_wait(probe.topic.name, b'["Ada Secret"]', key=b"\xff")

        async def parked() -> bool:
            return await probe.parked() == 2

        await eventually(parked)
        first, second = (await probe.listed())["records"]
        shown = (await probe.ask("GET", where(first))).json()
        assert shown["envelope"]["type"] == ReviewAssigned.TYPE
        assert shown["envelope"]["id"] == made.header.id
        assert (shown["data"], shown["withheld"]) == ({"review": "alias-1"}, ["private"])
        unread = (await probe.ask("GET", where(second))).json()
        assert (unread["envelope"], unread["data"], unread["bytes"], unread["key"]) == ({}, {}, 14, "\\xff")
        for answer in (shown, unread, first, second):
            assert "Secret" not in json.dumps(answer)
            assert opening not in json.dumps(answer)


async def test_auditors_look_and_only_administrators_act(make: ProbeMaker) -> None:
    probe = await make()
    async with started(probe):
        for role, looks, acts in (("auditor", 200, 403), ("program-admin", 200, 202), ("reviewer", 403, 403)):
            assert (await probe.ask("GET", role=role)).status_code == looks
            for action in ("/redrive", "/go-on"):
                assert (await probe.ask("POST", action, role, {})).status_code == acts
            nobodys = {"records": [{"topic": probe.topic.name, "partition": 0, "offset": 0}], "reason": "a slip"}
            assert (await probe.ask("POST", "/dismiss", role, nobodys)).status_code == (409 if acts == 202 else acts)
        place = f"/{probe.topic.name}/0/0"
        assert (await probe.ask("GET", place, "reviewer")).status_code == 403
        assert (await probe.ask("GET", place)).status_code == 404
        assert (await probe.ask("GET", "/a b/0/0")).status_code == 404
        assert (await probe.ask("GET", f"/{probe.topic.name}/-1/{2**70}")).status_code == 404
        assert (await probe.ask("GET", "?after=x")).status_code == 422


async def test_the_list_goes_on_page_by_page(make: ProbeMaker, kafka: AIOKafkaProducer) -> None:
    probe = await make()
    async with started(probe):
        for _ in range(7):
            await kafka.send(probe.topic.name, b"{", key=b"k")
        await kafka.flush()

        async def parked() -> bool:
            return await probe.parked() == 7

        await eventually(parked)
        found: list[int] = []
        page = await probe.listed("?limit=3")
        while page["records"]:
            found += [record["offset"] for record in page["records"]]
            page = await probe.listed(f"?limit=3&after={page['next']}") if page["next"] else {"records": []}
        assert found == list(range(7))


# The breaker


async def test_a_deployment_that_cannot_take_events_stops_and_the_next_one_takes_them_all(
    make: ProbeMaker, clock: ProgramClock, kafka: AIOKafkaProducer
) -> None:
    probe = await make(Brittle)
    cycles = [opaque_id() for _ in range(40)]
    for n, cycle in enumerate(cycles):
        await kafka.send(probe.topic.name, extended(clock, cycle, 1, "flood" if n < 10 else "bug"), key=cycle.encode())
    await kafka.flush()
    async with started(probe):
        with capture_logs() as lines:
            await eventually(lambda: stopped(probe))
            await asyncio.sleep(1)
        loud = [line["event"] for line in lines if line["log_level"] in {"error", "critical"}]
        assert loud == ["consumer stopped: too many events in a row are poison"]
        assert await stopped(probe)
        assert await probe.effects() == 10
        assert (await probe.parked(), await probe.committed()) == (0, 0)
        await probe.sent_on(0)
        (stop,) = (await probe.listed())["stopped"]
        assert (stop["topic"], stop["offset"], stop["go_on"]) == (probe.topic.name, 10 + LIMIT - 1, False)
        assert stop["reason"].startswith("ValueError")
    probe.broken.clear()
    probe.service = probe.deployed(probe.service.name)
    async with started(probe):

        async def all_seen() -> bool:
            return await probe.effects() == 40 and await probe.committed() == 40

        await eventually(all_seen)
        assert await probe.parked() == 0
        assert (await probe.listed())["stopped"] == []
        assert not await stopped(probe)


async def test_a_stopped_consumer_that_is_told_to_go_on_sets_poison_aside_until_an_event_takes_effect(
    make: ProbeMaker, clock: ProgramClock, kafka: AIOKafkaProducer
) -> None:
    probe = await make(Brittle)
    good = opaque_id()

    async def flood(number: int) -> None:
        for _ in range(number):
            await kafka.send(probe.topic.name, b"{", key=b"k")
        await kafka.flush()

    await flood(3 * LIMIT)
    async with started(probe):
        await eventually(lambda: stopped(probe))
        await flood(LIMIT)
        await kafka.send_and_wait(probe.topic.name, extended(clock, good, 1), key=good.encode())
        assert len((await probe.ask("POST", "/go-on", "program-admin")).json()) == 1

        async def gone_on() -> bool:
            return await probe.seen(good) == [1] and await probe.parked() == 4 * LIMIT

        await eventually(gone_on, 30)
        assert not await stopped(probe)
        assert (await probe.listed())["stopped"] == []
        await probe.sent_on(4 * LIMIT)
        await flood(LIMIT)
        await eventually(lambda: stopped(probe))
        assert await probe.parked() < 5 * LIMIT


async def stopped(probe: Probe) -> bool:
    return not (await probe.service.ready())["breaker"]


async def test_poison_with_good_events_in_between_stops_nobody(
    make: ProbeMaker, clock: ProgramClock, kafka: AIOKafkaProducer
) -> None:
    probe = await make(Brittle)
    async with started(probe):
        for n in range(10 * LIMIT):
            cycle = opaque_id()
            reason = "flood" if n % LIMIT == 0 else "bug"
            await kafka.send(probe.topic.name, extended(clock, cycle, 1, reason), key=cycle.encode())
        await kafka.flush()

        async def all_taken() -> bool:
            return (await probe.effects(), await probe.parked()) == (10, 10 * (LIMIT - 1))

        await eventually(all_taken)
        assert all((await probe.service.ready()).values())


def where(record: dict[str, Any]) -> str:
    return f"/{record['topic']}/{record['partition']}/{record['offset']}"


# From the shell


@pytest.fixture
async def scoring(stack: Stack, tmp_path: Path) -> AsyncIterator[tuple[Service, Callable[..., Awaitable[Ended]]]]:
    """Scoring behind an origin, and `cec dead-letters` asking it."""
    settings = {"var": tmp_path, "public_url": "http://127.0.0.1:0", "poll_seconds": 0.2}
    settings["database_prefix"] = f"t{secrets.token_hex(4)}_"
    async with Origin(
        settings, kafka_bootstrap=stack.kafka_bootstrap, postgres_dsn=stack.postgres_dsn, names=("scoring",)
    ) as origin:

        async def cec(*arguments: str) -> Ended:
            process = await asyncio.create_subprocess_exec(
                sys.executable,
                "-m",
                "services.cli",
                "dead-letters",
                *arguments,
                cwd=ROOT,
                env={"PATH": os.environ["PATH"], "CEC_PUBLIC_URL": origin.url, "CEC_VAR": str(tmp_path)},
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.PIPE,
            )
            out, errors = await process.communicate()
            return Ended(process.returncode, out.decode(), errors.decode())

        yield origin.services[0], cec


async def test_the_command_lists_shows_redrives_and_dismisses(
    scoring: tuple[Service, Callable[..., Awaitable[Ended]]], clock: ProgramClock
) -> None:
    service, cec = scoring
    topic, cycle = EVENT_TOPICS["intake"].name, opaque_id()
    good, bad = f"{topic}/0/{10**9}", f"{topic}/0/{10**9 + 1}"
    async with service.database.transaction() as tx:
        for number, value in enumerate((extended(clock, cycle, 1), b"{")):
            record = Record(topic, 0, 10**9 + number, cycle.encode(), value, 0)
            await park_poison(tx, record, ValueError("since mended"), "scoring")

    listed = await cec("list", "scoring")
    assert f"{good}  poison, " in listed.out
    assert f"{cycle} 1: ValueError" in listed.out
    assert f"{bad}  poison, " in listed.out
    as_json = json.loads((await cec("list", "scoring", "--kind", "poison", "--json")).out)
    assert [r["reason"] for r in as_json["scoring"]["records"] if r["subject"] == cycle] == ["ValueError"]
    shown = await cec("show", "scoring", good, "--json")
    assert json.loads(shown.out)["envelope"]["type"] == CycleDeadlineExtended.TYPE

    tried = await cec("redrive", "scoring", good, bad)
    assert tried.code == 1
    assert f"{good}: took effect" in tried.out
    assert f"{bad}: poison (" in tried.out
    again = await cec("redrive", "scoring", good)
    assert (again.code, again.errors.count("\n")) == (1, 1)
    assert f"no poison at {good}" in again.errors
    assert json.loads((await cec("redrive", "scoring", "--all", "--json")).out)
    kept = await cec("dismiss", "scoring", bad, good, "--reason", "a slip")
    assert (kept.code, kept.errors.count("\n")) == (1, 1)
    assert "never dismissed" in kept.errors
    assert bad in (await cec("list", "scoring")).out
    assert (await cec("dismiss", "scoring", bad, "--reason", "a slip")).out == f"dismissed {bad}\n"
    assert bad not in (await cec("list", "scoring")).out
    assert json.loads((await cec("go-on", "scoring", "--json")).out) == []
    for wrong in (("show", "scoring", "nowhere"), ("redrive", "scoring"), ("list", "painting")):
        refused = await cec(*wrong)
        assert (refused.code, refused.errors.count("\n")) == (1, 1), wrong


# What Kafka's client cannot take

ODD = """
import asyncio, sys
from aiokafka import AIOKafkaProducer

class Name(str):
    def encode(self, *_):
        return bytes([255])

async def send(bootstrap, topic):
    async with AIOKafkaProducer(bootstrap_servers=bootstrap) as kafka:
        await kafka.send_and_wait(topic, b"{}", key=b"k", headers=[(Name("x"), b"")], partition=0)

asyncio.run(send(*sys.argv[1:]))
"""


async def test_a_header_whose_name_is_no_text_stops_no_partition_and_loses_no_record(
    make: ProbeMaker, clock: ProgramClock, kafka: AIOKafkaProducer
) -> None:
    probe = await make(partitions=3)
    cycles = [opaque_id() for _ in range(60)]

    async def spread(some: list[str]) -> None:
        for n, cycle in enumerate(some):
            await kafka.send(probe.topic.name, extended(clock, cycle, 1), key=cycle.encode(), partition=n % 3)
        await kafka.flush()

    async def odd() -> None:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-c",
            ODD,
            probe.stack.kafka_bootstrap,
            probe.topic.name,
            # Its compiled part takes no such name from us; the broker does.
            env={**os.environ, "AIOKAFKA_NO_EXTENSIONS": "1"},
        )
        assert await process.wait() == 0

    await spread(cycles[:30])
    await odd()
    await odd()
    await spread(cycles[30:])
    async with started(probe):

        async def all_seen() -> bool:
            return (await probe.effects(), await probe.parked()) == (60, 2)

        await eventually(all_seen, 30)
        records = (await probe.listed())["records"]
        assert [(record["partition"], record["offset"]) for record in records] == [(0, 10), (0, 11)]
        assert await probe.committed() == 22


async def test_the_broker_unpacks_what_comes_compressed(stack: Stack) -> None:
    async with AIOKafkaProducer(
        bootstrap_servers=stack.kafka_bootstrap, compression_type="gzip", max_request_size=10_000_000
    ) as packing:
        for topic in (*EVENT_TOPICS.values(), COMMANDS):
            with pytest.raises(MessageSizeTooLargeError):
                await packing.send_and_wait(topic.name, b"0" * 5_000_000, key=b"k")
