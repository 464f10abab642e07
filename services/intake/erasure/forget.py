"""What erasing a person takes in intake: their memberships and account, sealed blocks, files, and the receipt."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from schemas.cycles import MemberLeft
from schemas.envelope import parse, read
from schemas.erasures import DisclosureErased
from services.chassis import erased
from services.chassis.receipts import Forgotten, signed
from services.intake.applications.receipts import key_of
from services.intake.archive import Archive
from services.intake.erasure import domain, store
from services.intake.governments import store as governments
from services.intake.governments.domain import evolve_members

if TYPE_CHECKING:
    from services.chassis.database import Tx
    from services.chassis.erasure import Erasure, Outcome
    from services.chassis.service import Service


async def forget_person(service: Service, tx: Tx, wanted: Erasure, outcome: Outcome) -> None:
    """Record what all services need to know, and keep nothing here."""
    places = Counter[str]()
    if wanted.account and (person := await store.person_of(tx.db, wanted.account)):
        await _leave(tx, person)
        await store.forget_person(tx.db, person, places)
    await store.forget_invitees(tx.db, wanted.texts, places)
    contents = await store.contents(tx.db, {one.event for one in wanted.blocks})
    erasures = domain.erase(wanted.blocks, contents)
    await erased.remember(tx.db, erasures)
    for event in erasures:
        tx.record(event, cause=event.event)
        await store.apply(tx.db, event, places)
    for name in wanted.files:
        places["private.file"] += await store.forget_file(tx.db, name, service.clock.machine.now())
        if not wanted.dry_run:
            await Archive.of(service.settings, "open311").remove(name)
    outcome.places = dict(places)


async def _leave(tx: Tx, person: str) -> None:
    for event in domain.leave(person, await store.governments_of(tx.db, person)):
        members = await governments.roles(tx.db, event.government)
        tx.record(event)
        await governments.save_members(tx.db, event.government, evolve_members(members, event))
        await governments.note(tx.db, event.government, tx.clock.now(), None, "member-left", person=person)


async def sign_receipt(service: Service, tx: Tx, outcome: Outcome) -> str:
    """Which events say that it was erased, the digests in them, and how many rows went here."""
    written = [one for one in await tx.flush() if one.header.type in {DisclosureErased.TYPE, MemberLeft.TYPE}]
    events = [read(parse(one.record)) for one in written]
    stated = Forgotten(
        iss=service.settings.public_url,
        erased_at=tx.clock.now(),
        events={one.header.id: one.leaf_hash.hex() for one in written},
        digests=sorted(
            {one for event in events if isinstance(event, DisclosureErased) for one in event.digests.values()}
        ),
        rows=outcome.places,
    )
    return signed(stated, key_of(service.settings))
