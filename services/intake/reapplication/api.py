"""Re-applications over HTTP: what was said then beside what is said now, and confirming what still holds."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fastapi import APIRouter, Response

from services.chassis.problems import not_found
from services.chassis.refusal import pointer
from services.chassis.web import CommandRoute, Reading, SignedIn, Writing
from services.intake.access import desk_of, known_cycle, known_government, sheet_of
from services.intake.applications import domain as applications
from services.intake.applications.drafts import Draft
from services.intake.applications.editing import shown
from services.intake.applications.forms import DifferenceView, SectionView
from services.intake.applications.sections import home
from services.intake.applications.versions import differences
from services.intake.applications.views import carried
from services.intake.forms import Named
from services.intake.reapplication.domain import confirmable, fitting, new, plain
from services.intake.reapplication.forms import Confirmation, FigureThenView, GoneView, ReapplicationView, SinceView
from services.intake.reapplication.store import basis_of, confirm

if TYPE_CHECKING:
    from collections.abc import Collection

    from services.chassis.auth import Principal
    from services.chassis.database import Connection, Tx
    from services.intake.applications.store import Sheet
    from services.intake.cycles.domain import Cycle
    from services.intake.reapplication.domain import Basis

router = APIRouter(route_class=CommandRoute)

FRESH = "This draft did not start from an earlier application, or that one is not kept any more."


@router.get("/applications/{application}/reapplication")
async def show_reapplication(application: Named, db: Reading, who: SignedIn) -> ReapplicationView:
    """What the last application said, what became of it in the draft, and what was disclosed of its result."""
    sheet, cycle, basis = await _compared(db, who, application)
    government, then = await known_government(db, sheet.government), basis.then
    draft = Draft.model_validate(sheet.content)
    ground = applications.ground(cycle, government, draft, basis)
    _, gone = fitting(then.said, cycle.charter, government.kind)
    metrics, lost = {metric.id for metric in cycle.charter.metrics}, {one.field for one in gone}
    return ReapplicationView(
        application=application,
        earlier=then.application,
        cycle=then.cycle,
        version=then.version,
        submitted_at=then.submitted_at,
        unconfirmed=len(basis.unconfirmed(draft)),
        carried=[one for one in carried(draft, ground) if one.field not in lost],
        figures=[FigureThenView(**one, asked=one["id"] in metrics) for one in then.said.get("metrics", [])],
        new=list(new(cycle.charter, government.kind, basis)),
        gone=[GoneView(**vars(one)) for one in gone],
    )


@router.get("/applications/{application}/reapplication/changes")
async def show_changes_since(application: Named, db: Reading, who: SignedIn) -> SinceView:
    """What the draft says otherwise than the last application, field by field; figures and the contact included."""
    sheet, _, basis = await _compared(db, who, application)
    found = differences(plain(basis.then.said), plain(sheet.content))
    return SinceView(
        application=application,
        cycle=basis.then.cycle,
        version=basis.then.version,
        differences=[DifferenceView(**vars(one)) for one in found],
    )


@router.post("/applications/{application}/sections/{section}/confirm")
async def confirm_section(
    application: Named,
    section: Named,
    response: Response,
    tx: Writing,
    who: SignedIn,
    body: Confirmation = Confirmation(),  # noqa: B008  (frozen)
) -> SectionView:
    """Confirm that what a section says as it said then still holds: all of it, or the `fields` that are named."""
    return await _confirm(tx, who, application, section, body.fields, response)


@router.post("/applications/{application}/answers/{criterion}/confirm")
async def confirm_answer(
    application: Named, criterion: Named, response: Response, tx: Writing, who: SignedIn
) -> SectionView:
    """Confirm that one answer, with its evidence, is what was said then and still holds."""
    sheet = await sheet_of(tx.db, who, application, "lead", "editor")
    at = pointer(("answers", criterion))
    section = home(at, (await known_cycle(tx.db, sheet.cycle)).charter)
    if section is None:
        raise not_found(f"The charter has no criterion {criterion}.")
    return await _confirm(tx, who, application, section, [at], response)


async def _confirm(
    tx: Tx, who: Principal, application: str, section: str, fields: Collection[str] | None, response: Response
) -> SectionView:
    # Without a lock: what is confirmed is the text of then. Who changes it at the same moment has it count as changed.
    desk, person = await desk_of(tx.db, who, application, section, "lead", "editor")
    now = tx.clock.now()
    applications.must_be_editable(desk.cycle, desk.submitted, now)
    draft = Draft.model_validate(desk.page.content)
    if desk.basis is None:
        raise not_found(FRESH)
    found = confirmable(desk.basis, draft, section, desk.cycle.charter, fields)
    await confirm(tx.db, application, found, person, now)
    desk, _ = await desk_of(tx.db, who, application, section)
    return shown(desk, desk.page, draft, response)


async def _compared(db: Connection, who: Principal, application: str) -> tuple[Sheet, Cycle, Basis]:
    sheet = await sheet_of(db, who, application)
    cycle = await known_cycle(db, sheet.cycle)
    basis = await basis_of(db, sheet, cycle)
    if basis is None:
        raise not_found(FRESH)
    return sheet, cycle, basis
