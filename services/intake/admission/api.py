"""Invitations and recoveries over HTTP."""

from __future__ import annotations

import secrets
from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Annotated

from fastapi import APIRouter, Query

from schemas.cycles import Account
from services.chassis.ids import opaque_id
from services.chassis.problems import not_found
from services.chassis.refusal import RefusedError
from services.chassis.web import Asked, CommandRoute, Reading, SignedIn, Writing
from services.intake.access import acting, active_government, led
from services.intake.admission import domain, store
from services.intake.admission.domain import Invitation, Recovery, RecoveryState
from services.intake.admission.forms import (
    AcceptedInvitation,
    InvitationView,
    MadeInvitation,
    NewInvitation,
    NewRecovery,
    RecoveryAnswer,
    RecoveryRefusal,
    RecoveryView,
    recovery_view,
)
from services.intake.forms import Named
from services.intake.governments import store as governments
from services.intake.governments.domain import evolve_members, join, make_lead
from services.intake.governments.forms import MemberView, member_view
from services.intake.locks import OWNED
from services.intake.people import store as people

if TYPE_CHECKING:
    from datetime import datetime

    from services.chassis.database import Tx

router = APIRouter(route_class=CommandRoute)

TOKEN_BYTES = 32
Limit = Annotated[int, Query(ge=1, le=200)]


@router.post("/governments/{government}/invitations", status_code=201)
async def invite(government: Named, body: NewInvitation, tx: Writing, who: SignedIn) -> MadeInvitation:
    """Invite somebody to act for a government (by a lead): a token for one person, shown once and kept only as a hash.

    A repeated Idempotency-Key is answered without the token: revoke the invitation and make another one.
    """
    await led(tx, who, government)
    now, token = tx.clock.now(), secrets.token_urlsafe(TOKEN_BYTES)
    domain.must_have_room(await store.open_invitations(tx.db, government, now))
    made = Invitation(
        id=opaque_id(),
        government=government,
        role=body.role,
        email=body.email,
        invited_by=str(tx.actor),
        invited_at=now,
        expires_at=domain.lasting(now, body.days),
    )
    await store.add_invitation(tx.db, made, domain.fingerprint(token))
    await governments.note(tx.db, government, now, tx.actor, "invited", invitation=made.id, role=made.role)
    view = MadeInvitation(**_invitation(made, now).model_dump(), token=token)
    tx.kept = view.model_copy(update={"token": None}).model_dump(mode="json")
    return view


@router.get("/governments/{government}/invitations")
async def list_invitations(government: Named, db: Reading, who: SignedIn, service: Asked) -> list[InvitationView]:
    """A government's invitations, the newest first, to its leads."""
    await acting(db, who, government, "lead")
    now = service.clock.now()
    return [_invitation(one, now) for one in await store.invitations(db, government)]


@router.delete("/governments/{government}/invitations/{invitation}", status_code=204)
async def revoke_invitation(government: Named, invitation: Named, tx: Writing, who: SignedIn) -> None:
    """Take an invitation back (by a lead), as long as nobody has accepted it."""
    await led(tx, who, government)
    found, now = await store.invitation(tx.db, invitation, government), tx.clock.now()
    if found is None:
        raise not_found("There is no such invitation.")
    domain.must_be_open(found, now)
    await store.save_invitation(tx.db, replace(found, revoked=True))
    await governments.note(tx.db, government, now, tx.actor, "invitation-revoked", invitation=found.id)


@router.post("/invitations/accept", status_code=201)
async def accept_invitation(body: AcceptedInvitation, tx: Writing, who: SignedIn) -> MemberView:
    """Act for the government that the token invites to, in the invitation's role. A token is good for one person."""
    who.require("applicant")
    sha256 = domain.fingerprint(body.token)
    found = await store.invitation_by(tx.db, sha256)
    if found is None or who.government not in {None, found.government}:
        raise not_found("There is no invitation with this token: is it complete?")
    # The government's row first: whoever accepts, revokes or merges at the same time waits here.
    government = await governments.government(tx.db, found.government, OWNED)
    found = await store.invitation_by(tx.db, sha256)
    if government is None or found is None:
        raise not_found("There is no invitation with this token: is it complete?")
    now = tx.clock.now()
    domain.must_be_open(found, now)
    members = await governments.roles(tx.db, government.id)
    tx.actor = await people.caller(tx.db, who)
    account = Account(issuer=who.issuer, subject_claim=who.subject)
    event = join(members, government.id, tx.actor, found.role, account)
    tx.record(event)
    await governments.save_members(tx.db, government.id, evolve_members(members, event))
    await store.save_invitation(tx.db, replace(found, accepted_by=tx.actor))
    detail = {"person": tx.actor, "role": found.role, "invitation": found.id}
    await governments.note(tx.db, government.id, now, tx.actor, "member-joined", **detail)
    (view,) = [one for one in await governments.members(tx.db, government.id) if one.person == tx.actor]
    return member_view(government.id, view)


