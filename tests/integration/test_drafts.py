"""Drafts on the real parts: sections edited side by side, what became of each field, and what submitting would say."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Callable
from datetime import timedelta
from typing import Any

import orjson
import pytest
from structlog.testing import capture_logs

from services.chassis.ids import opaque_id
from services.chassis.issuer import Issuer
from services.chassis.service import Runtime, Service
from services.chassis.settings import Settings
from services.intake.applications.sections import joined, sections
from services.intake.cycles.domain import parsed
from services.intake.settings import IntakeSettings
from tests.applicants import SHIPPED, complete_draft
from tests.intake import Person, refused, started

RuntimeMaker = Callable[[type[Settings]], Runtime]

CHARTER = parsed(SHIPPED)
DRAFT = complete_draft(CHARTER, "city")
NAMES = list(sections(CHARTER))
ANSWERS = NAMES[0]
CRITERIA = [criterion.id for criterion in CHARTER.areas[0].criteria]
ONE, TWO = CRITERIA[:2]


class Team:
    """A government's people with an application in a cycle."""

    def __init__(self, svc: Service, admin: Person, people: dict[str, Person], application: str) -> None:
        self.service = svc
        self.admin = admin
        self.lead, self.editor, self.viewer = people["lead"], people["editor"], people["viewer"]
        self.stranger = people["stranger"]
        self.path = f"/applications/{application}"
        self.application = application

    def section(self, name: str) -> str:
        return f"{self.path}/sections/{name}"

    async def filled(self) -> None:
        """Fill the draft in completely."""
        await self.lead.saved(self.path, DRAFT)


@pytest.fixture
async def team(runtime: RuntimeMaker, issuer: Issuer) -> AsyncIterator[Team]:
    async with started(runtime(IntakeSettings), issuer) as intake:
        subjects = {role: opaque_id() for role in ("lead", "editor", "viewer", "stranger")}
        people = {role: intake.person("applicant", name) for role, name in subjects.items()}
        cycle = await intake.cycle(SHIPPED)
        government = await intake.government(people["lead"])
        for role in ("editor", "viewer"):
            await people["lead"].made(f"/governments/{government}/members", {"subject": subjects[role], "role": role})
        await intake.government(people["stranger"], name="Shelbyville")
        begun = await people["lead"].made(f"/cycles/{cycle}/applications", {"government": government})
        yield Team(intake.service, intake.admin, people, begun["application"])


def statement(text: str, criterion: str = ONE) -> dict[str, Any]:
    return {"answers": {criterion: {"statement": text}}}


# --- sections -------------------------------------------------------------------------------------------------------


async def test_an_empty_draft_shows_every_section_with_what_is_missing_in_order(team: Team) -> None:
    shown = await team.viewer.got(f"{team.path}/sections")
    assert [one["section"] for one in shown["sections"]] == NAMES
    assert [one["done"] for one in shown["sections"]] == [0] * len(NAMES)
    assert {one["etag"] for one in shown["sections"]} == {'"0"'}
    assert [one["pointer"] for one in shown["sections"][0]["missing"]] == [f"/answers/{name}" for name in CRITERIA]
    assert not shown["complete"]
    await team.filled()
    shown = await team.viewer.got(f"{team.path}/sections")
    assert shown["complete"]
    assert all(one["done"] == one["asked"] and one["complete"] for one in shown["sections"])
    assert shown["etag"] == (await team.lead("GET", team.path)).headers["etag"]


async def test_editors_of_different_sections_never_collide(team: Team) -> None:
    etags = dict.fromkeys(NAMES, '"0"')
    for number in range(3):
        patches: dict[str, dict[str, Any]] = {
            **{f"answers.{area.id}": statement(f"{number}", area.criteria[0].id) for area in CHARTER.areas},
            "facts": {"facts": {"feedback_tools_count": number}},
            "metrics": {"metrics": [{"id": "sla_compliance", "value": f"{number}"}]},
            "contact": {"contact": {"title": f"Mayor {number}"}},
        }
        people = [team.lead, team.editor] * len(NAMES)
        saves = [
            person("PATCH", team.section(name), patches[name], If_Match=etags[name])
            for name, person in zip(NAMES, people, strict=False)
        ]
        answers = await asyncio.gather(*saves)
        assert [answer.status_code for answer in answers] == [200] * len(NAMES), [answer.text for answer in answers]
        etags = {name: answer.headers["etag"] for name, answer in zip(NAMES, answers, strict=True)}
    assert set(etags.values()) == {'"3"'}


