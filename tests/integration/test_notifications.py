"""Notifications on the real parts: real events in, signed webhooks out to receivers that listen on this machine."""

from __future__ import annotations

import asyncio
import json
import socket
from collections import defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from fractions import Fraction
from functools import partial
from pathlib import Path
from typing import Any, Self

import httpx
import pytest
import standardwebhooks
import uvicorn
from aiokafka import AIOKafkaProducer
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp

from schemas.applications import Identity
from schemas.cycles import CohortAnnounced, CycleOpened
from schemas.designations import DesignationExpired, DesignationGranted, Outcome, RenewalDue
from schemas.envelope import Event, Written
from schemas.exact import Ratio, SetDigest
from schemas.topics import topic_of
from services import webhook_listener
from services.chassis.clock import ProgramClock
from services.chassis.ids import opaque_id
from services.chassis.issuer import Issuer
from services.chassis.metrics import DELIVERIES
from services.chassis.service import Runtime, Service
from services.chassis.settings import Settings
from services.chassis.webhooks import new_key, new_secret, verify
from services.notifications import app
from services.notifications.settings import NotificationsSettings
from tests.given import Machine, eventually, written

RuntimeMaker = Callable[[type[Settings]], Runtime]
Answers = Callable[[Request], Awaitable[Response]]

CHARTER = (Path(__file__).parents[2] / "deploy/programs/citizen-engaged-communities.toml").read_text(encoding="utf-8")
SECRET = new_secret()
LONG = 10**8
"""Seconds that a token is valid: longer than any test moves the machine's time."""


class EmbeddedSettings(NotificationsSettings):
    """Receivers of these tests listen on this machine."""

    webhooks_allow_loopback: bool = True
    subscriptions_per_person: int = 3


class Receiver:
    """An endpoint: answers its challenge, and then each notice with the next of `answers`, 204 after the last."""

    def __init__(self, *answers: int | Answers, challenge: int | Answers = 200) -> None:
        self.answers = list(answers)
        self.challenge = challenge
        self.requests: list[tuple[dict[str, str], bytes]] = []
        self.challenges = 0

    async def receive(self, request: Request) -> Response:
        body = await request.body()
        if json.loads(body)["type"] == "cec.webhook.challenge":
            self.challenges += 1
            if self.challenge == 200:
                return JSONResponse({"challenge": json.loads(body)["challenge"]})
            return await self._answer(request, self.challenge)
        self.requests.append((dict(request.headers), body))
        return await self._answer(request, self.answers.pop(0) if self.answers else 204)

    @staticmethod
    async def _answer(request: Request, answer: int | Answers) -> Response:
        return Response(status_code=answer) if isinstance(answer, int) else await answer(request)

    @property
    def bodies(self) -> list[dict[str, Any]]:
        return [json.loads(body) for _, body in self.requests]

    @property
    def ids(self) -> list[str]:
        return [headers["webhook-id"] for headers, _ in self.requests]

    def subjects(self, kind: str = "") -> list[str]:
        return [body["subject"] for body in self.bodies if kind in body["type"]]


class Hanging:
    """Takes requests and answers none before it is released."""

    def __init__(self) -> None:
        self.released = asyncio.Event()

    async def __call__(self, _: Request) -> Response:
        await self.released.wait()
        return Response(status_code=204)


