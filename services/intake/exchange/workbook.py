"""Workbooks (XLSX): text that stays text on its way out, and strangers' files read in bounded memory.

What comes in is unpacked here, within bounds that no header can talk about, and looked through by an XML parser that
takes no document type; the reader gets what passed. Cells are text. Of what a workbook cannot hold, a text that looks
like one of its escapes (`_x000D_`) goes out with an invisible joiner (U+2060) that is taken away when it comes back.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from datetime import date, time
from io import BytesIO
from typing import TYPE_CHECKING, Any, NoReturn
from xml.sax.handler import ContentHandler
from zipfile import ZIP_DEFLATED, ZIP_STORED, ZipFile, ZipInfo

import xlsxwriter
from defusedxml import sax
from python_calamine import CalamineWorkbook

if TYPE_CHECKING:
    from xml.sax.xmlreader import AttributesImpl

Rows = list[list[str]]

BYTES = 8_000_000
"""Of all parts together, unpacked: a draft has at most 540,000, which XML makes five times as many."""
PARTS = 200
ELEMENTS = 200_000
ROWS, COLUMNS = 5_000, 100
CELL = 32_767
"""Characters that a cell holds."""

JOINER = "\u2060"
_LOOKS_ESCAPED = re.compile(f"_(?={JOINER}*x[0-9A-Fa-f]{{4}}_)")
_JOINED = re.compile(f"_{JOINER}(?={JOINER}*x[0-9A-Fa-f]{{4}}_)")
_UNREAD = ("xl/calcChain", "xl/charts/", "xl/comments", "xl/drawings/", "xl/externalLinks/", "xl/theme/")
_NONCHARACTER = re.compile("_x(FFF[EF])_")
_PLACE = re.compile(r"([A-Za-z]*)([0-9]{1,9})")


class WorkbookError(ValueError):
    """A file that is no workbook, or one that takes more than is given; the message says which."""


def kept(text: str) -> str:
    """A text as it goes into a cell."""
    return _LOOKS_ESCAPED.sub("_" + JOINER, text)


def read(content: bytes, names: Iterable[str]) -> dict[str, Rows]:
    """The cells of the sheets with these names, of those that are there."""
    try:
        with CalamineWorkbook.from_filelike(BytesIO(_unpacked(content))) as book:
            return {
                name: [[_text(cell) for cell in row] for row in book.get_sheet_by_name(name).to_python(False)]  # noqa: FBT003  (cells are counted from A1)
                for name in names
                if name in book.sheet_names
            }
    except WorkbookError:
        raise
    except BaseException as error:  # what the reader, which is no Python, gives up with is no Exception
        raise WorkbookError("This is no workbook that can be read: save it as .xlsx and send that.") from error


def _text(cell: object) -> str:
    match cell:
        case str():
            found = _NONCHARACTER.sub(lambda match: chr(int(match[1], 16)), cell)
            return _JOINED.sub("_", found).replace("\0", "")
        case bool():
            return "yes" if cell else "no"
        case float():
            return str(int(cell)) if cell.is_integer() else repr(cell)
        case date() | time():
            return cell.isoformat()
    return str(cell)


def _unpacked(content: bytes) -> bytes:
    """The workbook's XML in a new archive without compression."""
    bounded, bounds, left = BytesIO(), _Bounds(), BYTES
    with ZipFile(BytesIO(content)) as given, ZipFile(bounded, "w") as into:
        parts = {part.filename: part for part in given.infolist()}
        if len(parts) != len(given.infolist()) or len(parts) > PARTS:
            raise WorkbookError(f"The workbook has parts twice, or more than {PARTS}.")
        for name, part in parts.items():
            if _is_wanted(part):
                with given.open(part) as stream:
                    text = stream.read(left + 1)
                left -= len(text)
                if left < 0:
                    raise WorkbookError(f"Unpacked, the workbook has more than {BYTES:,} bytes.")
                sax.parseString(text, bounds, forbid_dtd=True)
                into.writestr(name, text)
    return bounded.getvalue()


def _is_wanted(part: ZipInfo) -> bool:
    if part.compress_type not in {ZIP_STORED, ZIP_DEFLATED}:
        raise WorkbookError("The workbook is packed in an unusual way: save it as .xlsx and send that.")
    name = part.filename
    at_home = name == "[Content_Types].xml" or name.startswith(("_rels/", "xl/"))
    return at_home and name.endswith((".xml", ".rels")) and not name.startswith(_UNREAD)


class _Bounds(ContentHandler):
    """Counts: a reader makes room for all cells from the first to the last, so that two can take a machine's memory."""

    def __init__(self) -> None:
        super().__init__()
        self._elements = 0

    def startDocument(self) -> None:  # noqa: N802  (as SAX calls it)
        self._row = self._column = 0

    def startElement(self, name: str, attrs: AttributesImpl) -> None:  # noqa: N802  (as SAX calls it)
        self._elements += 1
        row = 0
        match name.rpartition(":")[2]:
            case "row":
                # Without cells, the last row of all is harmless, and some programs write it.
                self._row, self._column = self._place(attrs)[1] or self._row + 1, 0
            case "c":
                column, row = self._place(attrs)
                self._column, row = column or self._column + 1, row or self._row
        if self._elements > ELEMENTS or row > ROWS or self._column > COLUMNS:
            self._refuse()

    def _place(self, attrs: AttributesImpl) -> tuple[int, int]:
        """(column, row) that an element names; 0 for what it does not name. A reader may take anything else for it."""
        name = attrs.get("r", "")
        place = _PLACE.fullmatch(name)
        if place is None:
            return (0, 0) if not name else self._refuse()
        return _number(place[1]), int(place[2])

    def _refuse(self) -> NoReturn:
        raise WorkbookError(
            f"The workbook has more than {ROWS:,} rows, {COLUMNS} columns or {ELEMENTS:,} elements: send the form."
        )


def _number(letters: str) -> int:
    """The number of a column, from 1."""
    number = 0
    for letter in letters.upper()[:4]:
        number = number * 26 + ord(letter) - 64
    return number


def letter(number: int) -> str:
    """The name of a column, from 1: A to ZZ."""
    before, last = divmod(number - 1, 26)
    return (chr(64 + before) if before else "") + chr(65 + last)


def written(
    sheets: Mapping[str, Rows], widths: Mapping[str, Sequence[int]], asked: Mapping[str, Sequence[int]]
) -> bytes:
    """A workbook of these sheets, each with its headings first; the columns that are `asked` (from 0) are marked."""
    content = BytesIO()
    book = xlsxwriter.Workbook(content, {"in_memory": True})
    look: dict[str, Any] = {"num_format": "@", "text_wrap": True, "valign": "top"}
    heading = book.add_format({**look, "bold": True, "bottom": 1})
    told = book.add_format({**look, "font_color": "#444444"})
    open_to_fill = book.add_format({**look, "bg_color": "#FFF9DB", "border": 4})
    for name, rows in sheets.items():
        sheet = book.add_worksheet(name)
        sheet.freeze_panes(1, 1)
        for column, width in enumerate(widths[name]):
            sheet.set_column(column, column, width)
        for number, row in enumerate(rows):
            for column, text in enumerate(row):
                look_of = heading if number == 0 else open_to_fill if column in asked[name] else told
                # As a string whatever it begins with: nothing that somebody wrote is ever a formula or a link.
                if text:
                    sheet.write_string(number, column, kept(text), look_of)
                else:
                    sheet.write_blank(number, column, None, look_of)
    book.close()
    return content.getvalue()
