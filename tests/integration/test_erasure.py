"""Erasure on the real parts, place by place: what is kept, what waits, what is poison, what comes later; and Kafka."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from pathlib import Path
from typing import Any

import httpx
import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from deploy.embedded import Stack
from schemas.applications import Answer, ApplicationSubmitted, Claims, Contact, Identity
from schemas.charter import charter_digest
from schemas.cycles import CycleOpened
from schemas.envelope import Written, digest, leaf_of, parse, record_of
from schemas.erasures import DisclosureErased, Excused
from schemas.topics import EVENT_TOPICS
from services.awards.app import service as awards
from services.awards.settings import AwardsSettings
from services.chassis.ids import opaque_id
from services.chassis.issuer import Issuer
from services.chassis.receipts import Forgotten, read
from services.chassis.service import Runtime, Service
from services.chassis.settings import Settings
from services.intake.applications.receipts import public_keys
from services.intake.settings import IntakeSettings
from services.ledger.app import service as ledger
from services.ledger.settings import LedgerSettings
from services.notifications.app import service as notifications
from services.notifications.settings import NotificationsSettings
from services.scoring.app import service as scoring
from services.scoring.settings import ScoringSettings
from tests.given import eventually, written
from tests.intake import Intake, running
from tests.screened import UNSCREENED
from tests.traces import marked, traces

RuntimeMaker = Callable[[type[Settings]], Runtime]
INTAKE = EVENT_TOPICS["intake"].name
EVERY = pytest.mark.parametrize("service", ["scoring", "awards", "notifications", "ledger"], indirect=True)
BOTH = pytest.mark.parametrize("service", ["scoring", "ledger"], indirect=True)
"""The two ways in which records come in."""
ONE = pytest.mark.parametrize("service", ["scoring"], indirect=True)
LEDGER = pytest.mark.parametrize("service", ["ledger"], indirect=True)
MAKERS: dict[str, tuple[Callable[[Runtime], Service], type[Settings]]] = {
    "scoring": (scoring, ScoringSettings),
    "awards": (awards, AwardsSettings),
    "notifications": (notifications, NotificationsSettings),
    "ledger": (ledger, LedgerSettings),
}


class Told:
    """The events of a cycle with an application that names somebody, and of the erasure of who it names."""

    def __init__(self) -> None:
        cycle, self.application = f"c-{opaque_id()}", opaque_id()
        # Of its own: other tests' records lie on the same topics.
        self.name = f"Zelda Quorvex{opaque_id()[:8]}"
        opened = CycleOpened(
            cycle=cycle,
            program="p",
            charter=UNSCREENED,
            charter_sha256=charter_digest(UNSCREENED),
            deadline=datetime.now(UTC) + timedelta(days=1),
            assignment_commitment=sha256(bytes(32)).hexdigest(),
        )
        identity = Identity(
            government="g",
            name="Town",
            state="Utah",
            kind="city",
            population=9,
            population_source="census",
            website="https://town.example",
            tier="",
        )
        submitted = ApplicationSubmitted(
            cycle=cycle,
            application=self.application,
            version=1,
            identity=identity,
            claims=Claims(facts={}, assumed=[], metrics=[]),
            answers={"a": Answer(statement="fine"), "b": Answer(not_applicable=f"{self.name} says so")},
            contact=Contact(official=self.name, title="", email="z@town.example"),
        )
        self.opened = written(opened, 1)
        self.submitted = written(submitted, 1, cause=self.opened.header.id)
        openings = leaf_of(self.submitted.record)[1]
        gone = {name: digest(openings[name]) for name in ("answers/b", "contact")}
        self.erasure = DisclosureErased(
            cycle=cycle,
            about=self.application,
            event=self.submitted.header.id,
            digests=gone,
            claims=Excused(not_applicable=["b"]),
        )
        self.erased = written(self.erasure, 2, cause=self.submitted.header.id)

    @property
    def markers(self) -> list[str]:
        return [self.name.casefold()]

    async def left(self, service: Service) -> Counter[str]:
        """Where the name still is."""
        return await traces(service, self.markers)

    async def here(self, service: Service) -> bool:
        return bool(await self.left(service))


@pytest.fixture
async def service(request: pytest.FixtureRequest, runtime: RuntimeMaker, tmp_path: Path) -> AsyncIterator[Service]:
    make, settings = MAKERS[request.param]
    here = runtime(settings)
    here.settings.__dict__["var"] = tmp_path
    running = make(here)
    await running.start()
    yield running
    await running.stop()


async def send(kafka: AIOKafkaProducer, *events: Written) -> None:
    for event in events:
        await kafka.send_and_wait(INTAKE, event.record, key=event.header.subject.encode())


async def taken(service: Service, event: Written) -> bool:
    """Whether the event's turn has come."""
    if service.name == "ledger":
        return bool(
            await service.database.pool.fetchval("select true from ledger.entry where id = $1", event.header.id)
        )
    query = "select sequence from chassis.mark where source = $1 and subject = $2"
    mark = await service.database.pool.fetchval(query, event.header.source, event.header.subject)
    return (mark or 0) >= event.header.sequence


