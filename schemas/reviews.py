"""Events about reviewers, reviews and scores, produced by scoring; and the signed command that carries a review."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from schemas.envelope import Event, Sealed
from schemas.exact import Ratio, SafeInt, Value


class Account(Value):
    """Whose tokens are a reviewer's."""

    issuer: str
    """Their `iss`."""
    subject: str
    """Their `sub`."""


class Reviewer(Value):
    """Block `private` of an enrolment: what conflicts are judged by, and who may read what is assigned."""

    states: list[str]
    """States in which the reviewer works, lives or is under contract."""
    account: Account | None = None
    """None: enrolled before enrolments told it."""


class ReviewerEnrolled(Event):
    """A reviewer may be assigned applications of this cycle. Goes to the log `program`."""

    TYPE = "scoring.reviewer.enrolled.v1"
    ABOUT = "reviewer"

    cycle: str
    reviewer: str
    """Random, per cycle."""
    private: Sealed[Reviewer] = None


class Assignee(Value):
    """Block `private` of a review's events: who is behind the alias."""

    reviewer: str


class ReviewAssigned(Event):
    """An application was given to a reviewer, who is known by a fresh alias from here on."""

    TYPE = "scoring.review.assigned.v1"
    ABOUT = "application"

    cycle: str
    application: str
    review: str
    """The alias."""
    private: Sealed[Assignee] = None


class Points(Value):
    """Block `scores` of a review."""

    points: dict[str, SafeInt | None]
    """By criterion, on the charter's scale. None agrees that it does not apply, where the applicant said so."""
    recommendation: bool
    """Whether the reviewer would designate. It decides nothing."""


class Remarks(Value):
    """Block `private` of a review: what only the applicant (without the reviewer) and auditors may read."""

    reviewer: str
    command_sha256: str
    """SHA-256 (hex) of the signed command's record, or of the HTTP body: sealed, because a body can be guessed."""
    rationales: dict[str, str]
    """By criterion; may be empty."""
    comment: str


class ReviewSubmitted(Event):
    """A reviewer's points for one application. A changed score is a new event, never an edit."""

    TYPE = "scoring.review.submitted.v1"
    ABOUT = "application"

    cycle: str
    application: str
    review: str
    version: Annotated[int, Field(ge=1)]
    """Of the application that was reviewed."""
    via: Literal["http", "kafka"]
    scores: Sealed[Points] = None
    private: Sealed[Remarks] = None


class AreaShare(Value):
    """What an area came to: `share = points / maximum`, over the criteria that apply."""

    points: Ratio
    maximum: SafeInt
    share: Ratio


class Scores(Value):
    """Block `scores` of `ApplicationScored`."""

    criteria: dict[str, Ratio | None]
    """Each criterion's score over the reviewers; None where it does not apply."""
    areas: dict[str, AreaShare]
    total: Ratio
    """The weighted areas, 0 to 1."""


class ApplicationScored(Event):
    """The last review is in: the scores, by the charter, and what they were computed from."""

    TYPE = "scoring.application.scored.v1"
    ABOUT = "application"

    cycle: str
    application: str
    submitted: str
    """Event id of the `ApplicationSubmitted` that was reviewed."""
    reviews: list[str]
    """Event ids of the reviews that were counted, sorted."""
    scores: Sealed[Scores] = None


class Refusal(Value):
    """Block `private` of a refused command."""

    reviewer: str
    detail: str


class CommandRefused(Event):
    """An authenticated command was not carried out."""

    TYPE = "scoring.command.refused.v1"
    ABOUT = "command"

    cycle: str
    command: str
    """The command's id as its sender gave it."""
    reason: str
    """The rule that refused it, in one word: see `services.scoring.domain`."""
    record_sha256: str
    """SHA-256 (hex) of the record's value."""
    private: Sealed[Refusal] = None


Name = Annotated[str, Field(pattern=r"^\P{Cc}{1,200}$")]
"""An id in a command, before anybody has checked that it names something."""
Prose = Annotated[str, Field(pattern=r"^[^\x00]*$")]
"""Text that a database can hold."""


class ReviewBody(BaseModel):
    """What a reviewer posts, over HTTP or inside a command."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    application: Name
    points: dict[str, Annotated[int, Field(strict=True)] | None]
    recommendation: Annotated[bool, Field(strict=True)]
    rationales: dict[str, Annotated[Prose, Field(max_length=2_000)]] = {}
    comment: Annotated[Prose, Field(max_length=5_000)] = ""


class ReviewCommand(BaseModel):
    """The payload of a signed command on `scoring.submissions.v1`.

    The record's value is a compact JWS over it (Ed25519, `typ` `cec-command+jws`, `kid` = the key's RFC 7638
    thumbprint), its key is `body.application`. `iat` and `exp` are judged at the broker's LogAppendTime.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    aud: Literal["scoring.submissions.v1"]
    command_id: Annotated[str, Field(pattern=r"^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$")]
    cycle: Name
    sub: Name
    """The reviewer's id in this cycle."""
    iat: Annotated[int, Field(strict=True)]
    """Seconds since 1970, machine time."""
    exp: Annotated[int, Field(strict=True)]
    body: ReviewBody
