"""A draft: the JSON document that a government's people fill in before it is submitted, changed by RFC 7396 patches.

`read` checks what is there after every change (shape, ids and values against the charter), so that a mistake is named
when it is made; `gaps` lists what a submission still lacks. Both report everything at once, by RFC 6901 pointers into
the draft. `claims`, `answers` and `contact` give the blocks of the event.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from schemas import applications
from schemas.canonical import canonical
from schemas.charter import Area, Charter
from schemas.exact import SAFE_INTEGER, Quantity
from services.chassis.refusal import RefusedError, Violation, pointer
from services.intake.text import Line, Prose

SIZE_LIMIT = 540_000
"""Bytes of a draft's canonical JSON: as base64 they fit a record of at most 900,000, whatever the charter asks."""

PROFILE = frozenset({"website", "population"})
"""What may be marked assumed beside the charter's facts."""

_DEPTH = 8
_DECIMAL = re.compile(r"-?[0-9]{1,15}(\.[0-9]{1,9})?")


class Form(BaseModel):
    """A part of a draft: frozen, strict, and refusing what it does not know."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class Evidence(Form):
    """Where a reviewer can look."""

    url: Annotated[str, Field(max_length=2_000, pattern=r"^https?://[^\s/]+(/\S*)?$")]
    page: Line = ""
    quote: Prose = ""


class Answer(Form):
    """A criterion's statement with evidence, or why it does not apply."""

    statement: Prose = ""
    evidence: Annotated[list[Evidence], Field(max_length=50)] = []
    not_applicable: Prose | None = None


class Metric(Form):
    """A figure of the charter's catalogue; `value` is a decimal in quotes ("93.5"), kept with the digits written."""

    id: str
    value: str = ""
    unit: str = ""
    period: Line = ""
    published: bool = False
    simulated: bool = False


class Contact(Form):
    """The official who attests, and where residents reach the government."""

    official: Line = ""
    title: Line = ""
    email: Annotated[str, Field(max_length=254, pattern=r"^([^@\s]+@[^@\s]+)?$")] = ""
    channels: dict[Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_-]{0,39}$")], Line] = {}


class Draft(Form):
    """The whole document. Everything may be missing until it is submitted."""

    answers: dict[str, Answer] = {}
    facts: dict[str, Any] = {}
    """By the charter's fact ids; checked by the charter, not by a type."""
    assumed: list[str] = []
    metrics: Annotated[list[Metric], Field(max_length=200)] = []
    contact: Contact = Contact()

    @property
    def document(self) -> dict[str, Any]:
        """The JSON document that reads as this draft."""
        return self.model_dump(mode="json", exclude_none=True)

    @property
    def size(self) -> int:
        """Bytes of its canonical JSON."""
        return len(canonical(self.document))


def merged(target: object, patch: object, *, depth: int = _DEPTH) -> object:
    """`target` with a merge patch applied (RFC 7396); RefusedError for one nested deeper than any draft is."""
    if not isinstance(patch, dict):
        return patch
    if not depth:
        raise RefusedError("too-deep", "The draft has no such deep parts: check the patch's nesting.", status=422)
    result = dict(target) if isinstance(target, dict) else {}
    for key, value in patch.items():
        if value is None:
            result.pop(key, None)
        else:
            result[key] = merged(result.get(key), value, depth=depth - 1)
    return result


def read(document: object, charter: Charter, kind: str) -> Draft:
    """The draft in `document`, for an applicant of this kind; RefusedError (422) with all that is wrong in it."""
    try:
        draft = Draft.model_validate(document)
    except ValidationError as error:
        raise RefusedError.all([Violation(e["type"], e["msg"], pointer(e["loc"])) for e in error.errors()]) from error
    wrong = [*_answer_misfits(draft, charter, kind), *_fact_misfits(draft, charter), *_metric_misfits(draft, charter)]
    if wrong:
        raise RefusedError.all(wrong)
    if draft.size > SIZE_LIMIT:
        detail = f"The draft has {draft.size:,} bytes, {SIZE_LIMIT:,} are allowed: shorten statements or quotes."
        raise RefusedError("draft-too-large", detail, status=422)
    return draft


def _answer_misfits(draft: Draft, charter: Charter, kind: str) -> Iterator[Violation]:
    criteria = charter.criteria(kind)
    for name, answer in draft.answers.items():
        at = pointer(("answers", name))
        if name not in criteria:
            yield Violation("unknown-criterion", f"{name!r} is no criterion of the charter for a {kind}.", at)
        elif answer.not_applicable is not None and criteria[name].na_when is None:
            detail = f"{name} applies to every applicant: say what there is."
            yield Violation("always-applicable", detail, at + "/not_applicable")


def _fact_misfits(draft: Draft, charter: Charter) -> Iterator[Violation]:
    facts = {fact.id: fact for fact in charter.facts}
    for name, value in draft.facts.items():
        at = pointer(("facts", name))
        if name not in facts:
            yield Violation("unknown-fact", f"{name!r} is no fact of the charter.", at)
        elif wrong := facts[name].problem(value):
            yield Violation("fact-value", f"{name} {wrong}.", at)
        elif isinstance(value, int) and value > SAFE_INTEGER:
            yield Violation("fact-value", f"{name} must be at most {SAFE_INTEGER}.", at)
    for number, name in enumerate(draft.assumed):
        if name not in facts and name not in PROFILE:
            detail = f"{name!r} is neither a fact of the charter nor one of: {', '.join(sorted(PROFILE))}."
            yield Violation("unknown-fact", detail, pointer(("assumed", number)))