async def test_a_section_under_edit_keeps_nobody_from_another(team: Team) -> None:
    async with team.service.database.transaction() as tx:
        held = "select from private.section where application = $1 and section = 'facts' for update"
        await tx.db.execute(held, team.application)
        async with asyncio.timeout(5):
            await team.editor.saved(team.section("contact"), {"contact": {"title": "Mayor"}})


async def test_of_two_editors_of_one_section_the_second_gets_both_versions(team: Team) -> None:
    path = team.section(ANSWERS)
    refused(await team.lead("PATCH", path, statement("x")), 428, "if-match")
    base = (await team.lead.saved(path, statement("First.")))["etag"]
    await team.lead.saved(path, statement("Two.", TWO))
    stale = await team.editor("PATCH", path, statement("Mine."), If_Match=base)
    problem = refused(stale, 412, "section-changed")
    assert problem["yours"] == {"etag": base, "content": statement("Mine.")}
    assert problem["theirs"]["content"]["answers"] == {
        ONE: {"statement": "First."},
        TWO: {"statement": "Two."},
    }
    assert problem["theirs"]["etag"] == stale.headers["etag"] == (await team.editor("GET", path)).headers["etag"]
    assert problem["theirs"]["changed_by"]
    assert (await team.editor("PATCH", path, problem["yours"]["content"], If_Match=stale.headers["etag"])).is_success
    edits = [team.lead("PATCH", path, statement(f"{n}"), If_Match='"3"') for n in range(3)]
    assert sorted(answer.status_code for answer in await asyncio.gather(*edits)) == [200, 412, 412]
    refused(await team.lead("PATCH", path, statement("x"), If_Match='"of another world"'), 412, "section-changed")


async def test_a_section_takes_what_is_its_own_and_wrong_values_but_no_wrong_shapes(team: Team) -> None:
    path = team.section("contact")
    shown = await team.editor.saved(path, {"contact": {"email": "half-typed@", "title": "A\nB"}})
    assert [(one["rule"], one["pointer"]) for one in shown["problems"]] == [
        ("one-line", "/contact/title"),
        ("email-address", "/contact/email"),
    ]
    assert [one["pointer"] for one in shown["missing"]] == ["/contact/official"]
    assert (await team.viewer.got(path))["content"] == {"contact": {"email": "half-typed@", "title": "A\nB"}}
    assert [one["rule"] for one in (await team.viewer.got(team.path))["problems"]] == ["one-line", "email-address"]
    for patch, status, rule in (
        (statement("x"), 422, "other-section"),
        ({"answers": {"unheard_of": {}}}, 422, "unknown-criterion"),
        ({"contact": {"email": 7}}, 422, "string_type"),
        ({"contact": []}, 422, "model_type"),
        ({"status": "designated"}, 422, "extra_forbidden"),
        ({"acknowledged": ["facts:12"]}, 422, "other-section"),
        ({"acknowledged": ["x"]}, 422, "unknown-warning"),
    ):
        refused(await team.editor("PATCH", path, patch, If_Match="*"), status, rule)
    refused(await team.viewer("PATCH", path, {}, If_Match="*"), 403, "role-required")
    refused(await team.editor("PATCH", team.section("nowhere"), {}, If_Match="*"), 404, "not-found")
    assert (await team.viewer.got(path))["etag"] == '"1"'
    assert (await team.editor.saved(path, {"contact": {"title": "A\nB"}}))["etag"] == '"1"'


async def test_a_statement_of_a_million_characters_is_refused_with_the_limit(team: Team) -> None:
    answer = await team.editor("PATCH", team.section(ANSWERS), statement("x" * 1_000_000), If_Match="*")
    assert "at most 20000 characters" in refused(answer, 422, "string_too_long")["detail"]


async def test_a_draft_as_a_whole_has_a_limit_that_its_sections_share(team: Team) -> None:
    long = {"evidence": [{"url": "https://a.example", "quote": "\x01" * 20_000}] * 2}
    for name in NAMES[:2]:
        area = CHARTER.areas[NAMES.index(name)]
        answer = await team.editor("PATCH", team.section(name), {"answers": {area.criteria[0].id: long}}, If_Match="*")
        assert answer.is_success, answer.text
    more = {"answers": {CHARTER.areas[2].criteria[0].id: long}}
    problem = refused(await team.editor("PATCH", team.section(NAMES[2]), more, If_Match="*"), 422, "draft-too-large")
    assert "540,000" in problem["detail"]
    assert (await team.viewer.got(team.section(NAMES[2])))["content"] == {}


