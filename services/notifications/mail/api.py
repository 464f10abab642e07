"""Letters over HTTP: for their readers, to want no more of them; for the program, what became of each."""

from __future__ import annotations

from typing import Annotated, Literal

from fastapi import APIRouter, Path, Query
from fastapi.responses import HTMLResponse
from pydantic import BaseModel

from schemas.envelope import Instant
from services.chassis.database import Connection
from services.chassis.problems import not_found
from services.chassis.web import Asked, CommandRoute, Reading, SignedIn, Writing
from services.notifications import store
from services.notifications.mail import queue
from services.notifications.mail.domain import Kind, State
from services.notifications.mail.letter import language_of, stop_page

router = APIRouter(route_class=CommandRoute)

PAGE = 100
Token = Annotated[str, Path(pattern=r"^[0-9a-f]{32}$")]
Cursor = Annotated[int | None, Query(ge=1, le=2**63 - 1)]


class LetterView(BaseModel):
    """A letter, without its address and what it says. `why` is the mail server's status, or why it was not sent."""

    mail: str
    event: str
    """What it tells of."""
    kind: Kind
    about: str
    """An application; of an invitation, who it is for on the program's list."""
    cycle: str
    state: State
    why: str
    tries: int
    at: Instant | None


class Letters(BaseModel):
    """Newest first. `next` is the cursor of the following page, None on the last."""

    items: list[LetterView]
    next: int | None


@router.get("/mail")
async def list_letters(
    db: Reading, who: SignedIn, state: Literal["pending", "sent", "failed"] | None = None, cursor: Cursor = None
) -> Letters:
    """What became of letters: for program-admin and auditors."""
    who.require("program-admin", "auditor")
    rows = await queue.letters(db, cursor, PAGE, state)
    return Letters(
        items=[LetterView.model_validate(dict(row)) for row in rows],
        next=rows[-1]["position"] if len(rows) == PAGE else None,
    )


@router.get("/mail/stop/{token}", response_class=HTMLResponse)
async def ask_to_stop(token: Token, db: Reading) -> HTMLResponse:
    """The page that a letter's link leads to. It changes nothing: scanners of mail follow links, too."""
    cycle, stopped = await _known(db, token)
    return await _page(db, cycle, stopped=stopped)


@router.post("/mail/stop/{token}", response_class=HTMLResponse)
async def stop_letters(token: Token, tx: Writing, service: Asked) -> HTMLResponse:
    """Want no more reminders and invitations at this address: by the page's button, or by one click (RFC 8058)."""
    cycle, _ = await _known(tx.db, token)
    await queue.stop(tx.db, token, service.clock.machine.now())
    return await _page(tx.db, cycle, stopped=True)


async def _known(db: Connection, token: str) -> tuple[str, bool]:
    found = await queue.stopping(db, token)
    if found is None:
        raise not_found()
    return found


async def _page(db: Connection, name: str, *, stopped: bool) -> HTMLResponse:
    cycle = await store.load_cycle(db, name)
    return HTMLResponse(stop_page(language_of(cycle.charter) if cycle else "en", stopped=stopped))