class World:
    """A service of notifications under test, with what comes in over Kafka and HTTP."""

    def __init__(self, service: Service, machine: Machine, issuer: Issuer, kafka: AIOKafkaProducer) -> None:
        self.service = service
        self.machine = machine
        self.kafka = kafka
        self.http = httpx.AsyncClient(transport=httpx.ASGITransport(app=service.app), base_url="http://test")
        self._issuer = issuer
        self._running = AsyncExitStack()

    async def __aenter__(self) -> Self:
        await self.service.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._running.aclose()
        await self.service.stop()
        await self.http.aclose()

    async def listen(self, receiver: Receiver | ASGIApp) -> str:
        """Serve a receiver on a free port and give its address."""
        if isinstance(receiver, Receiver):
            receiver = Starlette(routes=[Route("/hook", receiver.receive, methods=["POST"])])
        listening = socket.create_server(("127.0.0.1", 0))
        config = uvicorn.Config(receiver, log_config=None, lifespan="off", ws="none", timeout_graceful_shutdown=1)
        server = uvicorn.Server(config)
        task = asyncio.create_task(server._serve([listening]))  # without its signal handlers

        async def stop() -> None:
            server.should_exit = True
            await task
            listening.close()

        self._running.push_async_callback(stop)
        return f"http://127.0.0.1:{listening.getsockname()[1]}/hook"

    async def call(self, method: str, path: str, body: object = None, *, who: str = "subscriber-1") -> httpx.Response:
        token = self._issuer.token("subscriber", who, seconds=LONG)
        headers = {"authorization": f"Bearer {token}"}
        return await self.http.request(method, f"/v1/subscriptions{path}", json=body, headers=headers)

    async def subscribe(
        self, receiver: Receiver | ASGIApp, *, who: str = "subscriber-1", state: str = "confirmed", **filters: object
    ) -> str:
        """Subscribe and wait until the challenge came to what is expected."""
        body = {"url": await self.listen(receiver), "secret": SECRET, "filters": filters}
        answer = await self.call("POST", "", body, who=who)
        assert answer.status_code == 201, answer.text
        name = str(answer.json()["subscription"])

        async def settled() -> bool:
            return bool((await self.show(name, who=who))["state"] == state)

        await eventually(settled)
        return name

    async def show(self, name: str, *, who: str = "subscriber-1") -> dict[str, Any]:
        answer: dict[str, Any] = (await self.call("GET", f"/{name}", who=who)).json()
        return answer

    async def attempts(self, name: str) -> list[dict[str, Any]]:
        """From the first to the last."""
        items: list[dict[str, Any]] = (await self.call("GET", f"/{name}/attempts")).json()["items"]
        return items[::-1]

    async def recorded(self, name: str) -> list[dict[str, Any]]:
        """The events about a subscription, as they go to the ledger."""
        rows = await self.service.database.pool.fetch(
            "select leaf from chassis.event_log where subject = $1 order by sequence", name
        )
        return [json.loads(row["leaf"]) for row in rows]

    async def delivered(self, name: str, count: int = 1) -> list[dict[str, Any]]:
        """Its deliveries, once that many are recorded: the receiver has its notice a moment before."""

        async def enough() -> bool:
            return sum("delivered" in event["type"] for event in await self.recorded(name)) >= count

        await eventually(enough)
        return [event for event in await self.recorded(name) if "delivered" in event["type"]]

    async def types(self, name: str) -> list[str]:
        return [event["type"].removeprefix("notifications.").removesuffix(".v1") for event in await self.recorded(name)]

    async def parked(self, subject: str) -> int:
        count: int = await self.service.database.pool.fetchval(
            "select count(*) from chassis.parked where subject = $1 and kind = 'not_yet'", subject
        )
        return count


class Cohort:
    """A cycle and its designations, as intake and awards tell of them."""

    def __init__(self, kafka: AIOKafkaProducer, *, demonstration: bool = False, times: int = 1) -> None:
        self.cycle = f"cycle-{opaque_id()[:8]}"
        self.sent: list[Written] = []
        self.designations: dict[str, str] = {}
        self._kafka = kafka
        self._times = times
        self._demonstration = demonstration
        self._sequences: defaultdict[tuple[str, str], int] = defaultdict(int)

    async def publish(self, event: Event, sequence: int | None = None) -> str:
        """Send an event as often as this cohort's events come; gives its id."""
        key = (event.source(), event.subject)
        self._sequences[key] += 1
        made = written(event, sequence or self._sequences[key])
        self.sent.append(made)
        for _ in range(self._times):
            await self._kafka.send_and_wait(topic_of(event.TYPE), made.record, key=event.subject.encode())
        return made.header.id

    async def open(self) -> None:
        await self.publish(
            CycleOpened(
                cycle=self.cycle,
                program="citizen-engaged-communities",
                charter=CHARTER,
                charter_sha256="0" * 64,
                deadline=datetime(2011, 8, 1, tzinfo=UTC),
                assignment_commitment="0" * 64,
                demonstration=self._demonstration,
            )
        )

    async def grant(self, name: str, state: str = "Ohio", tier: str = "t1", *, send: bool = True) -> DesignationGranted:
        designation = opaque_id()
        self.designations[name] = designation
        event = DesignationGranted(
            cycle=self.cycle,
            designation=designation,
            application=opaque_id(),
            decided=opaque_id(),
            starts_on=date(2011, 10, 17),
            ends_on=date(2013, 10, 17),
            identity=Identity(
                government=opaque_id(),
                name=name,
                state=state,
                kind="city",
                population=50_000,
                population_source="2010 Census",
                website="https://city.example",
                tier=tier,
            ),
            scores=Outcome(level="designated", total=Ratio.of(Fraction(7, 10)), unmet=[]),
        )
        if send:
            await self.publish(event)
        return event

    async def announce(self) -> None:
        await self.publish(
            CohortAnnounced(
                cycle=self.cycle,
                announced_on=date(2011, 10, 17),
                designations=SetDigest.of(self.designations.values()),
                highlights=[],
                narrative=["They are creative."],
            ),
        )

    async def renew(self, name: str, days: int = 180) -> None:
        event = RenewalDue(cycle=self.cycle, designation=self.designations[name], days=days, ends_on=date(2013, 10, 17))
        await self.publish(event)

    async def expire(self, name: str) -> None:
        event = DesignationExpired(cycle=self.cycle, designation=self.designations[name], ended_on=date(2013, 10, 17))
        await self.publish(event)


