"""The rules of evidence: what may be uploaded, removed and cited, and what a look at a link says. Pure."""

from __future__ import annotations

import binascii
import re
from base64 import b64decode
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from hashlib import sha256
from html import unescape
from typing import Final, Literal

from schemas.applications import File
from schemas.charter import Charter
from services.chassis.refusal import RefusedError, Violation, pointer
from services.intake.applications import residents
from services.intake.applications.findings import Warned
from services.intake.applications.residents import Own
from services.intake.applications.sections import Document, home
from services.intake.evidence.content import KINDS

NAME_LIMIT: Final = 200
"""Characters of a file's name."""
_NAME = re.compile(r"[^\x00-\x1f\x7f-\x9f/\\\u2028\u2029]+")
_TURNING = re.compile("[\u202a-\u202e\u2066-\u2069]")
"""What makes the end of a name look like another one."""

# --- files ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Allowance:
    """What one application may hold: kinds by name, bytes of one file, files, bytes of all of them."""

    kinds: frozenset[str]
    file_bytes: int
    files: int
    total_bytes: int


@dataclass(frozen=True)
class Upload:
    """A file that is coming: `received` of its `length` bytes are here. `sha256` is of the file that it became."""

    upload: str
    application: str
    name: str
    kind: str
    criterion: str
    length: int
    received: int
    person: str
    expires: datetime
    sha256: str | None = None


@dataclass(frozen=True)
class Kept:
    """An application's file. It is frozen once a submitted version cites it."""

    sha256: str
    name: str
    type: str
    bytes: int
    criterion: str
    person: str
    at: datetime
    frozen: bool

    @property
    def file(self) -> File:
        """What an event says of it."""
        return File(sha256=self.sha256, name=self.name, type=self.type, bytes=self.bytes)


def metadata(header: str) -> dict[str, str]:
    """The pairs of an Upload-Metadata (tus 1.0): names, and values in base64; RefusedError (400) where it is none."""
    pairs = [pair.split(" ") for pair in header.strip().split(",")] if header.strip() else []
    try:
        return {
            name.strip(): b64decode(" ".join(value).strip(), validate=True).decode()
            for name, *value in (list(filter(None, pair)) for pair in pairs)
        }
    except (ValueError, binascii.Error) as error:
        detail = 'Upload-Metadata has pairs such as "filename bWFwLnBkZg==", the value in base64, with commas between.'
        raise RefusedError("upload-metadata", detail, status=400) from error


def named(told: Mapping[str, str], charter: Charter, allowed: frozenset[str]) -> tuple[str, str, str]:
    """(name, kind, criterion) of a file to come; RefusedError (422) for what cannot be taken."""
    name, declared, criterion = told.get("filename", ""), told.get("filetype", ""), told.get("criterion", "")
    wrong = []
    if not (_NAME.fullmatch(name) and name.strip(". ") and len(name) <= NAME_LIMIT) or _TURNING.search(name):
        detail = f"A file has a name of 1 to {NAME_LIMIT} printable characters without slashes: send filename."
        wrong.append(Violation("file-name", detail))
    kind = next((one for one in KINDS if one in allowed and name.lower().endswith(KINDS[one].endings)), None)
    if kind is None:
        detail = f"Only files whose names end in {', '.join(_endings(allowed))} are taken."
        wrong.append(Violation("file-kind", detail))
    elif declared.partition(";")[0].strip().lower() not in {"", KINDS[kind].type}:
        detail = f"A name that ends like this is of {KINDS[kind].type}, not of {declared}: send no filetype, or that."
        wrong.append(Violation("file-kind", detail))
    if criterion and criterion not in {one.id for area in charter.areas for one in area.criteria}:
        wrong.append(Violation("unknown-criterion", f"{criterion!r} is no criterion of the charter."))
    if wrong or kind is None:
        raise RefusedError.all(wrong)
    return name, kind, criterion


def _endings(allowed: frozenset[str]) -> list[str]:
    return [ending for name, kind in KINDS.items() if name in allowed for ending in kind.endings]


def must_have_room(length: int, held: Sequence[int], allowance: Allowance) -> None:
    """RefusedError for a file of so many bytes beside those that the application holds or that are coming."""
    if length < 1:
        raise RefusedError("empty-file", "A file has at least one byte.", status=422)
    if length > allowance.file_bytes:
        detail = f"The file has {length:,} bytes, {allowance.file_bytes:,} are allowed."
        raise RefusedError("file-too-large", detail, status=413)
    if len(held) >= allowance.files:
        detail = f"There are {len(held)} files, {allowance.files} are allowed: remove one that no answer cites."
        raise RefusedError("too-many-files", detail)
    if sum(held) + length > allowance.total_bytes:
        left = max(0, allowance.total_bytes - sum(held))
        detail = f"{left:,} bytes are left for all files together: remove one that no answer cites."
        raise RefusedError("files-too-large", detail, status=413)


def must_continue(upload: Upload, offset: int, now: datetime) -> None:
    """RefusedError unless the upload goes on from here."""
    if upload.expires <= now:
        raise RefusedError("upload-expired", "This upload took too long: begin it anew.", status=410)
    if upload.sha256 is not None or offset != upload.received:
        detail = f"{upload.received} of {upload.length} bytes are here: ask with HEAD, and go on from there."
        raise RefusedError("upload-offset", detail)


