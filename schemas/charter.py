"""The charter: one TOML file (`cec-charter/1`) that defines a designation program.

Everything the program decides by stands here as data: who is eligible, tiers, scale, areas and criteria, scoring,
levels with their floors and cut-offs, conflicts, what applying takes, facts, metrics, reply and appeal, term,
disclosure and the announcement's wording.
`Charter.parse` refuses what does not hold together and names every place at once. Opening a cycle freezes the text
itself, with `charter_digest`, into the cycle's first event, so comments and spelling stay what the board agreed on.

An area's *share* is the sum of its criterion scores divided by (`scale.max` x the number of applicable criteria), so
on a scale that starts above 0 even the lowest scores give a share above zero. The *total* is the weighted areas.
"""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Sequence
from fractions import Fraction
from hashlib import sha256
from typing import Annotated, Literal, Self

from pydantic import Field, PlainSerializer, PlainValidator, ValidationError, model_validator

from schemas.applying import Appeal, Applying, Window
from schemas.catalogue import Brief, Fact, Metric, MetricsRule
from schemas.highlights import Id, Positive, Rule, Text, Wording
from schemas.soundness import UnsoundError, problems
from schemas.workdays import Calendar

Block = Literal["identity", "claims", "answers", "scores"]
"""What an announcement may open; what is private or an address never is."""

CHARTER_LIMIT = 56_000
"""Bytes of the charter's text as a JSON string: it is frozen whole into one event, whose leaf holds 60,000."""


class CharterError(ValueError):
    """A charter that cannot be used; `problems` are "place: rule" lines, and the message is all of them in one."""

    def __init__(self, problems: Sequence[str]) -> None:
        """Join `problems` into one line."""
        super().__init__("; ".join(problems))
        self.problems = tuple(problems)


def charter_digest(text: str) -> str:
    """SHA-256 (hex) of the charter file's text in UTF-8."""
    return sha256(text.encode()).hexdigest()


def parse_share(value: object) -> Fraction:
    """An exact percentage: "60 %" or "62.5 %" is 3/5 or 5/8; ValueError for anything else."""
    if isinstance(value, str) and (match := re.fullmatch(r"([0-9]{1,3}(?:\.[0-9]{1,6})?) ?%", value.strip())):
        share = Fraction(match[1]) / 100
        if share <= 1:
            return share
    raise ValueError('must be a percentage in quotes from "0 %" to "100 %", such as "62.5 %"')


def share_text(share: Fraction) -> str:
    """The percentage as `parse_share` reads it; exact for every share that a charter can hold."""
    whole, millionths = divmod(int(share * 10**8), 10**6)
    return f"{whole}.{millionths:06d}".rstrip("0").rstrip(".") + " %"


Share = Annotated[Fraction, PlainValidator(parse_share), PlainSerializer(share_text, return_type=str)]


class Program(Rule):
    """What the program is called, who runs it, and in which language it announces (`en`, `es`, `pt-BR`).

    `label` names a cycle by the years of its announcement and of its terms' end: "{start}-{end}".
    """

    id: Id
    name: Text
    operator: Text
    site: Annotated[str, Field(pattern=r"^https?://[^\s/]+(/\S*)?$")]
    language: Annotated[str, Field(pattern=r"^[a-z]{2,3}(-[A-Z]{2})?$")]
    label: Text


class Eligibility(Rule):
    """The kinds of applicant that may apply."""

    kinds: tuple[Id, ...] = Field(min_length=1)


class Tier(Rule):
    """A population class, bounds included, open without `max`. It groups the announcement and never moves the bar."""

    id: Id
    label: Text
    min: Annotated[int, Field(ge=0)]
    max: Annotated[int, Field(ge=0)] | None = None


class Anchor(Rule):
    """What one point of the scale stands for."""

    score: int
    text: Text


class Scale(Rule):
    """The whole numbers that a reviewer may give."""

    min: Annotated[int, Field(ge=0)]
    max: Positive
    anchors: tuple[Anchor, ...] = Field(min_length=1)

    def __contains__(self, score: object) -> bool:
        """Whether `score` is a point of the scale."""
        return isinstance(score, int) and not isinstance(score, bool) and self.min <= score <= self.max


class Scoring(Rule):
    """How reviews become a criterion's score, and how much reviewing an application and a reviewer get."""

    criterion: Literal["median", "mean"]
    reviewers_per_application: Positive
    applications_per_reviewer: Positive
    not_applicable_per_area: Annotated[int, Field(ge=0)]


class Level(Rule):
    """What a designation at this level takes. Levels stand from lowest to highest; the highest that holds is awarded.

    `total` and `every_area` are shares; `every_core` is the least score of every applicable core criterion.
    """

    id: Id
    name: Text
    total: Share
    every_area: Share = Fraction(0)
    every_core: int | None = None


class Conflicts(Rule):
    """What bars a reviewer from an application, beside what the reviewer declares."""

    same_state: bool


