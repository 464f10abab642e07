"""After a whole cycle: every projection follows from the ledger's feed alone, in any order that respects cause."""

from __future__ import annotations

import asyncio
import json
import os
import random
import stat
import subprocess
import sys
from collections import defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import date, timedelta
from typing import Any

import asyncpg
import pytest

from deploy.demo.calls import People, Person, until
from deploy.demo.receiver import Receiver
from schemas.charter import Charter
from schemas.envelope import parse
from services.chassis.feed import FeedError, LedgerFeed, Page
from services.chassis.receipts import opened, read_keys
from services.chassis.replay import Report, replay
from services.chassis.service import Service
from services.origin import SERVICES, Origin
from services.receipt import check
from services.running import Running
from services.verifier import verify
from tests.applicants import SMALL, complete_draft
from tests.e2e.conftest import ROOT
from tests.open311 import City, requests_of, served

Command = Callable[[], Awaitable[object]]

SCREENING = """
[applying.screening]
business_days = 5

[[applying.screening.grounds]]
id = "ajeno"
text = "No es un gobierno de los que pueden presentarse."
"""


@pytest.fixture(scope="session")
async def origin(played: tuple[Origin, Receiver]) -> Origin:
    """The played cycle, and what it lacks: people who left, a later deadline, a withdrawal, a probe, no reviewer."""
    made, _ = played
    async with People(made.url, made.issuer) as people:
        admin, lead = people("program-admin", "admin-2"), people("applicant", "lead-2")
        deadline = made.clock.now() + timedelta(days=30)
        body = {"label": "deserted", "charter": SMALL, "deadline": deadline.isoformat(timespec="seconds")}
        await admin.post("/intake/v1/cycles", body)
        government = await register(lead, "Deserted")
        for subject in ("editor-2", "viewer-2"):
            await lead.post(f"/intake/v1/governments/{government}/members", {"subject": subject, "role": "viewer"})
        await probe(lead, f"/intake/v1/governments/{government}", made.clock.now().date())
        members = await lead.get(f"/intake/v1/governments/{government}/members")
        gone = next(one["person"] for one in members if one["subject"] == "viewer-2")
        await lead._send("DELETE", f"/intake/v1/governments/{government}/members/{gone}")
        stays = next(one["person"] for one in members if one["subject"] == "editor-2")
        await lead._send("PATCH", f"/intake/v1/governments/{government}/members/{stays}", json={"role": "editor"})
        twin = await register(people("applicant", "lead-3"), "DESERTED")
        await admin.post(f"/intake/v1/governments/{twin}/merge", {"into": government})
        await admin._send("POST", f"/intake/v1/governments/{government}/confirm", headers={"If-Match": "*"})
        started = await lead.post("/intake/v1/cycles/deserted/applications", {"government": government})
        path = f"/intake/v1/applications/{started['application']}"
        await lead.patch(path, complete_draft(Charter.parse(SMALL), "municipio"))
        for _ in range(2):
            await lead.post(f"{path}/submit", {"attest": True})
        await lead.post(f"{path}/withdraw", {"reason": "no budget"})
        later = (deadline + timedelta(days=1)).isoformat(timespec="seconds")
        await admin.post("/intake/v1/cycles/deserted/extend", {"deadline": later, "reason": "an outage"})
        await admin.post("/scoring/v1/cycles/deserted/reviewers", {"subject": "r-2", "name": "R", "states": ["Utah"]})
        await admin.post("/intake/v1/cycles/deserted/close")

        async def assigned() -> bool:
            return str((await admin.get("/scoring/v1/cycles/deserted"))["state"]) == "scored"

        await until("the deserted cycle to be over", assigned)
        await screen(made, people)
    return made


