"""What is asked and answered about applications over HTTP."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel

from schemas.envelope import Instant
from services.intake.applications.drafts import Draft
from services.intake.forms import Given, Name
from services.intake.text import Prose


class NewApplication(Given):
    """For which government."""

    government: Name


class Attestation(Given):
    """An authorised official's word on accuracy and on what becomes public."""

    attest: bool = False


class Reason(Given):
    """Why, in the applicant's own words; may be empty."""

    reason: Prose = ""


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
