"""The sections of a draft, which are edited and versioned apart: the answers of each area, facts, metrics, contact.

A section's content is the part of the draft's document that is its own, with the same names, without nulls and without
empty objects. So it is the same thing as its *fields*: what is no object, by its pointer. A change is the fields that
it sets (a value) or removes (None), and the changes in their order make the content again: nothing that was taken is
ever lost. Pure, as `cycles.domain` is.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from schemas.charter import Area, Charter
from services.chassis.refusal import RefusedError, Violation, pointer

Document = dict[str, Any]

ANSWERS = "answers."
"""What the name of an area's section begins with, so that no area's id can be taken for another section's."""
_ROOTS = {"facts": ("facts", "assumed"), "metrics": ("metrics",), "contact": ("contact",)}
_TITLES = {"facts": "Facts", "metrics": "Metrics", "contact": "Contact"}


@dataclass(frozen=True)
class Section:
    """A section: its name in addresses, its title, and its key area if it holds answers."""

    name: str
    title: str
    area: Area | None = None


def sections(charter: Charter) -> dict[str, Section]:
    """The sections of a draft under this charter, by name, in the order in which they are shown."""
    areas = [Section(ANSWERS + area.id, area.name, area) for area in charter.areas]
    return {section.name: section for section in (*areas, *(Section(name, _TITLES[name]) for name in _ROOTS))}


def _criteria(charter: Charter) -> dict[str, str]:
    """The name of each criterion's section."""
    return {criterion.id: ANSWERS + area.id for area in charter.areas for criterion in area.criteria}


def home(field: str, charter: Charter) -> str | None:
    """The name of the section that the field at this pointer belongs to; None where there is no such place."""
    match _parts(field):
        case ["answers", criterion, *_]:
            return _criteria(charter).get(criterion)
        case ["acknowledged", *_]:
            return None
        case [root, *_]:
            return next((name for name, roots in _ROOTS.items() if root in roots), None)
    return None


def split(document: Document, charter: Charter) -> dict[str, Document]:
    """The content of every section of a draft's tidy document; RefusedError for what belongs to none."""
    found: dict[str, Document] = {name: {} for name in sections(charter)}
    of_criterion = _criteria(charter)
    for name, answer in document.get("answers", {}).items():
        found[of_criterion[name]].setdefault("answers", {})[name] = answer
    for name, roots in _ROOTS.items():
        found[name].update({root: document[root] for root in roots if root in document})
    for number, warning in enumerate(document.get("acknowledged", [])):
        name = warning.rpartition(":")[0]
        if name not in found:
            detail = f"{warning!r} is no warning's id: copy it from the section or from the check."
            raise RefusedError("unknown-warning", detail, field=pointer(("acknowledged", number)), status=422)
        found[name].setdefault("acknowledged", []).append(warning)
    return found


def joined(contents: Mapping[str, Document]) -> Document:
    """The draft's document made of its sections."""
    whole: Document = {}
    for content in contents.values():
        for root, value in content.items():
            if root == "answers":
                whole.setdefault(root, {}).update(value)
            elif root == "acknowledged":
                whole[root] = [*whole.get(root, []), *value]
            else:
                whole[root] = value
    return whole


def must_stay_within(section: Section, content: Document, charter: Charter) -> None:
    """RefusedError (422) for a content that holds something of another section."""
    own = {criterion.id for criterion in section.area.criteria} if section.area else set()
    if content.keys() <= {"answers"} and content.get("answers", {}).keys() <= own:
        return
    wrong = [
        Violation("other-section", f"This belongs to the section {name}: send it there.", field)
        for name, other in split(content, charter).items()
        if name != section.name
        for field in fields(other)
    ]
    if wrong:
        raise RefusedError.all(wrong)


def tidy(content: Mapping[str, Any]) -> Document:
    """The same without objects that hold nothing."""
    kept = ((key, tidy(value) if isinstance(value, dict) else value) for key, value in content.items())
    return {key: value for key, value in kept if value != {}}


def fields(content: Mapping[str, Any]) -> dict[str, Any]:
    """Every field of a tidy content, by its pointer."""
    return _fields_at(content, "")


def _leaves(content: Mapping[str, Any], at: str) -> Iterator[tuple[str, Any]]:
    for key, value in content.items():
        if isinstance(value, dict):
            yield from _leaves(value, at + pointer((key,)))
        else:
            yield at + pointer((key,)), value


def changes(before: Document, after: Document) -> dict[str, Any]:
    """The fields that differ between two tidy contents: the new value, or None where it is gone."""
    return dict(_differences(before, after, ""))


def _differences(before: Mapping[str, Any], after: Mapping[str, Any], at: str) -> Iterator[tuple[str, Any]]:
    for key in dict.fromkeys((*before, *after)):
        old, new = before.get(key), after.get(key)
        if old == new:
            continue
        here = at + pointer((key,))
        if not isinstance(new, dict) or not isinstance(old, dict | None):
            yield from ((field, None) for field in _fields_at(old, here))
            yield from _fields_at(new, here).items()
        else:
            yield from _differences(old or {}, new, here)


def _fields_at(value: object, at: str) -> dict[str, Any]:
    """The fields of what stands at a pointer: its own ones if it is an object, else itself; none for None."""
    if isinstance(value, dict):
        return dict(_leaves(value, at))
    return {} if value is None else {at: value}


def replayed(history: Iterable[Mapping[str, Any]]) -> Document:
    """The content that these changes, in their order, have made."""
    present: dict[str, Any] = {}
    for change in history:
        present.update(change)
    content: Document = {}
    for field, value in present.items():
        if value is not None:
            *inner, last = _parts(field)
            target = content
            for part in inner:
                target = target.setdefault(part, {})
            target[last] = value
    return content


def _parts(field: str) -> list[str]:
    """The names in an RFC 6901 pointer."""
    return [part.replace("~1", "/").replace("~0", "~") for part in field.split("/")[1:]]
