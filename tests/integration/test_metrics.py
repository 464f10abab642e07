"""What is measured on the real parts: lag, outbox, parked keys, latencies, health, and what log lines are about."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
from aiokafka import AIOKafkaProducer
from fastapi import APIRouter
from prometheus_client.parser import text_string_to_metric_families
from structlog.contextvars import get_contextvars

from deploy.embedded import Stack
from schemas.cycles import CycleDeadlineExtended
from schemas.envelope import Header
from schemas.topics import COMMANDS, EVENT_TOPICS
from services.chassis import health
from services.chassis import metrics as m
from services.chassis.database import Tx
from services.chassis.ids import event_id, opaque_id
from services.chassis.inbox import Handlers
from services.chassis.issuer import Issuer
from services.chassis.problems import Problem
from services.chassis.schedule import schedule
from services.chassis.service import Runtime, Service
from services.chassis.settings import Settings
from services.chassis.web import Anyone, CommandRoute, Writing
from services.ledger import app as ledger
from services.ledger.settings import LedgerSettings
from services.origin import Origin
from services.scoring import app as scoring
from services.scoring.settings import ScoringSettings
from tests.given import eventually, publish

RuntimeMaker = Callable[[type[Settings]], Runtime]
INTAKE = EVENT_TOPICS["intake"].name


class Probe:
    """A service whose handler can be held up, and which notes what its log lines would be about."""

    def __init__(self, runtime: Runtime, folder: Path) -> None:
        self.go_on = asyncio.Event()
        self.go_on.set()
        self.bound: dict[str, dict[str, Any]] = {}
        handlers, router = Handlers(), APIRouter(prefix="/v1", route_class=CommandRoute)
        (folder / "0001_probe.sql").write_text("create table projection.seen (id text);")

        @handlers.on(CycleDeadlineExtended)
        async def note(tx: Tx, event: CycleDeadlineExtended, header: Header) -> None:
            self.bound[header.id] = get_contextvars()
            if event.reason == "bug":
                raise ZeroDivisionError
            await self.go_on.wait()

        @router.get("/things/{thing}")
        async def thing(thing: str, who: Anyone) -> dict[str, Any]:
            return get_contextvars()

        @router.post("/things/{thing}")
        async def change(thing: str, tx: Writing) -> None:
            tx.note(m.DELIVERIES, result="delivered")
            if thing == "refused":
                raise Problem(409, "no", "No.")
            if thing == "broken":
                raise ZeroDivisionError

        async def effect(tx: Tx, subject: str, due: Any, detail: dict[str, Any]) -> None: ...

        self.service = Service(
            name="probe",
            runtime=runtime,
            router=router,
            migrations=folder,
            topics=(INTAKE,),
            handlers=handlers,
            tasks={"effect": effect},
        )
        self.metrics = self.service.metrics
        self.client = httpx.AsyncClient(
            transport=httpx.ASGITransport(self.service.app, raise_app_exceptions=False), base_url="http://test"
        )

    async def scraped(self) -> dict[str, dict[tuple[str, ...], float]]:
        """Every sample by its name, and in it by its labels' values, without the service."""
        return samples((await self.client.get("/metrics")).text)

    async def caught_up(self) -> bool:
        return (await self.scraped())["cec_consumer_lag_records"] == {("probe", INTAKE): 0}


def samples(text: str) -> dict[str, dict[tuple[str, ...], float]]:
    found: dict[str, dict[tuple[str, ...], float]] = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            labels = tuple(value for name, value in sample.labels.items() if name != "service")
            found.setdefault(sample.name, {})[labels] = sample.value
    return found


@pytest.fixture
async def probe(runtime: RuntimeMaker, tmp_path: Path) -> AsyncIterator[Probe]:
    made = Probe(runtime(Settings), tmp_path)
    await made.service.start()
    await eventually(made.caught_up, 30)
    yield made
    made.go_on.set()
    await made.client.aclose()
    await made.service.stop()


def extended(cycle: str, reason: str = "flood") -> CycleDeadlineExtended:
    return CycleDeadlineExtended(cycle=cycle, deadline="2011-06-01T00:00:00Z", reason=reason)  # type: ignore[arg-type]


