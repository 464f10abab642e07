"""Probes in the service: asked for or by schedule, figures as an event, raw answers by hash, drops flagged."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from datetime import date, timedelta
from hashlib import sha256
from pathlib import Path
from typing import Any

import httpx
import orjson
import pytest

from schemas.evidence import EvidenceProbed, Figures
from services.chassis.ids import opaque_id
from services.chassis.issuer import Issuer
from services.chassis.service import Runtime, Service
from services.chassis.settings import Settings
from services.intake.app import service
from services.intake.archive import Archive
from services.intake.probes.domain import PAUSED_AFTER
from services.intake.probes.figures import figures
from services.intake.probes.open311 import distinct, read_requests, read_services
from services.intake.settings import IntakeSettings
from tests.given import eventually
from tests.intake import PROFILE
from tests.open311 import Asked, City, Reply, requests_of, served

RuntimeMaker = Callable[[type[Settings]], Runtime]


class Intake:
    """The service under test, with one government and its lead."""

    def __init__(self, svc: Service, client: httpx.AsyncClient, issuer: Issuer) -> None:
        self.service = svc
        self.database = svc.database
        self.clock = svc.clock
        self._client = client
        self._issuer = issuer
        self.government = ""

    @property
    def today(self) -> date:
        return self.clock.now().date()

    async def ask(self, method: str, path: str, body: object = None, *, who: str = "lead") -> httpx.Response:
        """A request below the government."""
        token = self._issuer.token("applicant", who)
        path = f"/v1/governments/{self.government}{path}" if path.startswith("/") else f"/v1/{path}"
        return await self._client.request(method, path, json=body, headers={"Authorization": f"Bearer {token}"})

    async def register(self, who: str = "lead") -> str:
        answer = await self.ask("POST", "governments", PROFILE, who=who)
        assert answer.status_code == 201, answer.text
        return str(answer.json()["government"])

    async def name(self, url: str, jurisdiction: str = "") -> None:
        answer = await self.ask("PUT", "/open311", {"url": url, "jurisdiction": jurisdiction})
        assert answer.status_code == 200, answer.text

    async def probe(self) -> dict[str, Any]:
        """Ask for a probe, and what came of it."""
        asked = await self.ask("POST", "/probes")
        assert asked.status_code == 202, asked.text
        assert asked.json()["state"] == "waiting"
        return await self.outcome(str(asked.json()["probe"]))

    async def outcome(self, probe: str) -> dict[str, Any]:
        found: dict[str, Any] = {}

        async def over() -> bool:
            found.update((await self.ask("GET", f"/probes/{probe}")).json())
            return found["state"] in {"done", "failed"}

        await eventually(over)
        return found

    async def probes(self) -> list[dict[str, Any]]:
        listed: list[dict[str, Any]] = (await self.ask("GET", "/probes")).json()
        return listed

    def later(self, **delta: float) -> None:
        self.clock.shift(self.clock.now() - self.clock.machine.now() + timedelta(**delta))


@pytest.fixture
async def intake(runtime: RuntimeMaker, issuer: Issuer, tmp_path: Path) -> AsyncIterator[Intake]:
    class Local(IntakeSettings):
        var: Path = tmp_path
        probes_allow_loopback: bool = True
        probes_pause_seconds: float = 0
        probes_contact: str = "probes@program.example"

    svc = service(runtime(Local))
    await svc.start()
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app=svc.app), base_url="http://test") as client:
        made = Intake(svc, client, issuer)
        made.government = await made.register()
        yield made
    await svc.stop()


def refused(answer: httpx.Response, status: int, rule: str) -> str:
    assert (answer.status_code, answer.json()["type"]) == (status, f"urn:cec:problem:{rule}"), answer.text
    return str(answer.json()["detail"])


async def test_a_probe_leaves_figures_as_a_sealed_event_and_raw_answers_by_their_hash(intake: Intake) -> None:
    async with served(City(requests_of(intake.today))) as city:
        await intake.name(city.url, "springfield")
        found = await intake.probe()
    assert found["state"] == "done"
    claims = found["claims"]
    assert (claims["endpoint"], claims["jurisdiction"], claims["remarks"], claims["drops"]) == (
        city.url,
        "springfield",
        [],
        [],
    )
    assert claims["figures"]["requests"] in {270, 273}
    assert claims["figures"]["on_time"]["whole"] > 100
    assert claims["figures"]["channels"][0]["name"] == "phone"
    assert city.asked[0].headers["user-agent"].endswith("; probes@program.example)")

    (row,) = await intake.database.pool.fetch(
        "select id, subject, leaf from chassis.event_log where type = $1", EvidenceProbed.TYPE
    )
    leaf = orjson.loads(row["leaf"])
    assert (row["id"], row["subject"]) == (found["event"], intake.government)
    assert leaf["data"] == {"probe": found["probe"], "sealed": leaf["data"]["sealed"]}
    assert list(leaf["data"]["sealed"]) == ["claims"]
    assert "cycleid" not in leaf

    archive = Archive.of(intake.service.settings, "open311")
    kept = await archive.get(claims["raw_sha256"])
    assert kept is not None
    bodies = {}
    for answer in json.loads(kept):
        body = await archive.get(answer["sha256"])
        assert body is not None
        assert (sha256(body).hexdigest(), len(body)) == (answer["sha256"], answer["bytes"])
        bodies[answer["url"]] = (answer["content_type"], body)
    services = next(read_services(*answer) for url, answer in bodies.items() if "services" in url)
    requests = [one for url, answer in bodies.items() if "requests" in url for one in read_requests(*answer)]
    today = date.fromisoformat(claims["until_day"])
    assert figures(distinct(requests), len(services), today) == Figures.model_validate(claims["figures"])


async def test_a_drop_against_the_last_probe_is_flagged_and_what_did_not_change_is_not_sent_again(
    intake: Intake,
) -> None:
    async with served(City(requests_of(intake.today))) as city:
        await intake.name(city.url)
        first = await intake.probe()
        intake.later(hours=2)
        second = await intake.probe()
        tagged = [asked for asked in city.asked if "if-none-match" in asked.headers]
        assert len(tagged) > 20
        city.requests = requests_of(intake.today, on_time=False)
        intake.later(hours=2)
        third = await intake.probe()
    assert second["claims"]["previous"] == first["probe"]
    assert second["claims"]["drops"] == []
    assert third["claims"]["previous"] == second["probe"]
    assert {"on_time", "median_days"} <= set(third["claims"]["drops"])
    assert [one["probe"] for one in await intake.probes()] == [one["probe"] for one in (third, second, first)]


async def test_a_probe_may_be_asked_for_once_an_hour_and_never_while_one_waits(intake: Intake) -> None:
    refused(await intake.ask("POST", "/probes"), 409, "no-endpoint")
    gate = asyncio.Event()

    async def hold(writer: asyncio.StreamWriter) -> None:
        await gate.wait()
        writer.write(b"HTTP/1.1 500 Error\r\nContent-Length: 0\r\n\r\n")
        await writer.drain()

    async with served(City([])) as city:
        city.instead = lambda _asked: Reply(raw=hold)
        await intake.name(city.url)
        asked = await intake.ask("POST", "/probes")
        assert asked.headers["location"].endswith(f"/probes/{asked.json()['probe']}")
        refused(await intake.ask("POST", "/probes"), 409, "probe-waiting")
        gate.set()
        found = await intake.outcome(asked.json()["probe"])
        assert found["reason"] == "services: the server answers with status 500"
        detail = refused(await intake.ask("POST", "/probes"), 429, "probe-too-soon")
        assert "ask again in 60" in detail
        intake.later(minutes=61)
        assert (await intake.probe())["state"] == "failed"


async def test_probes_repeat_by_themselves_until_the_server_has_not_answered_for_long(intake: Intake) -> None:
    async with served(City(requests_of(intake.today))) as city:
        await intake.name(city.url)
        await intake.probe()

        async def after_a_month(count: int) -> dict[str, Any]:
            intake.later(days=31)

            async def there() -> bool:
                listed = await intake.probes()
                return len(listed) == count and listed[0]["state"] in {"done", "failed"}

            await eventually(there)
            return (await intake.probes())[0]

        again = await after_a_month(2)
        assert (again["state"], again["by_schedule"]) == ("done", True)
        assert again["claims"]["drops"] == ["freshness"]
        city.instead = lambda _asked: Reply(b"", 404)
        for number in range(PAUSED_AFTER):
            assert (await after_a_month(3 + number))["state"] == "failed"
        endpoint = (await intake.ask("GET", "/open311")).json()
        assert (endpoint["failures"], endpoint["paused"]) == (PAUSED_AFTER, True)
        calls = len(city.asked)
        intake.later(days=400)
        await asyncio.sleep(0.5)
        assert len(city.asked) == calls
        assert len(await intake.probes()) == 2 + PAUSED_AFTER
        city.instead = lambda _asked: None
        await intake.name(city.url)
        assert (await intake.ask("GET", "/open311")).json()["paused"] is False
        assert (await intake.probe())["state"] == "done"


async def test_one_server_is_read_by_one_probe_at_a_time(intake: Intake) -> None:
    class Counting(City):
        at_once = most = 0

        async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            self.at_once += 1
            self.most = max(self.most, self.at_once)
            await asyncio.sleep(0.002)
            await super().serve(reader, writer)
            self.at_once -= 1

    city = Counting(requests_of(intake.today, days=20))
    async with served(city):
        first = intake.government
        governments = [first, *[await intake.register() for _ in range(3)]]
        asked = []
        for intake.government in governments:
            await intake.name(city.url)
            asked.append((await intake.ask("POST", "/probes")).json()["probe"])
        for intake.government, probe in zip(governments, asked, strict=True):
            assert (await intake.outcome(probe))["state"] == "done"
        assert city.most == 1


async def test_a_probe_that_was_left_in_the_middle_is_begun_again_a_few_times(intake: Intake) -> None:
    async with served(City(requests_of(intake.today, days=5))) as city:
        for begun, state in ((1, "done"), (3, "failed")):
            await intake.name(city.url + "/" * begun)
            probe = opaque_id()
            await intake.database.pool.execute(
                "insert into private.probe_run"
                " (probe, government, url, host, jurisdiction, asked_at, begun, leased_until)"
                " values ($1, $2, $3, '', '', $4, $5, $6)",
                probe,
                intake.government,
                city.url,
                intake.clock.now(),
                begun,
                intake.clock.machine.now() - timedelta(seconds=1),
            )
            assert (await intake.outcome(probe))["state"] == state
            intake.later(hours=2)


async def test_a_probe_that_a_stop_interrupts_is_begun_again_by_who_starts_next(intake: Intake) -> None:
    async def hold(_writer: asyncio.StreamWriter) -> None:
        await asyncio.Event().wait()

    async with served(City(requests_of(intake.today, days=5))) as city:
        city.instead = lambda _asked: Reply(raw=hold)
        await intake.name(city.url)
        asked = (await intake.ask("POST", "/probes")).json()

        async def begun() -> bool:
            return bool(city.asked)

        await eventually(begun)
        await intake.service.stop()
        city.instead = lambda _asked: None
        await intake.service.start()
        assert (await intake.outcome(asked["probe"]))["state"] == "done"


async def test_a_server_that_is_named_anew_takes_the_waiting_probe_with_it(intake: Intake) -> None:
    gate = asyncio.Event()

    async def hold(writer: asyncio.StreamWriter) -> None:
        await gate.wait()
        writer.close()

    async with served(City([])) as city, served(City([])) as other:
        city.instead = lambda _asked: Reply(raw=hold)
        await intake.name(city.url)
        asked = (await intake.ask("POST", "/probes")).json()
        await intake.name(other.url)
        assert (await intake.ask("GET", f"/probes/{asked['probe']}")).status_code == 404
        assert (await intake.probe())["state"] == "done"
        gate.set()
        assert (await intake.ask("DELETE", "/open311")).status_code == 204
        assert (await intake.ask("DELETE", "/open311")).status_code == 404
        assert (await intake.ask("GET", "/open311")).status_code == 404
        assert len(await intake.probes()) == 1
        left = await intake.database.pool.fetchval("select count(*) from chassis.schedule where kind = 'probe-open311'")
        assert left == 0


async def test_strangers_see_nothing_and_viewers_change_nothing(intake: Intake) -> None:
    await intake.ask("POST", "/members", {"subject": "viewer", "role": "viewer"})
    async with served(City(requests_of(intake.today, days=3))) as city:
        await intake.name(city.url)
        probe = (await intake.probe())["probe"]
        body = {"url": city.url}
        for method, path in (("GET", "/open311"), ("GET", "/probes"), ("GET", f"/probes/{probe}")):
            assert (await intake.ask(method, path, who="viewer")).status_code == 200
            assert (await intake.ask(method, path, who="stranger")).status_code == 404
        for method, path in (("PUT", "/open311"), ("DELETE", "/open311"), ("POST", "/probes")):
            given = body if method == "PUT" else None
            assert (await intake.ask(method, path, given, who="viewer")).status_code == 403
            assert (await intake.ask(method, path, given, who="stranger")).status_code == 404
        intake.government = await intake.register("other")
        assert (await intake.ask("GET", f"/probes/{probe}", who="other")).status_code == 404


@pytest.mark.parametrize(
    "url",
    [
        "http://10.0.0.5/v2",
        "https://169.254.169.254/latest",
        "https://[fd00::1]/v2",
        "http://city.example:99999/",
        "https://user:secret@city.example/v2",
        "https://city..example/",
        "https://" + "a" * 980 + ".example/",
    ],
)
async def test_an_address_that_no_probe_may_call_is_told_at_once(intake: Intake, url: str) -> None:
    refused(await intake.ask("PUT", "/open311", {"url": url}), 422, "address")


@pytest.mark.parametrize(
    "body", [{}, {"url": 5}, {"url": "ftp://x"}, {"url": "https://x/\u0007"}, {"uri": "https://x"}]
)
async def test_a_body_of_another_shape_is_refused(intake: Intake, body: dict[str, Any]) -> None:
    assert (await intake.ask("PUT", "/open311", body)).status_code == 422


async def test_what_a_bad_server_says_reaches_nobody(intake: Intake) -> None:
    def reply(asked: Asked) -> Reply | None:
        if "requests" not in asked.path:
            return None
        return Reply(b'<?xml version="1.0"?><!DOCTYPE d [<!ENTITY e "SECRET">]><errors>&e;</errors>', kind="text/xml")

    async with served(City([])) as city:
        city.instead = reply
        await intake.name(city.url)
        found = await intake.probe()
    assert found["reason"] == "requests: the answer is XML with a document type or entities: these are not read"
    assert found["claims"] is None
    rows = await intake.database.pool.fetch("select type from chassis.event_log where type like '%probed%'")
    assert rows == []
