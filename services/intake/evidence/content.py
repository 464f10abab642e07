"""What a file is, by its content alone: never by its name, and never unpacked.

Six kinds are told apart here, and everything else is refused. An office file is a zip archive whose list of contents
says what it holds. Before that list is believed in, it must be small; what it says the file unpacks to is bounded; and
each entry is inflated into nothing, to see that it is no longer than it says.
"""

from __future__ import annotations

import re
import struct
import zlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, BinaryIO, Final
from zipfile import ZIP_DEFLATED, ZIP_STORED, BadZipFile, ZipFile

from services.chassis.refusal import RefusedError

if TYPE_CHECKING:
    from zipfile import ZipInfo


@dataclass(frozen=True)
class Kind:
    """A kind of file: its media type, how its names end, and what its content must be found to be."""

    type: str
    endings: tuple[str, ...]
    content: str


KINDS: Final = {
    "pdf": Kind("application/pdf", (".pdf",), "a PDF document"),
    "png": Kind("image/png", (".png",), "a PNG picture"),
    "jpeg": Kind("image/jpeg", (".jpg", ".jpeg"), "a JPEG picture"),
    "csv": Kind("text/csv", (".csv",), "text"),
    "txt": Kind("text/plain", (".txt",), "text"),
    "xlsx": Kind("application/vnd.openxmlformats-officedocument.spreadsheetml.sheet", (".xlsx",), "an Excel workbook"),
    "docx": Kind(
        "application/vnd.openxmlformats-officedocument.wordprocessingml.document", (".docx",), "a Word document"
    ),
    "pptx": Kind(
        "application/vnd.openxmlformats-officedocument.presentationml.presentation",
        (".pptx",),
        "a PowerPoint presentation",
    ),
}

_SIGNATURES = ((b"%PDF-", "pdf"), (b"\x89PNG\r\n\x1a\n", "png"), (b"\xff\xd8\xff", "jpeg"))
_ZIP = b"PK\x03\x04"
_BINARY = re.compile(rb"[\x00-\x08\x0b\x0e-\x1f\x7f]")
_MARKUP = re.compile(rb"\s*<(?:!doctype|html|head|body|script|svg|\?xml)", re.IGNORECASE)
_CHUNK = 1 << 16
_DIRECTORY_LIMIT = 1_000_000
"""Bytes of an archive's list of contents, and of what says what an office file holds."""
_DATA_OFFSET, _LOCAL_HEADER = 26, 30
_END, _END_SIZE = b"PK\x05\x06", 22
_LOCATOR64, _LOCATOR64_SIZE = b"PK\x06\x07", 20
_ENCRYPTED = 0x1


def must_be(kind: Kind, file: BinaryIO, room: int) -> None:
    """RefusedError (422) unless the content is of this kind, and unpacks to at most `room` bytes."""
    found = _found(file, room)
    if found != kind.content:
        ending = kind.endings[0]
        detail = f"The content is {found}, not {kind.content}, as a name that ends in {ending} says: nothing was kept."
        raise RefusedError("content-type", detail, status=422)


def _found(file: BinaryIO, room: int) -> str:
    head = file.read(_CHUNK)
    for signature, name in _SIGNATURES:
        if head.startswith(signature):
            return KINDS[name].content
    if head.startswith(_ZIP):
        return _package(file, room)
    if _MARKUP.match(head.removeprefix(b"\xef\xbb\xbf")):
        return "markup that a browser could run"
    file.seek(0)
    while chunk := file.read(_CHUNK):
        if _BINARY.search(chunk):
            return "none of what is taken (text must be UTF-8 or a Windows code page, without control characters)"
    return "text"


def _package(file: BinaryIO, room: int) -> str:
    """What an archive holds, once it is known to be harmless to whoever unpacks it."""
    try:
        size = _directory_fits(file)
        with ZipFile(file) as archive:
            entries = archive.infolist()
            _must_unpack_within(file, entries, size, room)
            if any(entry.filename.lower().endswith("vbaproject.bin") for entry in entries):
                return "an office file with macros"
            declared = next((entry for entry in entries if entry.filename == "[Content_Types].xml"), None)
            if declared is None or declared.file_size > _DIRECTORY_LIMIT:
                return "an archive"
            text = archive.read(declared)
    except (BadZipFile, struct.error, zlib.error, EOFError, NotImplementedError, ValueError) as error:
        raise _bomb("cannot be read as a whole: save it anew") from error
    mains = {kind.content for kind in KINDS.values() if f"{kind.type}.main+xml".encode() in text}
    return mains.pop() if len(mains) == 1 else "an archive"


def _directory_fits(file: BinaryIO) -> int:
    """The file's size. Only the plain form is taken, in which there is one list of contents and everyone finds it."""
    size = file.seek(0, 2)
    file.seek(max(0, size - _END_SIZE - _LOCATOR64_SIZE))
    tail = file.read(_LOCATOR64_SIZE + _END_SIZE)
    end = tail[-_END_SIZE:]
    if not end.startswith(_END) or end[-2:] != b"\x00\x00" or tail.startswith(_LOCATOR64):
        raise _bomb("is an archive of an unusual form: save it anew")
    (directory,) = struct.unpack("<I", end[12:16])
    if directory > _DIRECTORY_LIMIT:
        raise _bomb("holds too many parts")
    file.seek(0)
    return size


def _must_unpack_within(file: BinaryIO, entries: list[ZipInfo], size: int, room: int) -> None:
    if any(entry.flag_bits & _ENCRYPTED or entry.compress_type not in {ZIP_STORED, ZIP_DEFLATED} for entry in entries):
        raise _bomb("is encrypted or compressed in an unusual way: save it without a password")
    declared = sum(entry.file_size for entry in entries)
    if declared > room:
        raise _bomb(f"unpacks to {declared:,} bytes, {room:,} are allowed")
    # Parts that overlap unpack the same bytes again and again.
    if sum(entry.compress_size for entry in entries) > size:
        raise _bomb("holds parts that overlap")
    for entry in entries:
        if _inflated(file, entry) > entry.file_size:
            raise _bomb("unpacks to more than it says")


def _inflated(file: BinaryIO, entry: ZipInfo) -> int:
    """Bytes that an entry unpacks to; counted no further than just beyond what it says."""
    if entry.compress_type == ZIP_STORED:
        return entry.compress_size
    file.seek(entry.header_offset + _DATA_OFFSET)
    names = struct.unpack("<HH", file.read(4))
    file.seek(entry.header_offset + _LOCAL_HEADER + sum(names))
    inflater, left, count = zlib.decompressobj(-zlib.MAX_WBITS), entry.compress_size, 0
    while left > 0 and not inflater.eof and count <= entry.file_size:
        packed = file.read(min(left, _CHUNK))
        if not packed:
            raise EOFError
        left -= len(packed)
        while packed and count <= entry.file_size:
            count += len(inflater.decompress(packed, _CHUNK))
            packed = inflater.unconsumed_tail
    return count


def _bomb(what: str) -> RefusedError:
    return RefusedError("archive", f"The file {what}. Nothing was kept.", status=422)
