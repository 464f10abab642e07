"""Applying again, on the real parts: what was said then comes along, marked, and counts once it was looked at."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import AsyncIterator, Callable
from datetime import UTC, date, datetime
from fractions import Fraction
from hashlib import sha256
from typing import Any

import orjson
import pytest
from aiokafka import AIOKafkaProducer

from schemas.applications import Identity
from schemas.cycles import CohortAnnounced
from schemas.designations import DesignationGranted, Outcome
from schemas.exact import Ratio, SetDigest
from schemas.reviews import ApplicationScored, Scores
from services.chassis.ids import event_id, opaque_id
from services.chassis.issuer import Issuer
from services.chassis.service import Runtime
from services.chassis.settings import Settings
from services.intake.settings import IntakeSettings
from tests.files import PDF
from tests.given import eventually, publish
from tests.intake import DRAFT, Intake, Person, refused, running
from tests.screened import SCREENED

RuntimeMaker = Callable[[type[Settings]], Runtime]
ONE, TWO, THREE = list(DRAFT["answers"])[:3]
AREA = "answers.citizen_participation"
FIGURE = DRAFT["metrics"][0]
OTHERWISE = SCREENED.replace('id = "contact_center"', 'id = "contact_centre"')
"""The same program, with a criterion by another id."""


class Again(Intake):
    """Intake, and a government that applies a second time."""

    async def applied(self) -> tuple[Person, str, str, str]:
        """(lead, government, cycle, the application's path) of a cycle that is closed."""
        cycle = await self.cycle()
        lead, path = await self.submitted(cycle)
        await self.admin.made(f"/cycles/{cycle}/close")
        return lead, (await lead.got(path))["government"], cycle, path

    async def begun(self, lead: Person, government: str, charter: str = SCREENED) -> str:
        """The path of its draft in a new cycle, which starts from the last application."""
        body = {"government": government, "from": "last"}
        made = await lead.made(f"/cycles/{await self.cycle(charter)}/applications", body)
        return f"/applications/{made['application']}"


@pytest.fixture
async def intake(runtime: RuntimeMaker, issuer: Issuer) -> AsyncIterator[Again]:
    async with running(runtime(IntakeSettings), issuer, Again) as made:
        yield made


async def unconfirmed(lead: Person, path: str) -> set[str]:
    """What a check says has not been looked at."""
    found = (await lead.made(f"{path}/check"))["problems"]
    return {one["pointer"] for one in found if one["rule"] == "unconfirmed"}


async def test_a_draft_starts_from_the_last_application_and_its_figures_are_only_shown(intake: Again) -> None:
    lead, government, before, _ = await intake.applied()
    path = await intake.begun(lead, government)
    draft = (await lead.got(f"{path}/export"))["draft"]
    assert draft == {root: value for root, value in DRAFT.items() if root != "metrics"}
    beside = await lead.got(f"{path}/reapplication")
    assert [(one["id"], one["value"], one["period"], one["asked"]) for one in beside["figures"]] == [
        (one["id"], one["value"], one["period"], True) for one in DRAFT["metrics"]
    ]
    assert (beside["cycle"], beside["version"], beside["gone"], beside["new"]) == (before, 1, [], [])
    assert {(one["state"], one["result"]) for one in beside["carried"]} == {("carried", None)}
    assert beside["unconfirmed"] == len(beside["carried"]) == len(DRAFT["answers"]) + len(DRAFT["facts"]) + 2
    section = await lead.got(f"{path}/sections/{AREA}")
    shown = {one["field"]: one for one in section["carried"]}
    assert shown[f"/answers/{ONE}"] | {"confirmed_by": None, "confirmed_at": None} == {
        "field": f"/answers/{ONE}",
        "state": "carried",
        "cycle": before,
        "version": 1,
        "then": DRAFT["answers"][ONE],
        "confirmed_by": None,
        "confirmed_at": None,
        "result": None,
    }
    assert (section["done"], section["complete"]) == (0, False)


async def test_an_answer_counts_once_it_was_confirmed_or_changed_and_reviewers_see_which(intake: Again) -> None:
    lead, government, before, _ = await intake.applied()
    path = await intake.begun(lead, government)
    await lead.saved(f"{path}/sections/metrics", {"metrics": [FIGURE]})
    refused(await lead("POST", f"{path}/submit", {"attest": True}), 422, "unconfirmed")
    assert f"/answers/{ONE}" in await unconfirmed(lead, path)
    section = await lead.made(f"{path}/answers/{ONE}/confirm")
    assert {one["field"]: one["state"] for one in section["carried"]}[f"/answers/{ONE}"] == "confirmed"
    await lead.saved(path, {"answers": {TWO: {"statement": "We do more now."}}})
    refused(await lead("POST", f"{path}/answers/{TWO}/confirm"), 422, "changed")
    await lead.saved(path, {"answers": {TWO: {"statement": DRAFT["answers"][TWO]["statement"]}}})
    assert f"/answers/{TWO}" in await unconfirmed(lead, path), "what is as it was again is no change"
    await lead.saved(path, {"answers": {TWO: {"statement": "We do more now."}}})
    await lead.made(f"{path}/sections/facts/confirm", {"fields": ["/assumed"]})
    for one in (await lead.got(f"{path}/sections"))["sections"]:
        await lead.made(f"{path}/sections/{one['section']}/confirm")
    assert await unconfirmed(lead, path) == set()
    await lead.made(f"{path}/submit", {"attest": True})
    whole = await lead.got(f"{path}/versions/1")
    marks = {name: answer["carried"] for name, answer in whole["answers"].items()}
    unchanged = {name for name, mark in marks.items() if mark == {"mark": "unchanged", "since": before}}
    assert (marks[TWO], unchanged) == ({"mark": "changed", "since": before}, marks.keys() - {TWO})
    assert (await lead("GET", f"{path}/versions/1.pdf")).content.startswith(b"%PDF-")
    ((_, leaf),) = await intake.events(path.rpartition("/")[2])
    assert before not in orjson.dumps(leaf).decode(), "what is public does not tell that there was an earlier one"


async def test_what_comes_back_the_same_in_a_file_is_not_confirmed_by_that(intake: Again) -> None:
    lead, government, _, _ = await intake.applied()
    path = await intake.begun(lead, government)
    waiting = await unconfirmed(lead, path)
    exported = await lead.got(f"{path}/export")
    assert (await lead.done("POST", f"{path}/import", exported, If_Match="*"))["changed"] == []
    form = (await lead("GET", f"{path}/export.xlsx")).content
    assert (await lead.done("POST", f"{path}/import.xlsx", form, If_Match="*"))["changed"] == []
    assert await unconfirmed(lead, path) == waiting != set()
    exported["draft"]["answers"][ONE]["statement"] += "!"
    changed = await lead.done("POST", f"{path}/import", exported, If_Match="*")
    assert changed["changed"] == [f"/answers/{ONE}/statement"]
    assert await unconfirmed(lead, path) == waiting - {f"/answers/{ONE}"}
    since = await lead.got(f"{path}/reapplication/changes")
    assert since["differences"] == [
        {
            "field": f"/answers/{ONE}/statement",
            "before": DRAFT["answers"][ONE]["statement"],
            "after": DRAFT["answers"][ONE]["statement"] + "!",
        },
        {"field": "/metrics", "before": DRAFT["metrics"], "after": None},
    ]


async def test_what_another_charter_does_not_ask_is_listed_and_what_it_asks_anew_is_open(intake: Again) -> None:
    lead, government, before, _ = await intake.applied()
    path = await intake.begun(lead, government, OTHERWISE)
    beside = await lead.got(f"{path}/reapplication")
    assert [(one["field"], one["then"]) for one in beside["gone"]] == [
        ("/answers/contact_center", DRAFT["answers"]["contact_center"])
    ]
    assert beside["new"] == ["/answers/contact_centre"]
    await lead.saved(path, {"answers": {"contact_centre": {"statement": "It is spelled otherwise."}}})
    await lead.saved(f"{path}/sections/metrics", {"metrics": [FIGURE]})
    for one in (await lead.got(f"{path}/sections"))["sections"]:
        await lead.made(f"{path}/sections/{one['section']}/confirm")
    await lead.made(f"{path}/submit", {"attest": True})
    answers = (await lead.got(f"{path}/versions/1"))["answers"]
    assert answers["contact_centre"]["carried"] == {"mark": "new", "since": before}


async def test_files_are_referred_to_and_not_copied(intake: Again) -> None:
    cycle = await intake.cycle()
    lead, first = await intake.drafted(cycle)
    told = {"filename": "map.pdf", "criterion": ONE}
    metadata = ",".join(f"{name} {b64encode(value.encode()).decode()}" for name, value in told.items())
    begun = await lead(
        "POST", f"{first}/uploads", Tus_Resumable="1.0.0", Upload_Length=str(len(PDF)), Upload_Metadata=metadata
    )
    await lead.done(
        "PATCH",
        begun.headers["location"],
        PDF,
        Tus_Resumable="1.0.0",
        Upload_Offset="0",
        Content_Type="application/offset+octet-stream",
    )
    digest = sha256(PDF).hexdigest()
    cited = [{"file": digest}, {"url": "https://www.gov.example/map", "quote": "A map"}]
    await lead.saved(first, {"answers": {ONE: {"evidence": cited}}})
    await lead.made(f"{first}/submit", {"attest": True})
    await intake.admin.made(f"/cycles/{cycle}/close")
    path = await intake.begun(lead, (await lead.got(first))["government"])
    (file,) = (await lead.got(f"{path}/files"))["files"]
    assert (file["sha256"], file["name"], file["cited_at"]) == (digest, "map.pdf", [f"/answers/{ONE}/evidence/0"])
    assert (await lead("GET", f"{path}/files/{digest}")).content == PDF
    assert await intake.pool.fetchval("select count(*) from private.content where sha256 = $1", digest) == 1
    assert (await lead.got(f"{path}/export"))["draft"]["answers"][ONE]["evidence"] == cited
    await lead.made(f"{path}/answers/{ONE}/confirm")
    refused(await lead("DELETE", f"{path}/files/{digest}"), 409, "cited")


async def test_only_what_stood_in_a_closed_cycle_is_an_application_to_start_from(intake: Again) -> None:
    lead, government, _, first = await intake.applied()
    second = await intake.cycle()
    started = await lead.made(f"/cycles/{second}/applications", {"government": government})
    fresh = f"/applications/{started['application']}"
    assert started["draft"]["answers"] == {}
    refused(await lead("GET", f"{fresh}/reapplication"), 404, "not-found")
    refused(await lead("POST", f"{fresh}/answers/{ONE}/confirm"), 404, "not-found")
    await lead.saved(fresh, DRAFT)
    await lead.made(f"{fresh}/submit", {"attest": True})
    path = await intake.begun(lead, government)
    assert (await lead.got(f"{path}/reapplication"))["earlier"] == first.rpartition("/")[2], "the second is open yet"
    await lead.made(f"{fresh}/withdraw")
    await intake.admin.made(f"/cycles/{second}/close")
    later = await intake.begun(lead, government)
    assert (await lead.got(f"{later}/reapplication"))["earlier"] == first.rpartition("/")[2], "the second is withdrawn"
    viewer = intake.person(subject="viewer-of-springfield")
    await lead.made(f"/governments/{government}/members", {"subject": "viewer-of-springfield", "role": "viewer"})
    refused(await viewer("POST", f"{path}/answers/{ONE}/confirm"), 403, "role-required")
    assert (await viewer.got(f"{path}/reapplication"))["unconfirmed"]
    newcomer = intake.person()
    body = {"government": await intake.government(newcomer, name="Shelbyville"), "from": "last"}
    third = await intake.cycle()
    answer = await newcomer("POST", f"/cycles/{third}/applications", body)
    assert refused(answer, 422, "no-earlier-application")["errors"][0]["pointer"] == "/from"
    await newcomer.made(f"/cycles/{third}/applications", {"government": body["government"]})
    for method, rest in (
        ("GET", "reapplication"),
        ("GET", "reapplication/changes"),
        ("POST", f"answers/{ONE}/confirm"),
    ):
        refused(await newcomer(method, f"{path}/{rest}"), 404, "not-found")


async def test_what_reviewers_gave_then_is_shown_once_it_was_announced(intake: Again, kafka: AIOKafkaProducer) -> None:
    lead, government, before, earlier = await intake.applied()
    path, application = await intake.begun(lead, government), earlier.rpartition("/")[2]
    scores = Scores(
        criteria={ONE: Ratio.of(4), TWO: Ratio.of(Fraction(3, 2)), THREE: None},
        areas={},
        total=Ratio.of(Fraction(2, 3)),
    )
    scored = ApplicationScored(
        cycle=before, application=application, submitted=event_id(), reviews=[event_id()], scores=scores
    )
    await publish(kafka, scored, 1)
    outcome = Outcome(level="designated", total=scores.total, unmet=[])
    whole = await lead.got(f"{earlier}/versions/1")
    granted = DesignationGranted(
        cycle=before,
        designation=opaque_id(),
        application=application,
        decided=event_id(),
        starts_on=date(2030, 1, 1),
        ends_on=date(2032, 1, 1),
        identity=Identity.model_validate(whole["identity"]),
        scores=outcome,
    )
    announced = CohortAnnounced(
        cycle=before,
        announced_on=datetime.now(UTC).date(),
        designations=SetDigest.of([granted.designation]),
        highlights=[],
        narrative=[],
    )
    await publish(kafka, announced, 1)

    async def scored_here() -> bool:
        return bool(
            await intake.pool.fetchval("select count(*) from projection.scored where application = $1", application)
        )

    await eventually(scored_here)

    async def results() -> dict[str, Any]:
        carried = (await lead.got(f"{path}/sections/{AREA}"))["carried"]
        return {one["field"].rpartition("/")[2]: one["result"] for one in carried if one["result"] is not None}

    assert await results() == {}, "the announcement waits for every designation that it states"
    await publish(kafka, granted, 1)

    async def disclosed() -> bool:
        return bool(await results())

    await eventually(disclosed)
    assert await results() == {
        ONE: {"points": {"num": 4, "den": 1}, "maximum": 4, "standing": "top"},
        TWO: {"points": {"num": 3, "den": 2}, "maximum": 4, "standing": "low"},
    }


async def test_a_figure_reads_the_same_in_a_draft_and_in_what_was_submitted(intake: Again) -> None:
    lead, path = await intake.drafted(await intake.cycle())
    await lead.saved(f"{path}/sections/metrics", {"metrics": [FIGURE | {"value": "80.0"}]})
    await lead.made(f"{path}/submit", {"attest": True})
    await lead.saved(f"{path}/sections/metrics", {"metrics": [FIGURE | {"value": "80.50"}]})
    await lead.made(f"{path}/submit", {"attest": True})
    versions = [await lead.got(f"{path}/versions/{number}") for number in (1, 2)]
    assert [one["claims"]["metrics"][0]["value"] for one in versions] == ["80.0", "80.50"]
    (found,) = (await lead.got(f"{path}/versions/2/changes"))["differences"]
    assert (found["before"][0]["value"], found["after"][0]["value"]) == ("80.0", "80.50")
