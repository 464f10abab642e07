"""What is asked and answered about a re-application over HTTP."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, Field

from schemas.envelope import Instant
from services.intake.applications.forms import CarriedView, DifferenceView
from services.intake.forms import Given


class Confirmation(Given):
    """The places that still hold, by the `field` of what is carried; absent: all of the section that are as then."""

    fields: Annotated[list[Annotated[str, Field(max_length=500)]] | None, Field(min_length=1, max_length=1_000)] = None


class FigureThenView(BaseModel):
    """A figure of then. It is of its period and was not taken: this cycle's is given anew.

    `asked` says whether the charter still has the metric.
    """

    id: str
    value: str
    unit: str
    period: str
    published: bool
    simulated: bool
    asked: bool


class GoneView(BaseModel):
    """Something that was said then and has no place in this charter: where it stood, why, and what it was."""

    field: str
    detail: str
    then: Any


class ReapplicationView(BaseModel):
    """The draft beside the application that it started from: that of `cycle`, in the `version` that stood.

    `carried` is what it said, place by place, with what became of it; `unconfirmed` counts what is still to be looked
    at. `new` are the places of which it said nothing, `gone` what there is no place for any more.
    """

    application: str
    earlier: str
    """The earlier application's id."""
    cycle: str
    version: int
    submitted_at: Instant
    unconfirmed: int
    carried: list[CarriedView]
    figures: list[FigureThenView]
    new: list[str]
    gone: list[GoneView]


class SinceView(BaseModel):
    """The fields (RFC 6901, in the draft) in which the draft differs from the application of `cycle`."""

    application: str
    cycle: str
    version: int
    differences: list[DifferenceView]