async def arrived(service: Service, event: Written) -> bool:
    """Whether an event that must wait is here."""
    table = "private.held" if service.name == "ledger" else "chassis.parked"
    query = f"select true from {table} where subject = $1 and sequence = $2"  # noqa: S608  (one of two names)
    return bool(await service.database.pool.fetchval(query, event.header.subject, event.header.sequence))


async def remembered(service: Service, event: Written) -> bool:
    gone = list(parse(event.record).data["digests"].values())
    found = await service.database.pool.fetchval("select count(*) from chassis.erased where digest = any($1)", gone)
    return bool(found == len(gone))


@EVERY
async def test_a_service_drops_what_it_kept(service: Service, kafka: AIOKafkaProducer) -> None:
    told = Told()
    await send(kafka, told.opened, told.submitted)
    await eventually(lambda: taken(service, told.submitted))
    await send(kafka, told.erased)
    await eventually(lambda: taken(service, told.erased))
    assert not await told.left(service)


@BOTH
async def test_an_erasure_that_comes_first_is_remembered(service: Service, kafka: AIOKafkaProducer) -> None:
    told = Told()
    await send(kafka, told.erased)
    await eventually(lambda: remembered(service, told.erased))
    await send(kafka, told.opened, told.submitted)
    await eventually(lambda: taken(service, told.erased))
    assert not await told.left(service)
    await send(kafka, told.submitted)
    later = Told()
    await send(kafka, later.opened)
    await eventually(lambda: taken(service, later.opened))
    assert not await told.left(service)


@BOTH
async def test_what_waits_is_emptied_before_its_turn(service: Service, kafka: AIOKafkaProducer) -> None:
    told = Told()
    ahead = written(
        DisclosureErased(about=told.application, event="e", digests={}, claims=Excused(not_applicable=[])), 3
    )
    await send(kafka, ahead)
    await eventually(lambda: arrived(service, ahead))
    late = record_at(told.submitted, 4)
    await kafka.send_and_wait(INTAKE, late, key=told.application.encode())
    await eventually(lambda: told.here(service))
    await send(kafka, told.erased)
    await eventually(lambda: remembered(service, told.erased))
    assert not await told.left(service)


def record_at(event: Written, sequence: int) -> bytes:
    """The same openings in an event of another sequence and id, which waits for those before it."""
    leaf, openings = leaf_of(event.record)
    changed = leaf.replace(b'"sequence":1', b'"sequence":%d' % sequence)
    return record_of(changed, openings)


