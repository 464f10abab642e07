"""Files as people have them, made small, and some that nobody should be sent."""

from __future__ import annotations

import io
import struct
import zlib
from zipfile import ZIP_DEFLATED, ZIP_STORED, ZipFile

PDF = b"%PDF-1.7\n1 0 obj\n<<>>\nendobj\ntrailer\n<<>>\n%%EOF\n"
PNG = b"\x89PNG\r\n\x1a\n" + b"\x00" * 40
JPEG = b"\xff\xd8\xff\xe0\x00\x10JFIF\x00" + b"\x00" * 20
CSV = "district,requests\nNörth,12\n東京,7\n".encode()

_MAIN = {
    "xlsx": "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet.main+xml",
    "docx": "application/vnd.openxmlformats-officedocument.wordprocessingml.document.main+xml",
    "pptx": "application/vnd.openxmlformats-officedocument.presentationml.presentation.main+xml",
    "xlsm": "application/vnd.ms-excel.sheet.macroEnabled.main+xml",
}


def office(kind: str, parts: dict[str, bytes] | None = None, *, method: int = ZIP_DEFLATED) -> bytes:
    """An office file with these parts besides the one that says what it is."""
    types = f'<Types><Override PartName="/main.xml" ContentType="{_MAIN[kind]}"/></Types>'
    return archive({"[Content_Types].xml": types.encode(), "main.xml": b"<x/>", **(parts or {})}, method=method)


def archive(parts: dict[str, bytes], *, method: int = ZIP_DEFLATED) -> bytes:
    """A zip archive."""
    made = io.BytesIO()
    with ZipFile(made, "w", method) as file:
        for name, content in parts.items():
            file.writestr(name, content)
    return made.getvalue()


def lying(size: int) -> bytes:
    """An office file with a part that unpacks to `size` bytes and says that it unpacks to ten."""
    content = b"\x00" * size
    honest = office("docx", {"bomb.bin": content})
    said, crc = struct.pack("<I", size), zlib.crc32(content)
    assert honest.count(said) >= 2
    return honest.replace(said, struct.pack("<I", 10)).replace(
        struct.pack("<I", crc), struct.pack("<I", zlib.crc32(content[:10]))
    )


def overlapping(times: int) -> bytes:
    """An office file whose list of contents names one part many times."""
    file = office("docx", {"part.bin": b"\x00" * 100_000}, method=ZIP_STORED)
    end = file.rindex(b"PK\x05\x06")
    at, size = struct.unpack("<I", file[end + 16 : end + 20])[0], struct.unpack("<I", file[end + 12 : end + 16])[0]
    directory = file[at : at + size]
    last = directory[directory.rindex(b"PK\x01\x02") :]
    more = directory + last * times
    count = struct.pack("<H", 3 + times)
    tail = b"PK\x05\x06" + b"\x00" * 4 + count + count + struct.pack("<II", len(more), at) + b"\x00\x00"
    return file[:at] + more + tail
