"""Letters on the real parts: what intake records goes out by a real SMTP server, and intake learns how it went."""

from __future__ import annotations

import asyncio
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace
from datetime import datetime, timedelta
from email import message_from_bytes, policy
from email.message import EmailMessage
from typing import Any

import httpx
import pytest
from aiokafka import AIOKafkaProducer
from aiosmtpd.smtp import SMTP, Envelope, Session
from structlog.testing import capture_logs

from schemas.applications import ApplicationSubmitted
from schemas.designations import WithdrawalAnswer, WithdrawalRefused
from schemas.erasures import DisclosureErased, Excused
from schemas.screening import InvitationIssued
from services.chassis.clock import ProgramClock
from services.chassis.issuer import Issuer
from services.chassis.service import Runtime, Service
from services.chassis.settings import Settings
from services.intake.settings import IntakeSettings
from services.notifications import app
from services.notifications.mail.post import LEASE
from services.notifications.settings import NotificationsSettings
from tests.given import Machine, eventually, from_now_on, publish
from tests.intake import Intake, started

RuntimeMaker = Callable[[type[Settings]], Runtime]


class Mailbox:
    """A mail server: takes letters, but to whom `answers` says otherwise, in turn."""

    def __init__(self) -> None:
        self.letters: defaultdict[str, list[EmailMessage]] = defaultdict(list)
        self.answers: defaultdict[str, list[str]] = defaultdict(list)
        self.before: Callable[[], Awaitable[None]] | None = None
        """Runs once, before a letter is said to be taken."""

    async def handle_RCPT(  # noqa: N802  (aiosmtpd's name)
        self, _server: SMTP, _session: Session, envelope: Envelope, address: str, _options: list[str]
    ) -> str:
        answer = self.answers[address].pop(0) if self.answers[address] else "250 OK"
        if answer.startswith("250"):
            envelope.rcpt_tos.append(address)
        return answer

    async def handle_DATA(self, _server: SMTP, _session: Session, envelope: Envelope) -> str:  # noqa: N802  (likewise)
        content = envelope.content if isinstance(envelope.content, bytes) else b""
        read = message_from_bytes(content, policy=policy.default)
        assert isinstance(read, EmailMessage)
        (to,) = envelope.rcpt_tos
        self.letters[to].append(read)
        if self.before is not None:
            before, self.before = self.before, None
            await before()
        return "250 OK"

    def total(self) -> int:
        return sum(map(len, self.letters.values()))

    def text(self, to: str, number: int = -1) -> str:
        body = self.letters[to][number].get_body(("plain",))
        assert body is not None
        return str(body.get_content())


class World:
    """Intake and notifications, with a mail server between them and everybody."""

    def __init__(self, intake: Intake, notices: Service, mailbox: Mailbox, machine: Machine) -> None:
        self.intake = intake
        self.notices = notices
        self.mailbox = mailbox
        self.machine = machine
        self.http = httpx.AsyncClient(transport=httpx.ASGITransport(app=notices.app), base_url="http://test")

    async def arrived(self, count: int) -> None:
        """Wait for that many letters, and a little longer for one too many."""

        async def enough() -> bool:
            return self.mailbox.total() >= count

        await eventually(enough)
        await asyncio.sleep(0.3)
        assert self.mailbox.total() == count

    async def letters(self, state: str = "") -> list[dict[str, Any]]:
        headers = {"Authorization": f"Bearer {self.intake.admin.token}"}
        answer = await self.http.get("/v1/mail", params={"state": state} if state else {}, headers=headers)
        items: list[dict[str, Any]] = answer.json()["items"]
        return items

    async def settled(self, *states: str) -> None:
        async def so() -> bool:
            return Counter(one["state"] for one in await self.letters()) == Counter(states)

        await eventually(so)


@pytest.fixture
def machine() -> Machine:
    return Machine()


@pytest.fixture
def clock(machine: Machine) -> ProgramClock:
    return ProgramClock(machine, movable=True)


@pytest.fixture
async def mailbox() -> AsyncIterator[tuple[Mailbox, int]]:
    made = Mailbox()
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: SMTP(made, loop=loop), "127.0.0.1", 0)
    yield made, server.sockets[0].getsockname()[1]
    server.close()
    await server.wait_closed()


@pytest.fixture
async def world(
    runtime: RuntimeMaker, issuer: Issuer, machine: Machine, mailbox: tuple[Mailbox, int]
) -> AsyncIterator[World]:
    box, port = mailbox
    given = runtime(NotificationsSettings)
    settings = given.settings.model_copy(update={"mail_host": "127.0.0.1", "mail_port": port, "mail_tls": "none"})
    notices = app.service(replace(given, settings=settings))
    await from_now_on(notices)
    await notices.start()
    async with started(runtime(IntakeSettings), issuer) as intake:
        made = World(intake, notices, box, machine)
        yield made
        await made.http.aclose()
    await notices.stop()


