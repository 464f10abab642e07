"""Evidence on the real parts: files that come in bit by bit and go out as attachments, links that are looked at."""

from __future__ import annotations

import asyncio
import os
import socket
from base64 import b64encode
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from datetime import datetime, timedelta
from hashlib import sha256
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import httpx
import obstore
import pytest
import uvicorn
from aiokafka import AIOKafkaProducer
from obstore.exceptions import GenericError
from structlog.testing import capture_logs

from schemas.applications import ApplicationSubmitted, Evidence, File
from schemas.envelope import parse, read
from schemas.reviews import Account, Assignee, ReviewAssigned, Reviewer, ReviewerEnrolled
from services.chassis.ids import opaque_id
from services.chassis.issuer import Issuer
from services.chassis.outbound import IPAddress, Outbound
from services.chassis.service import Runtime, Service
from services.chassis.settings import Settings
from services.chassis.web import Frontier
from services.intake.app import service
from services.intake.archive import CHUNK
from services.intake.cycles.domain import parsed
from services.intake.evidence import store, uploads
from services.intake.evidence.links import SETTLED
from services.intake.evidence.looks import look
from services.intake.settings import IntakeSettings
from tests.applicants import SHIPPED, complete_draft
from tests.files import CSV, PDF, office
from tests.given import eventually, publish
from tests.intake import PROFILE, Person, refused
from tests.open311 import Asked, City, Reply, served

RuntimeMaker = Callable[[type[Settings]], Runtime]

CHARTER = parsed(SHIPPED)
CRITERION, OTHER = [criterion.id for criterion in CHARTER.areas[0].criteria][:2]
MEDIA = "application/offset+octet-stream"


class Team:
    """A government's people with an application in a cycle."""

    def __init__(self, svc: Service, people: dict[str, Person], cycle: str, government: str, application: str) -> None:
        self.service = svc
        self.lead, self.viewer, self.stranger = people["lead"], people["viewer"], people["stranger"]
        self.auditor, self.admin = people["auditor"], people["admin"]
        self.cycle = cycle
        self.government = government
        self.path = f"/applications/{application}"
        self.application = application

    async def begin(
        self, name: str, length: int, who: Person | None = None, told: dict[str, str] | None = None
    ) -> httpx.Response:
        told = {"filename": name, **(told or {})}
        pairs = ",".join(f"{key} {b64encode(value.encode()).decode()}" for key, value in told.items())
        return await (who or self.lead)(
            "POST",
            f"{self.path}/uploads",
            Upload_Length=str(length),
            Upload_Metadata=pairs,
            Tus_Resumable="1.0.0",
        )

    async def send(self, at: str, offset: int, content: bytes, who: Person | None = None) -> httpx.Response:
        return await (who or self.lead)(
            "PATCH", at, content, Upload_Offset=str(offset), Content_Type=MEDIA, Tus_Resumable="1.0.0"
        )

    async def upload(self, name: str, content: bytes, told: dict[str, str] | None = None) -> str:
        """Upload a file in one go; its SHA-256."""
        begun = await self.begin(name, len(content), told=told)
        assert begun.status_code == 201, begun.text
        sent = await self.send(begun.headers["location"], 0, content)
        assert sent.status_code == 204, sent.text
        digest = sha256(content).hexdigest()
        assert sent.headers["content-location"] == f"/intake/v1{self.path}/files/{digest}"
        return digest

    async def cite(self, *evidence: dict[str, str], criterion: str = CRITERION) -> httpx.Response:
        patch = {"answers": {criterion: {"evidence": list(evidence)}}}
        return await self.lead("PATCH", self.path, patch, If_Match="*")

    def objects(self, folder: str) -> list[Path]:
        """What the archive holds there."""
        # `walk` passes over a folder that the sweeper takes away meanwhile; `rglob` does not.
        top = self.service.settings.var / "files" / folder
        return [Path(place, name) for place, _, names in os.walk(top) for name in names]

    async def links(self) -> dict[str, dict[str, Any]]:
        return {one["url"]: one for one in (await self.viewer.got(f"{self.path}/links"))["links"]}

    async def hurry(self) -> None:
        """Have every link be due."""
        await self.service.database.pool.execute("update private.link set due = due - interval '9 days'")

    def later(self, **delta: float) -> None:
        clock = self.service.clock
        clock.shift(clock.now() - clock.machine.now() + timedelta(**delta))


@pytest.fixture
async def team(runtime: RuntimeMaker, issuer: Issuer, tmp_path: Path) -> AsyncIterator[Team]:
    async with working(runtime, issuer, tmp_path) as made:
        yield made