def _metric_misfits(draft: Draft, charter: Charter) -> Iterator[Violation]:
    catalogue = {metric.id: metric for metric in charter.metrics}
    times = Counter((metric.id, metric.period) for metric in draft.metrics)
    for number, metric in enumerate(draft.metrics):
        at = pointer(("metrics", number))
        if metric.id not in catalogue:
            yield Violation("unknown-metric", f"{metric.id!r} is no metric of the charter.", at + "/id")
        elif metric.unit and metric.unit != catalogue[metric.id].unit:
            unit = catalogue[metric.id].unit
            yield Violation("metric-unit", f"{metric.id} is measured in {unit!r}.", at + "/unit")
        if metric.value and not _is_decimal(metric.value):
            detail = f'{metric.id}: the value must be a decimal in quotes, such as "93.5".'
            yield Violation("metric-value", detail, at + "/value")
        if times[metric.id, metric.period] > 1:
            yield Violation("metric-repeated", f"{metric.id} is given more than once for this period.", at)


def _is_decimal(text: str) -> bool:
    if _DECIMAL.fullmatch(text) is None:
        return False
    try:
        Quantity.parse(text)
    except ValueError:
        return False
    return True


def gaps(draft: Draft, charter: Charter, kind: str) -> list[Violation]:
    """Everything that a submission of `draft` still lacks."""
    return [
        *(gap for area in charter.areas for gap in _answer_gaps(draft, area, kind, charter)),
        *_fact_gaps(draft, charter),
        *_metric_gaps(draft, charter),
        *_contact_gaps(draft.contact),
    ]


def _answer_gaps(draft: Draft, area: Area, kind: str, charter: Charter) -> Iterator[Violation]:
    excused = 0
    for criterion in area.applicable(kind):
        answer, at = draft.answers.get(criterion.id, Answer()), pointer(("answers", criterion.id))
        if answer.not_applicable is None:
            if not answer.statement.strip():
                detail = f"{criterion.id} is not answered."
                if criterion.na_when:
                    detail = f"{criterion.id} is neither answered nor not applicable ({criterion.na_when})."
                yield Violation("unanswered", detail, at)
            continue
        excused += 1
        if not answer.not_applicable.strip():
            yield Violation("no-reason", f"Say why {criterion.id} does not apply.", at + "/not_applicable")
        if answer.statement.strip():
            yield Violation("both", f"{criterion.id} is answered and not applicable: keep one of them.", at)
    allowed = charter.scoring.not_applicable_per_area
    if excused > allowed:
        detail = f"{area.id}: {excused} criteria are called not applicable, at most {allowed} may be."
        yield Violation("too-many-not-applicable", detail, "/answers")


def _fact_gaps(draft: Draft, charter: Charter) -> Iterator[Violation]:
    for fact in charter.facts:
        if fact.required and fact.id not in draft.facts:
            yield Violation("missing-fact", f"{fact.id} is not stated: {fact.label}.", pointer(("facts", fact.id)))


def _metric_gaps(draft: Draft, charter: Charter) -> Iterator[Violation]:
    for number, metric in enumerate(draft.metrics):
        for part in ("value", "unit", "period"):
            if not getattr(metric, part).strip():
                detail = f"{metric.id} has no {part}."
                yield Violation("incomplete-metric", detail, pointer(("metrics", number, part)))
    wanted = {metric.id for metric in charter.metrics if metric.service_delivery}
    published = {metric.id for metric in draft.metrics if metric.published} & wanted
    needed = charter.metrics_rule.published_service_delivery
    if len(published) < needed:
        detail = (
            f"{len(published)} published metrics are of service delivery, {needed} needed: {', '.join(sorted(wanted))}."
        )
        yield Violation("published-service-delivery", detail, "/metrics")


def _contact_gaps(contact: Contact) -> Iterator[Violation]:
    for part in ("official", "title", "email"):
        if not getattr(contact, part).strip():
            yield Violation("missing-contact", f"The contact has no {part}.", pointer(("contact", part)))


def claims(draft: Draft) -> applications.Claims:
    """Block `claims` of a draft without gaps."""
    metrics = [
        applications.Metric(**metric.model_dump(exclude={"value"}), value=Quantity.parse(metric.value))
        for metric in draft.metrics
    ]
    return applications.Claims(facts=draft.facts, assumed=list(dict.fromkeys(draft.assumed)), metrics=metrics)


def answers(draft: Draft, charter: Charter) -> dict[str, applications.Answer]:
    """The `answers/…` blocks: one for every criterion, empty for those that are for other kinds of applicant."""
    return {
        criterion.id: applications.Answer(**draft.answers.get(criterion.id, Answer()).model_dump())
        for area in charter.areas
        for criterion in area.criteria
    }


def contact(draft: Draft) -> applications.Contact:
    """Block `contact` of a draft without gaps."""
    return applications.Contact(**draft.contact.model_dump())
