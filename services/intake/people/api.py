"""Oneself over HTTP: what is kept, and which governments one acts for or could."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fastapi import APIRouter

from services.chassis.web import Asked, CommandRoute, Reading, SignedIn, Writing
from services.intake.admission import store as admission
from services.intake.admission.forms import recovery_view
from services.intake.people import store
from services.intake.people.forms import MembershipView, MeView, Myself, OfDomainView, OfferView

if TYPE_CHECKING:
    from datetime import datetime

    from services.chassis.auth import Principal
    from services.chassis.database import Connection

router = APIRouter(route_class=CommandRoute)


@router.get("/me")
async def show_me(db: Reading, who: SignedIn, service: Asked) -> MeView:
    """What is kept about the caller: account, name and address, memberships, invitations and requests."""
    return await _me(db, who, service.clock.now())


@router.put("/me")
async def save_me(body: Myself, tx: Writing, who: SignedIn) -> MeView:
    """Say one's name and address, instead of what is kept. Neither enters any event."""
    person = await store.person(tx.db, who.issuer, who.subject)
    await store.save(tx.db, person, body.name, body.email)
    return await _me(tx.db, who, tx.clock.now())


async def _me(db: Connection, who: Principal, now: datetime) -> MeView:
    kept = await store.kept(db, who)
    recoveries = await admission.recoveries_of(db, kept.person) if kept else []
    return MeView(
        person=kept.person if kept else None,
        issuer=who.issuer,
        subject=who.subject,
        name=kept.name if kept else "",
        email=kept.email if kept else "",
        memberships=[
            MembershipView(government=one.government, name=one.name, role=one.role, standing=one.standing)
            for one in (await store.memberships(db, kept.person) if kept else [])
        ],
        invited=[
            OfferView(invitation=one.invitation, government_name=one.name, role=one.role, expires_at=one.expires_at)
            for one in await store.offers(db, who.email, now)
        ],
        recoveries=[recovery_view(one) for one in recoveries],
        of_my_domain=[
            OfDomainView(government=one.government, name=one.name, state=one.state)
            for one in await store.of_domain(db, who)
        ],
    )
