"""Intake on the real parts: from the charter to the exact set at the close, with who comes late, twice or uninvited."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import datetime, timedelta
from hashlib import sha256
from typing import Any

import httpx
import orjson
import pytest
from aiokafka import AIOKafkaConsumer

from schemas.applications import ApplicationSubmitted
from schemas.charter import charter_digest
from schemas.cycles import CycleOpened, MemberJoined
from schemas.envelope import Envelope, leaf_of, parse, read, rfc3339
from schemas.exact import SetDigest
from schemas.topics import EVENT_TOPICS
from services.chassis.ids import opaque_id
from services.chassis.issuer import Issuer
from services.chassis.service import Runtime
from services.chassis.settings import Settings
from services.chassis.web import Frontier
from services.intake.cycles.domain import parsed
from services.intake.settings import IntakeSettings
from tests import intake as shared
from tests.applicants import SHIPPED, complete_draft
from tests.intake import PROFILE, Person, refused, running

RuntimeMaker = Callable[[type[Settings]], Runtime]

CHARTER = parsed(SHIPPED)
DRAFT = complete_draft(CHARTER, "city")


class Intake(shared.Intake):
    """The service under test and those who use it."""

    def applicant(self, subject: str = "") -> Person:
        return self.person("applicant", subject)

    async def cycle(self, charter: str = SHIPPED, **delta: float) -> str:
        return await super().cycle(charter, **delta)

    async def draft(self, cycle: str, lead: Person, government: str = "") -> str:
        """Start an application and fill it in."""
        government = government or await self.government(lead)
        started = await lead("POST", f"/cycles/{cycle}/applications", {"government": government})
        assert started.status_code == 201, started.text
        application = str(started.json()["application"])
        answer = await lead("PATCH", f"/applications/{application}", DRAFT, If_Match=started.headers["etag"])
        assert answer.status_code == 200, answer.text
        return application

    async def closed(self, cycle: str) -> dict[str, Any]:
        """The public data of the cycle's close, which must be there once."""
        (leaf,) = [leaf for kind, leaf in await self.events(cycle) if kind == "intake.cycle.closed.v1"]
        data: dict[str, Any] = leaf["data"]
        return data


@pytest.fixture
async def intake(runtime: RuntimeMaker, issuer: Issuer) -> AsyncIterator[Intake]:
    async with running(runtime(IntakeSettings), issuer, Intake) as made:
        yield made


async def on_topic(bootstrap: str, subject: str, wanted: int) -> list[Envelope]:
    """The first `wanted` records about `subject` on intake's topic."""
    consumer = AIOKafkaConsumer(EVENT_TOPICS["intake"].name, bootstrap_servers=bootstrap, auto_offset_reset="earliest")
    await consumer.start()
    found: list[Envelope] = []
    try:
        async with asyncio.timeout(10):
            while len(found) < wanted:
                record = await consumer.getone()
                if record.key == subject.encode():
                    leaf_of(record.value)  # every opening fits its digest
                    found.append(parse(record.value))
    finally:
        await consumer.stop()
    return found


# --- cycles --------------------------------------------------------------------------------------------------------


async def test_a_cycle_opens_under_its_charter_and_keeps_its_seed_to_itself(intake: Intake) -> None:
    label = f"c-{opaque_id()}"
    body = {"label": label, "charter": SHIPPED, "deadline": "2099-05-01T17:00:00.1239-04:00", "demonstration": True}
    made = await intake.admin("POST", "/cycles", body)
    assert made.status_code == 201
    (kind, leaf), *_ = await intake.events(label)
    commitment = made.json()["assignment_commitment"]
    assert made.json() == {
        "cycle": label,
        "label": label,
        "program": "Citizen-Engaged Communities",
        "charter_sha256": charter_digest(SHIPPED),
        "deadline": "2099-05-01T21:00:00.123Z",
        "time_zone": "UTC",
        "deadline_local": "2099-05-01T21:00:00.123+00:00",
        "now": made.json()["now"],
        "state": "open",
        "assignment_commitment": commitment,
        "demonstration": True,
    }
    assert kind == CycleOpened.TYPE
    assert leaf["data"]["charter"] == SHIPPED
    assert leaf["data"]["assignment_commitment"] == commitment
    assert leaf["actor"] not in {"", "admin-1"}
    charter = await intake.client.get(f"/v1/cycles/{label}/charter")
    assert (charter.text, charter.headers["content-type"]) == (SHIPPED, "text/plain; charset=utf-8")
    seed = await intake.service.database.pool.fetchval("select seed from private.seed where cycle = $1", label)
    assert sha256(seed).hexdigest() == commitment
    assert seed.hex() not in (await intake.client.get("/v1/cycles")).text


