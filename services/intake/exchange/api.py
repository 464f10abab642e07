"""Applications as files over HTTP: one draft as JSON or a spreadsheet, out and in, and a whole cycle's submissions."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Annotated

from fastapi import APIRouter, Query, Request, Response
from fastapi.responses import StreamingResponse

from services.chassis.problems import Problem
from services.chassis.refusal import RefusedError
from services.chassis.web import Asked, CommandRoute, Reading, SignedIn, StreamingRoute, Writing
from services.intake.access import acting, known_cycle, known_government, sheet_of
from services.intake.applications import domain as applications
from services.intake.applications import store as drafts
from services.intake.applications.drafts import Draft, must_fit
from services.intake.applications.findings import reports
from services.intake.applications.sections import changes, split, tidy
from services.intake.applications.views import etag, findings, warnings
from services.intake.etags import IfMatch, must_match
from services.intake.exchange import spreadsheet, store, table
from services.intake.exchange.domain import drafted, within
from services.intake.exchange.forms import FileView, GivenFile, ImportView
from services.intake.exchange.table import MEDIA, Format
from services.intake.forms import Named
from services.intake.locks import OWNED
from services.intake.reapplication.store import basis_of

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from schemas.charter import Charter
    from services.chassis.auth import Principal
    from services.chassis.database import Tx
    from services.intake.applications.sections import Document
    from services.intake.exchange.table import Pages

router = APIRouter(route_class=CommandRoute)
streaming = APIRouter(route_class=StreamingRoute)

UPLOAD = 2_000_000
"""Bytes of a workbook: a form with all that a draft can hold has less, even where nothing of it can be compressed."""

_WORKER = ThreadPoolExecutor(1, "exchange")
"""One after the other: a workbook of the greatest size takes a processor for a second or two."""

Trial = Annotated[bool, Query(description="Only try it: nothing is kept.")]


@router.get("/applications/{application}/export")
async def export_draft(application: Named, response: Response, db: Reading, who: SignedIn) -> FileView:
    """The draft as a JSON file, to its government's people; `import` takes it back as it is."""
    sheet = await sheet_of(db, who, application)
    cycle = await known_cycle(db, sheet.cycle)
    response.headers["ETag"] = etag(sheet.revision)
    response.headers["Content-Disposition"] = f'attachment; filename="application-{application}.json"'
    return FileView(
        application=application,
        cycle=cycle.id,
        charter_sha256=cycle.opened.charter_sha256,
        government=sheet.government,
        draft=sheet.content,
    )


@router.post("/applications/{application}/import")
async def import_draft(
    application: Named,
    body: GivenFile,
    response: Response,
    tx: Writing,
    who: SignedIn,
    if_match: IfMatch = None,
    trial: Trial = False,  # noqa: FBT002  (a query's yes or no)
) -> ImportView:
    """Replace the whole draft by a file's, or tell everything at once that cannot be kept, each with its pointer.

    Send If-Match with the ETag of the draft (or `*`). What is only wrong or missing is kept and told.
    """
    sheet = await sheet_of(tx.db, who, application, "lead", "editor", lock=OWNED)
    charter = (await known_cycle(tx.db, sheet.cycle)).charter
    try:
        draft, document = drafted(body.draft, charter)
    except RefusedError as error:
        raise within(error, "draft") from error
    return await _replace(tx, sheet, who, (draft, document), if_match, response, trial=trial)


@router.get(
    "/applications/{application}/export.xlsx",
    response_class=Response,
    responses={200: {"content": {MEDIA["xlsx"]: {}}}},
)
async def export_form(application: Named, asked: Asked, who: SignedIn) -> Response:
    """The draft as a spreadsheet form, a row per criterion beside its meaning; `import.xlsx` reads it."""
    async with asked.database.reading() as db:
        sheet = await sheet_of(db, who, application)
        charter = (await known_cycle(db, sheet.cycle)).charter
        kind = (await known_government(db, sheet.government)).kind
    draft = Draft.model_validate(sheet.content)
    content = await asyncio.get_running_loop().run_in_executor(_WORKER, spreadsheet.form_of, draft, charter, kind)
    headers = {
        "ETag": etag(sheet.revision),
        "Content-Disposition": f'attachment; filename="application-{application}.xlsx"',
    }
    return Response(content, media_type=MEDIA["xlsx"], headers=headers)