async def test_leads_and_editors_are_reminded_once_each_until_they_want_no_more(world: World) -> None:
    intake = world.intake
    cycle = await intake.cycle(days=8)
    lead, path = await intake.drafted(cycle)
    await lead.done("PUT", "/me", {"name": "A Lead", "email": "lead@town.example"})
    government = (await lead.got(path))["government"]
    for name, role in (("editor", "editor"), ("viewer", "viewer"), ("silent", "editor")):
        person = intake.person(subject=f"{name}-{cycle}")
        await lead.made(f"/governments/{government}/members", {"subject": f"{name}-{cycle}", "role": role})
        if name != "silent":
            await person.done("PUT", "/me", {"name": name, "email": f"{name}@town.example"})
    await lead.saved(path, {"contact": {"title": None}})
    deadline = datetime.fromisoformat((await intake.admin.got(f"/cycles/{cycle}"))["deadline"])
    with capture_logs() as logged:
        move(intake, deadline - timedelta(days=7) + timedelta(seconds=1))
        await world.arrived(2)
        await world.settled("sent", "sent")
    assert set(world.mailbox.letters) == {"lead@town.example", "editor@town.example"}
    assert "town.example" not in repr(logged)
    letter = world.mailbox.letters["lead@town.example"][0]
    assert letter["Subject"].strip() == "7 days left: the application of Springfield to Citizen-Engaged Communities"
    text = world.mailbox.text("lead@town.example")
    assert "- Contact: 2/3" in text
    assert f"({deadline:%Y-%m-%d %H:%M} UTC)" in text
    assert "Eastern" in text
    rows = await world.notices.database.pool.fetch("select email, said from private.mail")
    assert [tuple(row) for row in rows] == [(None, None)] * 2
    stop = str(letter["List-Unsubscribe"]).strip("<>").partition("/notifications")[2]
    assert "<form" in (await world.http.get(stop)).text
    for _ in range(2):
        answer = await world.http.post(stop, content="List-Unsubscribe=One-Click", headers={"content-type": FORM})
        assert answer.status_code == 200
    assert (await world.http.post(f"/v1/mail/stop/{'0' * 32}")).status_code == 404
    move(intake, deadline - timedelta(days=2) + timedelta(seconds=1))
    await world.arrived(3)
    assert len(world.mailbox.letters["editor@town.example"]) == 2
    assert [one["why"] for one in await world.letters("failed")] == ["stopped"]


FORM = "application/x-www-form-urlencoded"


def move(intake: Intake, to: datetime) -> None:
    clock: ProgramClock = intake.service.clock
    clock.shift(to - clock.machine.now())


async def test_the_campaign_shows_who_was_written_to_whose_letter_came_back_and_whose_is_tried_again(
    world: World,
) -> None:
    intake, box = world.intake, world.mailbox
    cycle = await intake.cycle(days=3)
    path = f"/cycles/{cycle}/campaign"
    box.answers["gone@town.example"] = ["550 5.1.1 gone@town.example is unknown"]
    box.answers["busy@town.example"] = ["451 4.7.1 later"]
    box.answers["away@town.example"] = ["421 4.3.2 going down"]
    names = ("away", "Good", "gone", "busy")
    rows = [{"name": name, "state": "Ohio", "email": f"{name}@town.example"} for name in names]
    await intake.admin.made(path, {"invited": rows})
    assert (await intake.admin.made(f"{path}/send", {}))["queued"] == 4
    assert (await intake.admin.made(f"{path}/send", {}))["queued"] == 0

    async def shown() -> dict[str, tuple[str, str]]:
        found = (await intake.admin.got(path))["invitees"]
        return {one["name"]: (one["became"], one["reason"]) for one in found}

    async def told() -> bool:
        return await shown() == {
            "Good": ("sent", ""),
            "gone": ("bounced", "bounced 550 5.1.1"),
            "busy": ("queued", ""),
            "away": ("queued", ""),
        }

    await eventually(told)
    world.machine.ahead = timedelta(minutes=10)
    await world.settled("sent", "sent", "sent", "failed")
    assert box.letters["busy@town.example"][0]["Subject"].endswith(f"applications for {cycle} are open")

    async def all_told() -> bool:
        found = await shown()
        return found["busy"][0] == found["away"][0] == "sent"

    await eventually(all_told)
    assert (await intake.admin.got(path))["counts"] == {"sent": 3, "bounced": 1}
    assert "town.example" not in repr(await world.letters())


async def test_a_crash_between_the_servers_answer_and_our_note_of_it_sends_the_same_letter_again(world: World) -> None:
    pool = world.notices.database.pool

    async def crash() -> None:
        # As if the process were gone: whoever comes next finds the lease of another.
        await pool.execute("update private.mail set lease = 'gone'")

    world.mailbox.before = crash
    cycle = await world.intake.cycle(days=3)
    path = f"/cycles/{cycle}/campaign"
    await world.intake.admin.made(path, {"invited": [{"name": "Town", "email": "clerk@town.example"}]})
    await world.intake.admin.made(f"{path}/send", {})
    await world.arrived(1)
    await world.settled("pending")
    world.machine.ahead = LEASE + timedelta(seconds=1)
    await world.arrived(2)
    await world.settled("sent")
    first, second = world.mailbox.letters["clerk@town.example"]
    assert first["Message-ID"] == second["Message-ID"]


