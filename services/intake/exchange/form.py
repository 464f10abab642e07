"""The application as a spreadsheet form: one row per criterion, evidence, fact, metric and line of the contact.

Beside each field stands what the charter says of it. Columns are found by their headings and rows by their ids, so that
both may be moved; what was marked as looked at (`acknowledged`) is not in the form. A cell without text says nothing.
Pure: rows of text from a draft; `filling` reads them again.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from schemas.catalogue import Fact
from schemas.charter import Charter, Criterion
from services.intake.applications.drafts import BLANK, PROFILE, Draft, Evidence
from services.intake.exchange.domain import fact_text

Rows = list[list[str]]

LAYOUT: Mapping[str, Mapping[str, tuple[int, bool]]] = {
    "Answers": {
        "Id": (14, False),
        "Area": (16, False),
        "Criterion": (24, False),
        "What it means": (44, False),
        "Accepted evidence": (44, False),
        "What points look like": (44, False),
        "Question": (36, False),
        "Not applicable when": (28, False),
        "Statement": (70, True),
        "Not applicable because": (36, True),
    },
    "Evidence": {
        "Id": (14, False),
        "Criterion": (24, False),
        "Link": (44, True),
        "Page": (16, True),
        "Quote": (60, True),
        "File": (24, True),
    },
    "Facts": {
        "Id": (14, False),
        "Fact": (36, False),
        "Help": (44, False),
        "Expected": (28, False),
        "Value": (28, True),
        "Assumed": (12, True),
    },
    "Metrics": {
        "Id": (14, False),
        "Metric": (28, False),
        "Formula": (44, False),
        "Value": (16, True),
        "Unit": (16, True),
        "Period": (16, True),
        "Published": (12, True),
        "Simulated": (12, True),
    },
    "Contact": {"Field": (14, False), "Channel": (16, True), "Value": (44, True)},
}
"""Sheets by name, their columns by heading, in order: the width, and whether the applicant fills it in."""

READ_ME = "Read me"

_CHANNELS = ("311", "phone", "portal", "app", "chat", "walk-in")


def rows(draft: Draft, charter: Charter, kind: str) -> dict[str, Rows]:
    """The form's sheets for an applicant of this kind, headings first, with what the draft says filled in.

    Before them stands one that says how, which is not read again.
    """
    asked = charter.criteria(kind)
    criteria = [
        (area.name, criterion)
        for area in charter.areas
        for criterion in area.criteria
        # What was answered before it did not apply any more is no reason to lose it.
        if criterion.id in asked or criterion.id in draft.answers
    ]
    made = {
        "Answers": [_answer_row(area, one, draft) for area, one in criteria],
        "Evidence": [row for _, one in criteria for row in _evidence_rows(one, draft)],
        "Facts": list(_fact_rows(draft, charter)),
        "Metrics": list(_metric_rows(draft, charter)),
        "Contact": list(_contact_rows(draft)),
    }
    return {READ_ME: _how_to(charter), **{name: [list(LAYOUT[name]), *made[name]] for name in LAYOUT}}


def _how_to(charter: Charter) -> Rows:
    return [
        [charter.program.name],
        ["Fill in the coloured columns. Keep the sheets' names, the headings and the ids; rows may be moved."],
        ["Evidence: a row for each piece; for one more, copy the row's id. Metrics: likewise, a row for each period."],
        ["File: the SHA-256 of a file that was uploaded to this application."],
        ["A cell left empty says nothing: what stood there before is taken out by sending the form in."],
        [f"At most {charter.scoring.not_applicable_per_area} criteria of an area can be called not applicable."],
    ]


def _answer_row(area: str, one: Criterion, draft: Draft) -> list[str]:
    given = draft.answers.get(one.id, BLANK)
    name = f"{one.name} (core)" if one.core else one.name
    evidence = f"{one.evidence}\nNot enough: {one.not_enough}" if one.not_enough else one.evidence
    points = "\n".join(f"{score}: {text}" for score, text in sorted(one.looks_like.items()))
    told = [one.id, area, name, one.definition, evidence, points, one.asks or "", one.na_when or ""]
    return [*told, given.statement, given.not_applicable or ""]


def _evidence_rows(one: Criterion, draft: Draft) -> Iterator[list[str]]:
    given = draft.answers.get(one.id, BLANK).evidence
    for line in given or [Evidence()]:
        yield [one.id, one.name, line.url, line.page, line.quote, line.file or ""]


def _fact_rows(draft: Draft, charter: Charter) -> Iterator[list[str]]:
    for fact in charter.facts:
        value = fact_text(draft.facts.get(fact.id))
        yield [fact.id, fact.label, fact.help or "", _expected(fact), value, _mark(fact.id in draft.assumed)]
    for name in sorted(PROFILE):
        told = "Stands in the government's profile; say here whether it is assumed."
        yield [name, name, told, "", "", _mark(name in draft.assumed)]


def _expected(fact: Fact) -> str:
    match fact.kind:
        case "yes_no":
            return "yes or no"
        case "count":
            bounds = [f"{word} {bound}" for word, bound in (("from", fact.min), ("to", fact.max)) if bound is not None]
            return " ".join(["a whole number", *bounds])
        case "choice":
            return "one of:\n" + "\n".join(fact.choices)
        case "choices":
            return "each on a line of its own:\n" + "\n".join(fact.choices)


def _mark(holds: bool) -> str:  # noqa: FBT001  (a mark is its only word)
    return "yes" if holds else ""


def _metric_rows(draft: Draft, charter: Charter) -> Iterator[list[str]]:
    for metric in charter.metrics:
        told = [metric.id, metric.name, metric.formula]
        given = [one for one in draft.metrics if one.id == metric.id]
        for one in given:
            yield [*told, one.value, one.unit, one.period, _mark(one.published), _mark(one.simulated)]
        if not given:
            yield [*told, "", metric.unit, "", "", ""]


def _contact_rows(draft: Draft) -> Iterator[list[str]]:
    contact = draft.contact
    yield ["official", "", contact.official]
    yield ["title", "", contact.title]
    yield ["email", "", contact.email]
    for name in dict.fromkeys((*contact.channels, *_CHANNELS)):
        yield ["channel", name, contact.channels.get(name, "")]
