"""Applications over HTTP: drafts, and what becomes of them."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, Any

from fastapi import APIRouter, Body, Header, Response

from services.chassis.ids import opaque_id
from services.chassis.problems import Problem
from services.chassis.web import CommandRoute, Reading, SignedIn, Writing
from services.intake.access import acting, known_cycle, known_government, sheet_of
from services.intake.applications import domain, drafts, store
from services.intake.applications.drafts import Draft
from services.intake.applications.forms import ApplicationView, Attestation, NewApplication, Reason, Receipt
from services.intake.cycles.domain import must_be_open
from services.intake.forms import Named
from services.intake.locks import OWNED, SHARED

if TYPE_CHECKING:
    from services.chassis.database import Connection

router = APIRouter(route_class=CommandRoute)

IfMatch = Annotated[str | None, Header(max_length=1_000)]


@router.post("/cycles/{cycle}/applications", status_code=201)
async def start_application(
    cycle: Named, body: NewApplication, response: Response, tx: Writing, who: SignedIn
) -> ApplicationView:
    """Start a government's one application of this cycle, as an empty draft."""
    await acting(tx.db, who, body.government, "lead", "editor")
    found = await known_cycle(tx.db, cycle)
    must_be_open(found, tx.clock.now())
    domain.must_be_eligible(found, await known_government(tx.db, body.government))
    name = opaque_id()
    existing = await store.add_draft(tx.db, name, cycle, body.government)
    where = f"/intake/v1/applications/{existing or name}"
    if existing is not None:
        detail = f"This government has an application in this cycle: {existing}."
        raise Problem(409, "application-exists", detail, headers={"Location": where})
    response.headers["Location"] = where
    return await _application_view(tx.db, await sheet_of(tx.db, who, name), response)


@router.get("/applications/{application}")
async def show_application(application: Named, response: Response, db: Reading, who: SignedIn) -> ApplicationView:
    """An application with its draft, to its government's people."""
    return await _application_view(db, await sheet_of(db, who, application), response)


@router.patch("/applications/{application}")
async def edit_draft(
    application: Named,
    patch: Annotated[dict[str, Any], Body()],
    response: Response,
    tx: Writing,
    who: SignedIn,
    if_match: IfMatch = None,
) -> ApplicationView:
    """Change a draft by a merge patch (RFC 7396) of answers, facts, assumed, metrics and contact."""
    sheet = await sheet_of(tx.db, who, application, "lead", "editor", lock=OWNED)
    if if_match is None:
        raise Problem(428, "if-match", "Send If-Match with the ETag of the draft that you changed.")
    _must_match(if_match, sheet)
    cycle = await known_cycle(tx.db, sheet.cycle)
    domain.must_be_editable(cycle, await store.application(tx.db, application), tx.clock.now())
    government = await known_government(tx.db, sheet.government)
    draft = drafts.read(drafts.merged(sheet.content, patch), cycle.charter, government.kind)
    revision = await store.save_draft(tx.db, application, draft.document)
    changed = replace(sheet, revision=revision, content=draft.document)
    return await _application_view(tx.db, changed, response)


@router.post("/applications/{application}/submit", status_code=201)
async def submit(
    application: Named, body: Attestation, tx: Writing, who: SignedIn, if_match: IfMatch = None
) -> Receipt:
    """Submit the draft as the application's next version; it replaces the one before."""
    sheet = await sheet_of(tx.db, who, application, "lead", lock=OWNED)
    if if_match is not None:
        _must_match(if_match, sheet)
    # Shared: submissions go side by side, and whoever closes the cycle waits for them, so that its set is exact.
    cycle = await known_cycle(tx.db, sheet.cycle, SHARED)
    government = await known_government(tx.db, sheet.government)
    before = await store.application(tx.db, application)
    draft = drafts.read(sheet.content, cycle.charter, government.kind)
    event = domain.submit(cycle, government, application, before, draft, attested=body.attest, now=tx.clock.now())
    await tx.act_as(who.issuer, who.subject, cycle.id)
    recorded = tx.record(event, cause=cycle.latest)
    await store.save_application(tx.db, domain.evolve_application(before, event, recorded))
    (written,) = await tx.flush()
    # Again, for the time that the event carries: no accepted submission may say that it came after the deadline.
    must_be_open(cycle, written.header.time)
    return Receipt(
        application=application,
        cycle=cycle.id,
        version=event.version,
        event=written.header.id,
        leaf_hash=written.leaf_hash.hex(),
        submitted_at=written.header.time,
    )


@router.post("/applications/{application}/withdraw")
async def withdraw(
    application: Named,
    response: Response,
    tx: Writing,
    who: SignedIn,
    body: Reason = Reason(),  # noqa: B008  (frozen)
) -> ApplicationView:
    """Take an application back, before the deadline and for this cycle for good."""
    sheet = await sheet_of(tx.db, who, application, "lead", lock=OWNED)
    cycle = await known_cycle(tx.db, sheet.cycle, SHARED)
    before = await store.application(tx.db, application)
    event = domain.withdraw(cycle, application, before, body.reason, now=tx.clock.now())
    await tx.act_as(who.issuer, who.subject, cycle.id)
    recorded = tx.record(event, cause=cycle.latest)
    await store.save_application(tx.db, domain.evolve_application(before, event, recorded))
    return await _application_view(tx.db, sheet, response)


def _etag(sheet: store.Sheet) -> str:
    return f'"{sheet.revision}"'


def _must_match(if_match: str, sheet: store.Sheet) -> None:
    given = {tag.strip() for tag in if_match.split(",")}
    if not given & {"*", _etag(sheet)}:
        detail = "Someone changed this draft meanwhile: read it again and make your change there."
        raise Problem(412, "draft-changed", detail, headers={"ETag": _etag(sheet)})


async def _application_view(db: Connection, sheet: store.Sheet, response: Response) -> ApplicationView:
    state = await store.application(db, sheet.application)
    draft = Draft.model_validate(sheet.content)
    response.headers["ETag"] = _etag(sheet)
    return ApplicationView(
        application=sheet.application,
        cycle=sheet.cycle,
        government=sheet.government,
        state="draft" if state is None else "withdrawn" if state.withdrawn else "submitted",
        version=state.version if state else 0,
        etag=_etag(sheet),
        draft=draft,
        bytes_left=drafts.SIZE_LIMIT - draft.size,
    )