@asynccontextmanager
async def working(
    runtime: RuntimeMaker, issuer: Issuer, folder: Path, *, demonstration: bool = False
) -> AsyncIterator[Team]:
    class Local(IntakeSettings):
        var: Path = folder
        links_allow_loopback: bool = True
        links_pause_seconds: float = 0
        files_bytes: int = 5_000_000
        files_total_bytes: int = 8_000_000
        files_unpacked_bytes: int = 1_000_000
        files_count: int = 4

    svc = service(runtime(Local))
    await svc.start()
    transport = httpx.ASGITransport(app=Frontier(svc.app, body_limit=10_000))
    async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
        subjects = {role: opaque_id() for role in ("lead", "viewer", "stranger")}
        people = {role: Person(client, issuer.token("applicant", name)) for role, name in subjects.items()}
        people |= {role: Person(client, issuer.token(role, f"{role}-1")) for role in ("auditor",)}
        admin = people["admin"] = Person(client, issuer.token("program-admin", "admin-1"))
        deadline = (svc.clock.now() + timedelta(days=1)).isoformat(timespec="milliseconds")
        body = {"label": f"c-{opaque_id()}", "charter": SHIPPED, "deadline": deadline, "demonstration": demonstration}
        # The charter itself is longer than what the edge takes here.
        inside = httpx.AsyncClient(transport=httpx.ASGITransport(app=svc.app), base_url="http://test")
        cycle = (await Person(inside, admin.token).made("/cycles", body))["cycle"]
        government = (await people["lead"].made("/governments", PROFILE))["government"]
        await people["lead"].made(
            f"/governments/{government}/members", {"subject": subjects["viewer"], "role": "viewer"}
        )
        started = await people["lead"].made(f"/cycles/{cycle}/applications", {"government": government})
        yield Team(svc, people, cycle, government, started["application"])
        await inside.aclose()
    await svc.stop()


# --- files ----------------------------------------------------------------------------------------------------------


async def test_a_file_comes_in_is_cited_and_goes_out_as_an_attachment(team: Team) -> None:
    name = "Plan “für” צפון.csv"
    digest = await team.upload(name, CSV, {"filetype": "text/csv", "criterion": CRITERION})
    assert (await team.cite({"file": digest, "page": "2"})).status_code == 200
    (shown,) = (await team.viewer.got(f"{team.path}/files"))["files"]
    assert (shown["sha256"], shown["name"], shown["type"], shown["bytes"]) == (digest, name, "text/csv", len(CSV))
    assert (shown["criterion"], shown["cited_at"]) == (CRITERION, [f"/answers/{CRITERION}/evidence/0"])
    assert not shown["frozen"]
    given = await team.viewer("GET", shown["address"])
    assert given.content == CSV
    assert given.headers["content-disposition"].startswith("attachment; filename*=UTF-8''Plan%20%E2%80%9Cf%C3%BCr")
    assert given.headers["content-security-policy"].startswith("sandbox")
    assert given.headers["x-content-type-options"] == "nosniff"
    assert given.headers["content-length"] == str(len(CSV))
    assert given.headers["repr-digest"] == f"sha-256=:{b64encode(sha256(CSV).digest()).decode()}:"
    assert len(team.objects("files")) == 1
    assert team.objects("uploads") == []


async def test_uploading_says_how_it_is_done(team: Team) -> None:
    told = await team.lead("OPTIONS", f"{team.path}/uploads")
    assert (told.status_code, told.headers["tus-version"], told.headers["tus-max-size"]) == (204, "1.0.0", "5000000")
    assert told.headers["tus-extension"] == "creation,expiration,termination"
    begun = await team.begin("a.pdf", len(PDF))
    assert begun.headers["upload-expires"].endswith("GMT")
    where = begun.headers["location"]
    shown = await team.viewer("HEAD", where)
    assert (shown.headers["upload-offset"], shown.headers["upload-length"]) == ("0", str(len(PDF)))
    assert shown.headers["cache-control"] == "no-store"
    assert shown.headers["tus-resumable"] == "1.0.0"
    refused(await team.lead("PATCH", where, b"x", Upload_Offset="0", Content_Type=MEDIA), 412, "tus-version")
    refused(
        await team.lead("PATCH", where, b"x", Upload_Offset="0", Content_Type="text/plain", Tus_Resumable="1.0.0"),
        415,
        "content-type",
    )
    refused(await team.send(where, 1, b"x"), 409, "upload-offset")
    gone = await team.lead("DELETE", where, Tus_Resumable="1.0.0")
    assert gone.status_code == 204
    refused(await team.send(where, 0, PDF), 404, "not-found")


