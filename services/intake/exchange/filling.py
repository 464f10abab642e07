"""The spreadsheet form as it came back: the draft's document, and which cell each of its places came from.

What is no form is told here, by cell; what is no draft is told by whoever reads the document, whose pointers `place_of`
leads back to a cell. Pure.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from schemas.catalogue import Fact
from schemas.charter import Charter
from services.chassis.refusal import Violation, pointer
from services.intake.exchange.form import LAYOUT, Rows

_YES, _NO = frozenset({"yes", "true", "x", "1"}), frozenset({"no", "false", "0", ""})


@dataclass(frozen=True)
class Place:
    """A cell: its sheet, row (from 1) and heading."""

    sheet: str
    row: int
    heading: str


@dataclass
class Filled:
    """What a form says: the draft's document, which cell each place came from, and what could not be read."""

    document: dict[str, Any] = field(default_factory=dict)
    places: dict[str, Place] = field(default_factory=dict)
    wrong: list[tuple[Place, Violation]] = field(default_factory=list)

    def put(self, place: Place, *parts: str | int) -> str:
        """Note where something came from; its pointer."""
        at = pointer(parts)
        self.places.setdefault(at, place)
        return at

    def refuse(self, place: Place, rule: str, detail: str) -> None:
        """Note what is wrong with a cell."""
        self.wrong.append((place, Violation(rule, detail)))

    def place_of(self, at: str) -> Place | None:
        """The cell of a pointer or of the nearest place around it."""
        while at:
            if at in self.places:
                return self.places[at]
            at = at.rpartition("/")[0]
        return None


def filled(sheets: Mapping[str, Rows], charter: Charter) -> Filled:
    """What the form in these sheets says. It is checked for being a form, and for nothing that a draft is."""
    made = Filled()
    readers: dict[str, Callable[[Filled, int, dict[str, str]], None]] = {
        "Answers": _take_answer,
        "Evidence": _take_evidence,
        "Facts": partial(_take_fact, {fact.id: fact for fact in charter.facts}),
        "Metrics": _take_metric,
        "Contact": _take_contact,
    }
    for name, take in readers.items():
        for number, row in _lines(name, sheets.get(name), made):
            take(made, number, row)
    return made


def _lines(name: str, given: Rows | None, made: Filled) -> Iterator[tuple[int, dict[str, str]]]:
    """(number, cells by heading) of the rows in which something is filled in."""
    if not given:
        made.refuse(Place(name, 1, ""), "missing-sheet", f"The form's sheet {name!r} is missing: keep it, even empty.")
        return
    headings = [text.strip() for text in given[0]]
    lacking = [heading for heading in _needed(name) if heading not in headings]
    for heading in lacking:
        made.refuse(Place(name, 1, heading), "missing-column", f"{name} has no column {heading!r}: keep the headings.")
    if lacking:
        return
    for number, cells in enumerate(given[1:], 2):
        row = {heading: cell for heading, cell in zip(headings, cells, strict=False) if heading in LAYOUT[name]}
        if any(row.get(heading, "") for heading, (_, asked) in LAYOUT[name].items() if asked):
            yield number, {**dict.fromkeys(LAYOUT[name], ""), **row}


def _needed(name: str) -> list[str]:
    """The headings without which a sheet cannot be read: the first, which names the row, and what is filled in."""
    return [heading for number, (heading, (_, asked)) in enumerate(LAYOUT[name].items()) if asked or not number]


def _take_answer(made: Filled, number: int, row: dict[str, str]) -> None:
    name, answers = row["Id"].strip(), made.document.setdefault("answers", {})
    place = Place("Answers", number, "Id")
    if not name:
        made.refuse(place, "missing-id", "This row has an answer and no criterion's id.")
        return
    if name in answers:
        made.refuse(place, "repeated-row", f"{name} has an answer in an earlier row: put both into one.")
        return
    made.put(place, "answers", name)
    answers[name] = _cells(
        made,
        "Answers",
        number,
        row,
        {"Statement": "statement", "Not applicable because": "not_applicable"},
        ("answers", name),
    )


