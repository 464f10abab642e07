"""Files on the real parts: a draft out and in as JSON and as a spreadsheet, and a whole cycle for the program."""

from __future__ import annotations

import csv
import json
from collections.abc import AsyncIterator, Callable
from datetime import timedelta
from io import BytesIO, StringIO
from typing import Any

import httpx
import pytest
from python_calamine import CalamineWorkbook

from services.chassis.ids import opaque_id
from services.chassis.issuer import Issuer
from services.chassis.service import Runtime, Service
from services.chassis.settings import Settings
from services.intake.applications.drafts import Draft
from services.intake.cycles.domain import parsed
from services.intake.exchange import form
from services.intake.exchange.forms import ApplicationFile, SubmittedLine
from services.intake.exchange.spreadsheet import form_of
from services.intake.exchange.workbook import written
from services.intake.settings import IntakeSettings
from tests.applicants import PROGRAMS, SHIPPED, complete_draft
from tests.intake import PROFILE, rule_of, served

RuntimeMaker = Callable[[type[Settings]], Runtime]

CHARTER = parsed(SHIPPED)
DRAFT = complete_draft(CHARTER, "city")
CRITERIA = list(CHARTER.criteria("city"))
FORMULA = '=HYPERLINK("http://evil.example")'
SPREADSHEET = "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"


class Desk:
    """A government's lead, a viewer, a stranger and the program around one application."""

    def __init__(self, svc: Service, client: httpx.AsyncClient, issuer: Issuer) -> None:
        self.service = svc
        self.client = client
        self.issuer = issuer
        self.cycle = self.application = self.government = ""

    async def ask(
        self, who: str, method: str, path: str, body: object = None, *, role: str = "applicant", **more: Any
    ) -> httpx.Response:
        headers = {"Authorization": f"Bearer {self.issuer.token(role, who)}", **more.pop("headers", {})}
        if body is not None:
            more["json"] = body
        return await self.client.request(method, f"/v1{path}", headers=headers, **more)

    async def made(self, who: str, method: str, path: str, body: object = None, **more: Any) -> Any:
        answer = await self.ask(who, method, path, body, **more)
        assert answer.is_success, answer.text
        return answer.json()

    async def admin(self, method: str, path: str, body: object = None, **more: Any) -> httpx.Response:
        return await self.ask("admin-1", method, path, body, role="program-admin", **more)

    async def import_form(self, content: bytes, who: str = "lead", match: str = "*", **query: str) -> httpx.Response:
        return await self.ask(
            who,
            "POST",
            f"/applications/{self.application}/import.xlsx",
            content=content,
            headers={"Content-Type": SPREADSHEET, "If-Match": match},
            params=query,
        )

    async def draft(self) -> dict[str, Any]:
        found = await self.made("lead", "GET", f"/applications/{self.application}/export")
        draft: dict[str, Any] = found["draft"]
        return draft

    async def submitted(self, name: str, draft: dict[str, Any]) -> str:
        """One more government's application, submitted."""
        lead = f"lead-of-{name}"
        government = await self.made(lead, "POST", "/governments", profile(name))
        body = {"government": government["government"]}
        started = await self.made(lead, "POST", f"/cycles/{self.cycle}/applications", body)
        path = f"/applications/{started['application']}"
        await self.made(lead, "POST", f"{path}/import", {"draft": draft}, headers={"If-Match": "*"})
        await self.made(lead, "POST", f"{path}/submit", {"attest": True})
        return str(started["application"])


def profile(name: str) -> dict[str, Any]:
    return {**PROFILE, "name": name}


