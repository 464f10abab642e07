"""The ledger on the real parts: every event once, causes first, whatever order it comes in; what an export opens."""

from __future__ import annotations

import base64
import io
import json
import random
import tomllib
import zipfile
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime
from functools import cached_property
from hashlib import sha256
from pathlib import Path
from typing import Any

import asyncpg
import httpx
import orjson
import pytest
from aiokafka import AIOKafkaProducer
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from schemas.applications import Answer, ApplicationSubmitted, Claims, Contact, Identity
from schemas.canonical import canonical
from schemas.charter import charter_digest
from schemas.cycles import Account, CohortAnnounced, CycleDeadlineExtended, CycleOpened, LogOpened, MemberJoined
from schemas.designations import DesignationExpired, DesignationGranted, Outcome
from schemas.envelope import Event, Written, digest, parse, read
from schemas.exact import Ratio, SetDigest
from schemas.notices import NoticeDelivered
from schemas.reviews import Points, Remarks, Reviewer, ReviewerEnrolled, ReviewSubmitted
from schemas.topics import topic_of
from services.chassis.archive import unpack
from services.chassis.clock import ProgramClock
from services.chassis.ids import event_id, opaque_id
from services.chassis.issuer import Issuer
from services.chassis.service import Runtime, Service
from services.chassis.settings import Settings
from services.chassis.transparency import Checkpoint, VerifierKey, leaf_hash, open_note, root
from services.ledger import feed
from services.ledger.app import service as ledger
from services.ledger.settings import LedgerSettings
from tests.given import eventually, publish, written

RuntimeMaker = Callable[[type[Settings]], Runtime]
CHARTER = (Path(__file__).resolve().parents[2] / "deploy" / "programs" / "citizen-engaged-communities.toml").read_text()
DAY = date(2011, 10, 17)


@pytest.fixture
def here(runtime: RuntimeMaker, tmp_path: Path) -> Runtime:
    made = runtime(LedgerSettings)
    return replace(made, settings=made.settings.model_copy(update={"var": tmp_path}))


@pytest.fixture
async def running(here: Runtime) -> AsyncIterator[Service]:
    service = ledger(here)
    await service.start()
    yield service
    await service.stop()


@pytest.fixture
async def web(running: Service) -> AsyncIterator[httpx.AsyncClient]:
    async with client(running) as made:
        yield made


@pytest.fixture
async def auditor(running: Service, issuer: Issuer) -> AsyncIterator[httpx.AsyncClient]:
    async with client(running) as made:
        made.headers["Authorization"] = f"Bearer {issuer.token('auditor', 'auditor-1')}"
        yield made


def client(service: Service) -> httpx.AsyncClient:
    return httpx.AsyncClient(transport=httpx.ASGITransport(app=service.app), base_url="http://test")