async def test_lag_is_what_has_not_taken_effect_and_a_standstill_is_not_live(
    probe: Probe, kafka: AIOKafkaProducer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(health, "STANDSTILL_SECONDS", 0.5)
    assert (await probe.client.get("/health/live")).status_code == 200
    before = probe.metrics.value(m.HANDLER_SECONDS, type=CycleDeadlineExtended.TYPE) or 0
    probe.go_on.clear()
    cycle = opaque_id()
    for sequence in range(1, 31):
        await publish(kafka, extended(cycle), sequence)

    async def all_wait() -> bool:
        return (await probe.scraped())["cec_consumer_lag_records"] == {("probe", INTAKE): 30}

    await eventually(all_wait)
    assert (await probe.scraped())["cec_consumer_partitions"] == {("probe", INTAKE): 12}

    async def stands_still() -> bool:
        return (await probe.client.get("/health/live")).status_code == 503

    await eventually(stands_still)
    probe.go_on.set()
    await eventually(probe.caught_up)
    live = await probe.client.get("/health/live")
    assert (live.status_code, live.json()) == (200, {"status": "live", "standstill_seconds": 0})
    assert probe.metrics.value(m.HANDLER_SECONDS, type=CycleDeadlineExtended.TYPE) == before + 30
    assert (probe.metrics.value(m.TAKEN, group="probe") or 0) >= 30
    assert (probe.metrics.value(m.BATCH_SECONDS, group="probe") or 0) >= 1


async def test_who_stands_still_because_its_database_is_away_or_its_breaker_stopped_it_is_live(
    probe: Probe, kafka: AIOKafkaProducer
) -> None:
    probe.go_on.clear()
    await publish(kafka, extended(opaque_id()), 1)

    async def waits() -> bool:
        return bool(await health.standstill(probe.service))

    await eventually(waits)
    probe.service.consumers[0].breaker.stopped = True
    assert await health.standstill(probe.service) == 0
    probe.service.consumers[0].breaker.stopped = False
    await health.standstill(probe.service)
    assert await health.standstill(probe.service) > 0
    pool, probe.service.database._pool = probe.service.database._pool, None
    try:
        assert await health.standstill(probe.service) == 0
    finally:
        probe.service.database._pool = pool


async def test_what_waits_and_what_is_poison_is_counted_by_key(probe: Probe, kafka: AIOKafkaProducer) -> None:
    before = await probe.scraped()  # other tests' records are on the topic, too
    early, broken = opaque_id(), opaque_id()
    await publish(kafka, extended(early), 2)
    await publish(kafka, extended(early), 3)
    await publish(kafka, extended(broken, "bug"), 1)
    await kafka.send_and_wait(INTAKE, b"{", key=b"k")

    async def counted() -> bool:
        found = await probe.scraped()
        more = {key: found["cec_parked_keys"][key] - count for key, count in before["cec_parked_keys"].items()}
        letters = found["cec_dead_letters"][()] - before["cec_dead_letters"][()]
        return (more, letters) == ({("not_yet",): 1, ("poison",): 1}, 2)  # one has no key that it could hold up

    await eventually(counted)
    assert all(0 < age < 120 for age in (await probe.scraped())["cec_parked_oldest_seconds"].values())


async def test_the_outbox_shows_what_no_relay_sends_and_is_empty_once_one_does(probe: Probe) -> None:
    async def sent() -> bool:
        return probe.metrics.value(m.RELAYED, result="acknowledged") == 1

    async with probe.service.database.transaction() as tx:
        tx.record(extended(opaque_id()))
    await eventually(sent)
    assert (await probe.scraped())["cec_outbox_records"] == {(): 0}
    assert (await probe.scraped())["cec_outbox_oldest_seconds"] == {(): 0}
    probe.service.relay.stop()
    assert probe.service._relaying is not None
    await asyncio.wait([probe.service._relaying], timeout=10)
    async with probe.service.database.transaction() as tx:
        for _ in range(3):
            tx.record(extended(opaque_id()))
    await asyncio.sleep(0.2)
    found = await probe.scraped()
    assert found["cec_outbox_records"] == {(): 3}
    assert 0.1 < found["cec_outbox_oldest_seconds"][()] < 30
    assert (await probe.client.get("/health/ready")).json()["parts"]["loops"] is False


async def test_a_call_that_blocks_the_loop_shows_as_loop_lag(probe: Probe) -> None:
    def late() -> float:
        counted = {
            bound: probe.metrics.registry.get_sample_value(
                "cec_loop_lag_seconds_bucket", {"service": "probe", "le": bound}
            )
            for bound in ("0.1", "+Inf")
        }
        return (counted["+Inf"] or 0) - (counted["0.1"] or 0)

    await asyncio.sleep(0.3)
    before = late()
    time.sleep(0.5)  # noqa: ASYNC251  (the blocking call)
    await asyncio.sleep(0.3)
    assert late() >= before + 1


async def test_requests_are_timed_by_route_and_status_and_counted_only_where_they_were_committed(probe: Probe) -> None:
    for method, path in (
        ("GET", "/v1/things/a"),
        ("GET", "/v1/things/b?page=2"),
        ("POST", "/v1/things/c"),
        ("POST", "/v1/things/refused"),
        ("POST", "/v1/things/broken"),
        ("GET", "/wp-login.php"),
        ("BREW", "/coffee"),
    ):
        await probe.client.request(method, path)

    def timed(method: str, route: str, status: int) -> float | None:
        return probe.metrics.value(m.HTTP_SECONDS, method=method, route=route, status=str(status))

    assert timed("GET", "/v1/things/{thing}", 200) == 2
    assert timed("POST", "/v1/things/{thing}", 200) == 1
    assert timed("POST", "/v1/things/{thing}", 409) == 1
    assert timed("POST", "/v1/things/{thing}", 500) == 1
    assert timed("GET", "other", 404) == 1
    assert timed("other", "other", 404) == 1
    assert probe.metrics.value(m.DELIVERIES, result="delivered") == 1


async def test_a_log_line_is_about_its_request_and_knows_nobody_by_name(probe: Probe, issuer: Issuer) -> None:
    token = {"authorization": f"Bearer {issuer.token('board', 'ada@example.org')}"}
    first = await probe.client.get("/v1/things/a?secret=1", headers={**token, "x-request-id": "r-1"})
    again = await probe.client.get("/v1/things/b", headers={**token, "x-request-id": "not fit\x7f"})
    nobody = await probe.client.get("/v1/things/c")
    assert first.json() | {"principal": ""} == {
        "method": "GET",
        "path": "/v1/things/a",
        "request_id": "r-1",
        "principal": "",
        "service": "probe",
    }
    assert first.headers["x-request-id"] == "r-1"
    assert first.json()["principal"] == again.json()["principal"]
    assert "ada" not in first.text
    assert again.json()["request_id"] == again.headers["x-request-id"] != "not fit\x7f"
    assert set(nobody.json()) == {"service", "method", "path", "request_id"}


async def test_a_log_line_is_about_its_record_only_while_that_is_handled(probe: Probe, kafka: AIOKafkaProducer) -> None:
    cycle = opaque_id()
    written = [await publish(kafka, extended(cycle), sequence) for sequence in (1, 2)]

    async def both_came() -> bool:
        return all(one.header.id in probe.bound for one in written)

    await eventually(both_came)
    for one in written:
        bound = probe.bound[one.header.id]
        assert isinstance(bound.pop("partition"), int)
        assert isinstance(bound.pop("offset"), int)
        assert bound == {
            "service": "probe",
            "group": "probe",
            "topic": INTAKE,
            "type": CycleDeadlineExtended.TYPE,
            "subject": cycle,
            "event_id": one.header.id,
        }


async def test_how_late_the_schedule_is_shows_in_program_time(probe: Probe) -> None:
    now = probe.service.clock.now()
    async with probe.service.database.transaction() as tx:
        await schedule(tx, "effect", "a", now - timedelta(seconds=30))
        await schedule(tx, "effect", "b", now - timedelta(seconds=30))
        await schedule(tx, "unknown here", "c", now - timedelta(days=3))

    async def ran() -> bool:
        return probe.metrics.value(m.LATENESS) == 2

    await eventually(ran)
    total = probe.metrics.registry.get_sample_value("cec_schedule_lateness_seconds_sum", {"service": "probe"})
    assert total is not None
    assert 60 <= total < 120
    assert (await probe.scraped())["cec_schedule_overdue_seconds"] == {(): 0}


async def test_a_part_that_does_not_answer_is_said_and_its_gauges_are_absent(probe: Probe) -> None:
    found = await probe.scraped()
    assert found["cec_scraped"] == {("database",): 1, ("broker",): 1}
    ready = await probe.client.get("/health/ready")
    assert (ready.status_code, set(ready.json()["parts"].values())) == (200, {True})
    pool, probe.service.database._pool = probe.service.database._pool, None
    try:
        found = await probe.scraped()
        assert found["cec_scraped"] == {("database",): 0, ("broker",): 1}
        assert "cec_outbox_records" not in found
        assert found["cec_consumer_lag_records"] == {("probe", INTAKE): 0}
        assert (await probe.client.get("/health/ready")).json()["parts"]["database"] is False
    finally:
        probe.service.database._pool = pool


async def test_commands_that_nobody_answers_for_are_counted_by_reason(
    runtime: RuntimeMaker, kafka: AIOKafkaProducer
) -> None:
    service = scoring.service(runtime(ScoringSettings))
    await service.start()
    try:
        for _ in range(3):
            await kafka.send_and_wait(COMMANDS.name, b"no command", key=b"a")

        async def counted() -> bool:
            return (service.metrics.value(m.COMMANDS, result="ignored", reason="unreadable") or 0) >= 3

        await eventually(counted)
        assert (service.metrics.value(m.PROCESS_SECONDS, group="scoring-commands") or 0) >= 1
        stands = await service.consumers[1].standing()
        assert {partition.topic for partition in stands} == {COMMANDS.name}
    finally:
        await service.stop()


async def test_what_the_ledger_holds_back_is_counted_until_it_can_be_appended(
    runtime: RuntimeMaker, kafka: AIOKafkaProducer
) -> None:
    service, cycle = ledger.service(runtime(LedgerSettings)), opaque_id()
    await service.start()
    try:
        await publish(kafka, extended(cycle), 1, cause=event_id())

        async def held() -> bool:
            ours = await service.database.pool.fetchval("select count(*) from private.held where subject = $1", cycle)
            await health.scrape(service)
            return ours == 1 and (service.metrics.value(m.HELD) or 0) >= 1

        await eventually(held, 30)
        assert (service.metrics.value(m.HELD_OLDEST) or 0) > 0
        assert (service.metrics.value(m.PROCESS_SECONDS, group="ledger") or 0) >= 1
        alarms = await service.database.pool.fetchval("select count(*) from ledger.alarm")
        await health.scrape(service)
        assert service.metrics.value(m.ALARMS) == alarms
    finally:
        await service.stop()


async def test_one_origin_shows_all_services_together(stack: Stack, tmp_path: Path) -> None:
    settings = {"public_url": "http://127.0.0.1:0", "var": tmp_path, "database_prefix": f"o{opaque_id()[:8]}_"}
    async with (
        Origin(
            settings,
            kafka_bootstrap=stack.kafka_bootstrap,
            postgres_dsn=stack.postgres_dsn,
            names=("intake", "awards"),
        ) as origin,
        httpx.AsyncClient(base_url=origin.url) as client,
    ):

        async def ready() -> bool:
            return (await client.get("/health/ready")).status_code == 200

        await eventually(ready, 30)
        assert (await client.get("/health/live")).json() == {"status": "live"}
        text = (await client.get("/metrics")).text
        assert text.count("# HELP cec_outbox_records ") == 1
        shown = {
            sample.labels["service"]
            for family in text_string_to_metric_families(text)
            for sample in family.samples
            if sample.name == "cec_outbox_records"
        }
        assert shown == {"intake", "awards"}
        own = await client.get("/awards/metrics")
        assert own.headers["content-type"].startswith("text/plain; version=0.0.4")
        assert 'service="intake"' not in own.text
        assert (await client.get("/awards/health/live")).json()["status"] == "live"
        assert (await client.get("/awards/health/ready")).json()["parts"]["broker"] is True
