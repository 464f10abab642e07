"""A zip whose bytes follow from its files alone: `pack` makes it, `unpack` accepts nothing that `pack` would not make.

Names are sorted, times and attributes fixed. Files are stored, not deflated: zlib's versions and replacements compress
the same bytes differently, and an archive that only its maker's machine can rebuild cannot be compared. Whoever sends
it can compress it on the way. `manifest.json`, canonical JSON, names every other file with its SHA-256. Pure, no I/O.
"""

from __future__ import annotations

import io
import re
import zipfile
from hashlib import sha256
from typing import TYPE_CHECKING, Final

from schemas.canonical import canonical

if TYPE_CHECKING:
    from collections.abc import Mapping

MANIFEST: Final = "manifest.json"
BYTES_LIMIT: Final = 2**31
FILES_LIMIT: Final = 65_000
"""Below what a zip holds without its 64-bit extension."""

_PATH = re.compile(r"(?!.*(?:^|/)\.{1,2}(?:/|$))[A-Za-z0-9._-]+(?:/[A-Za-z0-9._-]+)*")
_EPOCH = (1980, 1, 1, 0, 0, 0)
_UNIX = 3
_PLAIN_FILE = 0o100644 << 16


class ArchiveError(ValueError):
    """Bytes that `pack` did not make; names the first thing that differs."""


def pack(files: Mapping[str, bytes]) -> bytes:
    """The archive of `files` (relative path to content) and their manifest. ValueError for a path that is not plain."""
    for name in files:
        if not _PATH.fullmatch(name) or name == MANIFEST:
            raise ValueError(f"{name!r} cannot be a file of an archive")
    manifest = canonical({"files": {name: sha256(content).hexdigest() for name, content in files.items()}})
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_STORED, allowZip64=False) as archive:
        for name, content in sorted({**files, MANIFEST: manifest}.items()):
            entry = zipfile.ZipInfo(name, _EPOCH)
            entry.create_system = _UNIX
            entry.external_attr = _PLAIN_FILE
            archive.writestr(entry, content)
    return out.getvalue()


def unpack(raw: bytes, *, most_bytes: int = BYTES_LIMIT, most_files: int = FILES_LIMIT) -> dict[str, bytes]:
    """The files of an archive without its manifest, so that `pack(unpack(raw)) == raw`; ArchiveError otherwise."""
    if len(raw) > most_bytes:
        raise ArchiveError(f"the archive has {len(raw):,} bytes, {most_bytes:,} are allowed")
    try:
        with zipfile.ZipFile(io.BytesIO(raw)) as archive:
            entries = archive.infolist()
            _refuse_traps(entries, len(raw), most_files)
            files = {entry.filename: archive.read(entry) for entry in entries}
    except ArchiveError:
        raise
    except Exception as error:  # zipfile raises a dozen kinds for broken bytes
        raise ArchiveError(f"not a readable zip: {error}") from error
    manifest = files.pop(MANIFEST, None)
    if manifest is None:
        raise ArchiveError(f"{MANIFEST} is missing")
    again = pack(files)
    if again != raw:
        raise ArchiveError(_difference(raw, again, files, manifest))
    return files


def _refuse_traps(entries: list[zipfile.ZipInfo], size: int, most_files: int) -> None:
    """Look at the directory before any content is read: bombs, overlaps, names given twice, paths that lead outside."""
    if len(entries) > most_files:
        raise ArchiveError(f"the archive has {len(entries):,} files, {most_files:,} are allowed")
    seen: set[str] = set()
    for entry in entries:
        if not _PATH.fullmatch(entry.filename):
            raise ArchiveError(f"{entry.filename!r} is no plain relative path")
        if entry.filename in seen:
            raise ArchiveError(f"{entry.filename} is there twice")
        seen.add(entry.filename)
        if entry.compress_type != zipfile.ZIP_STORED or entry.file_size != entry.compress_size:
            raise ArchiveError(f"{entry.filename} is compressed: every file is stored")
    if sum(entry.file_size for entry in entries) > size:
        raise ArchiveError("the files are larger than the archive that holds them")


def _difference(raw: bytes, again: bytes, files: dict[str, bytes], manifest: bytes) -> str:
    rebuilt = canonical({"files": {name: sha256(content).hexdigest() for name, content in files.items()}})
    if manifest != rebuilt:
        for name, content in sorted(files.items()):
            if f'"{name}":"{sha256(content).hexdigest()}"'.encode() not in manifest:
                return f"{name} does not have the SHA-256 that {MANIFEST} states"
        return f"{MANIFEST} is not the manifest of the other files"
    at = next((at for at, (a, b) in enumerate(zip(raw, again, strict=False)) if a != b), min(len(raw), len(again)))
    return f"byte {at:,} of the archive is not what its files make: rebuilt, it has {len(again):,} bytes"
