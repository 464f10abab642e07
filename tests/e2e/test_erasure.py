"""After a whole cycle somebody is erased: nothing of any service holds their name, address or texts, and all holds."""

from __future__ import annotations

import asyncio
import base64
import json
import os
import subprocess
import sys
from collections import Counter
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import structlog

from deploy.demo.calls import People, Person, until
from deploy.demo.receiver import Receiver
from schemas.charter import Charter
from schemas.envelope import parse
from services.chassis.feed import LedgerFeed
from services.chassis.receipts import Forgotten, opened, read, read_keys
from services.chassis.replay import replay
from services.origin import SERVICES, Origin
from services.receipt import check, check_erasure
from services.verifier import verify
from tests.applicants import SMALL, complete_draft
from tests.e2e.conftest import ROOT
from tests.e2e.test_redelivery import deliver_again, settled
from tests.traces import marked, traces

SCREENING = """
[applying.screening]
business_days = 5

[[applying.screening.grounds]]
id = "ajeno"
text = "No es un gobierno."
"""
NAME, ADDRESS, SUBJECT = "Zelda Quorvéx", "zelda.quorvex@gov.example", "zelda-7"
SENTENCE = "My dog is called Brumbletop"
WRITTEN = "What I wrote about grumbleweed"
"""As a person, in a comment: it goes with its author, whatever it says."""
MARKERS = ("quorvéx", "quorvex", "brumbletop", "grumbleweed", SUBJECT)
FILE = f"district,contact\n1,{NAME}\n".encode()
STORAGE = {"kafka", "postgres"}
"""The servers' own storage: what is in it is walked as topics and tables."""


@dataclass
class World:
    """What was there before, and what came of erasing it."""

    origin: Origin
    before: Counter[str]
    export: bytes
    receipt: str
    answer: dict[str, Any]
    keys: str
    submitted: dict[str, Any]
    planned: dict[str, Any]
    logs: list[Any]


@pytest.fixture(scope="module")
async def world(played: tuple[Origin, Receiver]) -> World:
    """A cycle in which one person left traces everywhere, and was then erased."""
    origin, _ = played
    with structlog.testing.capture_logs() as logs:
        async with People(origin.url, origin.issuer) as people:
            application, sha256 = await lived(origin, people)
            await settled(origin)
            before = await left(origin) + files_with(origin)
            auditor = people("auditor", "auditor-1")
            export = await auditor.content("/ledger/v1/cycles/forgotten/export", **{"for": "auditor"})
            keys = (await auditor.content("/intake/v1/keys")).decode()
            admin = people("program-admin", "admin-2")
            submitted = await admin.get(f"/intake/v1/applications/{application}/versions/2")
            asked = ["person", "erase", ADDRESS, "--text", SENTENCE, "--file", sha256, "--json"]
            planned = await cec(origin, *asked, "--dry-run")
            assert (await left(origin)).keys() >= before.keys() - files_with(origin).keys()
            answer = await cec(origin, *asked, "--yes")
            await settled(origin)
    return World(origin, before, export, answer["receipt"], answer, keys, submitted, planned, list(logs))