@dataclass
class Cycle:
    """A small cycle as its services would tell it: two applications, one of them designated."""

    label: str = field(default_factory=opaque_id)
    winner: str = field(default_factory=opaque_id)
    loser: str = field(default_factory=opaque_id)
    designation: str = field(default_factory=opaque_id)
    events: list[Written] = field(default_factory=list)
    counts: dict[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        opened = self.tell(
            CycleOpened(
                cycle=self.label,
                program="cec",
                charter=CHARTER,
                charter_sha256=charter_digest(CHARTER),
                deadline=datetime(2011, 9, 1, tzinfo=UTC),
                assignment_commitment="0" * 64,
            )
        )
        cause = opened
        for application, name in ((self.winner, "Winnerton"), (self.loser, "Loserville")):
            cause = self.tell(
                ApplicationSubmitted(
                    cycle=self.label,
                    application=application,
                    version=1,
                    identity=identity(name),
                    claims=Claims(facts={"portal": True}, assumed=[], metrics=[]),
                    answers={"crm": Answer(statement=f"{name} answers")},
                    contact=Contact(official="An Official", title="CIO", email=f"cio@{name.lower()}.example"),
                ),
                cause=opened,
            )
            for _ in range(3):
                cause = self.tell(
                    ReviewSubmitted(
                        cycle=self.label,
                        application=application,
                        review=opaque_id(),
                        version=1,
                        via="http",
                        scores=Points(points={"crm": 3}, recommendation=True),
                        private=Remarks(reviewer="r", rationales={}, comment=f"about {name}", command_sha256="0" * 64),
                    ),
                    cause=cause,
                )
        granted = self.tell(
            DesignationGranted(
                cycle=self.label,
                designation=self.designation,
                application=self.winner,
                decided=cause,
                starts_on=DAY,
                ends_on=date(2013, 10, 17),
                identity=identity("Winnerton"),
                scores=Outcome(level="designated", total=Ratio.of(1), unmet=[]),
            ),
            cause=cause,
        )
        announced = self.tell(
            CohortAnnounced(
                cycle=self.label,
                announced_on=DAY,
                designations=SetDigest.of([self.designation]),
                highlights=[],
                narrative=[],
            ),
            cause=granted,
        )
        self.tell(
            DesignationExpired(cycle=self.label, designation=self.designation, ended_on=date(2013, 10, 17)),
            cause=announced,
        )

    def tell(self, event: Event, *, cause: str | None = None) -> str:
        key = event.source() + event.subject
        self.counts[key] = self.counts.get(key, 0) + 1
        self.events.append(written(event, self.counts[key], cause=cause))
        return self.events[-1].header.id

    def of(self, model: type[Event]) -> list[Written]:
        return [event for event in self.events if event.header.type == model.TYPE]

    def without(self, model: type[Event]) -> list[Written]:
        return [event for event in self.events if event.header.type != model.TYPE]


def identity(name: str) -> Identity:
    return Identity(
        government=name.lower(),
        name=name,
        state="Ohio",
        kind="city",
        population=50_000,
        population_source="2010 census",
        website=f"https://{name.lower()}.example",
        tier="small",
    )


async def send(kafka: AIOKafkaProducer, events: list[Written]) -> None:
    for event in events:
        await kafka.send(topic_of(event.header.type), event.record, key=event.header.subject.encode())
    await kafka.flush()


async def entries(service: Service, log: str) -> list[Any]:
    return list(await service.database.pool.fetch("select * from ledger.entry where log = $1 order by index", log))


async def logged(service: Service, log: str, size: int) -> list[Any]:
    async def grown() -> bool:
        return len(await entries(service, log)) >= size

    await eventually(grown)
    return await entries(service, log)


async def held(service: Service, log: str) -> int:
    return int(await service.database.pool.fetchval("select count(*) from private.held where log = $1", log))


async def alarms(service: Service, log: str) -> list[str]:
    rows = await service.database.pool.fetch("select kind from ledger.alarm where log = $1", log)
    return [row["kind"] for row in rows]


def assert_whole(rows: list[Any], cycle: Cycle) -> None:
    """Everything once, gap-free, causes first, opened by the ledger and then by intake, leaf bytes as sealed."""
    assert [row["index"] for row in rows] == list(range(len(cycle.events) + 1))
    assert [row["type"] for row in rows[:2]] == [LogOpened.TYPE, CycleOpened.TYPE]
    sealed = {event.header.id: event.leaf for event in cycle.events}
    assert {row["id"]: row["leaf"] for row in rows[1:]} == sealed
    place = {row["id"]: row["index"] for row in rows}
    turns: dict[tuple[str, str], int] = {}
    for row in rows:
        leaf = orjson.loads(row["leaf"])
        turn = (leaf["source"], leaf["subject"])
        turns[turn] = turns.get(turn, 0) + 1
        assert leaf["sequence"] == turns[turn]
        assert place.get(leaf.get("causationid"), -1) < row["index"]


async def test_events_in_any_order_and_twice_make_one_whole_log(running: Service, kafka: AIOKafkaProducer) -> None:
    cycles = [Cycle() for _ in range(5)]
    delivery = [event for cycle in cycles for event in cycle.events] * 2
    random.Random(2011).shuffle(delivery)
    await send(kafka, delivery)
    for cycle in cycles:
        assert_whole(await logged(running, cycle.label, len(cycle.events) + 1), cycle)
    await send(kafka, cycles[0].events)
    marker = Cycle()
    await send(kafka, marker.events)
    await logged(running, marker.label, len(marker.events) + 1)
    for cycle in cycles:
        assert_whole(await entries(running, cycle.label), cycle)
        assert await held(running, cycle.label) == 0
        assert await alarms(running, cycle.label) == []


async def test_two_processes_share_the_work_and_make_one_log(here: Runtime, kafka: AIOKafkaProducer) -> None:
    both = [ledger(here), ledger(here)]
    for service in both:
        await service.start()
    try:

        async def sharing() -> bool:
            shares = [service.consumers[0].subscriber.consumer.assignment() for service in both]  # type: ignore[union-attr]
            return all(shares) and not shares[0] & shares[1]

        await eventually(sharing)
        cycles = [Cycle() for _ in range(20)]
        delivery = [event for cycle in cycles for event in cycle.events]
        random.Random(311).shuffle(delivery)
        await send(kafka, delivery)
        for cycle in cycles:
            assert_whole(await logged(both[0], cycle.label, len(cycle.events) + 1), cycle)
            assert await alarms(both[0], cycle.label) == []
    finally:
        for service in both:
            await service.stop()


async def test_the_tree_is_that_of_the_leaves(
    running: Service, auditor: httpx.AsyncClient, kafka: AIOKafkaProducer
) -> None:
    cycle = Cycle()
    await send(kafka, cycle.events)
    rows = await logged(running, cycle.label, len(cycle.events) + 1)
    hashes = [leaf_hash(row["leaf"]) for row in rows]
    assert hashes == [row["leaf_hash"] for row in rows]
    shown = (await auditor.get(f"/v1/logs/{cycle.label}")).json()
    first = orjson.loads(rows[0]["leaf"])["data"]
    assert shown == {
        "log": cycle.label,
        "origin": f"127.0.0.1:8311/cycles/{cycle.label}",
        "verifier_key": first["verifier_key"],
        "size": len(rows),
        "root": root(hashes).hex(),
        "held": 0,
        "overdue": 0,
    }
    assert shown in (await auditor.get("/v1/logs")).json()
    note = await auditor.get(f"/v1/logs/{cycle.label}/checkpoint")
    assert note.headers["content-type"] == "text/plain; charset=utf-8"
    stated = Checkpoint.parse(open_note(note.content, [VerifierKey.parse(first["verifier_key"])]))
    assert stated == Checkpoint(first["origin"], len(rows), root(hashes))


async def test_an_applications_events_wait_for_their_cycle_and_are_seen_to_wait(
    running: Service, auditor: httpx.AsyncClient, kafka: AIOKafkaProducer
) -> None:
    cycle = Cycle()
    early = cycle.without(CycleOpened)
    await send(kafka, early)

    async def all_held() -> bool:
        return await held(running, cycle.label) == len(early)

    await eventually(all_held)
    shown = (await auditor.get(f"/v1/logs/{cycle.label}")).json()
    assert (shown["size"], shown["origin"], shown["held"], shown["overdue"]) == (0, None, len(early), 0)
    assert (await auditor.get(f"/v1/logs/{cycle.label}/checkpoint")).status_code == 404
    await running.database.pool.execute(
        "update private.held set held_at = held_at - interval '61 seconds' where log = $1", cycle.label
    )

    async def overdue() -> bool:
        return bool((await auditor.get(f"/v1/logs/{cycle.label}")).json()["overdue"] == len(early))

    await eventually(overdue)
    await send(kafka, cycle.of(CycleOpened))
    assert_whole(await logged(running, cycle.label, len(cycle.events) + 1), cycle)
    assert await held(running, cycle.label) == 0


async def test_what_belongs_to_no_public_log_goes_to_the_programs(running: Service, kafka: AIOKafkaProducer) -> None:
    cycle, government, subscription = Cycle(), opaque_id(), opaque_id()
    await send(kafka, cycle.events)
    enrolled = await publish(
        kafka, ReviewerEnrolled(cycle=cycle.label, reviewer=opaque_id(), private=Reviewer(states=["Ohio"])), 1
    )
    joined = await publish(
        kafka,
        MemberJoined(government=government, person="p", role="lead", private=Account(issuer="i", subject_claim="s")),
        1,
    )
    announced = cycle.of(CohortAnnounced)[0].header.id
    told = await publish(
        kafka,
        NoticeDelivered(subscription=subscription, notice="n", event=announced, attempts=1),
        1,
        cause=announced,
    )
    wanted = {event.header.id for event in (enrolled, joined, told)}

    async def all_there() -> bool:
        return wanted <= {row["id"] for row in await entries(running, "program")}

    await eventually(all_there)
    assert (await entries(running, "program"))[0]["type"] == LogOpened.TYPE
    assert not wanted & {row["id"] for row in await entries(running, cycle.label)}


async def test_contradictions_are_alarms_and_change_nothing(running: Service, kafka: AIOKafkaProducer) -> None:
    cycle = Cycle()
    await send(kafka, cycle.events)
    before = await logged(running, cycle.label, len(cycle.events) + 1)
    first = cycle.of(ApplicationSubmitted)[0]
    body = orjson.loads(first.record)
    other_bytes = canonical({**body, "time": "2011-01-01T00:00:00.000Z"})
    other_id = canonical({**body, "id": event_id()})
    topic, key = topic_of(first.header.type), first.header.subject.encode()
    for record in (other_bytes, other_id, other_bytes):
        await kafka.send_and_wait(topic, record, key=key)
    foreign = LogOpened(log=opaque_id(), cycle=cycle.label, origin="evil.example", verifier_key="key")
    await publish(kafka, foreign, 1)

    async def all_raised() -> bool:
        return len(await alarms(running, cycle.label)) >= 3

    await eventually(all_raised)
    raised = sorted(await alarms(running, cycle.label))
    assert raised == ["not written by the ledger", "same id, other bytes", "same sequence, other id"]
    assert await entries(running, cycle.label) == before


async def test_an_event_that_contradicts_one_that_is_held_is_an_alarm(
    running: Service, kafka: AIOKafkaProducer
) -> None:
    cycle = Cycle()
    early = cycle.of(ApplicationSubmitted)[0]
    topic, key = topic_of(early.header.type), early.header.subject.encode()
    forged = canonical({**orjson.loads(early.record), "time": "2011-01-01T00:00:00.000Z"})
    for record in (early.record, forged):
        await kafka.send_and_wait(topic, record, key=key)

    async def raised() -> bool:
        return await alarms(running, cycle.label) == ["same id, other bytes"]

    await eventually(raised)
    await send(kafka, cycle.events)
    assert_whole(await logged(running, cycle.label, len(cycle.events) + 1), cycle)


def _unsealed(record: bytes) -> bytes:
    body = orjson.loads(record)
    body["data"]["disclosures"]["identity"] = body["data"]["disclosures"]["claims"]
    return orjson.dumps(body)


def _with(**changes: object) -> Callable[[bytes], bytes]:
    return lambda record: orjson.dumps({**orjson.loads(record), **changes})


BROKEN: dict[str, Callable[[bytes], bytes]] = {
    "cut off": lambda record: record[:-1],
    "not an object": lambda _: b"[]",
    "an opening of another block": _unsealed,
    "nothing sealed": _with(data={"disclosures": {}}),
    "a disclosure that is no text": _with(data={"sealed": {"identity": digest("x")}, "disclosures": {"identity": 1}}),
    "a fraction": _with(data={"sealed": {}, "share": 0.5}),
    "a leaf too large": _with(data={"sealed": {}, "text": "x" * 60_000}),
    "another service's source": _with(source="/awards"),
    "another service's type": _with(type="awards.cohort.announced.v1"),
    "a sequence beyond every integer": _with(sequence=2**63),
    "a cycle that no text can hold": _with(cycleid="\0"),
    "nested beyond reason": lambda record: record.replace(b'"attested":true', b'"a":' + b"[" * 900 + b"]" * 900),
}


@pytest.mark.parametrize("fault", BROKEN)
async def test_a_broken_record_is_kept_with_its_reason_and_the_next_ones_are_logged(
    running: Service, kafka: AIOKafkaProducer, fault: str
) -> None:
    cycle = Cycle()
    good = cycle.of(ApplicationSubmitted)[0]
    value = BROKEN[fault](good.record)
    await kafka.send_and_wait(
        topic_of(good.header.type), value, key=good.header.subject.encode(), headers=[("empty\0", None)]
    )
    await send(kafka, cycle.events)
    assert_whole(await logged(running, cycle.label, len(cycle.events) + 1), cycle)
    query = "select reason from chassis.parked where record = $1 and kind = 'poison'"

    async def kept() -> bool:
        return bool(await running.database.pool.fetchval(query, value))

    await eventually(kept)


async def test_a_restart_continues_where_it_stopped(here: Runtime, kafka: AIOKafkaProducer) -> None:
    cycle = Cycle()
    half = len(cycle.events) // 2
    first = ledger(here)
    await first.start()
    await send(kafka, cycle.events[:half])
    before = await logged(first, cycle.label, half + 1)
    await first.stop()
    await send(kafka, cycle.events)
    second = ledger(here)
    await second.start()
    try:
        rows = await logged(second, cycle.label, len(cycle.events) + 1)
        assert rows[: half + 1] == before
        assert_whole(rows, cycle)
        opened = [row["type"] for row in await entries(second, "program")].count(LogOpened.TYPE)
        assert opened == 1
        state = await second.database.pool.fetchrow("select size, root from projection.log where log = $1", cycle.label)
        assert state is not None
        assert tuple(state) == (len(rows), root(row["leaf_hash"] for row in rows))
    finally:
        await second.stop()


async def test_it_does_not_start_with_another_key(here: Runtime, tmp_path: Path) -> None:
    first = ledger(here)
    await first.start()
    await first.stop()
    key = tmp_path / "keys" / "log.key"
    assert key.stat().st_mode & 0o777 == 0o600
    key.unlink()
    second = ledger(here)
    with pytest.raises(RuntimeError, match="put that key back"):
        await second.start()
    await second.database.close()


@pytest.mark.parametrize("table", ["ledger.entry", "ledger.checkpoint"])
async def test_what_is_logged_or_signed_cannot_be_changed(
    running: Service, auditor: httpx.AsyncClient, table: str
) -> None:
    assert (await auditor.get("/v1/logs/program/checkpoint")).status_code == 200
    for change in ("update {} set log = 'x'", "delete from {}", "truncate {}"):
        with pytest.raises(asyncpg.RaiseError, match="append-only"):
            await running.database.pool.execute(change.format(table))


async def test_a_size_is_signed_once_and_at_most_one_size_a_second(
    running: Service, auditor: httpx.AsyncClient, kafka: AIOKafkaProducer
) -> None:
    cycle = Cycle()
    await send(kafka, cycle.events[:2])
    await logged(running, cycle.label, 3)
    first = await auditor.get(f"/v1/logs/{cycle.label}/checkpoint")
    await send(kafka, cycle.events[2:])
    await logged(running, cycle.label, len(cycle.events) + 1)
    notes = {(await auditor.get(f"/v1/logs/{cycle.label}/checkpoint")).content for _ in range(5)}
    assert len(notes | {first.content}) <= 2

    async def caught_up() -> bool:
        note = await auditor.get(f"/v1/logs/{cycle.label}/checkpoint")
        return note.text.split("\n")[1] == str(len(cycle.events) + 1)

    await eventually(caught_up)
    signed = await running.database.pool.fetch("select size from ledger.checkpoint where log = $1", cycle.label)
    assert [row["size"] for row in signed] == [3, len(cycle.events) + 1]


class Export:
    """An export, read by its paths."""

    def __init__(self, raw: bytes) -> None:
        self.files = unpack(raw)

    @cached_property
    def leaves(self) -> list[bytes]:
        return self.files["events.ndjson"].splitlines()

    @cached_property
    def openings(self) -> list[dict[str, Any]]:
        return [orjson.loads(line) for line in self.files["openings.ndjson"].splitlines()]

    def text(self) -> str:
        """All that the openings say."""
        raw = [opening["disclosure"] for opening in self.openings]
        return " ".join(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)).decode() for text in raw)