@router.post("/governments/{government}/recoveries", status_code=201)
async def ask_for_recovery(government: Named, body: NewRecovery, tx: Writing, who: SignedIn) -> RecoveryView:
    """Ask to lead a government whose lead has left or does not answer; the program decides.

    For whoever's token proves an address of the government's official e-mail domain (`email` with `email_verified`).
    """
    who.require("applicant")
    found = await governments.government(tx.db, government, OWNED)
    # Nobody else learns that there is such a government.
    if found is None or who.government not in {None, government} or not domain.shows(who.email, found.email_domain):
        raise not_found("There is no government here that your address is of: sign in with your official one.")
    found = await active_government(tx.db, government)
    person = await people.caller(tx.db, who)
    domain.must_not_lead(await governments.roles(tx.db, government), person)
    asked = Recovery(opaque_id(), government, person, found.email_domain, body.reason, tx.clock.now())
    if not await store.add_recovery(tx.db, asked):
        raise RefusedError("recovery-open", "You have asked already: the program has not decided yet.")
    return recovery_view(store.Asked(asked, found.name))


@router.get("/recoveries")
async def list_recoveries(
    db: Reading, who: SignedIn, state: RecoveryState = "open", limit: Limit = 100
) -> list[RecoveryView]:
    """Requests to lead a government, the oldest first, to the program-admin."""
    who.require("program-admin")
    return [recovery_view(one) for one in await store.recoveries(db, state, limit)]


@router.post("/recoveries/{recovery}/approve")
async def approve_recovery(
    recovery: Named,
    tx: Writing,
    who: SignedIn,
    body: RecoveryAnswer = RecoveryAnswer(),  # noqa: B008  (frozen)
) -> RecoveryView:
    """Make who asked a lead of the government. Its other leads stay, and read it in the government's history."""
    who.require("program-admin")
    asked, now = await _undecided(tx, recovery), tx.clock.now()
    name, person = asked.recovery.government, asked.recovery.person
    await active_government(tx.db, name)
    members = await governments.roles(tx.db, name)
    account = await people.account(tx.db, person)
    if account is None:
        raise not_found("Who asked has no account any more.")
    event = make_lead(members, name, person, Account(issuer=account[0], subject_claim=account[1]))
    tx.actor = await people.caller(tx.db, who)
    if event is not None:
        tx.record(event)
        await governments.save_members(tx.db, name, evolve_members(members, event))
    await governments.note(tx.db, name, now, None, "recovered", person=person, recovery=recovery)
    return await _decided(tx, asked, "approved", body.answer, now)


@router.post("/recoveries/{recovery}/refuse")
async def refuse_recovery(recovery: Named, body: RecoveryRefusal, tx: Writing, who: SignedIn) -> RecoveryView:
    """Refuse a request, with the reason, which who asked can read."""
    who.require("program-admin")
    return await _decided(tx, await _undecided(tx, recovery), "refused", body.answer, tx.clock.now())


async def _undecided(tx: Tx, recovery: str) -> store.Asked:
    """The request, its government's row owned."""
    found = await store.recovery(tx.db, recovery)
    if found is None:
        raise not_found("There is no such request.")
    await governments.government(tx.db, found.recovery.government, OWNED)
    found = await store.recovery(tx.db, recovery)
    if found is None:
        raise not_found("There is no such request.")
    domain.must_be_undecided(found.recovery)
    return found


async def _decided(tx: Tx, asked: store.Asked, state: RecoveryState, answer: str, now: datetime) -> RecoveryView:
    decided = replace(asked.recovery, state=state, answer=answer, decided_at=now)
    await store.save_recovery(tx.db, decided)
    return recovery_view(replace(asked, recovery=decided))


def _invitation(one: Invitation, now: datetime) -> InvitationView:
    shown = {name: value for name, value in asdict(one).items() if name not in {"id", "revoked"}}
    return InvitationView(invitation=one.id, state=one.state(now), **shown)