@pytest.fixture
def machine() -> Machine:
    return Machine()


@pytest.fixture
def clock(machine: Machine) -> ProgramClock:
    return ProgramClock(machine, movable=True)


@pytest.fixture
async def world(
    runtime: RuntimeMaker, machine: Machine, issuer: Issuer, kafka: AIOKafkaProducer
) -> AsyncIterator[World]:
    async with World(app.service(runtime(EmbeddedSettings)), machine, issuer, kafka) as made:
        yield made


@pytest.fixture
async def cohort(kafka: AIOKafkaProducer) -> Cohort:
    made = Cohort(kafka)
    await made.open()
    return made


async def got(receiver: Receiver, count: int) -> None:
    """Wait for that many requests, and a little longer for one too many."""

    async def enough() -> bool:
        return len(receiver.requests) >= count

    await eventually(enough)
    await asyncio.sleep(0.3)
    assert len(receiver.requests) == count


# --- what is told ---------------------------------------------------------------------------------------------------


async def test_nothing_leaves_before_the_announcement_and_then_everything_at_once(world: World, cohort: Cohort) -> None:
    receiver = Receiver()
    # The topics hold what other tests announced.
    name = await world.subscribe(receiver, cycles=[cohort.cycle])
    for government in ("Arlington", "Boston", "Carmel"):
        await cohort.grant(government)
    late = await cohort.grant("Durham", send=False)
    await cohort.renew("Boston")
    await cohort.announce()

    async def all_wait() -> bool:
        return [await world.parked(subject) for subject in (cohort.cycle, cohort.designations["Boston"])] == [1, 1]

    await eventually(all_wait)
    await asyncio.sleep(1)
    assert receiver.requests == []
    await cohort.publish(late)
    await got(receiver, 6)
    assert sorted(receiver.subjects("designation.granted")) == sorted(cohort.designations.values())
    assert receiver.subjects("cohort.announced") == [cohort.cycle]
    assert receiver.subjects("renewal.due") == [cohort.designations["Boston"]]
    await world.delivered(name, 6)
    assert await world.types(name) == ["subscription.confirmed", *["notice.delivered"] * 6]


async def test_a_notice_is_the_event_signed_as_standard_webhooks_has_it(world: World, cohort: Cohort) -> None:
    receiver = Receiver()
    name = await world.subscribe(receiver, types=["award"])
    await cohort.grant("Boston", "Massachusetts")
    await cohort.announce()
    await got(receiver, 1)
    ((headers, body),) = receiver.requests
    told: dict[str, Any] = standardwebhooks.Webhook(SECRET).verify(body, headers)
    granted = next(made for made in cohort.sent if "granted" in made.header.type)
    assert headers["content-type"] == "application/cloudevents+json"
    assert (told["id"], told["type"], told["subject"]) == (
        granted.header.id,
        "awards.designation.granted.v1",
        cohort.designations["Boston"],
    )
    assert told["data"]["summary"] == (
        "Boston, Massachusetts is designated Citizen-Engaged Community until 2013-10-17."
    )
    assert told["data"]["identity"]["name"] == "Boston"
    assert told["data"]["scores"]["total"] == {"num": 7, "den": 10}
    (delivered,) = await world.delivered(name)
    assert delivered["causationid"] == granted.header.id
    assert delivered["data"] == {
        "attempts": 1,
        "event": granted.header.id,
        "notice": headers["webhook-id"],
        "sealed": {},
    }


async def test_the_programs_own_listener_takes_a_demonstrations_notices_from_award_to_expiry(
    world: World, machine: Machine, kafka: AIOKafkaProducer, tmp_path: Path
) -> None:
    out = tmp_path / "notices.ndjson"
    told: list[str] = []
    listener = webhook_listener.app(secret=SECRET, out=out, tell=lambda kind, _: told.append(kind), clock=machine)
    await world.subscribe(listener)
    cohort = Cohort(kafka, demonstration=True)
    await cohort.open()
    await cohort.grant("Boston", "Massachusetts")
    await cohort.announce()
    await cohort.renew("Boston")
    await cohort.expire("Boston")

    async def all_told() -> bool:
        return len(told) >= 5

    await eventually(all_told)
    lines = [json.loads(line) for line in out.read_text(encoding="utf-8").splitlines()]
    assert told == ["challenge", *["notice"] * 4]
    assert all(line["verified"] for line in lines)
    assert [line["summary"] for line in lines if line["subject"] == cohort.designations["Boston"]] == [
        f"DEMONSTRATION: Boston, Massachusetts{rest}"
        for rest in (
            " is designated Citizen-Engaged Community until 2013-10-17 (scores simulated).",
            ": the designation ends on 2013-10-17; renewal is due (180 days' notice).",
            ": the designation ended on 2013-10-17.",
        )
    ]
    (announced,) = [line["summary"] for line in lines if line["subject"] == cohort.cycle]
    assert announced == f"DEMONSTRATION: Citizen-Engaged Communities {cohort.cycle}: 1 government is designated."