async def test_the_public_export_opens_designees_as_the_charter_says_and_nobody_else(
    running: Service, web: httpx.AsyncClient, kafka: AIOKafkaProducer
) -> None:
    cycle = Cycle()
    await send(kafka, cycle.events)
    rows = await logged(running, cycle.label, len(cycle.events) + 1)
    answer = await web.get(f"/v1/cycles/{cycle.label}/export")
    assert answer.headers["content-type"] == "application/zip"
    export = Export(answer.content)
    assert export.files["audience"] == b"public\n"
    assert export.files["charter.toml"] == CHARTER.encode()
    assert export.leaves == [row["leaf"] for row in rows]
    assert export.files["VERIFY.md"].startswith(b"# ")
    key = VerifierKey.parse(export.files["keys/log.vkey"].decode().strip())
    stated = Checkpoint.parse(open_note(export.files["checkpoint"], [key]))
    assert (stated.size, stated.root) == (len(rows), root(map(leaf_hash, export.leaves)))
    assert export.files[f"checkpoints/{len(rows)}"] == export.files["checkpoint"]
    places = [(opening["index"], opening["block"]) for opening in export.openings]
    assert places == sorted(places)
    subjects = set()
    for opening in export.openings:
        leaf = orjson.loads(export.leaves[opening["index"]])
        assert leaf["id"] == opening["event"]
        assert leaf["data"]["sealed"][opening["block"]] == digest(opening["disclosure"])
        subjects.add(leaf["subject"])
    assert subjects == {cycle.winner, cycle.designation}
    assert sorted({block for _, block in places}) == ["claims", "identity", "scores"]
    # The application's identity and claims, three reviews' scores, the designation's identity and scores.
    assert len(places) == 7
    assert "Winnerton" in export.text()
    assert b"Winnerton" not in answer.content.replace(export.files["openings.ndjson"], b"")
    for secret in ("Loserville", "loserville", "answers", "comment", "cio@"):
        assert secret not in export.text()