@pytest.mark.parametrize(
    "text",
    [
        "\u0645\u062f\u064a\u0646\u0629 \u200f311\u200e",
        "e\u0301 \u00e9 \u093f\u0940",
        "\U0001f469\u200d\U0001f467 \u202ex\u202c",
        " \r\n\t ",
    ],
    ids=["right to left", "combining", "joined and overridden", "blank"],
)
async def test_text_comes_back_byte_for_byte(team: Team, text: str) -> None:
    await team.filled()
    await team.editor.saved(team.section(ANSWERS), statement(f"a{text}", ONE))
    shown = await team.viewer("GET", team.section(ANSWERS))
    assert orjson.loads(shown.content)["content"]["answers"][ONE]["statement"].encode() == f"a{text}".encode()
    assert (await team.viewer.got(f"{team.path}/history"))["changes"][0]["after"] == f"a{text}"


async def test_the_whole_draft_and_its_sections_are_one(team: Team) -> None:
    await team.filled()
    whole = await team.lead.got(team.path)
    assert whole["tier"] == {"id": "t1", "label": "up to 75,000"}
    stale = whole["etag"]
    await team.editor.saved(team.section("contact"), {"contact": {"title": "Mayor"}})
    refused(await team.lead("PATCH", team.path, {}, If_Match=stale), 412, "draft-changed")
    before = (await team.lead.got(team.section("facts")))["etag"]
    await team.lead.saved(team.path, {"facts": {"gis_integrated": None}})
    assert (await team.lead.got(team.section("facts")))["etag"] != before
    assert (await team.lead.got(team.section("contact")))["content"]["contact"]["title"] == "Mayor"


async def test_edits_beside_a_submission_are_kept(team: Team) -> None:
    await team.filled()
    edits = [
        team.editor.saved(team.section(name), patch)
        for name, patch in (("contact", {"contact": {"title": "Mayor"}}), (ANSWERS, statement("Later.")))
    ]
    submitted, *saved = await asyncio.gather(team.lead.made(f"{team.path}/submit", {"attest": True}), *edits)
    assert submitted["version"] == 1
    assert [(await team.lead.got(team.section(one["section"])))["content"] for one in saved] == [
        one["content"] for one in saved
    ]


async def test_after_the_deadline_a_section_stays_as_it_is(team: Team) -> None:
    await team.filled()
    team.service.clock.shift(timedelta(days=2))
    answer = await team.editor("PATCH", team.section("contact"), {"contact": {"title": "Mayor"}}, If_Match="*")
    refused(answer, 409, "deadline-passed")
    assert (await team.viewer.got(team.section("contact")))["content"] == {"contact": DRAFT["contact"]}


# --- history --------------------------------------------------------------------------------------------------------


async def test_every_change_of_a_field_is_told_with_who_when_and_from_what_to_what(team: Team) -> None:
    path = team.section(ANSWERS)
    lead, editor = [
        (await person.saved(path, statement(text)))["changed_by"]
        for person, text in ((team.lead, "One."), (team.editor, "One. Two."))
    ]
    await team.editor.saved(path, {"answers": {ONE: None}})
    await team.editor.saved(team.section("contact"), {"contact": {"title": "Mayor", "channels": {"311": "311"}}})
    found = await team.viewer.got(f"{team.path}/history?section={ANSWERS}")
    field = f"/answers/{ONE}/statement"
    assert [(one["person"], one["field"], one["before"], one["after"]) for one in found["changes"]] == [
        (editor, field, "One. Two.", None),
        (editor, field, "One.", "One. Two."),
        (lead, field, None, "One."),
    ]
    assert lead != editor
    assert all(one["at"].endswith("Z") for one in found["changes"])
    fields = [one["field"] for one in (await team.viewer.got(f"{team.path}/history"))["changes"]]
    assert sorted(fields[:2]) == ["/contact/channels/311", "/contact/title"]
    only = await team.viewer.got(f"{team.path}/history?field=/contact/title")
    assert [one["after"] for one in only["changes"]] == ["Mayor"]


async def test_a_history_is_read_page_by_page_to_its_beginning(team: Team) -> None:
    for number in range(7):
        await team.editor.saved(team.section("contact"), {"contact": {"title": f"{number}"}})
    seen: list[str] = []
    where: str | None = f"{team.path}/history?limit=3"
    while where:
        page = await team.viewer.got(where)
        seen += [one["after"] for one in page["changes"]]
        assert len(page["changes"]) <= 3
        where = page["next"] and f"{team.path}/history?limit=3&before={page['next']}"
    assert seen == [f"{number}" for number in reversed(range(7))]