class Criterion(Rule):
    """What is judged, what counts as evidence, and what points look like (keys are scores of the scale).

    `asks` is the question that an applicant's statement answers; `not_enough` what is often sent and shows nothing.
    `applies` names the kinds of applicant that it is for (absent: all); `notes` say what it means for one of them;
    `na_when` is the one ground on which an applicant may call it not applicable, never given for a core criterion.
    """

    id: Id
    name: Text
    core: bool = False
    definition: Text
    asks: Brief | None = None
    evidence: Text
    not_enough: Brief | None = None
    looks_like: dict[int, Text] = Field(min_length=1)
    applies: tuple[Id, ...] | None = Field(default=None, min_length=1)
    notes: dict[Id, Brief] = {}
    na_when: Text | None = None

    def applies_to(self, kind: str) -> bool:
        """Whether applicants of this kind are judged by it."""
        return self.applies is None or kind in self.applies


class Area(Rule):
    """A key area; `weight` is its percentage of the total."""

    id: Id
    name: Text
    summary: Text
    weight: Positive
    criteria: tuple[Criterion, ...] = Field(min_length=1)

    def applicable(self, kind: str) -> tuple[Criterion, ...]:
        """The criteria that applicants of this kind are judged by."""
        return tuple(criterion for criterion in self.criteria if criterion.applies_to(kind))


class Term(Rule):
    """How long a designation lasts, and how many days before its end a renewal notice goes out."""

    years: Positive
    renewal_notice_days: tuple[Positive, ...] = ()


class Disclosure(Rule):
    """Which sealed blocks the announcement opens, of the designated and of all others."""

    designated: tuple[Block, ...]
    not_designated: tuple[Block, ...]


class Charter(Rule):
    """A whole program, checked: what it holds can be played from opening to expiry."""

    form: Literal["cec-charter/1"]
    program: Program
    eligibility: Eligibility
    tiers: tuple[Tier, ...] = ()
    scale: Scale
    calendar: Calendar = Calendar()
    applying: Applying | None = None
    scoring: Scoring
    levels: tuple[Level, ...] = Field(min_length=1)
    conflicts: Conflicts
    areas: tuple[Area, ...] = Field(min_length=1)
    facts: tuple[Fact, ...] = ()
    metrics: tuple[Metric, ...] = ()
    metrics_rule: MetricsRule
    reply: Window | None = None
    appeal: Appeal | None = None
    term: Term
    disclosure: Disclosure
    announcement: Wording

    @classmethod
    def parse(cls, text: str) -> Charter:
        """Read a charter file's text; CharterError names all that breaks the shape, else all that breaks a rule."""
        size = len(json.dumps(text, ensure_ascii=False).encode())
        if size > CHARTER_LIMIT:
            raise CharterError([f"the file takes {size:,} bytes in its event; shorten it to {CHARTER_LIMIT:,}"])
        try:
            # Through JSON: there pydantic's strict mode takes an array for a tuple and text for a whole-number key.
            return cls.model_validate_json(json.dumps(tomllib.loads(text), default=str))
        except tomllib.TOMLDecodeError as error:
            raise CharterError([f"the file is not TOML: {error}"]) from error
        except ValidationError as error:
            raise CharterError(explained(error, "a charter")) from error

    @model_validator(mode="after")
    def _holds_together(self) -> Self:
        found = tuple(problems(self))
        if found:
            raise UnsoundError(found)
        return self

    @property
    def screening(self) -> Window | None:
        """How applications are looked at before they are reviewed; None where all that stand are."""
        return self.applying.screening if self.applying else None

    def tier_of(self, population: int) -> Tier | None:
        """The tier of a population; None when the charter has no tiers or none that holds it."""
        for tier in self.tiers:
            if tier.min <= population and (tier.max is None or population <= tier.max):
                return tier
        return None

    def criteria(self, kind: str) -> dict[str, Criterion]:
        """The criteria that applicants of this kind are judged by, by id, in the charter's order."""
        return {criterion.id: criterion for area in self.areas for criterion in area.applicable(kind)}

    def cycle_label(self, year: int) -> str:
        """The name of a cycle that is announced in `year`: "2011-2013"."""
        return self.program.label.format(start=year, end=year + self.term.years)


def explained(error: ValidationError, file: str) -> list[str]:
    """What pydantic found in a `file`, as "place: rule" lines; a place is a path such as `areas[2].criteria[0].id`."""
    found = error.errors()
    lines: list[str] = []
    for details in found:
        place, cause = details["loc"], details.get("ctx", {}).get("error")
        within = [other for other in found if other is not details and other["loc"][: len(place)] == place]
        if isinstance(cause, UnsoundError):
            lines += [f"{where}: {rule}" for where, rule in cause.problems]
        elif details["type"] == "extra_forbidden":
            lines.append(f"{_path(place)}: is no field of {file}; remove it or check its spelling")
        elif details["type"] == "missing":
            lines.append(f"{_path(place)}: is missing")
        # A list whose only item was refused is also called too short, which says nothing new.
        elif details["type"] != "too_short" or not within:
            lines.append(f"{_path(place)}: {details['msg'].removeprefix('Value error, ')}".removeprefix(": "))
    return lines


def _path(location: Sequence[int | str]) -> str:
    return "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in location).removeprefix(".")
