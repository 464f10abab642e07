"""A draft as a workbook with its form, and the draft in one that came back: all that is wrong with it, by its cells."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from services.chassis.problems import Problem
from services.chassis.refusal import RefusedError
from services.intake.applications.drafts import Draft
from services.intake.exchange import form, workbook
from services.intake.exchange.domain import drafted
from services.intake.exchange.filling import filled

if TYPE_CHECKING:
    from schemas.charter import Charter
    from services.intake.applications.sections import Document
    from services.intake.exchange.filling import Filled, Place


def form_of(draft: Draft, charter: Charter, kind: str) -> bytes:
    """The form of an applicant of this kind as a workbook, filled in with what the draft says."""
    columns = {name: list(layout.values()) for name, layout in form.LAYOUT.items()}
    widths = {name: [width for width, _ in given] for name, given in columns.items()}
    asked = {name: [number for number, (_, fill) in enumerate(given) if fill] for name, given in columns.items()}
    sheets = form.rows(draft, charter, kind)
    return workbook.written(sheets, {form.READ_ME: [110], **widths}, {form.READ_ME: [], **asked})


def draft_of(content: bytes, charter: Charter) -> tuple[Draft, dict[str, Any]]:
    """The draft in a workbook; Problem 422 with all that keeps it from being one, by its cells."""
    try:
        sheets = workbook.read(content, form.LAYOUT)
    except workbook.WorkbookError as error:
        raise Problem(422, "workbook", str(error)) from error
    found = filled(sheets, charter)
    errors = [_cell_error(place, one.rule, one.detail, "", sheets) for place, one in found.wrong]
    try:
        draft, document = drafted(found.document, charter)
    except RefusedError as error:
        errors += [_of_pointer(found, one.rule, one.detail, one.field, sheets) for one in error.violations]
    else:
        if not errors:
            return draft, document
    detail = f"{len(errors)} cells cannot be kept as they are: each error says which, and what is wrong with it."
    raise Problem(422, "form", detail, errors=errors)


def returned(document: Document, before: Document, charter: Charter, kind: str) -> Document:
    """A form's document, with all that nobody touched as it stands in the draft `before`.

    What says nothing is not in a form, nor what was acknowledged, and it has an order and defaults of its own: what
    comes back reads otherwise though nobody wrote in it. So it is held against the form that goes out of `before`.
    """
    try:
        _, sent = drafted(filled(form.rows(Draft.model_validate(before), charter, kind), charter).document, charter)
    except RefusedError:
        return document
    out, came, own = _parts(sent), _parts(document), _parts(before)
    whole: Document = {}
    for part in dict.fromkeys((*own, *came)):
        same = part in own and out.get(part) == came.get(part)
        if same or part in came:
            root, *names = part
            target, last = (whole.setdefault(root, {}), names[0]) if names else (whole, root)
            target[last] = own[part] if same else came[part]
    return whole


def _parts(document: Document) -> dict[tuple[str, ...], Any]:
    """Each answer and fact, and whatever else stands at the top, by where it stands."""
    found: dict[tuple[str, ...], Any] = {}
    for root, value in document.items():
        if root in {"answers", "facts"}:
            found |= {(root, name): one for name, one in value.items()}
        else:
            found[root,] = value
    return found


def _of_pointer(found: Filled, rule: str, detail: str, at: str, sheets: dict[str, workbook.Rows]) -> dict[str, str]:
    place = found.place_of(at)
    if place is None:
        return {"pointer": at, "rule": rule, "detail": detail}
    return _cell_error(place, rule, detail, at, sheets)


def _cell_error(place: Place, rule: str, detail: str, at: str, sheets: dict[str, workbook.Rows]) -> dict[str, str]:
    headings = [text.strip() for text in sheets.get(place.sheet, [[]])[0]]
    column = workbook.letter(headings.index(place.heading) + 1) if place.heading in headings else ""
    return {
        "pointer": at,
        "rule": rule,
        "detail": detail,
        "sheet": place.sheet,
        "row": str(place.row),
        "column": column,
        "heading": place.heading,
    }