async def test_nothing_that_concurrent_editors_were_told_is_saved_is_lost(team: Team) -> None:
    """Each adds marks to what it read; who is refused decides by `theirs`. In the end every mark stands once."""
    chance = random.Random(7)
    marks = [f"<{number}>" for number in range(36)]

    async def add(person: Person, mark: str) -> None:
        area = chance.choice(CHARTER.areas[:2])
        path, criterion = team.section(f"answers.{area.id}"), area.criteria[0].id
        shown = await person("GET", path)
        content, tag = shown.json()["content"], shown.headers["etag"]
        while True:
            text = content.get("answers", {}).get(criterion, {}).get("statement", "") + mark
            answer = await person("PATCH", path, statement(text, criterion), If_Match=tag)
            if answer.is_success:
                return
            theirs = refused(answer, 412, "section-changed")["theirs"]
            content, tag = theirs["content"], theirs["etag"]

    async def edit(person: Person, mine: list[str]) -> None:
        for mark in mine:
            await add(person, mark)

    await asyncio.gather(
        edit(team.lead, marks[::4]),
        edit(team.editor, marks[1::4]),
        edit(team.lead, marks[2::4]),
        edit(team.editor, marks[3::4]),
    )
    whole = (await team.viewer.got(team.path))["draft"]["answers"]
    text = "".join(answer["statement"] for answer in whole.values())
    assert sorted(text.replace("><", ">|<").split("|")) == sorted(marks)
    await assert_history_makes_the_draft(team)


async def test_a_history_makes_the_present_draft(team: Team) -> None:
    await team.filled()
    await team.editor.saved(team.path, {"answers": {ONE: None, TWO: {"evidence": []}}, "contact": {"channels": None}})
    await team.editor.saved(team.section("facts"), {"facts": {"gis_integrated": False}, "assumed": []})
    await assert_history_makes_the_draft(team)


async def assert_history_makes_the_draft(team: Team) -> None:
    present: dict[str, Any] = {}
    page = await team.viewer.got(f"{team.path}/history?limit=200")
    assert page["next"] is None
    for change in reversed(page["changes"]):
        assert present.get(change["field"]) == change["before"]
        present[change["field"]] = change["after"]
    shown = (await team.viewer.got(f"{team.path}/sections"))["sections"]
    whole = joined({one["section"]: one["content"] for one in shown})
    for field, value in present.items():
        found: Any = whole
        for part in field.split("/")[1:]:
            found = found.get(part) if isinstance(found, dict) else None
        assert found == value, field


# --- comments -------------------------------------------------------------------------------------------------------


async def test_editors_talk_about_a_field_and_settle_it(team: Team) -> None:
    path, field = f"{team.path}/comments", f"/answers/{ONE}/statement"
    first = await team.editor.made(path, {"field": field, "text": "Is this still so?"})
    await team.lead.made(path, {"text": "We are nearly there."})
    assert [one["field"] for one in (await team.viewer.got(path))["comments"]] == [field, ""]
    assert [one["comment"] for one in (await team.viewer.got(f"{path}?field={field}"))["comments"]] == [
        first["comment"]
    ]
    settled = await team.lead.made(f"{path}/{first['comment']}/resolve")
    again = await team.editor.made(f"{path}/{first['comment']}/resolve")
    assert settled == again
    assert (settled["person"], settled["resolved_by"]) == (first["person"], settled["resolved_by"])
    assert settled["resolved_by"] != settled["person"]
    assert [one["text"] for one in (await team.viewer.got(f"{path}?unresolved=true"))["comments"]] == [
        "We are nearly there."
    ]
    page = await team.viewer.got(f"{path}?limit=1")
    assert len((await team.viewer.got(f"{path}?limit=1&after={page['next']}"))["comments"]) == 1
    refused(await team.editor("POST", path, {"field": "/nowhere", "text": "x"}), 422, "unknown-field")
    refused(await team.editor("POST", path, {"field": field, "text": ""}), 422, "invalid-request")
    refused(await team.viewer("POST", path, {"field": field, "text": "x"}), 403, "role-required")
    refused(await team.viewer("POST", f"{path}/{first['comment']}/resolve"), 403, "role-required")
    refused(await team.editor("POST", f"{path}/999999/resolve"), 404, "not-found")


async def test_what_editors_say_is_in_no_event(team: Team) -> None:
    await team.filled()
    await team.editor.made(f"{team.path}/comments", {"text": "between-us"})
    await team.lead.made(f"{team.path}/submit", {"attest": True})
    leaves = await team.service.database.pool.fetch("select leaf from chassis.event_log")
    records = await team.service.database.pool.fetch("select record from chassis.outbox")
    assert leaves
    assert not any(b"between-us" in bytes(row[0]) for row in (*leaves, *records))


# --- who may --------------------------------------------------------------------------------------------------------


