"""What is asked and answered about invitations and recoveries over HTTP."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

from pydantic import BaseModel, Field

from schemas.envelope import Instant
from services.intake.admission.domain import InvitationState, RecoveryState
from services.intake.admission.store import Asked
from services.intake.forms import Given
from services.intake.governments.domain import Role

Email = Annotated[str, Field(max_length=254, pattern=r"^([^@\s\p{Cc}]+@[^@\s\p{Cc}]+)?$")]
Reason = Annotated[str, Field(min_length=1, max_length=2_000, pattern=r"\S")]


class NewInvitation(Given):
    """Which role an invitation gives, and for how many days; `email` is a private note of whom it is for."""

    role: Role
    email: Email = ""
    days: Annotated[int, Field(ge=1, le=60)] = 14


class AcceptedInvitation(Given):
    """The invitation's token, as the lead handed it on."""

    token: Annotated[str, Field(min_length=1, max_length=200)]


class InvitationView(BaseModel):
    """An invitation, to the government's leads."""

    invitation: str
    government: str
    role: Role
    email: str
    invited_by: str
    invited_at: Instant
    expires_at: Instant
    state: InvitationState
    accepted_by: str | None


class MadeInvitation(InvitationView):
    """An invitation just made. `token` is shown this once: hand it to the person; it cannot be looked up again."""

    token: str | None


class NewRecovery(Given):
    """Why the government is to be led by the caller: its lead has left, or does not answer."""

    reason: Reason


class RecoveryAnswer(Given):
    """The program's words to who asked; may be empty."""

    answer: Annotated[str, Field(max_length=2_000)] = ""


class RecoveryRefusal(Given):
    """Why a request is refused."""

    answer: Reason


class RecoveryView(BaseModel):
    """A request to lead a government. `email_domain` is of the address that the person's token proved."""

    recovery: str
    government: str
    government_name: str
    person: str
    email_domain: str
    reason: str
    asked_at: Instant
    state: RecoveryState
    decided_at: Instant | None
    answer: str


def recovery_view(asked: Asked) -> RecoveryView:
    """A request, as shown."""
    shown = {name: value for name, value in asdict(asked.recovery).items() if name != "id"}
    return RecoveryView(recovery=asked.recovery.id, government_name=asked.government_name, **shown)