def must_be_removable(kept: Kept, cited: Sequence[str]) -> None:
    """RefusedError for a file that a submitted version cites, or the draft at these places."""
    if kept.frozen:
        raise RefusedError("frozen", "A submitted version cites this file: it stays as long as that version does.")
    if cited:
        detail = f"The draft cites this file at {', '.join(cited)}: take it out there first."
        raise RefusedError("cited", detail)


# --- citations ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Citation:
    """An evidence in a draft: its pointer, the link and the SHA-256 of the file; either may be empty."""

    field: str
    url: str
    file: str


def citations(content: Document) -> Iterator[Citation]:
    """The evidence in a draft's document, in a section's content, or in a version, which says more of a file."""
    for criterion, answer in content.get("answers", {}).items():
        for number, one in enumerate(answer.get("evidence", [])):
            field = pointer(("answers", criterion, "evidence", number))
            file = one.get("file") or ""
            yield Citation(field, one.get("url", ""), file["sha256"] if isinstance(file, dict) else file)


def must_be_uploaded(cited: Sequence[Citation], files: Mapping[str, object]) -> None:
    """RefusedError (422) for a citation of a file that is not there."""
    wrong = [
        Violation(
            "unknown-file", "No such file was uploaded for this application: upload it first.", f"{one.field}/file"
        )
        for one in cited
        if one.file and one.file not in files
    ]
    if wrong:
        raise RefusedError.all(wrong)


def names_of_residents(name: str, own: Own = Own()) -> list[str]:  # noqa: B008  (frozen)
    """What in a file's name looks like a resident's, in words."""
    stem = name.rpartition(".")[0].replace("_", " ")
    return [f"“{found.text}” looks like a {found.kind}" for found in residents.found(stem, own)]


def doubts(
    content: Document,
    charter: Charter,
    files: Mapping[str, Kept] | Mapping[str, File],
    broken: Mapping[str, str],
    own: Own,
) -> list[Warned]:
    """What to look at again before a submission: files with residents' data in their names, links that lead nowhere.

    `broken` has the reason by link.
    """
    found = []
    for one in citations(content):
        section = home(one.field, charter)
        told: list[tuple[str, str, str]] = []
        if one.file in files:
            name = files[one.file].name
            told += [
                ("residents-data", f"{name}\n{doubt}", f"The file {name}: {doubt}.")
                for doubt in names_of_residents(name, own)
            ]
        if one.url in broken:
            told.append(("broken-link", one.url, f"This link leads nowhere: {broken[one.url]}."))
        for rule, what, detail in told:
            digest = sha256(f"{rule}\n{what}".encode()).hexdigest()[:16]
            found.append(Warned(f"{section}:{digest}", rule, detail, one.field))
    return found


# --- links ----------------------------------------------------------------------------------------------------------

State = Literal["unchecked", "reachable", "unclear", "broken"]

_WARY = frozenset({401, 403, 405, 406, 407, 408, 425, 429})
"""What servers say to programs of pages that people can read."""
_TITLE_LIMIT: Final = 300
_CHARSET = re.compile(r"charset=[\"']?([\w-]{1,40})")


@dataclass(frozen=True)
class Look:
    """What a look at a link found. `status` is the server's, None where none answered; `reason` is for people."""

    state: State
    status: int | None = None
    reason: str = ""
    title: str = ""


def judged(status: int, title: str) -> Look:
    """What an answer with this status says of a link."""
    if 200 <= status < 300:  # noqa: PLR2004  (HTTP: success)
        return Look("reachable", status, "", title)
    if status in _WARY or status >= 500:  # noqa: PLR2004  (HTTP: the server's own errors)
        return Look("unclear", status, f"the server answers with status {status}: look at it yourself")
    return Look("broken", status, f"the server answers with status {status}")


def next_look(look: Look, failures: int, every: timedelta) -> timedelta:
    """After how long to look again; `failures` counts looks in a row at which it was broken."""
    if look.state == "broken":
        return min(timedelta(hours=2 ** min(failures - 1, 10)), timedelta(days=1), every)
    return min(timedelta(days=1), every) if look.state == "unclear" and look.status else every


def title_of(content_type: str, body: bytes) -> str:
    """The title of a page of HTML, in one line of printable characters; empty where there is none."""
    media, _, parameters = content_type.lower().partition(";")
    if media.strip() not in {"text/html", "application/xhtml+xml"}:
        return ""
    # By hand, in one pass: a parser can be made to take its time by a page that is made for it.
    text = _decoded(parameters, body)
    lower = text.lower()
    begin = lower.find(">", at) + 1 if (at := lower.find("<title")) >= 0 else 0
    end = lower.find("</title", begin)
    if not begin or end < 0:
        return ""
    line = " ".join(unescape(text[begin:end]).split())
    return "".join(character for character in line if character.isprintable())[:_TITLE_LIMIT]


def _decoded(parameters: str, body: bytes) -> str:
    told = _CHARSET.search(parameters) or _CHARSET.search(body[:1_024].decode("ascii", errors="replace").lower())
    try:
        return body.decode(told[1] if told else "utf-8", errors="replace")
    except (LookupError, ValueError):
        return body.decode(errors="replace")
