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
from aiokafka import AIOKafkaProducer

from schemas.charter import Charter
from schemas.envelope import rfc3339
from schemas.topics import CLOCK
from services.chassis.clock import move_record
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
WAIT_SECONDS = 75.0
"""For an answer: a statement whose server falls silent is given up after a minute."""


@dataclass(frozen=True)
class Receipt:
    """What a person was told about a submission that was accepted."""

    application: str
    version: int
    event: str
    leaf_hash: str


class Clients:
    """An administrator, some applicants and an onlooker of one cycle, each writing down what it is told."""

    def __init__(self, origin: Origin, secret: str) -> None:
        """`secret` is what notices to a subscriber are signed with."""
        self.origin = origin
        self._secret = secret
        self.cycle = f"c-{opaque_id()}"
        self.receipts: list[Receipt] = []
        self.deadlines: list[str] = []
        self.answers: Counter[int] = Counter()
        self.wrong: list[str] = []
        """Answers that no client should ever get."""
        self.slowest = 0.0
        """Seconds from when a command was first sent to its success, of the one that took longest."""
        self._first_deadline = datetime.now(UTC) + timedelta(days=30)
        self._http = httpx.AsyncClient(base_url=origin.url, timeout=WAIT_SECONDS, trust_env=False)
        self._over = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []

    async def __aenter__(self) -> Self:
        body = {"label": self.cycle, "charter": SMALL, "deadline": rfc3339(self._first_deadline)}
        await self.post(self.token("program-admin"), "/intake/v1/cycles", body)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.rest()
        await self._http.aclose()

    async def accepted(self, more: int) -> None:
        """Wait until so many more submissions were."""
        enough = len(self.receipts) + more

        async def are() -> bool:
            self._fail_early()
            return len(self.receipts) >= enough

        await eventually(f"{more} more submissions", are, 120)

    async def subscribed(self, url: str) -> None:
        """Subscribe to notices, and wait until the endpoint was challenged: deliveries go on."""
        token = self.token("subscriber")
        made = await self.post(token, "/notifications/v1/subscriptions", {"url": url, "secret": self._secret})

        async def confirmed() -> bool:
            path = f"/notifications/v1/subscriptions/{made['subscription']}"
            return bool((await self.insist(token, "GET", path)).json()["state"] == "confirmed")

        await eventually("the endpoint to be challenged", confirmed, 60)

    async def close_by_the_clock(self) -> None:
        """Move program time behind the deadline, and wait until the schedule has closed the cycle."""
        clock = self.origin.clock
        producer = AIOKafkaProducer(bootstrap_servers=self.origin.kafka_bootstrap)
        try:
            await producer.start()
            moved = move_record(clock, self._first_deadline + timedelta(days=30))
            await producer.send_and_wait(CLOCK.name, moved, key=b"clock", partition=0)
        finally:
            await producer.stop()

        async def closed() -> bool:
            found = await self.insist(self.token("program-admin"), "GET", f"/intake/v1/cycles/{self.cycle}")
            return bool(found.json()["state"] == "closed")

        await eventually("the schedule to close the cycle", closed, 60)

    def _fail_early(self) -> None:
        for task in self._tasks:
            if task.done():
                task.result()

    def begin(self, applicants: int = 4) -> None:
        """Have everyone submit again and again, and the deadline move on and on."""
        work = [*(self._apply() for _ in range(applicants)), self._extend(), self._look()]
        self._tasks = [asyncio.create_task(one) for one in work]

    async def rest(self) -> None:
        """Have everyone finish the command at hand, however long that takes."""
        self._over.set()
        tasks, self._tasks = self._tasks, []
        await asyncio.gather(*tasks)

    def leave(self) -> None:
        """Have everyone go away at once, whatever they wait for."""
        tasks, self._tasks = self._tasks, []
        for task in tasks:
            task.cancel()

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
        began = time.monotonic()
        while True:
            answer = await self._http.request(method, path, json=body, headers=sent)
            self.answers[answer.status_code] += 1
            if answer.is_success:
                self.slowest = max(self.slowest, time.monotonic() - began)
                return answer
            problem = answer.headers.get("content-type") == "application/problem+json"
            if answer.status_code != AWAY or not problem or "retry-after" not in answer.headers:
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

    async def _look(self) -> None:
        while not self._over.is_set():
            await self.insist(self.token("auditor"), "GET", f"/intake/v1/cycles/{self.cycle}")
            await asyncio.sleep(0.1)


async def eventually(what: str, check: Callable[[], Awaitable[object]], seconds: float = 15) -> None:
    """Wait until `check` holds; TimeoutError naming `what`."""
    try:
        async with asyncio.timeout(seconds):
            while not await check():  # noqa: ASYNC110  (it looks into a database or over HTTP)
                await asyncio.sleep(0.05)
    except TimeoutError as error:
        raise TimeoutError(f"{seconds:.0f} s in vain: {what}") from error
