"""A whole cycle's applications as CSV, JSON Lines or a workbook, streamed: at no time are all of them in memory."""

from __future__ import annotations

import asyncio
import csv
from io import StringIO
from tempfile import TemporaryFile
from typing import IO, TYPE_CHECKING, Any, Literal, TypeAlias

import xlsxwriter

from services.intake.exchange.domain import flat, headings, inert
from services.intake.exchange.forms import SubmittedLine
from services.intake.exchange.workbook import CELL, kept

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from concurrent.futures import Executor

    from schemas.charter import Charter

Pages: TypeAlias = "AsyncIterator[list[dict[str, Any]]]"
"""Stored versions, some at a time."""
Format = Literal["csv", "xlsx", "jsonl"]

MEDIA: dict[Format, str] = {
    "csv": "text/csv; charset=utf-8",
    "xlsx": "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
    "jsonl": "application/jsonl",
}
CHUNK = 1 << 18
CUT = " … (cut: whole in the JSON Lines export)"


def line(row: dict[str, Any]) -> SubmittedLine:
    """A stored version as a line of an export."""
    return SubmittedLine(**row["content"], **{name: value for name, value in row.items() if name != "content"})


async def lines(pages: Pages) -> AsyncIterator[bytes]:
    """JSON Lines: exactly what was submitted."""
    async for page in pages:
        yield b"".join(line(row).model_dump_json().encode() + b"\n" for row in page)


async def comma_separated(pages: Pages, charter: Charter) -> AsyncIterator[bytes]:
    """CSV (RFC 4180) in UTF-8, a row per application; see `inert`."""
    yield _csv([headings(charter)])
    async for page in pages:
        yield _csv([[inert(text) for text in _flat(row, charter)] for row in page])


def _csv(rows: list[list[str]]) -> bytes:
    made = StringIO()
    csv.writer(made).writerows(rows)
    return made.getvalue().encode()


async def workbook(pages: Pages, charter: Charter, worker: Executor) -> AsyncIterator[bytes]:
    """One sheet, a row per application. Made in a file, since a workbook can be read only once it is whole."""
    loop = asyncio.get_running_loop()
    with TemporaryFile() as file:
        book = _Table(file, charter)
        async for page in pages:
            await loop.run_in_executor(worker, book.add, page)
        await loop.run_in_executor(worker, book.close)
        file.seek(0)
        while chunk := await loop.run_in_executor(worker, file.read, CHUNK):
            yield chunk


class _Table:
    """The workbook under way: a row is on the disk as soon as the next one begins."""

    def __init__(self, file: IO[bytes], charter: Charter) -> None:
        self._book = xlsxwriter.Workbook(file, {"constant_memory": True})
        self._sheet = self._book.add_worksheet("Applications")
        self._look = self._book.add_format({"num_format": "@"})
        self._charter = charter
        self._rows = 0
        self._write(headings(charter))

    def add(self, page: list[dict[str, Any]]) -> None:
        for row in page:
            self._write(_flat(row, self._charter))

    def _write(self, texts: list[str]) -> None:
        for column, text in enumerate(texts):
            if text:
                self._sheet.write_string(self._rows, column, _fitting(kept(text)), self._look)
        self._rows += 1

    def close(self) -> None:
        self._book.close()


def _fitting(text: str) -> str:
    return text if len(text) <= CELL else text[: CELL - len(CUT)] + CUT


def _flat(row: dict[str, Any], charter: Charter) -> list[str]:
    return flat(line(row).model_dump(mode="json"), charter)
