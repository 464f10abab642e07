"""Evidence over HTTP: files come in by tus 1.0 (creation, expiration, termination); `reading` is how they go out."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Annotated

from fastapi import APIRouter, Header, Request, Response

from services.chassis.ids import opaque_id
from services.chassis.problems import Problem, not_found
from services.chassis.web import Asked, CommandRoute, Reading, SignedIn, StreamingRoute, Writing
from services.intake.access import acting, known_cycle, sheet_of
from services.intake.applications import domain as applications
from services.intake.applications import store as drafts
from services.intake.evidence import reading, store
from services.intake.evidence.domain import (
    Upload,
    metadata,
    must_be_removable,
    must_continue,
    must_have_room,
    named,
)
from services.intake.evidence.forms import Hash, UploadView
from services.intake.evidence.uploads import Receiving, allowance_of
from services.intake.evidence.views import TUS, address, cited_at, progress, upload_view
from services.intake.forms import Named
from services.intake.locks import OWNED

if TYPE_CHECKING:
    from services.chassis.auth import Principal
    from services.chassis.database import Connection, Tx
    from services.intake.applications.store import Sheet
    from services.intake.governments.domain import Role
    from services.intake.settings import IntakeSettings

router = APIRouter(route_class=CommandRoute)
streaming = APIRouter(route_class=StreamingRoute)

MEDIA = "application/offset+octet-stream"

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
    allowance = allowance_of(settings)
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


def _must_be_tus(version: str | None) -> None:
    if version != TUS:
        detail = f"Uploads speak tus {TUS}: send Tus-Resumable: {TUS}."
        raise Problem(412, "tus-version", detail, headers={"Tus-Version": TUS})


router.include_router(streaming)
router.include_router(reading.router)
