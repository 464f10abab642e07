"""Questions over HTTP: asked by an applicant and answered to everybody, and never with who asked."""

from __future__ import annotations

from hashlib import sha256
from typing import TYPE_CHECKING, Annotated

from fastapi import APIRouter, Header, Response

from services.chassis.ids import opaque_id
from services.chassis.problems import not_found
from services.chassis.web import CommandRoute, Reading, SignedIn, Writing
from services.intake.access import known_cycle
from services.intake.forms import Named
from services.intake.locks import OWNED
from services.intake.openness import store
from services.intake.openness.domain import must_be_answerable, must_be_mergeable, must_take_question
from services.intake.openness.forms import (
    AnsweredView,
    AskedView,
    Merger,
    NewAnswer,
    NewQuestion,
    QuestionsView,
    WaitingQuestions,
    WaitingView,
)
from services.intake.people import store as people

if TYPE_CHECKING:
    from services.chassis.database import Connection
    from services.intake.openness.domain import Question

router = APIRouter(route_class=CommandRoute)

IfNoneMatch = Annotated[str | None, Header(max_length=1_000)]


@router.post("/cycles/{cycle}/questions", status_code=201)
async def ask(cycle: Named, body: NewQuestion, tx: Writing, who: SignedIn) -> AskedView:
    """Ask the program something about a cycle. The answer goes to everybody, without who asked."""
    person = await people.caller(tx.db, who)
    found, now = await known_cycle(tx.db, cycle), tx.clock.now()
    must_take_question(found, await store.waiting_of(tx.db, cycle, person), now)
    name = opaque_id()
    await store.add_question(tx.db, name, cycle, person, body.text, now)
    return AskedView(question=name, asked_at=now)


@router.get(
    "/cycles/{cycle}/questions",
    response_model=QuestionsView,
    responses={304: {"description": "Nothing was answered or changed since the ETag in If-None-Match."}},
)
async def list_answers(cycle: Named, db: Reading, if_none_match: IfNoneMatch = None) -> Response:
    """All that was asked and answered in a cycle, for anyone."""
    await known_cycle(db, cycle)
    found = await store.answered(db, cycle)
    content = QuestionsView(cycle=cycle, questions=[_answered(one) for one in found]).model_dump_json().encode()
    etag = f'"{sha256(content).hexdigest()[:32]}"'
    headers = {"ETag": etag, "Cache-Control": "public, no-cache"}
    if {"*", etag} & {tag.strip().removeprefix("W/") for tag in (if_none_match or "").split(",")}:
        return Response(status_code=304, headers=headers)
    return Response(content, media_type="application/json", headers=headers)


@router.get("/cycles/{cycle}/questions/waiting")
async def list_waiting(cycle: Named, db: Reading, who: SignedIn) -> WaitingQuestions:
    """The questions without an answer, to the program."""
    who.require("program-admin")
    await known_cycle(db, cycle)
    waiting = await store.waiting(db, cycle)
    return WaitingQuestions(cycle=cycle, questions=[await _waiting(db, one) for one in waiting])


@router.put("/questions/{question}/answer")
async def answer(question: Named, body: NewAnswer, tx: Writing, who: SignedIn) -> AnsweredView:
    """Answer a question to everybody, or answer it better. With `question`, that is what is shown as asked."""
    who.require("program-admin")
    found = await _known(tx.db, question)
    must_be_answerable(found)
    shown = body.question or found.shown or found.asked
    saved = await store.save_answer(tx.db, question, shown, body.text, tx.clock.now())
    return _answered(saved)


@router.post("/questions/{question}/merge")
async def merge(question: Named, body: Merger, tx: Writing, who: SignedIn) -> WaitingView:
    """Have a question answered by another one's answer; it is listed no more. Gives the other one."""
    who.require("program-admin")
    # Both rows in one order, so that two who merge them crosswise never wait for each other.
    found = {name: await _known(tx.db, name) for name in sorted({question, body.into})}
    must_be_mergeable(found[question], found[body.into])
    await store.merge_question(tx.db, question, body.into)
    return await _waiting(tx.db, found[body.into])


async def _known(db: Connection, name: str) -> Question:
    found = await store.question(db, name, OWNED)
    if found is None:
        raise not_found("There is no such question.")
    return found


def _answered(one: Question) -> AnsweredView:
    if one.answered_at is None:
        raise TypeError("not answered")
    return AnsweredView(question=one.question, text=one.shown, answer=one.answer, answered_at=one.answered_at)


async def _waiting(db: Connection, one: Question) -> WaitingView:
    return WaitingView(
        question=one.question,
        cycle=one.cycle,
        asked_at=one.asked_at,
        text=one.shown or one.asked,
        answer=one.answer,
        merged=await store.merged_into(db, one.question),
        merged_into=one.merged_into,
    )
