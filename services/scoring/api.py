"""Scoring over HTTP: reviewers are enrolled, register keys, read what they are assigned and hand in reviews.

A program-admin enrols and, like an auditor, sees progress without scores. Everything else follows from an enrolment:
what is not one's own does not exist (404).
"""

from __future__ import annotations

from hashlib import sha256
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Request
from pydantic import BaseModel, ConfigDict, Field

from schemas.reviews import Account, ReviewBody
from services.chassis.ids import opaque_id
from services.chassis.problems import Problem, not_found
from services.chassis.refusal import RefusedError
from services.chassis.web import Asked, CommandRoute, Reading, SignedIn, Writing
from services.scoring import reading, roster, store
from services.scoring.access import InPath, InQuery, Line, known_reviewer
from services.scoring.commands import check_proof, public_key
from services.scoring.cycle import enroll
from services.scoring.domain import Review
from services.scoring.handlers import seat_reviewers
from services.scoring.reviews import take_reviews

router = APIRouter(prefix="/v1", route_class=CommandRoute)


class Enrolment(BaseModel):
    """Who may review, and where a conflict would lie."""

    model_config = ConfigDict(extra="forbid")

    subject: Line
    """The `sub` of the reviewer's tokens."""
    issuer: Line | None = None
    """The `iss` of the reviewer's tokens; absent: that of the program-admin's own."""
    name: Line
    states: Annotated[list[Line], Field(min_length=1, max_length=100)]
    """States in which the reviewer works, lives or is under contract, written as applicants write them."""


class Enrolled(BaseModel):
    """A reviewer's id in the cycle."""

    reviewer: str


class Progress(BaseModel):
    """Where a cycle's reviewing stands, without scores."""

    state: Literal[
        "open", "waiting-for-screening", "waiting-for-applications", "waiting-for-reviewers", "assigned", "scored"
    ]
    submitted: int
    """Applications that are here."""
    assigned: int
    """Reviews given to a reviewer."""
    reviews_expected: int
    reviews_in: int
    problem: str | None
    """Why reviewers cannot be assigned, and what would help."""


class NewKey(BaseModel):
    """A key that will sign commands."""

    model_config = ConfigDict(extra="forbid")

    cycle: Line
    jwk: dict[str, Any]
    """An Ed25519 public key: kty OKP, crv Ed25519, x."""
    proof: Annotated[str, Field(max_length=4_000)]
    """Compact JWS by this key (`typ` cec-key+jws, `kid` its thumbprint) over aud scoring.submissions.v1, sub, iat."""


class Registered(BaseModel):
    """The key's RFC 7638 thumbprint."""

    kid: str


class Me(BaseModel):
    """A reviewer's id in a cycle, and the thumbprints of its keys."""

    reviewer: str
    keys: list[str]


class Receipt(BaseModel):
    """Proof that a review was recorded: its event and the hash under which the ledger must have it."""

    review: str
    application: str
    event: str
    leaf_hash: str
    """RFC 6962 leaf hash, hex."""


@router.post("/cycles/{cycle}/reviewers", status_code=201)
async def enrol_reviewer(cycle: InPath, body: Enrolment, tx: Writing, who: SignedIn) -> Enrolled:
    """Enrol a reviewer; where a closed cycle waits for reviewers, assigning is tried again."""
    who.require("program-admin")
    found = await store.locked_cycle(tx.db, cycle)
    if found is None:
        raise _unknown_cycle()
    await tx.act_as(who.issuer, who.subject, cycle)
    account = Account(issuer=body.issuer or who.issuer, subject=body.subject)
    event = enroll(found, opaque_id(), body.states, account)
    if not await roster.add_reviewer(tx.db, event, account, body.name):
        raise RefusedError("already-enrolled", "This account is enrolled in the cycle already.", field="/subject")
    tx.record(event, cause=found.opened)
    await seat_reviewers(tx, found)
    return Enrolled(reviewer=event.reviewer)


@router.get("/cycles/{cycle}")
async def show_progress(cycle: InPath, db: Reading, who: SignedIn) -> Progress:
    """Where a cycle's reviewing stands."""
    who.require("program-admin", "auditor")
    found = (await store.cycles(db, [cycle])).get(cycle)
    if found is None:
        raise _unknown_cycle()
    standing = await store.standing(db, cycle)
    versions = [one.submitted for one in standing.values()]
    assigned, submitted, scored = await store.progress(db, cycle)
    reviewed = len(versions) - await store.unscored(db, cycle)
    return Progress.model_validate(
        {
            "state": found.state(versions, all_scored=scored == reviewed),
            "submitted": len(versions),
            "assigned": assigned,
            "reviews_expected": reviewed * found.charter.scoring.reviewers_per_application,
            "reviews_in": submitted,
            "problem": await store.shortage(db, cycle),
        }
    )


@router.get("/me")
async def show_me(cycle: InQuery, db: Reading, who: SignedIn) -> Me:
    """Who the caller is in a cycle."""
    reviewer = await known_reviewer(db, cycle, who)
    return Me(reviewer=reviewer, keys=await roster.kids(db, reviewer))


@router.post("/me/keys", status_code=201)
async def register_key(body: NewKey, tx: Writing, who: SignedIn, service: Asked) -> Registered:
    """Register a key whose signed commands count as the caller's."""
    reviewer = await known_reviewer(tx.db, body.cycle, who)
    key = public_key(body.jwk)
    check_proof(body.proof, key, reviewer, now=service.clock.machine.now().timestamp())
    kid = key.thumbprint()
    if not await roster.add_key(tx.db, kid, reviewer, dict(key.as_dict(private=False))):
        raise RefusedError("key-taken", "This key was registered before: make one of its own for every cycle.")
    return Registered(kid=kid)


@router.post("/cycles/{cycle}/reviews", status_code=201)
async def hand_in_review(cycle: InPath, body: ReviewBody, request: Request, tx: Writing, who: SignedIn) -> Receipt:
    """Hand in a review of an application that the caller was given."""
    # No actor goes with it: an id that stays the same all over a cycle would join a reviewer's aliases.
    reviewer = await known_reviewer(tx.db, cycle, who)
    digest = sha256(await request.body()).hexdigest()
    (answer,) = await take_reviews(tx, [Review(reviewer, cycle, body, "http", digest)])
    if isinstance(answer, RefusedError):
        raise answer
    written = {one.header.id: one for one in await tx.flush()}
    leaf_hash = written[answer.event].leaf_hash.hex()
    return Receipt(review=answer.review, application=answer.application, event=answer.event, leaf_hash=leaf_hash)


def _unknown_cycle() -> Problem:
    return not_found("No such cycle is known here; one that was just opened takes a moment.")


router.include_router(reading.router)
