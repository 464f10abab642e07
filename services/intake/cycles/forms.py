"""What is asked and answered about cycles over HTTP."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, Field

from schemas.envelope import Instant
from services.intake.forms import Deadline, Given
from services.intake.text import Prose


class NewCycle(Given):
    """A cycle to open; `charter` is a charter file's text."""

    label: Annotated[str, Field(max_length=200)]
    charter: str
    deadline: Deadline
    demonstration: bool = False


class LaterDeadline(Given):
    """A deadline to move to, and why."""

    deadline: Deadline
    reason: Annotated[Prose, Field(min_length=1)]


class CycleView(BaseModel):
    """A cycle; `submitted` is there for program-admin and auditor only.

    What counts is the server's clock, which shows `now`: at `deadline` by it, it is too late.
    """

    cycle: str
    label: str
    program: str
    charter_sha256: str
    deadline: Instant
    time_zone: str
    """Of the program, as its charter says."""
    deadline_local: str
    """The deadline in the program's time zone."""
    now: Instant
    state: Literal["open", "closed"]
    assignment_commitment: str
    demonstration: bool
    submitted: int | None = None