@pytest.fixture
async def desk(runtime: RuntimeMaker, issuer: Issuer) -> AsyncIterator[Desk]:
    async with served(runtime(IntakeSettings)) as (svc, client):
        made = Desk(svc, client, issuer)
        deadline = (svc.clock.now() + timedelta(days=1)).isoformat(timespec="milliseconds")
        body = {"label": f"x-{opaque_id()}", "charter": SHIPPED, "deadline": deadline}
        made.cycle = (await made.admin("POST", "/cycles", body)).json()["cycle"]
        made.government = (await made.made("lead", "POST", "/governments", profile("Springfield")))["government"]
        viewer = {"subject": "viewer", "role": "viewer"}
        await made.made("lead", "POST", f"/governments/{made.government}/members", viewer)
        await made.made("stranger", "POST", "/governments", profile("Shelbyville"))
        started = await made.made("lead", "POST", f"/cycles/{made.cycle}/applications", {"government": made.government})
        made.application = started["application"]
        yield made


# --- JSON ------------------------------------------------------------------------------------------------------------


async def test_a_file_that_was_exported_is_imported_as_it_was(desk: Desk) -> None:
    path = f"/applications/{desk.application}"
    taken = await desk.made("lead", "POST", f"{path}/import", {"draft": DRAFT}, headers={"If-Match": '"0"'})
    assert (taken["kept"], taken["problems"], taken["missing"]) == (True, [], [])
    assert "/contact/official" in taken["changed"]
    answer = await desk.ask("viewer", "GET", f"{path}/export")
    file = answer.json()
    assert (file["form"], file["cycle"], file["draft"]) == ("cec-draft/1", desk.cycle, DRAFT)
    assert ApplicationFile.model_validate(file).draft == Draft.model_validate(DRAFT)
    again = await desk.made("lead", "POST", f"{path}/import", file, headers={"If-Match": answer.headers["etag"]})
    assert (again["changed"], again["etag"]) == ([], answer.headers["etag"])


async def test_an_import_replaces_what_was_there_and_the_history_still_has_it(desk: Desk) -> None:
    path = f"/applications/{desk.application}"
    await desk.made("lead", "POST", f"{path}/import", {"draft": DRAFT}, headers={"If-Match": "*"})
    only = {"answers": {CRITERIA[0]: {"statement": "Only this.", "not_applicable": None}}}
    await desk.made("lead", "POST", f"{path}/import", {"draft": only}, headers={"If-Match": "*"})
    assert await desk.draft() == {"answers": {CRITERIA[0]: {"statement": "Only this."}}}
    field = f"/answers/{CRITERIA[1]}/statement"
    history = await desk.made("lead", "GET", f"{path}/history", params={"field": field})
    assert [one["before"] for one in history["changes"]] == [DRAFT["answers"][CRITERIA[1]]["statement"], None]


async def test_an_import_that_is_only_tried_changes_nothing(desk: Desk) -> None:
    path = f"/applications/{desk.application}/import"
    tried = await desk.made("lead", "POST", path, {"draft": DRAFT}, headers={"If-Match": "*"}, params={"trial": "true"})
    assert (tried["kept"], tried["etag"], bool(tried["changed"])) == (False, '"0"', True)
    assert await desk.draft() == {}


async def test_all_that_cannot_be_kept_is_told_at_once_with_pointers_into_the_file(desk: Desk) -> None:
    wrong = {"answers": {"no_such": {}, CRITERIA[0]: {"statement": 1}}, "facts": {"no_such": 1}, "more": 1}
    answer = await desk.ask(
        "lead", "POST", f"/applications/{desk.application}/import", {"draft": wrong}, headers={"If-Match": "*"}
    )
    assert answer.status_code == 422
    assert {one["pointer"] for one in answer.json()["errors"]} == {
        "/draft/answers/no_such",
        f"/draft/answers/{CRITERIA[0]}/statement",
        "/draft/facts/no_such",
        "/draft/more",
    }
    assert await desk.draft() == {}


