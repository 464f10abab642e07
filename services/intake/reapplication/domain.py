"""What a draft takes from the last application, and what became of it since.

An *item* is what is looked at and confirmed as one: an answer with its evidence, a fact, the list of what is assumed,
the contact; it is named by its pointer in the draft. Figures are of a period: they are shown, and never taken. Whether
an item says what it said then follows from the two alone, and never from who did what: so nothing that was changed is
ever called unchanged, however it came there. Pure.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from fractions import Fraction
from typing import Any, Literal

from schemas.applications import Carried
from schemas.charter import Charter, Scale
from schemas.exact import Quantity
from services.chassis.refusal import RefusedError, Violation, pointer
from services.intake.applications.drafts import PROFILE, Draft, has_shape
from services.intake.applications.sections import Document, home

Became = Literal["carried", "confirmed", "changed", "removed"]
"""What became of an item: it says the same and nobody has looked, or it was confirmed; otherwise; nothing any more."""


@dataclass(frozen=True)
class Then:
    """The version that stood at the end of an earlier application; `said` is what it says as a draft's document."""

    application: str
    cycle: str
    version: int
    submitted_at: datetime
    said: Document


@dataclass(frozen=True)
class Confirmed:
    """Who found that an item still holds, and when."""

    person: str
    at: datetime


@dataclass(frozen=True)
class Result:
    """What reviewers gave a criterion then: `top` is the scale's highest, `low` lies in its lower half."""

    points: Fraction
    maximum: int
    standing: Literal["top", "low"] | None

    @classmethod
    def of(cls, points: Fraction, scale: Scale) -> Result:
        """On the scale of the charter of then."""
        low = points < Fraction(scale.min + scale.max, 2)
        return cls(points, scale.max, "top" if points >= scale.max else "low" if low else None)


@dataclass(frozen=True)
class Basis:
    """What a draft started from: by pointer, what was said then of all that the charter still asks for."""

    then: Then
    items: Mapping[str, Any]
    confirmed: Mapping[str, Confirmed] = field(default_factory=dict)
    results: Mapping[str, Result] = field(default_factory=dict)
    """By criterion, where they were disclosed."""

    def became(self, at: str, now: Mapping[str, Any]) -> Became:
        """What became of an item of then; `now` are the draft's."""
        if at not in now:
            return "removed"
        if now[at] != self.items[at]:
            return "changed"
        return "confirmed" if at in self.confirmed else "carried"

    def unconfirmed(self, draft: Draft) -> list[Violation]:
        """What still says what it said then, and nobody has confirmed."""
        now = items(draft)
        return [
            Violation("unconfirmed", f"This is what {self.then.cycle} said: confirm that it holds, or change it.", at)
            for at in self.items
            if self.became(at, now) == "carried"
        ]

    def marks(self, draft: Draft) -> dict[str, Carried]:
        """How each answer that is given stands to the one of then, once nothing is unconfirmed."""
        now = items(draft)
        given = {name: at for name in draft.answers if (at := pointer(("answers", name))) in now}
        return {name: Carried(mark=self._mark(at, now), since=self.then.cycle) for name, at in given.items()}

    def _mark(self, at: str, now: Mapping[str, Any]) -> Literal["unchanged", "changed", "new"]:
        if at not in self.items:
            return "new"
        return "unchanged" if now[at] == self.items[at] else "changed"


def items(draft: Draft) -> dict[str, Any]:
    """What a draft says, item by item, in a form in which the same is equal; nothing of what says nothing."""
    answers = {name: answer.model_dump(mode="json", exclude_defaults=True) for name, answer in draft.answers.items()}
    contact = draft.contact.model_dump(mode="json", exclude_defaults=True)
    found: dict[str, Any] = {pointer(("answers", name)): answer for name, answer in answers.items()}
    found |= {pointer(("facts", name)): value for name, value in draft.facts.items()}
    found |= {"/assumed": sorted(set(draft.assumed)), "/contact": contact}
    return {at: value for at, value in found.items() if value not in ({}, [])}


def plain(document: Document) -> Document:
    """A draft's document in a form that can be compared: without what says nothing, and what was acknowledged."""
    return Draft.model_validate(document).model_dump(mode="json", exclude_defaults=True, exclude={"acknowledged"})


# --- from a version to a draft ----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Gone:
    """Something that was said then and has no place now: where it stood, why it does not, and what it was."""

    field: str
    detail: str
    then: Any


def said(content: Mapping[str, Any]) -> Document:
    """What a version (its event's blocks) says, as the document that a draft would hold; nothing of what was erased."""
    claims = content.get("claims") or {}
    answers = {name: _answer(answer) for name, answer in (content.get("answers") or {}).items()}
    found: Document = {
        "answers": {name: answer for name, answer in answers.items() if answer},
        "facts": dict(claims.get("facts", {})),
        "assumed": list(claims.get("assumed", [])),
        "metrics": [
            metric | {"value": str(Quantity.model_validate(metric["value"]))} for metric in claims.get("metrics", [])
        ],
        "contact": dict(content.get("contact") or {}),
    }
    return {root: value for root, value in found.items() if value}