async def screen(made: Origin, people: People) -> None:
    """A cycle that somebody is invited to, whose applications are screened.

    One is ineligible, one has more time, answers a question and goes on, one is given back after all.
    """
    admin, deadline = people("program-admin", "admin-2"), made.clock.now() + timedelta(days=3)
    charter = SMALL.replace("\n[scoring]\n", f"\n{SCREENING}\n[scoring]\n")
    body = {"label": "screened", "charter": charter, "deadline": deadline.isoformat(timespec="seconds")}
    await admin.post("/intake/v1/cycles", body)
    invited = [{"name": "Silent", "state": "Jalisco", "email": "clerk@silent.example"}]
    await admin.post("/intake/v1/cycles/screened/campaign", {"invited": invited})
    await admin.post("/intake/v1/cycles/screened/campaign/send", {})
    (lead, no), (other, yes), (late, gone) = [
        await entered(people("applicant", f"lead-{name}"), name) for name in ("No", "Yes", "Gone")
    ]
    later = (deadline + timedelta(days=1)).isoformat(timespec="seconds")
    more = {"deadline": later, "ground": "emergencia", "reason": "a flood"}
    await admin.post(f"{yes}/extend", more)
    await admin.post("/intake/v1/cycles/screened/close")
    await lead.post(f"{no}/withdrawal-request", {"reason": "no budget"})
    await admin.post(f"{no}/screening", {"verdict": "ineligible", "ground": "ajeno", "text": "A museum."})
    await admin.post(f"{yes}/screening", {"verdict": "sent-back", "text": "Which year?"})
    await other.post(f"{yes}/clarification", {"text": "2025."})
    for subject in ("r-3", "r-4"):
        reviewer = {"subject": subject, "name": "R", "states": ["Utah"]}
        await admin.post("/scoring/v1/cycles/screened/reviewers", reviewer)
    for path in (yes, gone):
        await admin.post(f"{path}/screening", {"verdict": "eligible"})
    await admin.post("/intake/v1/cycles/screened/screening/finish", {})

    async def assigned() -> bool:
        return str((await admin.get("/scoring/v1/cycles/screened"))["state"]) == "assigned"

    await until("reviewers to be assigned to what is eligible", assigned)
    await late.post(f"{gone}/withdrawal-request", {"reason": "A new mayor."})
    board = people("board", "board-2")

    async def asked() -> bool:
        return len((await board.get("/awards/v1/cycles/screened/withdrawals"))["items"]) == 2

    await until("the board to have both requests", asked)
    for path, how in ((no, "refuse"), (gone, "accept")):
        body = {"reason": "It was found ineligible."} if how == "refuse" else {}
        await board.post(f"/awards/v1/applications/{path.rpartition('/')[2]}/withdrawal/{how}", body)

    async def settled() -> bool:
        return bool((await late.get(f"{gone}/withdrawal-request"))["state"] == "withdrawn")

    await until("the withdrawal to be known to its applicant", settled)


async def entered(lead: Person, name: str) -> tuple[Person, str]:
    """A lead, and the path of the application that they submitted."""
    government = await register(lead, name)
    started = await lead.post("/intake/v1/cycles/screened/applications", {"government": government})
    path = f"/intake/v1/applications/{started['application']}"
    await lead.patch(path, complete_draft(Charter.parse(SMALL), "municipio"))
    await lead.post(f"{path}/submit", {"attest": True})
    return lead, path


async def probe(lead: Person, government: str, today: date) -> None:
    async with served(City(requests_of(today, days=3))) as city:
        await lead._send("PUT", f"{government}/open311", json={"url": city.url})
        asked = await lead.post(f"{government}/probes")

        async def done() -> bool:
            return str((await lead.get(f"{government}/probes/{asked['probe']}"))["state"]) == "done"

        await until("the probe to be over", done)


async def register(lead: Person, name: str) -> str:
    body = {
        "name": name,
        "state": "Jalisco",
        "kind": "municipio",
        "population": 60_000,
        "population_source": "census",
        "website": "https://gov.example",
    }
    return str((await lead.post("/intake/v1/governments", body))["government"])


def service_of(origin: Origin, name: str) -> Service:
    return next(service for service in origin.services if service.name == name)


def feed_of(origin: Origin, page: int = 100) -> LedgerFeed:
    return LedgerFeed(origin.url, lambda: origin.issuer.token("auditor", "auditor-1"), page=page)


class Listed:
    """A feed of these records."""

    def __init__(self, records: list[bytes]) -> None:
        self.records = records

    async def pages(self, after: int = 0) -> AsyncIterator[Page]:
        while batch := self.records[after : after + 100]:
            after += len(batch)
            yield Page(batch, after)


async def records_of(origin: Origin) -> list[bytes]:
    return [record async for page in feed_of(origin).pages() for record in page.records]