async def test_events_that_come_twice_or_before_their_cycle_make_one_notice_each(
    world: World, kafka: AIOKafkaProducer
) -> None:
    receiver = Receiver()
    await world.subscribe(receiver)
    cohort = Cohort(kafka, times=2)
    await cohort.grant("Boston")
    await cohort.announce()
    await cohort.renew("Boston")

    async def all_wait() -> bool:
        waiting = [cohort.cycle, cohort.designations["Boston"]]
        return all([await world.parked(subject) for subject in waiting])

    await eventually(all_wait)
    assert receiver.requests == []
    await cohort.open()
    await got(receiver, 3)
    for made in cohort.sent:
        await kafka.send_and_wait(topic_of(made.header.type), made.record, key=made.header.subject.encode())
    await got(receiver, 3)
    assert len(set(receiver.ids)) == 3


async def test_a_subscriber_gets_what_its_filters_let_through(world: World, cohort: Cohort) -> None:
    wanted: dict[str, Any] = {
        "types": ["expiry"],
        "states": ["Texas"],
        "tiers": ["t4"],
        "governments": ["boston"],
        "cycles": ["another"],
    }
    receivers = {name: Receiver() for name in (*wanted, "all")}
    for number, (name, receiver) in enumerate(receivers.items()):
        await world.subscribe(
            receiver, who=f"subscriber-{number}", **{key: wanted[key] for key in wanted if key == name}
        )
    await cohort.grant("Boston", "Massachusetts", "t4")
    await cohort.grant("Dallas", "Texas", "t4")
    await cohort.grant("Denton", "Texas", "t2")
    await cohort.announce()
    await cohort.expire("Denton")
    await got(receivers["all"], 5)
    found = {name: sorted(receiver.subjects()) for name, receiver in receivers.items()}
    boston, dallas, denton = (cohort.designations[name] for name in ("Boston", "Dallas", "Denton"))
    assert found == {
        "types": [denton],
        "states": sorted([dallas, denton, denton, cohort.cycle]),
        "tiers": sorted([boston, dallas, cohort.cycle]),
        "governments": sorted([boston, cohort.cycle]),
        "cycles": [],
        "all": sorted([boston, dallas, denton, denton, cohort.cycle]),
    }


# --- the challenge --------------------------------------------------------------------------------------------------


async def test_an_endpoint_that_does_not_answer_its_challenge_is_sent_nothing(world: World, cohort: Cohort) -> None:
    def saying(said: object) -> Answers:
        async def answer(_: Request) -> Response:
            return JSONResponse(said)

        return answer

    wrong = [Receiver(challenge=saying(said)) for said in ({"challenge": "something else"}, ["no object"], {})]
    names = [await world.subscribe(receiver, state="failed") for receiver in (*wrong, Receiver(challenge=204))]
    witness = Receiver()
    await world.subscribe(witness)
    await cohort.grant("Boston")
    await cohort.announce()
    await got(witness, 2)
    assert [(receiver.challenges, receiver.requests) for receiver in wrong] == [(1, [])] * 3
    for name in names:
        assert (await world.show(name))["reason"] == "the answer does not hold the challenge"
        assert await world.types(name) == []


async def test_a_challenge_that_meets_a_sleeping_endpoint_is_repeated(world: World, machine: Machine) -> None:
    receiver = Receiver(challenge=503)
    name = await world.subscribe(receiver, state="pending")

    async def tried() -> bool:
        return receiver.challenges == 1 and len(await world.attempts(name)) == 1

    await eventually(tried)
    receiver.challenge = 200
    machine.ahead += timedelta(seconds=7)

    async def confirmed() -> bool:
        return bool((await world.show(name))["state"] == "confirmed")

    await eventually(confirmed)
    first, second = await world.attempts(name)
    assert (first["type"], first["status"], first["reason"]) == ("challenge", 503, "answered 503")
    assert (second["attempt"], second["status"], second["reason"], second["next_attempt"]) == (2, 200, "", None)
    assert first["notice"] == second["notice"]