async def test_nothing_is_sent_any_more_of_what_was_erased(world: World, kafka: AIOKafkaProducer) -> None:
    world.mailbox.answers["clerk@town.example"] = ["451 later"]
    cycle = await world.intake.cycle(days=3)
    path = f"/cycles/{cycle}/campaign"
    await world.intake.admin.made(path, {"invited": [{"name": "Town", "email": "clerk@town.example"}]})
    await world.intake.admin.made(f"{path}/send", {})

    async def tried() -> bool:
        return [one["why"] for one in await world.letters()] == ["451"]

    await eventually(tried)
    query = "select subject, leaf from chassis.event_log where type = $1"
    subject, leaf = await world.intake.pool.fetchrow(query, InvitationIssued.TYPE) or pytest.fail("no invitation")
    (one,) = await world.letters()
    digest = leaf.decode().partition('"contact":"')[2].partition('"')[0]
    excused, gone = Excused(not_applicable=[]), {"contact": digest}
    await publish(kafka, DisclosureErased(about=subject, event=one["event"], digests=gone, claims=excused), 2)

    async def erased() -> bool:
        return [one["why"] for one in await world.letters()] == ["erased"]

    await eventually(erased)
    assert await world.notices.database.pool.fetchval("select count(*) from private.mail where email <> ''") == 0
    world.machine.ahead = timedelta(minutes=1)
    await world.arrived(0)


async def test_an_erased_official_gets_no_letter_about_a_later_event_either(
    world: World, kafka: AIOKafkaProducer
) -> None:
    intake, official = world.intake, "manager@gov.example"
    cycle = await intake.cycle()
    _, path = await intake.submitted(cycle)
    await world.arrived(1)
    await intake.admin.made(f"/cycles/{cycle}/close")
    world.mailbox.answers[official] = ["451 later"]
    await intake.admin.made(f"{path}/screening", {"verdict": "sent-back", "text": "Which of the two lines is it?"})

    async def ended(why: str) -> bool:
        return [one["why"] for one in await world.letters() if one["kind"] == "question"] == [why]

    await eventually(lambda: ended("451"))
    submitted = await intake.pool.fetchval(
        "select id from chassis.event_log where subject = $1 and type = $2",
        path.rpartition("/")[2],
        ApplicationSubmitted.TYPE,
    )
    gone = DisclosureErased(about="y", event=submitted, digests={"contact": "x"}, claims=Excused(not_applicable=[]))
    await publish(kafka, gone, 1)
    await eventually(lambda: ended("erased"))
    assert await world.notices.database.pool.fetchval("select count(*) from private.mail where address <> ''") == 0


async def test_the_official_is_told_of_receipt_question_and_how_a_withdrawal_was_settled(
    world: World, kafka: AIOKafkaProducer
) -> None:
    intake, official = world.intake, "manager@gov.example"
    cycle = await intake.cycle()
    lead, path = await intake.submitted(cycle)
    await world.arrived(1)
    await intake.admin.made(f"/cycles/{cycle}/close")
    await intake.admin.made(f"{path}/screening", {"verdict": "sent-back", "text": "Which of the two lines is it?"})
    await world.arrived(2)
    assert "Which of the two lines" not in world.mailbox.text(official)
    # Somebody is erased whom an answer named: the official goes on to be written to.
    submitted = await intake.pool.fetchval(
        "select id from chassis.event_log where subject = $1 and type = $2",
        path.rpartition("/")[2],
        ApplicationSubmitted.TYPE,
    )
    gone = DisclosureErased(about="x", event=submitted, digests={"answers/x": "x"}, claims=Excused(not_applicable=[]))
    await publish(kafka, gone, 1)
    asked = await lead.made(f"{path}/withdrawal-request", {"reason": "our budget"})
    application = path.rpartition("/")[2]
    answer = WithdrawalAnswer(reason="Its reviews are in.")
    await publish(
        kafka,
        WithdrawalRefused(cycle=cycle, application=application, requested=asked["event"], private=answer),
        1,
        cause=asked["event"],
    )
    await world.arrived(3)
    subjects = [letter["Subject"].rpartition(": ")[2] for letter in world.mailbox.letters[official]]
    assert subjects == [
        "application received, version 1",
        "a question about your application",
        f"your application stays in {cycle}",
    ]

    async def refused() -> bool:
        return bool((await lead.got(f"{path}/withdrawal-request"))["state"] == "refused")

    await eventually(refused)
    assert (await lead.got(f"{path}/withdrawal-request"))["answer"] == "Its reviews are in."
    assert (await lead.got(f"{path}/screening"))["statements"][-1]["kind"] == "withdrawal-refused"
