"""What is answered about evidence over HTTP."""

from __future__ import annotations

from typing import Annotated

from fastapi import Path
from pydantic import BaseModel

from schemas.envelope import Instant
from services.intake.evidence.domain import State

Hash = Annotated[str, Path(pattern=r"^[0-9a-f]{64}$")]


class FileView(BaseModel):
    """An uploaded file. To cite it, give an evidence its `sha256` as `file`.

    `cited_at` are the pointers of the evidence in the draft that cites it; `frozen` says that a submitted version does.
    `warnings` say what in its name looks like a resident's. A reviewer sees the pointers of the submitted version.
    """

    sha256: str
    name: str
    type: str
    bytes: int
    criterion: str
    address: str
    uploaded_by: str | None
    """A person id; null to a reviewer."""
    uploaded_at: Instant
    cited_at: list[str]
    frozen: bool
    warnings: list[str]


class FilesView(BaseModel):
    """An application's files, and how many more there may be: files, and bytes of all together.

    The oldest first; to a reviewer, in the order in which they are cited, and there may be no more.
    """

    files: list[FileView]
    files_left: int
    bytes_left: int


class UploadView(BaseModel):
    """A file that is coming: `received` of its `length` bytes are here. `sha256` is of the file that it became."""

    upload: str
    name: str
    length: int
    received: int
    expires: Instant
    sha256: str | None


class LinkView(BaseModel):
    """A link of the draft or, to a reviewer, of the submitted version, with what the last look at it found.

    `broken`: it leads nowhere. `unclear`: the server answers otherwise to programs than to people, or the link begins
    with http://, which is not looked at. `title` is the page's when it was last reachable, at `seen_at`.
    """

    url: str
    cited_at: list[str]
    state: State
    status: int | None
    reason: str
    title: str
    checked_at: Instant | None
    seen_at: Instant | None


class LinksView(BaseModel):
    """The links in the order of their first citation."""

    links: list[LinkView]
