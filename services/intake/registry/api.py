"""Confirming and merging governments over HTTP, for the program-admin."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING, Annotated

from fastapi import APIRouter, Query

from schemas.cycles import Account
from services.chassis.problems import not_found
from services.chassis.web import Asked, CommandRoute, Reading, SignedIn, Writing
from services.intake.access import known_cycle
from services.intake.etags import IfMatch, must_match
from services.intake.forms import Named
from services.intake.governments import store as governments
from services.intake.governments.domain import Standing, evolve_members
from services.intake.governments.forms import MemberView, etag, member_view, profile_of
from services.intake.locks import OWNED
from services.intake.people import store as people
from services.intake.registry import domain, store
from services.intake.registry.forms import (
    EntryView,
    LikeView,
    MarkView,
    Merger,
    RegistrationsView,
    RegistrationView,
)
from services.intake.registry.spelling import Registration, likenesses

if TYPE_CHECKING:
    from datetime import datetime

    from services.chassis.database import Connection, Tx
    from services.intake.governments.domain import Government
    from services.intake.registry.store import Registered

router = APIRouter(route_class=CommandRoute)

After = Annotated[str | None, Query(max_length=64)]
Limit = Annotated[int, Query(ge=1, le=100)]


@router.get("/governments")
async def list_governments(
    db: Reading, who: SignedIn, service: Asked, standing: Standing | None = None, after: After = None, limit: Limit = 50
) -> RegistrationsView:
    """Registrations, the oldest first, each with its people, its applications and others that it may double."""
    who.require("program-admin")
    found = await store.page(db, standing, after, limit + 1)
    shown = found[:limit]
    following = shown[-1].government.id if len(found) > limit else None
    return RegistrationsView(governments=await _views(db, shown, service.clock.now()), next=following)


@router.post("/governments/{government}/confirm")
async def confirm_government(
    government: Named, tx: Writing, who: SignedIn, if_match: IfMatch = None
) -> RegistrationView:
    """Confirm that a government is what it says; If-Match with the `etag` of the profile that was looked at."""
    who.require("program-admin")
    found = await _registered(tx, government)
    must_match(if_match, etag(found), "this government's profile")
    event = domain.confirm(found)
    tx.actor = await people.caller(tx.db, who)
    tx.record(event)
    await governments.save_standing(tx.db, event)
    await governments.note(tx.db, government, tx.clock.now(), None, "confirmed")
    return await _view(tx, government)


@router.post("/governments/{government}/merge")
async def merge_government(government: Named, body: Merger, tx: Writing, who: SignedIn) -> RegistrationView:
    """Merge a duplicate into the registration that is kept: people and drafts move, open invitations are void.

    Two applications in one cycle are refused with what to do about it. Answers the registration that is kept.
    """
    who.require("program-admin")
    await store.own(tx.db, sorted({government, body.into}))
    duplicate, kept = await _registered(tx, government), await governments.government(tx.db, body.into)
    if kept is None:
        raise not_found(f"There is no government {body.into}.")
    merged, now = domain.merge(duplicate, kept), tx.clock.now()
    entries = await store.entries(tx.db, [duplicate.id, kept.id], now)
    domain.must_not_collide(
        [entry for entry in entries if entry.government == duplicate.id],
        [entry for entry in entries if entry.government == kept.id],
        body.set_aside,
    )
    leaving, there = await governments.roles(tx.db, duplicate.id), await governments.roles(tx.db, kept.id)
    accounts = {
        one.person: Account(issuer=one.issuer, subject_claim=one.subject)
        for one in await governments.members(tx.db, duplicate.id)
    }
    moves = domain.move_members((duplicate.id, leaving), (kept.id, there), accounts, body.leave_out)
    tx.actor = await people.caller(tx.db, who)
    cause = tx.record(merged)
    for event in moves:
        tx.record(event, cause=cause)
        if event.subject == kept.id:
            there = evolve_members(there, event)
    await governments.save_standing(tx.db, merged)
    await governments.save_members(tx.db, duplicate.id, {})
    await governments.save_members(tx.db, kept.id, there)
    await store.move_drafts(tx.db, duplicate.id, kept.id, body.set_aside)
    await store.revoke_invitations(tx.db, duplicate.id)
    for one in (duplicate.id, kept.id):
        await governments.note(tx.db, one, now, None, "merged", duplicate=duplicate.id, kept=kept.id)
    return await _view(tx, kept.id)


@router.get("/cycles/{cycle}/unconfirmed")
async def list_marked(cycle: Named, db: Reading, who: SignedIn) -> list[MarkView]:
    """The submitted applications of a cycle that are marked for screening: nobody has confirmed their government."""
    who.require("program-admin")
    await known_cycle(db, cycle)
    return [
        MarkView(application=application, government=one.id, name=one.name, state=one.state, kind=one.kind)
        for application, one in await store.marked(db, cycle)
    ]


async def _registered(tx: Tx, government: str) -> Government:
    found = await governments.government(tx.db, government, OWNED)
    if found is None:
        raise not_found(f"There is no government {government}.")
    return found


async def _view(tx: Tx, government: str) -> RegistrationView:
    (view,) = await _views(tx.db, [await store.one(tx.db, government)], tx.clock.now())
    return view


async def _views(db: Connection, shown: list[Registered], now: datetime) -> list[RegistrationView]:
    """The registrations with what belongs to them, in a fixed number of queries."""
    names = [one.government.id for one in shown]
    by_government: dict[str, list[MemberView]] = defaultdict(list)
    for owner, one in await store.members(db, names):
        by_government[owner].append(member_view(owner, one))
    entries = await store.entries(db, names, now)
    others = {other.id: other for other in await store.registrations(db)}
    return [
        RegistrationView(
            **profile_of(one.government),
            registered_at=one.at,
            members=by_government[one.government.id],
            applications=[_entry(entry) for entry in entries if entry.government == one.government.id],
            alike=_alike(one.government, others),
        )
        for one in shown
    ]


def _entry(entry: domain.Entry) -> EntryView:
    return EntryView(application=entry.application, cycle=entry.cycle, state=entry.state)


def _alike(one: Government, others: dict[str, Registration]) -> list[LikeView]:
    """What a registration may double; nothing for one that was merged."""
    if one.merged_into is not None:
        return []
    found = likenesses(Registration(one.id, one.name, one.state, one.kind), others.values())
    return [
        LikeView(
            government=name,
            name=others[name].name,
            state=others[name].state,
            kind=others[name].kind,
            likeness=likeness,
        )
        for name, likeness in found.items()
    ]
