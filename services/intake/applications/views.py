"""How drafts and what is found in them are shown."""

from __future__ import annotations

from typing import TYPE_CHECKING

from schemas.exact import Ratio
from services.intake.applications.drafts import SIZE_LIMIT
from services.intake.applications.findings import Ground, report
from services.intake.applications.forms import CarriedView, FindingView, ResultView, SectionView, WarningView
from services.intake.applications.sections import home
from services.intake.reapplication.domain import items

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

    from services.chassis.refusal import Violation
    from services.intake.applications.drafts import Draft
    from services.intake.applications.findings import Warned
    from services.intake.applications.sections import Section
    from services.intake.applications.store import Page
    from services.intake.reapplication.domain import Basis, Became


def etag(revision: int) -> str:
    """The ETag of something that was changed this often."""
    return f'"{revision}"'


def section_view(
    application: str, section: Section, page: Page, draft: Draft, ground: Ground, size: int
) -> SectionView:
    """A section with the report on it; `draft` is what its page reads as, `size` the whole draft's bytes."""
    found = report(section, draft, ground)
    return SectionView(
        application=application,
        section=section.name,
        title=section.title,
        etag=etag(page.revision),
        content=page.content,
        asked=found.asked,
        done=found.done,
        complete=found.complete,
        problems=findings(found.problems),
        missing=findings(found.missing),
        warnings=warnings(found.warnings, draft.acknowledged),
        carried=[one for one in carried(draft, ground) if home(one.field, ground.charter) == section.name],
        changed_by=page.person,
        changed_at=page.at,
        bytes_left=SIZE_LIMIT - size,
    )


def carried(draft: Draft, ground: Ground) -> list[CarriedView]:
    """What the last application said, place by place, with what became of it in a draft or in a section of it."""
    basis = ground.basis
    if basis is None:
        return []
    now = items(draft)
    return [_carried(basis, at, basis.became(at, now)) for at in basis.items]


def _carried(basis: Basis, at: str, state: Became) -> CarriedView:
    confirmed = basis.confirmed[at] if state == "confirmed" else None
    result = basis.results.get(at.removeprefix("/answers/"))
    return CarriedView(
        field=at,
        state=state,
        cycle=basis.then.cycle,
        version=basis.then.version,
        then=basis.items[at],
        confirmed_by=confirmed.person if confirmed else None,
        confirmed_at=confirmed.at if confirmed else None,
        result=ResultView(points=Ratio.of(result.points), maximum=result.maximum, standing=result.standing)
        if result
        else None,
    )


def findings(violations: Iterable[Violation]) -> list[FindingView]:
    """Problems and gaps."""
    return [FindingView(pointer=one.field, rule=one.rule, detail=one.detail) for one in violations]


def warnings(found: Iterable[Warned], acknowledged: Collection[str]) -> list[WarningView]:
    """Warnings, and whether somebody looked at them."""
    return [
        WarningView(id=one.id, pointer=one.field, rule=one.rule, detail=one.detail, acknowledged=one.id in acknowledged)
        for one in found
    ]