@BOTH
async def test_poison_loses_what_is_erased(service: Service, kafka: AIOKafkaProducer) -> None:
    told = Told()
    await kafka.send_and_wait(INTAKE, told.submitted.record[:-3], key=told.application.encode())
    await eventually(lambda: told.here(service))
    await send(kafka, told.erased)
    await eventually(lambda: remembered(service, told.erased))
    assert not [name for name in await told.left(service) if "outbox" not in name]


@BOTH
async def test_what_fails_is_set_aside_without_what_was_erased(service: Service, kafka: AIOKafkaProducer) -> None:
    told = Told()
    await send(kafka, told.erased)
    await eventually(lambda: remembered(service, told.erased))
    key = told.application.encode()
    await kafka.send_and_wait(INTAKE, told.submitted.record[:-3], key=key)
    await kafka.send_and_wait(INTAKE, told.submitted.record, key=b"another")

    async def aside() -> bool:
        kept = "select count(*) from chassis.parked where kind = 'poison' and record_key = any($1)"
        return bool(await service.database.pool.fetchval(kept, [key, b"another"]) >= 2)

    await eventually(aside)
    assert not await told.left(service)


@LEDGER
async def test_an_erasure_with_another_digest_than_the_leafs_takes_nothing(
    service: Service, kafka: AIOKafkaProducer
) -> None:
    told = Told()
    forged = DisclosureErased(
        about=told.application,
        event=told.submitted.header.id,
        digests={"contact": digest("another"), "answers/b": digest(leaf_of(told.submitted.record)[1]["answers/b"])},
        claims=Excused(not_applicable=[]),
    )
    erased = written(forged, 2, cause=told.submitted.header.id)
    await send(kafka, told.opened, told.submitted)
    await eventually(lambda: taken(service, told.submitted))
    await send(kafka, erased)
    await eventually(lambda: taken(service, erased))
    query = "select block from private.disclosure join ledger.entry using (log, index) where id = $1 order by block"
    rows = await service.database.pool.fetch(query, told.submitted.header.id)
    assert [block for (block,) in rows] == ["answers/a", "claims", "contact", "identity"]
    # Other tests' services read all this, too, and would write to its official.
    await send(kafka, written(told.erasure, 3, cause=erased.header.id))


@ONE
async def test_an_erasure_that_fails_works_all_the_same(service: Service, kafka: AIOKafkaProducer) -> None:
    told = Told()
    await service.database.pool.execute(
        "create or replace function refuse() returns trigger language plpgsql as $$ begin raise 'no'; end $$;"
        "create trigger refuse before update on projection.application for each row execute function refuse()"
    )
    await send(kafka, told.opened, told.submitted)
    await eventually(lambda: taken(service, told.submitted))
    await send(kafka, told.erased)
    await eventually(lambda: remembered(service, told.erased))
    await service.database.pool.execute("drop trigger refuse on projection.application")


@BOTH
async def test_what_waits_goes_on_when_its_public_part_says_what_is_sought(
    service: Service, kafka: AIOKafkaProducer, issuer: Issuer
) -> None:
    told = Told()
    await send(kafka, told.submitted)
    await eventually(lambda: arrived(service, told.submitted))
    async with client(service, issuer) as admin:
        done = await admin.post("/erasures", json={"texts": [told.name, told.application, "Utah"]})
        assert done.status_code == 200
    await send(kafka, told.opened)
    await eventually(lambda: taken(service, told.submitted))
    if service.name == "scoring":
        query = "select identity->>'state' from projection.application where application = $1"
        assert await service.database.pool.fetchval(query, told.application) == "Utah"
        assert not await told.left(service)
    # Likewise.
    await send(kafka, told.erased)


def client(service: Service, issuer: Issuer, role: str = "program-admin") -> httpx.AsyncClient:
    headers = {"Authorization": f"Bearer {issuer.token(role, 'admin-1')}", "Idempotency-Key": opaque_id()}
    transport = httpx.ASGITransport(app=service.app)
    return httpx.AsyncClient(transport=transport, base_url="http://test", headers=headers)