async def test_an_import_is_of_what_was_read_and_by_who_may_edit(desk: Desk) -> None:
    path = f"/applications/{desk.application}/import"
    body = {"draft": DRAFT}
    assert (await desk.ask("lead", "POST", path, body)).status_code == 428
    assert (await desk.ask("lead", "POST", path, body, headers={"If-Match": '"7"'})).status_code == 412
    assert (await desk.ask("viewer", "POST", path, body, headers={"If-Match": "*"})).status_code == 403
    assert (await desk.ask("stranger", "POST", path, body, headers={"If-Match": "*"})).status_code == 404
    for name in ("export", "export.xlsx"):
        assert (await desk.ask("stranger", "GET", f"/applications/{desk.application}/{name}")).status_code == 404
    assert (await desk.import_form(b"", who="viewer")).status_code == 403
    assert (await desk.import_form(b"", who="stranger")).status_code == 404
    await desk.admin("POST", f"/cycles/{desk.cycle}/close")
    closed = await desk.ask("lead", "POST", path, body, headers={"If-Match": "*"})
    assert rule_of(closed) == (409, "deadline-passed")


async def test_the_sample_application_is_a_file_that_can_be_imported(desk: Desk) -> None:
    sample = json.loads((PROGRAMS / "sample-application.json").read_text(encoding="utf-8"))
    path = f"/applications/{desk.application}/import"
    taken = await desk.made("lead", "POST", path, sample, headers={"If-Match": "*"})
    assert (taken["problems"], taken["missing"]) == ([], [])


# --- spreadsheets ----------------------------------------------------------------------------------------------------


async def test_a_form_goes_out_is_filled_in_and_comes_back(desk: Desk) -> None:
    path = f"/applications/{desk.application}"
    blank = await desk.ask("lead", "GET", f"{path}/export.xlsx")
    assert blank.headers["content-type"] == SPREADSHEET
    assert blank.headers["content-disposition"].startswith("attachment")
    assert CalamineWorkbook.from_filelike(BytesIO(blank.content)).sheet_names == [form.READ_ME, *form.LAYOUT]
    answers = DRAFT["answers"] | {CRITERIA[0]: {"statement": f"{FORMULA}\nمرحبا"}}  # noqa: RUF001  (Arabic)
    draft = Draft.model_validate(DRAFT | {"answers": answers})
    taken = await desk.import_form(form_of(draft, CHARTER, "city"), match=blank.headers["etag"])
    assert taken.status_code == 200, taken.text
    assert taken.json()["problems"] == []
    assert Draft.model_validate(await desk.draft()) == draft
    out = await desk.ask("viewer", "GET", f"{path}/export.xlsx")
    again = await desk.import_form(out.content, match=out.headers["etag"])
    assert again.json()["changed"] == []


async def test_what_was_acknowledged_stays_when_a_form_comes_in(desk: Desk) -> None:
    path = f"/applications/{desk.application}"
    draft = DRAFT | {"acknowledged": ["contact:abc"]}
    await desk.made("lead", "PATCH", path, draft, headers={"If-Match": "*"})
    out = await desk.ask("lead", "GET", f"{path}/export.xlsx")
    await desk.import_form(out.content)
    assert (await desk.draft())["acknowledged"] == ["contact:abc"]


async def test_a_forms_mistakes_are_told_by_sheet_row_and_column(desk: Desk) -> None:
    sheets = form.rows(Draft.model_validate(DRAFT), CHARTER, "city")
    sheets["Answers"][3][0] = "no_such"
    sheets["Facts"][1][5] = "maybe"
    sheets["Metrics"][1][3:] = ["12", "%", "2010", "perhaps", ""]
    columns = {name: len(rows[0]) for name, rows in sheets.items()}
    content = written(sheets, {name: [10] * count for name, count in columns.items()}, dict.fromkeys(columns, ()))
    answer = await desk.import_form(content)
    assert rule_of(answer) == (422, "form")
    cells = {(one["sheet"], one["row"], one["column"]): one["rule"] for one in answer.json()["errors"]}
    assert cells == {
        ("Answers", "4", "A"): "unknown-criterion",
        ("Facts", "2", "F"): "yes-or-no",
        ("Metrics", "2", "G"): "bool_type",
    }
    assert await desk.draft() == {}