async def test_only_the_program_sees_how_many_applied(intake: Intake) -> None:
    cycle, lead = await intake.cycle(), intake.applicant()
    await lead.made(f"/applications/{await intake.draft(cycle, lead)}/submit", {"attest": True})
    for person in (intake.admin, intake.person("auditor", "auditor-1")):
        assert (await person("GET", f"/cycles/{cycle}")).json()["submitted"] == 1
        assert {one["cycle"]: one["submitted"] for one in (await person("GET", "/cycles")).json()}[cycle] == 1
    assert "submitted" not in (await lead("GET", f"/cycles/{cycle}")).json()
    assert "submitted" not in (await intake.client.get(f"/v1/cycles/{cycle}")).json()


async def test_a_cycle_that_cannot_be_is_refused(intake: Intake) -> None:
    good = {"label": f"c-{opaque_id()}", "charter": SHIPPED, "deadline": "2099-05-01T17:00:00Z"}
    broken = SHIPPED.replace("weight = 25", "weight = 26", 1).replace('id = "t2"', 'id = "t1"')
    problem = refused(await intake.admin("POST", "/cycles", {**good, "charter": broken}), 422, "charter")
    assert [error["pointer"] for error in problem["errors"]] == ["/charter", "/charter"]
    for change, rule in (
        ({"charter": "form = "}, "charter"),
        ({"deadline": rfc3339(intake.clock.now())}, "deadline-not-future"),
        ({"deadline": "2099-05-01T17:00:00"}, "invalid-request"),
        ({"deadline": 4_000_000_000}, "invalid-request"),
        ({"deadline": "9999-12-31T23:59:59-23:00"}, "invalid-request"),
        ({"label": "program"}, "label"),
        ({"label": "../x"}, "label"),
        ({"label": "x" * 10_000}, "invalid-request"),
        ({"seats": 3}, "invalid-request"),
    ):
        refused(await intake.admin("POST", "/cycles", {**good, **change}), 422, rule)
    refused(await intake.applicant()("POST", "/cycles", good), 403, "role-required")
    await intake.admin.made("/cycles", good)
    refused(await intake.admin("POST", "/cycles", good), 409, "label-taken")
    refused(await intake.admin("GET", "/cycles/no-such-cycle"), 404, "not-found")


async def test_of_two_cycles_opened_at_once_under_one_label_one_is_there(intake: Intake) -> None:
    body = {"label": f"c-{opaque_id()}", "charter": SHIPPED, "deadline": "2099-05-01T17:00:00Z"}
    answers = await asyncio.gather(*(intake.admin("POST", "/cycles", body) for _ in range(3)))
    assert sorted(answer.status_code for answer in answers) == [201, 409, 409]
    assert len(await intake.events(str(body["label"]))) == 1


