"""Events about decisions and designations, produced by awards."""

from __future__ import annotations

from datetime import date
from typing import Annotated

from pydantic import Field

from schemas.applications import Identity
from schemas.envelope import Event, Sealed
from schemas.exact import Ratio, Value


class Outcome(Value):
    """Block `scores` of a decision: what the charter's rules say, and why."""

    level: str | None
    """The highest of the charter's levels whose conditions all hold; None: not designated."""
    total: Ratio
    unmet: list[str]
    """The conditions of the lowest level that do not hold, e.g. "core:crm", "area:integrated_technology", "total"."""


class DecisionProposed(Event):
    """The charter's rules, applied to the scores. Nothing is final yet."""

    TYPE = "awards.decision.proposed.v1"
    ABOUT = "application"

    cycle: str
    application: str
    scored: str
    """Event id of the `ApplicationScored` that it follows from."""
    scores: Sealed[Outcome] = None


class DecisionMade(Event):
    """The board ratified a proposed decision."""

    TYPE = "awards.decision.made.v1"
    ABOUT = "application"

    cycle: str
    application: str
    proposed: str
    """Event id of the `DecisionProposed` that was ratified."""
    announce_on: date
    """The day of the announcement, the same for all decisions of a cycle: terms start on it."""
    scores: Sealed[Outcome] = None


class WithdrawalAccepted(Event):
    """The board gave an application back that was asked for after the deadline: nothing is decided about it."""

    TYPE = "awards.application.withdrawn.v1"
    ABOUT = "application"

    cycle: str
    application: str
    requested: str
    """Event id of the `WithdrawalRequested` that it settles."""


class WithdrawalAnswer(Value):
    """Block `private`: why not, for the applicant."""

    reason: str


class WithdrawalRefused(Event):
    """The board kept an application in the cycle that was asked for after the deadline."""

    TYPE = "awards.withdrawal.refused.v1"
    ABOUT = "application"

    cycle: str
    application: str
    requested: str
    """Event id of the `WithdrawalRequested` that it settles."""
    private: Sealed[WithdrawalAnswer] = None


class DesignationGranted(Event):
    """A government is designated for a term. Public only with the announcement."""

    TYPE = "awards.designation.granted.v1"
    ABOUT = "designation"

    cycle: str
    designation: str
    application: str
    decided: str
    """Event id of the `DecisionMade` that it follows from."""
    starts_on: date
    ends_on: date
    """The last day's end: on this date the designation is no longer active."""
    identity: Sealed[Identity] = None
    scores: Sealed[Outcome] = None


class RenewalDue(Event):
    """A designation ends in so many days: time to apply again."""

    TYPE = "awards.renewal.due.v1"
    ABOUT = "designation"

    cycle: str
    designation: str
    days: Annotated[int, Field(ge=1)]
    """Before the end, as the charter lists them."""
    ends_on: date


class DesignationExpired(Event):
    """A term ended without renewal."""

    TYPE = "awards.designation.expired.v1"
    ABOUT = "designation"

    cycle: str
    designation: str
    ended_on: date