def steps_1_to_16(raw: bytes) -> dict[tuple[int, str], Any]:
    """`VERIFY.md` as somebody would program it who has nothing of this project; returns what is opened."""
    files = _files(raw)
    manifest = json.loads(files.pop("manifest.json"))["files"]
    assert manifest == {name: sha256(content).hexdigest() for name, content in files.items()}
    name, key_id, key = files["keys/log.vkey"].decode().rstrip("\n").split("+", 2)
    public = base64.b64decode(key)
    assert public[:1] == b"\x01"
    assert key_id == sha256(name.encode() + b"\n" + public).hexdigest()[:8]
    lines = files["events.ndjson"].split(b"\n")[:-1]
    hashes = [sha256(b"\0" + line).digest() for line in lines]
    for path, note in files.items():
        if path.startswith("checkpoint"):
            text, _, signature = note.rpartition(b"\n\n")
            dash, signer, encoded = signature.decode().rstrip("\n").split(" ")
            signed = base64.b64decode(encoded)
            assert (dash, signer, signed[:4].hex()) == ("—", name, key_id)
            Ed25519PublicKey.from_public_bytes(public[1:]).verify(signed[4:], text + b"\n")
            origin, size, head = text.decode().split("\n")
            assert origin == name
            assert path in {"checkpoint", f"checkpoints/{size}"}
            assert base64.b64decode(head) == _root(hashes[: int(size)])
    assert files["checkpoint"].split(b"\n")[1] == str(len(lines)).encode()
    events = [json.loads(line) for line in lines]
    sequence: Counter[tuple[str, str]] = Counter()
    for event in events:
        sequence[event["source"], event["subject"]] += 1
        assert event["sequence"] == sequence[event["source"], event["subject"]]
    assert events[0]["data"]["verifier_key"] == f"{name}+{key_id}+{key}"
    assert events[1]["data"]["charter"].encode() == files["charter.toml"]
    assert events[1]["data"]["charter_sha256"] == sha256(files["charter.toml"]).hexdigest()
    opened, due = {}, set()
    for row in map(json.loads, files["openings.ndjson"].split(b"\n")[:-1]):
        event = events[row["index"]]
        assert event["id"] == row["event"]
        assert event["data"]["sealed"][row["block"]] == _url(sha256(row["disclosure"].encode()).digest())
        _, block, value = json.loads(base64.urlsafe_b64decode(row["disclosure"] + "=="))
        assert block == row["block"]
        opened[row["index"], block] = value
    granted = [event for event in events if event["type"] == "awards.designation.granted.v1"]
    designated = {grant["subject"] for grant in granted} | {grant["data"]["application"] for grant in granted}
    rule = tomllib.loads(files["charter.toml"].decode())["disclosure"]
    for index, event in enumerate(events):
        classes = rule["designated" if event["subject"] in designated else "not_designated"]
        blocks = event["data"]["sealed"]
        due |= {(index, b) for b in blocks if files["audience"] == b"auditor\n" or b.split("/")[0] in classes}
    assert due == opened.keys()
    return opened


