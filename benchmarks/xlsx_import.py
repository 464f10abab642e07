"""`xlsx-import`: applications of 7 kB as spreadsheet forms over HTTP, beside reading the same cells and one UPDATE.

The server is a process of its own, `cec run intake` with one route more, so that its peak memory is what importing
takes. Reported beside the ratio: how long 500 of them take, and that peak (VmHWM).
"""

from __future__ import annotations

import asyncio
import gc
import time
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING

import httpx
import uvloop
from fastapi import APIRouter, Request
from python_calamine import CalamineWorkbook

from benchmarks.applicants import document, prepared
from benchmarks.harness import Ground, Result, result
from benchmarks.serving import serve, serving
from schemas.charter import Charter
from services.chassis import logs
from services.intake.applications.drafts import Draft
from services.intake.exchange import form
from services.intake.exchange.workbook import written

if TYPE_CHECKING:
    from collections.abc import Callable

    from benchmarks.applicants import Stand
    from benchmarks.serving import Pool

APPLICATIONS = 500


async def run(ground: Ground, *, count: int, rounds: int) -> list[Result]:
    """Compare imports of as many forms, each another one, in forms per second."""
    number = min(count, APPLICATIONS)
    async with serving(ground, "benchmarks.xlsx_import") as server:
        stand = await prepared(server)
        forms = [_form(stand.charter, index) for index in range(number)]
        before = _peak(server.pid)
        ours: list[float] = []
        by_hand: list[float] = []
        for _ in range(rounds):
            for path, into in (("v1/applications/{}/import.xlsx", ours), ("bare/{}", by_hand)):
                gc.collect()
                into.append(number / await _sent(server.url, stand, f"/intake/{path}", forms))
        longest = f"{number} in {number / min(ours):.1f} s at most, peak {_peak(server.pid)} MiB ({before} before)"
        return [result("xlsx-import", "forms/s", ours, by_hand, note=longest)]


def _form(charter: Charter, number: int) -> bytes:
    """A filled-in form of 7 kB; no two have the same statements."""
    draft = Draft.model_validate(document(charter))
    answers = {
        name: answer.model_copy(update={"statement": f"{number}: {answer.statement}"})
        for name, answer in draft.answers.items()
    }
    sheets = form.rows(draft.model_copy(update={"answers": answers}), charter, "city")
    widths = {name: [20] * len(rows[0]) for name, rows in sheets.items()}
    return written(sheets, widths, dict.fromkeys(sheets, ()))


async def _sent(url: str, stand: Stand, path: str, forms: list[bytes]) -> float:
    """Seconds to have all forms taken, by as many at a time as there are applications."""
    waiting = list(forms)
    start = time.perf_counter()

    async def some(application: str, head: str) -> None:
        fields = dict(line.split(": ", 1) for line in head.split("\r\n") if line)
        headers = {"Authorization": fields["Authorization"], "If-Match": "*", "Content-Type": "application/xlsx"}
        async with httpx.AsyncClient(base_url=url, headers=headers, timeout=120) as http:
            while waiting:
                answer = await http.post(path.format(application), content=waiting.pop())
                if not answer.is_success:
                    raise RuntimeError(answer.text)

    await asyncio.gather(*(some(client.application, client.head) for client in stand.clients))
    return time.perf_counter() - start


def _peak(pid: int) -> int:
    """The most memory that a process had at once, in MiB."""
    status = Path(f"/proc/{pid}/status").read_text(encoding="utf-8")
    lines = dict(line.split(":", 1) for line in status.splitlines())
    return int(lines["VmHWM"].split()[0]) // 1024


# --- the server's process -------------------------------------------------------------------------------------------


def bare(pool: Pool, _: Callable[[], None]) -> APIRouter:
    """The route that does the same by hand: all cells, in a thread, and one UPDATE with them."""
    router = APIRouter(prefix="/bare")

    @router.post("/{application}")
    async def take(application: str, request: Request) -> dict[str, int]:
        sheets = await asyncio.to_thread(_cells, await request.body())
        row = "insert into bare.form values ($1, $2) on conflict (application) do update set cells = excluded.cells"
        await pool.execute(row, application, sheets)
        return {"rows": sum(map(len, sheets.values()))}

    return router


def _cells(content: bytes) -> dict[str, list[list[object]]]:
    with CalamineWorkbook.from_filelike(BytesIO(content)) as book:
        return {name: [list(row) for row in book.get_sheet_by_name(name).to_python()] for name in book.sheet_names}


TABLES = "create schema bare; create table bare.form (application text primary key, cells jsonb not null)"


if __name__ == "__main__":
    logs.configure("error")
    uvloop.run(serve(bare, TABLES))
