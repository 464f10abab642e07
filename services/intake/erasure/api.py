"""Finding a person who asks to be erased, over HTTP. The erasing itself is asked of every service, at `/erasures`."""

from __future__ import annotations

from fastapi import APIRouter

from services.chassis.web import CommandRoute, SignedIn, Writing
from services.intake.erasure import store
from services.intake.erasure.forms import FoundView, SomebodyView, Sought

router = APIRouter(route_class=CommandRoute)


@router.post("/people/find")
async def find_people(body: Sought, tx: Writing, who: SignedIn) -> FoundView:
    """Who has this person id, address or account: to program-admin, who may erase them.

    A POST, so that no address of a page, and hence no log, ever holds a name.
    """
    who.require("program-admin")
    found = await store.find(tx.db, body.person, body.issuer or who.issuer)
    # A repeated Idempotency-Key is answered with the ids alone: no name may be kept for it.
    nobody = {"issuer": "", "subject": "", "name": "", "email": ""}
    tx.kept = {"people": [{"person": one.person, **nobody} for one in found]}
    return FoundView(people=[SomebodyView(**vars(one)) for one in found])
