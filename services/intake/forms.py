"""What intake is asked and what it answers over HTTP: the bodies, without any rule beyond their shape."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Annotated, Literal

from pydantic import AwareDatetime, BaseModel, BeforeValidator, ConfigDict, Field

from schemas.envelope import Instant
from schemas.exact import SafeInt
from services.intake.domain import Role
from services.intake.drafts import Draft, Prose

_RFC3339 = re.compile(r"\d{4}-\d\d-\d\d[Tt]\d\d:\d\d:\d\d(\.\d+)?([Zz]|[+-]\d\d:\d\d)", re.ASCII)


def _given(value: object) -> datetime:
    """The instant in an RFC 3339 text, in UTC and in the whole milliseconds that an event holds."""
    try:
        if isinstance(value, str) and _RFC3339.fullmatch(value):
            moment = datetime.fromisoformat(value.upper()).astimezone(UTC)
            return moment.replace(microsecond=moment.microsecond // 1_000 * 1_000)
    except (ValueError, OverflowError) as error:
        raise ValueError(f"{value} is no instant") from error
    raise ValueError('must be an instant with its time zone, such as "2027-05-01T17:00:00-04:00"')


Deadline = Annotated[AwareDatetime, BeforeValidator(_given)]
Name = Annotated[str, Field(min_length=1, max_length=64, pattern=r"^[A-Za-z0-9_.-]+$")]
Full = Annotated[str, Field(max_length=300, pattern=r"^\P{Cc}*[^\s\p{Cc}]\P{Cc}*$")]


class Given(BaseModel):
    """A request's body: strict, and refusing what it does not know."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


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


class NewApplication(Given):
    """For which government."""

    government: Name


class Attestation(Given):
    """An authorised official's word on accuracy and on what becomes public."""

    attest: bool = False


class Reason(Given):
    """Why, in the applicant's own words; may be empty."""

    reason: Prose = ""


class CycleView(BaseModel):
    """A cycle; `submitted` is there for program-admin and auditor only."""

    cycle: str
    label: str
    program: str
    charter_sha256: str
    deadline: Instant
    state: Literal["open", "closed"]
    assignment_commitment: str
    demonstration: bool
    submitted: int | None = None


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


class ApplicationView(BaseModel):
    """An application's state and draft. `version` counts submissions; what was submitted last stands until the next."""

    application: str
    cycle: str
    government: str
    state: Literal["draft", "submitted", "withdrawn"]
    version: int
    etag: str
    draft: Draft
    bytes_left: int


class Receipt(BaseModel):
    """Proof of what was taken in, at program time: `leaf_hash` (hex) is what the cycle's log will hold of it."""

    application: str
    cycle: str
    version: int
    event: str
    leaf_hash: str
    submitted_at: Instant
