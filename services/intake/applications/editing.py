"""A draft's sections over HTTP: each edited on its own, with its history and what its editors say to each other."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Annotated, Any

from fastapi import APIRouter, Body, Path, Query, Response

from schemas.exact import SAFE_INTEGER
from services.chassis.problems import Problem, not_found
from services.chassis.refusal import RefusedError
from services.chassis.web import CommandRoute, Reading, SignedIn, Writing
from services.intake.access import acting, desk_of, known_cycle, known_government, sheet_of
from services.intake.applications import comments, domain, drafts, store
from services.intake.applications.drafts import Contact, Draft, merged, shaped
from services.intake.applications.findings import Ground
from services.intake.applications.forms import (
    ChangesView,
    ChangeView,
    CommentsView,
    CommentView,
    NewComment,
    SectionsView,
    SectionView,
)
from services.intake.applications.sections import home, must_stay_within, sections, tidy
from services.intake.applications.views import etag, section_view
from services.intake.etags import IfMatch
from services.intake.forms import Named
from services.intake.locks import OWNED
from services.intake.reapplication.store import basis_of

if TYPE_CHECKING:
    from services.chassis.database import Connection
    from services.intake.applications.comments import Comment
    from services.intake.applications.store import Desk, Page

router = APIRouter(route_class=CommandRoute)

Before = Annotated[int, Query(ge=1, le=SAFE_INTEGER)]
After = Annotated[int, Query(ge=0, le=SAFE_INTEGER)]
Limit = Annotated[int, Query(ge=1, le=200)]
Filter = Annotated[str | None, Query(max_length=500)]
Number = Annotated[int, Path(ge=1, le=SAFE_INTEGER)]


@router.get("/applications/{application}/sections")
async def list_sections(application: Named, response: Response, db: Reading, who: SignedIn) -> SectionsView:
    """The draft section by section, in order: what is there, what is missing, wrong or to be looked at again."""
    sheet = await sheet_of(db, who, application)
    cycle = await known_cycle(db, sheet.cycle)
    government = await known_government(db, sheet.government)
    draft = Draft.model_validate(sheet.content)
    ground = domain.ground(cycle, government, draft, await basis_of(db, sheet, cycle))
    views = [
        section_view(application, section, page, Draft.model_validate(page.content), ground, draft.size)
        for section in sections(cycle.charter).values()
        for page in [sheet.pages[section.name]]
    ]
    response.headers["ETag"] = etag(sheet.revision)
    return SectionsView(
        application=application,
        etag=etag(sheet.revision),
        complete=all(view.complete for view in views),
        sections=views,
    )


@router.get("/applications/{application}/sections/{section}")
async def show_section(
    application: Named, section: Named, response: Response, db: Reading, who: SignedIn
) -> SectionView:
    """One section of the draft: `answers.AREA` for each of the charter's areas, `facts`, `metrics`, `contact`."""
    desk, _ = await desk_of(db, who, application, section)
    return shown(desk, desk.page, Draft.model_validate(desk.page.content), response)


@router.patch("/applications/{application}/sections/{section}")
async def edit_section(
    application: Named,
    section: Named,
    patch: Annotated[dict[str, Any], Body()],
    response: Response,
    tx: Writing,
    who: SignedIn,
    if_match: IfMatch = None,
) -> SectionView:
    """Change a section by a merge patch (RFC 7396) of its content; what is wrong in it is kept and told.

    Send If-Match with the section's ETag: 412 tells both versions where somebody else changed it meanwhile.
    """
    desk, person = await desk_of(tx.db, who, application, section, "lead", "editor", lock=OWNED)
    cycle, now = desk.cycle, tx.clock.now()
    domain.must_be_editable(cycle, desk.submitted, now)
    await _must_be_of(desk, if_match, patch, tx.db)
    document = merged(desk.page.content, patch)
    draft, content = shaped(document, cycle.charter), tidy(document)
    must_stay_within(sections(cycle.charter)[section], content, cycle.charter)
    page = await store.save_page(tx.db, application, desk.page, content, person, now)
    drafts.must_fit(desk.others + page.size)
    return shown(desk, page, draft, response)


