"""`save-section` and `submit`: intake over HTTP, beside the bare statements in the same server behind the same stack.

The server is a process of its own: `cec run intake`, with two routes more. They do by hand what is compared and nothing
else (no token, no rule): one UPDATE of a section's row with its whole content, and one transaction of plain inserts of
the very rows that a submission leaves, bytes included, which the relay sends like any. Clients are plain sockets, a
request at a time each.
"""

from __future__ import annotations

import asyncio
import time
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Annotated, Any

import uvloop
from fastapi import APIRouter, Body

from benchmarks.applicants import CLIENTS, prepared
from benchmarks.harness import Ground, Result, compare
from benchmarks.serving import serve, serving
from services.chassis import logs
from services.chassis.ids import event_id, opaque_id

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from benchmarks.applicants import Client, Stand
    from benchmarks.serving import Pool

REQUESTS = 2_000
"""In a round, each way, at most: `--count` may ask for fewer."""

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

        return [await _compared(stand, "save-section", ours, bare, requests, rounds)]


async def run_submit(ground: Ground, *, count: int, rounds: int) -> list[Result]:
    """Compare submissions of an application of 7 kB, each replacing the one before."""
    async with intake(ground) as stand:
        for client in stand.clients:
            await client.ask("POST", f"/intake/v1/applications/{client.application}/submit", {"attest": True}, "")

        def ours(client: Client, _: int) -> Request:
            return "POST", f"/intake/v1/applications/{client.application}/submit", {"attest": True}, ""

        def bare(client: Client, _: int) -> Request:
            return "POST", f"/intake/bare/{client.application}/submit", {"attest": True}, ""

        return [await _compared(stand, "submit", ours, bare, min(count, REQUESTS) // 2, rounds)]


async def _compared(
    stand: Stand,
    name: str,
    ours: Callable[[Client, int], Request],
    bare: Callable[[Client, int], Request],
    requests: int,
    rounds: int,
) -> Result:
    """As many requests of all clients together, in requests per second."""
    for client in stand.clients:
        await client.ask(*bare(client, 0))
        await client.ask(*ours(client, 0))

    async def rate(request: Callable[[Client, int], Request]) -> float:
        async def some(client: Client, number: int) -> None:
            for index in range(requests // CLIENTS):
                await client.ask(*request(client, number + index))

        # Numbers that grow from round to round: a text that is there already would not be saved again.
        start, first = time.perf_counter(), time.monotonic_ns()
        await asyncio.gather(*(some(client, first) for client in stand.clients))
        return requests // CLIENTS * CLIENTS / (time.perf_counter() - start)

    return await compare(name, "requests/s", lambda: rate(ours), lambda: rate(bare), rounds=rounds)


@asynccontextmanager
async def intake(ground: Ground) -> AsyncIterator[Stand]:
    """The server's process, a cycle in it, and clients whose applications are complete."""
    async with serving(ground, "benchmarks.intake") as server:
        stand = await prepared(server)
        for client in stand.clients:
            await client.connect()
        yield stand
        for client in stand.clients:
            client.close()


# --- the server's process -------------------------------------------------------------------------------------------


def bare(pool: Pool, wake: Callable[[], None]) -> APIRouter:
    """The two routes that do the same by hand."""
    router = APIRouter(prefix="/bare")
    update = "update bare.section set content = $3, revision = revision + 1 where application = $1 and section = $2"
    contents: dict[str, dict[str, Any]] = {}

    @router.patch("/{application}/{section}")
    async def save(application: str, section: str, patch: Annotated[dict[str, Any], Body()]) -> dict[str, Any]:
        if application not in contents:
            copy = "insert into bare.section select * from private.section where application = $1 and section = $2"
            await pool.execute(copy, application, section)
            read = "select content from bare.section where application = $1 and section = $2"
            contents[application] = await pool.fetchval(read, application, section)
        content = contents[application]
        for name, answer in patch["answers"].items():
            content["answers"][name].update(answer)
        await pool.execute(update, application, section, content)
        return {"application": application, "section": section, "content": content}

    kept: dict[str, Any] = {}

    @router.post("/{application}/submit", status_code=201)
    async def submit(application: str, body: Annotated[dict[str, Any], Body()]) -> dict[str, Any]:
        if not kept:
            log = """
                select type, event_log.leaf_hash, leaf, submitted_at, content, receipt
                from chassis.event_log join private.version on event = id::text where subject = $1 limit 1
            """
            record = await pool.fetchrow("select topic, record from bare.record")
            kept.update(await pool.fetchrow(log, application) or {}, **dict(record or {}))
            await pool.execute("drop trigger if exists keep on chassis.outbox")
        subject, name = f"bare-{application}", event_id()
        async with pool.acquire() as db, db.transaction():
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
        wake()
        return {"application": application, "version": sequence, "event": name, **body}

    return router


# What a submission leaves for the relay is gone in no time: a copy of it, for the bare way.
TABLES = """
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


if __name__ == "__main__":
    logs.configure("error")
    uvloop.run(serve(bare, TABLES))
