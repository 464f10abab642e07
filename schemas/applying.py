"""What applying takes and which ways back there are, as charter data: effort, fee, more time, reply and appeal."""

from __future__ import annotations

from fractions import Fraction
from typing import Annotated, Self

from pydantic import Field, model_validator

from schemas.catalogue import Figure
from schemas.highlights import Id, Positive, Rule, Text

Days = Annotated[int, Field(ge=1, le=260)]
"""Business days: at most about a year of them."""


class Ground(Rule):
    """A reason that the program accepts; whoever relies on one names its `id`."""

    id: Id
    text: Text


class Window(Rule):
    """How many business days there are for something, and on which grounds. On other grounds there are none."""

    business_days: Days
    grounds: tuple[Ground, ...] = Field(min_length=1)


class Appeal(Window):
    """The way back from a final decision: `panel` people who have not seen the application decide."""

    panel: Positive


class Waiver(Ground):
    """A ground for waiving the fee; with `kinds` or `tiers`, for applicants of these only."""

    kinds: tuple[Id, ...] | None = Field(default=None, min_length=1)
    tiers: tuple[Id, ...] | None = Field(default=None, min_length=1)


class Fee(Rule):
    """What an application costs. It is recorded, and paid elsewhere; `currency` is an ISO 4217 code."""

    amount: Figure
    currency: Annotated[str, Field(pattern=r"^[A-Z]{3}$")]
    waivers: tuple[Waiver, ...] = ()

    @model_validator(mode="after")
    def _something_is_asked(self) -> Self:
        if Fraction(self.amount) <= 0:
            raise ValueError("amount must be above 0; where nothing is asked, leave applying.fee out")
        return self


class Applying(Rule):
    """What an application takes: hours of all people together, the fee if any, and who may get more time.

    `extension` is the most that a single applicant's deadline can move; the whole cycle's moves on no ground of these.
    With `screening`, no reviewer is assigned before the program has looked at every application: it is ineligible on
    one of these grounds only, and a question that sends it back leaves the applicant at most so many business days.
    """

    effort_hours: Positive
    fee: Fee | None = None
    extension: Window | None = None
    screening: Window | None = None