async def test_the_schedule_closes_a_cycle_at_its_last_deadline_and_reveals_the_seed(intake: Intake) -> None:
    cycle, lead = await intake.cycle(hours=2), intake.applicant()
    application = await intake.draft(cycle, lead)
    _, receipt = [await lead.made(f"/applications/{application}/submit", {"attest": True}) for _ in range(2)]
    later = {"deadline": rfc3339(intake.clock.now() + timedelta(hours=5)), "reason": "flood"}
    extended = await intake.admin.made(f"/cycles/{cycle}/extend", later)
    assert extended["deadline"] == later["deadline"]
    intake.clock.shift(timedelta(hours=3))
    await asyncio.sleep(0.6)
    assert (await intake.admin("GET", f"/cycles/{cycle}")).json()["state"] == "open"
    intake.clock.shift(timedelta(hours=6))
    await intake.until_closed(cycle)
    closed = await intake.closed(cycle)
    assert closed["closed_by"] == "schedule"
    assert closed["submitted"] == SetDigest.of([receipt["event"]]).model_dump()
    assert sha256(bytes.fromhex(closed["assignment_seed"])).hexdigest() == extended["assignment_commitment"]
    refused(await intake.admin("POST", f"/cycles/{cycle}/extend", later), 409, "deadline-passed")


async def test_an_earlier_deadline_is_no_extension(intake: Intake) -> None:
    cycle = await intake.cycle(hours=2)
    sooner = {"deadline": rfc3339(intake.clock.now() + timedelta(hours=1)), "reason": "haste"}
    refused(await intake.admin("POST", f"/cycles/{cycle}/extend", sooner), 422, "deadline-not-later")
    refused(await intake.applicant()("POST", f"/cycles/{cycle}/extend", sooner), 403, "role-required")


async def test_a_cycle_is_closed_by_hand_exactly_once(intake: Intake) -> None:
    cycle = await intake.cycle(hours=2)
    refused(await intake.applicant()("POST", f"/cycles/{cycle}/close"), 403, "role-required")
    answers = await asyncio.gather(*(intake.admin("POST", f"/cycles/{cycle}/close") for _ in range(3)))
    assert sorted(answer.status_code for answer in answers) == [200, 409, 409]
    intake.clock.shift(timedelta(hours=3))
    await asyncio.sleep(0.6)
    closed = await intake.closed(cycle)
    assert (closed["closed_by"], closed["submitted"]["count"]) == ("hand", 0)


# --- governments ----------------------------------------------------------------------------------------------------


async def test_who_registers_a_government_leads_it_under_an_opaque_id(intake: Intake) -> None:
    subject = opaque_id()
    lead = intake.applicant(subject)
    government = await intake.government(lead)
    (record,) = await on_topic(intake.service.runtime.kafka_bootstrap, government, 1)
    joined = read(record)
    assert isinstance(joined, MemberJoined)
    assert joined.private is not None
    assert (joined.role, joined.private.subject_claim, record.cycleid) == ("lead", subject, None)
    (leaf,) = [leaf for _, leaf in await intake.events(government)]
    assert subject not in orjson.dumps(leaf).decode()
    again = (await lead.made("/governments", {**PROFILE, "name": "Shelbyville"}))["person"]
    assert again == joined.person


async def test_members_come_and_go_and_act_as_their_role_allows(intake: Intake) -> None:
    cycle, lead, names = await intake.cycle(), intake.applicant(), [opaque_id() for _ in range(3)]
    editor, viewer, other_lead = map(intake.applicant, names)
    government = await intake.government(lead)
    application = await intake.draft(cycle, lead, government)
    people = f"/governments/{government}/members"
    refused(await editor("GET", f"/applications/{application}"), 404, "not-found")
    ids = [
        (await lead.made(people, {"subject": name, "role": role}))["person"]
        for name, role in zip(names, ("editor", "viewer", "lead"), strict=True)
    ]
    refused(await lead("POST", people, {"subject": names[0], "role": "lead"}), 409, "member-already")
    assert len((await viewer("GET", people)).json()) == 4
    assert (await viewer("GET", f"/governments/{government}")).json()["role"] == "viewer"
    etag = (await viewer("GET", f"/applications/{application}")).headers["etag"]
    assert (await editor("PATCH", f"/applications/{application}", {}, If_Match=etag)).status_code == 200
    refused(await viewer("PATCH", f"/applications/{application}", {}, If_Match="*"), 403, "role-required")
    refused(await editor("POST", f"/applications/{application}/submit", {"attest": True}), 403, "role-required")
    refused(await editor("POST", people, {"subject": "x", "role": "lead"}), 403, "role-required")
    assert (await lead("DELETE", f"{people}/{ids[0]}")).status_code == 204
    refused(await editor("GET", f"/applications/{application}"), 404, "not-found")
    refused(await lead("DELETE", f"{people}/{ids[0]}"), 404, "not-found")
    assert (await other_lead("POST", f"/applications/{application}/submit", {"attest": True})).status_code == 201
    assert [kind.split(".")[2] for kind, _ in await intake.events(government)] == ["joined"] * 4 + ["left"]


