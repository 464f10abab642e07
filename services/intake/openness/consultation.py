"""Charters open for comment over HTTP. What was agreed on is frozen by opening a cycle with that very text."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Coroutine
from hashlib import blake2b
from typing import TYPE_CHECKING, Annotated, Any

from fastapi import APIRouter, Query, Request, Response
from fastapi.responses import PlainTextResponse

from schemas.charter import charter_digest
from services.chassis.ids import opaque_id
from services.chassis.problems import Problem, not_found
from services.chassis.web import Anyone, Asked, CommandRoute, Reading, SignedIn, Writing
from services.intake.cycles.domain import parsed
from services.intake.forms import Named
from services.intake.locks import OWNED
from services.intake.openness import store
from services.intake.openness.domain import CharterDraft, Pace, must_be_publishable, must_take_comment
from services.intake.openness.forms import (
    CharterCommentsView,
    CharterCommentView,
    CharterDraftView,
    NewCharterComment,
    NewCharterDraft,
)
from services.intake.people import store as people

if TYPE_CHECKING:
    from datetime import datetime

    from services.chassis.database import Connection
    from services.intake.locks import Lock

COMMENT_BYTES = 32_000
"""Of a comment's request: 5,000 characters with all that JSON makes of them."""

_KEY = secrets.token_bytes(32)
"""So that nobody can tell later from which address a comment came, this process once ended included."""

After = Annotated[str, Query(max_length=64, pattern=r"^[A-Za-z0-9_.-]*$")]
Limit = Annotated[int, Query(ge=1, le=500)]


class BriefRoute(CommandRoute):
    """A command whose body anyone may send: it is bounded before it is read."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """FastAPI's handler, wrapped."""
        handle = super().get_route_handler()

        async def brief(request: Request) -> Response:
            request.state.body_limit = COMMENT_BYTES
            return await handle(request)

        return brief


router = APIRouter(route_class=CommandRoute)
brief = APIRouter(route_class=BriefRoute)


@router.post("/charter-drafts", status_code=201)
async def publish_draft(body: NewCharterDraft, response: Response, tx: Writing, who: SignedIn) -> CharterDraftView:
    """Put a charter out for comment. It is checked like one that a cycle opens with."""
    who.require("program-admin")
    now = tx.clock.now()
    must_be_publishable(body.charter, body.closes_at, now)
    found = CharterDraft(
        draft=opaque_id(),
        title=body.title,
        charter=body.charter,
        charter_sha256=charter_digest(body.charter),
        published_at=now,
        closes_at=body.closes_at,
        comments_public=body.comments_public,
    )
    await store.add_charter_draft(tx.db, found)
    response.headers["Location"] = f"/intake/v1/charter-drafts/{found.draft}"
    return await _view(tx.db, found, now)


@router.get("/charter-drafts")
async def list_drafts(db: Reading, asked: Asked) -> list[CharterDraftView]:
    """The charters that are or were open for comment, the newest first: for anyone."""
    return [await _view(db, one, asked.clock.now()) for one in await store.charter_drafts(db)]


@router.get("/charter-drafts/{draft}")
async def show_draft(draft: Named, db: Reading, asked: Asked) -> CharterDraftView:
    """A charter that is or was open for comment."""
    return await _view(db, await _known(db, draft), asked.clock.now())


@router.get("/charter-drafts/{draft}/charter", response_class=PlainTextResponse)
async def show_text(draft: Named, db: Reading) -> str:
    """The charter's TOML text, exactly as it was given: open a cycle with it, and it is frozen."""
    return (await _known(db, draft)).charter


@brief.post("/charter-drafts/{draft}/comments", status_code=201)
async def comment(  # noqa: PLR0913, RUF100  (what a request has)
    draft: Named, body: NewCharterComment, request: Request, tx: Writing, who: Anyone, asked: Asked
) -> CharterCommentView:
    """Comment on a charter, signed in or not. Who it was is shown to nobody."""
    # Held: of many at once, each counts those before it.
    found, now, settings = await _known(tx.db, draft, OWNED), tx.clock.now(), asked.settings
    person = await people.caller(tx.db, who) if who else None
    source = None if person else blake2b(_host(request).encode(), key=_KEY, digest_size=16).digest()
    own, every = await store.recent_comments(tx.db, draft, person, source)
    pace = Pace(own, settings.comments_hourly, every, settings.comments_hourly_all)
    must_take_comment(found, pace, now)
    name = opaque_id()
    await store.add_comment(tx.db, (name, draft, body.place, body.text, person, source, now))
    return CharterCommentView(comment=name, place=body.place, text=body.text, at=now)


@router.get("/charter-drafts/{draft}/comments")
async def list_comments(
    draft: Named, db: Reading, who: Anyone, asked: Asked, after: After = "", limit: Limit = 100
) -> CharterCommentsView:
    """What was said of a charter: to the program at any time, to anyone after the closing if that was announced."""
    found = await _known(db, draft)
    program = who is not None and bool(who.roles & {"program-admin", "board", "auditor"})
    if not program and not found.readable_at(asked.clock.now()):
        later = "open to read once it is closed" if found.comments_public else "for the program alone"
        raise Problem(403, "comments-not-public", f"The comments on this charter are {later}.")
    lines = await store.charter_comments(db, draft, after, limit + 1)
    views = [CharterCommentView(comment=name, place=place, text=text, at=at) for name, place, text, at in lines]
    return CharterCommentsView(
        draft=draft, comments=views[:limit], next=views[limit - 1].comment if len(views) > limit else None
    )


def _host(request: Request) -> str:
    return request.client.host if request.client else ""


async def _known(db: Connection, name: str, lock: Lock = "") -> CharterDraft:
    found = await store.charter_draft(db, name, lock)
    if found is None:
        raise not_found("There is no such charter open for comment.")
    return found


async def _view(db: Connection, found: CharterDraft, now: datetime) -> CharterDraftView:
    return CharterDraftView(
        draft=found.draft,
        title=found.title,
        program=parsed(found.charter).program.name,
        charter_sha256=found.charter_sha256,
        published_at=found.published_at,
        closes_at=found.closes_at,
        state="open" if found.open_at(now) else "closed",
        comments_public=found.comments_public,
        cycles=await store.cycles_under(db, found.charter_sha256),
    )