async def lived(origin: Origin, people: People) -> tuple[str, str]:
    """Have Zelda Quorvéx do all that a person can do here; her application and the SHA-256 of her file."""
    admin, zelda, other = people("program-admin", "admin-2"), people("applicant", SUBJECT), people("applicant", "o-7")
    await zelda._send("PUT", "/intake/v1/me", json={"name": NAME, "email": ADDRESS})
    charter = SMALL.replace("\n[scoring]\n", f"\n{SCREENING}\n[scoring]\n")
    deadline = (origin.clock.now() + timedelta(days=3)).isoformat(timespec="seconds")
    await admin.post("/intake/v1/cycles", {"label": "forgotten", "charter": charter, "deadline": deadline})
    mine, others = await government(zelda, "Quorville"), await government(other, "Elsewhere")
    await other.post(f"/intake/v1/governments/{others}/invitations", {"role": "editor", "email": ADDRESS})
    await other.post(f"/intake/v1/governments/{others}/members", {"subject": SUBJECT, "role": "editor"})
    await zelda.post("/intake/v1/cycles/forgotten/questions", {"text": f"May I, {NAME}, ask?"})
    invited = [{"name": "Nowhere", "state": "Jalisco", "email": ADDRESS}]
    await admin.post("/intake/v1/cycles/forgotten/campaign", {"invited": invited})
    consulted = {"title": "Draft", "charter": SMALL, "closes_at": deadline}
    drafted = (await admin.post("/intake/v1/charter-drafts", consulted))["draft"]
    await zelda.post(f"/intake/v1/charter-drafts/{drafted}/comments", {"text": WRITTEN})
    await zelda.post("/notifications/v1/subscriptions", {"url": f"http://127.0.0.1:9/{SUBJECT}"})
    path, sha256 = await applied(zelda, mine)
    await admin.post("/intake/v1/cycles/forgotten/close")
    await zelda.post(f"{path}/withdrawal-request", {"reason": f"{NAME} is tired"})
    await admin.post(f"{path}/screening", {"verdict": "sent-back", "text": f"Is this you, {NAME.upper()}?"})
    await zelda.post(f"{path}/clarification", {"text": f"Yes. {SENTENCE}."})
    for subject, name in ((SUBJECT, NAME), ("r-8", "R")):
        await admin.post(
            "/scoring/v1/cycles/forgotten/reviewers", {"subject": subject, "name": name, "states": ["Utah"]}
        )
    await admin.post(f"{path}/screening", {"verdict": "eligible", "text": ""})
    await admin.post("/intake/v1/cycles/forgotten/screening/finish", {})
    await reviewed(people, path.rpartition("/")[2])
    return path.rpartition("/")[2], sha256


async def applied(zelda: Person, mine: str) -> tuple[str, str]:
    """The path of her application, submitted twice, and the SHA-256 of the file it cites."""
    started = await zelda.post("/intake/v1/cycles/forgotten/applications", {"government": mine})
    path = f"/intake/v1/applications/{started['application']}"
    draft = complete_draft(Charter.parse(SMALL), "municipio")
    sha256 = await uploaded(zelda, path)
    first, second, third, *_ = draft["answers"]
    draft["answers"][first] = {"statement": f"Ask {NAME}.", "evidence": [{"url": "https://www.gov.example/a"}]}
    draft["answers"][second]["evidence"] = [{"url": "https://www.gov.example/b", "quote": SENTENCE}]
    draft["answers"][third]["evidence"] = [{"url": "https://www.gov.example/c", "file": sha256}]
    draft["contact"] |= {"official": NAME, "email": ADDRESS}
    await zelda.patch(path, draft)
    await zelda.post(f"{path}/comments", {"field": "/contact", "text": WRITTEN})
    for _ in range(2):
        await zelda.post(f"{path}/submit", {"attest": True})
    return path, sha256


async def uploaded(zelda: Person, path: str) -> str:
    """The SHA-256 of a file of hers."""
    name = base64.b64encode(f"{NAME}.csv".encode()).decode()
    headers = {"Tus-Resumable": "1.0.0", "Upload-Length": str(len(FILE)), "Upload-Metadata": f"filename {name}"}
    made = await zelda._send("POST", f"{path}/uploads", headers=headers)
    at = "/intake" + made.headers["Location"].partition("/intake")[2]
    headers = {
        "Tus-Resumable": "1.0.0",
        "Upload-Offset": "0",
        "Content-Type": "application/offset+octet-stream",
    }
    await zelda._send("PATCH", at, headers=headers, content=FILE)
    return str((await zelda.get(at))["sha256"])


async def reviewed(people: People, application: str) -> None:
    """She and another one review what there is; so does the other one write of her."""
    admin = people("program-admin", "admin-2")

    async def state() -> str:
        return str((await admin.get("/scoring/v1/cycles/forgotten"))["state"])

    async def assigned() -> bool:
        return await state() == "assigned"

    async def scored() -> bool:
        return await state() == "scored"

    await until("reviewers to be assigned", assigned)
    points = dict.fromkeys(Charter.parse(SMALL).criteria("municipio"), 5)
    for subject in (SUBJECT, "r-8"):
        body = {"application": application, "points": points, "recommendation": True, "comment": f"{NAME} is fine"}
        await people("reviewer", subject).post("/scoring/v1/cycles/forgotten/reviews", body)
    await until("everything to be scored", scored)