async def test_new_work_is_taken_up_at_once_and_not_at_the_next_look(
    runtime: RuntimeMaker, machine: Machine, issuer: Issuer, kafka: AIOKafkaProducer, cohort: Cohort
) -> None:
    given = runtime(EmbeddedSettings)
    rarely = replace(given, settings=given.settings.model_copy(update={"poll_seconds": 60.0}))
    async with World(app.service(rarely), machine, issuer, kafka) as world:
        receiver = Receiver()
        await world.subscribe(receiver)
        await cohort.grant("Boston")
        await cohort.announce()
        await cohort.expire("Boston")
        await got(receiver, 3)


async def test_an_address_on_the_network_within_is_never_called(
    runtime: RuntimeMaker, machine: Machine, issuer: Issuer, kafka: AIOKafkaProducer
) -> None:
    async with World(app.service(runtime(NotificationsSettings)), machine, issuer, kafka) as strict:
        receiver = Receiver()
        url = await strict.listen(receiver)
        refused = await strict.call("POST", "", {"url": url})
        assert refused.status_code == 422
        assert refused.json()["errors"][0] == {
            "pointer": "/url",
            "rule": "url",
            "detail": "This address cannot be used: the URL must begin with https://.",
        }
        within = await strict.call("POST", "", {"url": "https://127.0.0.1/hook"})
        assert within.status_code == 422
        assert "the host is not on the public network" in within.json()["errors"][0]["detail"]
        assert receiver.challenges == 0


# --- attempts -------------------------------------------------------------------------------------------------------


async def test_a_notice_that_failed_is_tried_again_under_its_id_and_with_its_body(
    world: World, machine: Machine, cohort: Cohort
) -> None:
    receiver = Receiver(500, 302)
    name = await world.subscribe(receiver, types=["award"])
    await cohort.grant("Boston")
    await cohort.announce()
    await got(receiver, 1)
    machine.ahead += timedelta(seconds=7)
    await got(receiver, 2)
    machine.ahead += timedelta(minutes=7)
    await got(receiver, 3)
    assert len(set(receiver.ids)) == 1
    assert len({body for _, body in receiver.requests}) == 1
    for headers, body in receiver.requests:
        verify([SECRET], headers, body, now=machine.now().timestamp(), tolerance=600)
    assert len({headers["webhook-timestamp"] for headers, _ in receiver.requests}) == 3
    _, *attempts = await world.attempts(name)
    assert [(one["attempt"], one["status"], one["reason"]) for one in attempts] == [
        (1, 500, "answered 500"),
        (2, 302, "answered 302: redirects are not followed"),
        (3, 204, ""),
    ]
    waits = [datetime.fromisoformat(one["next_attempt"]) - datetime.fromisoformat(one["at"]) for one in attempts[:2]]
    assert timedelta(seconds=5) <= waits[0] <= timedelta(seconds=7)
    assert timedelta(minutes=5) <= waits[1] <= timedelta(minutes=7)
    (delivered,) = await world.delivered(name)
    assert delivered["data"]["attempts"] == 3
    # The challenge was delivered, too.
    assert [world.service.metrics.value(DELIVERIES, result=result) for result in ("pending", "delivered")] == [2, 2]


async def test_an_endpoint_that_asks_for_time_gets_it(world: World, machine: Machine, cohort: Cohort) -> None:
    async def busy(_: Request) -> Response:
        return Response(status_code=429, headers={"retry-after": "600"})

    receiver = Receiver(busy)
    await world.subscribe(receiver, types=["award"])
    await cohort.grant("Boston")
    await cohort.announce()
    await got(receiver, 1)
    machine.ahead += timedelta(seconds=590)
    await got(receiver, 1)
    machine.ahead += timedelta(seconds=15)
    await got(receiver, 2)


async def test_410_ends_a_subscription_at_once(world: World, cohort: Cohort) -> None:
    receiver = Receiver(410)
    name = await world.subscribe(receiver, types=["award", "renewal-due"])
    await cohort.grant("Boston")
    await cohort.announce()
    await cohort.renew("Boston")

    async def disabled() -> bool:
        return bool((await world.show(name))["state"] == "disabled")

    await eventually(disabled)
    await got(receiver, 1)
    assert "410" in (await world.show(name))["reason"]
    assert await world.types(name) == ["subscription.confirmed", "notice.failed", "endpoint.disabled"]
    secrets = await world.service.database.pool.fetchval("select count(secret) from private.subscription")
    assert secrets == 0


