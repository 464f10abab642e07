"""What is read of an application's evidence over HTTP: files, which go out as attachments only, and links.

By its government's people, who see what the draft holds; by the program once the cycle is closed; and by its reviewers,
who see what the version that they review cites and nothing else. Whoever is not of the government is noted.
"""

from __future__ import annotations

from base64 import b64encode
from typing import TYPE_CHECKING
from urllib.parse import quote

from fastapi import APIRouter
from fastapi.responses import StreamingResponse

from services.chassis.problems import not_found
from services.chassis.web import Asked, CommandRoute, SignedIn, StreamingRoute
from services.intake.access import known_cycle, known_government
from services.intake.applications import domain as applications
from services.intake.applications import versions
from services.intake.applications.drafts import Draft
from services.intake.applications.submission import readable
from services.intake.archive import Archive
from services.intake.evidence import store
from services.intake.evidence.domain import citations
from services.intake.evidence.forms import FilesView, Hash, LinksView
from services.intake.evidence.links import links
from services.intake.evidence.uploads import allowance_of
from services.intake.evidence.views import cited_at, file_view, link_view
from services.intake.forms import Named
from services.intake.reviewing.store import review_of

if TYPE_CHECKING:
    from services.chassis.auth import Principal
    from services.chassis.database import Connection
    from services.chassis.service import Service
    from services.intake.applications.residents import Own
    from services.intake.applications.sections import Document
    from services.intake.applications.store import Sheet

router = APIRouter(route_class=CommandRoute)
streaming = APIRouter(route_class=StreamingRoute)


@router.get("/applications/{application}/files")
async def list_files(application: Named, who: SignedIn, service: Asked) -> FilesView:
    """The application's files, and where the draft cites them; to a reviewer, those of the submitted version."""
    if (reviewed := await _reviewed(service, who, application, "files")) is not None:
        places = cited_at(reviewed)
        async with service.database.reading() as db:
            kept = await store.files(db, application)
        files = [file_view(application, kept[name], found, None) for name, found in places.items() if name in kept]
        return FilesView(files=files, files_left=0, bytes_left=0)
    sheet = await readable(service, who, application, "files")
    async with service.database.reading() as db:
        kept = await store.files(db, application)
        held = [one.bytes for one in kept.values()] + await store.coming(db, application)
        own = await _own(db, sheet)
    allowance, places = allowance_of(service.settings), cited_at(sheet.content)
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
    what = f"files/{sha256}"
    reviewed = await _reviewed(service, who, application, what)
    if reviewed is None:
        await readable(service, who, application, what)
    async with service.database.reading() as db:
        kept = (await store.files(db, application)).get(sha256)
    if reviewed is not None and sha256 not in cited_at(reviewed):
        kept = None
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


@router.get("/applications/{application}/links")
async def list_links(application: Named, who: SignedIn, service: Asked) -> LinksView:
    """The links that the draft cites (to a reviewer: the submitted version), and what the last look at each found."""
    content = await _reviewed(service, who, application, "links")
    if content is None:
        content = (await readable(service, who, application, "links")).content
    async with service.database.reading() as db:
        known = await links(db, application)
    cited: dict[str, list[str]] = {}
    for one in citations(content):
        if one.url:
            cited.setdefault(one.url, []).append(one.field)
    return LinksView(links=[link_view(url, fields, known.get(url)) for url, fields in cited.items()])


async def _reviewed(service: Service, who: Principal, application: str, what: str) -> Document | None:
    """The version that the caller reviews, whose reading is noted; None for whoever doesn't review this application."""
    async with service.database.transaction() as tx:
        if await review_of(tx.db, who, application) is None:
            return None
        standing = await versions.standing(tx.db, application)
        if standing is None:
            return None
        await versions.note_reading(tx.db, who.issuer, who.subject, what, application)
        return standing.content


async def _own(db: Connection, sheet: Sheet) -> Own:
    cycle, government = await known_cycle(db, sheet.cycle), await known_government(db, sheet.government)
    return applications.ground(cycle, government, Draft.model_validate(sheet.content)).own


router.include_router(streaming)
