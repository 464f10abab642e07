"""Screening on the real parts: verdicts, questions with their answers, the end, and who is reviewed then."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from typing import Any

import httpx
import orjson
import pytest
from aiokafka import AIOKafkaProducer

from schemas.applications import ApplicationSubmitted, Claims, Contact, Identity
from schemas.charter import charter_digest
from schemas.cycles import CycleClosed, CycleOpened
from schemas.envelope import rfc3339
from schemas.exact import SetDigest
from schemas.screening import ApplicationScreened, CycleScreened, Screening
from schemas.topics import EVENT_TOPICS
from services.chassis.ids import opaque_id
from services.chassis.issuer import Issuer
from services.chassis.service import Runtime
from services.chassis.settings import Settings
from services.intake.settings import IntakeSettings
from services.scoring.app import service as scoring_service
from services.scoring.settings import ScoringSettings
from tests.given import eventually, publish, written
from tests.intake import Intake, Person, refused, started
from tests.screened import SCREENED, UNSCREENED

RuntimeMaker = Callable[[type[Settings]], Runtime]


@pytest.fixture
async def intake(runtime: RuntimeMaker, issuer: Issuer) -> AsyncIterator[Intake]:
    async with started(runtime(IntakeSettings), issuer) as running:
        yield running


@pytest.fixture
async def scoring(runtime: RuntimeMaker) -> AsyncIterator[httpx.AsyncClient]:
    svc = scoring_service(runtime(ScoringSettings))
    await svc.start()
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app=svc.app), base_url="http://test") as client:
        yield client
    await svc.stop()


NO = {"verdict": "ineligible", "ground": "not-eligible", "text": "It is a museum."}
ASK = {"verdict": "sent-back", "text": "Which year is the figure of?"}


async def closed(intake: Intake, count: int) -> tuple[str, list[tuple[Person, str]]]:
    """A closed cycle with so many applications, each with its lead."""
    cycle = await intake.cycle()
    entered = [await intake.submitted(cycle, name=f"Town {number}") for number in range(count)]
    await intake.admin.made(f"/cycles/{cycle}/close")
    return cycle, entered


def name_of(path: str) -> str:
    return path.rpartition("/")[2]


async def test_what_stands_is_listed_with_its_stage_and_unconfirmed_governments_are_marked(intake: Intake) -> None:
    cycle = await intake.cycle()
    lead, path = await intake.submitted(cycle)
    gone, withdrawn = await intake.submitted(cycle, name="Shelbyville")
    await gone.made(f"{withdrawn}/withdraw")
    assert (await intake.admin.got(f"/cycles/{cycle}/screening"))["applications"] == []
    await intake.admin.made(f"/cycles/{cycle}/close")
    listed = await intake.admin.got(f"/cycles/{cycle}/screening")
    assert listed["grounds"].keys() == {"not-eligible", "not-authorised", "second-application"}
    (one,) = listed["applications"]
    assert (one["application"], one["name"]) == (name_of(path), "Springfield")
    assert (one["stage"], one["confirmed"]) == ("unscreened", False)
    await intake.admin("POST", f"/governments/{one['government']}/confirm", If_Match="*")
    (one,) = (await intake.auditor.got(f"/cycles/{cycle}/screening"))["applications"]
    assert one["confirmed"]
    refused(await lead("GET", f"/cycles/{cycle}/screening"), 403, "role-required")


async def test_a_verdict_needs_the_role_a_ground_and_a_close(intake: Intake) -> None:
    cycle = await intake.cycle()
    lead, path = await intake.submitted(cycle)
    refused(await intake.admin("POST", f"{path}/screening", NO), 409, "not-closed")
    await intake.admin.made(f"/cycles/{cycle}/close")
    refused(await lead("POST", f"{path}/screening", NO), 403, "role-required")
    refused(await intake.auditor("POST", f"{path}/screening", NO), 403, "role-required")
    refused(await intake.admin("POST", f"{path}/screening", {**NO, "ground": "dislike"}), 422, "unknown-ground")
    refused(await intake.admin("POST", "/applications/none/screening", NO), 404, "not-found")
    refused(await intake.admin("POST", f"{path}/screening", {**NO, "verdict": "perhaps"}), 422, "invalid-request")


async def test_an_ineligible_applicant_reads_why_and_no_stranger_does(intake: Intake) -> None:
    _, ((lead, path),) = await closed(intake, 1)
    await intake.admin.made(f"{path}/screening", NO)
    told = await lead.got(f"{path}/screening")
    assert (told["stage"], told["statements"][0]["text"]) == ("ineligible", NO["text"])
    refused(await intake.person("applicant")("GET", f"{path}/screening"), 404, "not-found")
    *_, (kind, leaf) = await intake.events(name_of(path))
    assert (kind, leaf["data"]["verdict"]) == ("intake.application.screened.v1", "ineligible")
    assert "museum" not in orjson.dumps(leaf).decode()


async def test_a_question_is_answered_once_and_the_version_stays_as_it_was(intake: Intake) -> None:
    _, ((lead, path),) = await closed(intake, 1)
    before = await lead.got(f"{path}/versions/1")
    refused(await lead("POST", f"{path}/clarification", {"text": "2025"}), 409, "no-question")
    asked = await intake.admin.made(f"{path}/screening", ASK)
    assert asked["stage"] == "asked"
    refused(await intake.admin("POST", f"{path}/screening", {"verdict": "eligible"}), 409, "question-open")
    refused(await intake.person("applicant")("POST", f"{path}/clarification", {"text": "?"}), 404, "not-found")
    refused(await lead("POST", f"{path}/clarification", {"text": " \n"}), 422, "invalid-request")
    answer = "Of 2025: \u05e9\u05dc\u05d5\u05dd e\u0301"
    told = await lead.made(f"{path}/clarification", {"text": answer})
    assert [one["text"] for one in told["statements"]] == [ASK["text"], answer]
    refused(await lead("POST", f"{path}/clarification", {"text": "again"}), 409, "answered")
    assert await lead.got(f"{path}/versions/1") == before
    _, (_, question), (kind, leaf) = await intake.events(name_of(path))
    assert (kind, leaf["causationid"]) == ("intake.application.clarified.v1", question["id"])
    assert leaf["data"]["question"] == question["id"]


async def test_a_question_that_nobody_answered_in_time_is_flagged_and_can_be_decided_on(intake: Intake) -> None:
    cycle, ((lead, path),) = await closed(intake, 1)
    due = intake.clock.now() + timedelta(days=2)
    await intake.admin.made(f"{path}/screening", {**ASK, "due": rfc3339(due)})
    intake.clock.shift(timedelta(days=2, minutes=1))
    (one,) = (await intake.admin.got(f"/cycles/{cycle}/screening"))["applications"]
    assert (one["stage"], one["due"]) == ("overdue", rfc3339(due))
    refused(await lead("POST", f"{path}/clarification", {"text": "late"}), 409, "due-passed")
    assert (await intake.admin.made(f"{path}/screening", {"verdict": "eligible"}))["stage"] == "eligible"


async def test_the_end_states_what_is_eligible_and_nothing_changes_after_it(intake: Intake) -> None:
    cycle, ((lead, one), (_, two), (_, three)) = await closed(intake, 3)
    finish = f"/cycles/{cycle}/screening/finish"
    refused(await intake.admin("POST", finish, {}), 409, "unscreened")
    await intake.admin.made(f"{one}/screening", NO)
    await intake.admin.made(f"{two}/screening", NO)
    await intake.admin.made(f"{two}/screening", {"verdict": "eligible"})  # the last one stands
    refused(await lead("POST", finish, {"rest_eligible": True}), 403, "role-required")
    ended = await intake.admin.made(finish, {"rest_eligible": True})
    assert ended["finished"]
    assert {row["application"]: row["stage"] for row in ended["applications"]} == {
        name_of(one): "ineligible",
        name_of(two): "eligible",
        name_of(three): "eligible",
    }
    submitted = [(await intake.events(name_of(path)))[0][1]["id"] for path in (two, three)]
    *_, (kind, leaf) = await intake.events(cycle)
    assert (kind, leaf["data"]["eligible"]) == ("intake.cycle.screened.v1", SetDigest.of(submitted).model_dump())
    refused(await intake.admin("POST", finish, {"rest_eligible": True}), 409, "screened")
    refused(await intake.admin("POST", f"{one}/screening", {"verdict": "eligible"}), 409, "screened")


async def test_without_a_screening_in_the_charter_there_is_none(intake: Intake) -> None:
    cycle = await intake.cycle(UNSCREENED)
    _, path = await intake.submitted(cycle)
    await intake.admin.made(f"/cycles/{cycle}/close")
    refused(await intake.admin("POST", f"{path}/screening", NO), 409, "no-screening")
    refused(await intake.admin("POST", f"/cycles/{cycle}/screening/finish", {}), 409, "no-screening")


async def test_reviewers_are_assigned_after_the_screening_to_what_is_eligible_and_read_question_and_answer(
    intake: Intake, scoring: httpx.AsyncClient
) -> None:
    cycle, ((_, no), (lead, yes)) = await closed(intake, 2)
    admin = {"Authorization": f"Bearer {intake.issuer.token('program-admin', 'admin-1')}"}

    async def progress() -> dict[str, Any]:
        found: dict[str, Any] = (await scoring.get(f"/v1/cycles/{cycle}", headers=admin)).json()
        return found

    async def until(state: str) -> None:
        async def holds() -> bool:
            return (await progress()).get("state") == state

        await eventually(holds)

    await until("waiting-for-screening")
    for number in range(3):
        body = {"subject": f"r-{cycle}-{number}", "name": "R", "states": ["Utah"]}
        assert (await scoring.post(f"/v1/cycles/{cycle}/reviewers", json=body, headers=admin)).status_code == 201
    assert (await progress())["state"] == "waiting-for-screening"
    await intake.admin.made(f"{no}/screening", NO)
    await intake.admin.made(f"{yes}/screening", ASK)
    await lead.made(f"{yes}/clarification", {"text": "Of 2025."})
    await intake.admin.made(f"{yes}/screening", {"verdict": "eligible"})
    await intake.admin.made(f"/cycles/{cycle}/screening/finish", {})
    await until("assigned")
    found = await progress()
    assert (found["submitted"], found["assigned"]) == (1, 3)
    reviewer = {"Authorization": f"Bearer {intake.issuer.token('reviewer', f'r-{cycle}-0')}"}
    listed = (await scoring.get("/v1/me/assignments", params={"cycle": cycle}, headers=reviewer)).json()
    assert [one["application"] for one in listed] == [name_of(yes)]
    read = (await scoring.get(f"/v1/reviews/{listed[0]['review']}", headers=reviewer)).json()
    (question,) = read["questions"]
    assert (question["text"], question["answer"]) == (ASK["text"], "Of 2025.")
    assert datetime.fromisoformat(question["due"]) > intake.clock.now()


async def test_the_last_to_screen_and_the_end_at_once_leave_one_consistent_set(intake: Intake) -> None:
    cycle, ((_, one), (_, two)) = await closed(intake, 2)
    answers = await asyncio.gather(
        intake.admin("POST", f"/cycles/{cycle}/screening/finish", {"rest_eligible": True}),
        *(intake.admin("POST", f"{path}/screening", NO) for path in (one, two)),
    )
    assert answers[0].is_success
    *_, (_, leaf) = await intake.events(cycle)
    eligible = []
    for path in (one, two):
        (_, submitted), *verdicts = await intake.events(name_of(path))
        if verdicts[-1][1]["data"]["verdict"] == "eligible":
            eligible.append(submitted["id"])
    assert leaf["data"]["eligible"] == SetDigest.of(eligible).model_dump()


async def test_whatever_comes_first_nobody_is_assigned_before_exactly_what_is_eligible_is_here(
    scoring: httpx.AsyncClient, issuer: Issuer, kafka: AIOKafkaProducer
) -> None:
    cycle, seed = f"c-{opaque_id()}", bytes(32)
    admin = {"Authorization": f"Bearer {issuer.token('program-admin', 'admin-1')}"}
    events = {name: submitted(cycle, name) for name in (f"{letter}-{cycle}" for letter in "abc")}
    sent = {name: written(event, 1) for name, event in events.items()}
    a, b, c = sent
    opened = CycleOpened(
        cycle=cycle,
        program="p",
        charter=SCREENED,
        charter_sha256=charter_digest(SCREENED),
        deadline=datetime(2026, 11, 30, tzinfo=UTC),
        assignment_commitment=sha256(seed).hexdigest(),
    )
    every = SetDigest.of(one.header.id for one in sent.values())
    await publish(kafka, opened, 1)
    await publish(kafka, CycleClosed(cycle=cycle, submitted=every, assignment_seed=seed.hex(), closed_by="hand"), 2)
    eligible = SetDigest.of(sent[name].header.id for name in (a, c))
    await publish(kafka, CycleScreened(cycle=cycle, eligible=eligible), 3)

    async def state() -> str:
        return str((await scoring.get(f"/v1/cycles/{cycle}", headers=admin)).json().get("state"))

    async def until(wanted: str) -> None:
        async def holds() -> bool:
            return await state() == wanted

        await eventually(holds)

    await until("waiting-for-applications")
    for number in range(3):
        body = {"subject": f"r-{cycle}-{number}", "name": "R", "states": ["Utah"]}
        assert (await scoring.post(f"/v1/cycles/{cycle}/reviewers", json=body, headers=admin)).status_code == 201

    async def enter(*names: str) -> None:
        for name in names:
            await kafka.send_and_wait(EVENT_TOPICS["intake"].name, sent[name].record, key=name.encode())
        await asyncio.sleep(0.5)

    await enter(a, b)
    await publish(kafka, verdict(cycle, b, sent[b].header.id, "ineligible"), 2)
    assert await state() == "waiting-for-applications"
    await enter(c)
    await until("assigned")
    # What is told late of one that was found eligible in the end takes nothing away from its reviewers.
    for sequence, said in ((2, "ineligible"), (3, "eligible")):
        await publish(kafka, verdict(cycle, a, sent[a].header.id, said), sequence)
    await asyncio.sleep(0.5)
    reviewer = {"Authorization": f"Bearer {issuer.token('reviewer', f'r-{cycle}-0')}"}
    listed = (await scoring.get("/v1/me/assignments", params={"cycle": cycle}, headers=reviewer)).json()
    assert {one["application"] for one in listed} == {a, c}
    found = (await scoring.get(f"/v1/cycles/{cycle}", headers=admin)).json()
    assert (found["submitted"], found["assigned"]) == (2, 6)


def submitted(cycle: str, name: str) -> ApplicationSubmitted:
    return ApplicationSubmitted(
        cycle=cycle,
        application=name,
        version=1,
        identity=Identity(
            government=f"g-{name}",
            name="Town",
            state="Ohio",
            kind="city",
            population=9_000,
            population_source="census",
            website="https://town.example",
            tier="t1",
        ),
        claims=Claims(facts={}, assumed=[], metrics=[]),
        answers={},
        contact=Contact(official="o", title="t", email="o@town.example"),
    )


def verdict(cycle: str, name: str, version: str, said: Any) -> ApplicationScreened:
    return ApplicationScreened(
        cycle=cycle, application=name, submitted=version, verdict=said, private=Screening(text="because")
    )