async def test_a_large_file_is_never_whole_in_memory_and_passes_the_edge(team: Team) -> None:
    content = b"".join(b"%d,row\n" % number for number in range(300_000))
    assert len(content) > 3 * CHUNK
    taken: list[int] = []

    async def bits() -> AsyncIterator[bytes]:
        for start in range(0, len(content), 50_000):
            await asyncio.sleep(0.01)  # else it is all on its way before any of it is read
            taken.append(len(team.objects("uploads")))
            yield content[start : start + 50_000]

    where = (await team.begin("large.csv", len(content))).headers["location"]
    headers = {
        "Authorization": f"Bearer {team.lead.token}",
        "Upload-Offset": "0",
        "Content-Type": MEDIA,
        "Tus-Resumable": "1.0.0",
    }
    path = where.removeprefix("/intake")
    async with serving(team) as url, httpx.AsyncClient(base_url=url, timeout=30) as client:
        sent = await client.patch(path, content=bits(), headers=headers)
        assert sent.status_code == 204, sent.text
        assert max(taken) >= 2
        given = await client.get(sent.headers["content-location"].removeprefix("/intake"), headers=headers)
    assert given.content == content
    assert team.objects("uploads") == []


async def test_an_upload_that_was_cut_off_at_every_tenth_goes_on_from_there(team: Team) -> None:
    content = office("xlsx", {"sheet.xml": bytes(range(256)) * 500})
    where = (await team.begin("sheet.xlsx", len(content))).headers["location"]
    tenth = len(content) // 10
    async with serving(team) as url:
        for number in range(1, 10):
            offset = int((await team.lead("HEAD", where)).headers["upload-offset"])
            await cut_off(url, where, team.lead.token, offset, content[offset : tenth * number], len(content) - offset)
            arrived = str(tenth * number)

            async def is_there(arrived: str = arrived) -> bool:
                return (await team.lead("HEAD", where)).headers["upload-offset"] == arrived

            await eventually(is_there)
    offset = int((await team.lead("HEAD", where)).headers["upload-offset"])
    assert offset == tenth * 9
    assert (await team.send(where, offset, content[offset:])).status_code == 204
    digest = sha256(content).hexdigest()
    assert (await team.viewer("GET", f"{team.path}/files/{digest}")).content == content
    assert (await team.lead.got(where))["sha256"] == digest
    refused(await team.send(where, len(content), b""), 409, "upload-offset")


@asynccontextmanager
async def serving(team: Team) -> AsyncIterator[str]:
    """The service behind its edge on a real port."""

    class Quiet(uvicorn.Server):
        @contextmanager
        def capture_signals(self) -> Iterator[None]:
            yield

    listening = socket.create_server(("127.0.0.1", 0))
    edge = Frontier(team.service.app, body_limit=10_000)
    server = Quiet(uvicorn.Config(edge, log_config=None, access_log=False, lifespan="off"))
    running = asyncio.create_task(server.serve(sockets=[listening]))
    try:
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"
    finally:
        server.should_exit = True
        await running
        listening.close()


def continuing(where: str, token: str, offset: int, length: int) -> bytes:
    """The head of a request that carries an upload on."""
    return (
        f"PATCH {where.removeprefix('/intake')} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {token}\r\n"
        f"Upload-Offset: {offset}\r\nContent-Type: {MEDIA}\r\nTus-Resumable: 1.0.0\r\nContent-Length: {length}\r\n\r\n"
    ).encode()


async def cut_off(url: str, where: str, token: str, offset: int, content: bytes, length: int) -> None:
    """Send a part of what was announced, and hang up."""
    host, port = url.removeprefix("http://").split(":")
    _, writer = await asyncio.open_connection(host, int(port))
    writer.write(continuing(where, token, offset, length) + content)
    await writer.drain()
    await asyncio.sleep(0.1)
    writer.close()
    await writer.wait_closed()


async def test_two_requests_that_carry_an_upload_on_have_one_effect(team: Team) -> None:
    content = CSV * 1_000
    where = (await team.begin("a.csv", len(content))).headers["location"]
    half = len(content) // 2
    answers = await asyncio.gather(*(team.send(where, 0, content[:half]) for _ in range(4)))
    assert sorted(answer.status_code for answer in answers) == [204, 409, 409, 409]
    answers = await asyncio.gather(*(team.send(where, half, content[half:]) for _ in range(4)))
    assert [answer.status_code for answer in answers].count(204) == 1
    assert {answer.status_code for answer in answers} <= {204, 404, 409}
    given = await team.viewer("GET", f"{team.path}/files/{sha256(content).hexdigest()}")
    assert given.content == content


