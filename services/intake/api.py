"""Intake over HTTP: cycles, governments and their people, drafts and their submission."""

from __future__ import annotations

import secrets
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, Any

from fastapi import APIRouter, Body, Header, Path, Response
from fastapi.responses import PlainTextResponse

from schemas.cycles import Account
from services.chassis.ids import opaque_id
from services.chassis.problems import Problem, not_found
from services.chassis.schedule import schedule, unschedule
from services.chassis.web import Anyone, CommandRoute, Reading, SignedIn, Writing
from services.intake import domain, drafts, store
from services.intake.domain import Role
from services.intake.drafts import Draft
from services.intake.forms import (
    ApplicationView,
    Attestation,
    CycleView,
    GovernmentView,
    LaterDeadline,
    MemberView,
    NewApplication,
    NewCycle,
    NewGovernment,
    NewMember,
    Reason,
    Receipt,
)
from services.intake.handlers import CLOSE, close

if TYPE_CHECKING:
    from services.chassis.auth import Principal
    from services.chassis.database import Connection, Tx

router = APIRouter(prefix="/v1", route_class=CommandRoute)

SEED_BYTES = 32
Named = Annotated[str, Path(max_length=64, pattern=r"^[A-Za-z0-9_.-]+$")]
IfMatch = Annotated[str | None, Header(max_length=1_000)]

# --- cycles ---------------------------------------------------------------------------------------------------------


@router.post("/cycles", status_code=201, response_model_exclude_none=True)
async def open_cycle(body: NewCycle, tx: Writing, who: SignedIn) -> CycleView:
    """Open a cycle under a charter, which is frozen with it."""
    who.require("program-admin")
    seed = secrets.token_bytes(SEED_BYTES)
    event = domain.open_cycle(
        body.label,
        body.charter,
        body.deadline,
        seed=seed,
        now=tx.clock.now(),
        taken=not await store.claim_label(tx.db, body.label, seed),
        demonstration=body.demonstration,
    )
    await tx.act_as(who.issuer, who.subject, event.cycle)
    cycle = domain.evolve_cycle(None, event, tx.record(event))
    await store.save_cycle(tx.db, cycle)
    await schedule(tx, CLOSE, cycle.id, cycle.deadline)
    return _cycle_view(cycle)


@router.get("/cycles", response_model_exclude_none=True)
async def list_cycles(db: Reading, who: Anyone) -> list[CycleView]:
    """All cycles, by name."""
    counts = await store.standing_counts(db) if _sees_counts(who) else None
    return [_cycle_view(cycle, counts) for cycle in await store.cycles(db)]


@router.get("/cycles/{cycle}", response_model_exclude_none=True)
async def show_cycle(cycle: Named, db: Reading, who: Anyone) -> CycleView:
    """One cycle."""
    found = await _cycle(db, cycle)
    return _cycle_view(found, await store.standing_counts(db) if _sees_counts(who) else None)


@router.get("/cycles/{cycle}/charter", response_class=PlainTextResponse)
async def show_charter(cycle: Named, db: Reading) -> str:
    """The charter's TOML text, exactly as it was given."""
    return (await _cycle(db, cycle)).opened.charter


@router.post("/cycles/{cycle}/extend", response_model_exclude_none=True)
async def extend_cycle(cycle: Named, body: LaterDeadline, tx: Writing, who: SignedIn) -> CycleView:
    """Move the deadline to a later instant, for everyone."""
    who.require("program-admin")
    # Before the cycle's row, as the schedule itself takes them: the other way round the two could wait for each other.
    await unschedule(tx, CLOSE, cycle)
    found = await _cycle(tx.db, cycle, store.OWNED)
    event = domain.extend_deadline(found, body.deadline, body.reason, now=tx.clock.now())
    await tx.act_as(who.issuer, who.subject, cycle)
    extended = domain.evolve_cycle(found, event, tx.record(event))
    await store.save_cycle(tx.db, extended)
    await schedule(tx, CLOSE, cycle, extended.deadline)
    return _cycle_view(extended)


@router.post("/cycles/{cycle}/close", response_model_exclude_none=True)
async def close_cycle(cycle: Named, tx: Writing, who: SignedIn) -> CycleView:
    """Close a cycle by hand, before its deadline."""
    who.require("program-admin")
    await unschedule(tx, CLOSE, cycle)  # first, as in `extend_cycle`
    found = await _cycle(tx.db, cycle, store.OWNED)
    await tx.act_as(who.issuer, who.subject, cycle)
    return _cycle_view(await close(tx, found, "hand"))


