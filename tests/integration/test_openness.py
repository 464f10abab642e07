"""Openness on the real parts: who is invited, what is asked and answered, a charter in the making, fees, research."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable
from datetime import timedelta
from typing import Any

import httpx
import pytest

from schemas.charter import charter_digest
from services.chassis.clock import ProgramClock
from services.chassis.ids import opaque_id
from services.chassis.issuer import Issuer
from services.chassis.service import Runtime, Service
from services.chassis.settings import Settings
from services.intake.cycles.domain import parsed
from services.intake.openness.consultation import COMMENT_BYTES
from services.intake.settings import IntakeSettings
from tests.applicants import SHIPPED, SMALL, complete_draft
from tests.intake import rule_of, served

RuntimeMaker = Callable[[type[Settings]], Runtime]

SMALL_DRAFT = complete_draft(parsed(SMALL), "municipio")


class Town:
    """Everybody around one cycle of the small charter, which asks for a fee."""

    def __init__(self, svc: Service, client: httpx.AsyncClient, issuer: Issuer) -> None:
        self.service = svc
        self.client = client
        self.issuer = issuer
        self.cycle = ""

    async def ask(self, who: str, method: str, path: str, body: object = None, **more: Any) -> httpx.Response:
        """What somebody is answered; `admin`, `partner` and `auditor` have these roles, "" has no token."""
        role = {"admin": "program-admin", "partner": "partner", "auditor": "auditor"}.get(who, "applicant")
        headers = {"Authorization": f"Bearer {self.issuer.token(role, who)}"} if who else {}
        headers |= more.pop("headers", {})
        if body is not None:
            more["json"] = body
        return await self.client.request(method, f"/v1{path}", headers=headers, **more)

    async def got(self, who: str, method: str, path: str, body: object = None, **more: Any) -> Any:
        answer = await self.ask(who, method, path, body, **more)
        assert answer.is_success, answer.text
        return answer.json() if answer.content else None

    async def government(self, lead: str, name: str = "", **profile: Any) -> str:
        body = {
            "name": name or lead,
            "state": "Jalisco",
            "kind": "municipio",
            "population": 59_403,
            "population_source": "INEGI 2020",
            "website": "https://pueblo.example",
            **profile,
        }
        return str((await self.got(lead, "POST", "/governments", body))["government"])

    async def application(self, lead: str, **profile: Any) -> str:
        government = await self.government(lead, **profile)
        started = await self.got(lead, "POST", f"/cycles/{self.cycle}/applications", {"government": government})
        return str(started["application"])

    async def submitted(self, lead: str, **profile: Any) -> tuple[str, str]:
        """(application, government), submitted."""
        application = await self.application(lead, **profile)
        path = f"/applications/{application}"
        view = await self.got(lead, "PATCH", path, SMALL_DRAFT, headers={"If-Match": "*"})
        await self.got(lead, "POST", f"{path}/submit", {"attest": True})
        return application, view["government"]


@pytest.fixture
async def town(runtime: RuntimeMaker, issuer: Issuer) -> AsyncIterator[Town]:
    async with served(runtime(IntakeSettings)) as (svc, client):
        made = Town(svc, client, issuer)
        deadline = (svc.clock.now() + timedelta(days=1)).isoformat(timespec="milliseconds")
        body = {"label": f"o-{opaque_id()}", "charter": SMALL, "deadline": deadline}
        made.cycle = (await made.got("admin", "POST", "/cycles", body))["cycle"]
        yield made


# --- invitations -----------------------------------------------------------------------------------------------------


async def test_the_program_sees_what_became_of_everyone_it_invited(town: Town) -> None:
    path = f"/cycles/{town.cycle}/campaign"
    invited = [
        {"name": name, "state": "Jalisco", "email": email}
        for name, email in [
            ("Silent", "clerk@silent.example"),
            ("Told", "clerk@told.example"),
            ("By Name", "clerk@elsewhere.example"),
            ("Other Name", "someone@bydomain.example"),
            ("Submitted", "clerk@submitted.example"),
        ]
    ]
    assert await town.got("admin", "POST", path, {"invited": invited}) == {"added": 5, "known": 0}
    again = [{"name": "Silent again", "email": "CLERK@silent.example"}, {"name": "New", "email": "clerk@new.example"}]
    assert await town.got("admin", "POST", path, {"invited": again}) == {"added": 1, "known": 1}
    await town.application("by name")
    await town.application("domain", email_domain="bydomain.example")
    await town.submitted("submitted")
    listed = await town.got("admin", "GET", path)
    ids = {one["name"]: one["invitee"] for one in listed["invitees"]}
    told = await town.got("admin", "POST", f"{path}/sent", {"invitees": [ids["Told"], ids["Submitted"]]})
    assert {one["name"]: one["became"] for one in told["invitees"]} == {
        "Silent": "listed",
        "New": "listed",
        "Told": "sent",
        "By Name": "opened",
        "Other Name": "opened",
        "Submitted": "submitted",
    }
    assert told["counts"] == {"listed": 2, "sent": 1, "opened": 2, "submitted": 1}
    # Who has opened an application, or was written to otherwise, is not invited to.
    assert (await town.got("admin", "POST", f"{path}/send", {}))["queued"] == 2
    await town.got("admin", "DELETE", f"{path}/{ids['Silent']}")
    assert (await town.ask("admin", "DELETE", f"{path}/{ids['Silent']}")).status_code == 404
    pages: list[int] = []
    page: dict[str, Any] = {"next": ""}
    while page["next"] is not None:
        page = await town.got("admin", "GET", path, params={"after": page["next"], "limit": 2})
        pages.append(len(page["invitees"]))
    assert pages == [2, 2, 1]


async def test_a_list_comes_in_as_csv_or_every_wrong_row_is_told_and_none_is_taken(town: Town) -> None:
    path = f"/cycles/{town.cycle}/campaign.csv"
    wrong = "name,state,email\r\n,Jalisco,a@b.example\r\nB,Jalisco,nobody\r\nC,Jalisco,A@B.example\r\n"
    answer = await town.ask("admin", "POST", path, content=wrong.encode())
    assert [(one["pointer"], one["rule"]) for one in answer.json()["errors"]] == [
        ("/0/name", "name"),
        ("/1/email", "email-address"),
        ("/2/email", "repeated"),
    ]
    for content, rule in [(b"city,mail\nA,b", "columns"), (b"\xff\xfe", "csv"), (b'name,state,email\n"a', "csv")]:
        assert rule_of(await town.ask("admin", "POST", path, content=content)) == (422, rule)
    right = "\ufeffname,state,email\r\nÁvila,Jalisco,a@b.example\r\n".encode()
    assert await town.got("admin", "POST", path, content=right) == {"added": 1, "known": 0}
    listed = await town.got("admin", "GET", f"/cycles/{town.cycle}/campaign")
    assert [one["name"] for one in listed["invitees"]] == ["Ávila"]


async def test_the_list_is_the_programs_alone(town: Town) -> None:
    path = f"/cycles/{town.cycle}/campaign"
    for who, status in (("lead", 403), ("auditor", 403), ("", 401)):
        assert (await town.ask(who, "GET", path)).status_code == status
        assert (await town.ask(who, "POST", path, {"invited": []})).status_code == status
    unknown = await town.ask("admin", "POST", f"{path}/sent", {"invitees": ["nobody"]})
    assert rule_of(unknown) == (422, "unknown-invitee")


async def test_the_program_sees_who_opened_an_application_and_nothing_of_it(town: Town) -> None:
    opened, (submitted, _) = await town.application("Opened"), await town.submitted("Submitted")
    path = f"/cycles/{town.cycle}/applications"
    seen = (await town.got("admin", "GET", path))["applications"]
    assert {one["application"]: one["became"] for one in seen} == {opened: "draft", submitted: "submitted"}
    assert {"application", "government", "name", "state", "kind", "became"} == seen[0].keys()
    assert (await town.ask("Opened", "GET", path)).status_code == 403


# --- questions -------------------------------------------------------------------------------------------------------


async def test_a_question_is_answered_to_everybody_without_who_asked(town: Town) -> None:
    path = f"/cycles/{town.cycle}/questions"
    asked = await town.got("mayor", "POST", path, {"text": "We in Tequila have two 311 lines: which counts?"})
    assert (await town.got("", "GET", path))["questions"] == []
    waiting = (await town.got("admin", "GET", f"{path}/waiting"))["questions"]
    assert [one["question"] for one in waiting] == [asked["question"]]
    for who, status in (("mayor", 403), ("", 401)):
        assert (await town.ask(who, "GET", f"{path}/waiting")).status_code == status
    answer = {"text": "Both.", "question": "Which of two 311 lines counts?"}
    await town.got("admin", "PUT", f"/questions/{asked['question']}/answer", answer)
    public = await town.ask("", "GET", path)
    (shown,) = public.json()["questions"]
    assert (shown["text"], shown["answer"]) == (answer["question"], "Both.")
    person = await town.service.database.pool.fetchval("select person from private.question")
    for view in (public, await town.ask("admin", "GET", f"{path}/waiting")):
        assert person not in view.text
        assert "Tequila" not in view.text


async def test_the_list_of_answers_is_sent_again_only_when_it_changed(town: Town) -> None:
    path = f"/cycles/{town.cycle}/questions"
    asked = (await town.got("mayor", "POST", path, {"text": "When?"}))["question"]
    before = (await town.ask("", "GET", path)).headers["etag"]
    same = await town.ask("", "GET", path, headers={"If-None-Match": f'"other", {before}'})
    assert (same.status_code, same.content, same.headers["etag"]) == (304, b"", before)
    await town.got("admin", "PUT", f"/questions/{asked}/answer", {"text": "Soon."})
    after = await town.ask("", "GET", path, headers={"If-None-Match": before})
    assert (after.status_code, after.headers["cache-control"]) == (200, "public, no-cache")
    await town.got("admin", "PUT", f"/questions/{asked}/answer", {"text": "Now."})
    corrected = await town.ask("", "GET", path, headers={"If-None-Match": after.headers["etag"]})
    assert corrected.json()["questions"][0]["answer"] == "Now."


async def test_duplicates_are_answered_once(town: Town) -> None:
    path = f"/cycles/{town.cycle}/questions"
    one, two, three = [
        (await town.got(who, "POST", path, {"text": f"{who} asks when."}))["question"] for who in ("a", "b", "c")
    ]
    await town.got("admin", "POST", f"/questions/{one}/merge", {"into": two})
    merged = await town.got("admin", "POST", f"/questions/{two}/merge", {"into": three})
    assert sorted(merged["merged"]) == sorted([one, two])
    assert rule_of(await town.ask("admin", "POST", f"/questions/{three}/merge", {"into": one})) == (409, "merged")
    assert rule_of(await town.ask("admin", "POST", f"/questions/{three}/merge", {"into": three})) == (
        422,
        "not-a-duplicate",
    )
    assert rule_of(await town.ask("admin", "PUT", f"/questions/{one}/answer", {"text": "?"})) == (409, "merged")
    assert (await town.ask("a", "POST", f"/questions/{one}/merge", {"into": three})).status_code == 403
    assert len((await town.got("admin", "GET", f"{path}/waiting"))["questions"]) == 1


async def test_who_asks_too_much_waits_for_an_answer(town: Town) -> None:
    path = f"/cycles/{town.cycle}/questions"
    for number in range(20):
        await town.got("curious", "POST", path, {"text": f"And {number}?"})
    assert rule_of(await town.ask("curious", "POST", path, {"text": "And?"})) == (429, "too-many-questions")
    await town.got("other", "POST", path, {"text": "May I?"})
    await town.got("admin", "POST", f"/cycles/{town.cycle}/close")
    assert rule_of(await town.ask("other", "POST", path, {"text": "Now?"})) == (409, "deadline-passed")
    assert (await town.ask("", "POST", path, {"text": "Me?"})).status_code == 401


# --- charters open for comment ---------------------------------------------------------------------------------------


async def published(town: Town, **changes: Any) -> dict[str, Any]:
    closes = (town.service.clock.now() + timedelta(days=30)).isoformat(timespec="milliseconds")
    body = {"title": "The next charter", "charter": SHIPPED, "closes_at": closes, **changes}
    draft: dict[str, Any] = await town.got("admin", "POST", "/charter-drafts", body)
    return draft


async def test_a_charter_is_commented_on_by_anyone_and_frozen_by_opening_a_cycle_with_it(
    town: Town, clock: ProgramClock
) -> None:
    draft = await published(town)
    path = f"/charter-drafts/{draft['draft']}"
    assert (await town.ask("", "GET", f"{path}/charter")).text == SHIPPED
    for who in ("", "mayor"):
        await town.got(who, "POST", f"{path}/comments", {"text": f"{who or 'nobody'} thinks", "place": "areas[0]"})
    assert rule_of(await town.ask("", "GET", f"{path}/comments")) == (403, "comments-not-public")
    seen = (await town.got("admin", "GET", f"{path}/comments", params={"limit": 1}))["next"]
    assert [one["text"] for one in (await town.got("admin", "GET", f"{path}/comments"))["comments"]] == [
        "nobody thinks",
        "mayor thinks",
    ]
    rest = await town.got("admin", "GET", f"{path}/comments", params={"after": seen})
    assert [one["text"] for one in rest["comments"]] == ["mayor thinks"]
    clock.shift(timedelta(days=30))
    late = await town.ask("", "POST", f"{path}/comments", {"text": "late"})
    assert rule_of(late) == (409, "comments-closed")
    assert [one.keys() for one in (await town.got("", "GET", f"{path}/comments"))["comments"]] == [
        {"comment", "place", "text", "at"}
    ] * 2
    deadline = (clock.now() + timedelta(days=1)).isoformat(timespec="milliseconds")
    body = {"label": f"o-{opaque_id()}", "charter": SHIPPED, "deadline": deadline}
    cycle = (await town.got("admin", "POST", "/cycles", body))["cycle"]
    shown = await town.got("", "GET", path)
    assert (shown["state"], shown["cycles"]) == ("closed", [cycle])
    assert shown["charter_sha256"] == charter_digest(SHIPPED)
    assert [one["draft"] for one in await town.got("", "GET", "/charter-drafts")] == [draft["draft"]]


async def test_comments_that_were_not_announced_as_public_stay_with_the_program(
    town: Town, clock: ProgramClock
) -> None:
    draft = await published(town, comments_public=False)
    clock.shift(timedelta(days=30))
    path = f"/charter-drafts/{draft['draft']}/comments"
    assert (await town.ask("", "GET", path)).status_code == 403
    assert (await town.ask("mayor", "GET", path)).status_code == 403
    assert (await town.got("auditor", "GET", path))["comments"] == []


async def test_who_comments_without_end_is_slowed_down_and_leaves_no_address(town: Town) -> None:
    path = f"/charter-drafts/{(await published(town))['draft']}/comments"
    for number in range(town.service.settings.comments_hourly):
        await town.got("", "POST", path, {"text": str(number)})
    assert rule_of(await town.ask("", "POST", path, {"text": "more"})) == (429, "too-many-comments")
    await town.got("mayor", "POST", path, {"text": "somebody else"})
    rows = await town.service.database.pool.fetch("select * from private.charter_comment")
    assert "127.0.0.1" not in str(rows)


@pytest.mark.parametrize(
    ("content", "status"),
    [(b" " * (COMMENT_BYTES + 1), 413), (json.dumps({"text": "x" * 5_001}).encode(), 422), (b'{"text": " "}', 422)],
    ids=["bytes", "characters", "nothing"],
)
async def test_a_comment_has_its_bounds(town: Town, content: bytes, status: int) -> None:
    path = f"/charter-drafts/{(await published(town))['draft']}/comments"
    headers = {"Content-Type": "application/json"}
    assert (await town.ask("", "POST", path, content=content, headers=headers)).status_code == status


async def test_a_charter_that_cannot_be_played_is_not_put_out(town: Town) -> None:
    closes = (town.service.clock.now() + timedelta(days=30)).isoformat(timespec="milliseconds")
    body = {"title": "The next charter", "charter": "form = 1", "closes_at": closes}
    answer = await town.ask("admin", "POST", "/charter-drafts", body)
    assert (answer.status_code, answer.json()["errors"][0]["pointer"]) == (422, "/charter")
    past = body | {"charter": SHIPPED, "closes_at": "2001-01-01T00:00:00Z"}
    assert rule_of(await town.ask("admin", "POST", "/charter-drafts", past)) == (422, "closing-not-future")
    assert (await town.ask("mayor", "POST", "/charter-drafts", body)).status_code == 403
    assert (await town.ask("", "GET", "/charter-drafts/never")).status_code == 404


# --- fees ------------------------------------------------------------------------------------------------------------


async def test_a_fee_is_due_asked_to_be_waived_waived_due_again_and_paid(town: Town) -> None:
    path = f"/applications/{await town.application('lead')}/fee"
    fee = await town.got("lead", "GET", path)
    assert (fee["amount"], fee["state"], fee["at"]) == ("150.00", "due", None)
    ground = fee["grounds"][0]["id"]
    assert rule_of(await town.ask("lead", "POST", f"{path}/waiver-request", {"ground": "rain"})) == (
        422,
        "waiver-ground",
    )
    asked = await town.got("lead", "POST", f"{path}/waiver-request", {"ground": ground, "note": "a small town"})
    assert (asked["state"], asked["ground"], asked["note"]) == ("waiver-asked", ground, "a small town")
    assert (await town.ask("lead", "POST", f"{path}/waive", {"ground": ground})).status_code == 403
    assert (await town.got("admin", "POST", f"{path}/waive", {"ground": ground}))["state"] == "waived"
    assert rule_of(await town.ask("admin", "POST", f"{path}/pay", {"reference": "R-1"})) == (409, "fee-state")
    assert (await town.got("admin", "POST", f"{path}/reopen", {"note": "a mistake"}))["state"] == "due"
    paid = await town.got("admin", "POST", f"{path}/pay", {"reference": "R-1"})
    assert (paid["state"], paid["reference"], paid["ground"]) == ("paid", "R-1", "")
    listed = await town.got("admin", "GET", f"/cycles/{town.cycle}/fees")
    assert (listed["counts"], [one["reference"] for one in listed["fees"]]) == ({"paid": 1}, ["R-1"])
    assert (await town.ask("stranger", "GET", path)).status_code == 404
    assert (await town.ask("lead", "GET", f"/cycles/{town.cycle}/fees")).status_code == 403


async def test_an_unpaid_fee_keeps_nobody_from_applying(town: Town) -> None:
    application, _ = await town.submitted("lead")
    assert (await town.got("lead", "GET", f"/applications/{application}/fee"))["state"] == "due"


async def test_where_the_charter_asks_for_no_fee_there_is_none(town: Town) -> None:
    deadline = (town.service.clock.now() + timedelta(days=1)).isoformat(timespec="milliseconds")
    body = {"label": f"o-{opaque_id()}", "charter": SHIPPED, "deadline": deadline}
    cycle = (await town.got("admin", "POST", "/cycles", body))["cycle"]
    assert rule_of(await town.ask("admin", "GET", f"/cycles/{cycle}/fees")) == (409, "no-fee")


# --- research --------------------------------------------------------------------------------------------------------


async def test_partners_read_what_consenting_governments_submitted_once_the_cycle_is_closed(town: Town) -> None:
    yes, consenting = await town.submitted("yes")
    _, silent = await town.submitted("silent")
    path = f"/governments/{consenting}/research-consent"
    before = await town.got("yes", "GET", path)
    assert (before["consents"], before["since"]) == (False, None)
    await town.got("yes", "PUT", path, {"consents": True})
    assert (await town.ask("partner", "GET", "/research/applications")).text == ""
    await town.got("admin", "POST", f"/cycles/{town.cycle}/close")

    answer = await town.ask("partner", "GET", "/research/applications", params={"cycle": town.cycle})
    assert answer.headers["content-type"] == "application/jsonl"
    (line,) = [json.loads(one) for one in answer.text.splitlines()]
    assert (line["application"], line["identity"]["name"]) == (yes, "yes")
    assert {"claims", "answers", "charter_sha256"} <= line.keys()
    for told in ("contact", "manager@gov.example", "The Manager", silent):
        assert told not in answer.text

    await town.got("yes", "PUT", path, {"consents": False})
    assert (await town.ask("partner", "GET", "/research/applications")).text == ""
    log = await town.service.database.pool.fetch("select what, cycle, applications from private.export_log order by at")
    assert [tuple(row) for row in log] == [("research", "", 0), ("research", town.cycle, 1), ("research", "", 0)]


async def test_consent_is_the_leads_and_the_export_the_partners(town: Town) -> None:
    government = await town.government("lead")
    viewer = {"subject": "viewer", "role": "viewer"}
    await town.got("lead", "POST", f"/governments/{government}/members", viewer)
    path = f"/governments/{government}/research-consent"
    assert (await town.ask("viewer", "PUT", path, {"consents": True})).status_code == 403
    assert (await town.ask("stranger", "PUT", path, {"consents": True})).status_code == 404
    assert (await town.ask("stranger", "GET", path)).status_code == 404
    for who, status in (("lead", 403), ("admin", 403), ("", 401)):
        assert (await town.ask(who, "GET", "/research/applications")).status_code == status
    assert (await town.ask("partner", "GET", "/research/applications", params={"cycle": "never"})).status_code == 404