async def test_two_leads_who_remove_each_other_leave_one(intake: Intake) -> None:
    lead, name = intake.applicant(), opaque_id()
    government = await intake.government(lead)
    people = f"/governments/{government}/members"
    second = (await lead.made(people, {"subject": name, "role": "lead"}))["person"]
    first = (await lead("GET", f"/governments/{government}")).json()["person"]
    other = intake.applicant(name)
    answers = await asyncio.gather(lead("DELETE", f"{people}/{second}"), other("DELETE", f"{people}/{first}"))
    assert sorted(answer.status_code for answer in answers) == [204, 404]
    left = lead if answers[0].status_code == 204 else other
    remaining = (await left("GET", f"/governments/{government}")).json()["person"]
    refused(await left("DELETE", f"{people}/{remaining}"), 409, "last-lead")


async def test_a_token_for_one_government_reaches_no_other(intake: Intake) -> None:
    subject = opaque_id()
    lead = intake.applicant(subject)
    mine, other = await intake.government(lead), await intake.government(lead)
    narrow = intake.person("applicant", subject, government=mine)
    assert (await narrow("GET", f"/governments/{mine}")).status_code == 200
    refused(await narrow("GET", f"/governments/{other}"), 404, "not-found")
    refused(await narrow("POST", "/governments", PROFILE), 403, "one-government")


@pytest.mark.parametrize(
    "profile",
    [
        {"population": 0},
        {"population": "59403"},
        {"population": True},
        {"population": 2**53},
        {"website": "javascript:alert(1)"},
        {"name": " "},
        {"name": "Spring\nfield"},
        {"motto": "x"},
    ],
    ids=str,
)
async def test_a_profile_that_does_not_fit_is_refused_with_its_field(
    intake: Intake, profile: dict[str, object]
) -> None:
    problem = refused(await intake.applicant()("POST", "/governments", {**PROFILE, **profile}), 422, "invalid-request")
    assert [error["pointer"] for error in problem["errors"]] == [f"/{next(iter(profile))}"]


# --- drafts ---------------------------------------------------------------------------------------------------------


async def test_a_government_has_one_application_per_cycle(intake: Intake) -> None:
    cycle, lead = await intake.cycle(), intake.applicant()
    government = await intake.government(lead)
    body = {"government": government}
    path = f"/cycles/{cycle}/applications"
    answers = await asyncio.gather(*(lead("POST", path, body) for _ in range(3)))
    assert sorted(answer.status_code for answer in answers) == [201, 409, 409]
    (first,) = [answer for answer in answers if answer.is_success]
    for answer in answers:
        assert answer.headers["location"] == f"/intake/v1/applications/{first.json()['application']}"
    other = await lead("POST", f"/cycles/{await intake.cycle()}/applications", body)
    assert other.status_code == 201


async def test_what_the_charter_does_not_admit_cannot_start(intake: Intake) -> None:
    lead = intake.applicant()
    school = await intake.government(lead, kind="school-district")  # before there is a charter that does not list it
    path = f"/cycles/{await intake.cycle()}/applications"
    problem = refused(await lead("POST", path, {"government": school}), 422, "not-eligible")
    assert problem["errors"][0]["pointer"] == "/government"
    refused(await intake.applicant()("POST", path, {"government": school}), 404, "not-found")


