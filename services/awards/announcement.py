"""The announcement, computed from the charter and the designees alone: who stands where, and what may be said of them.

`announce` is pure and deterministic: the same charter, designees and date give the same structure on every machine, so
an outsider re-computes it from the public export. Every sentence keeps the designation ids that it counts and its
figures; a highlight that reads a fact marked *assumed* for any designee carries that mark itself.
"""

from __future__ import annotations

import datetime as dt
import unicodedata
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Literal

from babel.core import UnknownLocaleError
from babel.dates import format_date
from num2words import num2words

from schemas.applications import FactValue
from schemas.charter import Charter
from schemas.highlights import Condition, Figure, Highlight, Sentence


@dataclass(frozen=True, slots=True)
class Designee:
    """A government as the announcement sees it: `id` is the designation's, `assumed` the facts nobody has verified."""

    id: str
    name: str
    state: str
    tier: str | None
    level: str
    facts: Mapping[str, FactValue]
    assumed: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Group:
    """The designees of one tier or level, in alphabetical order."""

    id: str
    heading: str
    designees: tuple[str, ...]
    """As they are printed: "Boston, Massachusetts"."""
    members: tuple[str, ...]
    """Their designation ids, in the same order."""


@dataclass(frozen=True, slots=True)
class Statement:
    """One sentence as worded, the designation ids that it counts (sorted) and the numbers that it names."""

    text: str
    counts: tuple[str, ...]
    figures: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class Finding:
    """One highlight that holds, with what it rests on."""

    id: str
    scope: Literal["all", "some"]
    text: str
    statements: tuple[Statement, ...]
    assumed: bool


@dataclass(frozen=True, slots=True)
class Section:
    """Highlights under one heading ("All 10 designees:")."""

    heading: str
    findings: tuple[Finding, ...]


@dataclass(frozen=True, slots=True)
class Announcement:
    """All that is announced, worded and in order; a renderer adds only form."""

    program: str
    language: str
    label: str
    announced_on: dt.date
    date: str
    heading: str
    lead: tuple[str, ...]
    areas_intro: str
    areas: tuple[str, ...]
    list_heading: str
    groups: tuple[Group, ...]
    nobody: str
    highlights_heading: str
    sections: tuple[Section, ...]
    narrative: tuple[str, ...]
    """The editor's own sentences."""
    simulated: bool
    """True where the scores behind the designations were drawn, not given."""
    note_heading: str
    notes: tuple[str, ...]
    mark_assumed: str
    mark_simulated: str

    @property
    def total(self) -> int:
        """How many are designated."""
        return sum(len(group.members) for group in self.groups)

    @property
    def findings(self) -> tuple[Finding, ...]:
        """The highlights in the order in which they are read."""
        return tuple(finding for section in self.sections for finding in section.findings)


@dataclass(frozen=True, slots=True)
class Number:
    """A number that a template prints as digits ({total}), words ({total:word}) or capitalised words ({total:Word})."""

    value: int
    language: str

    def __format__(self, spelling: str) -> str:
        """Spell the number; the charter's check lets no other spelling through."""
        if not spelling:
            return str(self.value)
        words = str(num2words(self.value, lang=self.language.replace("-", "_")))
        return words[0].upper() + words[1:] if spelling == "Word" else words


def announce(
    charter: Charter,
    designees: Sequence[Designee],
    *,
    label: str,
    announced_on: dt.date,
    narrative: Sequence[str] = (),
    simulated: bool = False,
) -> Announcement:
    """Word the cycle `label`'s announcement; ValueError if a designee has a tier or level unknown to the charter."""
    wording, language = charter.announcement, charter.program.language
    sections = tuple(_sections(charter, designees, label))
    return Announcement(
        program=charter.program.name,
        language=language,
        label=label,
        announced_on=announced_on,
        date=format_date(announced_on, wording.date_format, locale=language.replace("-", "_")),
        heading=wording.heading.format(label=label),
        lead=tuple(paragraph.format(label=label) for paragraph in wording.lead),
        areas_intro=wording.areas_intro.format(label=label, areas=Number(len(charter.areas), language)),
        areas=tuple(wording.area.format(name=area.name, summary=area.summary) for area in charter.areas),
        list_heading=wording.list_heading.format(label=label),
        groups=tuple(_groups(charter, designees)),
        nobody=wording.nobody.format(label=label),
        highlights_heading=wording.highlights_heading.format(label=label),
        sections=sections,
        narrative=tuple(narrative),
        simulated=simulated,
        note_heading=wording.note_heading,
        notes=tuple(_notes(charter, sections, simulated=simulated)),
        mark_assumed=wording.mark_assumed,
        mark_simulated=wording.mark_simulated,
    )


def unspeakable(charter: Charter) -> list[str]:
    """What of the charter's language and date format cannot be worded here: problems to know before a cycle opens."""
    language = charter.program.language
    found = []
    try:
        format(Number(10, language), "word")
    except NotImplementedError:
        found.append(f"program.language: numbers cannot be spelt in {language!r}")
    try:
        _ = format_date(dt.date(2000, 1, 1), charter.announcement.date_format, locale=language.replace("-", "_"))
    except UnknownLocaleError:
        found.append(f"program.language: dates cannot be written in {language!r}")
    except (AttributeError, KeyError, ValueError) as error:  # a time's field is asked of a date, or no field at all
        found.append(f"announcement.date_format: is no CLDR date pattern: {error}")
    return found


