"""How uploads, files and links are shown."""

from __future__ import annotations

from email.utils import format_datetime
from typing import TYPE_CHECKING

from services.intake.evidence.domain import citations, names_of_residents
from services.intake.evidence.forms import FileView, LinkView, UploadView

if TYPE_CHECKING:
    from services.intake.applications.residents import Own
    from services.intake.applications.sections import Document
    from services.intake.evidence.domain import Kept, Upload
    from services.intake.evidence.links import Link

TUS = "1.0.0"


def progress(upload: Upload) -> dict[str, str]:
    """What tus says of an upload, in headers."""
    return {
        "Tus-Resumable": TUS,
        "Upload-Offset": str(upload.received),
        "Upload-Length": str(upload.length),
        "Upload-Expires": format_datetime(upload.expires, usegmt=True),
        "Cache-Control": "no-store",
    }


def address(application: str, sha256: str) -> str:
    """Where a file is given."""
    return f"/intake/v1/applications/{application}/files/{sha256}"


def cited_at(content: Document) -> dict[str, list[str]]:
    """Where a draft or a version cites files, by SHA-256."""
    found: dict[str, list[str]] = {}
    for one in citations(content):
        found.setdefault(one.file, []).append(one.field)
    return found


def upload_view(upload: Upload) -> UploadView:
    """An upload."""
    return UploadView(
        upload=upload.upload,
        name=upload.name,
        length=upload.length,
        received=upload.received,
        expires=upload.expires,
        sha256=upload.sha256,
    )


def file_view(application: str, kept: Kept, places: list[str], own: Own | None) -> FileView:
    """A file that is cited at these places; without `own`, as a reviewer sees it: by whom it came is no matter then."""
    return FileView(
        sha256=kept.sha256,
        name=kept.name,
        type=kept.type,
        bytes=kept.bytes,
        criterion=kept.criterion,
        address=address(application, kept.sha256),
        uploaded_by=kept.person if own is not None else None,
        uploaded_at=kept.at,
        cited_at=places,
        frozen=kept.frozen,
        warnings=names_of_residents(kept.name, own) if own is not None else [],
    )


def link_view(url: str, places: list[str], link: Link | None) -> LinkView:
    """A link that the draft cites at these places, and what is known of it."""
    return LinkView(
        url=url,
        cited_at=places,
        state=link.state if link else "unchecked",
        status=link.status if link else None,
        reason=link.reason if link else "",
        title=link.title if link else "",
        checked_at=link.checked_at if link else None,
        seen_at=link.seen_at if link else None,
    )