async def test_another_governments_draft_is_not_found_by_anyone_else(intake: Intake) -> None:
    cycle, lead = await intake.cycle(), intake.applicant()
    application = await intake.draft(cycle, lead)
    rival = intake.applicant()
    await intake.draft(cycle, rival)
    strangers = [rival, *(intake.person(role, "x") for role in ("program-admin", "auditor", "board", "reviewer"))]
    for stranger in strangers:
        for method, path, body in (
            ("GET", "", None),
            ("PATCH", "", {"contact": {"email": "rival@rival.example"}}),
            ("POST", "/submit", {"attest": True}),
            ("POST", "/withdraw", None),
        ):
            answer = await stranger(method, f"/applications/{application}{path}", body, If_Match="*")
            assert refused(answer, 404, "not-found")["detail"] == "No such thing here."
    refused(await lead("GET", f"/applications/{opaque_id()}"), 404, "not-found")
    assert (await intake.client.get(f"/v1/applications/{application}")).status_code == 401


async def test_an_edit_needs_the_version_that_it_changes(intake: Intake) -> None:
    cycle, lead = await intake.cycle(), intake.applicant()
    path = f"/applications/{await intake.draft(cycle, lead)}"
    refused(await lead("PATCH", path, {}), 428, "if-match")
    etag = (await lead("GET", path)).headers["etag"]
    edits = ({"contact": {"title": "Mayor"}}, {"contact": {"title": "Clerk"}})
    answers = await asyncio.gather(*(lead("PATCH", path, edit, If_Match=etag) for edit in edits))
    assert sorted(answer.status_code for answer in answers) == [200, 412]
    (won,) = [answer for answer in answers if answer.is_success]
    (lost,) = [answer for answer in answers if not answer.is_success]
    assert refused(lost, 412, "draft-changed")
    assert lost.headers["etag"] == won.headers["etag"] == won.json()["etag"] != etag
    assert (await lead("GET", path)).json() == won.json()
    refused(await lead("POST", f"{path}/submit", {"attest": True}, If_Match=etag), 412, "draft-changed")


async def test_a_patch_removes_replaces_and_keeps_as_rfc_7396_says(intake: Intake) -> None:
    cycle, lead = await intake.cycle(), intake.applicant()
    path = f"/applications/{await intake.draft(cycle, lead)}"
    patch = {"facts": {"gis_integrated": None, "mobile_channel": "none"}, "assumed": [], "contact": {"title": "Mayor"}}
    answer = await intake.client.patch(
        f"/v1{path}",
        content=orjson.dumps(patch),
        headers={
            "Authorization": f"Bearer {lead.token}",
            "If-Match": "*",
            "Content-Type": "application/merge-patch+json",
        },
    )
    draft = answer.json()["draft"]
    expected = {**DRAFT["facts"], "mobile_channel": "none"}
    del expected["gis_integrated"]
    assert (draft["facts"], draft["assumed"]) == (expected, [])
    assert draft["contact"] == {**DRAFT["contact"], "title": "Mayor"}
    assert draft["answers"].keys() == DRAFT["answers"].keys()


async def test_a_wrong_patch_changes_nothing_and_names_each_place(intake: Intake) -> None:
    cycle, lead = await intake.cycle(), intake.applicant()
    path = f"/applications/{await intake.draft(cycle, lead)}"
    before = (await lead("GET", path)).json()
    wrong = {"answers": {"no_such_criterion": {}}, "facts": {"gis_integrated": "yes", "unheard_of": 1}}
    problem = refused(await lead("PATCH", path, wrong, If_Match="*"), 422, "unknown-criterion")
    assert [error["pointer"] for error in problem["errors"]] == [
        "/answers/no_such_criterion",
        "/facts/gis_integrated",
        "/facts/unheard_of",
    ]
    assert (await lead("GET", path)).json() == before


# --- submissions ----------------------------------------------------------------------------------------------------