async def test_what_is_sent_to_an_upload_that_was_ended_meanwhile_is_kept_nowhere(team: Team) -> None:
    where = (await team.begin("a.csv", 3 * CHUNK)).headers["location"]
    ended = asyncio.Event()

    async def bits() -> AsyncIterator[bytes]:
        yield b"a" * (CHUNK + 1)
        assert (await team.lead("DELETE", where, Tus_Resumable="1.0.0")).status_code == 204
        await eventually(nothing_left)
        ended.set()
        yield b"b" * (CHUNK + 1)

    async def nothing_left() -> bool:
        return team.objects("uploads") == []

    headers = {"Upload-Offset": "0", "Content-Type": MEDIA, "Tus-Resumable": "1.0.0"}
    headers["Authorization"] = f"Bearer {team.lead.token}"
    async with serving(team) as url, httpx.AsyncClient(base_url=url, timeout=30) as client:
        sent = await client.patch(where.removeprefix("/intake"), content=bits(), headers=headers)
    assert ended.is_set()
    refused(sent, 409, "upload-offset")
    await eventually(nothing_left)


async def test_more_than_was_announced_is_refused_and_what_is_there_stays(team: Team) -> None:
    where = (await team.begin("a.pdf", 20)).headers["location"]
    assert (await team.send(where, 0, PDF[:10])).status_code == 204
    refused(await team.send(where, 10, b"x" * 11), 413, "upload-too-long")
    refused(await team.send(where, 10, b"x" * 50), 413, "body-too-large")
    assert (await team.lead("HEAD", where)).headers["upload-offset"] == "10"


@pytest.mark.parametrize(
    ("name", "content", "rule"),
    [
        ("report.pdf", b"MZ\x90\x00" * 20, "content-type"),
        ("report.pdf", b"<html><script>alert(1)</script>", "content-type"),
        ("sheet.xlsx", office("docx"), "content-type"),
        ("macros.docx", office("docx", {"word/vbaProject.bin": b"x"}), "content-type"),
        ("bomb.docx", office("docx", {"word/bomb.bin": b"\x00" * 2_000_000}), "archive"),
    ],
)
async def test_a_file_that_is_not_what_it_says_is_refused_and_kept_nowhere(
    team: Team, name: str, content: bytes, rule: str
) -> None:
    where = (await team.begin(name, len(content))).headers["location"]
    refused(await team.send(where, 0, content), 422, rule)
    assert (await team.lead("HEAD", where)).status_code == 404
    shown = await team.lead.got(f"{team.path}/files")
    assert (shown["files"], shown["files_left"], shown["bytes_left"]) == ([], 4, 8_000_000)
    assert team.objects("files") == []

    async def swept() -> bool:
        return team.objects("uploads") == []

    await eventually(swept)


async def test_what_cannot_be_taken_is_refused_before_a_byte_is_sent(team: Team) -> None:
    refused(await team.begin("a.exe", 10), 422, "file-kind")
    refused(await team.begin("a.pdf", 10, told={"filetype": "text/html"}), 422, "file-kind")
    refused(await team.begin("a.pdf", 10, told={"criterion": "nope"}), 422, "unknown-criterion")
    refused(await team.begin("../a.pdf", 10), 422, "file-name")
    refused(await team.begin("a.pdf", 0), 422, "empty-file")
    refused(await team.begin("a.pdf", 5_000_001), 413, "file-too-large")
    assert (await team.begin("a.pdf", 5_000_000)).status_code == 201
    refused(await team.begin("b.pdf", 5_000_000), 413, "files-too-large")
    begun = await asyncio.gather(*(team.begin(f"{number}.pdf", 10) for number in range(6)))
    assert sorted(answer.status_code for answer in begun) == [201, 201, 201, 409, 409, 409]
    wrong = await team.lead(
        "POST", f"{team.path}/uploads", Upload_Length="1", Upload_Metadata="filename ?", Tus_Resumable="1.0.0"
    )
    refused(wrong, 400, "upload-metadata")


async def test_an_unfinished_upload_is_removed_when_its_time_is_over(team: Team) -> None:
    where = (await team.begin("a.pdf", len(PDF))).headers["location"]
    assert (await team.send(where, 0, PDF[:10])).status_code == 204
    assert len(team.objects("uploads")) == 1
    database = team.service.database
    await database.pool.execute("update private.upload set expires = expires - interval '25 hours'")
    refused(await team.send(where, 10, PDF[10:]), 410, "upload-expired")
    await database.pool.execute("update private.sweep set due = due - interval '25 hours'")

    async def gone() -> bool:
        return (await team.lead("HEAD", where)).status_code == 404 and team.objects("uploads") == []

    await eventually(gone)
    assert (await team.lead.got(f"{team.path}/files"))["files_left"] == 4


