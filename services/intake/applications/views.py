"""How drafts and what is found in them are shown."""

from __future__ import annotations

from typing import TYPE_CHECKING

from services.intake.applications.drafts import SIZE_LIMIT
from services.intake.applications.findings import Ground, report
from services.intake.applications.forms import FindingView, SectionView, WarningView

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

    from services.chassis.refusal import Violation
    from services.intake.applications.drafts import Draft
    from services.intake.applications.findings import Warned
    from services.intake.applications.sections import Section
    from services.intake.applications.store import Page


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
        changed_by=page.person,
        changed_at=page.at,
        bytes_left=SIZE_LIMIT - size,
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