async def test_an_endpoint_that_fails_for_five_days_is_disabled_with_notice(
    world: World, machine: Machine, cohort: Cohort
) -> None:
    receiver = Receiver(*[500] * 30)
    name = await world.subscribe(receiver, types=["award", "expiry"])
    await cohort.grant("Boston")
    await cohort.announce()
    await cohort.expire("Boston")
    for attempts in range(1, 6):
        await got(receiver, attempts)
        assert (await world.show(name))["state"] == "confirmed"
        machine.ahead += timedelta(days=1)
    await got(receiver, 6)
    assert (await world.show(name))["state"] == "disabled"
    assert await world.types(name) == ["subscription.confirmed", "notice.failed", "endpoint.disabled"]
    machine.ahead += timedelta(days=1)
    await got(receiver, 6)


async def test_a_notice_is_given_up_after_its_tenth_attempt_and_the_next_one_follows(
    world: World, machine: Machine, cohort: Cohort
) -> None:
    receiver = Receiver(*[503] * 10)
    name = await world.subscribe(receiver, types=["award", "renewal-due"])
    await cohort.grant("Boston")
    await cohort.announce()
    await cohort.renew("Boston")

    async def tried(times: int) -> bool:
        return len(await world.attempts(name)) - 1 >= times

    for times, hours in enumerate((1, 1, 1, 3, 6, 12, 17, 24, 29), 1):
        await eventually(partial(tried, times))
        machine.ahead += timedelta(hours=hours)
    await got(receiver, 11)
    assert [body["type"] for body in receiver.bodies[-2:]] == [
        "awards.designation.granted.v1",
        "awards.renewal.due.v1",
    ]
    await world.delivered(name)
    failed, delivered = (await world.recorded(name))[1:]
    assert (failed["type"], failed["data"]["attempts"]) == ("notifications.notice.failed.v1", 10)
    assert failed["data"]["reason"] == "answered 503"
    assert delivered["type"] == "notifications.notice.delivered.v1"


async def test_notices_about_one_designation_arrive_in_order_and_hold_up_no_other(
    world: World, machine: Machine, cohort: Cohort
) -> None:
    async def refuse_boston(request: Request) -> Response:
        body = json.loads(await request.body())
        return Response(status_code=500 if body["subject"] == cohort.designations["Boston"] else 204)

    receiver = Receiver(*[refuse_boston] * 5)
    await world.subscribe(receiver, types=["award", "renewal-due", "expiry"])
    for government in ("Boston", "Dallas"):
        await cohort.grant(government)
    await cohort.announce()
    for government in ("Boston", "Dallas"):
        await cohort.renew(government)
        await cohort.expire(government)
    await got(receiver, 4)
    told = [(body["subject"], body["type"].split(".")[1]) for body in receiver.bodies]
    boston, dallas = cohort.designations["Boston"], cohort.designations["Dallas"]
    assert [kind for subject, kind in told if subject == boston] == ["designation"]
    assert [body["type"] for body in receiver.bodies if body["subject"] == dallas] == [
        "awards.designation.granted.v1",
        "awards.renewal.due.v1",
        "awards.designation.expired.v1",
    ]
    receiver.answers.clear()
    machine.ahead += timedelta(seconds=7)
    await got(receiver, 7)
    assert [body["type"] for body in receiver.bodies if body["subject"] == boston][1:] == [
        "awards.designation.granted.v1",
        "awards.renewal.due.v1",
        "awards.designation.expired.v1",
    ]


async def test_endpoints_that_hang_or_are_dead_delay_nobody(world: World, cohort: Cohort) -> None:
    hanging = Hanging()
    slow = Receiver(*[hanging] * 50)
    await world.subscribe(slow)
    dead = Receiver()
    dead_name = await world.subscribe(dead)
    # From here on nobody listens at its address.
    await world.service.database.pool.execute(
        "update private.subscription set url = 'http://127.0.0.1:9/' where subscription = $1", dead_name
    )
    quick = Receiver()
    await world.subscribe(quick)
    for number in range(12):
        await cohort.grant(f"City {number}")
    started = asyncio.get_running_loop().time()
    await cohort.announce()

    async def all_here() -> bool:
        return len(quick.requests) == 13

    await eventually(all_here, seconds=5)
    assert asyncio.get_running_loop().time() - started < 5
    assert len(slow.requests) == 4  # what one subscriber may keep busy
    attempts = [one for one in await world.attempts(dead_name) if one["type"] != "challenge"]
    assert attempts
    assert all(one["status"] is None and "connect" in one["reason"] for one in attempts)
    hanging.released.set()
    await got(slow, 13)