async def test_a_file_can_be_removed_until_something_cites_it_and_is_frozen_by_a_submission(team: Team) -> None:
    unknown = refused(await team.cite({"file": "0" * 64}), 422, "unknown-file")
    assert unknown["errors"][0]["pointer"] == f"/answers/{CRITERION}/evidence/0/file"
    first, second = await team.upload("a.pdf", PDF), await team.upload("b.csv", CSV)
    await team.lead.saved(team.path, complete_draft(CHARTER, "city"))
    assert (await team.cite({"file": first})).status_code == 200
    refused(await team.lead("DELETE", f"{team.path}/files/{first}"), 409, "cited")
    assert (await team.lead.made(f"{team.path}/submit", {"attest": True}))["version"] == 1
    assert (await team.cite({"url": "https://www.gov.example/instead"})).status_code == 200
    refused(await team.lead("DELETE", f"{team.path}/files/{first}"), 409, "frozen")
    assert (await team.lead("DELETE", f"{team.path}/files/{second}")).status_code == 204
    shown = (await team.viewer.got(f"{team.path}/files"))["files"]
    assert [(one["sha256"], one["cited_at"], one["frozen"]) for one in shown] == [(first, [], True)]
    refused(await team.viewer("GET", f"{team.path}/files/{second}"), 404, "not-found")


async def test_a_submission_says_of_a_file_what_proves_it_and_not_what_it_holds(team: Team) -> None:
    digest = await team.upload("a.csv", CSV)
    await team.lead.saved(team.path, complete_draft(CHARTER, "city"))
    await team.cite({"file": digest, "quote": "all of it"})
    await team.service.stop()
    await team.service.database.open()
    await team.lead.made(f"{team.path}/submit", {"attest": True})
    record = await team.service.database.pool.fetchval(
        "select record from chassis.outbox where key = $1", team.application
    )
    event = read(parse(bytes(record)), ApplicationSubmitted.TYPE)
    assert isinstance(event, ApplicationSubmitted)
    assert event.answers is not None
    file = File(sha256=digest, name="a.csv", type="text/csv", bytes=len(CSV))
    assert event.answers[CRITERION].evidence == [Evidence(url="", quote="all of it", file=file)]


async def test_what_two_applications_hold_is_kept_once_and_as_long_as_one_of_them_does(team: Team) -> None:
    profile = {**PROFILE, "name": "Shelbyville"}
    government = (await team.stranger.made("/governments", profile))["government"]
    started = await team.stranger.made(f"/cycles/{team.cycle}/applications", {"government": government})
    people = {"lead": team.stranger, "viewer": team.lead, "stranger": team.lead, "auditor": team.auditor}
    there = Team(team.service, people | {"admin": team.admin}, team.cycle, government, started["application"])
    digest = await team.upload("a.csv", CSV)
    assert await there.upload("b.txt", CSV) == digest
    assert len(team.objects("files")) == 1
    assert [one["type"] for one in (await there.lead.got(f"{there.path}/files"))["files"]] == ["text/plain"]

    async def sweep() -> None:
        pool = team.service.database.pool
        await pool.execute("update private.content set touched = touched - interval '2 hours'")
        await pool.execute("update private.sweep set due = due - interval '2 hours'")

        async def swept() -> bool:
            return not await pool.fetchval("select exists (select from private.sweep where due < now())")

        await eventually(swept)

    assert (await team.lead("DELETE", f"{team.path}/files/{digest}")).status_code == 204
    await sweep()
    assert (await there.lead("GET", f"{there.path}/files/{digest}")).content == CSV
    refused(await team.lead("GET", f"{team.path}/files/{digest}"), 404, "not-found")
    assert (await there.lead("DELETE", f"{there.path}/files/{digest}")).status_code == 204
    assert len(team.objects("files")) == 1
    await sweep()
    assert team.objects("files") == []
    assert await team.upload("a.csv", CSV) == digest


async def test_files_are_for_the_governments_people_and_are_read_by_the_program_on_record(team: Team) -> None:
    digest = await team.upload("a.pdf", PDF)
    where = (await team.begin("b.pdf", len(PDF))).headers["location"]
    for path in ("/files", f"/files/{digest}", "/links"):
        with capture_logs() as logs:
            refused(await team.stranger("GET", team.path + path), 404, "not-found")
        assert [line["log_level"] for line in logs] == []
        refused(await team.admin("GET", team.path + path), 403, "not-closed")
        assert (await team.auditor("GET", team.path + path)).status_code == 200
    noted = await team.service.database.pool.fetch("select subject, what from private.read_log order by at")
    assert [tuple(row) for row in noted] == [("auditor-1", what) for what in ("files", f"files/{digest}", "links")]
    refused(await team.begin("b.pdf", 10, team.stranger), 404, "not-found")
    refused(await team.begin("b.pdf", 10, team.viewer), 403, "role-required")
    refused(await team.send(where, 0, PDF, team.stranger), 404, "not-found")
    refused(await team.send(where, 0, PDF, team.viewer), 403, "role-required")
    refused(await team.lead("DELETE", f"{team.path}/files/{'0' * 64}"), 404, "not-found")
    refused(await team.viewer("DELETE", f"{team.path}/files/{digest}"), 403, "role-required")
    for who in (team.stranger, team.auditor):
        refused(await who("DELETE", f"{team.path}/files/{digest}"), 404, "not-found")
        refused(await who("GET", where), 404, "not-found")
    nobody = await team.lead.client.patch(f"/v1{where.removeprefix('/intake/v1')}", content=b"x")
    assert nobody.status_code in {401, 422}