def _groups(charter: Charter, designees: Sequence[Designee]) -> Iterator[Group]:
    """Tiers ascending, or levels from the highest down; an empty one is left out."""
    wording = charter.announcement
    if wording.group_by == "tier":
        order = [(tier.id, tier.label) for tier in charter.tiers]
        home = {designee.id: designee.tier for designee in designees}
    else:
        order = [(level.id, level.name) for level in reversed(charter.levels)]
        home = {designee.id: designee.level for designee in designees}
    if len(home) != len(designees):
        raise ValueError("two designees share one id")
    for designee, place in home.items():
        # A designee without a group would silently be missing from the list.
        if place not in dict(order):
            raise ValueError(f"designee {designee}: the charter has no {wording.group_by} {place!r}")
    for group, label in order:
        members = sorted((one for one in designees if home[one.id] == group), key=_alphabetically)
        if members:
            yield Group(
                id=group,
                heading=wording.group_heading.format(label=label),
                designees=tuple(wording.designee.format(name=one.name, state=one.state) for one in members),
                members=tuple(one.id for one in members),
            )


def _alphabetically(designee: Designee) -> tuple[str, str, str]:
    """Accents and case aside, so that Ávila stands before Zamora; then by state and id, so that the order is total."""
    decomposed = unicodedata.normalize("NFKD", designee.name)
    bare = "".join(letter for letter in decomposed if not unicodedata.combining(letter))
    return bare.casefold(), designee.state, designee.id


def _sections(charter: Charter, designees: Sequence[Designee], label: str) -> Iterator[Section]:
    wording = charter.announcement
    total = Number(len(designees), charter.program.language)
    headings = {"all": wording.all_heading if len(designees) != 1 else wording.all_heading_sole}
    headings["some"] = wording.some_heading
    for scope, heading in headings.items():
        mine = (highlight for highlight in wording.highlights if highlight.scope == scope)
        findings = tuple(filter(None, map(partial(_finding, designees, total.language), mine)))
        if findings:
            yield Section(heading.format(label=label, total=total), findings)


def _finding(designees: Sequence[Designee], language: str, highlight: Highlight) -> Finding | None:
    spoken = []
    read: set[str] = set()
    for sentence in highlight.sentences:
        statement = _statement(designees, language, highlight.scope, sentence)
        if statement:
            spoken.append(statement)
            read |= _facts_read(sentence)
    if not spoken:
        return None
    return Finding(
        id=highlight.id,
        scope=highlight.scope,
        text=". ".join(statement.text for statement in spoken),
        statements=tuple(spoken),
        # Also a designee that does not count was left out on the strength of its facts.
        assumed=any(read & designee.assumed for designee in designees),
    )


def _statement(
    designees: Sequence[Designee], language: str, scope: Literal["all", "some"], sentence: Sentence
) -> Statement | None:
    counting = [one for one in designees if _meets(one, sentence.where)]
    if not counting or (scope == "all" and len(counting) < len(designees)):
        return None
    figures: dict[str, int] = {}
    for name, figure in sentence.figures.items():
        number = _measure(figure, counting)
        if number is None or not _in_share(figure, number, len(counting)):
            return None
        figures[name] = number
    numbers = {"count": len(counting), "total": len(designees), **figures}
    template = _template(sentence, scope, numbers, figures)
    text = template.format(**{name: Number(value, language) for name, value in numbers.items()})
    return Statement(text, tuple(sorted(one.id for one in counting)), figures)


def _template(
    sentence: Sentence, scope: Literal["all", "some"], numbers: Mapping[str, int], figures: Mapping[str, int]
) -> str:
    fitting = (
        (sentence.sole, numbers["total"] == 1),
        (sentence.same, len(figures) > 1 and len(set(figures.values())) == 1),
        (sentence.all, scope == "some" and numbers["count"] == numbers["total"]),
        (sentence.one, numbers["count"] == 1),
    )
    return next((template for template, fits in fitting if fits and template), sentence.text)


def _meets(designee: Designee, conditions: Iterable[Condition]) -> bool:
    return all(_holds(designee.facts.get(condition.fact), condition) for condition in conditions)


def _holds(value: FactValue | None, condition: Condition) -> bool:
    if value is None:
        return False
    if condition.equals is not None:
        # In Python True == 1: without the types a yes would pass for a count of one.
        return type(value) is type(condition.equals) and value == condition.equals
    if condition.at_least is not None:
        return isinstance(value, int) and value >= condition.at_least
    if condition.one_of is not None:
        return value in condition.one_of
    return isinstance(value, list) and len(value) >= (condition.count_at_least or 0)


def _measure(figure: Figure, counting: Sequence[Designee]) -> int | None:
    if figure.count is not None:
        return sum(_meets(designee, figure.count) for designee in counting)
    fact = figure.highest or figure.lowest or ""
    values = [value for designee in counting if isinstance(value := designee.facts.get(fact), int)]
    if not values:
        return None
    return max(values) if figure.highest else min(values)


def _in_share(figure: Figure, number: int, counting: int) -> bool:
    match figure.share:
        case "none":
            return number == 0
        case "some":
            return 0 < number < counting
        case "all":
            return number == counting
        case None:
            return True


def _facts_read(sentence: Sentence) -> set[str]:
    measured = {figure.highest or figure.lowest for figure in sentence.figures.values()} - {None}
    return {condition.fact for _, condition in sentence.conditions("")} | {fact for fact in measured if fact}


def _notes(charter: Charter, sections: Sequence[Section], *, simulated: bool) -> Iterator[str]:
    findings = [finding for section in sections for finding in section.findings]
    assumed = [str(number) for number, finding in enumerate(findings, start=1) if finding.assumed]
    if assumed:
        yield charter.announcement.note_assumed.format(highlights=", ".join(assumed))
    if simulated:
        yield charter.announcement.note_simulated
