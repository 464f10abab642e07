"""What an applicant states about itself, as charter data: facts, and metrics with what a figure of each looks like."""

from __future__ import annotations

from fractions import Fraction
from functools import lru_cache
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from schemas.exact import Quantity
from schemas.highlights import Id, Rule, Text

Figure = Annotated[str, Field(pattern=r"^-?[0-9]{1,12}(\.[0-9]{1,6})?$")]
"""A decimal in quotes, because a float is not exact."""
Brief = Annotated[str, Field(min_length=1, max_length=400)]
"""A sentence or two, to be shown beside a field."""

_exact = lru_cache(maxsize=1_024)(Fraction)


class Fact(Rule):
    """Something that an applicant states about itself: a yes or no, a number, one choice or several."""

    id: Id
    label: Text
    help: Brief | None = None
    kind: Literal["yes_no", "count", "choice", "choices"]
    required: bool = False
    min: Annotated[int, Field(ge=0)] | None = None
    max: Annotated[int, Field(ge=0)] | None = None
    choices: tuple[Text, ...] = ()

    @model_validator(mode="after")
    def _bounds_fit_the_kind(self) -> Self:
        if bool(self.choices) != (self.kind in {"choice", "choices"}):
            raise ValueError("choices go with kind choice or choices, which need them, and with no other")
        if self.kind != "count" and (self.min is not None or self.max is not None):
            raise ValueError("min and max go with kind count only")
        if self.max is not None and self.max < (self.min or 0):
            raise ValueError(f"max {self.max} is below min {self.min}")
        return self

    def problem(self, value: object) -> str | None:
        """What is wrong with `value` as this fact's value, or None."""
        listed = ", ".join(self.choices)
        match self.kind:
            case "yes_no":
                return None if isinstance(value, bool) else "must be true or false"
            case "count":
                low = self.min or 0
                if isinstance(value, int) and not isinstance(value, bool) and low <= value:
                    return f"must be at most {self.max}" if self.max is not None and value > self.max else None
                return f"must be a whole number, {low} or more"
            case "choice":
                return None if value in self.choices else f"must be one of: {listed}"
            case "choices":
                if isinstance(value, list | tuple) and all(item in self.choices for item in value):
                    return None if len(set(value)) == len(value) else "must name each value once"
                return f"must be a list out of: {listed}"


class Metric(Rule):
    """A performance measure; `target` is customary, decides nothing, and `basis` says how far it can be trusted.

    `period` is what one figure covers. A figure outside `plausible` (lowest and highest, bounds included) is possible:
    whoever gives it is warned and must say that it stands.
    """

    id: Id
    name: Text
    formula: Text
    unit: Text
    direction: Literal["up", "down", "band", "monitor"]
    period: Text | None = None
    plausible: tuple[Figure, Figure] | None = None
    service_delivery: bool = False
    target: Text | None = None
    basis: Text | None = None

    @model_validator(mode="after")
    def _plausible_is_a_range(self) -> Self:
        if self.plausible is not None and Fraction(self.plausible[0]) >= Fraction(self.plausible[1]):
            raise ValueError(f"plausible names a lower and then a higher figure, not {' and '.join(self.plausible)}")
        return self

    def doubt(self, value: Quantity) -> str | None:
        """Why `value` should be looked at again, or None: a warning and never an error."""
        if self.plausible is None:
            return None
        low, high = self.plausible
        if _exact(low) <= value.fraction <= _exact(high):
            return None
        return f"{value} {self.unit} is outside what is usual, {low} to {high} {self.unit}"


class MetricsRule(Rule):
    """How many service-delivery metrics an applicant must publish."""

    published_service_delivery: Annotated[int, Field(ge=0)]
