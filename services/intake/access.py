"""Who may: each function loads what it names, once the caller is known to be allowed to see it."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import structlog

from services.chassis.problems import Problem, not_found
from services.intake.applications import store as applications
from services.intake.cycles import store as cycles
from services.intake.governments import store as governments
from services.intake.governments.domain import must_not_be_merged
from services.intake.locks import OWNED
from services.intake.reapplication.store import held_against

if TYPE_CHECKING:
    from services.chassis.auth import Principal
    from services.chassis.database import Connection, Tx
    from services.intake.applications.store import Case, Desk, Sheet
    from services.intake.cycles.domain import Cycle
    from services.intake.governments.domain import Government, Members, Role
    from services.intake.locks import Lock

log = structlog.get_logger()


async def known_cycle(db: Connection, name: str, lock: Lock = "", application: str = "") -> Cycle:
    """The cycle, with the deadline that holds for an `application`; a 404 problem where there is none."""
    found = await cycles.cycle(db, name, lock, application)
    if found is None:
        raise not_found(f"There is no cycle {name}.")
    return found


async def known_government(db: Connection, name: str, lock: Lock = "") -> Government:
    """The government; a 404 problem where there is none."""
    found = await governments.government(db, name, lock)
    if found is None:
        raise not_found()
    return found


async def active_government(db: Connection, name: str, lock: Lock = "") -> Government:
    """The government; a 404 problem where there is none, and a refusal where it was merged into another."""
    found = await known_government(db, name, lock)
    must_not_be_merged(found)
    return found


async def acting(db: Connection, who: Principal, government: str, *roles: Role) -> tuple[str, Role]:
    """Give the caller's person id and role in a government: 404 for a stranger, 403 for a role not among `roles`.

    Who acts for a government acts for those that were merged into it. A stranger who acts for another government is
    logged.
    """
    found = await governments.membership(db, who.issuer, who.subject, government)
    return await admitted(db, who, government, found, *roles)


async def admitted(
    db: Connection, who: Principal, government: str, found: tuple[str, Role] | None, *roles: Role
) -> tuple[str, Role]:
    """Give `found`, a membership that was read already, by the rules of `acting`."""
    if found is None or who.government not in {None, government}:
        if person := await governments.member_elsewhere(db, who.issuer, who.subject):
            log.warning("asked for another government", person=person, government=government)
        raise not_found()
    if roles and found[1] not in roles:
        raise Problem(403, "role-required", f"This takes the government's {' or '.join(roles)}; you are {found[1]}.")
    return found


async def led(tx: Tx, who: Principal, government: str, *, itself: str = "") -> Members:
    """The government's people, owned, once the caller is known to lead them, or to be the person `itself`."""
    # The row first: of two leads who remove each other, the second one is none any more.
    found = await governments.government(tx.db, government, OWNED)
    tx.actor, _ = await acting(tx.db, who, government)
    if tx.actor != itself:
        await acting(tx.db, who, government, "lead")
    if found is not None:
        must_not_be_merged(found)
    return await governments.roles(tx.db, government)


async def sheet_of(db: Connection, who: Principal, application: str, *roles: Role, lock: Lock = "") -> Sheet:
    """Give the draft, once the caller is known to be one of its government's people with one of `roles`."""
    sheet = await applications.sheet(db, application, lock)
    if sheet is None:
        raise not_found()
    await acting(db, who, sheet.government, *roles)
    return sheet


async def case_of(db: Connection, who: Principal, application: str, *roles: Role) -> tuple[Sheet, Case]:
    """Give the draft, owned, with what its submission is decided by, once the caller is known to have a role."""
    sheet = await applications.sheet(db, application, OWNED)
    if sheet is None:
        raise not_found()
    case = await applications.case(db, sheet, (who.issuer, who.subject))
    await admitted(db, who, sheet.government, case.member, *roles)
    return sheet, case


async def desk_of(
    db: Connection, who: Principal, application: str, section: str, *roles: Role, lock: Lock = ""
) -> tuple[Desk, str]:
    """Give one section of a draft and the caller's person id, once the caller is known to have one of `roles`."""
    desk = await applications.desk(db, application, section, (who.issuer, who.subject), lock)
    if desk is None:
        raise not_found()
    person, _ = await admitted(db, who, desk.government, desk.member, *roles)
    if desk.carried:
        desk = replace(desk, basis=await held_against(db, application, desk.cycle))
    return desk, person
