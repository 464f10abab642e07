"""Events about what becomes of an application between its submission and its review, produced by intake."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from schemas.envelope import Event, Instant, Sealed
from schemas.exact import SafeInt, SetDigest, Value

Verdict = Literal["eligible", "ineligible", "sent-back"]


class Extension(Value):
    """Block `private`: on which of the charter's grounds, and why."""

    ground: str
    reason: str


class ApplicationExtended(Event):
    """One application has a later deadline of its own, on a ground of the charter. The cycle closes after all."""

    TYPE = "intake.application.extended.v1"
    ABOUT = "application"

    cycle: str
    application: str
    deadline: Instant
    private: Sealed[Extension] = None


class Screening(Value):
    """Block `private`: why, or the question that is to be answered."""

    ground: str = ""
    """The charter's ground for ineligibility; empty otherwise."""
    text: str = ""
    """The reason in words, or the question."""


class ApplicationScreened(Event):
    """The program looked at an application that was submitted: the last verdict before the screening's end stands.

    Sent back, it has a question that the applicant may answer before `due`; what was submitted is not changed.
    """

    TYPE = "intake.application.screened.v1"
    ABOUT = "application"

    cycle: str
    application: str
    submitted: str
    """Event id of the version that was looked at."""
    verdict: Verdict
    due: Instant | None = None
    private: Sealed[Screening] = None


class Clarification(Value):
    """Block `private`: the answer to a question."""

    text: str


class ApplicationClarified(Event):
    """An applicant answered the question with which its application was sent back."""

    TYPE = "intake.application.clarified.v1"
    ABOUT = "application"

    cycle: str
    application: str
    question: str
    """Event id of the `ApplicationScreened` that asked."""
    private: Sealed[Clarification] = None


class CycleScreened(Event):
    """The screening ended: of the versions that the close stated these are reviewed, and no verdict changes now."""

    TYPE = "intake.cycle.screened.v1"
    ABOUT = "cycle"

    cycle: str
    eligible: SetDigest
    """Over the event ids of the standing `ApplicationSubmitted` whose last verdict is eligible."""


class WithdrawalRequest(Value):
    """Block `private`: why, in the applicant's own words; may be empty."""

    reason: str = ""


class WithdrawalRequested(Event):
    """An applicant wants its application back after the deadline: the board settles it, so that it races nothing."""

    TYPE = "intake.application.withdrawal-requested.v1"
    ABOUT = "application"

    cycle: str
    application: str
    private: Sealed[WithdrawalRequest] = None


class Correspondent(Value):
    """Somebody to write to."""

    person: str
    email: str


class Correspondents(Value):
    """Block `contact`: whom to remind, each once: the leads and editors whose addresses are known."""

    people: list[Correspondent]


class SectionState(Value):
    """A section of a draft that is not complete: of what is `asked`, `done` is there and right."""

    section: str
    """As intake calls it: `answers.<area>`, `facts`, `metrics` or `contact`."""
    asked: Annotated[SafeInt, Field(ge=0)]
    done: Annotated[SafeInt, Field(ge=0)]


class DraftState(Value):
    """Block `private`: whose draft it is, and what it still lacks, in the order in which sections are shown."""

    government: str
    """Its name."""
    incomplete: list[SectionState]


class DeadlineNear(Event):
    """A government's draft is not submitted, and its deadline is so many days away. Goes to the log `program`.

    About the government, and of no cycle's log: who drafts and never applies is nobody else's affair.
    """

    TYPE = "intake.government.deadline-near.v1"
    ABOUT = "government"

    government: str
    application: str
    of_cycle: str
    days: Annotated[int, Field(ge=1)]
    deadline: Instant
    contact: Sealed[Correspondents] = None
    private: Sealed[DraftState] = None


class Invitee(Value):
    """Block `contact`: the government that is invited, and the address to write to."""

    name: str
    state: str
    email: str


class InvitationIssued(Event):
    """The program invites somebody to a cycle that is open. Goes to the log `program`."""

    TYPE = "intake.invitation.issued.v1"
    ABOUT = "invitee"

    invitee: str
    """On the program's list."""
    of_cycle: str
    deadline: Instant
    contact: Sealed[Invitee] = None