def _files(raw: bytes) -> dict[str, bytes]:
    with zipfile.ZipFile(io.BytesIO(raw)) as archive:
        assert archive.namelist() == sorted(set(archive.namelist()))
        assert all(entry.compress_type == zipfile.ZIP_STORED for entry in archive.infolist())
        return {name: archive.read(name) for name in archive.namelist()}


def _root(hashes: list[bytes]) -> bytes:
    if len(hashes) <= 1:
        return hashes[0] if hashes else sha256().digest()
    k = 1 << (len(hashes) - 1).bit_length() - 1
    return sha256(b"\1" + _root(hashes[:k]) + _root(hashes[k:])).digest()


def _url(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).decode().rstrip("=")


async def test_a_stranger_verifies_both_exports_by_the_steps_that_come_with_them(
    running: Service, web: httpx.AsyncClient, auditor: httpx.AsyncClient, kafka: AIOKafkaProducer, issuer: Issuer
) -> None:
    cycle = Cycle()
    await send(kafka, cycle.events[:4])
    await logged(running, cycle.label, 5)
    await auditor.get(f"/v1/logs/{cycle.label}/checkpoint")
    await send(kafka, cycle.events[4:])
    await logged(running, cycle.label, len(cycle.events) + 1)
    path = f"/v1/cycles/{cycle.label}/export"
    public = steps_1_to_16((await web.get(path)).content)
    who = {"Authorization": f"Bearer {issuer.token('auditor', 'auditor-1')}"}
    audited = steps_1_to_16((await web.get(path, params={"for": "auditor"}, headers=who)).content)
    assert len(public) == 7
    assert public.items() <= audited.items()
    names = {value["name"] for (_, block), value in audited.items() if block == "identity"}
    assert names == {"Winnerton", "Loserville"}


