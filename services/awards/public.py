"""What anyone may read, without a token: announcements and the directory of designees.

It reads only what an announcement published: before it a cycle is not found, as if it did not exist.
"""

from __future__ import annotations

from datetime import date
from typing import TYPE_CHECKING, Annotated, Any, Literal

import orjson
from fastapi import APIRouter, Query, Request, Response
from pydantic import BaseModel

from schemas.envelope import b64url, unb64url
from services.awards import rules, store
from services.awards.rendering import Format, document, render
from services.chassis.problems import Problem, not_found
from services.chassis.web import Asked, CommandRoute, Reading

if TYPE_CHECKING:
    from services.awards.domain import Announcement

router = APIRouter(route_class=CommandRoute)

MEDIA: dict[Format, str] = {
    "json": "application/json",
    "text": "text/plain",
    "markdown": "text/markdown",
    "html": "text/html",
}


class AnnouncementListed(BaseModel):
    """An announcement; `simulated`: the scores behind it were drawn, not given."""

    cycle: str
    announced_on: date
    designations: int
    simulated: bool


class Announcements(BaseModel):
    """All announcements, the latest first."""

    items: list[AnnouncementListed]


class DesigneeShown(BaseModel):
    """A designated government; its status is as of program time now, its days are calendar days."""

    designation: str
    cycle: str
    name: str
    state: str
    kind: str
    tier: str | None
    tier_label: str | None
    level: str
    level_name: str
    starts_on: date
    ends_on: date
    """The first day on which it is no longer active."""
    status: Literal["active", "renewal-due", "expired"]
    simulated: bool


class Directory(BaseModel):
    """A page of designees by name; `next` is the `cursor` of the following one, None on the last."""

    as_of: date
    items: list[DesigneeShown]
    next: str | None


@router.get("/announcements")
async def list_announcements(db: Reading) -> Announcements:
    """Every announcement."""
    return Announcements(items=[AnnouncementListed(**row) for row in await store.announcements(db)])


@router.get(
    "/announcements/{cycle}",
    response_class=Response,
    responses={200: {"content": {media: {} for media in MEDIA.values()}}},
)
async def show_announcement(
    cycle: str, request: Request, db: Reading, form: Annotated[Format | None, Query(alias="format")] = None
) -> Response:
    """A cycle's announcement as it was made: as `format` says, else as Accept prefers, else JSON."""
    announcement = await store.load_announcement(db, cycle)
    if announcement is None:
        raise not_found()
    form = form or preferred(request.headers.get("accept", ""))
    if form == "json":
        content: str | bytes = orjson.dumps(_traced(announcement, await store.designees(db, cycle=cycle)))
    else:
        content = render(announcement, form)
    headers = {"Vary": "Accept"}
    if form == "html":
        # The page styles itself and loads nothing; names of governments are escaped.
        headers["Content-Security-Policy"] = "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'"
    return Response(content, media_type=MEDIA[form], headers=headers)


@router.get("/designees")
async def list_designees(
    db: Reading,
    service: Asked,
    cycle: str | None = None,
    state: str | None = None,
    tier: str | None = None,
    limit: Annotated[int, Query(ge=1, le=200)] = 50,
    cursor: str | None = None,
) -> Directory:
    """The directory of all announced designees, past and present."""
    today = service.clock.now().date()
    after = _place(cursor) if cursor is not None else ("", "")
    rows = await store.designees(db, cycle=cycle, state=state, tier=tier, after=after, limit=limit + 1)
    more = (
        b64url(orjson.dumps([rows[limit - 1]["name"], rows[limit - 1]["designation"]])) if len(rows) > limit else None
    )
    return Directory(as_of=today, items=[_entry(row, today) for row in rows[:limit]], next=more)


@router.get("/designees/{designation}")
async def show_designee(designation: str, db: Reading, service: Asked) -> DesigneeShown:
    """One announced designee."""
    row = await store.load_designee(db, designation)
    if row is None:
        raise not_found()
    return _entry(row, service.clock.now().date())


def preferred(accept: str) -> Format:
    """The form that an Accept header (RFC 9110) likes best of those there are; JSON where it names none of them."""
    best: Format = "json"
    quality = 0.0
    for item in accept.split(","):
        media, *parameters = (part.strip().lower() for part in item.split(";"))
        weight = next((parameter[2:] for parameter in parameters if parameter.startswith("q=")), "1")
        for form, name in MEDIA.items():
            if media == name and _number(weight) > quality:
                best, quality = form, _number(weight)
    return best


def _number(weight: str) -> float:
    try:
        return float(weight)
    except ValueError:
        return 0.0


def _place(cursor: str) -> tuple[str, str]:
    try:
        name, designation = orjson.loads(unb64url(cursor))
        if "\0" in f"{name}{designation}":
            raise ValueError("no database holds U+0000")
    except (TypeError, ValueError) as error:
        raise Problem(422, "bad-cursor", "Give `cursor` as the last page's `next` said, or leave it out.") from error
    return str(name), str(designation)


def _entry(row: Any, today: date) -> DesigneeShown:  # noqa: ANN401  (a row of store.designees)
    status = rules.status(row["ends_on"], row["renewal_from"], today)
    return DesigneeShown.model_validate({**row, "status": status})


def _traced(announcement: Announcement, rows: list[Any]) -> dict[str, Any]:
    """The announcement's JSON; each highlight with its rule, the designations that it counts, and their events."""
    events = {row["designation"]: {"granted": row["granted"], "submitted": row["submitted"]} for row in rows}
    shown = document(announcement)
    for section in shown["sections"]:
        for highlight in section["highlights"]:
            counted = sorted({name for sentence in highlight["sentences"] for name in sentence["counts"]})
            highlight["provenance"] = {
                "rule": highlight["id"],
                "designations": [{"designation": name, **events[name]} for name in counted],
            }
    return shown