@ONE
async def test_a_dry_run_says_what_would_go_and_leaves_it(
    service: Service, kafka: AIOKafkaProducer, issuer: Issuer
) -> None:
    told = Told()
    await kafka.send_and_wait(INTAKE, told.submitted.record[:-3], key=told.application.encode())
    await eventually(lambda: told.here(service))
    asked: dict[str, Any] = {"texts": [told.name], "dry_run": True}
    async with client(service, issuer) as admin:
        planned = (await admin.post("/erasures", json=asked)).json()
        assert planned["places"]["chassis.parked.record"] == 1
        assert await told.left(service)
    async with client(service, issuer) as admin:
        done = (await admin.post("/erasures", json={**asked, "dry_run": False})).json()
    assert {**done, "dry_run": True} == planned
    assert not [name for name in await told.left(service) if "outbox" not in name]
    assert not marked(done, told.markers)


@ONE
async def test_only_the_program_erases(service: Service, issuer: Issuer) -> None:
    for role in ("applicant", "reviewer", "auditor", "board"):
        async with client(service, issuer, role) as other:
            assert (await other.post("/erasures", json={"texts": ["Zelda Quorvex"]})).status_code == 403


async def test_kafka_has_nothing_any_more_after_its_retention(stack: Stack, kafka: AIOKafkaProducer) -> None:
    name, told = f"short-{opaque_id()}", Told()
    config = EVENT_TOPICS["intake"].config | {"retention.ms": "1000", "segment.ms": "1000", "file.delete.delay.ms": "0"}
    admin = AIOKafkaAdminClient(bootstrap_servers=stack.kafka_bootstrap)
    await admin.start()
    try:
        await admin.create_topics([NewTopic(name, 1, 1, topic_configs=config)])
        await kafka.send_and_wait(name, told.submitted.record)
        consumer = AIOKafkaConsumer(bootstrap_servers=stack.kafka_bootstrap, auto_offset_reset="earliest")
        await consumer.start()
        try:
            place = TopicPartition(name, 0)
            consumer.assign([place])
            assert marked((await consumer.getone()).value, told.markers)

            async def gone() -> bool:
                first = (await consumer.beginning_offsets([place]))[place]
                return bool(
                    first == (await consumer.end_offsets([place]))[place] == 1 and not on_disk(stack, name, told)
                )

            await eventually(gone, 25)
            await consumer.seek_to_beginning(place)
            assert not (await consumer.getmany(timeout_ms=300))
        finally:
            await consumer.stop()
    finally:
        await admin.delete_topics([name])
        await admin.close()


def on_disk(stack: Stack, topic: str, told: Told) -> bool:
    """Whether a file of the broker's still holds it, where the broker is ours."""
    if stack.kafka is None:
        return False
    return any(
        marked(path.read_bytes(), told.markers)
        for path in (stack.kafka.folder / "data").glob(f"{topic}-0*/*")
        if path.is_file()
    )


# --- intake ----------------------------------------------------------------------------------------------------------


@pytest.fixture
async def intake(runtime: RuntimeMaker, issuer: Issuer) -> AsyncIterator[Intake]:
    async with running(runtime(IntakeSettings), issuer, Intake) as made:
        yield made


async def test_the_program_finds_a_person_and_a_repeated_key_tells_no_name(intake: Intake) -> None:
    lead = intake.person(subject="zelda")
    await lead.done("PUT", "/me", {"name": "Zelda Quorvex", "email": "zelda@town.example"})
    person = (await lead.got("/me"))["person"]
    for asked in (person, "ZELDA@town.example", "zelda"):
        (found,) = (await intake.admin.made("/people/find", {"person": asked}))["people"]
        assert (found["person"], found["name"], found["subject"]) == (person, "Zelda Quorvex", "zelda")
    assert (await intake.admin.made("/people/find", {"person": "somebody"}))["people"] == []
    key = opaque_id()
    for name in ("Zelda Quorvex", ""):
        answer = await intake.admin.done("POST", "/people/find", {"person": person}, Idempotency_Key=key)
        assert [(one["person"], one["name"]) for one in answer["people"]] == [(person, name)]
    for other in (lead, intake.auditor, intake.person("board")):
        assert (await other("POST", "/people/find", {"person": person})).status_code == 403


