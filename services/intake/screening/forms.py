"""What is asked and answered about screening over HTTP."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, Field

from schemas.envelope import Instant
from schemas.screening import Verdict
from services.intake.forms import Deadline, Given
from services.intake.screening.domain import Stage
from services.intake.text import Prose


class NewVerdict(Given):
    """A verdict: `ground` is one of the charter's for an ineligible application, `text` the reason or the question.

    `due` is when an answer must be in; absent: after all the business days that the charter gives for it.
    """

    verdict: Verdict
    ground: Annotated[str, Field(max_length=64)] = ""
    text: Prose = ""
    due: Deadline | None = None


class Answer(Given):
    """An answer to the question that is open."""

    text: Annotated[Prose, Field(min_length=1, pattern=r"\S")]


class Finish(Given):
    """With `rest_eligible`, every application that nobody has looked at is eligible."""

    rest_eligible: bool = False


class StatementView(BaseModel):
    """One thing that was said: a verdict with its reason or question, an answer, or why a deadline moved."""

    event: str
    at: Instant
    kind: Literal["eligible", "ineligible", "sent-back", "answer", "extension", "withdrawal", "withdrawal-refused"]
    ground: str
    text: str
    due: Instant | None


class ScreeningView(BaseModel):
    """Where an application stands, and all that was said so far, the oldest first."""

    application: str
    stage: Stage
    due: Instant | None
    now: Instant
    """The server's time, by which `due` is judged."""
    statements: list[StatementView]


class CandidateView(BaseModel):
    """An application to be screened. `confirmed`: whether the program has confirmed its government."""

    application: str
    government: str
    name: str
    confirmed: bool
    stage: Stage
    due: Instant | None


class CandidatesView(BaseModel):
    """The applications that stand in a closed cycle. Once it is `finished`, no verdict changes any more."""

    cycle: str
    finished: bool
    grounds: dict[str, str]
    """The charter's grounds for ineligibility, by id."""
    applications: list[CandidateView]