async def test_a_reviewer_reads_the_evidence_of_the_submitted_version_and_of_nothing_else(
    team: Team, issuer: Issuer, kafka: AIOKafkaProducer
) -> None:
    cited, spare = await team.upload("a.pdf", PDF), await team.upload("b.csv", CSV)
    subject, colleague = opaque_id(), opaque_id()
    reviewer, other = (Person(team.lead.client, issuer.token("reviewer", name)) for name in (subject, colleague))

    async def assigned(application: str, account: str | None, sequence: int = 1) -> None:
        name, alias = opaque_id(), opaque_id()
        whose = Account(issuer=team.service.settings.token_issuer, subject=account) if account else None
        enrolled = ReviewerEnrolled(cycle=team.cycle, reviewer=name, private=Reviewer(states=[], account=whose))
        private = Assignee(reviewer=name)
        # In this order: neither needs the other to be here.
        given_to = ReviewAssigned(cycle=team.cycle, application=application, review=alias, private=private)
        await publish(kafka, given_to, sequence)
        await publish(kafka, enrolled, 1)

    async with served(City([])) as city:
        city.instead = page("Service levels")
        url = f"{city.url}/report"
        await team.lead.saved(team.path, complete_draft(CHARTER, "city"))
        await team.cite({"url": url, "file": cited})
        await team.lead.made(f"{team.path}/submit", {"attest": True})
        await team.cite({"file": spare})
        await team.admin.made(f"/cycles/{team.cycle}/close")
        paths = ("/files", f"/files/{cited}", "/links")
        for path in paths:
            refused(await reviewer("GET", team.path + path), 404, "not-found")
        await assigned(opaque_id(), colleague)
        await assigned(team.application, None)
        await assigned(team.application, subject, 2)

        async def admitted() -> bool:
            return (await reviewer("GET", f"{team.path}/links")).status_code == 200

        await eventually(admitted)
        (shown,) = (await reviewer.got(f"{team.path}/files"))["files"]
        assert (shown["sha256"], shown["cited_at"]) == (cited, [f"/answers/{CRITERION}/evidence/0"])
        assert (shown["frozen"], shown["uploaded_by"], shown["warnings"]) == (True, None, [])
        given = await reviewer("GET", shown["address"])
        assert given.content == PDF
        assert given.headers["content-disposition"].startswith("attachment;")
        assert given.headers["content-security-policy"].startswith("sandbox")
        refused(await reviewer("GET", f"{team.path}/files/{spare}"), 404, "not-found")
        for path in ("", "/versions", "/versions/1", "/history", "/comments"):
            refused(await reviewer("GET", team.path + path), 404, "not-found")
        for path in paths:
            refused(await other("GET", team.path + path), 404, "not-found")

        async def link(state: str) -> dict[str, Any]:
            async def of_reviewer() -> dict[str, Any]:
                links = (await reviewer.got(f"{team.path}/links"))["links"]
                return next(dict(one) for one in links if one["url"] == url)

            async def found() -> bool:
                return bool((await of_reviewer())["state"] == state)

            await team.hurry()
            await eventually(found)
            return await of_reviewer()

        before = await link("reachable")
        team.later(days=100)
        city.instead = page("Gone", 404)
        gone = await link("broken")
        assert (gone["title"], gone["seen_at"]) == ("Service levels", before["seen_at"])
    noted = await team.service.database.pool.fetch(
        "select distinct what from private.read_log where subject = $1", subject
    )
    assert {row["what"] for row in noted} == {path.removeprefix("/") for path in paths} | {f"files/{spare}"}


async def test_after_the_deadline_nothing_is_taken_in_or_removed(team: Team) -> None:
    digest = await team.upload("a.pdf", PDF)
    where = (await team.begin("b.csv", len(CSV))).headers["location"]
    team.later(days=2)
    refused(await team.begin("c.pdf", 10), 409, "deadline-passed")
    refused(await team.send(where, 0, CSV), 409, "deadline-passed")
    refused(await team.lead("DELETE", f"{team.path}/files/{digest}"), 409, "deadline-passed")
    assert (await team.viewer("GET", f"{team.path}/files/{digest}")).content == PDF


