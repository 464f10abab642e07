"""What reviewers read over HTTP: which applications they were given, and each with all that a score can rest on.

An application is shown as it was submitted, with what was asked about it and answered, and what the government's
Open311 server says by itself. Files are at intake, under the address that `schemas.applications.File` names. Contacts
are not shown, and what is not one's own does not exist (404).
"""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Literal

from fastapi import APIRouter
from pydantic import BaseModel

from schemas.applications import Answer, Claims, Identity
from schemas.envelope import Instant
from schemas.evidence import REMARKS, Figures, Probe
from services.chassis.problems import not_found
from services.chassis.web import CommandRoute, Reading, SignedIn
from services.scoring import probes, store
from services.scoring.access import InPath, InQuery, known_reviewer

if TYPE_CHECKING:
    from schemas.charter import Charter
    from services.chassis.database import Connection

router = APIRouter(route_class=CommandRoute)


class Assignment(BaseModel):
    """An application that the reviewer was given."""

    review: str
    application: str
    state: Literal["assigned", "submitted"]


class Question(BaseModel):
    """What the program asked before the review, and the answer: null where none came by then.

    It changed nothing of what was submitted, which is shown beside it.
    """

    text: str
    due: Instant | None
    answer: str | None


class Doubt(BaseModel):
    """A figure outside the charter's usual range: the applicant was warned and said that it stands."""

    metric: str
    period: str
    detail: str


class ProbeView(BaseModel):
    """What the government's Open311 server said by itself: it supports or contradicts a claim and is no score.

    `remarks` are what to know before reading the figures, `claims.drops` which of them were clearly better in the probe
    before. `after_submission`: it shows the time since, which the application cannot speak of.
    """

    probe: str
    event: str
    probed_at: Instant
    after_submission: bool
    claims: Probe
    remarks: list[str]


class Reviewed(BaseModel):
    """What a reviewer reads and what it gave: claims, answers and points are by criterion or fact of the charter.

    `probes` are the last one up to the submission and those since, the newest first; `definitions` say what each of
    their figures is.
    """

    review: str
    application: str
    cycle: str
    version: int
    submitted_at: Instant
    state: Literal["assigned", "submitted"]
    identity: Identity
    claims: Claims
    doubts: list[Doubt]
    answers: dict[str, Answer]
    questions: list[Question]
    probes: list[ProbeView]
    definitions: dict[str, str]
    criteria: list[str]
    points: dict[str, int | None] | None
    recommendation: bool | None


@router.get("/me/assignments")
async def list_assignments(cycle: InQuery, db: Reading, who: SignedIn) -> list[Assignment]:
    """What the caller is to review in a cycle."""
    rows = await store.assignments(db, await known_reviewer(db, cycle, who))
    return [
        Assignment(review=row["review"], application=row["application"], state=_state(submitted=row["submitted"]))
        for row in rows
    ]


@router.get("/reviews/{review}")
async def read_application(review: InPath, db: Reading, who: SignedIn) -> Reviewed:
    """The application behind one of the caller's reviews."""
    row = await store.review_of(db, review, who)
    if row is None:
        raise not_found()
    charter = (await store.cycles(db, [row["cycle"]]))[row["cycle"]].charter
    found = {
        **row,
        "state": _state(submitted=row["submitted"]),
        "doubts": _doubts(charter, Claims.model_validate(row["claims"])),
        "questions": [Question(**one) for one in await store.questions(db, row["application"])],
        "probes": await _probes(db, row["identity"]["government"], row["submitted_at"]),
        "definitions": Figures.definitions(),
        "criteria": list(charter.criteria(row["identity"]["kind"])),
    }
    return Reviewed.model_validate(found)


def _state(*, submitted: object) -> Literal["assigned", "submitted"]:
    return "submitted" if submitted else "assigned"


def _doubts(charter: Charter, claims: Claims) -> list[Doubt]:
    catalogue = {metric.id: metric for metric in charter.metrics}
    return [
        Doubt(metric=given.id, period=given.period, detail=detail)
        for given in claims.metrics
        if given.id in catalogue and (detail := catalogue[given.id].doubt(given.value))
    ]


async def _probes(db: Connection, government: str, submitted_at: datetime) -> list[ProbeView]:
    found = []
    for row in await probes.probes(db, government, submitted_at):
        claims = Probe.model_validate(row["claims"])
        found.append(ProbeView(**{**row, "claims": claims}, remarks=[REMARKS[one] for one in claims.remarks]))
    return found
