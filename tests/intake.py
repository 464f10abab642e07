"""Intake on the real parts, and those who use it over HTTP."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from datetime import timedelta
from typing import Any, ClassVar, TypeVar

import asyncpg
import httpx
import orjson

from schemas.envelope import rfc3339
from services.chassis.ids import opaque_id
from services.chassis.issuer import Issuer
from services.chassis.service import Runtime, Service
from services.chassis.web import Frontier
from services.intake.app import service
from services.intake.cycles.domain import parsed
from tests.applicants import complete_draft
from tests.given import eventually
from tests.screened import SCREENED

DRAFT = complete_draft(parsed(SCREENED), "city")
PROFILE = {
    "name": "Springfield",
    "state": "Oregon",
    "kind": "city",
    "population": 59_403,
    "population_source": "2010 Census",
    "website": "https://springfield.example",
}


class Person:
    """Someone with a token, against the service under test."""

    def __init__(self, client: httpx.AsyncClient, token: str) -> None:
        self.client = client
        self.token = token

    async def __call__(self, method: str, path: str, body: object = None, **headers: str) -> httpx.Response:
        """Ask; `body` is JSON, or bytes as they are, and `path` may be one that the service gave."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        sent: dict[str, Any] = {"content": body} if isinstance(body, bytes) else {"json": body}
        return await self.client.request(
            method,
            f"/v1{path.removeprefix('/intake/v1')}",
            headers={"Authorization": f"Bearer {self.token}", **named},
            **sent,
        )

    async def done(self, method: str, path: str, body: object = None, **headers: str) -> Any:
        """What a request that must succeed answers."""
        answer = await self(method, path, body, **headers)
        assert answer.is_success, answer.text
        return answer.json() if answer.content else None

    async def got(self, path: str) -> Any:
        answer = await self("GET", path)
        assert answer.status_code == 200, answer.text
        return answer.json()

    async def made(self, path: str, body: object = None) -> Any:
        answer = await self("POST", path, body)
        assert answer.is_success, answer.text
        return answer.json()

    async def saved(self, path: str, patch: dict[str, Any]) -> Any:
        """What a patch of the present version answers."""
        answer = await self("PATCH", path, patch, If_Match=(await self("GET", path)).headers["etag"])
        assert answer.status_code == 200, answer.text
        view = answer.json()
        assert answer.headers["etag"] == view["etag"]
        return view


class Intake:
    """The service under test and its people."""

    profile: ClassVar[dict[str, Any]] = PROFILE
    """What a government says of itself."""

    def __init__(self, svc: Service, client: httpx.AsyncClient, issuer: Issuer) -> None:
        self.service = svc
        self.clock = svc.clock
        self.client = client
        self.issuer = issuer
        self.admin = self.person("program-admin", "admin-1")
        self.auditor = self.person("auditor", "auditor-1")

    @property
    def pool(self) -> asyncpg.Pool[asyncpg.Record]:
        return self.service.database.pool

    def person(
        self, role: str = "applicant", subject: str = "", *, email: str = "", government: str | None = None
    ) -> Person:
        token = self.issuer.token(role, subject or opaque_id(), email=email, government=government)
        return Person(self.client, token)

    async def cycle(self, charter: str = SCREENED, **delta: float) -> str:
        """Open a cycle whose deadline is `delta` (a day) from now."""
        deadline = self.clock.now() + timedelta(**(delta or {"days": 1}))
        body = {"label": f"c-{opaque_id()}", "charter": charter, "deadline": rfc3339(deadline)}
        return str((await self.admin.made("/cycles", body))["cycle"])

    async def government(self, lead: Person, **profile: object) -> str:
        return str((await lead.made("/governments", {**self.profile, **profile}))["government"])

    async def drafted(self, cycle: str, **profile: object) -> tuple[Person, str]:
        """A lead, and the path of the application that they filled in."""
        lead = self.person()
        government = await self.government(lead, **profile)
        started = await lead.made(f"/cycles/{cycle}/applications", {"government": government})
        path = f"/applications/{started['application']}"
        await lead.saved(path, DRAFT)
        return lead, path

    async def submitted(self, cycle: str, **profile: object) -> tuple[Person, str]:
        """The same, submitted."""
        lead, path = await self.drafted(cycle, **profile)
        await lead.made(f"{path}/submit", {"attest": True})
        return lead, path

    async def until_closed(self, cycle: str) -> None:
        async def is_closed() -> bool:
            return str((await self.admin.got(f"/cycles/{cycle}"))["state"]) == "closed"

        await eventually(is_closed)

    async def events(self, subject: str) -> list[tuple[str, dict[str, Any]]]:
        """(type, leaf) of what was recorded about `subject`, in order."""
        rows = await self.pool.fetch(
            "select type, leaf from chassis.event_log where subject = $1 order by sequence", subject
        )
        return [(row["type"], orjson.loads(row["leaf"])) for row in rows]


In = TypeVar("In", bound=Intake)


@asynccontextmanager
async def running(runtime: Runtime, issuer: Issuer, kind: type[In]) -> AsyncIterator[In]:
    """Intake, running, as the `kind` of it that a file's tests speak of."""
    async with served(runtime, bounded=False) as (svc, client):
        yield kind(svc, client, issuer)


@asynccontextmanager
async def served(runtime: Runtime, *, bounded: bool = True) -> AsyncIterator[tuple[Service, httpx.AsyncClient]]:
    """Intake, running, and a client of it whose bodies are bounded as a server's are, or that meets inner limits."""
    svc = service(runtime)
    await svc.start()
    limit = svc.settings.body_limit if bounded else 10**9
    transport = httpx.ASGITransport(app=Frontier(svc.app, body_limit=limit))
    async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
        yield svc, client
    await svc.stop()


def started(runtime: Runtime, issuer: Issuer) -> AbstractAsyncContextManager[Intake]:
    """Intake, running."""
    return running(runtime, issuer, Intake)


def rule_of(answer: httpx.Response) -> tuple[int, str]:
    """(status, rule) of the problem that an answer is."""
    return answer.status_code, str(answer.json()["type"]).removeprefix("urn:cec:problem:")


def refused(answer: httpx.Response, status: int, rule: str) -> dict[str, Any]:
    """The problem that an answer is."""
    assert (answer.status_code, answer.headers["content-type"]) == (status, "application/problem+json"), answer.text
    problem: dict[str, Any] = answer.json()
    assert problem["type"] == f"urn:cec:problem:{rule}"
    return problem
