"""Applications over HTTP: drafts, and what becomes of them."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, Any

from fastapi import APIRouter, Body, Response

from services.chassis.problems import Problem
from services.chassis.receipts import signed
from services.chassis.web import Asked, CommandRoute, Reading, SignedIn, Writing
from services.intake.access import acting, case_of, known_cycle, known_government, sheet_of
from services.intake.applications import domain, drafts, receipts, store, versions
from services.intake.applications.attestation import CONFIDENTIAL, Terms
from services.intake.applications.drafts import Draft
from services.intake.applications.findings import reports
from services.intake.applications.forms import (
    ApplicationView,
    Attestation,
    AttestationView,
    CheckView,
    NewApplication,
    Reason,
    Receipt,
    TierView,
)
from services.intake.applications.sections import split, tidy
from services.intake.applications.starting import start, take_last
from services.intake.applications.views import etag, findings, warnings
from services.intake.cycles.domain import must_be_open
from services.intake.etags import IfMatch
from services.intake.evidence.domain import doubts
from services.intake.evidence.links import broken, links
from services.intake.evidence.store import files, freeze
from services.intake.forms import Named
from services.intake.governments.domain import must_not_be_merged
from services.intake.locks import OWNED, SHARED
from services.intake.reapplication.store import basis_of

if TYPE_CHECKING:
    from services.chassis.database import Connection

router = APIRouter(route_class=CommandRoute)


@router.post("/cycles/{cycle}/applications", status_code=201)
async def start_application(
    cycle: Named, body: NewApplication, response: Response, tx: Writing, who: SignedIn
) -> ApplicationView:
    """Start a government's one application of this cycle, as an empty draft or from its last application."""
    started = await start(tx, who, cycle, body.government)
    name = started.sheet.application
    where = f"/intake/v1/applications/{name}"
    if not started.new:
        detail = f"This government has an application in this cycle: {name}."
        raise Problem(409, "application-exists", detail, headers={"Location": where})
    response.headers["Location"] = where
    sheet = started.sheet if body.origin is None else await take_last(tx, started)
    return await application_view(tx.db, sheet, response)


@router.get("/applications/{application}")
async def show_application(application: Named, response: Response, db: Reading, who: SignedIn) -> ApplicationView:
    """An application with its draft, to its government's people."""
    return await application_view(db, await sheet_of(db, who, application), response)


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
    sheet = await sheet_of(tx.db, who, application, lock=OWNED)
    person, _ = await acting(tx.db, who, sheet.government, "lead", "editor")
    if if_match is None:
        raise Problem(428, "if-match", "Send If-Match with the ETag of the draft that you changed.")
    _must_match(if_match, sheet)
    cycle, now = await known_cycle(tx.db, sheet.cycle, application=application), tx.clock.now()
    domain.must_be_editable(cycle, await store.application(tx.db, application), now)
    document = drafts.merged(sheet.content, patch)
    drafts.must_fit(drafts.shaped(document, cycle.charter).size)
    pages = {
        name: await store.save_page(tx.db, application, sheet.pages[name], content, person, now)
        for name, content in split(tidy(document), cycle.charter).items()
    }
    return await application_view(tx.db, replace(sheet, pages=pages), response)


@router.post("/applications/{application}/submit", status_code=201)
async def submit(
    application: Named, body: Attestation, tx: Writing, who: SignedIn, asked: Asked, if_match: IfMatch = None
) -> Receipt:
    """Submit the draft as the application's next version; it replaces the one before."""
    # The cycle is shared: submissions go side by side, and whoever closes it waits for them, so that its set is exact.
    sheet, case = await case_of(tx.db, who, application, "lead")
    if if_match is not None:
        _must_match(if_match, sheet)
    must_not_be_merged(case.government)
    cycle, before, draft = case.cycle, case.submitted, Draft.model_validate(sheet.content)
    event = domain.submit(
        cycle,
        case.government,
        application,
        before,
        draft,
        attested=body.attest,
        seen=body.sha256,
        files=await freeze(tx.db, application, sheet.content),
        basis=await basis_of(tx.db, sheet, cycle),
        now=tx.clock.now(),
    )
    await tx.act_as(who.issuer, who.subject, cycle.id)
    after = domain.evolve_application(before, event, tx.record(event, cause=cycle.latest))
    (written,) = await tx.flush()
    # Again, for the time that the event carries: no accepted submission may say that it came after the deadline.
    must_be_open(cycle, written.header.time)
    stated = versions.stated(event, written, asked.settings.public_url)
    receipt = signed(stated, receipts.key_of(asked.settings))
    await versions.keep(tx.db, after, event, written, receipt)
    return Receipt(**stated.model_dump(exclude={"form", "iss"}), receipt=receipt)