async def government(lead: Person, name: str) -> str:
    body = {"name": name, "state": "Jalisco", "kind": "municipio", "population": 60_000}
    body |= {"population_source": "census", "website": "https://www.gov.example"}
    return str((await lead.post("/intake/v1/governments", body))["government"])


async def cec(origin: Origin, *arguments: str) -> dict[str, Any]:
    """What the command prints; it runs beside this process, as an operator would run it."""
    var = origin.services[0].settings.var
    done = await asyncio.to_thread(
        subprocess.run,
        [sys.executable, "-m", "services.cli", *arguments],
        cwd=ROOT,
        env={key: value for key, value in os.environ.items() if not key.startswith("CEC_")}
        | {"CEC_VAR": str(var), "CEC_PUBLIC_URL": origin.url},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=90,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    printed: dict[str, Any] = json.loads(done.stdout)
    return printed


# --- the walk --------------------------------------------------------------------------------------------------------


async def left(origin: Origin) -> Counter[str]:
    """How many values of each column of each table of all services hold a marker."""
    found = Counter[str]()
    for service in origin.services:
        found += await traces(service, MARKERS)
    return found


def files_with(origin: Origin) -> Counter[str]:
    """The files under `var` that hold a marker, by their folder."""
    var: Path = origin.services[0].settings.var
    found = Counter[str]()
    for path in var.rglob("*"):
        at = path.relative_to(var).parts
        if path.is_file() and not (at[0] in STORAGE and "data" in at):
            found[f"file {at[0]}"] += marked(path.read_bytes(), MARKERS)
    return +found


# --- what holds afterwards -------------------------------------------------------------------------------------------


def test_the_person_had_left_traces_everywhere(world: World) -> None:
    assert len(world.before) > 20


async def test_no_table_of_any_service_holds_a_trace(world: World) -> None:
    assert not await left(world.origin)


def test_no_file_holds_a_trace(world: World) -> None:
    assert not files_with(world.origin)


def test_no_log_line_had_one_and_the_receipt_has_none(world: World) -> None:
    assert not [line for line in world.logs if marked(line, MARKERS)]
    assert not marked(world.receipt, MARKERS)
    assert not marked(world.answer, MARKERS)


@pytest.mark.parametrize("name", SERVICES)
async def test_replay_still_agrees(world: World, name: str) -> None:
    service = next(service for service in world.origin.services if service.name == name)
    feed = LedgerFeed(world.origin.url, lambda: world.origin.issuer.token("auditor", "auditor-1"))
    report = await replay(service, feed)
    assert report.equal, report.as_text()


async def test_the_ledger_verifies_before_and_after(world: World) -> None:
    async with People(world.origin.url, world.origin.issuer) as people:
        auditor = people("auditor", "auditor-1")
        after = await auditor.content("/ledger/v1/cycles/forgotten/export", **{"for": "auditor"})
    keys = read_keys(world.keys)
    stated = read(world.receipt, keys)
    assert isinstance(stated, Forgotten)
    assert marked(world.export, MARKERS)
    assert not marked(after, MARKERS)
    for raw in (world.export, after):
        assert verify(raw).exit_code == 0, verify(raw).findings
    assert check_erasure(stated, after).exit_code == 0
    assert "opens what was erased" in check_erasure(stated, world.export).findings[0]
    assert check(opened(json.dumps(world.submitted), keys), after).exit_code == 0


async def test_the_feed_gives_the_events_without_what_was_erased(world: World) -> None:
    feed = LedgerFeed(world.origin.url, lambda: world.origin.issuer.token("auditor", "auditor-1"))
    records = [record async for page in feed.pages() for record in page.records]
    assert not [record for record in records if marked(record, MARKERS)]
    erased = [parse(record) for record in records if b'"intake.disclosure.erased.v1"' in record]
    assert {name for one in erased for name in one.data["digests"]} >= {"contact", "private"}


async def test_what_comes_again_from_kafka_brings_nothing_back(world: World) -> None:
    await deliver_again(world.origin.kafka_bootstrap)
    await settled(world.origin)
    assert not await left(world.origin)