async def test_unproven_endpoints_get_half_of_the_places_at_most(
    runtime: RuntimeMaker, machine: Machine, issuer: Issuer, kafka: AIOKafkaProducer, cohort: Cohort
) -> None:
    class Narrow(EmbeddedSettings):
        webhooks_at_once: int = 4

    hanging = Hanging()
    quick, silent = Receiver(), [Receiver(challenge=hanging) for _ in range(4)]
    async with World(app.service(runtime(Narrow)), machine, issuer, kafka) as narrow:
        await narrow.subscribe(quick)
        for number, receiver in enumerate(silent):
            await narrow.subscribe(receiver, who=f"silent-{number}", state="pending")
        await cohort.grant("Boston")
        await cohort.announce()
        await got(quick, 2)
        assert sum(receiver.challenges for receiver in silent) == 2
        hanging.released.set()


async def test_what_a_killed_process_had_taken_up_is_delivered_once_its_lease_is_over(
    runtime: RuntimeMaker, machine: Machine, issuer: Issuer, kafka: AIOKafkaProducer, cohort: Cohort
) -> None:
    hanging = Hanging()
    receiver = Receiver(hanging)
    async with World(app.service(runtime(EmbeddedSettings)), machine, issuer, kafka) as killed:
        name = await killed.subscribe(receiver, types=["award"])
        await cohort.grant("Boston")
        await cohort.announce()
        await got(receiver, 1)
        url = (await killed.show(name))["url"]
        await killed.service.stop()  # the attempt under way is cut off and stays unsettled
        async with World(app.service(runtime(EmbeddedSettings)), machine, issuer, kafka) as again:
            await asyncio.sleep(0.5)
            await got(receiver, 1)
            machine.ahead += timedelta(minutes=1)
            await got(receiver, 2)
            assert (await again.show(name))["url"] == url
            assert len(set(receiver.ids)) == 1
            assert [one["status"] for one in await again.attempts(name)] == [200, 204]
            assert await again.types(name) == ["subscription.confirmed", "notice.delivered"]
        hanging.released.set()


async def test_two_processes_share_the_work_and_send_nothing_twice(
    runtime: RuntimeMaker, machine: Machine, issuer: Issuer, kafka: AIOKafkaProducer, cohort: Cohort
) -> None:
    receiver = Receiver()
    async with (
        World(app.service(runtime(EmbeddedSettings)), machine, issuer, kafka) as one,
        World(app.service(runtime(EmbeddedSettings)), machine, issuer, kafka),
    ):
        await one.subscribe(receiver)
        for number in range(30):
            await cohort.grant(f"City {number}")
        await cohort.announce()
        await got(receiver, 31)
        assert len(set(receiver.ids)) == 31


# --- what a person may do -------------------------------------------------------------------------------------------


async def test_a_cancelled_subscription_gets_nothing_more(world: World, machine: Machine, cohort: Cohort) -> None:
    receiver = Receiver(500)
    name = await world.subscribe(receiver, types=["award", "expiry"])
    await cohort.grant("Boston")
    await cohort.announce()
    await got(receiver, 1)
    answer = await world.call("DELETE", f"/{name}")
    assert (answer.status_code, answer.json()["state"]) == (200, "cancelled")
    assert (await world.call("DELETE", f"/{name}")).status_code == 200
    await cohort.expire("Boston")
    machine.ahead += timedelta(hours=1)
    await got(receiver, 1)
    assert await world.types(name) == ["subscription.confirmed", "subscription.cancelled"]
    rows = await world.service.database.pool.fetch(
        "select d.state, s.secret from private.delivery d, private.subscription s"
    )
    assert {tuple(row) for row in rows} == {("delivered", None), ("dropped", None)}


async def test_another_persons_subscription_is_not_there(world: World, cohort: Cohort) -> None:
    receiver = Receiver()
    name = await world.subscribe(receiver)
    await cohort.announce()
    await got(receiver, 1)
    for method, path in (
        ("GET", f"/{name}"),
        ("DELETE", f"/{name}"),
        ("GET", f"/{name}/attempts"),
        ("POST", f"/{name}/notices/{receiver.ids[0]}/replay"),
    ):
        answer = await world.call(method, path, who="somebody-else")
        assert (answer.status_code, answer.json()["type"]) == (404, "urn:cec:problem:not-found"), (method, path)
    assert (await world.call("GET", "", who="somebody-else")).json() == {"items": [], "next": None}
    (own,) = (await world.call("GET", "")).json()["items"]
    assert (own["subscription"], own["state"]) == (name, "confirmed")
    await got(receiver, 1)


