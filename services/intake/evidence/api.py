"""Evidence over HTTP: files come in by tus 1.0 (creation, expiration, termination) and go out as attachments only.

A file is read by its government's people, and by the program once the cycle is closed, which is noted.
"""

from __future__ import annotations

from base64 import b64encode
from datetime import timedelta
from typing import TYPE_CHECKING, Annotated
from urllib.parse import quote

from fastapi import APIRouter, Header, Path, Request, Response
from fastapi.responses import StreamingResponse

from services.chassis.ids import opaque_id
from services.chassis.problems import Problem, not_found
from services.chassis.web import Asked, CommandRoute, Reading, SignedIn, StreamingRoute, Writing
from services.intake.access import acting, known_cycle, known_government, sheet_of
from services.intake.applications import domain as applications
from services.intake.applications import store as drafts
from services.intake.applications.drafts import Draft
from services.intake.applications.submission import readable
from services.intake.archive import Archive
from services.intake.evidence import store
from services.intake.evidence.domain import (
    Allowance,
    Upload,
    citations,
    metadata,
    must_be_removable,
    must_continue,
    must_have_room,
    named,
)
from services.intake.evidence.forms import FilesView, LinksView, UploadView
from services.intake.evidence.links import links
from services.intake.evidence.uploads import Receiving
from services.intake.evidence.views import TUS, address, cited_at, file_view, link_view, progress, upload_view
from services.intake.forms import Named
from services.intake.locks import OWNED

if TYPE_CHECKING:
    from services.chassis.auth import Principal
    from services.chassis.database import Connection, Tx
    from services.intake.applications.residents import Own
    from services.intake.applications.store import Sheet
    from services.intake.governments.domain import Role
    from services.intake.settings import IntakeSettings

router = APIRouter(route_class=CommandRoute)
streaming = APIRouter(route_class=StreamingRoute)

MEDIA = "application/offset+octet-stream"

Hash = Annotated[str, Path(pattern=r"^[0-9a-f]{64}$")]
Version = Annotated[str | None, Header(max_length=20)]
Length = Annotated[int, Header(ge=0, le=2**40)]


# --- uploads --------------------------------------------------------------------------------------------------------


@router.options("/applications/{application}/uploads", status_code=204)
async def show_uploading(application: Named, response: Response, service: Asked) -> None:  # noqa: ARG001  (in the path)
    """How files are uploaded: the version of tus, its extensions, and the bytes of a file at most."""
    response.headers.update(
        {
            "Tus-Resumable": TUS,
            "Tus-Version": TUS,
            "Tus-Extension": "creation,expiration,termination",
            "Tus-Max-Size": str(service.settings.files_bytes),
        }
    )


@router.post("/applications/{application}/uploads", status_code=201)
async def begin_upload(  # noqa: PLR0913  (what tus sends in headers)
    application: Named,
    response: Response,
    tx: Writing,
    who: SignedIn,
    service: Asked,
    *,
    upload_length: Length,
    upload_metadata: Annotated[str, Header(max_length=4_000)],
    tus_resumable: Version = None,
) -> UploadView:
    """Begin to upload a file (tus creation): send what is at `Location` its bytes.

    Upload-Metadata has `filename`, and may have `filetype` (the media type) and `criterion` (that it is for).
    """
    _must_be_tus(tus_resumable)
    settings: IntakeSettings = service.settings
    sheet = await sheet_of(tx.db, who, application, lock=OWNED)
    person, _ = await acting(tx.db, who, sheet.government, "lead", "editor")
    await _must_be_editable(tx, sheet)
    allowance = _allowance(settings)
    cycle = await known_cycle(tx.db, sheet.cycle)
    name, kind, criterion = named(metadata(upload_metadata), cycle.charter, allowance.kinds)
    kept = await store.files(tx.db, application)
    held = [one.bytes for one in kept.values()] + await store.coming(tx.db, application)
    must_have_room(upload_length, held, allowance)
    expires = service.clock.machine.now() + timedelta(hours=settings.uploads_hours)
    upload = Upload(opaque_id(), application, name, kind, criterion, upload_length, 0, person, expires)
    await store.add_upload(tx.db, upload)
    response.headers["Location"] = f"/intake/v1/applications/{application}/uploads/{upload.upload}"
    response.headers.update(progress(upload))
    return upload_view(upload)


