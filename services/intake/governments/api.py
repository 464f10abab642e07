"""Governments and their people over HTTP."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fastapi import APIRouter

from schemas.cycles import Account
from services.chassis.ids import opaque_id
from services.chassis.problems import Problem, not_found
from services.chassis.web import CommandRoute, Reading, SignedIn, Writing
from services.intake.access import acting
from services.intake.forms import Named
from services.intake.governments import domain, store
from services.intake.governments.domain import Role
from services.intake.governments.forms import GovernmentView, MemberView, NewGovernment, NewMember
from services.intake.locks import OWNED

if TYPE_CHECKING:
    from services.chassis.auth import Principal
    from services.chassis.database import Tx

router = APIRouter(route_class=CommandRoute)


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
    person, role = await acting(db, who, government)
    found = await store.government(db, government)
    if found is None:
        raise not_found()
    return _government_view(found, person, role)


@router.get("/governments/{government}/members")
async def list_members(government: Named, db: Reading, who: SignedIn) -> list[MemberView]:
    """The people who act for a government, to one another."""
    await acting(db, who, government)
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
    await store.government(tx.db, government, OWNED)
    tx.actor, _ = await acting(tx.db, who, government, "lead")
    return await store.roles(tx.db, government)


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
