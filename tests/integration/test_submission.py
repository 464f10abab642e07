"""What was submitted, on the real parts: receipts, frozen versions, more time, reminders, and a withdrawal at last."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Callable
from datetime import datetime, timedelta
from typing import Any

import orjson
import pytest

from schemas.envelope import rfc3339
from services.chassis.issuer import Issuer
from services.chassis.receipts import opened, read_keys
from services.chassis.service import Runtime
from services.chassis.settings import Settings
from services.intake.applications import versions
from services.intake.settings import IntakeSettings
from tests.applicants import SHIPPED
from tests.given import eventually
from tests.intake import DRAFT, Intake, refused, started

RuntimeMaker = Callable[[type[Settings]], Runtime]
ONE, TWO = list(DRAFT["answers"])[:2]
SCRIPTS = "\u05e9\u05dc\u05d5\u05dd, \u0645\u0631\u062d\u0628\u0627, e\u0301\u0302, \u65e5\u672c"


@pytest.fixture
async def intake(runtime: RuntimeMaker, issuer: Issuer) -> AsyncIterator[Intake]:
    async with started(runtime(IntakeSettings), issuer) as running:
        yield running


def saying(text: str, criterion: str = ONE) -> dict[str, Any]:
    return {"answers": {criterion: {"statement": text}}}


# --- receipts and versions ------------------------------------------------------------------------------------------


async def test_a_receipt_is_signed_by_a_published_key_and_names_the_leaf(intake: Intake) -> None:
    cycle = await intake.cycle()
    lead, path = await intake.drafted(cycle)
    receipt = await lead.made(f"{path}/submit", {"attest": True})
    keys = read_keys((await intake.client.get("/v1/keys")).text)
    stated = opened(orjson.dumps(receipt).decode(), keys).model_dump(mode="json")
    assert stated | {"receipt": receipt["receipt"]} == receipt | {
        "form": "cec-receipt/1",
        "iss": intake.service.settings.public_url,
    }
    (listed,) = (await lead.got(f"{path}/versions"))["versions"]
    assert listed["receipt"] == receipt["receipt"]


async def test_every_version_is_read_again_as_it_was_submitted(intake: Intake) -> None:
    lead, path = await intake.drafted(await intake.cycle())
    told = []
    for text in ("first", SCRIPTS, "third"):
        await lead.saved(path, saying(text))
        told.append(await lead.made(f"{path}/submit", {"attest": True}))
    await lead.saved(path, saying("never submitted"))
    for number, text in enumerate(("first", SCRIPTS, "third"), start=1):
        whole = await lead.got(f"{path}/versions/{number}")
        assert whole["answers"][ONE]["statement"] == text
        assert (whole["event"], whole["leaf_hash"]) == (told[number - 1]["event"], told[number - 1]["leaf_hash"])
        assert whole["contact"]["email"] == DRAFT["contact"]["email"]
    assert [line["version"] for line in (await lead.got(f"{path}/versions"))["versions"]] == [3, 2, 1]
    refused(await lead("GET", f"{path}/versions/4"), 404, "not-found")


async def test_what_an_amendment_changed_is_shown_field_by_field(intake: Intake) -> None:
    lead, path = await intake.submitted(await intake.cycle())
    await lead.saved(path, saying("amended"))
    await lead.made(f"{path}/submit", {"attest": True})
    changed = await lead.got(f"{path}/versions/2/changes")
    assert (changed["since"], changed["differences"]) == (
        1,
        [
            {
                "field": f"/answers/{ONE}/statement",
                "before": DRAFT["answers"][ONE]["statement"],
                "after": "amended",
            }
        ],
    )
    assert (await lead.got(f"{path}/versions/2/changes?since=2"))["differences"] == []
    assert (await lead("GET", f"{path}/versions/2/changes?since={2**31}")).status_code == 422
    first = await lead.got(f"{path}/versions/1/changes")
    assert first["since"] == 0
    assert all(one["before"] is None for one in first["differences"])


async def test_a_version_is_printed_with_the_same_bytes_every_time(intake: Intake) -> None:
    lead, path = await intake.drafted(await intake.cycle())
    await lead.saved(path, saying(SCRIPTS))
    await lead.made(f"{path}/submit", {"attest": True})
    first, second = [await lead("GET", f"{path}/versions/1.pdf") for _ in range(2)]
    assert first.headers["content-type"] == "application/pdf"
    assert first.headers["content-disposition"].startswith("attachment")
    assert first.content.startswith(b"%PDF-")
    assert first.content == second.content
    refused(await lead("GET", f"{path}/versions/2.pdf"), 404, "not-found")


async def test_a_version_is_its_peoples_the_programs_after_the_close_and_the_auditors_whose_reading_is_noted(
    intake: Intake,
) -> None:
    cycle = await intake.cycle()
    _, path = await intake.submitted(cycle)
    for rest in ("", "/1", "/1.pdf", "/1/changes"):
        refused(await intake.person("applicant")("GET", f"{path}/versions{rest}"), 404, "not-found")
    refused(await intake.admin("GET", f"{path}/versions/1"), 403, "not-closed")
    await intake.auditor.got(f"{path}/versions/1")
    await intake.admin.made(f"/cycles/{cycle}/close")
    await intake.admin.got(f"{path}/versions/1")
    rows = await intake.service.database.pool.fetch("select subject, what, application from private.read_log")
    assert {(row["subject"], row["what"], f"/applications/{row['application']}") for row in rows} == {
        ("auditor-1", "version 1", path),
        ("admin-1", "version 1", path),
    }


async def test_an_amendment_that_breaks_off_in_the_middle_leaves_the_old_version_standing(
    intake: Intake, monkeypatch: pytest.MonkeyPatch
) -> None:
    cycle = await intake.cycle()
    lead, path = await intake.submitted(cycle)
    before = await lead.got(f"{path}/versions")
    await lead.saved(path, saying("amended"))

    async def broken(*_: object) -> None:
        raise ConnectionResetError("the connection broke")

    with monkeypatch.context() as patched:
        patched.setattr(versions, "keep", broken)
        assert (await lead("POST", f"{path}/submit", {"attest": True})).status_code == 503
    assert await lead.got(f"{path}/versions") == before
    assert (await lead.got(path))["version"] == 1
    assert len(await intake.events(path.rpartition("/")[2])) == 1
    assert (await lead.made(f"{path}/submit", {"attest": True}))["version"] == 2


@pytest.mark.parametrize("seed", range(2))
async def test_no_sequence_loses_an_acknowledged_character_or_changes_a_submitted_version(
    intake: Intake, seed: int
) -> None:
    chance, cycle = random.Random(seed), await intake.cycle()
    lead, path = await intake.drafted(cycle)
    acknowledged, kept = dict[str, str](), dict[int, Any]()

    async def edit(criterion: str) -> None:
        text = "".join(chance.choices(SCRIPTS + "abc \n", k=chance.randint(1, 30))) + "."
        answer = await lead("PATCH", path, saying(text, criterion), If_Match="*")
        if answer.is_success:
            acknowledged[criterion] = text

    async def submit(_: str) -> None:
        answer = await lead("POST", f"{path}/submit", {"attest": True})
        if answer.is_success:
            number = answer.json()["version"]
            kept[number] = await lead.got(f"{path}/versions/{number}")

    for _ in range(8):
        await chance.choice([edit, edit, submit])(chance.choice([ONE, TWO]))
        draft = (await lead.got(path))["draft"]["answers"]
        assert {name: draft[name]["statement"] for name in acknowledged} == acknowledged
        for number, whole in kept.items():
            assert await lead.got(f"{path}/versions/{number}") == whole
    await submit(ONE)
    latest = kept[max(kept)]["answers"]
    assert {name: latest[name]["statement"] for name in acknowledged} == acknowledged
    await lead.made(f"{path}/withdraw")
    for number, whole in kept.items():
        assert await lead.got(f"{path}/versions/{number}") == whole


# --- deadlines ------------------------------------------------------------------------------------------------------


async def move(intake: Intake, moment: datetime) -> None:
    intake.clock.shift(moment - intake.clock.machine.now())


async def test_the_deadline_is_told_in_utc_and_in_the_programs_zone_beside_the_servers_time(intake: Intake) -> None:
    told = await intake.admin.got(f"/cycles/{await intake.cycle()}")
    deadline = datetime.fromisoformat(told["deadline"])
    assert (told["time_zone"], datetime.fromisoformat(told["deadline_local"])) == ("America/New_York", deadline)
    assert told["deadline_local"][-6:] in {"-05:00", "-04:00"}
    assert abs(datetime.fromisoformat(told["now"]) - intake.clock.now()) < timedelta(minutes=1)


async def test_who_has_more_time_submits_after_the_others_and_the_cycle_closes_when_that_is_over(
    intake: Intake,
) -> None:
    cycle = await intake.cycle(hours=2)
    (lead, path), (other, late) = await intake.drafted(cycle), await intake.drafted(cycle, name="Shelbyville")
    deadline = datetime.fromisoformat((await intake.admin.got(f"/cycles/{cycle}"))["deadline"])
    own = deadline + timedelta(hours=20)
    body = {"deadline": rfc3339(own), "ground": "outage", "reason": "Their network was down."}
    refused(await lead("POST", f"{path}/extend", body), 403, "role-required")
    refused(await intake.admin("POST", f"{path}/extend", body | {"ground": "haste"}), 422, "unknown-ground")
    far = body | {"deadline": rfc3339(deadline + timedelta(days=20))}
    refused(await intake.admin("POST", f"{path}/extend", far), 422, "extension-too-long")
    assert (await intake.admin.made(f"{path}/extend", body))["deadline"] == rfc3339(own)
    assert (await lead.got(path))["deadline"] == rfc3339(own)
    ((kind, leaf),) = await intake.events(path.rpartition("/")[2])
    assert (kind, leaf["data"]["deadline"]) == ("intake.application.extended.v1", rfc3339(own))
    assert "network" not in orjson.dumps(leaf).decode()

    await move(intake, deadline + timedelta(minutes=1))
    await asyncio.sleep(0.5)
    assert (await intake.admin.got(f"/cycles/{cycle}"))["state"] == "open"
    refused(await other("POST", f"{late}/submit", {"attest": True}), 409, "deadline-passed")
    section = f"{path}/sections/contact"
    await lead.saved(section, {"contact": {"title": "Clerk"}})
    receipt = await lead.made(f"{path}/submit", {"attest": True})
    await move(intake, own)
    refused(await lead("POST", f"{path}/submit", {"attest": True}), 409, "deadline-passed")
    await intake.until_closed(cycle)
    *_, (_, closed) = await intake.events(cycle)
    assert closed["data"]["submitted"]["count"] == 1
    assert receipt["submitted_at"] < rfc3339(own)


async def test_a_later_deadline_for_all_leaves_the_later_one_of_a_single_application(intake: Intake) -> None:
    cycle = await intake.cycle(hours=2)
    lead, path = await intake.drafted(cycle)
    now = intake.clock.now()
    own, all_of_them = rfc3339(now + timedelta(days=2)), rfc3339(now + timedelta(days=1))
    body = {"deadline": own, "ground": "disaster", "reason": "flood"}
    await intake.admin.made(f"{path}/extend", body)
    await intake.admin.made(f"/cycles/{cycle}/extend", {"deadline": all_of_them, "reason": "an outage"})
    assert (await lead.got(path))["deadline"] == own
    rows = await intake.service.database.pool.fetch(
        "select due from chassis.schedule where kind = 'close-cycle' and subject = $1", cycle
    )
    assert [rfc3339(row["due"]) for row in rows] == [own]


async def test_drafts_are_reminded_of_14_7_and_2_days_before_and_what_is_submitted_is_not(intake: Intake) -> None:
    cycle = await intake.cycle(days=15)
    lead, path = await intake.drafted(cycle)
    await intake.submitted(cycle, name="Shelbyville")
    government = (await lead.got(path))["government"]
    deadline = datetime.fromisoformat((await intake.admin.got(f"/cycles/{cycle}"))["deadline"])

    async def reminded() -> list[dict[str, Any]]:
        found = await intake.events(government)
        return [leaf for kind, leaf in found if kind == "intake.government.deadline-near.v1"]

    for count, days in enumerate((14, 7, 2), start=1):
        await move(intake, deadline - timedelta(days=days) + timedelta(seconds=1))

        async def so_many(count: int = count) -> bool:
            return len(await reminded()) == count

        await eventually(so_many)
    leaves = await reminded()
    assert [leaf["data"]["days"] for leaf in leaves] == [14, 7, 2]
    assert {leaf["data"]["application"] for leaf in leaves} == {path.rpartition("/")[2]}
    assert all("cycleid" not in leaf for leaf in leaves)
    total = "select count(*) from chassis.event_log where type = 'intake.government.deadline-near.v1'"
    assert await intake.service.database.pool.fetchval(total) == 3


async def test_after_the_deadline_a_withdrawal_is_a_request_that_the_board_settles(intake: Intake) -> None:
    cycle = await intake.cycle(SHIPPED)
    lead, path = await intake.submitted(cycle)
    refused(await lead("POST", f"{path}/withdrawal-request"), 409, "deadline-not-passed")
    await intake.admin.made(f"/cycles/{cycle}/close")
    refused(await intake.person("applicant")("POST", f"{path}/withdrawal-request"), 404, "not-found")
    asked = await lead.made(f"{path}/withdrawal-request", {"reason": "our budget"})
    refused(await lead("POST", f"{path}/withdrawal-request"), 409, "requested")
    *_, (kind, leaf) = await intake.events(path.rpartition("/")[2])
    assert (kind, leaf["id"]) == ("intake.application.withdrawal-requested.v1", asked["event"])
    assert "budget" not in orjson.dumps(leaf).decode()
    assert (await lead.got(path))["state"] == "submitted"