async def test_a_submission_leaves_whole_and_sealed_with_the_receipts_hash(intake: Intake) -> None:
    cycle, lead = await intake.cycle(), intake.applicant()
    application = await intake.draft(cycle, lead)
    later = {"deadline": rfc3339(intake.clock.now() + timedelta(days=2)), "reason": "flood"}
    await intake.admin.made(f"/cycles/{cycle}/extend", later)
    receipt = await lead.made(f"/applications/{application}/submit", {"attest": True})
    (record,) = await on_topic(intake.service.runtime.kafka_bootstrap, application, 1)
    event = read(record)
    assert isinstance(event, ApplicationSubmitted)
    assert event.identity is not None
    assert event.claims is not None
    assert event.answers is not None
    assert event.contact is not None
    assert (event.identity.name, event.identity.tier) == ("Springfield", "t1")
    assert event.claims.facts == DRAFT["facts"]
    assert event.answers.keys() == CHARTER.criteria("city").keys()
    assert event.contact.email == "manager@gov.example"
    _, extended = await intake.events(cycle)
    assert record.causationid == extended[1]["id"]
    ((_, leaf),) = await intake.events(application)
    assert "Springfield" not in orjson.dumps(leaf).decode()
    leaf_hash = await intake.service.database.pool.fetchval(
        "select leaf_hash from chassis.event_log where id = $1", receipt["event"]
    )
    assert receipt == {
        "application": application,
        "cycle": cycle,
        "version": 1,
        "event": record.id,
        "leaf_hash": leaf_hash.hex(),
        "submitted_at": leaf["time"],
        "receipt": receipt["receipt"],
    }


async def test_an_incomplete_draft_is_refused_with_everything_that_it_lacks(intake: Intake) -> None:
    cycle, lead = await intake.cycle(), intake.applicant()
    application = await intake.draft(cycle, lead)
    gone: dict[str, Any] = {
        "answers": {"information": None},
        "facts": {"gis_integrated": None},
        "metrics": [],
        "contact": None,
    }
    await lead("PATCH", f"/applications/{application}", gone, If_Match="*")
    problem = refused(await lead("POST", f"/applications/{application}/submit", {}), 422, "unanswered")
    assert [error["pointer"] for error in problem["errors"]] == [
        "/answers/information",
        "/facts/gis_integrated",
        "/metrics",
        "/contact/official",
        "/contact/title",
        "/contact/email",
        "/attest",
    ]
    assert await intake.events(application) == []
    assert (await lead("GET", f"/applications/{application}")).json()["state"] == "draft"


async def test_two_submissions_at_once_are_two_versions(intake: Intake) -> None:
    cycle, lead = await intake.cycle(), intake.applicant()
    application = await intake.draft(cycle, lead)
    path = f"/applications/{application}/submit"
    receipts = await asyncio.gather(*(lead.made(path, {"attest": True}) for _ in range(2)))
    assert sorted(receipt["version"] for receipt in receipts) == [1, 2]
    assert [leaf["data"]["version"] for _, leaf in await intake.events(application)] == [1, 2]
    shown = (await lead("GET", f"/applications/{application}")).json()
    assert (shown["state"], shown["version"]) == ("submitted", 2)


async def test_two_submissions_at_once_under_one_key_are_one(intake: Intake) -> None:
    cycle, lead = await intake.cycle(), intake.applicant()
    application, key = await intake.draft(cycle, lead), opaque_id()
    path = f"/applications/{application}/submit"
    answers = await asyncio.gather(*(lead("POST", path, {"attest": True}, Idempotency_Key=key) for _ in range(3)))
    assert [answer.status_code for answer in answers] == [201] * 3
    assert len({answer.content for answer in answers}) == 1
    assert len(await intake.events(application)) == 1
    refused(await lead("POST", path, {"attest": False}, Idempotency_Key=key), 422, "idempotency-key-reused")


async def test_a_repeated_key_replays_what_was_made(intake: Intake) -> None:
    lead, key = intake.applicant(), opaque_id()
    first, second = [await lead("POST", "/governments", PROFILE, Idempotency_Key=key) for _ in range(2)]
    assert first.json() == second.json()
    assert second.headers["idempotency-replayed"] == "true"
    other = await intake.applicant()("POST", "/governments", PROFILE, Idempotency_Key=key)
    assert other.json()["government"] != first.json()["government"]