async def test_a_check_warns_of_a_files_name_and_of_a_link_that_leads_nowhere(team: Team) -> None:
    digest = await team.upload("call_503-555-0142.pdf", PDF)
    (shown,) = (await team.viewer.got(f"{team.path}/files"))["files"]
    assert shown["warnings"] == ["“503-555-0142” looks like a phone number"]
    await team.lead.saved(team.path, complete_draft(CHARTER, "city"))
    async with served(City([])) as city:
        await team.cite({"url": f"{city.url}/nothing-here"}, {"file": digest})
        await team.hurry()

        async def broken() -> bool:
            return bool((await team.links())[f"{city.url}/nothing-here"]["state"] == "broken")

        await eventually(broken)
    told = await team.viewer.made(f"{team.path}/check")
    mine = [one for one in told["warnings"] if one["pointer"].startswith(f"/answers/{CRITERION}/evidence/")]
    assert [(one["rule"], one["pointer"][-1]) for one in mine] == [("broken-link", "0"), ("residents-data", "1")]
    # A server may be away for an hour; a name stays as it is, and whoever submits says that it does.
    assert [one["rule"] for one in told["problems"]] == ["not-acknowledged"]
    refused(await team.lead("POST", f"{team.path}/submit", {"attest": True}), 422, "not-acknowledged")
    await team.lead("PATCH", team.path, {"acknowledged": [mine[1]["id"]]}, If_Match="*")
    assert (await team.viewer.made(f"{team.path}/check"))["ready"]
    await team.lead.made(f"{team.path}/submit", {"attest": True})


