"""Events about evidence that is looked at from outside, produced by intake: what an Open311 endpoint says by itself.

A figure supports or contradicts a claim and is shown to reviewers; it never sets a score. No figure is a float, and
each stands with the count that it rests on. Dates are those that the government wrote, in its own time zone.
"""

from __future__ import annotations

from datetime import date
from fractions import Fraction
from typing import Annotated, Final, Literal, Self

from pydantic import ConfigDict, Field, model_validator

from schemas.envelope import Event, Sealed
from schemas.exact import Ratio, SafeInt, Value

Count = Annotated[SafeInt, Field(ge=0)]

Drop = Literal["requests", "services", "promised", "on_time", "median_days", "ninth_decile_days", "freshness"]
"""A figure that is clearly worse than in the probe before."""

Remark = Literal["no-discovery", "incomplete", "no-times", "outside-window"]
"""What to know before reading the figures."""

REMARKS: Final[dict[Remark, str]] = {
    "no-discovery": "The server has no discovery document; its address was taken as it was given.",
    "incomplete": "Not every part of the window could be read: the figures are of what was.",
    "no-times": "Most records were changed in one minute, so that says when they were copied: no times to close.",
    "outside-window": "The server also answered with requests of other times, which do not count.",
}


class Portion(Value):
    """So many of so many: a share that keeps the count it rests on."""

    part: Count
    whole: Count

    @model_validator(mode="after")
    def _within(self) -> Self:
        if self.part > self.whole:
            message = f"{self.part} of {self.whole} is no portion"
            raise ValueError(message)
        return self

    @property
    def fraction(self) -> Fraction | None:
        """The share, for arithmetic; None of nothing."""
        return Fraction(self.part, self.whole) if self.whole else None


class DaysToClose(Value):
    """Calendar days from the request to its closing; `count` requests have both dates. None of none."""

    count: Count
    median: Ratio | None
    ninth_decile: Count | None
    """The 90th percentile by nearest rank: at least nine of ten were closed within so many days."""


class Channel(Value):
    """How many requests came in through a channel, in the server's own word for it."""

    name: str
    requests: Count


class Figures(Value):
    """What the requests of a window show. Each field's docstring is the definition that people read beside it."""

    model_config = ConfigDict(use_attribute_docstrings=True)

    requests: Count
    """Made in the window."""
    services: Count
    """Service types that occur among them."""
    listed_services: Count | None
    """Service types that the server offers; null where it has no list."""
    closed: Portion
    """Of all whose status is known."""
    promised: Portion
    """With a promised date (`expected_datetime`), of all."""
    on_time: Portion
    """Closed on the promised date or before, of those closed whose two dates are known."""
    overdue: Portion
    """With a promised date that has passed, of those open that have one: what `on_time` cannot see."""
    days_to_close: DaysToClose
    """Calendar days from the request to its closing, of those that have both dates; nine of ten by nearest rank."""
    channels: list[Channel]
    """The most frequent first; the rest together as "other". Empty where the server does not say."""
    with_channel: Count
    """Whose channel the server tells."""
    latest: date | None
    """The last day on which a request was made or changed."""
    days_since_latest: Count | None
    """From that day to the window's end."""
    contradictory: Count
    """Closed before they were made: in no time to close."""

    @classmethod
    def definitions(cls) -> dict[str, str]:
        """What each figure is, by its name."""
        return {name: " ".join((field.description or "").split()) for name, field in cls.model_fields.items()}


class Probe(Value):
    """Block `claims` of a probe: where, which window, and what was found."""

    endpoint: str
    jurisdiction: str
    from_day: date
    until_day: date
    """The window, its last day included; at most 90 days."""
    figures: Figures
    remarks: list[Remark]
    previous: str | None
    """Id of the probe that `drops` compares with."""
    drops: list[Drop]
    raw_sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
    """SHA-256 (hex) of the list of the raw answers, which intake keeps by theirs."""


class EvidenceProbed(Event):
    """A government's Open311 endpoint was read. Goes to the log `program`."""

    TYPE = "intake.evidence.probed.v1"
    ABOUT = "government"

    government: str
    probe: str
    """The probe's id."""
    claims: Sealed[Probe] = None