async def test_the_auditors_export_opens_everything_and_every_reading_is_noted(
    running: Service, web: httpx.AsyncClient, kafka: AIOKafkaProducer, issuer: Issuer
) -> None:
    cycle = Cycle()
    await send(kafka, cycle.events)
    rows = await logged(running, cycle.label, len(cycle.events) + 1)
    path = f"/v1/cycles/{cycle.label}/export?for=auditor"
    assert (await web.get(path)).status_code == 401
    for role in ("board", "program-admin", "applicant"):
        refused = await web.get(path, headers={"Authorization": f"Bearer {issuer.token(role, 'someone')}"})
        assert refused.status_code == 403
    answer = await web.get(path, headers={"Authorization": f"Bearer {issuer.token('auditor', 'auditor-1')}"})
    export = Export(answer.content)
    assert export.files["audience"] == b"auditor\n"
    sealed = [len(orjson.loads(leaf)["data"]["sealed"]) for leaf in export.leaves]
    assert len(export.openings) == sum(sealed) > 7
    for said in ("Loserville", "about Winnerton", "cio@winnerton.example", "Loserville answers"):
        assert said in export.text()
    read = await running.database.pool.fetch("select * from private.read_log where log = $1", cycle.label)
    assert [(row["subject"], row["what"], row["size"]) for row in read] == [("auditor-1", "export", len(rows))]
    assert read[0]["read_at"] <= datetime.now(UTC)


async def test_two_exports_of_one_size_are_the_same_bytes(
    running: Service, web: httpx.AsyncClient, auditor: httpx.AsyncClient, kafka: AIOKafkaProducer
) -> None:
    cycle = Cycle()
    await send(kafka, cycle.events[:-1])
    await logged(running, cycle.label, len(cycle.events))
    path = f"/v1/cycles/{cycle.label}/export"
    first = await web.get(path)
    await auditor.get(f"/v1/logs/{cycle.label}/checkpoint")
    assert (await web.get(path)).content == first.content
    await send(kafka, cycle.events[-1:])
    await logged(running, cycle.label, len(cycle.events) + 1)
    later = Export((await web.get(path)).content)
    assert later.files[f"checkpoints/{len(cycle.events)}"] == Export(first.content).files["checkpoint"]
    assert later.leaves[:-1] == Export(first.content).leaves