async def test_who_is_erased_acts_for_nobody_and_comes_back_as_somebody_else(intake: Intake) -> None:
    lead = intake.person(subject="zelda")
    await lead.done("PUT", "/me", {"name": "Zelda Quorvex", "email": "zelda@town.example"})
    government, person = await intake.government(lead), (await lead.got("/me"))["person"]
    await intake.cycle()
    account = {"issuer": (await lead.got("/me"))["issuer"], "subject": "zelda"}
    async with client(intake.service, intake.issuer) as admin:
        asked = {"account": account, "texts": ["Zelda Quorvex", "zelda@town.example"]}
        planned = (await admin.post("/erasures", json={**asked, "dry_run": True})).json()
        assert planned["places"]["private.person"] == 1
        assert len(await intake.events(government)) == 1
    async with client(intake.service, intake.issuer) as admin:
        done = (await admin.post("/erasures", json=asked)).json()
    stated = read(done["receipt"], public_keys(intake.service.settings))
    assert isinstance(stated, Forgotten)
    assert (stated.rows, stated.digests) == (done["places"], [])
    assert [name for name, _ in await intake.events(government)][-1] == "intake.member.left.v1"
    assert (await lead("GET", f"/governments/{government}")).status_code == 404
    me = await lead.got("/me")
    assert (me["name"], me["email"], me["memberships"]) == ("", "", [])
    assert me["person"] != person
    assert not await traces(intake.service, ["quorvex", "zelda"])


async def test_an_account_that_is_spelled_like_a_text_stays_somebodys(intake: Intake) -> None:
    other = intake.person(subject="quorvex")
    await other.done("PUT", "/me", {"name": "Other", "email": "other@town.example"})
    async with client(intake.service, intake.issuer) as admin:
        assert (await admin.post("/erasures", json={"texts": ["Quorvex"]})).status_code == 200
    assert (await other.got("/me"))["name"] == "Other"


async def test_a_version_goes_on_without_what_was_erased(intake: Intake) -> None:
    cycle = await intake.cycle()
    lead, path = await intake.drafted(cycle)
    await lead.saved(path, {"contact": {"official": "Zelda Quorvex", "email": "zelda@town.example"}})
    told = await lead.made(f"{path}/submit", {"attest": True})
    application = path.rpartition("/")[2]
    ((_, leaf),) = await intake.events(application)
    block = {"cycle": cycle, "about": application, "event": leaf["id"], "block": "contact"}
    block["digest"] = leaf["data"]["sealed"]["contact"]
    asked = {"texts": ["Zelda Quorvex", "zelda@town.example"], "blocks": [block]}
    async with client(intake.service, intake.issuer) as admin:
        done = await admin.post("/erasures", json=asked)
        assert done.status_code == 200, done.text
    async with client(intake.service, intake.issuer) as admin:
        refused = await admin.post("/erasures", json={"blocks": [{**block, "block": "identity"}]})
        assert refused.status_code == 422
        assert "government's own record" in refused.json()["detail"]
    shown = await lead.got(f"{path}/versions/1")
    assert shown["erased"] == ["contact"]
    assert (shown["contact"]["official"], shown["leaf_hash"]) == ("", told["leaf_hash"])
    assert (await lead("GET", f"{path}/versions/1.pdf")).status_code == 200
    (_, (name, erasure)) = await intake.events(application)
    assert (name, erasure["causationid"]) == ("intake.disclosure.erased.v1", leaf["id"])
    assert not await traces(intake.service, ["quorvex", "zelda@"])
