"""What is asked and answered over HTTP about invitations, questions, charters open for comment, fees and research."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, Field

from schemas.applications import Answer, Identity
from schemas.envelope import Instant
from services.intake.applications.forms import ClaimsView
from services.intake.forms import Deadline, Given, Name
from services.intake.openness.domain import FeeState
from services.intake.text import Line

Words = Annotated[str, Field(min_length=1, max_length=5_000, pattern=r"\S")]
Note = Annotated[str, Field(max_length=2_000)]


# --- invitations -----------------------------------------------------------------------------------------------------


class NewInvitee(Given):
    """A government to invite, and the address to write to."""

    name: Annotated[str, Field(max_length=1_000)]
    state: Annotated[str, Field(max_length=1_000)] = ""
    email: Annotated[str, Field(max_length=1_000)]


class NewCampaign(Given):
    """Governments to invite. An address that is on the list already stays as it is there."""

    invited: Annotated[list[NewInvitee], Field(max_length=5_000)]


class SentInvitations(Given):
    """Whose invitation went out, by the ids of the list."""

    invitees: Annotated[list[Name], Field(min_length=1, max_length=5_000)]


class Send(Given):
    """Whom to invite by letter: of the list, by their ids; null for all to whom nothing went out yet."""

    invitees: Annotated[list[Name], Field(min_length=1, max_length=5_000)] | None = None


class InvitingView(BaseModel):
    """How many letters are on their way now."""

    cycle: str
    queued: int


class ListedView(BaseModel):
    """How many of a list are new on it, and how many were there."""

    added: int
    known: int


class InviteeView(BaseModel):
    """Somebody on the list, and what became of it.

    `sent` says that the invitation went out, `queued` that it is about to, `bounced` that the mail server of the
    address refused it for good; `reason` is why one that should have gone out did not. `opened` and `submitted` say
    that a government of the same name and state, or one whose people or e-mail domain have the address, has an
    application in this cycle.
    """

    invitee: str
    name: str
    state: str
    email: str
    added_at: Instant
    sent_at: Instant | None
    became: Literal["listed", "queued", "sent", "bounced", "opened", "submitted"]
    government: str | None
    reason: str = ""


class CampaignView(BaseModel):
    """A page of the list, by id, and how it stands as a whole; `next` is the following page's `after`."""

    cycle: str
    counts: dict[Literal["listed", "queued", "sent", "bounced", "opened", "submitted"], int]
    invitees: list[InviteeView]
    next: str | None


class OpenedView(BaseModel):
    """An application that somebody opened in the cycle."""

    application: str
    government: str
    name: str
    state: str
    kind: str
    became: Literal["draft", "submitted", "withdrawn"]


class OpenedApplications(BaseModel):
    """A page of the applications of a cycle, by id; `next` is the following page's `after`."""

    cycle: str
    applications: list[OpenedView]
    next: str | None


# --- questions -------------------------------------------------------------------------------------------------------


class NewQuestion(Given):
    """What an applicant wants to know. It is answered to all, who never learn who asked: name nobody in it."""

    text: Words


class NewAnswer(Given):
    """The answer to all, and the question in other words where its own would say who asked."""

    text: Words
    question: Words | None = None


class Merger(Given):
    """The question with which this one is answered."""

    into: Name


class AskedView(BaseModel):
    """That a question was taken."""

    question: str
    asked_at: Instant


class AnsweredView(BaseModel):
    """A question as it is answered to all."""

    question: str
    text: str
    answer: str
    answered_at: Instant


class QuestionsView(BaseModel):
    """All that was answered in a cycle, the newest first."""

    cycle: str
    questions: list[AnsweredView]


class WaitingView(BaseModel):
    """A question to the program; `merged` are the ones that its answer answers too."""

    question: str
    cycle: str
    asked_at: Instant
    text: str
    answer: str
    merged: list[str]
    merged_into: str | None


class WaitingQuestions(BaseModel):
    """The questions that wait for an answer, the oldest first."""

    cycle: str
    questions: list[WaitingView]


# --- charters open for comment ---------------------------------------------------------------------------------------


class NewCharterDraft(Given):
    """A charter file's text to put out for comment until `closes_at`.

    With `comments_public`, anyone reads the comments after that; else the program alone does.
    """

    title: Annotated[Line, Field(min_length=1, pattern=r"\S")]
    charter: str
    closes_at: Deadline
    comments_public: bool = True


class CharterDraftView(BaseModel):
    """A charter that is, or was, open for comment. `cycles` were opened under this very text."""

    draft: str
    title: str
    program: str
    charter_sha256: str
    published_at: Instant
    closes_at: Instant
    state: Literal["open", "closed"]
    comments_public: bool
    cycles: list[str]


class NewCharterComment(Given):
    """What somebody thinks of a charter, and of which place of it, such as "areas[0].weight"; both may be public."""

    text: Words
    place: Line = ""


class CharterCommentView(BaseModel):
    """A comment, without who wrote it."""

    comment: str
    place: str
    text: str
    at: Instant


class CharterCommentsView(BaseModel):
    """A page of comments, the oldest first; `next` is the following page's `after`."""

    draft: str
    comments: list[CharterCommentView]
    next: str | None


# --- fees ------------------------------------------------------------------------------------------------------------


class WaiverClaim(Given):
    """One of the charter's grounds for a waiver, by its id."""

    ground: Name
    note: Note = ""


class Payment(Given):
    """By which reference the program's books have the payment. No card and no account is ever taken here."""

    reference: Annotated[Line, Field(min_length=1, pattern=r"\S")]
    note: Note = ""


class Reopening(Given):
    """Why the fee is due again."""

    note: Annotated[str, Field(min_length=1, max_length=2_000, pattern=r"\S")]


class GroundView(BaseModel):
    """A ground on which this applicant's fee can be waived."""

    id: str
    text: str


class FeeView(BaseModel):
    """What an application costs, and how that stands. It never decides about the application."""

    application: str
    amount: str
    currency: str
    state: FeeState
    ground: str
    reference: str
    note: str
    at: Instant | None
    grounds: list[GroundView]


class FeeLine(BaseModel):
    """How one application's fee stands."""

    application: str
    government: str
    name: str
    state: FeeState
    ground: str
    reference: str
    note: str
    at: Instant | None


class FeesView(BaseModel):
    """The fees of a cycle's applications, by id; `next` is the following page's `after`."""

    cycle: str
    amount: str
    currency: str
    counts: dict[FeeState, int]
    fees: list[FeeLine]
    next: str | None


# --- research --------------------------------------------------------------------------------------------------------


class ResearchConsent(Given):
    """Whether the program's partners may read what this government submitted."""

    consents: bool


class ResearchConsentView(BaseModel):
    """What the government said, since when, and what it means."""

    government: str
    consents: bool
    since: Instant | None
    meaning: str


class ResearchLine(BaseModel):
    """A line of the research export: what a consenting government submitted, without its contact and its people."""

    form: Literal["cec-research/1"] = "cec-research/1"
    application: str
    cycle: str
    version: int
    charter_sha256: str
    submitted_at: Instant
    identity: Identity
    claims: ClaimsView
    answers: dict[str, Answer]
