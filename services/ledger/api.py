"""The ledger over HTTP: the logs, their checkpoints, a cycle's export, and the feed over all logs."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Annotated, Any
from urllib.parse import quote

from fastapi import APIRouter, Query, Response
from pydantic import BaseModel

from services.chassis import archive
from services.chassis.auth import unauthorized
from services.chassis.problems import not_found
from services.chassis.web import Anyone, Asked, CommandRoute, Reading, SignedIn
from services.ledger import checkpoints, export, feed, store
from services.ledger.domain import PROGRAM
from services.ledger.export import Audience

if TYPE_CHECKING:
    from services.chassis.auth import Principal

router = APIRouter(prefix="/v1", route_class=CommandRoute)


class Log(BaseModel):
    """A log now. One that events wait for, and that is not open yet, has neither origin, key nor root."""

    log: str
    origin: str | None
    verifier_key: str | None
    size: int
    root: str | None
    """Hex."""
    held: int
    """Events that wait for their predecessor, their cause or the log's opening."""
    overdue: int
    """Those of them that have waited for more than a minute."""


@router.get("/logs")
async def list_logs(db: Reading, who: Anyone) -> list[Log]:
    """Every log for auditors and program administrators; for anyone else those of the announced cycles."""
    rows = await store.overview(db)
    if not _entitled(who, "auditor", "program-admin"):
        shown = await store.announced(db)
        rows = [row for row in rows if row["log"] in shown]
    return [_log(row) for row in rows]


@router.get("/logs/{log}")
async def show_log(log: str, db: Reading, who: Anyone) -> Log:
    """One log: a cycle's by its label, or `program`. Who may see it: as in the list."""
    if _entitled(who, "auditor", "program-admin") or await store.announced(db, log):
        for row in await store.overview(db, log):
            return _log(row)
    raise not_found()


def _entitled(who: Principal | None, *roles: str) -> bool:
    """How a log grows tells of a cycle what is not public before its announcement, and always so of `program`."""
    return who is not None and not who.roles.isdisjoint(roles)


def _log(row: Any) -> Log:  # noqa: ANN401  (a row of store.overview)
    return Log(**{**row, "root": None if row["root"] is None else row["root"].hex()})


@router.get("/logs/{log}/checkpoint", response_class=Response, responses={200: {"content": {"text/plain": {}}}})
async def show_checkpoint(log: str, asked: Asked, who: Anyone) -> Response:
    """The log's signed note (C2SP tlog-checkpoint), a new one at most once a second.

    For anyone once the cycle is announced, for auditors at any time.
    """
    if not _entitled(who, "auditor"):
        async with asked.database.reading() as db:
            if not await store.announced(db, log):
                raise not_found()
    note = await checkpoints.latest(asked.database, asked.settings, log)
    if note is None:
        raise not_found()
    return Response(note, media_type="text/plain; charset=utf-8")


@router.get("/feed", response_class=Response, responses={200: {"content": {"application/x-ndjson": {}}}})
async def read_feed(
    asked: Asked,
    who: SignedIn,
    after: Annotated[int, Query(ge=0, le=2**63 - 1, description="Where the last page ended.")] = 0,
    limit: Annotated[int, Query(ge=1, le=5_000)] = 1_000,
) -> Response:
    """Every event of every log, one record per line, byte for byte as on Kafka but for disclosures erased since.

    In the order of logging: a predecessor and a cause come first. `Link: <…>; rel="next"` goes on behind this page, now
    or later; a page without lines is the end for the moment. For auditors, and for services that rebuild their state.
    """
    who.require("auditor", "service")
    async with asked.database.transaction() as tx:
        records, last = await feed.page(tx.db, after, limit)
        if records:
            await store.note_reading(tx.db, who, "feed", "*", last)
    return Response(
        b"".join(record + b"\n" for record in records),
        media_type="application/x-ndjson",
        headers={"Link": f'</ledger/v1/feed?after={last}&limit={limit}>; rel="next"'},
    )


@router.get("/cycles/{cycle}/export", response_class=Response, responses={200: {"content": {"application/zip": {}}}})
async def export_cycle(
    cycle: str,
    asked: Asked,
    who: Anyone,
    audience: Annotated[Audience, Query(alias="for", description="What is opened: see docs/explanation.")] = "public",
) -> Response:
    """A cycle's whole log as one deterministic zip: for anyone once it is announced, for auditors at any time."""
    if audience == "auditor":
        if who is None:
            raise unauthorized("A token is needed: send `Authorization: Bearer …`.")
        who.require("auditor")
    async with asked.database.transaction() as tx:
        head = None if cycle == PROGRAM else await store.head(tx.db, cycle)
        if head is None:
            raise not_found()
        if audience == "public":
            await export.require_public(tx.db, head)
        elif who is not None:
            await store.note_reading(tx.db, who, "export", cycle, head.tree.size)
        await checkpoints.sign(tx.db, asked.settings, head)
    async with asked.database.reading() as db:
        files = await export.files(db, head, audience)
    raw = await asyncio.to_thread(archive.pack, files)
    name = quote(cycle, safe="") + ("" if audience == "public" else f"-{audience}")
    return Response(
        raw, media_type="application/zip", headers={"Content-Disposition": f'attachment; filename="{name}.zip"'}
    )