def _answer(answer: Mapping[str, Any]) -> Document:
    """Without what the event spells out and the draft leaves out; a file by its SHA-256 alone."""
    evidence = [
        {name: value for name, value in one.items() if value and name != "file"}
        | ({"file": one["file"]["sha256"]} if one.get("file") else {})
        for one in answer.get("evidence", [])
    ]
    found: Document = {"statement": answer["statement"]} if answer.get("statement") else {}
    found |= {"evidence": evidence} if evidence else {}
    return found | ({} if answer.get("not_applicable") is None else {"not_applicable": answer["not_applicable"]})


def fitting(document: Document, charter: Charter, kind: str | None = None) -> tuple[Document, list[Gone]]:
    """What of a version's document a draft under this charter can take, in its order, and what it cannot.

    With `kind`, an answer that applicants of this kind are not asked for is not taken, either.
    """
    names = [criterion.id for area in charter.areas for criterion in area.criteria]
    criteria = set(names) if kind is None else charter.criteria(kind).keys()
    facts = {fact.id: fact for fact in charter.facts}
    kept: Document = {"answers": {}, "facts": {}}
    gone: list[Gone] = []
    for name, answer in _ordered(document.get("answers", {}), names):
        if name in criteria:
            kept["answers"][name] = answer
        else:
            detail = f"A {kind} is not asked for it." if name in names else "The charter has no such criterion."
            gone.append(Gone(pointer(("answers", name)), detail, answer))
    for name, value in _ordered(document.get("facts", {}), facts):
        if name in facts and has_shape(facts[name], value):
            kept["facts"][name] = value
        else:
            detail = "The fact is of another kind now." if name in facts else "The charter has no such fact."
            gone.append(Gone(pointer(("facts", name)), detail, value))
    assumable = kept["facts"].keys() | PROFILE
    kept["assumed"] = [name for name in document.get("assumed", []) if name in assumable]
    kept["contact"] = document.get("contact", {})
    return {root: value for root, value in kept.items() if value}, gone


def _ordered(given: Mapping[str, Any], order: Iterable[str]) -> Iterator[tuple[str, Any]]:
    """What was kept in no order, in this one; what is not in it comes last."""
    return ((name, given[name]) for name in dict.fromkeys((*order, *given)) if name in given)


def begun(then: Then, charter: Charter, kind: str, files: Collection[str]) -> Document:
    """The document with which a draft starts; `files` are those of then that are still here, by SHA-256."""
    document, _ = fitting(then.said, charter, kind)
    answers = {
        name: answer | {"evidence": [_held(one, files) for one in answer["evidence"]]}
        if "evidence" in answer
        else answer
        for name, answer in document.get("answers", {}).items()
    }
    return document | ({"answers": answers} if answers else {})


def _held(evidence: Document, files: Collection[str]) -> Document:
    if evidence.get("file") in files:
        return evidence
    return {name: value for name, value in evidence.items() if name != "file"}


def basis(
    then: Then,
    charter: Charter,
    confirmed: Mapping[str, Confirmed],
    results: Mapping[str, Result],
) -> Basis:
    """What a draft under this charter is held against."""
    document, _ = fitting(then.said, charter)
    return Basis(then, items(Draft.model_validate(document)), confirmed, results)


def new(charter: Charter, kind: str, basis: Basis) -> Iterator[str]:
    """Where the charter asks for something of which the last application said nothing."""
    asked = [pointer(("answers", name)) for name in charter.criteria(kind)]
    asked += [pointer(("facts", fact.id)) for fact in charter.facts]
    yield from (at for at in asked if at not in basis.items)


# --- confirming -------------------------------------------------------------------------------------------------------


def confirmable(basis: Basis, draft: Draft, section: str, charter: Charter, asked: Collection[str] | None) -> list[str]:
    """The items of a section to be confirmed: those that are `asked` for, or all that still say what they said then.

    RefusedError for one that is none of the section's, or that says something else now.
    """
    now = items(draft)
    mine = [at for at in basis.items if home(at, charter) == section]
    if asked is None:
        return [at for at in mine if basis.became(at, now) == "carried"]
    wrong = []
    for number, at in enumerate(asked):
        place = pointer(("fields", number))
        if at not in mine:
            detail = f"{at!r} is nothing that {basis.then.cycle} said in this section: send a `field` of its `carried`."
            wrong.append(Violation("not-carried", detail, place))
        elif basis.became(at, now) in {"changed", "removed"}:
            detail = f"{at} says something else than then: it counts as changed, and needs no confirmation."
            wrong.append(Violation("changed", detail, place))
    if wrong:
        raise RefusedError.all(wrong)
    return list(asked)
