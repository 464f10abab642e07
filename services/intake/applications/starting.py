"""Starting a government's one draft of a cycle, and filling it with what somebody brings along."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from services.chassis.ids import opaque_id
from services.chassis.refusal import RefusedError
from services.intake.access import acting, active_government, known_cycle, sheet_of
from services.intake.applications import domain, drafts, store
from services.intake.applications.sections import sections, split, tidy
from services.intake.cycles.domain import must_be_open
from services.intake.locks import OWNED, SHARED
from services.intake.reapplication.domain import begun
from services.intake.reapplication.store import last, share_files
from services.intake.reapplication.store import start as carry

if TYPE_CHECKING:
    from services.chassis.auth import Principal
    from services.chassis.database import Tx
    from services.intake.applications.sections import Document
    from services.intake.applications.store import Sheet
    from services.intake.cycles.domain import Cycle
    from services.intake.governments.domain import Government


@dataclass(frozen=True)
class Started:
    """A draft that is owned, of an open cycle that its government may apply to; `new` where it was not there before."""

    person: str
    cycle: Cycle
    government: Government
    sheet: Sheet
    new: bool


async def start(tx: Tx, who: Principal, cycle: str, government: str) -> Started:
    """The draft of a government in a cycle, started by one of its people unless it was there."""
    person, _ = await acting(tx.db, who, government, "lead", "editor")
    found = await known_cycle(tx.db, cycle)
    must_be_open(found, tx.clock.now())
    # Held: a merge that comes now waits, and takes this draft along.
    applicant = await active_government(tx.db, government, SHARED)
    domain.must_be_eligible(found, applicant)
    name = opaque_id()
    existing = await store.add_draft(tx.db, name, cycle, government, sections(found.charter))
    sheet = await sheet_of(tx.db, who, existing or name, lock=OWNED)
    return Started(person, found, applicant, sheet, new=existing is None)


async def take_last(tx: Tx, started: Started) -> Sheet:
    """Fill a draft that is empty from the government's last application; RefusedError (422) where there is none."""
    then = await last(tx.db, started.sheet.government, started.cycle)
    if then is None:
        detail = "This government has no application to an earlier cycle that still stands: start without `from`."
        raise RefusedError("no-earlier-application", detail, field="/from", status=422)
    name, charter = started.sheet.application, started.cycle.charter
    await carry(tx.db, name, then, started.person, tx.clock.now())
    files = await share_files(tx.db, name, then, charter)
    return replace(await fill(tx, started, begun(then, charter, started.government.kind, files)), carried=True)


async def fill(tx: Tx, started: Started, document: Document) -> Sheet:
    """Fill a draft that is empty with a document; RefusedError (422) for what of it cannot be kept."""
    sheet, charter = started.sheet, started.cycle.charter
    drafts.must_fit(drafts.shaped(document, charter).size)
    pages = {
        name: await store.save_page(
            tx.db, sheet.application, sheet.pages[name], content, started.person, tx.clock.now()
        )
        for name, content in split(tidy(document), charter).items()
    }
    return replace(sheet, pages=pages)
