"""Research over HTTP: what consenting governments submitted, to the program's partners; every read is noted."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

from fastapi import APIRouter, Query
from fastapi.responses import StreamingResponse

from schemas.applications import Answer, Evidence
from services.chassis.web import Asked, CommandRoute, Reading, SignedIn, Writing
from services.intake.access import acting, active_government, known_cycle
from services.intake.exchange.store import note_export
from services.intake.forms import Named
from services.intake.locks import OWNED
from services.intake.openness import recorded
from services.intake.openness.forms import ResearchConsent, ResearchConsentView, ResearchLine

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from services.chassis.database import Connection, Database

router = APIRouter(route_class=CommandRoute)

MEANING = (
    "The program's research partners may read what this government submits, designated or not, once its cycle is"
    " closed: profile, answers with evidence, facts and metrics; no contact, no people, no file, no score. They get it"
    " no more from the moment this is withdrawn; what they have read, they have read."
)

Cycle = Annotated[str | None, Query(max_length=64, pattern=r"^[A-Za-z0-9_.-]+$")]


@router.get("/governments/{government}/research-consent")
async def show_consent(government: Named, db: Reading, who: SignedIn) -> ResearchConsentView:
    """Whether partners may read what this government submits, and what that means: to its people."""
    await acting(db, who, government)
    return await _view(db, government)


@router.put("/governments/{government}/research-consent")
async def save_consent(government: Named, body: ResearchConsent, tx: Writing, who: SignedIn) -> ResearchConsentView:
    """Consent, or withdraw the consent; the government's lead does."""
    await active_government(tx.db, government, OWNED)
    person, _ = await acting(tx.db, who, government, "lead")
    consents, since = await recorded.consent(tx.db, government)
    if since is None or consents != body.consents:
        await recorded.add_consent(tx.db, government, person, tx.clock.now(), consents=body.consents)
    return await _view(tx.db, government)


@router.get(
    "/research/applications",
    response_class=StreamingResponse,
    responses={200: {"content": {"application/jsonl": {}}}},
)
async def export_research(asked: Asked, who: SignedIn, cycle: Cycle = None) -> StreamingResponse:
    """What consenting governments submitted to closed cycles, or to one, as JSON Lines: to partners. It is noted."""
    who.require("partner")
    async with asked.database.transaction() as tx:
        if cycle is not None:
            await known_cycle(tx.db, cycle)
        await note_export(tx.db, who, "research", cycle or "", await recorded.consented_count(tx.db, cycle))
    headers = {"Content-Disposition": 'attachment; filename="research.jsonl"'}
    return StreamingResponse(_lines(asked.database, cycle), media_type="application/jsonl", headers=headers)


async def _lines(database: Database, cycle: str | None) -> AsyncIterator[bytes]:
    async for page in recorded.consented(database, cycle):
        yield b"".join(_line(row).model_dump_json().encode() + b"\n" for row in page)


def _line(row: dict[str, Any]) -> ResearchLine:
    content = row["content"]
    answers = {name: _without_files(Answer.model_validate(answer)) for name, answer in content["answers"].items()}
    told = {name: row[name] for name in ("application", "cycle", "version", "charter_sha256", "submitted_at")}
    return ResearchLine(**told, identity=content["identity"], claims=content["claims"], answers=answers)


def _without_files(answer: Answer) -> Answer:
    """The answer without its files, whose names people give them, and which partners cannot read."""
    evidence = [Evidence(url=one.url, page=one.page, quote=one.quote) for one in answer.evidence]
    return answer.model_copy(update={"evidence": evidence})


async def _view(db: Connection, government: str) -> ResearchConsentView:
    consents, since = await recorded.consent(db, government)
    return ResearchConsentView(government=government, consents=consents, since=since, meaning=MEANING)
