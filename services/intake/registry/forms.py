"""What the program asks and is answered about registrations over HTTP."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, Field

from schemas.envelope import Instant
from services.intake.forms import Given, Name
from services.intake.governments.forms import MemberView, ProfileView
from services.intake.registry.spelling import Likeness

Some = Annotated[tuple[Name, ...], Field(max_length=1_000, strict=False)]


class Merger(Given):
    """Which registration is kept, who does not come along, and which applications are left behind as they are."""

    into: Name
    leave_out: Some = ()
    """Person ids: who leaves the duplicate without joining what is kept."""
    set_aside: Some = ()
    """Applications of the duplicate, in cycles where the kept one has an application, too."""


class LikeView(BaseModel):
    """Another registration that may be of the same government."""

    government: str
    name: str
    state: str
    kind: str
    likeness: Likeness
    """`same`: name, state and kind are equal once spelled alike; `near`: spelled nearly alike in the same state."""


class EntryView(BaseModel):
    """An application of the government; no content."""

    application: str
    cycle: str
    state: Literal["draft", "submitted", "withdrawn"]


class RegistrationView(ProfileView):
    """A registration as the program sees it: profile, people, applications, and others that it may double."""

    registered_at: Instant
    members: list[MemberView]
    applications: list[EntryView]
    alike: list[LikeView]


class RegistrationsView(BaseModel):
    """A page of registrations, the oldest first; `next` is the following page's `after`, null at the end."""

    governments: list[RegistrationView]
    next: str | None


class MarkView(BaseModel):
    """A submitted application that is marked for screening: its government is unconfirmed."""

    application: str
    government: str
    name: str
    state: str
    kind: str