async def test_nothing_is_public_before_the_announcement_and_its_whole_cohort_are_logged(
    running: Service, web: httpx.AsyncClient, kafka: AIOKafkaProducer, issuer: Issuer
) -> None:
    cycle = Cycle()
    path = f"/v1/cycles/{cycle.label}/export"
    assert (await web.get(path)).status_code == 404
    second = DesignationGranted(
        cycle=cycle.label,
        designation=opaque_id(),
        application=cycle.loser,
        decided="d",
        starts_on=DAY,
        ends_on=date(2013, 10, 17),
        identity=identity("Loserville"),
        scores=Outcome(level="designated", total=Ratio.of(1), unmet=[]),
    )
    cohort = CohortAnnounced(
        cycle=cycle.label,
        announced_on=DAY,
        designations=SetDigest.of([cycle.designation, second.designation]),
        highlights=[],
        narrative=[],
    )
    whole = [e for e in cycle.events if e.header.type not in {CohortAnnounced.TYPE, DesignationExpired.TYPE}]
    await send(kafka, whole)
    await logged(running, cycle.label, len(whole) + 1)
    refused = await web.get(path)
    assert (refused.status_code, refused.json()["type"]) == (409, "urn:cec:problem:not-announced")
    audit = await web.get(
        path, params={"for": "auditor"}, headers={"Authorization": f"Bearer {issuer.token('auditor', 'a')}"}
    )
    assert audit.status_code == 200
    await publish(kafka, cohort, 1)
    await logged(running, cycle.label, len(whole) + 2)
    assert (await web.get(path)).json()["type"] == "urn:cec:problem:not-announced"
    await publish(kafka, second, 1)
    await logged(running, cycle.label, len(whole) + 3)
    assert (await web.get(path)).status_code == 200


async def test_how_a_log_grows_is_for_auditors_and_administrators_until_the_announcement(
    running: Service, web: httpx.AsyncClient, kafka: AIOKafkaProducer, issuer: Issuer
) -> None:
    cycle = Cycle()
    before = [e for e in cycle.events if e.header.type not in {CohortAnnounced.TYPE, DesignationExpired.TYPE}]
    await send(kafka, before)
    await logged(running, cycle.label, len(before) + 1)

    async def seen(role: str | None, log: str) -> tuple[int, int, bool]:
        headers = {"Authorization": f"Bearer {issuer.token(role, 'x')}"} if role else {}
        one, note = [await web.get(f"/v1/logs/{log}{end}", headers=headers) for end in ("", "/checkpoint")]
        listed = (await web.get("/v1/logs", headers=headers)).json()
        return one.status_code, note.status_code, log in {row["log"] for row in listed}

    everyone = (None, "board", "reviewer", "applicant", "service")
    for log in (cycle.label, "program"):
        assert {await seen(role, log) for role in everyone} == {(404, 404, False)}
        assert await seen("program-admin", log) == (200, 404, True)
        assert await seen("auditor", log) == (200, 200, True)
    hidden, unknown = [(await web.get(f"/v1/logs/{log}")).json() for log in (cycle.label, "none")]
    assert {**hidden, "instance": ""} == {**unknown, "instance": ""}
    await send(kafka, cycle.of(CohortAnnounced))
    await logged(running, cycle.label, len(before) + 2)
    assert {await seen(role, cycle.label) for role in everyone} == {(200, 200, True)}
    assert {await seen(role, "program") for role in everyone} == {(404, 404, False)}


@pytest.mark.parametrize("audience", ["applicant", "everyone", ""])
async def test_other_audiences_are_not_offered(web: httpx.AsyncClient, audience: str) -> None:
    assert (await web.get("/v1/cycles/any/export", params={"for": audience})).status_code == 422


async def test_the_programs_log_has_no_export(web: httpx.AsyncClient, auditor: httpx.AsyncClient) -> None:
    assert (await web.get("/v1/cycles/program/export")).status_code == 404
    shown = (await auditor.get("/v1/logs/program")).json()
    assert shown["origin"] == "127.0.0.1:8311/program"


async def test_a_label_is_encoded_where_it_names_a_key(
    running: Service, auditor: httpx.AsyncClient, kafka: AIOKafkaProducer, clock: ProgramClock
) -> None:
    label = f"Ciclo 1+2 ü {opaque_id()}"
    opened = orjson.loads(Cycle().events[0].record)
    record = canonical({**opened, "id": event_id(), "subject": label, "cycleid": label})
    await kafka.send_and_wait(topic_of(CycleOpened.TYPE), record, key=label.encode())
    await publish(kafka, CycleDeadlineExtended(cycle=label, deadline=clock.now(), reason="flood"), 2)
    await logged(running, label, 3)
    shown = (await auditor.get(f"/v1/logs/{label}")).json()
    assert shown["origin"].startswith("127.0.0.1:8311/cycles/Ciclo%201%2B2%20%C3%BC%20")
    note = (await auditor.get(f"/v1/logs/{label}/checkpoint")).content
    assert Checkpoint.parse(open_note(note, [VerifierKey.parse(shown["verifier_key"])])).size == 3