async def test_a_notice_can_be_sent_again_under_its_old_id(world: World, cohort: Cohort) -> None:
    receiver = Receiver()
    name = await world.subscribe(receiver, types=["award"])
    await cohort.grant("Boston")
    await cohort.announce()
    await got(receiver, 1)
    answer = await world.call("POST", f"/{name}/notices/{receiver.ids[0]}/replay")
    assert (answer.status_code, answer.json()["notice"]) == (202, receiver.ids[0])
    await got(receiver, 2)
    assert len(set(receiver.ids)) == 1
    challenge = (await world.attempts(name))[0]["notice"]
    for unknown in (challenge, opaque_id()):
        assert (await world.call("POST", f"/{name}/notices/{unknown}/replay")).status_code == 404
    await world.call("DELETE", f"/{name}")
    refused = await world.call("POST", f"/{name}/notices/{receiver.ids[0]}/replay")
    assert (refused.status_code, refused.json()["type"]) == (409, "urn:cec:problem:not-confirmed")


async def test_a_secret_made_here_is_shown_once_and_an_ed25519_one_is_verified_by_its_public_key(
    world: World, cohort: Cohort, machine: Machine
) -> None:
    made, given = Receiver(), Receiver()
    first = (await world.call("POST", "", {"url": await world.listen(made)})).json()
    second = (await world.call("POST", "", {"url": await world.listen(given), "secret": new_key()})).json()
    assert first["secret"].startswith("whsec_")
    assert "secret" not in second

    async def both_confirmed() -> bool:
        return [(await world.show(one["subscription"]))["state"] for one in (first, second)] == ["confirmed"] * 2

    await eventually(both_confirmed)
    assert not {"secret", "public_key"} & (await world.show(first["subscription"])).keys()
    await cohort.announce()
    await got(made, 1)
    await got(given, 1)
    now = machine.now().timestamp()
    assert verify([first["secret"]], *made.requests[0], now=now) == made.ids[0]
    assert verify([second["public_key"]], *given.requests[0], now=now) == given.ids[0]


async def test_a_subscription_that_cannot_work_is_refused_with_its_field(world: World) -> None:
    url = "https://receiver.example/"
    wrong: list[tuple[str, dict[str, Any]]] = [
        ("/url", {}),
        ("/url", {"url": "ftp://receiver.example/"}),
        ("/url", {"url": "https://user:password@receiver.example/"}),
        ("/url", {"url": url + "a" * 2_048}),
        ("/secret", {"url": url, "secret": "whsec_short"}),
        ("/secret", {"url": url, "secret": "whsk_" + "A" * 86 + "=="}),
        ("/filters/state", {"url": url, "filters": {"state": ["Ohio"]}}),
        ("/filters/types/0", {"url": url, "filters": {"types": ["decline"]}}),
        ("/filters/states/0", {"url": url, "filters": {"states": [""]}}),
        ("/colour", {"url": url, "colour": "red"}),
    ]
    for pointer, body in wrong:
        answer = await world.call("POST", "", body)
        assert (answer.status_code, answer.json()["errors"][0]["pointer"]) == (422, pointer)
        assert body.get("secret", "no secret") not in answer.text
    assert (await world.call("GET", "")).json()["items"] == []
    assert (await world.call("GET", "/%00")).status_code == 400
    assert (await world.call("GET", f"/{opaque_id()}")).status_code == 404


async def test_a_person_has_a_few_subscriptions_at_a_time_and_a_nameless_one_has_none(world: World) -> None:
    receiver = Receiver()
    names = [await world.subscribe(receiver) for _ in range(3)]
    body = {"url": "https://receiver.example/"}
    refused = await world.call("POST", "", body)
    assert (refused.status_code, refused.json()["type"]) == (409, "urn:cec:problem:too-many-subscriptions")
    await world.call("DELETE", f"/{names[0]}")
    await world.subscribe(receiver)
    assert (await world.http.post("/v1/subscriptions", json=body)).status_code == 401
    broken = await world.http.post(
        "/v1/subscriptions",
        content=b"{",
        headers={
            "authorization": f"Bearer {world._issuer.token('subscriber', 'x')}",
            "content-type": "application/json",
        },
    )
    assert (broken.status_code, broken.json()["type"]) == (400, "urn:cec:problem:malformed-json")


async def test_a_repeated_request_makes_one_subscription_and_one_challenge(world: World) -> None:
    receiver = Receiver()
    body = {"url": await world.listen(receiver)}
    headers = {
        "authorization": f"Bearer {world._issuer.token('subscriber', 'subscriber-1')}",
        "idempotency-key": opaque_id(),
    }
    first, second = [await world.http.post("/v1/subscriptions", json=body, headers=headers) for _ in range(2)]
    assert first.json() == second.json()

    async def confirmed() -> bool:
        return bool((await world.show(first.json()["subscription"]))["state"] == "confirmed")

    await eventually(confirmed)
    assert receiver.challenges == 1
    assert len((await world.call("GET", "")).json()["items"]) == 1