@router.head("/applications/{application}/uploads/{upload}", response_class=Response)
async def show_offset(application: Named, upload: Named, db: Reading, who: SignedIn) -> Response:
    """How many bytes of the upload are here (tus): go on behind them."""
    return Response(headers=progress(await _known_upload(db, who, application, upload)))


@router.get("/applications/{application}/uploads/{upload}")
async def show_upload(application: Named, upload: Named, db: Reading, who: SignedIn) -> UploadView:
    """The upload, and the SHA-256 of the file that it became."""
    return upload_view(await _known_upload(db, who, application, upload))


@streaming.patch(
    "/applications/{application}/uploads/{upload}",
    status_code=204,
    openapi_extra={
        "requestBody": {"required": True, "content": {MEDIA: {"schema": {"type": "string", "format": "binary"}}}}
    },
)
async def continue_upload(  # noqa: PLR0913  (what tus sends in headers)
    application: Named,
    upload: Named,
    request: Request,
    who: SignedIn,
    service: Asked,
    *,
    upload_offset: Length,
    content_type: Annotated[str, Header(include_in_schema=False)] = "",
    tus_resumable: Version = None,
) -> Response:
    """Send the bytes from Upload-Offset on (tus), all that are left or some of them.

    With the last one the content is looked into: a file that is not what its name says is refused and gone, else
    `Content-Location` is where it is.
    """
    _must_be_tus(tus_resumable)
    if content_type != MEDIA:
        raise Problem(415, "content-type", f"Send the bytes as {MEDIA}.")
    async with service.database.reading() as db:
        found = await _known_upload(db, who, application, upload, "lead", "editor")
    must_continue(found, upload_offset, service.clock.machine.now())
    # One more, for it to be told from what belongs here.
    request.state.body_limit = found.length - found.received + 1

    async def may(tx: Tx) -> None:
        sheet = await sheet_of(tx.db, who, application, "lead", "editor", lock=OWNED)
        await _must_be_editable(tx, sheet)

    await Receiving(service, found, may).take(request.stream())
    async with service.database.reading() as db:
        found = await _known_upload(db, who, application, upload)
    headers = progress(found)
    if found.sha256 is not None:
        headers["Content-Location"] = address(application, found.sha256)
    return Response(status_code=204, headers=headers)


@router.delete("/applications/{application}/uploads/{upload}", status_code=204)
async def end_upload(
    application: Named,
    upload: Named,
    response: Response,
    tx: Writing,
    who: SignedIn,
    service: Asked,
    tus_resumable: Version = None,
) -> None:
    """Give an upload up (tus termination); a file that it became stays."""
    _must_be_tus(tus_resumable)
    found = await _known_upload(tx.db, who, application, upload, "lead", "editor")
    await store.remove_upload(tx.db, found.upload, service.clock.machine.now())
    response.headers["Tus-Resumable"] = TUS


# --- files ----------------------------------------------------------------------------------------------------------


@router.get("/applications/{application}/files")
async def list_files(application: Named, who: SignedIn, service: Asked) -> FilesView:
    """The application's files, and where the draft cites them."""
    sheet = await readable(service, who, application, "files")
    async with service.database.reading() as db:
        kept = await store.files(db, application)
        held = [one.bytes for one in kept.values()] + await store.coming(db, application)
        own = await _own(db, sheet)
    allowance, places = _allowance(service.settings), cited_at(sheet.content)
    return FilesView(
        files=[file_view(application, one, places.get(one.sha256, []), own) for one in kept.values()],
        files_left=max(0, allowance.files - len(held)),
        bytes_left=max(0, allowance.total_bytes - sum(held)),
    )


