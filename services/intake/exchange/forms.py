"""What is asked and answered about applications as files over HTTP."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from schemas.applications import Answer, Contact, Identity
from schemas.envelope import Instant
from services.intake.applications.drafts import Draft
from services.intake.applications.forms import ClaimsView, FindingView, WarningView

FORM: Literal["cec-draft/1"] = "cec-draft/1"


class ApplicationFile(BaseModel):
    """An application as a file: `draft` is what is filled in, and all that is read when it is sent in.

    The rest says where the file came from; a file made by hand can do without.
    """

    model_config = ConfigDict(extra="ignore")

    form: Literal["cec-draft/1"] = FORM
    application: str | None = None
    cycle: str | None = None
    charter_sha256: str | None = None
    government: str | None = None
    draft: Draft


class GivenFile(BaseModel):
    """An application as a file (docs/reference/application.schema.json); `draft` replaces the whole draft."""

    model_config = ConfigDict(extra="ignore")

    form: Literal["cec-draft/1"] = FORM
    draft: Annotated[dict[str, Any], Field(description="As in the JSON Schema `application`.")]


class FileView(BaseModel):
    """An application as a file, to keep, to edit elsewhere and to send in again."""

    form: Literal["cec-draft/1"] = FORM
    application: str
    cycle: str
    charter_sha256: str
    government: str
    draft: dict[str, Any]


class ImportView(BaseModel):
    """What became of the draft: the fields that differ now (pointers), and what is wrong or missing in it.

    `kept` is false where it was only tried.
    """

    application: str
    kept: bool
    etag: str
    changed: list[str]
    problems: list[FindingView]
    missing: list[FindingView]
    warnings: list[WarningView]


class SubmittedLine(BaseModel):
    """A line of a cycle's export: an application as it was submitted last. No scores, and no people but the contact."""

    form: Literal["cec-application/1"] = "cec-application/1"
    application: str
    cycle: str
    version: int
    event: str
    submitted_at: Instant
    identity: Identity
    claims: ClaimsView
    answers: dict[str, Answer]
    contact: Contact