async def test_a_draft_is_nobodys_but_its_peoples_and_who_leads_another_government_is_logged(team: Team) -> None:
    asked: tuple[tuple[str, str, object], ...] = (
        ("GET", "/sections", None),
        ("GET", f"/sections/{ANSWERS}", None),
        ("PATCH", f"/sections/{ANSWERS}", {}),
        ("GET", "/history", None),
        ("GET", "/comments", None),
        ("POST", "/comments", {"text": "x"}),
        ("POST", "/comments/1/resolve", None),
        ("POST", "/check", None),
        ("GET", "/attestation", None),
    )
    for method, path, body in asked:
        with capture_logs() as logs:
            answer = await team.stranger(method, team.path + path, body, If_Match="*")
        refused(answer, 404, "not-found")
        assert [line["log_level"] for line in logs] == ["warning"]
        refused(await team.admin(method, team.path + path, body, If_Match="*"), 404, "not-found")


# --- check and attestation ------------------------------------------------------------------------------------------


async def test_a_check_tells_every_problem_at_once_and_changes_nothing(team: Team) -> None:
    await team.filled()
    named = len({one["url"] for one in (await team.viewer.got(f"{team.path}/links"))["links"]})
    assert named
    assert (await team.viewer.made(f"{team.path}/check")) == {
        "application": team.application,
        "ready": True,
        "problems": [],
        "warnings": [],
        "links_not_looked_at": named,
    }
    await team.editor.saved(
        team.path,
        {
            "answers": {ONE: None, TWO: {"evidence": [{"url": "nowhere"}], "statement": "Ask 503-555-0142."}},
            "facts": {"mobile_channel": "smoke", "gis_integrated": None},
            "contact": {"email": None},
        },
    )
    before = await team.viewer.got(team.path)
    told = await team.viewer.made(f"{team.path}/check")
    assert not told["ready"]
    assert [(one["rule"], one["pointer"]) for one in told["problems"]] == [
        ("evidence-link", f"/answers/{TWO}/evidence/0/url"),
        ("unanswered", f"/answers/{ONE}"),
        ("fact-value", "/facts/mobile_channel"),
        ("missing-fact", "/facts/gis_integrated"),
        ("missing-contact", "/contact/email"),
        ("not-acknowledged", f"/answers/{TWO}/statement"),
    ]
    problem = refused(await team.lead("POST", f"{team.path}/submit", {"attest": True}), 422, "evidence-link")
    assert problem["errors"] == told["problems"]
    assert await team.viewer.got(team.path) == before
    team.service.clock.shift(timedelta(days=2))
    late = await team.viewer.made(f"{team.path}/check")
    assert [one["rule"] for one in late["problems"]] == ["deadline-passed", *(one["rule"] for one in told["problems"])]


async def test_a_warning_is_acknowledged_where_it_is_before_a_submission(team: Team) -> None:
    await team.filled()
    metric = {"id": "sla_compliance", "value": "2.5", "unit": "%", "period": "2010", "published": True}
    shown = await team.editor.saved(team.section("metrics"), {"metrics": [metric]})
    (warning,) = shown["warnings"]
    assert (warning["rule"], warning["acknowledged"], shown["complete"]) == ("implausible-metric", False, True)
    refused(await team.lead("POST", f"{team.path}/submit", {"attest": True}), 422, "not-acknowledged")
    shown = await team.editor.saved(team.section("metrics"), {"acknowledged": [warning["id"]]})
    assert shown["warnings"][0]["acknowledged"]
    assert (await team.viewer.made(f"{team.path}/check"))["ready"]
    assert (await team.lead.made(f"{team.path}/submit", {"attest": True}))["version"] == 1
    assert (await team.lead.got(team.path))["draft"]["acknowledged"] == [warning["id"]]


async def test_an_official_attests_to_the_list_that_was_read(team: Team) -> None:
    await team.filled()
    shown = await team.viewer.got(f"{team.path}/attestation")
    assert (shown["not_designated"], shown["confidential"][2]) == ([], "/contact/email")
    assert all(f"- {line}\n" in shown["text"] for line in (*shown["designated"], *shown["never"]))
    submit = f"{team.path}/submit"
    refused(await team.lead("POST", submit, {"attest": True, "sha256": "0" * 64}), 422, "attestation-changed")
    refused(await team.lead("POST", submit, {"attest": False, "sha256": shown["sha256"]}), 422, "not-attested")
    assert (await team.lead.made(submit, {"attest": True, "sha256": shown["sha256"]}))["version"] == 1
    assert (await team.lead.made(submit, {"attest": True}))["version"] == 2