@streaming.post(
    "/applications/{application}/import.xlsx",
    openapi_extra={
        "requestBody": {
            "required": True,
            "content": {MEDIA["xlsx"]: {"schema": {"type": "string", "format": "binary"}}},
        }
    },
)
async def import_form(
    application: Named,
    request: Request,
    response: Response,
    asked: Asked,
    who: SignedIn,
    if_match: IfMatch = None,
    trial: Trial = False,  # noqa: FBT002  (a query's yes or no)
) -> ImportView:
    """Replace the whole draft by a filled-in form's, or tell everything at once that cannot be kept.

    Each error has its `sheet`, `row` and `column` beside the pointer. Send If-Match with the ETag of the draft (or
    `*`). Ids of warnings that were looked at (`acknowledged`) are not in the form and stay.
    """
    async with asked.database.reading() as db:
        sheet = await sheet_of(db, who, application, "lead", "editor")
        charter = (await known_cycle(db, sheet.cycle)).charter
    request.state.body_limit = UPLOAD
    content = await request.body()
    _, document = await asyncio.get_running_loop().run_in_executor(_WORKER, spreadsheet.draft_of, content, charter)
    async with asked.database.transaction() as tx:
        sheet = await sheet_of(tx.db, who, application, "lead", "editor", lock=OWNED)
        kind = (await known_government(tx.db, sheet.government)).kind
        document = tidy(spreadsheet.returned(document, sheet.content, charter, kind))
        given = Draft.model_validate(document), document
        return await _replace(tx, sheet, who, given, if_match, response, trial=trial)


async def _replace(
    tx: Tx,
    sheet: drafts.Sheet,
    who: Principal,
    given: tuple[Draft, Document],
    if_match: str | None,
    response: Response,
    *,
    trial: bool,
) -> ImportView:
    """Put a document into the place of a draft that is owned; or only say what that would change."""
    must_match(if_match, etag(sheet.revision), "the draft")
    person, _ = await acting(tx.db, who, sheet.government, "lead", "editor")
    cycle, now = await known_cycle(tx.db, sheet.cycle, application=sheet.application), tx.clock.now()
    applications.must_be_editable(cycle, await drafts.application(tx.db, sheet.application), now)
    draft, document = given
    must_fit(draft.size)
    changed: list[str] = []
    revision = 0
    for name, content in split(document, cycle.charter).items():
        page = sheet.pages[name]
        changed += changes(page.content, content)
        if not trial:
            page = await drafts.save_page(tx.db, sheet.application, page, content, person, now)
        revision += page.revision
    government, basis = await known_government(tx.db, sheet.government), await basis_of(tx.db, sheet, cycle)
    found = reports(draft, applications.ground(cycle, government, draft, basis))
    response.headers["ETag"] = etag(revision)
    return ImportView(
        application=sheet.application,
        kept=not trial,
        etag=etag(revision),
        changed=changed,
        problems=findings(one for report in found for one in report.problems),
        missing=findings(one for report in found for one in report.missing),
        warnings=warnings((one for report in found for one in report.warnings), draft.acknowledged),
    )


# --- a whole cycle ---------------------------------------------------------------------------------------------------


@router.get(
    "/cycles/{cycle}/export",
    response_class=StreamingResponse,
    responses={200: {"content": {media: {} for media in MEDIA.values()}}},
)
async def export_cycle(
    cycle: Named, asked: Asked, who: SignedIn, kind: Annotated[Format, Query(alias="format")] = "jsonl"
) -> StreamingResponse:
    """All applications of a closed cycle as they were submitted last, to the program; who took them is noted.

    JSON Lines has every character; CSV begins a text that a spreadsheet could take for a formula with an apostrophe,
    and in the workbook a cell has 32,767 characters. Scores are in none: those are scoring's and awards'.
    """
    who.require("program-admin", "auditor")
    async with asked.database.transaction() as tx:
        found = await known_cycle(tx.db, cycle)
        if "auditor" not in who.roles and not found.closed:
            raise Problem(403, "not-closed", "The program reads applications once their cycle is closed.")
        await store.note_export(tx.db, who, kind, cycle, await store.count(tx.db, cycle))
    pages = store.submitted(asked.database, cycle)
    headers = {"Content-Disposition": f'attachment; filename="{cycle}.{kind}"'}
    return StreamingResponse(_exported(pages, found.charter, kind), media_type=MEDIA[kind], headers=headers)


def _exported(pages: Pages, charter: Charter, kind: Format) -> AsyncIterator[bytes]:
    match kind:
        case "csv":
            return table.comma_separated(pages, charter)
        case "xlsx":
            return table.workbook(pages, charter, _WORKER)
        case "jsonl":
            return table.lines(pages)
