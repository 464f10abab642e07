"""The guide on the real parts: the form beside its fields, and a self-assessment of which nothing remains by itself."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable
from datetime import timedelta
from typing import Any

import httpx
import pytest

from schemas.charter import charter_digest
from schemas.envelope import rfc3339
from services.chassis.ids import opaque_id
from services.chassis.issuer import Issuer
from services.chassis.service import Runtime, Service
from services.chassis.settings import Settings
from services.intake.app import service
from services.intake.cycles.domain import parsed
from services.intake.settings import IntakeSettings
from tests.applicants import PROGRAMS, SHIPPED, SMALL
from tests.intake import Intake, refused, started

RuntimeMaker = Callable[[type[Settings]], Runtime]

CITY = list(parsed(SHIPPED).criteria("city"))
OWN = {"kind": "city", "population": 89_736, "points": dict.fromkeys(CITY, 3), "published_metrics": ["time_to_close"]}


class Guide:
    """The service under test, asked without a token."""

    def __init__(self, svc: Service, client: httpx.AsyncClient, issuer: Issuer) -> None:
        self.service = svc
        self.client = client
        self.admin = {"Authorization": f"Bearer {issuer.token('program-admin', 'admin-1')}"}

    async def cycle(self, charter: str = SHIPPED, **delta: float) -> str:
        """Open a cycle whose deadline is `delta` (a day) from now."""
        deadline = rfc3339(self.service.clock.now() + timedelta(**(delta or {"days": 1})))
        body = {"label": f"g-{opaque_id()}", "charter": charter, "deadline": deadline}
        answer = await self.client.post("/v1/cycles", json=body, headers=self.admin)
        assert answer.status_code == 201, answer.text
        return str(body["label"])

    async def assess(self, body: dict[str, Any], **headers: str) -> httpx.Response:
        named = {
            "Content-Type": "application/json",
            **{name.replace("_", "-"): value for name, value in headers.items()},
        }
        # By hand, because httpx cannot write what is no text.
        return await self.client.post("/v1/self-assessment", content=json.dumps(body), headers=named)

    async def rows(self) -> dict[str, int]:
        """How many rows every table of the service holds but the outbox, which empties by itself."""
        tables = await self.service.database.pool.fetch(
            "select format('%I.%I', schemaname, relname) as name from pg_stat_user_tables where relname <> 'outbox'"
        )
        return {
            table["name"]: await self.service.database.pool.fetchval(f"select count(*) from {table['name']}")  # noqa: S608  (quoted by PostgreSQL)
            for table in tables
        }


@pytest.fixture
async def guide(runtime: RuntimeMaker, issuer: Issuer) -> AsyncIterator[Guide]:
    svc = service(runtime(IntakeSettings))
    await svc.start()
    transport = httpx.ASGITransport(app=svc.app)
    async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
        yield Guide(svc, client, issuer)
    await svc.stop()


async def test_anyone_gets_the_form_with_definition_evidence_levels_and_grounds_beside_each_criterion(
    guide: Guide,
) -> None:
    cycle = await guide.cycle()
    form = (await guide.client.get(f"/v1/cycles/{cycle}/form", params={"kind": "county"})).json()
    assert (form["cycle"], form["charter_sha256"], form["kind"]) == (cycle, charter_digest(SHIPPED), "county")
    criteria = {one["id"]: one for area in form["areas"] for one in area["criteria"]}
    stations = criteria["neighborhood_stations"]
    assert {"definition", "asks", "evidence", "not_enough", "looks_like", "notes", "na_when"} <= stations.keys()
    assert stations["notes"]["county"].startswith("Stations shared with cities")
    assert list(stations["looks_like"]) == ["2", "3", "4"]
    assert "na_when" not in criteria["crm"]
    assert form["scale"]["anchors"][0] == {"score": 0, "text": "Absent, or claimed without evidence"}
    assert (form["applying"]["effort_hours"], form["applying"]["extension"]["business_days"]) == (16, 10)
    assert (form["levels"][0]["total"], form["not_applicable_per_area"]) == ("60 %", 2)
    assert form["published_service_delivery"] == 1
    assert {metric["id"]: metric["plausible"] for metric in form["metrics"]}["sla_compliance"] == ["20", "100"]
    assert all(fact["help"] for fact in form["facts"])


async def test_the_form_holds_only_what_the_kind_of_applicant_is_judged_by(guide: Guide) -> None:
    cycle = await guide.cycle()
    address = f"/v1/cycles/{cycle}/form"
    town, everybody = (await guide.client.get(address, params={"kind": "town"})), await guide.client.get(address)
    assert "neighborhood_stations" not in town.text
    assert "neighborhood_stations" in everybody.text
    refused = await guide.client.get(address, params={"kind": "kingdom"})
    assert (refused.status_code, refused.json()["errors"][0]["pointer"]) == (422, "/kind")
    assert (await guide.client.get("/v1/cycles/never/form")).status_code == 404


async def test_the_form_of_another_charter_speaks_its_language(guide: Guide) -> None:
    cycle = await guide.cycle(SMALL)
    form = (await guide.client.get(f"/v1/cycles/{cycle}/form")).json()
    assert form["areas"][0]["criteria"][0]["asks"].startswith("¿Dónde están")
    assert form["applying"]["fee"]["amount"] == "150.00"
    assert "tiers" in form
    assert "appeal" not in form


async def test_the_sample_application_is_taken_in_as_it_stands(guide: Guide, issuer: Issuer) -> None:
    sample = json.loads((PROGRAMS / "sample-application.json").read_text(encoding="utf-8"))
    lead = {"Authorization": f"Bearer {issuer.token('applicant', 'sampleton-1')}"}
    registered = await guide.client.post("/v1/governments", json=sample["government"], headers=lead)
    body = {"government": registered.json()["government"]}
    started = await guide.client.post(f"/v1/cycles/{await guide.cycle()}/applications", json=body, headers=lead)
    address = f"/v1/applications/{started.json()['application']}"
    saved = await guide.client.patch(
        address, json=sample["draft"], headers={**lead, "If-Match": started.headers["etag"]}
    )
    assert saved.status_code == 200, saved.text
    receipt = await guide.client.post(f"{address}/submit", json={"attest": True}, headers=lead)
    assert receipt.status_code == 201, receipt.text


async def test_a_self_assessment_tells_where_one_stands(guide: Guide) -> None:
    cycle = await guide.cycle()
    answer = await guide.assess({**OWN, "cycle": cycle, "points": {**dict.fromkeys(CITY, 3), "crm": 1}})
    assert answer.status_code == 200, answer.text
    result = answer.json()
    assert (result["cycle"], result["charter_sha256"]) == (cycle, charter_digest(SHIPPED))
    assert (result["tier"]["label"], result["aim"], result["core_missing"]) == (
        "75,001–150,000",
        "designated",
        ["crm"],
    )
    assert result["areas"][2]["share"] == {"num": 11, "den": 16}
    assert [need["what"] for need in result["needs"]] == ["core"]
    assert [one["id"] for one in result["work_on"]] == ["crm"]
    assert "level" not in result


async def test_nothing_of_a_self_assessment_is_kept_not_even_for_somebody_who_signed_in(guide: Guide) -> None:
    cycle = await guide.cycle()
    before = await guide.rows()
    assert (await guide.assess({**OWN, "cycle": cycle}, Idempotency_Key="k1")).status_code == 200
    assert (await guide.assess({**OWN, "cycle": cycle}, Idempotency_Key="k1", **guide.admin)).status_code == 200
    assert await guide.rows() == before
    assert "private.idempotency" in before


async def test_without_a_cycle_the_charter_of_the_latest_deadline_is_taken(guide: Guide) -> None:
    missing = await guide.assess(OWN)
    assert (missing.status_code, missing.json()["type"]) == (404, "urn:cec:problem:not-found")
    await guide.cycle(days=2)
    latest = await guide.cycle(days=3)
    await guide.cycle(days=1)
    assert (await guide.assess(OWN)).json()["cycle"] == latest


@pytest.mark.parametrize(
    ("body", "status", "pointer"),
    [
        ({"points": {"crm": 5}}, 422, "/points/crm"),
        ({"points": {"crm": 2.5}}, 422, "/points/crm"),
        ({"population": 0}, 422, "/population"),
        ({"population": 10**20}, 422, "/population"),
        ({"cycle": "no such cycle"}, 422, "/cycle"),
        ({"cycle": "never"}, 404, None),
        ({"kind": "x" * 65}, 422, "/kind"),
        ({"stored": True}, 422, "/stored"),
    ],
)
async def test_what_is_no_assessment_is_refused_with_its_place(
    guide: Guide, body: dict[str, Any], status: int, pointer: str | None
) -> None:
    await guide.cycle()
    answer = await guide.assess({**OWN, **body})
    assert (answer.status_code, answer.headers["content-type"]) == (status, "application/problem+json"), answer.text
    assert [error["pointer"] for error in answer.json().get("errors", [])] == ([] if pointer is None else [pointer])


@pytest.mark.parametrize("name", ["\ud800", "\x00"])
async def test_text_that_no_event_could_hold_is_no_json_here(guide: Guide, name: str) -> None:
    answer = await guide.assess({**OWN, "points": {name: 1}})
    assert (answer.status_code, answer.json()["type"]) == (400, "urn:cec:problem:malformed-json")


# --- kept as a draft --------------------------------------------------------------------------------------------------

KEPT = {
    "points": {CITY[0]: 3, CITY[1]: 2},
    "not_applicable": ["chats"],
    "published_metrics": ["time_to_close"],
    "statements": {CITY[0]: "One page for all services.", "chats": "Nobody has asked for one."},
}


@pytest.fixture
async def intake(runtime: RuntimeMaker, issuer: Issuer) -> AsyncIterator[Intake]:
    async with started(runtime(IntakeSettings), issuer) as made:
        yield made


async def test_who_acts_for_a_government_keeps_their_self_assessment_as_its_draft(intake: Intake) -> None:
    cycle, lead = await intake.cycle(SHIPPED), intake.person()
    body = KEPT | {"government": await intake.government(lead)}
    kept = await lead.made(f"/cycles/{cycle}/self-assessment", body)
    path = f"/applications/{kept['application']}"
    assert (await lead.got(f"{path}/export"))["draft"] == {
        "answers": {
            CITY[0]: {"statement": "One page for all services."},
            "chats": {"not_applicable": "Nobody has asked for one."},
        },
        "metrics": [{"id": "time_to_close", "unit": kept["draft"]["metrics"][0]["unit"], "published": True}],
    }
    remarks = {one["field"]: one["text"] for one in (await lead.got(f"{path}/comments"))["comments"]}
    looks = {one.id: one for area in parsed(SHIPPED).areas for one in area.criteria}[CITY[0]].looks_like
    assert remarks.keys() == {f"/answers/{CITY[0]}", f"/answers/{CITY[1]}"}
    assert remarks[f"/answers/{CITY[0]}"] == f"3/4 {looks[3]}"
    assert (await lead.got(f"{path}/history"))["changes"]
    again = refused(await lead("POST", f"/cycles/{cycle}/self-assessment", body), 409, "draft-begun")
    assert kept["application"] in again["detail"]


async def test_an_empty_draft_takes_a_self_assessment_and_a_wrong_one_leaves_nothing(intake: Intake) -> None:
    cycle, lead = await intake.cycle(SHIPPED), intake.person()
    government = await intake.government(lead)
    wrong = KEPT | {
        "government": government,
        "points": {"no_such": 9, CITY[0]: 9},
        "statements": {},
    }
    problem = refused(await lead("POST", f"/cycles/{cycle}/self-assessment", wrong), 422, "unknown-criterion")
    assert [one["pointer"] for one in problem["errors"]] == ["/points/no_such", f"/points/{CITY[0]}"]
    assert await intake.pool.fetchval("select count(*) from private.draft") == 0
    unknown = KEPT | {"government": government, "statements": {"no_such": "x"}}
    problem = refused(await lead("POST", f"/cycles/{cycle}/self-assessment", unknown), 422, "unknown-criterion")
    assert [one["pointer"] for one in problem["errors"]] == ["/statements/no_such"]
    empty = await lead.made(f"/cycles/{cycle}/applications", {"government": government})
    kept = await lead.made(f"/cycles/{cycle}/self-assessment", KEPT | {"government": government})
    assert kept["application"] == empty["application"]
    stranger = await intake.person()("POST", f"/cycles/{cycle}/self-assessment", KEPT | {"government": government})
    refused(stranger, 404, "not-found")
