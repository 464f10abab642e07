"""Probes' tables: what events say as projection; endpoints, runs and known answers as private."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from schemas.evidence import EvidenceProbed, Probe
from services.intake.probes.domain import Endpoint, Run

if TYPE_CHECKING:
    from datetime import datetime

    import asyncpg

    from schemas.envelope import Header
    from services.chassis.database import Connection
    from services.intake.probes.fetch import Answer

_RUN = "select probe, government, url, jurisdiction, asked_at, asked_by, begun, ended, reason from private.probe_run"
_TURN = 311
"""The advisory lock of who takes the next run: of one host, one at a time, over all processes."""
_CLAIM = """
update private.probe_run set begun = begun + 1, leased_until = $2 where probe = (
    select probe from private.probe_run waiting
    where not ended and (leased_until is null or leased_until < $1) and not exists (
        select from private.probe_run busy where busy.host = waiting.host and not busy.ended and busy.leased_until >= $1
    ) order by asked_at, probe limit 1
) returning probe, government, url, jurisdiction, asked_at, asked_by, begun, ended, reason
"""


async def endpoint(db: Connection, government: str) -> Endpoint | None:
    """The government's endpoint, if it has named one."""
    row = await db.fetchrow("select * from private.open311 where government = $1", government)
    return Endpoint(*row) if row else None


async def save_endpoint(db: Connection, endpoint: Endpoint) -> None:
    """Keep a government's endpoint."""
    await db.execute(
        """
        insert into private.open311 values ($1, $2, $3, $4) on conflict (government) do update set
            url = excluded.url, jurisdiction = excluded.jurisdiction, failures = excluded.failures
        """,
        endpoint.government,
        endpoint.url,
        endpoint.jurisdiction,
        endpoint.failures,
    )


async def forget_endpoint(db: Connection, government: str) -> bool:
    """Remove a government's endpoint and what waits for it; False where there is none."""
    await db.execute("delete from private.probe_run where government = $1 and not ended", government)
    return bool(await db.fetchval("delete from private.open311 where government = $1 returning true", government))


async def last_run(db: Connection, government: str) -> Run | None:
    """The run of this government that was asked for last."""
    row = await db.fetchrow(f"{_RUN} where government = $1 order by asked_at desc, probe limit 1", government)
    return Run(*row) if row else None


async def runs(db: Connection, government: str, limit: int) -> list[Run]:
    """The last runs of a government, the newest first."""
    rows = await db.fetch(f"{_RUN} where government = $1 order by asked_at desc, probe limit $2", government, limit)
    return [Run(*row) for row in rows]


async def run(db: Connection, probe: str, lock: str = "") -> Run | None:
    """One run."""
    row = await db.fetchrow(f"{_RUN} where probe = $1{lock}", probe)
    return Run(*row) if row else None


async def add_run(db: Connection, run: Run) -> bool:
    """Have a run wait; False where one of this government waits already."""
    return bool(
        await db.fetchval(
            """
            insert into private.probe_run (probe, government, url, host, jurisdiction, asked_at, asked_by)
            values ($1, $2, $3, $4, $5, $6, $7) on conflict (government) where not ended do nothing returning true
            """,
            run.probe,
            run.government,
            run.url,
            urlsplit(run.url).netloc.lower(),
            run.jurisdiction,
            run.asked_at,
            run.asked_by,
        )
    )


async def claim_run(db: Connection, now: datetime, until: datetime) -> Run | None:
    """Take the next run until `until` (machine time): none of a host that a run is under way at."""
    await db.execute("select pg_advisory_xact_lock($1)", _TURN)
    row = await db.fetchrow(_CLAIM, now, until)
    return Run(*row) if row else None


async def give_back(db: Connection, probes: list[str]) -> None:
    """Have runs wait again that were begun here, as if they had not been."""
    await db.execute(
        "update private.probe_run set begun = begun - 1, leased_until = null"
        " where probe = any($1::text[]) and not ended",
        probes,
    )


async def end_run(db: Connection, probe: str, reason: str | None) -> None:
    """Have a run be over."""
    await db.execute(
        "update private.probe_run set ended = true, leased_until = null, reason = $2 where probe = $1", probe, reason
    )


async def save_probe(db: Connection, event: EvidenceProbed, header: Header) -> None:
    """Keep what an event says of a probe, as long as its claims can be read."""
    if event.claims is not None:
        await db.execute(
            "insert into projection.probe values ($1, $2, $3, $4, $5)",
            event.probe,
            event.government,
            header.sequence,
            header.id,
            event.claims.model_dump(mode="json"),
        )


async def previous_probe(db: Connection, run: Run, endpoint: str) -> tuple[str, Probe] | None:
    """The last probe of this government at the same place."""
    row = await db.fetchrow(
        """
        select probe, claims from projection.probe where government = $1 and claims->>'endpoint' = $2
            and claims->>'jurisdiction' = $3 order by sequence desc limit 1
        """,
        run.government,
        endpoint,
        run.jurisdiction,
    )
    return (row["probe"], Probe.model_validate(row["claims"])) if row else None


async def probes(db: Connection, names: list[str]) -> dict[str, tuple[str, Probe]]:
    """(event id, claims) of these probes, of those that are there."""
    rows = await db.fetch("select probe, event, claims from projection.probe where probe = any($1::text[])", names)
    return {row["probe"]: (row["event"], Probe.model_validate(row["claims"])) for row in rows}


async def known_answer(db: Connection, url: str) -> asyncpg.Record | None:
    """(content_type, etag, last_modified, sha256) of the last answer from an address."""
    return await db.fetchrow(
        "select content_type, etag, last_modified, sha256 from private.open311_answer where url = $1", url
    )


async def keep_answer(db: Connection, answer: Answer, now: datetime) -> None:
    """Know an answer by its address, and forget those that no window asks for any more."""
    await db.execute(
        """
        insert into private.open311_answer values ($1, $2, $3, $4, $5, $6) on conflict (url) do update set
            content_type = excluded.content_type, etag = excluded.etag, last_modified = excluded.last_modified,
            sha256 = excluded.sha256, at = excluded.at
        """,
        answer.url,
        answer.content_type,
        answer.etag,
        answer.last_modified,
        answer.sha256,
        now,
    )


async def forget_answers(db: Connection, before: datetime) -> None:
    """Forget the addresses that were not asked since `before`; their content stays in the archive."""
    await db.execute("delete from private.open311_answer where at < $1", before)