@pytest.mark.parametrize("closing", ["hand", "schedule"])
async def test_submissions_that_race_the_close_are_in_its_set_or_refused(intake: Intake, closing: str) -> None:
    cycle = await intake.cycle(hours=2)
    leads = [intake.applicant() for _ in range(8)]
    applications = [await intake.draft(cycle, lead) for lead in leads]

    async def close() -> None:
        await asyncio.sleep(0.01)
        if closing == "hand":
            await intake.admin.made(f"/cycles/{cycle}/close")
        else:
            intake.clock.shift(timedelta(hours=2))

    submissions = [
        lead("POST", f"/applications/{application}/submit", {"attest": True})
        for lead, application in zip(leads, applications, strict=True)
    ]
    answers, _ = await asyncio.gather(asyncio.gather(*submissions), close())
    await intake.until_closed(cycle)
    accepted = [answer.json()["event"] for answer in answers if answer.is_success]
    for answer in answers:
        if not answer.is_success:
            refused(answer, 409, "deadline-passed")
    assert (await intake.closed(cycle))["submitted"] == SetDigest.of(accepted).model_dump()


async def test_what_comes_at_the_deadline_or_later_is_refused_and_told_the_deadline(intake: Intake) -> None:
    cycle, lead = await intake.cycle(hours=2), intake.applicant()
    application, never = await intake.draft(cycle, lead), intake.applicant()
    unsubmitted = await intake.draft(cycle, never)
    receipt = await lead.made(f"/applications/{application}/submit", {"attest": True})
    deadline = (await lead("GET", f"/cycles/{cycle}")).json()["deadline"]
    intake.clock.shift(datetime.fromisoformat(deadline) - intake.clock.machine.now())
    late = await never("POST", f"/applications/{unsubmitted}/submit", {"attest": True})
    assert deadline in refused(late, 409, "deadline-passed")["detail"]
    refused(await lead("POST", f"/applications/{application}/submit", {"attest": True}), 409, "deadline-passed")
    refused(await lead("PATCH", f"/applications/{application}", {}, If_Match="*"), 409, "deadline-passed")
    refused(
        await lead("POST", f"/cycles/{cycle}/applications", {"government": await intake.government(lead)}),
        409,
        "deadline-passed",
    )
    back = await lead("POST", f"/applications/{application}/withdraw")
    assert "request to the board" in refused(back, 409, "deadline-passed")["detail"]
    await intake.until_closed(cycle)
    assert (await intake.closed(cycle))["submitted"] == SetDigest.of([receipt["event"]]).model_dump()


class Steps:
    """A clock that shows one instant after the other, and stays at the last."""

    def __init__(self, *instants: datetime) -> None:
        self._instants = list(instants)

    def now(self) -> datetime:
        return self._instants.pop(0) if len(self._instants) > 1 else self._instants[0]


async def test_a_submission_that_starts_in_time_and_would_be_dated_at_the_deadline_is_refused(intake: Intake) -> None:
    cycle, lead = await intake.cycle(hours=2), intake.applicant()
    application = await intake.draft(cycle, lead)
    deadline = datetime.fromisoformat((await lead("GET", f"/cycles/{cycle}")).json()["deadline"])
    intake.service.database.clock = Steps(deadline - timedelta(milliseconds=1), deadline)
    path = f"/applications/{application}/submit"
    refused(await lead("POST", path, {"attest": True}), 409, "deadline-passed")
    assert await intake.events(application) == []
    intake.service.database.clock = Steps(deadline - timedelta(milliseconds=1))
    assert (await lead("POST", path, {"attest": True})).json()["submitted_at"] < rfc3339(deadline)


async def test_a_withdrawn_application_stays_out(intake: Intake) -> None:
    cycle, lead = await intake.cycle(), intake.applicant()
    application = await intake.draft(cycle, lead)
    path = f"/applications/{application}"
    refused(await lead("POST", f"{path}/withdraw"), 409, "not-submitted")
    await lead.made(f"{path}/submit", {"attest": True})
    assert (await lead.made(f"{path}/withdraw", {"reason": "our budget"}))["state"] == "withdrawn"
    for method, where, body in (
        ("POST", f"{path}/submit", {"attest": True}),
        ("POST", f"{path}/withdraw", None),
        ("PATCH", path, {}),
    ):
        refused(await lead(method, where, body, If_Match="*"), 409, "withdrawn")
    await intake.admin.made(f"/cycles/{cycle}/close")
    assert (await intake.closed(cycle))["submitted"]["count"] == 0
    assert [kind.split(".")[2] for kind, _ in await intake.events(application)] == ["submitted", "withdrawn"]


