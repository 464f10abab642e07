"""What a file must hold to become a draft, and an application as one flat row. Pure, as `cycles.domain` is."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import islice
from typing import Any

from schemas.charter import Charter
from services.chassis.refusal import RefusedError, Violation, pointer
from services.intake.applications.drafts import Draft, shaped
from services.intake.applications.sections import tidy

MANY = 200
"""Violations that are told at most: who sends more has sent another file."""

_FORMULA = frozenset("=+-@\t\r")


def drafted(document: object, charter: Charter) -> tuple[Draft, dict[str, Any]]:
    """The draft that a document holds, and its tidy document.

    RefusedError (422) with everything in it that cannot be kept, part by part: no mistake hides another.
    """
    try:
        draft = shaped(document, charter)
    except RefusedError as error:
        raise RefusedError.all(list(islice(_mistakes(document, charter), MANY)) or list(error.violations)) from error
    return draft, tidy(draft.model_dump(mode="json", exclude_unset=True, exclude_none=True))


def _mistakes(document: object, charter: Charter) -> Iterator[Violation]:
    for part in _parts(document):
        try:
            shaped(part, charter)
        except RefusedError as error:
            yield from error.violations


def _parts(document: object) -> Iterator[object]:
    """The document in pieces that hold by themselves: each answer, each fact, and whatever else stands at the top."""
    if not isinstance(document, dict):
        yield document
        return
    for root, value in document.items():
        if root in {"answers", "facts"} and isinstance(value, dict):
            yield from ({root: {name: one}} for name, one in value.items())
        else:
            yield {root: value}


def within(error: RefusedError, root: str) -> RefusedError:
    """The same refusal where the draft stands at `root` of what was sent."""
    moved = [Violation(one.rule, one.detail, pointer((root,)) + one.field) for one in error.violations]
    return RefusedError.all(moved, status=error.status)


# --- a row for a whole application -----------------------------------------------------------------------------------


def headings(charter: Charter) -> list[str]:
    """The columns of a cycle's table: who applies, the contact, and what was said by the charter's ids."""
    criteria = [criterion.id for area in charter.areas for criterion in area.criteria]
    return [
        *("application", "version", "submitted_at", "event"),
        *("government", "name", "state", "kind", "tier", "population", "population_source", "website"),
        *("official", "title", "email", "channels"),
        *(f"{part} {name}" for name in criteria for part in ("statement", "not_applicable", "evidence")),
        *(f"fact {fact.id}" for fact in charter.facts),
        "assumed",
        *(f"metric {metric.id}" for metric in charter.metrics),
    ]


def flat(application: Mapping[str, Any], charter: Charter) -> list[str]:
    """A submitted application (the JSON of a `SubmittedLine`) as the row of text under `headings`."""
    identity, contact, claims = application["identity"], application["contact"], application["claims"]
    answers, facts = application["answers"], claims["facts"]
    return [
        *(str(application[name]) for name in ("application", "version", "submitted_at", "event")),
        *(
            str(identity[name])
            for name in ("government", "name", "state", "kind", "tier", "population", "population_source", "website")
        ),
        *(contact[name] for name in ("official", "title", "email")),
        "\n".join(f"{name}: {value}" for name, value in contact["channels"].items()),
        *(
            text
            for area in charter.areas
            for criterion in area.criteria
            for text in _answer(answers.get(criterion.id, {}))
        ),
        *(fact_text(facts.get(fact.id)) for fact in charter.facts),
        "\n".join(claims["assumed"]),
        *("\n".join(_metric(one) for one in claims["metrics"] if one["id"] == metric.id) for metric in charter.metrics),
    ]


def _answer(answer: Mapping[str, Any]) -> tuple[str, str, str]:
    evidence = [
        " · ".join(
            text for text in (one["url"], one["page"], one["quote"], (one["file"] or {}).get("sha256", "")) if text
        )
        for one in answer.get("evidence", [])
    ]
    return answer.get("statement", ""), answer.get("not_applicable") or "", "\n".join(evidence)


def fact_text(value: object) -> str:
    """A fact's value as a cell of a table shows it."""
    match value:
        case None:
            return ""
        case bool():
            return "yes" if value else "no"
        case list():
            return "\n".join(value)
    return str(value)


def _metric(metric: Mapping[str, Any]) -> str:
    marks = [word for word in ("published", "simulated") if metric[word]]
    return f"{metric['value']} {metric['unit']} ({', '.join([metric['period'], *marks])})"


def inert(text: str) -> str:
    """A text as it goes into CSV: an apostrophe keeps a spreadsheet from taking it for a formula."""
    return "'" + text if text[:1] in _FORMULA else text