async def _must_be_of(desk: Desk, if_match: str | None, patch: dict[str, Any], db: Connection) -> None:
    """Problem 428 without an If-Match, 412 with both versions where it names another one than the present."""
    page = desk.page
    if if_match is None:
        raise Problem(428, "if-match", "Send If-Match with the ETag of the section that you changed.")
    given = [tag.strip() for tag in if_match.split(",")]
    if {"*", etag(page.revision)}.intersection(given):
        return
    seen = next((int(match[1]) for tag in given if (match := re.fullmatch(r'"(\d{1,9})"', tag))), page.revision)
    base = await store.page_at(db, desk.application, page.section, seen)
    response = Response()
    theirs = shown(desk, page, Draft.model_validate(page.content), response)
    raise Problem(
        412,
        "section-changed",
        "Someone changed this section meanwhile: yours is what you wanted it to be, theirs what it is. Decide, and"
        " send the change with the ETag of theirs.",
        headers={"ETag": etag(page.revision)},
        members={
            "yours": {"etag": etag(seen), "content": tidy(merged(base, patch))},
            "theirs": theirs.model_dump(mode="json"),
        },
    )


def shown(desk: Desk, page: Page, draft: Draft, response: Response) -> SectionView:
    """A section as it is now."""
    response.headers["ETag"] = etag(page.revision)
    contact = draft.contact if page.section == "contact" else Contact.model_validate(desk.contact.get("contact", {}))
    ground = Ground.of(desk.cycle.charter, desk.kind, (desk.website, desk.email_domain), contact, desk.basis)
    section = sections(desk.cycle.charter)[page.section]
    return section_view(desk.application, section, page, draft, ground, desk.others + page.size)


# --- history and comments -------------------------------------------------------------------------------------------


@router.get("/applications/{application}/history")
async def show_changes(
    application: Named,
    db: Reading,
    who: SignedIn,
    before: Before = SAFE_INTEGER,
    limit: Limit = 50,
    section: Filter = None,
    field: Filter = None,
) -> ChangesView:
    """Every change of the draft, field by field, to its own people: who (by person id), when, from what to what."""
    await sheet_of(db, who, application)
    found = await store.history(db, application, before, limit + 1, section=section, field=field)
    lines = [ChangeView(**vars(one)) for one in found[:limit]]
    return ChangesView(changes=lines, next=lines[-1].number if len(found) > limit else None)


@router.post("/applications/{application}/comments", status_code=201)
async def add_comment(application: Named, body: NewComment, tx: Writing, who: SignedIn) -> CommentView:
    """Say something about a field to the others who work on the draft. It is in no event and no submission."""
    sheet = await sheet_of(tx.db, who, application)
    person, _ = await acting(tx.db, who, sheet.government, "lead", "editor")
    cycle = await known_cycle(tx.db, sheet.cycle)
    if body.field and home(body.field, cycle.charter) is None:
        detail = f"{body.field!r} is no place in a draft: send a pointer such as /answers/CRITERION/statement."
        raise RefusedError("unknown-field", detail, field="/field", status=422)
    made = await comments.add(tx.db, application, body.field, body.text, person, tx.clock.now())
    return _comment(made)


@router.get("/applications/{application}/comments")
async def list_comments(
    application: Named,
    db: Reading,
    who: SignedIn,
    after: After = 0,
    limit: Limit = 50,
    field: Filter = None,
    unresolved: bool = False,  # noqa: FBT001, FBT002  (a query's yes or no)
) -> CommentsView:
    """What the draft's people said about its fields."""
    await sheet_of(db, who, application)
    found = await comments.said(db, application, after, limit + 1, field=field, unresolved=unresolved)
    lines = [_comment(one) for one in found[:limit]]
    return CommentsView(comments=lines, next=lines[-1].comment if len(found) > limit else None)


@router.post("/applications/{application}/comments/{comment}/resolve")
async def resolve_comment(application: Named, comment: Number, tx: Writing, who: SignedIn) -> CommentView:
    """Call a comment settled; who did so first stands."""
    sheet = await sheet_of(tx.db, who, application)
    person, _ = await acting(tx.db, who, sheet.government, "lead", "editor")
    settled = await comments.resolve(tx.db, application, comment, person, tx.clock.now())
    if settled is None:
        raise not_found()
    return _comment(settled)


def _comment(one: Comment) -> CommentView:
    return CommentView(comment=one.number, **{name: value for name, value in vars(one).items() if name != "number"})
