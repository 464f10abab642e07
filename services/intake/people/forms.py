"""What is asked and answered about oneself over HTTP."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, Field

from schemas.envelope import Instant
from services.intake.admission.forms import Email, RecoveryView
from services.intake.forms import Given
from services.intake.governments.domain import Role, Standing
from services.intake.text import Line


class Myself(Given):
    """What a person says of themselves; empty text for nothing. The people of the same governments see it."""

    name: Line = ""
    email: Email = ""


class MembershipView(BaseModel):
    """A government that one acts for."""

    government: str
    name: str
    role: Role
    standing: Standing


class OfferView(BaseModel):
    """An invitation to the address that the caller's token proves. To accept it takes the token that the lead has."""

    invitation: str
    government_name: str
    role: Role
    expires_at: Instant


class OfDomainView(BaseModel):
    """A government whose e-mail domain is the caller's, and for which they do not act.

    Where its lead has left or does not answer: `POST /governments/{government}/recoveries`.
    """

    government: str
    name: str
    state: str


class MeView(BaseModel):
    """What is kept about the caller, and where it leads.

    `person` stands for them everywhere else (null as long as nothing is kept); `name` and `email` are kept nowhere
    else. `invited` and `of_my_domain` go by the address that the token proves.
    """

    person: str | None
    issuer: str
    subject: str
    name: str
    email: Annotated[str, Field(max_length=254)]
    memberships: list[MembershipView]
    invited: list[OfferView]
    recoveries: list[RecoveryView]
    of_my_domain: list[OfDomainView]
