"""Governments and their people over HTTP."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from fastapi import APIRouter, Query, Response

from schemas.cycles import Account
from schemas.exact import SAFE_INTEGER
from services.chassis.ids import opaque_id
from services.chassis.problems import Problem, not_found
from services.chassis.web import CommandRoute, Reading, SignedIn, Writing
from services.intake.access import acting, known_government, led
from services.intake.cycles.store import cycles
from services.intake.etags import IfMatch, must_match
from services.intake.forms import Named
from services.intake.governments import domain, store
from services.intake.governments.forms import (
    ChangedGovernment,
    ChangedMember,
    GovernmentView,
    HappeningView,
    HistoryView,
    MemberView,
    NewGovernment,
    NewMember,
    etag,
    member_view,
    profile_of,
)
from services.intake.people import store as people

if TYPE_CHECKING:
    from services.chassis.database import Connection, Tx
    from services.intake.governments.domain import Government, Role

router = APIRouter(route_class=CommandRoute)

Before = Annotated[int, Query(ge=1, le=SAFE_INTEGER)]
Limit = Annotated[int, Query(ge=1, le=200)]


@router.post("/governments", status_code=201)
async def register_government(body: NewGovernment, response: Response, tx: Writing, who: SignedIn) -> GovernmentView:
    """Register a government; the caller becomes its lead. Until the program confirms it, it is *unconfirmed*."""
    who.require("applicant")
    if who.government is not None:
        raise Problem(403, "one-government", f"This token is for the government {who.government} only.")
    now = tx.clock.now()
    domain.must_be_dated(body.population_year, now)
    domain.must_be_taken(body.kind, await _kinds(tx.db))
    made = domain.Government(opaque_id(), **body.model_dump())
    await store.add_government(tx.db, made, now)
    tx.actor = await people.caller(tx.db, who)
    event = domain.join({}, made.id, tx.actor, "lead", Account(issuer=who.issuer, subject_claim=who.subject))
    tx.record(event)
    await store.save_members(tx.db, made.id, domain.evolve_members({}, event))
    await store.note(tx.db, made.id, now, tx.actor, "registered")
    return _view(made, tx.actor, "lead", response)


async def _kinds(db: Connection) -> set[str]:
    """The kinds of governments that may apply now."""
    opened = [cycle for cycle in await cycles(db) if not cycle.closed]
    return {kind for cycle in opened for kind in cycle.charter.eligibility.kinds}


@router.get("/governments/{government}")
async def show_government(government: Named, response: Response, db: Reading, who: SignedIn) -> GovernmentView:
    """A government, to its people. The ETag is of the profile."""
    person, role = await acting(db, who, government)
    return _view(await known_government(db, government), person, role, response)


@router.patch("/governments/{government}")
async def edit_government(
    government: Named,
    body: ChangedGovernment,
    response: Response,
    tx: Writing,
    who: SignedIn,
    if_match: IfMatch = None,
) -> GovernmentView:
    """Change what is said of a government (its lead): a merge patch, with If-Match of the profile that it changes.

    What was submitted stays as it was. A confirmed government with another name, state, kind or e-mail domain is
    unconfirmed again.
    """
    await led(tx, who, government)
    before = await known_government(tx.db, government)
    must_match(if_match, etag(before), "this government's profile")
    now = tx.clock.now()
    after, differences = domain.edit(before, body.model_dump(exclude_unset=True), now)
    if "kind" in differences:
        domain.must_be_taken(after.kind, await _kinds(tx.db))
    if differences:
        await store.save_profile(tx.db, after)
        await store.note(tx.db, government, now, tx.actor, "profile-changed", **differences)
    if doubt := domain.doubt(before, differences):
        tx.record(doubt)
        await store.save_standing(tx.db, doubt)
        after = await known_government(tx.db, government)
    return _view(after, str(tx.actor), "lead", response)


@router.get("/governments/{government}/history")
async def show_history(
    government: Named, db: Reading, who: SignedIn, before: Before = SAFE_INTEGER, limit: Limit = 50
) -> HistoryView:
    """What happened to a government and its people, to them: who (by person id), when and what."""
    await acting(db, who, government)
    found = await store.history(db, government, before, limit + 1)
    lines = [
        HappeningView(number=one.number, at=one.at, by=one.by, what=one.what, detail=one.detail)
        for one in found[:limit]
    ]
    return HistoryView(history=lines, next=lines[-1].number if len(found) > limit else None)


@router.get("/governments/{government}/members")
async def list_members(government: Named, db: Reading, who: SignedIn) -> list[MemberView]:
    """The people who act for a government, to one another."""
    await acting(db, who, government)
    return [member_view(government, one) for one in await store.members(db, government)]


@router.post("/governments/{government}/members", status_code=201)
async def add_member(government: Named, body: NewMember, tx: Writing, who: SignedIn) -> MemberView:
    """Let one more person act for a government, by the account that the lead knows; an invitation needs no account."""
    members = await led(tx, who, government)
    account = Account(issuer=body.issuer or who.issuer, subject_claim=body.subject)
    person = await people.person(tx.db, account.issuer, account.subject_claim)
    event = domain.join(members, government, person, body.role, account)
    tx.record(event)
    await store.save_members(tx.db, government, domain.evolve_members(members, event))
    await store.note(tx.db, government, tx.clock.now(), tx.actor, "member-joined", person=person, role=body.role)
    return await _shown(tx, government, person)


@router.patch("/governments/{government}/members/{person}")
async def change_member(
    government: Named, person: Named, body: ChangedMember, tx: Writing, who: SignedIn
) -> MemberView:
    """Give a person another role (by a lead); never the last lead a lower one."""
    members = await led(tx, who, government)
    if person not in members:
        raise not_found("There is no such member.")
    event = domain.change_role(members, government, person, body.role)
    if event is not None:
        tx.record(event)
        await store.save_members(tx.db, government, domain.evolve_members(members, event))
        before, now = members[person], tx.clock.now()
        changed = {"person": person, "before": before, "after": body.role}
        await store.note(tx.db, government, now, tx.actor, "role-changed", **changed)
    return await _shown(tx, government, person)


@router.delete("/governments/{government}/members/{person}", status_code=204)
async def remove_member(government: Named, person: Named, tx: Writing, who: SignedIn) -> None:
    """Have a person no longer act for a government: by a lead, or oneself; never its last lead."""
    members = await led(tx, who, government, itself=person)
    if person not in members:
        raise not_found("There is no such member.")
    event = domain.leave(members, government, person)
    tx.record(event)
    await store.save_members(tx.db, government, domain.evolve_members(members, event))
    await store.note(tx.db, government, tx.clock.now(), tx.actor, "member-left", person=person)


async def _shown(tx: Tx, government: str, person: str) -> MemberView:
    return next(member_view(government, one) for one in await store.members(tx.db, government) if one.person == person)


def _view(government: Government, person: str, role: Role, response: Response) -> GovernmentView:
    response.headers["ETag"] = etag(government)
    return GovernmentView(**profile_of(government), person=person, role=role)