@pytest.mark.parametrize("name", SERVICES)
async def test_a_projection_is_rebuilt_from_the_ledger_alone(origin: Origin, name: str) -> None:
    service = service_of(origin, name)
    report = await replay(service, feed_of(origin))
    assert report.equal, report.as_text()
    assert report.events
    assert all(table.live == table.replayed and table.live for table in report.tables), report.as_text()
    left = await service.database.pool.fetch("select datname from pg_database where datname like '%replay%'")
    assert left == []


async def test_a_screened_cycle_verifies_and_its_receipts_are_in_its_log(origin: Origin) -> None:
    async with People(origin.url, origin.issuer) as people:
        raw = await people("auditor", "auditor-1").content("/ledger/v1/cycles/screened/export", **{"for": "auditor"})
        admin, keys = people("program-admin", "admin-2"), await people("applicant", "a").content("/intake/v1/keys")
        listed = (await admin.get("/intake/v1/cycles/screened/screening"))["applications"]
        told = [await admin.get(f"/intake/v1/applications/{one['application']}/versions/1") for one in listed]
    report = verify(raw)
    assert report.exit_code == 0, report.findings
    assert "the 2 of them that the screening found eligible" in report.recomputed
    assert "the 1 of them that were given back on request" in report.recomputed
    for version in told:
        stated = opened(json.dumps(version), read_keys(keys.decode()))
        assert check(stated, raw).exit_code == 0, check(stated, raw).findings
        other = stated.model_copy(update={"version": 2})
        assert "is not what the receipt says" in check(other, raw).findings[0]
        lost = stated.model_copy(update={"leaf_hash": "00" * 32})
        assert "no such leaf" in check(lost, raw).findings[0]


@pytest.mark.parametrize("seed", [1, 2, 3])
@pytest.mark.parametrize("name", [name for name in SERVICES if name != "ledger"])  # a tree is its order
async def test_any_order_that_respects_sequence_and_cause_gives_the_same_projection(
    origin: Origin, name: str, seed: int
) -> None:
    records = await records_of(origin)
    shuffled = in_another_order(records, random.Random(seed))
    assert sorted(shuffled) == sorted(records)
    assert shuffled != records
    report = await replay(service_of(origin, name), Listed(shuffled), patience=0)
    assert report.equal, report.as_text()


def in_another_order(records: list[bytes], draw: random.Random) -> list[bytes]:
    """The same records, each anywhere behind its predecessor and its cause: far behind, or right away."""
    lacks: dict[str, int] = {}
    frees: dict[Any, list[str]] = defaultdict(list)
    by_id = {(envelope := parse(record)).id: (envelope, record) for record in records}
    for name, (envelope, _) in by_id.items():
        needs = [envelope.causationid] if envelope.causationid else []
        if envelope.sequence > 1:
            needs.append(f"{envelope.key} {envelope.sequence - 1}")
        lacks[name] = len(needs)
        for need in needs:
            frees[need].append(name)
    ready, order = [name for name, count in lacks.items() if not count], []
    while ready:
        # From the end, mostly: what just became possible overtakes what has waited long.
        name = ready.pop(draw.choice([-1, -1, draw.randrange(len(ready))]))
        envelope, record = by_id[name]
        order.append(record)
        for freed in (*frees[name], *frees[f"{envelope.key} {envelope.sequence}"]):
            lacks[freed] -= 1
            if not lacks[freed]:
                ready.append(freed)
    return order


async def test_a_service_that_goes_on_meanwhile_compares_equal(origin: Origin) -> None:
    service = service_of(origin, "intake")

    class Busy(LedgerFeed):
        async def pages(self, after: int = 0) -> AsyncIterator[Page]:
            async for page in super().pages(after):
                async with People(origin.url, origin.issuer) as people:
                    await register(people("applicant", f"busy-{page.cursor}"), "Busy")
                yield page

    report = await replay(service, Busy(origin.url, lambda: origin.issuer.token("service", "intake"), page=100))
    assert report.equal, report.as_text()
    again = await replay(service, feed_of(origin))
    assert sum(table.live for table in again.tables) > sum(table.live for table in report.tables)


CHANGES = {
    "a changed row": "update projection.application set version = version + 1, withdrawn = not withdrawn",
    "a row too many": "insert into projection.application select 'x' || application, cycle, version, submitted,"
    " withdrawn from projection.application limit 1",
    "a row too few": "delete from projection.application",
}