def _take_evidence(made: Filled, number: int, row: dict[str, str]) -> None:
    name = row["Id"].strip()
    if not name:
        made.refuse(Place("Evidence", number, "Id"), "missing-id", "This row has evidence and no criterion's id.")
        return
    made.put(Place("Evidence", number, "Id"), "answers", name)
    answer = made.document.setdefault("answers", {}).setdefault(name, {})
    listed = answer.setdefault("evidence", [])
    at = ("answers", name, "evidence", len(listed))
    made.put(Place("Evidence", number, "Link"), *at)
    columns = {"Link": "url", "Page": "page", "Quote": "quote", "File": "file"}
    listed.append(_cells(made, "Evidence", number, row, columns, at))


def _take_fact(known: Mapping[str, Fact], made: Filled, number: int, row: dict[str, str]) -> None:
    name, text = row["Id"].strip(), row["Value"]
    if not name:
        made.refuse(Place("Facts", number, "Id"), "missing-id", "This row has a value and no fact's id.")
        return
    facts, place = made.document.setdefault("facts", {}), Place("Facts", number, "Value")
    if text and name in facts:
        made.refuse(place, "repeated-row", f"{name} has a value in an earlier row.")
    elif text:
        made.put(place, "facts", name)
        facts[name] = _fact_value(known.get(name), text)
    mark, place = row["Assumed"].strip().lower(), Place("Facts", number, "Assumed")
    if mark in _YES:
        assumed = made.document.setdefault("assumed", [])
        made.put(place, "assumed", len(assumed))
        assumed.append(name)
    elif mark not in _NO:
        made.refuse(place, "yes-or-no", "Write yes, or leave the cell empty.")


def _fact_value(fact: Fact | None, text: str) -> object:
    """The value that the text stands for; the text itself where it is none, for the charter to say so."""
    match fact.kind if fact else None:
        case "yes_no":
            return _truth(text)
        case "count":
            digits = text.strip()
            return int(digits) if digits.isascii() and digits.isdigit() and len(digits) <= 16 else text  # noqa: PLR2004  (as an event holds)
        case "choices":
            return [line for line in text.split("\n") if line]
    return text


def _truth(text: str) -> object:
    word = text.strip().lower()
    return True if word in _YES else False if word in _NO else text


def _take_metric(made: Filled, number: int, row: dict[str, str]) -> None:
    # The unit stands there beforehand: alone, it says nothing.
    if not any(row[heading] for heading in ("Value", "Period", "Published", "Simulated")):
        return
    name, listed = row["Id"].strip(), made.document.setdefault("metrics", [])
    if not name:
        made.refuse(Place("Metrics", number, "Id"), "missing-id", "This row has a figure and no metric's id.")
        return
    at = ("metrics", len(listed))
    made.put(Place("Metrics", number, "Id"), *at)
    metric: dict[str, object] = {"id": name}
    metric |= _cells(made, "Metrics", number, row, {"Value": "value", "Unit": "unit", "Period": "period"}, at)
    for heading in ("Published", "Simulated"):
        made.put(Place("Metrics", number, heading), *at, heading.lower())
        if row[heading]:
            metric[heading.lower()] = _truth(row[heading])
    listed.append(metric)


def _take_contact(made: Filled, number: int, row: dict[str, str]) -> None:
    if not row["Value"]:
        return
    contact, kind, place = (
        made.document.setdefault("contact", {}),
        row["Field"].strip(),
        Place("Contact", number, "Value"),
    )
    target, name = (
        (contact, kind) if kind != "channel" else (contact.setdefault("channels", {}), row["Channel"].strip())
    )
    if kind not in {"official", "title", "email", "channel"}:
        detail = f"{kind!r} is none of: official, title, email, channel."
        made.refuse(Place("Contact", number, "Field"), "unknown-field", detail)
    elif name in target:
        made.refuse(place, "repeated-row", f"{name} stands in an earlier row already.")
    else:
        made.put(place, "contact", *(("channels", name) if kind == "channel" else (kind,)))
        target[name] = row["Value"]


def _cells(
    made: Filled, sheet: str, number: int, row: dict[str, str], columns: dict[str, str], at: tuple[str | int, ...]
) -> dict[str, Any]:
    """The texts of a row by their names in the draft, without the empty ones."""
    found = {}
    for heading, name in columns.items():
        made.put(Place(sheet, number, heading), *at, name)
        if row[heading]:
            found[name] = row[heading]
    return found