async def _cycle(db: Connection, name: str, lock: store.Lock = "") -> domain.Cycle:
    found = await store.cycle(db, name, lock)
    if found is None:
        raise not_found(f"There is no cycle {name}.")
    return found


def _sees_counts(who: Principal | None) -> bool:
    return who is not None and bool(who.roles & {"program-admin", "auditor"})


def _cycle_view(cycle: domain.Cycle, counts: dict[str, int] | None = None) -> CycleView:
    return CycleView(
        cycle=cycle.id,
        label=cycle.id,
        program=cycle.opened.program,
        charter_sha256=cycle.opened.charter_sha256,
        deadline=cycle.deadline,
        state="closed" if cycle.closed else "open",
        assignment_commitment=cycle.opened.assignment_commitment,
        demonstration=cycle.opened.demonstration,
        submitted=None if counts is None else counts.get(cycle.id, 0),
    )


# --- governments ----------------------------------------------------------------------------------------------------


@router.post("/governments", status_code=201)
async def register_government(body: NewGovernment, tx: Writing, who: SignedIn) -> GovernmentView:
    """Register a government; the caller becomes its lead."""
    who.require("applicant")
    if who.government is not None:
        raise Problem(403, "one-government", f"This token is for the government {who.government} only.")
    made = domain.Government(opaque_id(), **body.model_dump())
    await store.add_government(tx.db, made)
    tx.actor = await store.person(tx.db, who.issuer, who.subject)
    await _join(tx, {}, made.id, tx.actor, "lead", Account(issuer=who.issuer, subject_claim=who.subject))
    return _government_view(made, tx.actor, "lead")


@router.get("/governments/{government}")
async def show_government(government: Named, db: Reading, who: SignedIn) -> GovernmentView:
    """A government, to its people."""
    person, role = await _acting(db, who, government)
    found = await store.government(db, government)
    if found is None:
        raise not_found()
    return _government_view(found, person, role)


@router.get("/governments/{government}/members")
async def list_members(government: Named, db: Reading, who: SignedIn) -> list[MemberView]:
    """The people who act for a government, to one another."""
    await _acting(db, who, government)
    return [
        MemberView(government=government, person=one.person, role=one.role, issuer=one.issuer, subject=one.subject)
        for one in await store.members(db, government)
    ]


@router.post("/governments/{government}/members", status_code=201)
async def add_member(government: Named, body: NewMember, tx: Writing, who: SignedIn) -> MemberView:
    """Let one more person act for a government."""
    members = await _led(tx, who, government)
    account = Account(issuer=body.issuer or who.issuer, subject_claim=body.subject)
    person = await store.person(tx.db, account.issuer, account.subject_claim)
    await _join(tx, members, government, person, body.role, account)
    return MemberView(
        government=government, person=person, role=body.role, issuer=account.issuer, subject=account.subject_claim
    )


@router.delete("/governments/{government}/members/{person}", status_code=204)
async def remove_member(government: Named, person: Named, tx: Writing, who: SignedIn) -> None:
    """Have a person no longer act for a government; never its last lead."""
    members = await _led(tx, who, government)
    if person not in members:
        raise not_found("There is no such member.")
    event = domain.leave(members, government, person)
    tx.record(event)
    await store.save_members(tx.db, government, domain.evolve_members(members, event))


async def _join(tx: Tx, members: domain.Members, government: str, person: str, role: Role, account: Account) -> None:
    event = domain.join(members, government, person, role, account)
    tx.record(event)
    await store.save_members(tx.db, government, domain.evolve_members(members, event))


async def _led(tx: Tx, who: Principal, government: str) -> domain.Members:
    """The government's people, owned, once the caller is known to lead them."""
    # The row first: of two leads who remove each other, the second one is none any more.
    await store.government(tx.db, government, store.OWNED)
    tx.actor, _ = await _acting(tx.db, who, government, "lead")
    return await store.roles(tx.db, government)


async def _acting(db: Connection, who: Principal, government: str, *roles: Role) -> tuple[str, Role]:
    """Give the caller's person id and role in a government: 404 for a stranger, 403 for a role not among `roles`."""
    found = await store.membership(db, who.issuer, who.subject, government)
    if found is None or who.government not in {None, government}:
        raise not_found()
    if roles and found[1] not in roles:
        raise Problem(403, "role-required", f"This takes the government's {' or '.join(roles)}; you are {found[1]}.")
    return found