# The feed


async def fed(web: httpx.AsyncClient, token: str, **query: int) -> tuple[list[bytes], int]:
    """A page of the feed, and where the next one begins."""
    answer = await web.get("/v1/feed", params=query, headers={"Authorization": f"Bearer {token}"})
    assert (answer.status_code, answer.headers["content-type"]) == (200, "application/x-ndjson")
    return answer.content.splitlines(), int(httpx.URL(answer.links["next"]["url"]).params["after"])


async def whole_feed(web: httpx.AsyncClient, token: str, limit: int = 1_000) -> list[bytes]:
    records, after = list[bytes](), 0
    while True:
        page, after = await fed(web, token, after=after, limit=limit)
        if not page:
            return records
        assert len(page) <= limit
        records += page


async def test_the_feed_has_every_record_of_every_log_as_kafka_carried_it_and_causes_first(
    running: Service, web: httpx.AsyncClient, kafka: AIOKafkaProducer, issuer: Issuer, monkeypatch: pytest.MonkeyPatch
) -> None:
    cycles = [Cycle() for _ in range(3)]
    delivery = [event for cycle in cycles for event in cycle.events]
    random.Random(7).shuffle(delivery)
    await send(kafka, delivery)
    for cycle in cycles:
        await logged(running, cycle.label, len(cycle.events) + 1)
    token = issuer.token("service", "scoring")
    records = await whole_feed(web, token)
    carried = {event.record for event in delivery}
    assert carried < set(records)
    assert (
        len(records) == len(set(records)) == await running.database.pool.fetchval("select count(*) from ledger.entry")
    )
    ids, turns = set(), defaultdict[tuple[str, str], int](int)
    for envelope in map(parse, records):
        turns[envelope.key] += 1
        assert envelope.sequence == turns[envelope.key]
        assert envelope.causationid is None or envelope.causationid in ids
        ids.add(envelope.id)
    assert await whole_feed(web, token, limit=7) == records
    monkeypatch.setattr(feed, "BYTES", 1)
    page, _ = await fed(web, token)
    assert page == records[:1]
    assert await whole_feed(web, token) == records


async def test_the_feed_goes_on_where_a_reader_left_it(
    running: Service, web: httpx.AsyncClient, kafka: AIOKafkaProducer, issuer: Issuer
) -> None:
    token, first, second = issuer.token("auditor", "a"), Cycle(), Cycle()
    await send(kafka, first.events)
    await logged(running, first.label, len(first.events) + 1)
    before, after = await fed(web, token, limit=5_000)
    assert await fed(web, token, after=after) == ([], after)
    await send(kafka, second.events)
    await logged(running, second.label, len(second.events) + 1)
    later, _ = await fed(web, token, after=after)
    assert {event.record for event in second.events} <= set(later)
    assert await whole_feed(web, token) == before + later


async def test_the_feed_is_for_auditors_and_services_and_every_reading_is_noted(
    running: Service, web: httpx.AsyncClient, kafka: AIOKafkaProducer, issuer: Issuer
) -> None:
    cycle = Cycle()
    await send(kafka, cycle.events)
    await logged(running, cycle.label, len(cycle.events) + 1)
    assert (await web.get("/v1/feed")).status_code == 401
    for role in ("program-admin", "board", "applicant", "reviewer"):
        refused = await web.get("/v1/feed", headers={"Authorization": f"Bearer {issuer.token(role, 'x')}"})
        assert (refused.status_code, refused.json()["type"]) == (403, "urn:cec:problem:role-required")
    _, last = await fed(web, issuer.token("auditor", "curious"), limit=3)
    await fed(web, issuer.token("auditor", "curious"), after=2**62)
    rows = await running.database.pool.fetch("select subject, what, log, size from private.read_log")
    assert [tuple(row) for row in rows] == [("curious", "feed", "*", last)]


async def test_what_was_erased_is_in_no_feed_and_its_digest_stays(
    running: Service, web: httpx.AsyncClient, kafka: AIOKafkaProducer, issuer: Issuer
) -> None:
    cycle = Cycle()
    await send(kafka, cycle.events)
    await logged(running, cycle.label, len(cycle.events) + 1)
    await running.database.pool.execute("delete from private.disclosure where block = 'contact'")
    (told,) = [event for event in cycle.of(ApplicationSubmitted) if event.header.subject == cycle.winner]
    feed_has = {envelope.id: envelope for envelope in map(parse, await whole_feed(web, issuer.token("auditor", "a")))}
    found = read(feed_has[told.header.id])
    assert isinstance(found, ApplicationSubmitted)
    assert found.contact is None
    assert found.identity is not None
    assert feed_has[told.header.id].data["sealed"] == parse(told.leaf).data["sealed"]