@pytest.mark.parametrize("seed", range(3))
async def test_after_any_commands_the_close_states_what_stands(intake: Intake, seed: int) -> None:
    chance, cycle = random.Random(seed), await intake.cycle(hours=2)
    leads = [intake.applicant() for _ in range(4)]
    applications = [await intake.draft(cycle, lead) for lead in leads]

    async def act(number: int) -> None:
        command, body = chance.choice([("submit", {"attest": True}), ("submit", {"attest": True}), ("withdraw", None)])
        answer = await leads[number]("POST", f"/applications/{applications[number]}/{command}", body)
        assert answer.status_code in {200, 201, 409}, answer.text

    for _ in range(4):
        await asyncio.gather(*(act(chance.randrange(4)) for _ in range(5)))
        deadline = rfc3339(intake.clock.now() + timedelta(hours=chance.randint(1, 4)))
        await intake.admin("POST", f"/cycles/{cycle}/extend", {"deadline": deadline, "reason": "flood"})
    commands: list[Awaitable[Any]] = [act(number) for number in range(4)]
    await asyncio.gather(*commands, intake.admin.made(f"/cycles/{cycle}/close"))
    standing = [
        events[-1][1]["id"]
        for application in applications
        if (events := await intake.events(application)) and events[-1][0] == ApplicationSubmitted.TYPE
    ]
    assert (await intake.closed(cycle))["submitted"] == SetDigest.of(standing).model_dump()


async def test_the_api_describes_itself(intake: Intake) -> None:
    described = (await intake.client.get("/v1/openapi.json")).json()
    assert "/v1/applications/{application}/submit" in described["paths"]
    assert described["components"]["schemas"]["NewCycle"]["properties"]["deadline"]["format"] == "date-time"


# --- bad input ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "content",
    [b"{", b"", b'{"name": NaN}', b'{"name": "\\ud800"}', b'{"name": "a\\u0000b"}', b"\xff", b"[" * 5_000],
    ids=["cut off", "empty", "not a number", "half a surrogate", "nul", "not UTF-8", "nested"],
)
async def test_broken_json_is_a_bad_request(intake: Intake, content: bytes) -> None:
    headers = {"Authorization": f"Bearer {intake.applicant().token}", "Content-Type": "application/json"}
    answer = await intake.client.post("/v1/governments", content=content, headers=headers)
    if content:
        refused(answer, 400, "malformed-json")
    else:
        refused(answer, 422, "invalid-request")


async def test_a_written_out_escape_is_no_nul(intake: Intake) -> None:
    lead = intake.applicant()
    government = await intake.government(lead, name="C:\\u0000")
    assert (await lead("GET", f"/governments/{government}")).json()["name"] == "C:\\u0000"


async def test_a_body_that_grows_too_large_while_it_is_sent_is_413(intake: Intake) -> None:
    async def endless() -> AsyncIterator[bytes]:
        for _ in range(100):
            yield b" " * 1_000

    transport = httpx.ASGITransport(app=Frontier(intake.service.app, body_limit=10_000))
    headers = {"Authorization": f"Bearer {intake.applicant().token}", "Content-Type": "application/json"}
    async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
        refused(await client.post("/v1/governments", content=endless(), headers=headers), 413, "body-too-large")


async def test_a_path_that_can_be_no_id_is_refused_before_the_database_sees_it(intake: Intake) -> None:
    refused(await intake.admin("GET", "/cycles/%00"), 400, "control-character")
    refused(await intake.admin("GET", f"/applications/{'x' * 65}"), 422, "invalid-request")
