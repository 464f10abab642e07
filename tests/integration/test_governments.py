"""Governments on the real parts: registered, joined by invitation, confirmed, merged, recovered; and who is refused."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from datetime import timedelta
from typing import Any, ClassVar

import httpx
import orjson
import pytest
import structlog
from joserfc import jwt

from schemas.charter import Charter
from schemas.envelope import unb64url
from services.chassis.ids import opaque_id
from services.chassis.issuer import Issuer
from services.chassis.service import Runtime
from services.chassis.settings import Settings
from services.intake.settings import IntakeSettings
from tests import intake as shared
from tests.applicants import SMALL, complete_draft
from tests.intake import Person, refused, running

RuntimeMaker = Callable[[type[Settings]], Runtime]

DRAFT = complete_draft(Charter.parse(SMALL), "municipio")
PROFILE = {
    "name": "Tlaquepaque",
    "state": "Jalisco",
    "kind": "municipio",
    "population": 687_127,
    "population_source": "Censo",
    "population_year": 2011,
    "website": "https://tlaquepaque.example",
    "email_domain": "Tlaquepaque.Example",
}


class Intake(shared.Intake):
    """The service under test and those who use it."""

    profile: ClassVar[dict[str, Any]] = PROFILE

    def claiming(self, claims: dict[str, object]) -> Person:
        """An applicant whose token says `claims`, too."""
        header, body, _ = self.issuer.token("applicant", opaque_id()).split(".")
        told = {**orjson.loads(unb64url(body)), **claims}
        key = self.issuer._key
        return Person(self.client, jwt.encode(orjson.loads(unb64url(header)), told, key, algorithms=["Ed25519"]))

    async def cycle(self, charter: str = SMALL, **delta: float) -> str:
        return await super().cycle(charter, **(delta or {"days": 30}))

    async def draft(self, cycle: str, lead: Person, government: str) -> str:
        made = await lead.done("POST", f"/cycles/{cycle}/applications", {"government": government})
        path = f"/applications/{made['application']}"
        await lead.done("PATCH", path, DRAFT, If_Match="*")
        return str(made["application"])

    async def submit(self, cycle: str, lead: Person, government: str) -> str:
        application = await self.draft(cycle, lead, government)
        await lead.done("POST", f"/applications/{application}/submit", {"attest": True})
        return application

    async def join(self, lead: Person, government: str, who: Person, role: str = "editor") -> str:
        """Have `who` join by invitation; their person id."""
        made = await lead.done("POST", f"/governments/{government}/invitations", {"role": role})
        return str((await who.done("POST", "/invitations/accept", {"token": made["token"]}))["person"])

    async def recorded(self, subject: str) -> list[tuple[str, dict[str, Any]]]:
        """(type without service and version, public data) of what was recorded about `subject`, in order."""
        rows = await self.pool.fetch(
            "select type, leaf from chassis.event_log where subject = $1 order by sequence", subject
        )
        return [(".".join(row["type"].split(".")[1:-1]), orjson.loads(row["leaf"])["data"]) for row in rows]

    async def registration(self, government: str) -> dict[str, Any]:
        """A registration as the program sees it."""
        page = await self.admin.done("GET", "/governments")
        return next(one for one in page["governments"] if one["government"] == government)

    async def merge(self, duplicate: str, into: str, **more: object) -> httpx.Response:
        return await self.admin("POST", f"/governments/{duplicate}/merge", {"into": into, **more})


@pytest.fixture
async def intake(runtime: RuntimeMaker, issuer: Issuer) -> AsyncIterator[Intake]:
    async with running(runtime(IntakeSettings), issuer, Intake) as made:
        yield made


# --- the profile -----------------------------------------------------------------------------------------------------


async def test_a_registered_government_is_unconfirmed_and_shows_what_was_said(intake: Intake) -> None:
    lead = intake.person()
    government = await intake.government(lead)
    shown = await lead("GET", f"/governments/{government}")
    view = shown.json()
    assert {name: view[name] for name in PROFILE} == {**PROFILE, "email_domain": "tlaquepaque.example"}
    assert (view["standing"], view["role"], view["etag"]) == ("unconfirmed", "lead", shown.headers["etag"])
    refused(await intake.person()("GET", f"/governments/{government}"), 404, "not-found")


@pytest.mark.parametrize(
    "profile",
    [
        {"population": 0},
        {"population": -5},
        {"population_year": 1},
        {"population_year": "2011"},
        {"email_domain": "example"},
        {"email_domain": "someone@gov.example"},
        {"email_domain": "-gov.example"},
    ],
    ids=str,
)
async def test_what_does_not_fit_is_refused_when_it_is_registered_and_when_it_is_edited(
    intake: Intake, profile: dict[str, object]
) -> None:
    lead = intake.person()
    problem = refused(await lead("POST", "/governments", {**PROFILE, **profile}), 422, "invalid-request")
    assert [error["pointer"] for error in problem["errors"]] == [f"/{next(iter(profile))}"]
    government = await intake.government(lead)
    refused(await lead("PATCH", f"/governments/{government}", profile, If_Match="*"), 422, "invalid-request")


async def test_a_population_counted_in_a_year_to_come_is_refused(intake: Intake) -> None:
    year = {"population_year": intake.clock.now().year + 1}
    lead = intake.person()
    refused(await lead("POST", "/governments", {**PROFILE, **year}), 422, "population-year")
    government = await intake.government(lead)
    refused(await lead("PATCH", f"/governments/{government}", year, If_Match="*"), 422, "population-year")


async def test_a_kind_that_no_open_cycle_takes_is_told_with_those_that_it_may_be(intake: Intake) -> None:
    lead = intake.person()
    government = await intake.government(lead, kind="moon")  # none is open, and none is known to take it or not
    await intake.cycle()
    problem = refused(await lead("POST", "/governments", {**PROFILE, "kind": "star"}), 422, "kind")
    assert problem["errors"][0]["pointer"] == "/kind"
    path = f"/governments/{government}"
    refused(await lead("PATCH", path, {"kind": "star"}, If_Match="*"), 422, "kind")
    assert (await lead("PATCH", path, {"population": 7}, If_Match="*")).status_code == 200


async def test_a_lead_edits_the_profile_that_was_read_and_its_history_says_who_and_what(intake: Intake) -> None:
    lead, editor = intake.person(), intake.person()
    government = await intake.government(lead)
    path = f"/governments/{government}"
    await intake.join(lead, government, editor)
    etag = (await lead("GET", path)).headers["etag"]
    refused(await lead("PATCH", path, {"population": 1}), 428, "if-match")
    refused(await editor("PATCH", path, {"population": 1}, If_Match=etag), 403, "role-required")
    refused(await intake.person()("PATCH", path, {"population": 1}, If_Match=etag), 404, "not-found")
    edits = ({"population": 700_000, "population_year": None}, {"name": "San Pedro Tlaquepaque"})
    answers = await asyncio.gather(*(lead("PATCH", path, edit, If_Match=etag) for edit in edits))
    assert sorted(answer.status_code for answer in answers) == [200, 412]
    (won,) = [answer for answer in answers if answer.is_success]
    (lost,) = [answer for answer in answers if not answer.is_success]
    assert refused(lost, 412, "changed-meanwhile")
    assert lost.headers["etag"] == won.headers["etag"] != etag
    again = edits[answers.index(lost)]
    view = await lead.done("PATCH", path, again, If_Match=won.headers["etag"])
    assert (view["population"], view["population_year"], view["name"]) == (700_000, None, "San Pedro Tlaquepaque")
    assert await lead.done("PATCH", path, again, If_Match="*") == view
    page = await editor.done("GET", f"{path}/history?limit=2")
    assert [line["what"] for line in page["history"]] == ["profile-changed"] * 2
    assert page["history"][0]["by"] == view["person"]
    assert {"before": 687_127, "after": 700_000} in [line["detail"].get("population") for line in page["history"]]
    rest = await editor.done("GET", f"{path}/history?before={page['next']}")
    assert [line["what"] for line in rest["history"]] == ["member-joined", "invited", "registered"]
    assert rest["next"] is None


async def test_an_edit_of_the_profile_does_not_change_what_was_submitted(intake: Intake) -> None:
    lead, cycle = intake.person(), await intake.cycle()
    government = await intake.government(lead)
    application = await intake.submit(cycle, lead, government)
    before = await intake.pool.fetchval("select leaf from chassis.event_log where subject = $1", application)
    await lead.done("PATCH", f"/governments/{government}", {"name": "Tonalá", "population": 5}, If_Match="*")
    rows = await intake.pool.fetch("select leaf from chassis.event_log where subject = $1", application)
    assert [row["leaf"] for row in rows] == [before]
    assert (await lead.done("GET", f"/applications/{application}"))["state"] == "submitted"


# --- people ----------------------------------------------------------------------------------------------------------


async def test_an_invitation_makes_a_member_once_and_its_token_is_kept_nowhere(intake: Intake) -> None:
    lead, invited, other = intake.person(), intake.person(), intake.person()
    government = await intake.government(lead)
    path = f"/governments/{government}/invitations"
    made = await lead.done("POST", path, {"role": "editor", "email": "finance@gov.example"})
    refused(await other("POST", "/invitations/accept", {"token": made["token"] + "x"}), 404, "not-found")
    joined = await invited.done("POST", "/invitations/accept", {"token": made["token"]})
    assert (joined["government"], joined["role"]) == (government, "editor")
    for late in (invited, other):
        refused(await late("POST", "/invitations/accept", {"token": made["token"]}), 409, "invitation-used")
    (listed,) = await lead.done("GET", path)
    assert (listed["state"], listed["accepted_by"], listed["email"]) == (
        "accepted",
        joined["person"],
        "finance@gov.example",
    )
    assert "token" not in listed
    assert [kind for kind, _ in await intake.recorded(government)] == ["member.joined"] * 2
    refused(await lead("DELETE", f"{path}/{made['invitation']}"), 409, "invitation-used")
    (kept,) = await intake.pool.fetch("select * from private.invitation")
    assert made["token"] not in str(tuple(kept))
    assert made["token"].encode() not in b"".join(value for value in kept if isinstance(value, bytes))


async def test_a_repeated_key_is_answered_with_the_invitation_but_not_with_its_token(intake: Intake) -> None:
    lead = intake.person()
    path = f"/governments/{await intake.government(lead)}/invitations"
    key = opaque_id()
    first, second = [await lead("POST", path, {"role": "viewer"}, Idempotency_Key=key) for _ in range(2)]
    assert (first.status_code, second.status_code) == (201, 201)
    assert second.headers["idempotency-replayed"] == "true"
    assert second.json() == {**first.json(), "token": None}
    assert len(await lead.done("GET", path)) == 1
    kept = await intake.pool.fetchval("select body from private.idempotency where key = $1", key)
    assert first.json()["token"].encode() not in kept


async def test_two_who_accept_one_invitation_at_once_are_one_member(intake: Intake) -> None:
    lead, people = intake.person(), [intake.person() for _ in range(4)]
    government = await intake.government(lead)
    made = await lead.done("POST", f"/governments/{government}/invitations", {"role": "viewer"})
    answers = await asyncio.gather(*(one("POST", "/invitations/accept", {"token": made["token"]}) for one in people))
    assert sorted(answer.status_code for answer in answers) == [201, 409, 409, 409]
    assert len(await lead.done("GET", f"/governments/{government}/members")) == 2


async def test_an_invitation_that_was_revoked_or_has_ended_is_refused_as_such(intake: Intake) -> None:
    lead, late = intake.person(), intake.person()
    government = await intake.government(lead)
    path = f"/governments/{government}/invitations"
    gone = await lead.done("POST", path, {"role": "viewer"})
    await lead.done("DELETE", f"{path}/{gone['invitation']}")
    refused(await late("POST", "/invitations/accept", {"token": gone["token"]}), 409, "invitation-revoked")
    refused(await lead("DELETE", f"{path}/{gone['invitation']}"), 409, "invitation-revoked")
    refused(await lead("DELETE", f"{path}/{opaque_id()}"), 404, "not-found")
    short = await lead.done("POST", path, {"role": "viewer", "days": 1})
    intake.clock.shift(timedelta(days=1))
    refused(await late("POST", "/invitations/accept", {"token": short["token"]}), 409, "invitation-expired")
    states = {one["invitation"]: one["state"] for one in await lead.done("GET", path)}
    assert states == {gone["invitation"]: "revoked", short["invitation"]: "expired"}


async def test_only_a_lead_invites_and_a_member_is_not_invited_twice(intake: Intake) -> None:
    lead, editor = intake.person(), intake.person()
    government = await intake.government(lead)
    path = f"/governments/{government}/invitations"
    await intake.join(lead, government, editor)
    for body in (
        {"role": "owner"},
        {"role": "lead", "days": 0},
        {"role": "lead", "days": 61},
        {"role": "lead", "x": 1},
    ):
        refused(await lead("POST", path, body), 422, "invalid-request")
    refused(await editor("POST", path, {"role": "viewer"}), 403, "role-required")
    refused(await editor("GET", path), 403, "role-required")
    refused(await intake.person()("POST", path, {"role": "viewer"}), 404, "not-found")
    made = await lead.done("POST", path, {"role": "lead"})
    refused(await editor("POST", "/invitations/accept", {"token": made["token"]}), 409, "member-already")
    narrow = intake.person(government=opaque_id())
    refused(await narrow("POST", "/invitations/accept", {"token": made["token"]}), 404, "not-found")
    refused(await intake.admin("POST", "/invitations/accept", {"token": made["token"]}), 403, "role-required")
    assert [one["state"] for one in await lead.done("GET", path)] == ["open", "accepted"]


async def test_a_role_changes_by_an_event_and_a_viewer_who_edits_is_refused(intake: Intake) -> None:
    lead, editor, cycle = intake.person(), intake.person(), await intake.cycle()
    government = await intake.government(lead)
    person = await intake.join(lead, government, editor)
    application = await intake.draft(cycle, editor, government)
    member = f"/governments/{government}/members/{person}"
    assert (await lead.done("PATCH", member, {"role": "viewer"}))["role"] == "viewer"
    refused(await editor("PATCH", f"/applications/{application}", {}, If_Match="*"), 403, "role-required")
    assert (await editor("GET", f"/applications/{application}")).status_code == 200
    refused(await editor("PATCH", member, {"role": "lead"}), 403, "role-required")
    await lead.done("PATCH", member, {"role": "viewer"})
    events = await intake.recorded(government)
    assert [kind for kind, _ in events] == ["member.joined", "member.joined", "member.role-changed"]
    assert {name: events[-1][1][name] for name in ("person", "role")} == {"person": person, "role": "viewer"}
    refused(await lead("PATCH", f"/governments/{government}/members/{opaque_id()}", {"role": "lead"}), 404, "not-found")


async def test_two_leads_who_remove_or_demote_each_other_leave_one(intake: Intake) -> None:
    for method, body in (("DELETE", None), ("PATCH", {"role": "viewer"})):
        one, other = intake.person(), intake.person()
        government = await intake.government(one)
        second = await intake.join(one, government, other, "lead")
        first = (await one.got("/me"))["person"]
        members = f"/governments/{government}/members"
        answers = await asyncio.gather(
            one(method, f"{members}/{second}", body), other(method, f"{members}/{first}", body)
        )
        assert sorted(answer.is_success for answer in answers) == [False, True]
        left = one if answers[0].is_success else other
        assert [member["role"] for member in await left.done("GET", members)].count("lead") == 1
        mine = f"{members}/{(await left.got('/me'))['person']}"
        refused(await left("DELETE", mine), 409, "last-lead")
        refused(await left("PATCH", mine, {"role": "editor"}), 409, "last-lead")


async def test_a_member_leaves_alone_and_removes_nobody_else(intake: Intake) -> None:
    lead, viewer = intake.person(), intake.person()
    government = await intake.government(lead)
    person = await intake.join(lead, government, viewer, "viewer")
    members = f"/governments/{government}/members"
    refused(await viewer("DELETE", f"{members}/{(await lead.got('/me'))['person']}"), 403, "role-required")
    await viewer.done("DELETE", f"{members}/{person}")
    refused(await viewer("GET", f"/governments/{government}"), 404, "not-found")
    assert (await intake.recorded(government))[-1][0] == "member.left"


async def test_what_is_kept_about_me_is_shown_changed_by_me_and_in_no_event(intake: Intake) -> None:
    lead, me = intake.person(), intake.person(email="Ana@tlaquepaque.example")
    government = await intake.government(lead)
    path = f"/governments/{government}/invitations"
    made = await lead.done("POST", path, {"role": "editor", "email": "ana@Tlaquepaque.example"})
    nothing = await me.got("/me")
    assert (nothing["person"], nothing["name"], nothing["email"], nothing["memberships"]) == (None, "", "", [])
    assert [(one["invitation"], one["role"]) for one in nothing["invited"]] == [(made["invitation"], "editor")]
    assert [one["government"] for one in nothing["of_my_domain"]] == [government]
    await me.done("POST", "/invitations/accept", {"token": made["token"]})
    kept = await me.got("/me")
    assert (kept["email"], kept["invited"], kept["of_my_domain"]) == ("Ana@tlaquepaque.example", [], [])
    assert [(one["government"], one["role"]) for one in kept["memberships"]] == [(government, "editor")]
    said = await me.done("PUT", "/me", {"name": "Ana Ruiz", "email": "ana@home.example"})
    assert (said["name"], said["email"], said["person"]) == ("Ana Ruiz", "ana@home.example", kept["person"])
    shown = {one["person"]: one for one in await lead.done("GET", f"/governments/{government}/members")}
    assert (shown[kept["person"]]["name"], shown[kept["person"]]["email"]) == ("Ana Ruiz", "ana@home.example")
    logged = await intake.pool.fetchval("select string_agg(convert_from(leaf, 'UTF8'), ' ') from chassis.event_log")
    assert "Ana" not in logged
    assert "home.example" not in logged
    refused(await me("PUT", "/me", {"email": "no address"}), 422, "invalid-request")
    assert (await me.done("PUT", "/me", {}))["name"] == ""


async def test_an_address_that_is_only_claimed_shows_no_invitation_and_no_government(intake: Intake) -> None:
    lead, impostor = intake.person(), intake.person()
    government = await intake.government(lead)
    await lead.done("POST", f"/governments/{government}/invitations", {"role": "lead", "email": "a@b.example"})
    await impostor.done("PUT", "/me", {"email": "a@b.example"})
    assert (await impostor.got("/me"))["invited"] == []
    await impostor.done("PUT", "/me", {"email": "clerk@tlaquepaque.example"})
    assert (await impostor.got("/me"))["of_my_domain"] == []
    path = f"/governments/{government}/recoveries"
    refused(await impostor("POST", path, {"reason": "She left."}), 404, "not-found")


@pytest.mark.parametrize(
    "verified", [{}, {"email_verified": False}, {"email_verified": "true"}, {"email_verified": 1}], ids=str
)
async def test_an_address_that_the_issuer_has_not_verified_proves_nothing(
    intake: Intake, verified: dict[str, object]
) -> None:
    government = await intake.government(intake.person())
    clerk = intake.claiming({"email": "clerk@tlaquepaque.example", **verified})
    assert (await clerk.got("/me"))["of_my_domain"] == []
    refused(await clerk("POST", f"/governments/{government}/recoveries", {"reason": "x"}), 404, "not-found")


@pytest.mark.parametrize("claim", ["x" * 255, "two\nlines", 7, ["a"]], ids=["too long", "lines", "number", "list"])
async def test_a_name_that_cannot_be_shown_is_not_kept(intake: Intake, claim: object) -> None:
    lead = intake.claiming({"name": claim, "email": claim, "email_verified": True})
    await intake.government(lead)
    me = await lead.got("/me")
    assert (me["name"], me["email"]) == ("", "")


async def test_what_the_token_says_is_kept_until_the_person_says_otherwise(intake: Intake) -> None:
    lead = intake.claiming({"name": "Ana", "email": "ana@gov.example", "email_verified": True})
    await intake.government(lead)
    assert ((await lead.got("/me"))["name"], (await lead.got("/me"))["email"]) == ("Ana", "ana@gov.example")
    await lead.done("PUT", "/me", {"name": "Dr. Ana Ruiz", "email": "ana@gov.example"})
    await intake.government(lead, name="Tonalá")
    assert (await lead.got("/me"))["name"] == "Dr. Ana Ruiz"


async def test_who_acts_for_one_government_and_asks_for_another_is_not_told_and_logged(intake: Intake) -> None:
    lead, rival, cycle = intake.person(), intake.person(), await intake.cycle()
    government = await intake.government(lead)
    application = await intake.draft(cycle, lead, government)
    await intake.government(rival, name="Tonalá")
    with structlog.testing.capture_logs() as logged:
        refused(await rival("GET", f"/applications/{application}"), 404, "not-found")
        refused(await intake.person()("GET", f"/applications/{application}"), 404, "not-found")
    lines = [line for line in logged if line["event"] == "asked for another government"]
    assert [(line["person"], line["government"]) for line in lines] == [
        ((await rival.got("/me"))["person"], government)
    ]


# --- confirming and merging ------------------------------------------------------------------------------------------


async def test_the_program_confirms_what_it_saw_and_a_new_name_is_to_be_confirmed_anew(intake: Intake) -> None:
    lead, cycle = intake.person(), await intake.cycle()
    government = await intake.government(lead)
    application = await intake.submit(cycle, lead, government)
    path, marks = f"/governments/{government}", f"/cycles/{cycle}/unconfirmed"
    assert [one["application"] for one in await intake.admin.done("GET", marks)] == [application]
    seen = (await intake.registration(government))["etag"]
    await lead.done("PATCH", path, {"population": 9}, If_Match="*")
    refused(await intake.admin("POST", f"{path}/confirm", If_Match=seen), 412, "changed-meanwhile")
    refused(await intake.admin("POST", f"{path}/confirm"), 428, "if-match")
    seen = (await intake.registration(government))["etag"]
    confirmed = await intake.admin.done("POST", f"{path}/confirm", If_Match=seen)
    assert confirmed["standing"] == "confirmed"
    assert await intake.admin.done("GET", marks) == []
    refused(await intake.admin("POST", f"{path}/confirm", If_Match="*"), 409, "confirmed-already")
    assert (await lead.done("PATCH", path, {"population": 10}, If_Match="*"))["standing"] == "confirmed"
    assert (await lead.done("PATCH", path, {"name": "Tonalá"}, If_Match="*"))["standing"] == "unconfirmed"
    assert [one["application"] for one in await intake.admin.done("GET", marks)] == [application]
    kinds = [kind for kind, _ in await intake.recorded(government)]
    assert kinds == ["member.joined", "government.confirmed", "government.changed"]
    for who in (lead, intake.person("board")):
        for method, where in (("GET", "/governments"), ("POST", f"{path}/confirm"), ("GET", marks)):
            refused(await who(method, where, If_Match="*"), 403, "role-required")
        refused(await who("POST", f"{path}/merge", {"into": government}), 403, "role-required")


async def test_registrations_are_listed_page_by_page_with_those_that_they_may_double(intake: Intake) -> None:
    lead = intake.person()
    first = await intake.government(lead)
    same = await intake.government(intake.person(), name="TLAQUEPAQUE", state="jalisco")
    near = await intake.government(intake.person(), name="Tlaquepque")
    other = await intake.government(intake.person(), name="Zapopan")
    page = await intake.admin.done("GET", "/governments?standing=unconfirmed&limit=3")
    assert [one["government"] for one in page["governments"]] == [first, same, near]
    rest = await intake.admin.done("GET", f"/governments?standing=unconfirmed&limit=3&after={page['next']}")
    assert ([one["government"] for one in rest["governments"]], rest["next"]) == ([other], None)
    alike = [(one["government"], one["likeness"]) for one in page["governments"][0]["alike"]]
    assert alike == [(same, "same"), (near, "near")]
    assert rest["governments"][0]["alike"] == []
    assert [one["role"] for one in page["governments"][0]["members"]] == ["lead"]
    assert (await intake.admin.done("GET", "/governments?standing=confirmed"))["governments"] == []
    refused(await intake.admin("GET", "/governments?standing=x"), 422, "invalid-request")


async def test_a_merge_moves_people_and_drafts_and_voids_open_invitations(intake: Intake) -> None:
    lead, double, colleague, stranger, cycle = *(intake.person() for _ in range(4)), await intake.cycle()
    kept, duplicate = await intake.government(lead), await intake.government(double, name="tlaquepaque")
    await intake.join(lead, kept, colleague, "viewer")
    await intake.join(double, duplicate, colleague, "editor")
    outsider = await intake.join(double, duplicate, stranger, "lead")
    invitation = await double.done("POST", f"/governments/{duplicate}/invitations", {"role": "viewer"})
    application = await intake.draft(cycle, double, duplicate)
    narrow = intake.person(government=duplicate)
    merged = (await intake.merge(duplicate, kept, leave_out=[outsider])).json()
    assert (merged["government"], len(merged["members"]), merged["alike"]) == (kept, 3, [])
    assert [(one["application"], one["state"]) for one in merged["applications"]] == [(application, "draft")]
    people = {one["person"]: one["role"] for one in await lead.done("GET", f"/governments/{kept}/members")}
    assert people == {
        (await lead.got("/me"))["person"]: "lead",
        (await double.got("/me"))["person"]: "lead",
        (await colleague.got("/me"))["person"]: "editor",
    }
    assert (await lead.done("GET", f"/applications/{application}"))["government"] == kept
    await lead.done("POST", f"/applications/{application}/submit", {"attest": True})
    refused(await stranger("GET", f"/applications/{application}"), 404, "not-found")
    refused(await narrow("GET", f"/governments/{duplicate}"), 404, "not-found")
    late = await intake.person()("POST", "/invitations/accept", {"token": invitation["token"]})
    refused(late, 409, "invitation-revoked")
    gone = await double.done("GET", f"/governments/{duplicate}")
    assert (gone["standing"], gone["merged_into"]) == ("merged", kept)
    for method, where, body in (
        ("PATCH", "", {"name": "x"}),
        ("POST", "/invitations", {"role": "lead"}),
        ("POST", "/members", {"subject": "x", "role": "lead"}),
    ):
        problem = refused(
            await double(method, f"/governments/{duplicate}{where}", body, If_Match="*"), 409, "government-merged"
        )
        assert kept in problem["detail"]
    start = await double("POST", f"/cycles/{await intake.cycle()}/applications", {"government": duplicate})
    refused(start, 409, "government-merged")
    refused(await intake.merge(duplicate, kept), 409, "government-merged")
    kinds = [kind for kind, _ in await intake.recorded(duplicate)]
    assert kinds[-4:] == ["government.merged", "member.left", "member.left", "member.left"]
    assert [kind for kind, _ in await intake.recorded(kept)][2:] in (
        ["member.joined", "member.role-changed"],
        ["member.role-changed", "member.joined"],
    )


async def test_who_was_merged_twice_over_ends_where_all_are(intake: Intake) -> None:
    leads = [intake.person() for _ in range(3)]
    first, second, third = [await intake.government(lead) for lead in leads]
    assert (await intake.merge(first, second)).is_success
    assert (await intake.merge(second, third)).is_success
    assert (await leads[0].done("GET", f"/governments/{first}"))["merged_into"] == third
    assert len(await leads[2].done("GET", f"/governments/{third}/members")) == 3
    await intake.admin.done("POST", f"/governments/{third}/confirm", If_Match="*")
    assert (await leads[1].done("GET", f"/governments/{second}"))["merged_into"] == third


async def test_two_applications_in_one_cycle_are_refused_with_the_way_out(intake: Intake) -> None:
    lead, double, cycle = intake.person(), intake.person(), await intake.cycle()
    kept, duplicate = await intake.government(lead), await intake.government(double)
    mine, theirs = await intake.draft(cycle, lead, kept), await intake.submit(cycle, double, duplicate)
    assert "the other way round" in refused(await intake.merge(duplicate, kept), 409, "two-applications")["detail"]
    await lead.done("POST", f"/applications/{mine}/submit", {"attest": True})
    problem = refused(await intake.merge(duplicate, kept, set_aside=[theirs]), 409, "two-applications")
    assert "withdrawn by its lead" in problem["detail"]
    assert (await intake.registration(duplicate))["standing"] == "unconfirmed"
    await double.done("POST", f"/applications/{theirs}/withdraw", {"reason": "registered twice"})
    problem = refused(await intake.merge(duplicate, kept), 409, "two-applications")
    assert f'set_aside ["{theirs}"]' in problem["detail"]
    assert (await intake.merge(duplicate, kept, set_aside=[theirs])).is_success
    for who in (lead, double):
        assert (await who.done("GET", f"/applications/{theirs}"))["state"] == "withdrawn"
        assert (await who.done("GET", f"/applications/{mine}"))["government"] == kept


async def test_a_draft_set_aside_is_read_and_never_submitted(intake: Intake) -> None:
    lead, double, cycle = intake.person(), intake.person(), await intake.cycle()
    kept, duplicate = await intake.government(lead), await intake.government(double)
    await intake.draft(cycle, lead, kept)
    theirs = await intake.draft(cycle, double, duplicate)
    assert (await intake.merge(duplicate, kept, set_aside=[theirs])).is_success
    assert (await lead.done("GET", f"/applications/{theirs}"))["government"] == duplicate
    refused(await lead("POST", f"/applications/{theirs}/submit", {"attest": True}), 409, "government-merged")


async def test_a_merge_amid_submissions_and_new_drafts_loses_none_and_doubles_none(intake: Intake) -> None:
    for _ in range(4):
        lead, double = intake.person(), intake.person()
        cycle, other = await intake.cycle(), await intake.cycle()
        kept, duplicate = await intake.government(lead), await intake.government(double)
        application = await intake.draft(cycle, double, duplicate)
        merged, submitted, started = await asyncio.gather(
            intake.merge(duplicate, kept),
            double("POST", f"/applications/{application}/submit", {"attest": True}),
            double("POST", f"/cycles/{other}/applications", {"government": duplicate}),
        )
        assert merged.is_success, merged.text
        assert submitted.is_success, submitted.text
        assert started.status_code == 201 or refused(started, 409, "government-merged")
        left = await intake.pool.fetchval("select count(*) from private.draft where government = $1", duplicate)
        assert left == 0


# --- recovery --------------------------------------------------------------------------------------------------------


async def test_an_official_of_the_domain_recovers_a_government_and_its_old_lead_reads_it(intake: Intake) -> None:
    lead, clerk = intake.person(), intake.person(email="clerk@it.tlaquepaque.example")
    government = await intake.government(lead)
    assert [one["government"] for one in (await clerk.got("/me"))["of_my_domain"]] == [government]
    path = f"/governments/{government}/recoveries"
    asked = await clerk.done("POST", path, {"reason": "Our lead retired in May."})
    refused(await clerk("POST", path, {"reason": "Again."}), 409, "recovery-open")
    refused(await clerk("GET", f"/governments/{government}"), 404, "not-found")
    (listed,) = await intake.admin.done("GET", "/recoveries")
    assert (listed["recovery"], listed["email_domain"], listed["reason"]) == (
        asked["recovery"],
        "tlaquepaque.example",
        "Our lead retired in May.",
    )
    approve = f"/recoveries/{asked['recovery']}/approve"
    refused(await clerk("POST", approve), 403, "role-required")
    refused(await clerk("GET", "/recoveries"), 403, "role-required")
    answers = await asyncio.gather(*(intake.admin("POST", approve, {"answer": "Welcome."}) for _ in range(2)))
    assert sorted(answer.status_code for answer in answers) == [200, 409]
    assert (await clerk.done("GET", f"/governments/{government}"))["role"] == "lead"
    newest = (await lead.done("GET", f"/governments/{government}/history"))["history"][0]
    assert (newest["what"], newest["by"], newest["detail"]["person"]) == ("recovered", None, asked["person"])
    kind, data = (await intake.recorded(government))[-1]
    assert (kind, data["person"], data["role"]) == ("member.joined", asked["person"], "lead")
    (mine,) = (await clerk.got("/me"))["recoveries"]
    assert (mine["state"], mine["answer"]) == ("approved", "Welcome.")
    refused(await clerk("POST", path, {"reason": "Again."}), 409, "lead-already")


async def test_a_member_recovers_by_a_change_of_role_and_a_refusal_says_why(intake: Intake) -> None:
    lead, editor = intake.person(), intake.person(email="editor@tlaquepaque.example")
    government = await intake.government(lead)
    await intake.join(lead, government, editor)
    path = f"/governments/{government}/recoveries"
    first = await editor.done("POST", path, {"reason": "No answer for weeks."})
    refused(await intake.admin("POST", f"/recoveries/{first['recovery']}/refuse", {}), 422, "invalid-request")
    body = {"answer": "The lead answered us."}
    await intake.admin.done("POST", f"/recoveries/{first['recovery']}/refuse", body)
    refused(await intake.admin("POST", f"/recoveries/{first['recovery']}/approve"), 409, "recovery-decided")
    assert (await editor.got("/me"))["recoveries"][0]["answer"] == "The lead answered us."
    second = await editor.done("POST", path, {"reason": "Now she left."})
    await intake.admin.done("POST", f"/recoveries/{second['recovery']}/approve")
    assert (await intake.recorded(government))[-1][0] == "member.role-changed"
    assert len(await editor.done("GET", f"/governments/{government}/members")) == 2
    assert await intake.admin.done("GET", "/recoveries") == []
    assert len(await intake.admin.done("GET", "/recoveries?state=approved")) == 1
    refused(await intake.admin("POST", f"/recoveries/{opaque_id()}/approve"), 404, "not-found")


async def test_who_is_of_another_domain_learns_of_no_government_to_recover(intake: Intake) -> None:
    government = await intake.government(intake.person())
    without = await intake.government(intake.person(), name="Tonalá", email_domain="")
    for email in ("clerk@tonala.example", "clerk@nottlaquepaque.example", ""):
        stranger = intake.person(email=email)
        for name in (government, without, opaque_id()):
            refused(await stranger("POST", f"/governments/{name}/recoveries", {"reason": "x"}), 404, "not-found")
