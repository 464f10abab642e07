"""Those who apply in a bench: governments with a complete application each, and plain sockets to ask by."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import httpx
import orjson

from benchmarks.harness import ROOT
from schemas.charter import Charter
from schemas.envelope import rfc3339
from services.chassis.clock import MachineClock
from services.chassis.ids import secret
from services.chassis.issuer import Issuer
from services.chassis.settings import Settings
from services.intake.applications.drafts import shaped

if TYPE_CHECKING:
    from datetime import datetime

    from benchmarks.serving import Server

CHARTER = (ROOT / "deploy" / "programs" / "citizen-engaged-communities.toml").read_text(encoding="utf-8")
CLIENTS = 8
SIZE = 7_000
"""Bytes of an application's canonical JSON."""


@dataclass(frozen=True)
class Answer:
    """What was answered; the names of its fields are in small letters."""

    status: int
    fields: dict[str, str]
    content: bytes


@dataclass
class Client:
    """Somebody who edits an application of their own over a kept connection."""

    url: str
    head: str
    application: str
    etags: dict[str, str] = field(default_factory=dict)

    async def connect(self) -> None:
        """Have a connection, and with it nothing under way."""
        self.reader, self.writer = await asyncio.open_connection(*self.url.removeprefix("http://").split(":"))

    def close(self) -> None:
        """Have none any more."""
        self.writer.close()

    async def ask(self, method: str, path: str, body: dict[str, Any], if_match: str) -> None:
        """Send a request and read its answer; RuntimeError unless it is a success."""
        answer = await self.send(method, path, body, f"If-Match: {if_match}\r\n" if if_match else "")
        if answer.status >= 300:  # noqa: PLR2004  (HTTP: from here on, no success)
            raise RuntimeError(f"{method} {path}: {answer.content.decode()}")
        self.etags[path] = answer.fields.get("etag", "")

    async def send(self, method: str, path: str, body: dict[str, Any], more: str = "") -> Answer:
        """Send a request, with `more` lines in its head, and read its answer."""
        content = orjson.dumps(body)
        head = f"{method} {path} HTTP/1.1\r\n{self.head}{more}Content-Length: {len(content)}\r\n\r\n"
        self.writer.write(head.encode() + content)
        lines = (await self.reader.readuntil(b"\r\n\r\n")).decode().lower().split("\r\n")
        fields = dict(line.split(": ", 1) for line in lines[1:] if line)
        found = await self.reader.readexactly(int(fields["content-length"]))
        return Answer(int(lines[0].split()[1]), fields, found)


@dataclass
class Stand:
    """Clients of a running intake with an application each, in the cycle `label`."""

    charter: Charter
    clients: list[Client]
    label: str
    deadline: datetime


async def prepared(server: Server, clients: int = CLIENTS, **deadline: float) -> Stand:
    """Open a cycle whose `deadline` is that far ahead, and have every client fill an application in."""
    machine, settings = MachineClock(), Settings()
    keys = server.var / "keys"
    issuer = Issuer.at(keys, issuer=settings.token_issuer, audience=settings.token_audience, machine=machine)
    charter, label = Charter.parse(CHARTER), f"b-{secret(4)}"
    closes = machine.now() + timedelta(**(deadline or {"days": 30}))
    async with httpx.AsyncClient(base_url=f"{server.url}/intake/v1", timeout=60) as http:

        async def asked(role: str, subject: str, method: str, path: str, body: object, **headers: str) -> Any:  # noqa: ANN401  (any JSON value)
            named = {"Authorization": f"Bearer {issuer.token(role, subject)}", **headers}
            answer = await http.request(method, path, json=body, headers=named)
            if not answer.is_success:
                raise RuntimeError(answer.text)
            return answer.json()

        async def some(first: int) -> list[Client]:
            return [await one(number) for number in range(first, clients, CLIENTS)]

        async def one(number: int) -> Client:
            name = f"lead-{number}"
            profile = {
                "name": f"City {number}",
                "state": "Oregon",
                "kind": "city",
                "population": 59_403,
                "population_source": "2010 Census",
                "website": "https://city.example",
            }
            made = await asked("applicant", name, "POST", "/governments", profile)
            body = {"government": made["government"]}
            started = await asked("applicant", name, "POST", f"/cycles/{label}/applications", body)
            where = f"/applications/{started['application']}"
            await asked("applicant", name, "PATCH", where, document(charter), **{"If-Match": "*"})
            head = (
                f"Host: {server.url.removeprefix('http://')}\r\nContent-Type: application/json\r\n"
                f"Authorization: Bearer {issuer.token('applicant', name)}\r\n"
            )
            return Client(server.url, head, started["application"])

        cycle = {"label": label, "charter": CHARTER, "deadline": rfc3339(closes)}
        await asked("program-admin", "admin", "POST", "/cycles", cycle)
        made = await asyncio.gather(*map(some, range(CLIENTS)))
    return Stand(charter, [client for some in made for client in some], label, closes)


def document(charter: Charter) -> dict[str, Any]:
    """A complete draft of 7 kB."""
    criteria = charter.criteria("city")
    answers = {
        name: {"statement": "", "evidence": [{"url": f"https://city.example/{name}", "page": "", "quote": ""}]}
        for name in criteria
    }
    metrics = [
        {"id": metric.id, "value": metric.plausible[1], "unit": metric.unit, "period": "2010", "published": True}
        for metric in charter.metrics
        if metric.service_delivery and metric.plausible
    ]
    made: dict[str, Any] = {
        "answers": answers,
        "facts": {fact.id: _value(fact.kind, fact.choices) for fact in charter.facts},
        "metrics": metrics,
        "contact": {"official": "The Manager", "title": "Manager", "email": "manager@city.example"},
    }
    room = (SIZE - shaped(made, charter).size) // len(criteria)
    for answer in answers.values():
        answer["statement"] = ("What we do about it, and how we know. " * 20)[:room]
    return made


def _value(kind: str, choices: tuple[str, ...]) -> object:
    return {"yes_no": True, "count": 3, "choice": choices[:1] and choices[0], "choices": list(choices[:1])}[kind]
