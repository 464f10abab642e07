"""The rules of probes: when one may be asked for, what it says, and what makes a schedule stop. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from hashlib import sha256
from typing import Final

from schemas.canonical import canonical
from schemas.evidence import Drop, EvidenceProbed, Figures, Probe, Remark
from services.chassis.refusal import RefusedError
from services.intake.probes.figures import copied_times, drops, figures
from services.intake.probes.open311 import Request

WINDOW_DAYS: Final = 90
"""GeoReport v2's own bound of a query."""
PAUSED_AFTER: Final = 6
"""Failed probes in a row."""
INTERRUPTED_AFTER: Final = 3
"""Times that a probe was begun and not ended."""


@dataclass(frozen=True)
class Endpoint:
    """A government's Open311 server, as its people named it. `failures` counts failed probes in a row."""

    government: str
    url: str
    jurisdiction: str
    failures: int = 0

    @property
    def paused(self) -> bool:
        """Whether its schedule stands still, until somebody names it anew or a probe succeeds."""
        return self.failures >= PAUSED_AFTER


@dataclass(frozen=True)
class Run:
    """A probe that was asked for. `asked_by` is a person's id, None: the schedule. `reason` is why it failed."""

    probe: str
    government: str
    url: str
    jurisdiction: str
    asked_at: datetime
    asked_by: str | None = None
    begun: int = 0
    ended: bool = False
    reason: str | None = None


@dataclass(slots=True)
class Reading:
    """What a server answered: each request once."""

    endpoint: str
    from_day: date
    until_day: date
    services: frozenset[str] | None = None
    requests: dict[str, Request] = field(default_factory=dict)
    outside: dict[str, Request] = field(default_factory=dict)
    """What it answered with, though its date is not in the window."""
    remarks: set[Remark] = field(default_factory=set)
    calls: int = 0
    unchanged: int = 0
    """Answers that the server said are as before."""


def ask(
    endpoint: Endpoint | None, last: Run | None, probe: str, *, by: str | None, now: datetime, rest: timedelta
) -> Run:
    """One more probe; RefusedError where none may be asked for now."""
    if endpoint is None:
        raise RefusedError("no-endpoint", "Name the government's Open311 endpoint first: PUT …/open311.")
    if last is not None and not last.ended:
        raise RefusedError("probe-waiting", f"The probe {last.probe} is not over yet: read what comes of it.")
    if last is not None and by is not None and now < last.asked_at + rest:
        minutes = -(-(last.asked_at + rest - now) // timedelta(minutes=1))
        detail = f"One probe in {rest // timedelta(minutes=1)} minutes spares the server: ask again in {minutes}."
        raise RefusedError("probe-too-soon", detail, status=429)
    return Run(probe, endpoint.government, endpoint.url, endpoint.jurisdiction, now, by)


def look(reading: Reading) -> tuple[Figures, list[Remark]]:
    """The figures of what was read, and what to know before reading them."""
    requests = list(reading.requests.values())
    remarks = set(reading.remarks)
    if copied_times(requests):
        remarks.add("no-times")
    listed = None if reading.services is None else len(reading.services)
    return figures(requests, listed, reading.until_day), sorted(remarks)


def probed(
    run: Run,
    reading: Reading,
    looked: tuple[Figures, list[Remark]],
    *,
    previous: tuple[str, Probe] | None,
    raw_sha256: str,
    points: int,
) -> EvidenceProbed:
    """What a probe found. It is compared with `previous` (its id first), the last one of the same endpoint."""
    found, remarks = looked
    claims = Probe(
        endpoint=reading.endpoint,
        jurisdiction=run.jurisdiction,
        from_day=reading.from_day,
        until_day=reading.until_day,
        figures=found,
        remarks=remarks,
        previous=previous[0] if previous else None,
        drops=_worse(previous[1], found, remarks, points) if previous else [],
        raw_sha256=raw_sha256,
    )
    return EvidenceProbed(government=run.government, probe=run.probe, claims=claims)


def _worse(before: Probe, after: Figures, remarks: Sequence[Remark], points: int) -> list[Drop]:
    told = drops(before.figures, after, points=points)
    # Fewer requests mean nothing where some of them were not read.
    partial = "incomplete" in remarks or "incomplete" in before.remarks
    return [one for one in told if not (partial and one == "requests")]


def manifest(answers: Sequence[Mapping[str, str | int]]) -> tuple[bytes, str]:
    """The list of a probe's raw answers as it is kept, and its SHA-256 (hex)."""
    text = canonical([dict(answer) for answer in answers])
    return text, sha256(text).hexdigest()
