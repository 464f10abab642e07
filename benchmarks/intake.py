"""`save-section` and `submit`: intake over HTTP, beside the bare statements in the same server behind the same stack.

The server is a process of its own: `cec run intake`, with two routes more. They do by hand what is compared and nothing
else (no token, no rule): one UPDATE of a section's row with its whole content, and one transaction of plain inserts of
the very rows that a submission leaves, bytes included, which the relay sends like any. Clients are plain sockets, a
request at a time each.
"""

from __future__ import annotations

import asyncio
import sys
import time
from asyncio.subprocess import PIPE
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Annotated, Any

import httpx
import orjson
import uvloop
from fastapi import APIRouter, Body

from benchmarks.harness import ROOT, Ground, Result, compare
from schemas.charter import Charter
from schemas.envelope import rfc3339
from services.chassis import logs
from services.chassis.clock import MachineClock
from services.chassis.ids import event_id, opaque_id, secret
from services.chassis.issuer import Issuer
from services.chassis.settings import Settings
from services.intake.applications.drafts import shaped
from services.origin import Origin

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from services.chassis.service import Service

CHARTER = (ROOT / "deploy" / "programs" / "citizen-engaged-communities.toml").read_text(encoding="utf-8")
CLIENTS = 8
REQUESTS = 2_000
"""In a round, each way, at most: `--count` may ask for fewer."""
SIZE = 7_000
"""Bytes of an application's canonical JSON."""

Request = tuple[str, str, dict[str, Any], str]
"""Method, path, body, If-Match."""


async def run_save_section(ground: Ground, *, count: int, rounds: int) -> list[Result]:
    """Compare PATCHes of a section's statement of some 500 characters."""
    async with intake(ground) as stand:
        requests, name = min(count, REQUESTS), stand.charter.areas[0].criteria[0].id
        section = f"answers.{stand.charter.areas[0].id}"

        def patch(number: int) -> dict[str, Any]:
            return {"answers": {name: {"statement": f"{number} " + "What we do about it, and how we know. " * 13}}}

        def ours(client: Client, number: int) -> Request:
            path = f"/intake/v1/applications/{client.application}/sections/{section}"
            return "PATCH", path, patch(number), client.etags.get(path, '"1"')

        def bare(client: Client, number: int) -> Request:
            return "PATCH", f"/intake/bare/{client.application}/{section}", patch(number), ""

        return [await stand.compare("save-section", ours, bare, requests, rounds)]