async def test_who_stops_sending_is_told_so_and_goes_on_later(team: Team, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(uploads, "IDLE_SECONDS", 0.2)
    where = (await team.begin("a.csv", len(CSV))).headers["location"]
    async with serving(team) as url:
        host, port = url.removeprefix("http://").split(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        writer.write(continuing(where, team.lead.token, 0, len(CSV)) + CSV[:10])
        answer = await reader.readuntil(b"\r\n")
        writer.close()
    assert b" 408 " in answer
    assert (await team.lead("HEAD", where)).headers["upload-offset"] == "10"
    assert (await team.send(where, 10, CSV[10:])).status_code == 204


async def test_while_the_archive_is_away_nothing_is_lost(team: Team, monkeypatch: pytest.MonkeyPatch) -> None:
    where = (await team.begin("a.csv", len(CSV))).headers["location"]

    async def away(*_: object) -> None:
        raise GenericError("no bucket today")

    with monkeypatch.context() as patched:
        patched.setattr(obstore, "put_async", away)
        answer = refused(await team.send(where, 0, CSV), 503, "unavailable")
    assert "no bucket" not in str(answer)
    assert (await team.lead("HEAD", where)).headers["upload-offset"] == "0"
    assert (await team.send(where, 0, CSV)).status_code == 204


async def test_what_an_application_held_can_be_forgotten_altogether(team: Team) -> None:
    digest = await team.upload("a.csv", CSV)
    await team.send((await team.begin("b.csv", 100)).headers["location"], 0, CSV[:10])
    await team.lead.saved(team.path, complete_draft(CHARTER, "city"))
    await team.cite({"file": digest})
    await team.lead.made(f"{team.path}/submit", {"attest": True})
    database = team.service.database
    async with database.transaction() as tx:
        await store.forget(tx.db, team.application, database_now(team))
    await database.pool.execute("update private.content set touched = touched - interval '2 hours'")
    await database.pool.execute("update private.sweep set due = due - interval '2 hours'")

    async def gone() -> bool:
        return team.objects("files") == [] and team.objects("uploads") == []

    await eventually(gone)
    for table in ("content", "file", "upload", "piece", "link"):
        assert await database.pool.fetchval(f"select count(*) from private.{table}") == 0  # noqa: S608  (of this list)


def database_now(team: Team) -> datetime:
    return team.service.clock.machine.now()


# --- links ----------------------------------------------------------------------------------------------------------


def page(title: str, status: int = 200) -> Callable[[Asked], Reply]:
    return lambda _asked: Reply(f"<html><title>{title}</title>{'x' * 200_000}".encode(), status, "text/html")


async def test_a_link_is_looked_at_once_it_stands_and_again_by_schedule(team: Team) -> None:
    async with served(City([])) as city:
        url = f"{city.url}/report"
        city.instead = page("Service &amp; levels")
        await team.cite({"url": url}, {"url": url, "page": "2"})
        due = await team.service.database.pool.fetchval("select due - clock_timestamp() from private.link")
        assert timedelta() < due <= SETTLED
        assert (await team.links())[url]["state"] == "unchecked"
        await team.hurry()

        async def state(expected: str) -> dict[str, Any]:
            async def reached() -> bool:
                return bool((await team.links())[url]["state"] == expected)

            await eventually(reached)
            return (await team.links())[url]

        first = await state("reachable")
        assert (first["status"], first["title"], first["reason"]) == (200, "Service & levels", "")
        assert first["cited_at"] == [f"/answers/{CRITERION}/evidence/{number}" for number in range(2)]
        assert "citizen-engaged-links" in city.asked[0].headers["user-agent"]
        city.instead = page("Gone", 404)
        await team.hurry()
        second = await state("broken")
        assert (second["status"], second["title"], second["seen_at"]) == (404, "Service & levels", first["seen_at"])
        assert second["checked_at"] > first["checked_at"]
        city.instead = page("Please sign in", 403)
        await team.hurry()
        assert (await state("unclear"))["status"] == 403
        assert len(city.asked) == 3


async def test_a_link_of_a_submitted_version_is_looked_at_though_the_draft_goes_on(team: Team) -> None:
    await team.lead.saved(team.path, complete_draft(CHARTER, "city"))
    count = "select count(*) from private.link where application = $1 and section = $2"
    home = (team.application, f"answers.{CHARTER.areas[0].id}")
    named = await team.service.database.pool.fetchval(count, *home)
    await team.cite({"url": "https://www.gov.example/another"})
    assert await team.service.database.pool.fetchval(count, *home) == named
    await team.lead.made(f"{team.path}/submit", {"attest": True})
    await team.cite({"url": "https://www.gov.example/a-third"})
    assert await team.service.database.pool.fetchval(count, *home) == named + 1


async def test_links_of_one_host_are_looked_at_one_after_the_other(team: Team) -> None:
    at_once, most = 0, 0

    async def slowly(writer: asyncio.StreamWriter) -> None:
        nonlocal at_once, most
        at_once += 1
        most = max(most, at_once)
        await asyncio.sleep(0.05)
        at_once -= 1
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")

    async with served(City([])) as city:
        city.instead = lambda _asked: Reply(raw=slowly)
        await team.cite(*({"url": f"{city.url}/{number}"} for number in range(6)))
        await team.hurry()

        async def all_seen() -> bool:
            return {one["state"] for one in (await team.links()).values()} == {"reachable"}

        await eventually(all_seen)
    assert most == 1
    assert len(city.asked) == 6


async def test_what_a_demonstration_made_up_is_not_looked_at(
    runtime: RuntimeMaker, issuer: Issuer, tmp_path: Path
) -> None:
    async with working(runtime, issuer, tmp_path, demonstration=True) as team, served(City([])) as city:
        await team.cite({"url": f"{city.url}/x"})
        await team.hurry()

        async def left() -> bool:
            pool = team.service.database.pool
            return bool(await pool.fetchval("select bool_and(due = 'infinity') from private.link"))

        await eventually(left)
        assert city.asked == []


class Names:
    """A resolver whose answers change: each lookup takes the next one, the last stays."""

    def __init__(self, *answers: str) -> None:
        self._answers = list(answers)

    async def __call__(self, host: str, port: int) -> list[IPAddress]:
        return [ip_address(self._answers.pop(0) if len(self._answers) > 1 else self._answers[0])]


async def test_a_name_that_changes_to_a_private_address_is_a_broken_link() -> None:
    async with served(City([])) as city:
        city.instead = page("Here")
        client = Outbound(allow_loopback=True, resolver=Names("127.0.0.1", "10.0.0.1"))
        url = f"http://city.example:{city.port}/"
        assert (await look(client, url)).state == "reachable"
        second = await look(client, url)
    assert (second.state, second.reason) == ("broken", "the host is not on the public network")


async def test_a_redirect_to_a_private_address_is_a_broken_link() -> None:
    async with served(City([])) as city:
        city.instead = lambda _asked: Reply(b"", 302, headers={"Location": "http://10.0.0.1/admin"})
        found = await look(Outbound(allow_loopback=True), city.url)
    assert (found.state, found.status, found.reason) == ("broken", None, "the host is not on the public network")
    assert len(city.asked) == 1


async def test_links_that_cannot_be_looked_at_say_why() -> None:
    client = Outbound()
    assert (await look(client, "http://www.gov.example/")).state == "unclear"
    for url in ("https://127.0.0.1/", "https://user:word@www.gov.example/", "https:// x", "https://10.0.0.1"):
        found = await look(client, url)
        assert found.state == "broken"
        assert found.reason