def _government_view(government: domain.Government, person: str, role: Role) -> GovernmentView:
    return GovernmentView(
        government=government.id,
        name=government.name,
        state=government.state,
        kind=government.kind,
        population=government.population,
        population_source=government.population_source,
        website=government.website,
        person=person,
        role=role,
    )


# --- applications ---------------------------------------------------------------------------------------------------


@router.post("/cycles/{cycle}/applications", status_code=201)
async def start_application(
    cycle: Named, body: NewApplication, response: Response, tx: Writing, who: SignedIn
) -> ApplicationView:
    """Start a government's one application of this cycle, as an empty draft."""
    await _acting(tx.db, who, body.government, "lead", "editor")
    found = await _cycle(tx.db, cycle)
    domain.must_be_open(found, tx.clock.now())
    domain.must_be_eligible(found, await _government(tx.db, body.government))
    name = opaque_id()
    existing = await store.add_draft(tx.db, name, cycle, body.government)
    where = f"/intake/v1/applications/{existing or name}"
    if existing is not None:
        detail = f"This government has an application in this cycle: {existing}."
        raise Problem(409, "application-exists", detail, headers={"Location": where})
    response.headers["Location"] = where
    return await _application_view(tx.db, await _sheet(tx.db, who, name), response)


@router.get("/applications/{application}")
async def show_application(application: Named, response: Response, db: Reading, who: SignedIn) -> ApplicationView:
    """An application with its draft, to its government's people."""
    return await _application_view(db, await _sheet(db, who, application), response)


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
    sheet = await _sheet(tx.db, who, application, "lead", "editor", lock=store.OWNED)
    if if_match is None:
        raise Problem(428, "if-match", "Send If-Match with the ETag of the draft that you changed.")
    _must_match(if_match, sheet)
    cycle = await _cycle(tx.db, sheet.cycle)
    domain.must_be_editable(cycle, await store.application(tx.db, application), tx.clock.now())
    government = await _government(tx.db, sheet.government)
    draft = drafts.read(drafts.merged(sheet.content, patch), cycle.charter, government.kind)
    revision = await store.save_draft(tx.db, application, draft.document)
    changed = replace(sheet, revision=revision, content=draft.document)
    return await _application_view(tx.db, changed, response)


@router.post("/applications/{application}/submit", status_code=201)
async def submit(
    application: Named, body: Attestation, tx: Writing, who: SignedIn, if_match: IfMatch = None
) -> Receipt:
    """Submit the draft as the application's next version; it replaces the one before."""
    sheet = await _sheet(tx.db, who, application, "lead", lock=store.OWNED)
    if if_match is not None:
        _must_match(if_match, sheet)
    # Shared: submissions go side by side, and whoever closes the cycle waits for them, so that its set is exact.
    cycle = await _cycle(tx.db, sheet.cycle, store.SHARED)
    government = await _government(tx.db, sheet.government)
    before = await store.application(tx.db, application)
    draft = drafts.read(sheet.content, cycle.charter, government.kind)
    event = domain.submit(cycle, government, application, before, draft, attested=body.attest, now=tx.clock.now())
    await tx.act_as(who.issuer, who.subject, cycle.id)
    recorded = tx.record(event, cause=cycle.latest)
    await store.save_application(tx.db, domain.evolve_application(before, event, recorded))
    (written,) = await tx.flush()
    # Again, for the time that the event carries: no accepted submission may say that it came after the deadline.
    domain.must_be_open(cycle, written.header.time)
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
    sheet = await _sheet(tx.db, who, application, "lead", lock=store.OWNED)
    cycle = await _cycle(tx.db, sheet.cycle, store.SHARED)
    before = await store.application(tx.db, application)
    event = domain.withdraw(cycle, application, before, body.reason, now=tx.clock.now())
    await tx.act_as(who.issuer, who.subject, cycle.id)
    recorded = tx.record(event, cause=cycle.latest)
    await store.save_application(tx.db, domain.evolve_application(before, event, recorded))
    return await _application_view(tx.db, sheet, response)


async def _sheet(db: Connection, who: Principal, application: str, *roles: Role, lock: store.Lock = "") -> store.Sheet:
    """Give the draft, once the caller is known to be one of its government's people with one of `roles`."""
    sheet = await store.sheet(db, application, lock)
    if sheet is None:
        raise not_found()
    await _acting(db, who, sheet.government, *roles)
    return sheet


async def _government(db: Connection, name: str) -> domain.Government:
    found = await store.government(db, name)
    if found is None:
        raise not_found()
    return found


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