async def run_submit(ground: Ground, *, count: int, rounds: int) -> list[Result]:
    """Compare submissions of an application of 7 kB, each replacing the one before."""
    async with intake(ground) as stand:
        for client in stand.clients:
            await client.ask("POST", f"/intake/v1/applications/{client.application}/submit", {"attest": True}, "")

        def ours(client: Client, _: int) -> Request:
            return "POST", f"/intake/v1/applications/{client.application}/submit", {"attest": True}, ""

        def bare(client: Client, _: int) -> Request:
            return "POST", f"/intake/bare/{client.application}/submit", {"attest": True}, ""

        return [await stand.compare("submit", ours, bare, min(count, REQUESTS) // 2, rounds)]


@dataclass
class Client:
    """Somebody who edits an application of their own over a kept connection."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    head: str
    application: str
    etags: dict[str, str] = field(default_factory=dict)

    async def ask(self, method: str, path: str, body: dict[str, Any], if_match: str) -> None:
        """Send a request and read its answer; RuntimeError unless it is a success."""
        content = orjson.dumps(body)
        match = f"If-Match: {if_match}\r\n" if if_match else ""
        head = f"{method} {path} HTTP/1.1\r\n{self.head}{match}Content-Length: {len(content)}\r\n\r\n"
        self.writer.write(head.encode() + content)
        lines = (await self.reader.readuntil(b"\r\n\r\n")).decode().lower().split("\r\n")
        fields = dict(line.split(": ", 1) for line in lines[1:] if line)
        answer = await self.reader.readexactly(int(fields["content-length"]))
        if not lines[0].startswith("http/1.1 2"):
            raise RuntimeError(f"{method} {path}: {answer.decode()}")
        self.etags[path] = fields.get("etag", "")


@dataclass
class Stand:
    """A running intake, and clients with an application each."""

    charter: Charter
    clients: list[Client]

    async def compare(
        self,
        name: str,
        ours: Callable[[Client, int], Request],
        bare: Callable[[Client, int], Request],
        requests: int,
        rounds: int,
    ) -> Result:
        """Compare as many requests of all clients together, in requests per second."""
        for client in self.clients:
            await client.ask(*bare(client, 0))
            await client.ask(*ours(client, 0))

        async def rate(request: Callable[[Client, int], Request]) -> float:
            async def some(client: Client, number: int) -> None:
                for index in range(requests // CLIENTS):
                    await client.ask(*request(client, number + index))

            # Numbers that grow from round to round: a text that is there already would not be saved again.
            start, first = time.perf_counter(), time.monotonic_ns()
            await asyncio.gather(*(some(client, first) for client in self.clients))
            return requests // CLIENTS * CLIENTS / (time.perf_counter() - start)

        return await compare(name, "requests/s", lambda: rate(ours), lambda: rate(bare), rounds=rounds)


@asynccontextmanager
async def intake(ground: Ground) -> AsyncIterator[Stand]:
    """The server's process, a cycle in it, and clients whose applications are complete."""
    with TemporaryDirectory(prefix="cec-bench-intake-") as var:
        arguments = ("-m", "benchmarks.intake", ground.bootstrap, ground.dsn, var)
        process = await asyncio.create_subprocess_exec(sys.executable, *arguments, stdin=PIPE, stdout=PIPE)
        assert process.stdout is not None  # noqa: S101  (asked for above)
        try:
            async with asyncio.timeout(60):
                url = (await process.stdout.readline()).decode().strip()
            stand = await prepared(url, Path(var))
            yield stand
            for client in stand.clients:
                client.writer.close()
        finally:
            process.terminate()
            await process.communicate()


async def prepared(url: str, var: Path) -> Stand:
    """Open a cycle, and have every client fill an application in."""
    machine, settings = MachineClock(), Settings()
    issuer = Issuer.at(var / "keys", issuer=settings.token_issuer, audience=settings.token_audience, machine=machine)
    charter, label, clients = Charter.parse(CHARTER), f"b-{secret(4)}", []
    async with httpx.AsyncClient(base_url=f"{url}/intake/v1") as http:

        async def asked(role: str, subject: str, method: str, path: str, body: object, **headers: str) -> Any:  # noqa: ANN401  (any JSON value)
            named = {"Authorization": f"Bearer {issuer.token(role, subject)}", **headers}
            answer = await http.request(method, path, json=body, headers=named)
            if not answer.is_success:
                raise RuntimeError(answer.text)
            return answer.json()

        deadline = rfc3339(machine.now() + timedelta(days=30))
        cycle = {"label": label, "charter": CHARTER, "deadline": deadline}
        await asked("program-admin", "admin", "POST", "/cycles", cycle)
        for number in range(CLIENTS):
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
            reader, writer = await asyncio.open_connection(*url.removeprefix("http://").split(":"))
            head = (
                f"Host: {url.removeprefix('http://')}\r\nContent-Type: application/json\r\n"
                f"Authorization: Bearer {issuer.token('applicant', name)}\r\n"
            )
            clients.append(Client(reader, writer, head, started["application"]))
    return Stand(charter, clients)


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


# --- the server's process -------------------------------------------------------------------------------------------


def bare(service: Service) -> APIRouter:
    """The two routes that do the same by hand."""
    router = APIRouter(prefix="/bare")
    update = "update bare.section set content = $3, revision = revision + 1 where application = $1 and section = $2"
    contents: dict[str, dict[str, Any]] = {}

    @router.patch("/{application}/{section}")
    async def save(application: str, section: str, patch: Annotated[dict[str, Any], Body()]) -> dict[str, Any]:
        if application not in contents:
            copy = "insert into bare.section select * from private.section where application = $1 and section = $2"
            await service.database.pool.execute(copy, application, section)
            read = "select content from bare.section where application = $1 and section = $2"
            contents[application] = await service.database.pool.fetchval(read, application, section)
        content = contents[application]
        for name, answer in patch["answers"].items():
            content["answers"][name].update(answer)
        await service.database.pool.execute(update, application, section, content)
        return {"application": application, "section": section, "content": content}

    kept: dict[str, Any] = {}

    @router.post("/{application}/submit", status_code=201)
    async def submit(application: str, body: Annotated[dict[str, Any], Body()]) -> dict[str, Any]:
        if not kept:
            log = """
                select type, event_log.leaf_hash, leaf, submitted_at, content, receipt
                from chassis.event_log join private.version on event = id::text where subject = $1 limit 1
            """
            record = await service.database.pool.fetchrow("select topic, record from bare.record")
            kept.update(await service.database.pool.fetchrow(log, application) or {}, **dict(record or {}))
            await service.database.pool.execute("drop trigger if exists keep on chassis.outbox")
        subject, name = f"bare-{application}", event_id()
        async with service.database.pool.acquire() as db, db.transaction():
            await db.execute(
                """
                insert into private.actor (issuer, subject, cycle, actor) values ('bare', $1, 'bare', $2)
                on conflict (issuer, subject, cycle) do update set cycle = excluded.cycle
                """,
                subject,
                opaque_id(),
            )
            await db.execute(
                """
                insert into projection.application (application, cycle, version, submitted, withdrawn)
                values ($1, 'bare', 1, $2, false)
                on conflict (application) do update
                    set version = application.version + 1, submitted = excluded.submitted
                """,
                subject,
                name,
            )
            sequence = await db.fetchval(
                """
                insert into chassis.aggregate as a (subject, sequence) values ($1, 1)
                on conflict (subject) do update set sequence = a.sequence + 1 returning sequence
                """,
                subject,
            )
            await db.execute(
                "insert into chassis.event_log (id, subject, sequence, type, leaf_hash, leaf)"
                " values ($1, $2, $3, $4, $5, $6)",
                name,
                subject,
                sequence,
                kept["type"],
                kept["leaf_hash"],
                kept["leaf"],
            )
            await db.execute(
                "insert into chassis.outbox (key, topic, record) values ($1, $2, $3)",
                subject,
                kept["topic"],
                kept["record"],
            )
            await db.execute(
                "insert into private.version values ($1, $2, $3, $4, $5, $6, $7)",
                subject,
                sequence,
                name,
                kept["leaf_hash"],
                kept["submitted_at"],
                kept["content"],
                kept["receipt"],
            )
        service.database.on_recorded()
        return {"application": application, "version": sequence, "event": name, **body}

    return router


async def serve(bootstrap: str, dsn: str, var: str) -> None:
    """Be the server until it is told to end."""
    settings = {"var": Path(var), "database_prefix": f"b{secret(4)}_", "public_url": "http://127.0.0.1:0"}
    origin = Origin(settings, kafka_bootstrap=bootstrap, postgres_dsn=dsn, names=("intake",))
    (service,) = origin.services
    service.app.include_router(bare(service))
    # First, as ours are: what stands before a route is tried in vain.
    routes = service.app.router.routes
    routes.insert(0, routes.pop())
    async with origin:
        # What a submission leaves for the relay is gone in no time: a copy of it, for the bare way.
        await service.database.pool.execute(
            """
            create schema bare;
            create table bare.section (like private.section including all);
            create table bare.record (record bytea, topic text);
            create function bare.keep() returns trigger language plpgsql as $$ begin
                if octet_length(new.record) > 5000 and not exists (select from bare.record) then
                    insert into bare.record values (new.record, new.topic);
                end if;
                return new;
            end $$;
            create trigger keep before insert on chassis.outbox for each row execute function bare.keep();
            """
        )
        print(origin.url, flush=True)  # noqa: T201
        await asyncio.Event().wait()


if __name__ == "__main__":
    logs.configure("error")
    uvloop.run(serve(*sys.argv[1:]))
