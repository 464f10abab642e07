"""What is asked and answered about governments over HTTP."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, Field

from schemas.exact import SafeInt
from services.intake.forms import Full, Given
from services.intake.governments.domain import Role


class NewGovernment(Given):
    """Who applies; `kind` is one of the charter's, `website` an http(s) address."""

    name: Full
    state: Full
    kind: Annotated[str, Field(pattern=r"^[a-z][a-z0-9_-]{0,63}$")]
    population: Annotated[SafeInt, Field(ge=1)]
    population_source: Full
    website: Annotated[str, Field(max_length=2_000, pattern=r"^https?://[^\s/]+(/\S*)?$")]


class NewMember(Given):
    """Whom to let in: the `sub` of their token, and its `iss` where that differs from the caller's."""

    subject: Full
    issuer: Full | None = None
    role: Role


class MemberView(BaseModel):
    """A person of a government; the account is shown to that government's people."""

    government: str
    person: str
    role: Role
    issuer: str
    subject: str


class GovernmentView(BaseModel):
    """A government as registered, with the caller's own person id and role."""

    government: str
    name: str
    state: str
    kind: str
    population: int
    population_source: str
    website: str
    person: str
    role: Role
