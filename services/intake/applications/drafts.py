"""A draft: the JSON document that a government's people fill in before it is submitted, changed by RFC 7396 patches.

`shaped` refuses only what could not be kept as it is: a wrong JSON type, a name that the charter does not know, a text
that is too long. Whatever else is wrong is kept and told (`findings`). Places are RFC 6901 pointers into the draft.
`claims`, `answers` and `contact` give the blocks of the event.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import Annotated, Any, overload

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic_core import to_json

from schemas import applications
from schemas.applications import File
from schemas.catalogue import Fact
from schemas.charter import Charter
from schemas.exact import SAFE_INTEGER, Quantity
from services.chassis.refusal import RefusedError, Violation, pointer
from services.intake.text import Prose

SIZE_LIMIT = 540_000
"""Bytes of a draft's canonical JSON: as base64 they fit a record of at most 900,000, whatever the charter asks."""

PROFILE = frozenset({"website", "population"})
"""What may be marked assumed beside the charter's facts."""

_DEPTH = 8
_CHOICES = 100

NO_FILES: Mapping[str, File] = MappingProxyType({})
NO_MARKS: Mapping[str, applications.Carried] = MappingProxyType({})

Short = Annotated[str, Field(max_length=300)]


class Form(BaseModel):
    """A part of a draft: frozen, strict, and refusing what it does not know."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class Evidence(Form):
    """Where a reviewer can look; `file` is the SHA-256 of one that was uploaded for this application."""

    url: Annotated[str, Field(max_length=2_000)] = ""
    page: Short = ""
    quote: Prose = ""
    file: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")] | None = None


class Answer(Form):
    """A criterion's statement with evidence, or why it does not apply."""

    statement: Prose = ""
    evidence: Annotated[list[Evidence], Field(max_length=50)] = Field(default_factory=list)
    not_applicable: Prose | None = None


BLANK = Answer()


class Metric(Form):
    """A figure of the charter's catalogue; `value` is a decimal in quotes ("93.5"), kept with the digits written."""

    id: str
    value: Short = ""
    unit: Short = ""
    period: Short = ""
    published: bool = False
    simulated: bool = False


class Contact(Form):
    """The official who attests, and where residents reach the government."""

    official: Short = ""
    title: Short = ""
    email: Annotated[str, Field(max_length=254)] = ""
    channels: dict[Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_-]{0,39}$")], Short] = {}


class Draft(Form):
    """The whole document, or a section of it. Everything may be missing until it is submitted."""

    answers: dict[str, Answer] = {}
    facts: dict[str, Any] = {}
    """By the charter's fact ids; checked by the charter, not by a type."""
    assumed: list[str] = []
    metrics: Annotated[list[Metric], Field(max_length=200)] = []
    contact: Contact = Contact()
    acknowledged: Annotated[list[Annotated[str, Field(max_length=100)]], Field(max_length=1_000)] = []
    """Ids of warnings that somebody looked at: what they warn of stands as it is."""

    @property
    def document(self) -> dict[str, Any]:
        """The JSON document that reads as this draft."""
        return self.model_dump(mode="json", exclude_none=True)

    @property
    def size(self) -> int:
        """Bytes of its canonical JSON with all that an event spells out."""
        return len(to_json(self))


@overload
def merged(target: object, patch: dict[str, Any], *, depth: int = ...) -> dict[str, Any]: ...
@overload
def merged(target: object, patch: object, *, depth: int = ...) -> object: ...
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


def shaped(document: object, charter: Charter) -> Draft:
    """The draft in `document`; RefusedError (422) with everything in it that cannot be kept."""
    try:
        draft = Draft.model_validate(document)
    except ValidationError as error:
        raise RefusedError.all([Violation(e["type"], e["msg"], pointer(e["loc"])) for e in error.errors()]) from error
    wrong = [*_strangers(draft, charter), *_misshapen_facts(draft.facts, charter)]
    if wrong:
        raise RefusedError.all(wrong)
    return draft