@router.post("/applications/{application}/check")
async def check(application: Named, tx: Writing, who: SignedIn) -> CheckView:
    """Try what submitting the draft would answer now: every problem at once, and nothing is changed."""
    sheet = await sheet_of(tx.db, who, application)
    cycle = await known_cycle(tx.db, sheet.cycle, application=application)
    government = await known_government(tx.db, sheet.government)
    draft = Draft.model_validate(sheet.content)
    before, basis = await store.application(tx.db, application), await basis_of(tx.db, sheet, cycle)
    kept, named = await files(tx.db, application), await links(tx.db, application)
    problems = domain.check(cycle, government, before, draft, basis, files=kept, now=tx.clock.now())
    ground = domain.ground(cycle, government, draft)
    warned = [one for report in reports(draft, ground) for one in report.warnings]
    warned += doubts(sheet.content, cycle.charter, kept, broken(named), ground.own)
    return CheckView(
        application=application,
        ready=not problems,
        problems=findings(problems),
        warnings=warnings(warned, draft.acknowledged),
        links_not_looked_at=sum(link.state == "unchecked" for link in named.values()),
    )


@router.get("/applications/{application}/attestation")
async def show_attestation(application: Named, db: Reading, who: SignedIn) -> AttestationView:
    """What an official attests to by submitting: what becomes public if designated and if not, and what never does."""
    sheet = await sheet_of(db, who, application)
    terms = Terms.of((await known_cycle(db, sheet.cycle)).charter)
    return AttestationView(
        text=terms.text,
        sha256=terms.digest,
        designated=list(terms.designated),
        not_designated=list(terms.not_designated),
        never=list(terms.never),
        confidential=list(CONFIDENTIAL),
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
    cycle = await known_cycle(tx.db, sheet.cycle, SHARED, application)
    before = await store.application(tx.db, application)
    event = domain.withdraw(cycle, application, before, body.reason, now=tx.clock.now())
    await tx.act_as(who.issuer, who.subject, cycle.id)
    recorded = tx.record(event, cause=cycle.latest)
    await store.save_application(tx.db, domain.evolve_application(before, event, recorded))
    return await application_view(tx.db, sheet, response)


def _must_match(if_match: str, sheet: store.Sheet) -> None:
    given = {tag.strip() for tag in if_match.split(",")}
    if not given & {"*", etag(sheet.revision)}:
        detail = "Someone changed this draft meanwhile: read it again and make your change there."
        raise Problem(412, "draft-changed", detail, headers={"ETag": etag(sheet.revision)})


async def application_view(db: Connection, sheet: store.Sheet, response: Response) -> ApplicationView:
    """An application as it is now."""
    state = await store.application(db, sheet.application)
    cycle = await known_cycle(db, sheet.cycle, application=sheet.application)
    government = await known_government(db, sheet.government)
    draft = Draft.model_validate(sheet.content)
    problems = [one for report in reports(draft, domain.ground(cycle, government, draft)) for one in report.problems]
    tier = cycle.charter.tier_of(government.population)
    response.headers["ETag"] = etag(sheet.revision)
    return ApplicationView(
        application=sheet.application,
        cycle=sheet.cycle,
        government=sheet.government,
        state="draft" if state is None else "withdrawn" if state.withdrawn else "submitted",
        version=state.version if state else 0,
        deadline=cycle.deadline,
        etag=etag(sheet.revision),
        draft=draft,
        problems=findings(problems),
        tier=TierView(id=tier.id, label=tier.label) if tier else None,
        bytes_left=drafts.SIZE_LIMIT - draft.size,
    )
