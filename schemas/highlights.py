"""The announcement's wording as charter data: templates, conditions on facts, figures, sentences, highlights.

A highlight is a list of sentences. A sentence counts the designees whose facts meet its `where`, may name figures over
those that count, and is worded by a template. Scope "all" speaks only when every designee counts; scope "some" speaks
when at least one does. `services/awards/announcement.py` evaluates them; here stand shape and rules only.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from string import Formatter
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, PlainValidator, model_validator

Problem = tuple[str, str]
"""A place such as `areas[2].criteria[0].id`, and the rule that it breaks."""

Id = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_-]{0,63}$")]
Text = Annotated[str, Field(min_length=1, max_length=2000)]
Positive = Annotated[int, Field(ge=1)]

SPELLINGS = ("", "word", "Word")
"""After the colon in a placeholder: digits, words, words with a capital: {count}, {count:word}, {count:Word}."""


class Rule(BaseModel):
    """A part of the charter: frozen, strict, and refusing what it does not know."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, str_strip_whitespace=True)


def _scalar(value: object) -> bool | int | str:
    if isinstance(value, bool | int | str):
        return value
    raise ValueError("must be true, false, a whole number or text")


class Condition(Rule):
    """One test of one fact; a fact that was not given meets no condition. Exactly one comparison is set."""

    fact: Id
    equals: Annotated[bool | int | str | None, PlainValidator(_scalar)] = Field(default=None, alias="is")
    at_least: int | None = None
    one_of: tuple[Text, ...] | None = Field(default=None, alias="in", min_length=1)
    count_at_least: Positive | None = None

    @model_validator(mode="after")
    def _one_comparison(self) -> Self:
        given = (self.equals, self.at_least, self.one_of, self.count_at_least)
        if sum(value is not None for value in given) != 1:
            raise ValueError("needs exactly one of: is, at_least, in, count_at_least")
        return self


class Figure(Rule):
    """A number over the designees that count: the highest or lowest value of a fact, or how many meet `count`.

    `share` makes the sentence depend on that number: "none" of them, "some" (at least one, not all) or "all".
    """

    highest: Id | None = None
    lowest: Id | None = None
    count: tuple[Condition, ...] | None = Field(default=None, min_length=1)
    share: Literal["none", "some", "all"] | None = None

    @model_validator(mode="after")
    def _one_measure(self) -> Self:
        if sum(value is not None for value in (self.highest, self.lowest, self.count)) != 1:
            raise ValueError("needs exactly one of: highest, lowest, count")
        if self.share and self.count is None:
            raise ValueError("share goes with count only")
        return self


class Sentence(Rule):
    """What to say of the designees that count. The first wording that fits is used: sole, same, all, one, text.

    `sole`: there is one designee in all · `same`: all figures are equal · `all`: every designee counts (scope "some")
    · `one`: a single one counts. Placeholders: {count}, {total} and the figures' names, each also :word or :Word.
    Sentences carry no final full stop; several in one highlight are joined by one.
    """

    where: tuple[Condition, ...] = Field(min_length=1)
    figures: dict[Id, Figure] = {}
    text: Text
    one: Text | None = None
    all: Text | None = None
    same: Text | None = None
    sole: Text | None = None

    def problems(self, place: str) -> Iterator[Problem]:
        """Unknown placeholders, and figures that hide a built-in one."""
        for name in self.figures.keys() & {"count", "total"}:
            yield f"{place}.figures.{name}", "this name is taken by a built-in placeholder"
        known = {"count", "total", *self.figures}
        for field in ("text", "one", "all", "same", "sole"):
            template = getattr(self, field)
            if template is not None:
                yield from template_problems(f"{place}.{field}", template, known)

    def conditions(self, place: str) -> Iterator[tuple[str, Condition]]:
        """Every condition, of `where` and of the figures, with its place."""
        for number, condition in enumerate(self.where):
            yield f"{place}.where[{number}]", condition
        for name, figure in self.figures.items():
            for number, condition in enumerate(figure.count or ()):
                yield f"{place}.figures.{name}.count[{number}]", condition


class Highlight(Rule):
    """One bullet of the announcement."""

    id: Id
    scope: Literal["all", "some"]
    sentences: tuple[Sentence, ...] = Field(min_length=1)


class Wording(Rule):
    """The announcement's fixed texts. {label} is the cycle's ("2011-2013"); {areas} and {total} are numbers.

    `group_heading`: {label} is the tier's or level's · `area`: {name}, {summary} · `designee`: {name}, {state}
    · `date_format`: a CLDR pattern ("MM-dd-yyyy") in the charter's language · `note_assumed`: {highlights} lists the
    numbers of the highlights that rest on assumed facts · the marks label such a highlight, and simulated scores.
    """

    heading: Text
    lead: tuple[Text, ...] = ()
    areas_intro: Text
    area: Text = "{name} ({summary})"
    list_heading: Text
    group_by: Literal["tier", "level"]
    group_heading: Text
    designee: Text = "{name}, {state}"
    nobody: Text
    highlights_heading: Text
    all_heading: Text
    all_heading_sole: Text
    some_heading: Text
    date_format: Text
    note_heading: Text
    note_assumed: Text
    note_simulated: Text
    mark_assumed: Text
    mark_simulated: Text
    highlights: tuple[Highlight, ...] = ()

    def problems(self, place: str) -> Iterator[Problem]:
        """Unknown placeholders in any text, sentences included."""
        known = {
            "heading": {"label"},
            "areas_intro": {"label", "areas"},
            "area": {"name", "summary"},
            "list_heading": {"label"},
            "group_heading": {"label"},
            "designee": {"name", "state"},
            "highlights_heading": {"label"},
            "all_heading": {"label", "total"},
            "all_heading_sole": {"label"},
            "some_heading": {"label", "total"},
            "nobody": {"label"},
            "note_assumed": {"highlights"},
        }
        for field, names in known.items():
            yield from template_problems(f"{place}.{field}", getattr(self, field), names)
        for number, paragraph in enumerate(self.lead):
            yield from template_problems(f"{place}.lead[{number}]", paragraph, {"label"})
        for number, highlight in enumerate(self.highlights):
            for position, sentence in enumerate(highlight.sentences):
                yield from sentence.problems(f"{place}.highlights[{number}].sentences[{position}]")


TEXTS = frozenset({"end", "highlights", "label", "name", "start", "state", "summary"})
"""Placeholders that are no numbers, so cannot be spelt in words."""


def template_problems(place: str, template: str, known: Collection[str]) -> Iterator[Problem]:
    """Placeholders of `template` other than `{known}`, `{known:word}` and `{known:Word}`."""
    try:
        fields = [(name, spec, conversion) for _, name, spec, conversion in Formatter().parse(template)]
    except ValueError as error:
        yield place, f"is no template: {error}"
        return
    for name, spec, conversion in fields:
        if name is None:
            continue
        # A dot or bracket would let a template read attributes of the program's objects.
        if name not in known:
            yield place, f"unknown placeholder {{{name}}}; known here: {', '.join(sorted(known))}"
        elif conversion or spec not in SPELLINGS or (spec and name in TEXTS):
            allowed = f"{{{name}}}" if name in TEXTS else f"{{{name}}}, {{{name}:word}} or {{{name}:Word}}"
            yield place, f"write the placeholder as {allowed}"
