"""The charter's rules beyond its shape: what must agree between its parts so that a cycle can be played to its end.

Each rule yields (place, what is wrong); `problems` runs them all, so that an author sees everything at once.
"""

from __future__ import annotations

from collections import Counter
from fractions import Fraction
from itertools import pairwise
from typing import TYPE_CHECKING

from schemas.highlights import template_problems

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Sequence

    from schemas.catalogue import Fact
    from schemas.charter import Charter, Criterion
    from schemas.highlights import Condition, Problem, Sentence


class UnsoundError(ValueError):
    """Carries the problems of a whole charter through pydantic."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        """Keep `problems` and join them for a reader."""
        super().__init__("; ".join(f"{place}: {rule}" for place, rule in problems))
        self.problems = tuple(problems)


def problems(charter: Charter) -> Iterator[Problem]:
    """All that does not hold together, in the order of the file."""
    yield from template_problems("program.label", charter.program.label, {"start", "end"})
    yield from _repeated("eligibility.kinds", charter.eligibility.kinds)
    yield from _tiers(charter)
    yield from _scale(charter)
    yield from _applying(charter)
    yield from _levels(charter)
    yield from _areas(charter)
    yield from _judgeable(charter)
    yield from _named("facts", (fact.id for fact in charter.facts))
    yield from _named("metrics", (metric.id for metric in charter.metrics))
    yield from _metrics(charter)
    for place, window in (("reply", charter.reply), ("appeal", charter.appeal)):
        yield from _named(f"{place}.grounds", (ground.id for ground in window.grounds) if window else ())
    yield from _term(charter)
    yield from _repeated("disclosure.designated", charter.disclosure.designated)
    yield from _repeated("disclosure.not_designated", charter.disclosure.not_designated)
    yield from _announcement(charter)


def _repeated(place: str, values: Iterable[str]) -> Iterator[Problem]:
    for value, times in Counter(values).items():
        if times > 1:
            yield place, f"{value!r} stands {times} times"


def _named(place: str, ids: Iterable[str]) -> Iterator[Problem]:
    seen: dict[str, int] = {}
    for number, name in enumerate(ids):
        if name in seen:
            yield f"{place}[{number}].id", f"{name!r} is already the id of {place}[{seen[name]}]"
        seen.setdefault(name, number)


def _tiers(charter: Charter) -> Iterator[Problem]:
    yield from _named("tiers", (tier.id for tier in charter.tiers))
    for number, tier in enumerate(charter.tiers):
        if tier.max is not None and tier.max < tier.min:
            yield f"tiers[{number}].max", f"{tier.max} is below min {tier.min}"
    for number, (lower, upper) in enumerate(pairwise(charter.tiers)):
        if lower.max is None:
            yield f"tiers[{number}].max", "is missing: only the last tier may be open"
        elif upper.min != lower.max + 1:
            yield f"tiers[{number + 1}].min", f"must be {lower.max + 1}, right after the tier before"


def _scale(charter: Charter) -> Iterator[Problem]:
    scale = charter.scale
    if scale.min >= scale.max:
        yield "scale.max", f"must be above min {scale.min}"
    scores = [anchor.score for anchor in scale.anchors]
    for number, score in enumerate(scores):
        if score not in scale:
            yield f"scale.anchors[{number}].score", f"{score} is not on the scale from {scale.min} to {scale.max}"
        elif number and score <= scores[number - 1]:
            yield f"scale.anchors[{number}].score", "anchors must stand in ascending order, each score once"


def _applying(charter: Charter) -> Iterator[Problem]:
    applying = charter.applying
    if applying and applying.extension:
        yield from _named("applying.extension.grounds", (ground.id for ground in applying.extension.grounds))
    if applying and applying.screening:
        yield from _named("applying.screening.grounds", (ground.id for ground in applying.screening.grounds))
    waivers = applying.fee.waivers if applying and applying.fee else ()
    yield from _named("applying.fee.waivers", (waiver.id for waiver in waivers))
    tiers = {tier.id for tier in charter.tiers}
    for number, waiver in enumerate(waivers):
        place = f"applying.fee.waivers[{number}]"
        yield from _unknown(f"{place}.kinds", waiver.kinds, charter.eligibility.kinds, "in eligibility.kinds")
        yield from _unknown(f"{place}.tiers", waiver.tiers, tiers, "a tier of the charter")


def _unknown(place: str, named: Iterable[str] | None, known: Collection[str], what: str) -> Iterator[Problem]:
    for name in named or ():
        if name not in known:
            yield place, f"{name!r} is not {what}"


def _levels(charter: Charter) -> Iterator[Problem]:
    levels = charter.levels
    yield from _named("levels", (level.id for level in levels))
    for number, level in enumerate(levels):
        if level.every_core is not None and level.every_core not in charter.scale:
            yield f"levels[{number}].every_core", f"{level.every_core} is not a score of the scale"
    bars = [(level.total, level.every_area, Fraction(level.every_core or 0)) for level in levels]
    for number, (lower, higher) in enumerate(pairwise(bars), start=1):
        if higher == lower or any(above < below for below, above in zip(lower, higher, strict=True)):
            yield f"levels[{number}]", "must ask no less than the level before in anything, and more in something"


def _areas(charter: Charter) -> Iterator[Problem]:
    areas = charter.areas
    yield from _named("areas", (area.id for area in areas))
    total = sum(area.weight for area in areas)
    if total != 100:  # noqa: PLR2004  (percent)
        yield "areas", f"the weights add up to {total}, not 100"
    first: dict[str, str] = {}
    for number, area in enumerate(areas):
        for position, criterion in enumerate(area.criteria):
            place = f"areas[{number}].criteria[{position}]"
            if criterion.id in first:
                yield f"{place}.id", f"{criterion.id!r} is already the id of {first[criterion.id]}"
            first.setdefault(criterion.id, place)
            yield from _criterion(place, criterion, charter)


def _criterion(place: str, criterion: Criterion, charter: Charter) -> Iterator[Problem]:
    if criterion.core and criterion.na_when is not None:
        yield f"{place}.na_when", "a core criterion is never not applicable"
    kinds = charter.eligibility.kinds
    yield from _unknown(f"{place}.applies", criterion.applies, kinds, "in eligibility.kinds")
    for kind in criterion.notes:
        if kind not in kinds or not criterion.applies_to(kind):
            yield f"{place}.notes", f"{kind!r} is not a kind that the criterion is for"
    first: dict[str, int] = {}
    for score, text in criterion.looks_like.items():
        if score not in charter.scale:
            yield f"{place}.looks_like", f"{score} is not a score of the scale"
        if text in first:
            yield f"{place}.looks_like", f"{score} reads the same as {first[text]}"
        first.setdefault(text, score)


def _judgeable(charter: Charter) -> Iterator[Problem]:
    """Without a criterion left to judge, an area would have no maximum to divide by."""
    allowed = charter.scoring.not_applicable_per_area
    for number, area in enumerate(charter.areas):
        for kind in charter.eligibility.kinds:
            criteria = area.applicable(kind)
            excusable = sum(criterion.na_when is not None for criterion in criteria)
            if len(criteria) <= min(allowed, excusable):
                yield f"areas[{number}].criteria", f"a {kind} could be left with no criterion to be judged by"


def _metrics(charter: Charter) -> Iterator[Problem]:
    needed = charter.metrics_rule.published_service_delivery
    offered = sum(metric.service_delivery for metric in charter.metrics)
    if needed > offered:
        yield "metrics_rule.published_service_delivery", f"asks for {needed}, but {offered} such metrics are defined"


def _term(charter: Charter) -> Iterator[Problem]:
    days = charter.term.renewal_notice_days
    if any(later >= earlier for earlier, later in pairwise(days)):
        yield "term.renewal_notice_days", "must stand in descending order, each once"
    if days and days[0] >= charter.term.years * 365:
        yield "term.renewal_notice_days", "a notice must fall within the term"


def _announcement(charter: Charter) -> Iterator[Problem]:
    wording = charter.announcement
    yield from wording.problems("announcement")
    if wording.group_by == "tier" and not charter.tiers:
        yield "announcement.group_by", "the charter has no tiers to group by"
    yield from _named("announcement.highlights", (highlight.id for highlight in wording.highlights))
    facts = {fact.id: fact for fact in charter.facts}
    for number, highlight in enumerate(wording.highlights):
        for position, sentence in enumerate(highlight.sentences):
            yield from _sentence(f"announcement.highlights[{number}].sentences[{position}]", sentence, facts)


def _sentence(place: str, sentence: Sentence, facts: dict[str, Fact]) -> Iterator[Problem]:
    for where, condition in sentence.conditions(place):
        if condition.fact not in facts:
            yield f"{where}.fact", f"{condition.fact!r} is no fact of the charter"
        else:
            yield from _condition(where, condition, facts[condition.fact])
    for name, figure in sentence.figures.items():
        measured = figure.highest or figure.lowest
        if measured is not None and (measured not in facts or facts[measured].kind != "count"):
            yield f"{place}.figures.{name}", f"{measured!r} is no fact of kind count"


def _condition(place: str, condition: Condition, fact: Fact) -> Iterator[Problem]:
    if condition.equals is not None:
        if fact.kind == "choices":
            yield f"{place}.is", "compares with one value; for a fact of kind choices use count_at_least"
        elif wrong := fact.problem(condition.equals):
            yield f"{place}.is", wrong
    elif condition.at_least is not None and fact.kind != "count":
        yield f"{place}.at_least", f"needs a fact of kind count, but {fact.id} is {fact.kind}"
    elif condition.count_at_least is not None and fact.kind != "choices":
        yield f"{place}.count_at_least", f"needs a fact of kind choices, but {fact.id} is {fact.kind}"
    for value in condition.one_of or ():
        if fact.kind != "choice" or fact.problem(value):
            yield f"{place}.in", f"{value!r} is no choice of {fact.id}"
