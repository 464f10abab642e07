"""People who keep at it while parts fail: each command is sent until it succeeds, and what was answered is noted."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Self

import httpx
from aiokafka import AIOKafkaConsumer, TopicPartition

from schemas.charter import Charter
from schemas.envelope import Envelope, parse, rfc3339
from schemas.topics import EVENT_TOPICS
from services.chassis.ids import opaque_id
from services.origin import Origin
from tests.applicants import SMALL, complete_draft

PROFILE = {
    "name": "Villa Ejemplo",
    "state": "Ejemplo",
    "kind": "municipio",
    "population": 59_403,
    "population_source": "censo",
    "website": "https://villa.example",
}
DRAFT = complete_draft(Charter.parse(SMALL), "municipio")
AWAY = 503


@dataclass(frozen=True)
class Receipt:
    """What a person was told about a submission that was accepted."""

    application: str
    version: int
    event: str
    leaf_hash: str


class Clients:
    """An administrator and some applicants of one cycle, each writing down what it is told."""

    def __init__(self, origin: Origin) -> None:
        self.origin = origin
        self.cycle = f"c-{opaque_id()}"
        self.receipts: list[Receipt] = []
        self.deadlines: list[str] = []
        self.answers: Counter[int] = Counter()
        self.wrong: list[str] = []
        """Answers that no client should ever get."""
        self.slowest = 0.0
        self._first_deadline = datetime.now(UTC) + timedelta(days=30)
        self._http = httpx.AsyncClient(base_url=origin.url, timeout=30, trust_env=False)
        self._over = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []

    async def __aenter__(self) -> Self:
        body = {"label": self.cycle, "charter": SMALL, "deadline": rfc3339(self._first_deadline)}
        await self.post(self.token("program-admin"), "/intake/v1/cycles", body)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.rest()
        await self._http.aclose()

    def begin(self, applicants: int = 4) -> None:
        """Have everyone submit again and again, and the deadline move on and on."""
        work = [self._apply() for _ in range(applicants)] + [self._extend()]
        self._tasks = [asyncio.create_task(one) for one in work]

    async def rest(self) -> None:
        """Have everyone finish the command at hand, however long that takes."""
        self._over.set()
        tasks, self._tasks = self._tasks, []
        await asyncio.gather(*tasks)

    def token(self, role: str, subject: str = "") -> str:
        return self.origin.issuer.token(role, subject or role)

    async def post(self, token: str, path: str, body: object) -> dict[str, Any]:
        """POST under one Idempotency-Key until it succeeds."""
        answer = await self.insist(token, "POST", path, body, {"Idempotency-Key": opaque_id()})
        made: dict[str, Any] = answer.json()
        return made

    async def insist(
        self, token: str, method: str, path: str, body: object = None, headers: dict[str, str] | None = None
    ) -> httpx.Response:
        """Send until it succeeds; AssertionError for an answer that is neither success nor a proper *come back*."""
        sent = {"Authorization": f"Bearer {token}", **(headers or {})}
        while True:
            began = time.monotonic()
            answer = await self._http.request(method, path, json=body, headers=sent)
            self.slowest = max(self.slowest, time.monotonic() - began)
            self.answers[answer.status_code] += 1
            if answer.is_success:
                return answer
            proper = answer.headers.get("content-type") == "application/problem+json" and "retry-after" in answer.headers
            if answer.status_code != AWAY or not proper:
                self.wrong.append(f"{method} {path}: {answer.status_code} {answer.text[:300]}")
                raise AssertionError(self.wrong[-1])
            await asyncio.sleep(0.1)

    async def _apply(self) -> None:
        lead = self.token("applicant", opaque_id())
        government = (await self.post(lead, "/intake/v1/governments", PROFILE))["government"]
        path = f"/intake/v1/cycles/{self.cycle}/applications"
        application = (await self.post(lead, path, {"government": government}))["application"]
        path = f"/intake/v1/applications/{application}"
        await self.insist(lead, "PATCH", path, DRAFT, {"If-Match": "*"})
        while not self._over.is_set():
            told = await self.post(lead, f"{path}/submit", {"attest": True})
            self.receipts.append(Receipt(application, told["version"], told["event"], told["leaf_hash"]))

    async def _extend(self) -> None:
        admin, deadline = self.token("program-admin"), self._first_deadline
        while not self._over.is_set():
            deadline += timedelta(minutes=1)
            body = {"deadline": rfc3339(deadline), "reason": "again"}
            told = await self.post(admin, f"/intake/v1/cycles/{self.cycle}/extend", body)
            self.deadlines.append(told["deadline"])
            with suppress(TimeoutError):
                async with asyncio.timeout(0.1):
                    await self._over.wait()


async def topic_of_intake(bootstrap: str) -> list[tuple[bytes, Envelope]]:
    """Every record of intake's topic with its event, in the order of each partition."""
    topic = EVENT_TOPICS["intake"]
    consumer = AIOKafkaConsumer(bootstrap_servers=bootstrap, auto_offset_reset="earliest", enable_auto_commit=False)
    await consumer.start()
    try:
        partitions = [TopicPartition(topic.name, number) for number in range(topic.partitions)]
        consumer.assign(partitions)
        ends = await consumer.end_offsets(partitions)
        found = []
        while any([await consumer.position(p) < ends[p] for p in partitions]):
            for records in (await consumer.getmany(timeout_ms=200)).values():
                found += [(record.value, parse(record.value)) for record in records]
        return found
    finally:
        await consumer.stop()


async def settled(origin: Origin, seconds: float = 20) -> None:
    """Wait until no event is on its way: outboxes empty, topics consumed, nothing waiting. TimeoutError naming what is."""
    ends = time.monotonic() + seconds
    while waiting := await _waiting(origin):
        if time.monotonic() > ends:
            raise TimeoutError(f"after {seconds:.0f} s there still waits: {waiting}")
        await asyncio.sleep(0.1)


async def _waiting(origin: Origin) -> list[str]:
    found = []
    for service in origin.services:
        for table in ("outbox", "parked"):
            count = await service.database.pool.fetchval(f"select count(*) from chassis.{table}")  # noqa: S608
            found += [f"{service.name}: {count} rows in {table}"] if count else []
        for consumer in service.consumers:
            kafka = consumer.subscriber.consumer
            assigned = kafka.assignment() if kafka else set()
            if len({partition.topic for partition in assigned}) < len(consumer.topics):
                found.append(f"{consumer.group}: has {len(assigned)} partitions")
                continue
            ends = await kafka.end_offsets(assigned)
            lag = {p: end - (await kafka.committed(p) or 0) for p, end in ends.items()}
            found += [f"{consumer.group}: {behind} behind in {p}" for p, behind in lag.items() if behind]
    return found


async def eventually(what: str, check: Callable[[], Awaitable[object]], seconds: float = 15) -> None:
    """Wait until `check` holds; TimeoutError naming `what`."""
    try:
        async with asyncio.timeout(seconds):
            while not await check():  # noqa: ASYNC110
                await asyncio.sleep(0.05)
    except TimeoutError as error:
        raise TimeoutError(f"{seconds:.0f} s in vain: {what}") from error
