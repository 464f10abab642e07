"""Who may: each function loads what it names, once the caller is known to be allowed to see it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from services.chassis.problems import Problem, not_found
from services.intake.applications import store as applications
from services.intake.cycles import store as cycles
from services.intake.governments import store as governments

if TYPE_CHECKING:
    from services.chassis.auth import Principal
    from services.chassis.database import Connection
    from services.intake.applications.store import Sheet
    from services.intake.cycles.domain import Cycle
    from services.intake.governments.domain import Government, Role
    from services.intake.locks import Lock


async def known_cycle(db: Connection, name: str, lock: Lock = "") -> Cycle:
    """The cycle; a 404 problem where there is none."""
    found = await cycles.cycle(db, name, lock)
    if found is None:
        raise not_found(f"There is no cycle {name}.")
    return found


async def known_government(db: Connection, name: str) -> Government:
    """The government; a 404 problem where there is none."""
    found = await governments.government(db, name)
    if found is None:
        raise not_found()
    return found


async def acting(db: Connection, who: Principal, government: str, *roles: Role) -> tuple[str, Role]:
    """Give the caller's person id and role in a government: 404 for a stranger, 403 for a role not among `roles`."""
    found = await governments.membership(db, who.issuer, who.subject, government)
    if found is None or who.government not in {None, government}:
        raise not_found()
    if roles and found[1] not in roles:
        raise Problem(403, "role-required", f"This takes the government's {' or '.join(roles)}; you are {found[1]}.")
    return found


async def sheet_of(
    db: Connection, who: Principal, application: str, *roles: Role, lock: Lock = ""
) -> Sheet:
    """Give the draft, once the caller is known to be one of its government's people with one of `roles`."""
    sheet = await applications.sheet(db, application, lock)
    if sheet is None:
        raise not_found()
    await acting(db, who, sheet.government, *roles)
    return sheet
