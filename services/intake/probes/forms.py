"""What is asked and answered about probes over HTTP."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, Field

from schemas.envelope import Instant
from schemas.evidence import Probe
from services.intake.forms import Given


class NewEndpoint(Given):
    """A government's Open311 server: the address of its GeoReport v2 interface, or of its discovery document."""

    url: Annotated[str, Field(max_length=1_000, pattern=r"^https?://[^\s\p{Cc}]+$")]
    jurisdiction: Annotated[str, Field(max_length=200, pattern=r"^\P{Cc}*$")] = ""
    """`jurisdiction_id`, where the server serves several."""


class EndpointView(BaseModel):
    """A government's Open311 server. `paused`: it has not answered for long, and is not probed by itself any more."""

    government: str
    url: str
    jurisdiction: str
    failures: int
    paused: bool


class ProbeView(BaseModel):
    """A probe. `claims` and `event` are null until it is done, `reason` unless it failed."""

    probe: str
    government: str
    state: Literal["waiting", "running", "done", "failed"]
    asked_at: Instant
    by_schedule: bool
    reason: str | None = None
    event: str | None = None
    claims: Probe | None = None
