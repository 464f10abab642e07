"""What is wrong, missing or doubtful in a draft, section by section, in the order in which they are shown.

A problem is in what is there, a gap is something that a submission still lacks: both keep a draft from being submitted
and neither from being kept. A warning only wants to be looked at: its id stands in the draft's `acknowledged` then.
The id is of the very text or figure that it warns of, so that another one is warned of anew. Pure.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from hashlib import sha256

from schemas.charter import Area, Charter
from schemas.exact import Quantity
from services.chassis.refusal import Violation, pointer
from services.intake.applications import residents
from services.intake.applications.drafts import BLANK, SIZE_LIMIT, Answer, Contact, Draft, Metric
from services.intake.applications.residents import Own
from services.intake.applications.sections import Section, home, sections
from services.intake.reapplication.domain import Basis

_DECIMAL = re.compile(r"-?[0-9]{1,15}(\.[0-9]{1,9})?")
_URL = re.compile(r"https?://[^\s/]+(/\S*)?")
_EMAIL = re.compile(r"[^@\s]+@[^@\s]+")
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")


@dataclass(frozen=True)
class Ground:
    """What a draft is judged by: the charter, the kind of applicant, and which contacts are the government's own.

    And by what it started from, where that was the last application.
    """

    charter: Charter
    kind: str
    own: Own
    basis: Basis | None = None

    @classmethod
    def of(
        cls, charter: Charter, kind: str, sites: Iterable[str], contact: Contact, basis: Basis | None = None
    ) -> Ground:
        """For an applicant of this kind, with these web sites or domains and this contact."""
        own = Own.of(sites=sites, email=contact.email, channels=contact.channels.values())
        return cls(charter, kind, own, basis)

    def unconfirmed(self, section: Section, draft: Draft) -> list[Violation]:
        """What of a section was taken from the last application and not looked at since."""
        if self.basis is None:
            return []
        return [one for one in self.basis.unconfirmed(draft) if home(one.field, self.charter) == section.name]


@dataclass(frozen=True)
class Warned:
    """Something to look at again: `id` is what to acknowledge, `field` where it is."""

    id: str
    rule: str
    detail: str
    field: str


@dataclass(frozen=True)
class Report:
    """How far a section is: of what is `asked`, `done` is there and right."""

    section: Section
    asked: int
    done: int
    problems: list[Violation]
    missing: list[Violation]
    warnings: list[Warned]

    @property
    def complete(self) -> bool:
        """Whether nothing of this section keeps the draft from being submitted, warnings aside."""
        return not self.problems and not self.missing


def report(section: Section, draft: Draft, ground: Ground) -> Report:
    """The report on a section; `draft` may be the whole one or hold this section alone."""
    if section.area is not None:
        return _answers(section, section.area, draft, ground)
    match section.name:
        case "facts":
            return _facts(section, draft, ground)
        case "metrics":
            return _metrics(section, draft, ground)
        case _:
            return _contact(section, draft, ground)


def reports(draft: Draft, ground: Ground) -> list[Report]:
    """The reports on all sections."""
    return [report(section, draft, ground) for section in sections(ground.charter).values()]


def obstacles(draft: Draft, ground: Ground, more: Iterable[Warned] = ()) -> list[Violation]:
    """Everything that keeps a draft from being submitted as it is; `more` are warnings about what it cites."""
    found = reports(draft, ground)
    wrong = [violation for one in found for violation in (*one.problems, *one.missing)]
    seen = frozenset(draft.acknowledged)
    warnings = [*(warned for one in found for warned in one.warnings), *more]
    for warned in (one for one in warnings if one.id not in seen):
        detail = f"{warned.detail} If it stands, add {warned.id!r} to acknowledged."
        wrong.append(Violation("not-acknowledged", detail, warned.field))
    if draft.size > SIZE_LIMIT:
        detail = f"The draft has {draft.size:,} bytes, {SIZE_LIMIT:,} are allowed: shorten statements or quotes."
        wrong.append(Violation("draft-too-large", detail))
    return wrong


# --- answers --------------------------------------------------------------------------------------------------------


def _answers(section: Section, area: Area, draft: Draft, ground: Ground) -> Report:
    criteria = area.applicable(ground.kind)
    given = {c.id: draft.answers[c.id] for c in area.criteria if c.id in draft.answers}
    problems = list(_answer_problems(area, given, ground))
    missing = [*_answer_gaps(area, given, ground), *ground.unconfirmed(section, draft)]
    open_ = {violation.field.split("/")[2] for violation in (*problems, *missing) if violation.field.count("/") > 1}
    warnings = [
        _warned(section, f"/answers/{name}", field, found)
        for name, answer in given.items()
        for field, text in _texts(name, answer)
        for found in residents.found(text, ground.own)
    ]
    done = sum(criterion.id not in open_ for criterion in criteria)
    return Report(section, len(criteria), done, problems, missing, warnings)


def _answer_problems(area: Area, given: dict[str, Answer], ground: Ground) -> Iterator[Violation]:
    excused = 0
    for criterion in area.criteria:
        answer, at = given.get(criterion.id), f"/answers/{criterion.id}"
        if answer is None:
            continue
        if not criterion.applies_to(ground.kind):
            yield Violation("not-asked", f"A {ground.kind} is not judged by {criterion.id}: remove the answer.", at)
            continue
        if answer.not_applicable is not None:
            excused += 1
            if criterion.core or criterion.na_when is None:
                detail = f"{criterion.id} applies to every applicant: say what there is."
                yield Violation("always-applicable", detail, at + "/not_applicable")
            if answer.statement.strip():
                yield Violation("both", f"{criterion.id} is answered and not applicable: keep one of them.", at)
        for number, evidence in enumerate(answer.evidence):
            if not _URL.fullmatch(evidence.url) and not (evidence.file and not evidence.url):
                detail = f"{criterion.id}: a link begins with http:// or https:// and has no spaces."
                yield Violation("evidence-link", detail, f"{at}/evidence/{number}/url")
            yield from _one_line(evidence.page, f"{at}/evidence/{number}/page")
    allowed = ground.charter.scoring.not_applicable_per_area
    if excused > allowed:
        detail = f"{area.id}: {excused} criteria are called not applicable, at most {allowed} may be."
        yield Violation("too-many-not-applicable", detail, "/answers")


def _answer_gaps(area: Area, given: dict[str, Answer], ground: Ground) -> Iterator[Violation]:
    for criterion in area.applicable(ground.kind):
        answer, at = given.get(criterion.id, BLANK), f"/answers/{criterion.id}"
        if answer.not_applicable is None and not answer.statement.strip():
            detail = f"{criterion.id} is not answered."
            if criterion.na_when:
                detail = f"{criterion.id} is neither answered nor not applicable ({criterion.na_when})."
            yield Violation("unanswered", detail, at)
        elif answer.not_applicable is not None and not answer.not_applicable.strip():
            yield Violation("no-reason", f"Say why {criterion.id} does not apply.", at + "/not_applicable")


def _texts(name: str, answer: Answer) -> Iterator[tuple[str, str]]:
    """What people wrote in an answer, by its pointer."""
    at = f"/answers/{name}"
    yield at + "/statement", answer.statement
    if answer.not_applicable:
        yield at + "/not_applicable", answer.not_applicable
    for number, evidence in enumerate(answer.evidence):
        if evidence.page:
            yield f"{at}/evidence/{number}/page", evidence.page
        if evidence.quote:
            yield f"{at}/evidence/{number}/quote", evidence.quote


def _warned(section: Section, place: str, field: str, found: residents.Found) -> Warned:
    detail = f"“{found.text}” looks like a {found.kind}: residents’ data does not belong into an application."
    return Warned(_id(section, "residents-data", place, found.text), "residents-data", detail, field)


def _id(section: Section, *what: str) -> str:
    return f"{section.name}:{sha256(chr(10).join(what).encode()).hexdigest()[:16]}"


# --- facts and metrics ----------------------------------------------------------------------------------------------


def _facts(section: Section, draft: Draft, ground: Ground) -> Report:
    charter = ground.charter
    facts = {fact.id: fact for fact in charter.facts}
    problems = [
        Violation("fact-value", f"{name} {wrong}.", pointer(("facts", name)))
        for name, value in draft.facts.items()
        if (wrong := facts[name].problem(value))
    ]
    needed = [fact for fact in charter.facts if fact.required]
    missing = [
        Violation("missing-fact", f"{fact.id} is not stated: {fact.label}.", pointer(("facts", fact.id)))
        for fact in needed
        if fact.id not in draft.facts
    ]
    missing += ground.unconfirmed(section, draft)
    wrong_fields = {violation.field for violation in (*problems, *missing)}
    done = sum(pointer(("facts", fact.id)) not in wrong_fields for fact in needed)
    return Report(section, len(needed), done, problems, missing, [])


def _metrics(section: Section, draft: Draft, ground: Ground) -> Report:
    charter, given = ground.charter, draft.metrics
    catalogue = {metric.id: metric for metric in charter.metrics}
    problems: list[Violation] = []
    missing: list[Violation] = []
    warnings: list[Warned] = []
    times = Counter((metric.id, metric.period) for metric in given)
    for number, metric in enumerate(given):
        at, known = pointer(("metrics", number)), catalogue[metric.id]
        if times[metric.id, metric.period] > 1:
            detail = f"{metric.id} is given more than once for this period."
            problems.append(Violation("metric-repeated", detail, at))
        if metric.unit and metric.unit != known.unit:
            problems.append(Violation("metric-unit", f"{metric.id} is measured in {known.unit!r}.", at + "/unit"))
        problems += _one_line(metric.period, at + "/period")
        value = _quantity(metric.value)
        if metric.value and value is None:
            detail = f'{metric.id}: the value must be a decimal in quotes, such as "93.5".'
            problems.append(Violation("metric-value", detail, at + "/value"))
        elif value is not None and (doubt := known.doubt(value)):
            place = _id(section, "implausible-metric", metric.id, metric.period, metric.value)
            warnings.append(Warned(place, "implausible-metric", f"{metric.id}: {doubt}.", at + "/value"))
        missing += _metric_gaps(metric, at)
    wanted = [metric.id for metric in charter.metrics if metric.service_delivery]
    published = {metric.id for metric in given if metric.published}.intersection(wanted)
    needed = charter.metrics_rule.published_service_delivery
    if len(published) < needed:
        detail = f"{len(published)} published metrics are of service delivery, {needed} needed: {', '.join(wanted)}."
        missing.append(Violation("published-service-delivery", detail, "/metrics"))
    return Report(section, needed, min(len(published), needed), problems, missing, warnings)


def _metric_gaps(metric: Metric, at: str) -> Iterator[Violation]:
    for part in ("value", "unit", "period"):
        if not getattr(metric, part).strip():
            yield Violation("incomplete-metric", f"{metric.id} has no {part}.", f"{at}/{part}")


def _quantity(text: str) -> Quantity | None:
    if _DECIMAL.fullmatch(text) is None:
        return None
    try:
        return Quantity.parse(text)
    except ValueError:
        return None


# --- contact --------------------------------------------------------------------------------------------------------


def _contact(section: Section, draft: Draft, ground: Ground) -> Report:
    contact = draft.contact
    problems = [
        *_one_line(contact.official, "/contact/official"),
        *_one_line(contact.title, "/contact/title"),
        *(
            violation
            for name, channel in contact.channels.items()
            for violation in _one_line(channel, pointer(("contact", "channels", name)))
        ),
    ]
    if contact.email.strip() and not _EMAIL.fullmatch(contact.email):
        detail = f"{contact.email!r} is no e-mail address: write it as name@government.example."
        problems.append(Violation("email-address", detail, "/contact/email"))
    asked = ("official", "title", "email")
    missing = [
        Violation("missing-contact", f"The contact has no {part}.", pointer(("contact", part)))
        for part in asked
        if not getattr(contact, part).strip()
    ]
    unconfirmed = ground.unconfirmed(section, draft)
    done = 0 if unconfirmed else len(asked) - len(missing)
    return Report(section, len(asked), done, problems, [*missing, *unconfirmed], [])


def _one_line(text: str, field: str) -> Iterator[Violation]:
    if _CONTROL.search(text):
        yield Violation("one-line", "This is one line: take out line breaks and control characters.", field)