async def test_what_is_no_workbook_is_refused_and_so_is_what_is_too_large(desk: Desk) -> None:
    assert rule_of(await desk.import_form(b"not a workbook")) == (422, "workbook")
    assert rule_of(await desk.import_form(b"")) == (422, "workbook")
    assert rule_of(await desk.import_form(bytes(2_000_001))) == (413, "body-too-large")


# --- a whole cycle ---------------------------------------------------------------------------------------------------


async def test_a_whole_cycle_goes_out_in_three_shapes_and_who_took_it_is_noted(desk: Desk) -> None:
    answers = DRAFT["answers"] | {CRITERIA[0]: {"statement": FORMULA, "evidence": [{"url": "https://gov.example/a"}]}}
    names = [await desk.submitted(name, DRAFT | {"answers": answers}) for name in ("Eugene", "Salem")]
    withdrawn = await desk.submitted("Bend", DRAFT)
    await desk.made("lead-of-Bend", "POST", f"/applications/{withdrawn}/withdraw", {})
    path = f"/cycles/{desk.cycle}/export"
    assert rule_of(await desk.admin("GET", path)) == (403, "not-closed")
    await desk.admin("POST", f"/cycles/{desk.cycle}/close")

    lines = [json.loads(line) for line in (await desk.admin("GET", path)).text.splitlines()]
    assert [line["application"] for line in lines] == sorted(names)
    assert {line["answers"][CRITERIA[0]]["statement"] for line in lines} == {FORMULA}
    assert [SubmittedLine.model_validate_json(json.dumps(line)).version for line in lines] == [1, 1]
    assert not any("score" in name for name in lines[0])

    table = await desk.admin("GET", path, params={"format": "csv"})
    rows = list(csv.DictReader(StringIO(table.text)))
    assert {row["name"] for row in rows} == {"Eugene", "Salem"}
    assert rows[0][f"statement {CRITERIA[0]}"] == "'" + FORMULA
    assert rows[0][f"evidence {CRITERIA[0]}"] == "https://gov.example/a"
    assert rows[0]["email"] == "manager@gov.example"

    book = await desk.admin("GET", path, params={"format": "xlsx"})
    cells = CalamineWorkbook.from_filelike(BytesIO(book.content)).get_sheet_by_name("Applications").to_python()
    assert [len(row) for row in cells] == [len(rows[0])] * 3
    assert cells[1][cells[0].index(f"statement {CRITERIA[0]}")] == FORMULA

    log = await desk.service.database.pool.fetch(
        "select subject, what, applications from private.export_log order by at"
    )
    assert [tuple(row) for row in log] == [("admin-1", what, 2) for what in ("jsonl", "csv", "xlsx")]


async def test_more_applications_than_a_page_all_go_out(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("services.intake.exchange.store.PAGE", 2)
    names = {await desk.submitted(f"City {number}", DRAFT) for number in range(4)}
    await desk.admin("POST", f"/cycles/{desk.cycle}/close")
    lines = (await desk.admin("GET", f"/cycles/{desk.cycle}/export")).text.splitlines()
    assert {json.loads(line)["application"] for line in lines} == names
    assert len(lines) == 4


async def test_a_cycle_goes_out_to_the_program_alone(desk: Desk) -> None:
    path = f"/cycles/{desk.cycle}/export"
    assert (await desk.ask("lead", "GET", path)).status_code == 403
    assert (await desk.ask("partner-1", "GET", path, role="partner")).status_code == 403
    assert (await desk.client.get(f"/v1{path}")).status_code == 401
    assert (await desk.admin("GET", "/cycles/never/export")).status_code == 404
    assert (await desk.admin("GET", path, params={"format": "pdf"})).status_code == 422