@streaming.get(
    "/applications/{application}/files/{sha256}",
    response_class=StreamingResponse,
    responses={200: {"content": {"*/*": {}}, "description": "The file, as an attachment of the type that it is."}},
)
async def give_file(application: Named, sha256: Hash, who: SignedIn, service: Asked) -> StreamingResponse:
    """The file itself: to be kept by whoever reads it, never shown or run where it comes from."""
    # No snapshot is held while it is sent: that takes as long as its reader does.
    await readable(service, who, application, f"files/{sha256}")
    async with service.database.reading() as db:
        kept = (await store.files(db, application)).get(sha256)
    stream = None if kept is None else await Archive.of(service.settings, "files").stream(sha256)
    if kept is None or stream is None:
        raise not_found("There is no such file in this application.")
    digest = b64encode(bytes.fromhex(sha256)).decode()
    return StreamingResponse(
        stream,
        media_type=kept.type,
        headers={
            "Content-Disposition": f"attachment; filename*=UTF-8''{quote(kept.name, safe='')}",
            "Content-Length": str(kept.bytes),
            "Content-Security-Policy": "sandbox; default-src 'none'; frame-ancestors 'none'",
            "Cross-Origin-Resource-Policy": "same-origin",
            "Repr-Digest": f"sha-256=:{digest}:",
            "X-Content-Type-Options": "nosniff",
            "Cache-Control": "private, no-store",
        },
    )


@router.delete("/applications/{application}/files/{sha256}", status_code=204)
async def remove_file(application: Named, sha256: Hash, tx: Writing, who: SignedIn, service: Asked) -> None:
    """Remove a file that no submitted version cites, nor the draft."""
    sheet = await sheet_of(tx.db, who, application, "lead", "editor", lock=OWNED)
    kept = (await store.files(tx.db, application)).get(sha256)
    if kept is None:
        raise not_found("There is no such file in this application.")
    must_be_removable(kept, cited_at(sheet.content).get(sha256, []))
    await _must_be_editable(tx, sheet)
    await store.remove_file(tx.db, application, sha256, service.clock.machine.now())


# --- links ----------------------------------------------------------------------------------------------------------


@router.get("/applications/{application}/links")
async def list_links(application: Named, who: SignedIn, service: Asked) -> LinksView:
    """The links that the draft cites, and what the last look at each of them found."""
    sheet = await readable(service, who, application, "links")
    async with service.database.reading() as db:
        known = await links(db, application)
    cited: dict[str, list[str]] = {}
    for one in citations(sheet.content):
        if one.url:
            cited.setdefault(one.url, []).append(one.field)
    return LinksView(links=[link_view(url, fields, known.get(url)) for url, fields in cited.items()])


# --- shared ---------------------------------------------------------------------------------------------------------


async def _known_upload(db: Connection, who: Principal, application: str, name: str, *roles: Role) -> Upload:
    await sheet_of(db, who, application, *roles)
    found = await store.upload(db, application, name)
    if found is None:
        raise not_found("There is no such upload: it ended, or its content was refused.")
    return found


async def _must_be_editable(tx: Tx, sheet: Sheet) -> None:
    cycle = await known_cycle(tx.db, sheet.cycle, application=sheet.application)
    applications.must_be_editable(cycle, await drafts.application(tx.db, sheet.application), tx.clock.now())


async def _own(db: Connection, sheet: Sheet) -> Own:
    cycle, government = await known_cycle(db, sheet.cycle), await known_government(db, sheet.government)
    return applications.ground(cycle, government, Draft.model_validate(sheet.content)).own


def _must_be_tus(version: str | None) -> None:
    if version != TUS:
        detail = f"Uploads speak tus {TUS}: send Tus-Resumable: {TUS}."
        raise Problem(412, "tus-version", detail, headers={"Tus-Version": TUS})


def _allowance(settings: IntakeSettings) -> Allowance:
    kinds = frozenset(settings.files_kinds.split(","))
    return Allowance(kinds, settings.files_bytes, settings.files_count, settings.files_total_bytes)


router.include_router(streaming)