def must_fit(size: int) -> None:
    """RefusedError (422) for a draft of more bytes than an event can carry."""
    if size > SIZE_LIMIT:
        detail = f"The draft has {size:,} bytes, {SIZE_LIMIT:,} are allowed: shorten statements or quotes."
        raise RefusedError("draft-too-large", detail, status=422)


def _strangers(draft: Draft, charter: Charter) -> Iterator[Violation]:
    """Names that stand nowhere in the charter."""
    criteria = {criterion.id for area in charter.areas for criterion in area.criteria}
    for name in draft.answers:
        if name not in criteria:
            detail = f"{name!r} is no criterion of the charter."
            yield Violation("unknown-criterion", detail, pointer(("answers", name)))
    facts = {fact.id for fact in charter.facts} | PROFILE
    for number, name in enumerate(draft.assumed):
        if name not in facts:
            detail = f"{name!r} is neither a fact of the charter nor one of: {', '.join(sorted(PROFILE))}."
            yield Violation("unknown-fact", detail, pointer(("assumed", number)))
    metrics = {metric.id for metric in charter.metrics}
    for number, metric in enumerate(draft.metrics):
        if metric.id not in metrics:
            detail = f"{metric.id!r} is no metric of the charter."
            yield Violation("unknown-metric", detail, pointer(("metrics", number, "id")))


def _misshapen_facts(given: Mapping[str, object], charter: Charter) -> Iterator[Violation]:
    facts = {fact.id: fact for fact in charter.facts}
    for name, value in given.items():
        at = pointer(("facts", name))
        if name not in facts:
            yield Violation("unknown-fact", f"{name!r} is no fact of the charter.", at)
        elif not has_shape(facts[name], value):
            wrong = facts[name].problem(value) or "is too long"
            yield Violation("fact-value", f"{name} {wrong}.", at)


def has_shape(fact: Fact, value: object) -> bool:
    """Whether `value` is of the fact's JSON type, and can be written exactly."""
    match fact.kind:
        case "yes_no":
            return isinstance(value, bool)
        case "count":
            return type(value) is int and abs(value) <= SAFE_INTEGER
        case "choice":
            return _is_short(value)
        case "choices":
            return isinstance(value, list) and len(value) <= _CHOICES and all(map(_is_short, value))


def _is_short(value: object) -> bool:
    return isinstance(value, str) and len(value) <= 300  # noqa: PLR2004  (as `Short`)


def claims(draft: Draft) -> applications.Claims:
    """Block `claims` of a draft without findings."""
    metrics = [
        applications.Metric(**metric.model_dump(exclude={"value"}), value=Quantity.parse(metric.value))
        for metric in draft.metrics
    ]
    return applications.Claims(facts=draft.facts, assumed=list(dict.fromkeys(draft.assumed)), metrics=metrics)


def answers(
    draft: Draft,
    charter: Charter,
    files: Mapping[str, File] = NO_FILES,
    marks: Mapping[str, applications.Carried] = NO_MARKS,
) -> dict[str, applications.Answer]:
    """The `answers/…` blocks: one for every criterion, empty for those that are for other kinds of applicant.

    `files` has those that the draft cites, by SHA-256; `marks` how answers stand to the last application's.
    """
    found = {
        criterion.id: _answer(draft.answers.get(criterion.id, BLANK), files)
        for area in charter.areas
        for criterion in area.criteria
    }
    return found | {name: found[name].model_copy(update={"carried": mark}) for name, mark in marks.items()}


def _answer(answer: Answer, files: Mapping[str, File]) -> applications.Answer:
    evidence = [
        applications.Evidence(url=one.url, page=one.page, quote=one.quote, file=files[one.file] if one.file else None)
        for one in answer.evidence
    ]
    return applications.Answer(statement=answer.statement, evidence=evidence, not_applicable=answer.not_applicable)


def contact(draft: Draft) -> applications.Contact:
    """Block `contact` of a draft without findings."""
    return applications.Contact(**draft.contact.model_dump())
