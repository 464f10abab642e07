"""What is asked and answered about governments over HTTP."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, Field

from schemas.envelope import Instant
from schemas.exact import SafeInt
from services.intake.forms import Full, Given
from services.intake.governments.domain import Government, Role, Standing
from services.intake.governments.store import Member, What

Kind = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_-]{0,63}$")]
Population = Annotated[SafeInt, Field(ge=1)]
Year = Annotated[int, Field(ge=1900, le=9999)]
Website = Annotated[str, Field(max_length=2_000, pattern=r"^https?://[^\s/]+(/\S*)?$")]
EmailDomain = Annotated[
    str,
    Field(max_length=253, pattern=r"^(([A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?\.)+[A-Za-z]{2,63})?$"),
    AfterValidator(str.lower),
]
"""What follows the @ in the addresses of a government's officials; may be empty."""


class NewGovernment(Given):
    """Who applies; `kind` is one of the charter's, `website` an http(s) address.

    The population is stated with its source and year; `email_domain` is how a government whose lead has left is
    recovered by another official.
    """

    name: Full
    state: Full
    kind: Kind
    population: Population
    population_source: Full
    website: Website
    population_year: Year | None = None
    email_domain: EmailDomain = ""


class ChangedGovernment(Given):
    """What is said otherwise from now on: a merge patch (RFC 7396) of the profile; what is not named stays."""

    # No value is ever taken from here: a factory keeps these from being shown as defaults.
    name: Full = Field(default_factory=str)
    state: Full = Field(default_factory=str)
    kind: Kind = Field(default_factory=str)
    population: Population = Field(default_factory=int)
    population_source: Full = Field(default_factory=str)
    website: Website = Field(default_factory=str)
    population_year: Year | None = None
    email_domain: EmailDomain = Field(default_factory=str)


class NewMember(Given):
    """Whom to let in: the `sub` of their token, and its `iss` where that differs from the caller's."""

    subject: Full
    issuer: Full | None = None
    role: Role


class ChangedMember(Given):
    """A person's role from now on."""

    role: Role


class MemberView(BaseModel):
    """A person of a government; account, name and address (as far as known) are shown to that government's people."""

    government: str
    person: str
    role: Role
    issuer: str
    subject: str
    name: str = ""
    email: str = ""


class ProfileView(BaseModel):
    """A government as its people registered it, and what the program made of that.

    One that is *unconfirmed* drafts and submits like any other; its application is marked for screening.
    """

    government: str
    name: str
    state: str
    kind: str
    population: int
    population_source: str
    population_year: int | None
    website: str
    email_domain: str
    standing: Standing
    merged_into: str | None
    etag: str


class GovernmentView(ProfileView):
    """A government with the caller's own person id and role."""

    person: str
    role: Role


class HappeningView(BaseModel):
    """One line of a government's history: when (program time), by whom (a person id; null: the program), and what."""

    number: int
    at: Instant
    by: str | None
    what: What
    detail: dict[str, Any]


class HistoryView(BaseModel):
    """A page of a government's history, the newest first; `next` is the following page's `before`, null at the end."""

    history: list[HappeningView]
    next: int | None


def etag(government: Government) -> str:
    """The ETag of a government's profile."""
    return f'"{government.revision}"'


def profile_of(government: Government) -> dict[str, Any]:
    """The fields of a ProfileView."""
    return {
        "government": government.id,
        **government.profile,
        "standing": government.standing,
        "merged_into": government.merged_into,
        "etag": etag(government),
    }


def member_view(government: str, one: Member) -> MemberView:
    """A person of a government, as shown."""
    return MemberView(government=government, **asdict(one))
