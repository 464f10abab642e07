"""A charter in plain words, line by line, for `cec program check`: what an author reads to see what the file says."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from textwrap import TextWrapper
from typing import TYPE_CHECKING

from schemas.charter import share_text

if TYPE_CHECKING:
    from schemas.applying import Applying, Ground, Window
    from schemas.catalogue import Fact, Metric
    from schemas.charter import Area, Charter, Criterion, Level

WIDTH = 100
_LABEL = 16


def synopsis(charter: Charter, digest: str) -> Iterator[str]:
    """The whole charter but its announcement's wording; `digest` is that of its text."""
    program, scoring, scale = charter.program, charter.scoring, charter.scale
    yield f"{program.name}, by {program.operator} ({program.language})"
    yield f"SHA-256 {digest}"
    yield f"Eligible: {', '.join(charter.eligibility.kinds)}"
    if charter.tiers:
        yield f"Tiers (they group the announcement and move no bar): {' · '.join(tier.label for tier in charter.tiers)}"
    yield from _applying(charter.applying)
    yield f"Scale {scale.min} to {scale.max}; {scoring.criterion} of {scoring.reviewers_per_application}"
    for anchor in scale.anchors:
        yield from _entry(str(anchor.score), anchor.text)
    for level in charter.levels:
        yield _level(level)
    yield f"Not applicable: at most {scoring.not_applicable_per_area} criteria of an area"
    for area in charter.areas:
        yield ""
        yield from _area(area)
    yield ""
    yield from _catalogue(charter.facts, charter.metrics, charter.metrics_rule.published_service_delivery)
    yield ""
    yield from _window("Reply to a preliminary decision", charter.reply)
    panel = f", decided by a panel of {charter.appeal.panel}" if charter.appeal else ""
    yield from _window(f"Appeal{panel}", charter.appeal)
    opened = ((charter.disclosure.designated, "the designated"), (charter.disclosure.not_designated, "all others"))
    yield "The announcement opens " + "; ".join(f"of {whose} {', '.join(what) or 'nothing'}" for what, whose in opened)
    days = ", ".join(map(str, charter.term.renewal_notice_days)) or "no"
    yield f"Term {charter.term.years} years; renewal notices {days} days before its end"


def _applying(applying: Applying | None) -> Iterator[str]:
    if applying is None:
        return
    fee = applying.fee
    cost = f"a fee of {fee.amount} {fee.currency}" if fee else "no fee"
    yield f"Applying: at most {applying.effort_hours} hours, {cost}"
    yield from _grounds(fee.waivers if fee else ())
    yield from _window("More time for one applicant", applying.extension)


def _window(what: str, window: Window | None) -> Iterator[str]:
    if window is not None:
        yield f"{what}: {window.business_days} business days, on one of these grounds"
        yield from _grounds(window.grounds)


def _grounds(grounds: Iterable[Ground]) -> Iterator[str]:
    for ground in grounds:
        yield from _entry(ground.id, ground.text)


def _level(level: Level) -> str:
    floor = "" if level.every_core is None else f", every core criterion at least {level.every_core}"
    total, area = share_text(level.total), share_text(level.every_area)
    return f"{level.name}: total at least {total}, every area at least {area}{floor}"


def _area(area: Area) -> Iterator[str]:
    core = [criterion.name for criterion in area.criteria if criterion.core]
    yield f"{area.name} ({area.weight} %): {len(area.criteria)} criteria; core: {', '.join(core) or 'none'}"
    for criterion in area.criteria:
        yield from _criterion(criterion)


def _criterion(criterion: Criterion) -> Iterator[str]:
    yield f"  {criterion.name}{' (core)' if criterion.core else ''}"
    yield from _entry("is", criterion.definition)
    yield from _entry("asks", criterion.asks)
    yield from _entry("evidence", criterion.evidence)
    yield from _entry("not enough", criterion.not_enough)
    for score in sorted(criterion.looks_like):
        yield from _entry(str(score), criterion.looks_like[score])
    if criterion.applies:
        yield from _entry("only for", ", ".join(criterion.applies))
    for kind, note in criterion.notes.items():
        yield from _entry(kind, note)
    yield from _entry("not applicable", criterion.na_when)


def _catalogue(facts: Iterable[Fact], metrics: Iterable[Metric], published: int) -> Iterator[str]:
    yield "Facts"
    for fact in facts:
        choices = f": {', '.join(fact.choices)}" if fact.choices else ""
        yield from _wrapped(f"{fact.label}{choices}", "  ", "    ")
        yield from _entry("", fact.help)
    yield ""
    yield f"Metrics; of those for service delivery at least {published} must be published"
    for metric in metrics:
        yield f"  {metric.name}{' (service delivery)' if metric.service_delivery else ''}"
        yield from _entry(f"in {metric.unit}", metric.formula)
        yield from _entry("over", metric.period)
        yield from _entry("usually", " to ".join(metric.plausible) if metric.plausible else None)
        yield from _entry("target", metric.target)


def _entry(label: str, text: str | None) -> Iterator[str]:
    """`text` behind its label, in lines of one width; nothing where there is none."""
    if text is None:
        return
    if len(label) > _LABEL:
        yield f"    {label}"
        label = ""
    indent = " " * (_LABEL + 5)
    yield from _wrapped(text, f"    {label}".ljust(len(indent)), indent)


def _wrapped(text: str, first: str, indent: str) -> list[str]:
    wrapper = TextWrapper(WIDTH, initial_indent=first, subsequent_indent=indent, break_on_hyphens=False)
    return wrapper.wrap(text)