@pytest.mark.parametrize("what", CHANGES)
async def test_a_projection_that_was_tampered_with_is_shown_row_by_row(origin: Origin, what: str) -> None:
    service = service_of(origin, "intake")
    async with service.database.pool.acquire() as connection:
        rows = [tuple(row) for row in await connection.fetch("select * from projection.application")]
        try:
            await connection.execute(CHANGES[what])
            report = await replay(service, feed_of(origin))
        finally:
            await connection.execute("truncate projection.application")
            await connection.copy_records_to_table("application", schema_name="projection", records=rows)
    told = {table.name: table for table in report.tables if table.differences}
    assert not report.equal
    assert "NOT EQUAL" in report.as_text()
    assert list(told) == ["application"]
    found = told["application"]
    assert found.differences == max(1, abs(found.live - found.replayed)) if what != "a changed row" else len(rows)
    first = found.shown[0]
    if what == "a changed row":
        assert first.live is not None
        assert first.replayed is not None
        assert set(first.live) == set(first.replayed) == {"version", "withdrawn"}
        assert first.live["version"] == first.replayed["version"] + 1
    else:
        assert (first.live is None, first.replayed is None) == (what == "a row too few", what == "a row too many")
    assert first.key["application"] in report.as_text()
    assert (await replay(service, feed_of(origin))).equal


async def test_an_event_that_the_ledger_lacks_is_counted_and_what_it_did_is_missing(origin: Origin) -> None:
    records = await records_of(origin)
    lost = next(record for record in records if b'"awards.decision.made.v1"' in record)
    report = await replay(service_of(origin, "awards"), Listed([r for r in records if r != lost]), patience=0)
    assert not report.equal
    assert report.lacking == 1
    subject = parse(lost).subject
    (table,) = [table for table in report.tables if table.name == "application"]
    assert subject in [one.key["application"] for one in table.shown]


async def test_the_command_finds_what_runs_here_and_says_that_nothing_differs(origin: Origin) -> None:
    var = service_of(origin, "ledger").settings.var
    found = Running.found(var)
    assert found is not None
    assert (found.url, found.kafka_bootstrap) == (origin.url, origin.kafka_bootstrap)
    assert stat.S_IMODE((var / "run" / "origin.json").stat().st_mode) == 0o600
    # In a thread: the origin is served by this loop.
    done = await asyncio.to_thread(cec, "replay", "scoring", "--keep", "--json", var=str(var))
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert (report["service"], report["equal"], report["stuck"], report["lacking"]) == ("scoring", True, [], 0)
    connection = await asyncpg.connect(found.postgres_dsn, database=report["database"])
    try:
        assert await connection.fetchval("select count(*) from live.review") == next(
            table["replayed"] for table in report["tables"] if table["name"] == "review"
        )
    finally:
        await connection.close()
    await service_of(origin, "ledger").database.pool.execute(f'drop database "{report["database"]}"')


async def test_a_feed_that_refuses_ends_the_replay_and_leaves_nothing(origin: Origin) -> None:
    service = service_of(origin, "intake")
    with pytest.raises(FeedError, match="403 This needs the role auditor or service"):
        await replay(service, LedgerFeed(origin.url, lambda: origin.issuer.token("board", "b")))
    with pytest.raises(FeedError, match=r"http://127.0.0.1:9 does not answer .*: is `cec up` running\?"):
        await replay(service, LedgerFeed("http://127.0.0.1:9", lambda: "token"))
    left = await service.database.pool.fetch("select datname from pg_database where datname like '%replay%'")
    assert left == []


def test_the_command_says_what_to_do_where_nothing_runs(tmp_path: Any) -> None:
    done = cec("replay", "intake", var=str(tmp_path))
    assert (done.returncode, done.stdout) == (1, "")
    assert "set CEC_POSTGRES_DSN" in done.stderr
    assert "no service 'nobody'" in cec("replay", "nobody", var=str(tmp_path)).stderr


def cec(*arguments: str, var: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "services.cli", *arguments],
        cwd=ROOT,
        env={key: value for key, value in os.environ.items() if not key.startswith("CEC_")} | {"CEC_VAR": var},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_a_report_counts_what_differs() -> None:
    assert Report("intake", 0, 0, [], [], None).equal
    assert not Report("intake", 0, 1, [], [], None).equal
    assert not Report("intake", 0, 0, ["early"], [], None).equal
