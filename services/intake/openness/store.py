"""Questions with their answers, and charters with what was said of them."""

from __future__ import annotations

from dataclasses import astuple
from typing import TYPE_CHECKING

from services.intake.openness.domain import CharterDraft, Question

if TYPE_CHECKING:
    from datetime import datetime

    from services.chassis.database import Connection
    from services.intake.locks import Lock

_QUESTION = "question, cycle, asked_at, asked, shown, answer, answered_at, merged_into"


async def waiting_of(db: Connection, cycle: str, person: str) -> int:
    """How many questions of a person wait for an answer; whoever asks at the same time waits for this to be over."""
    await db.execute("select from private.person where person = $1 for update", person)
    query = """
        select count(*) from private.question
        where cycle = $1 and person = $2 and answered_at is null and merged_into is null
    """
    return int(await db.fetchval(query, cycle, person))


async def add_question(db: Connection, name: str, cycle: str, person: str, text: str, at: datetime) -> None:
    """Keep a question."""
    await db.execute(
        "insert into private.question (question, cycle, person, asked_at, asked) values ($1, $2, $3, $4, $5)",
        name,
        cycle,
        person,
        at,
        text,
    )


async def question(db: Connection, name: str, lock: Lock = "") -> Question | None:
    """One question."""
    row = await db.fetchrow(f"select {_QUESTION} from private.question where question = $1{lock}", name)  # noqa: S608  (one of three locks)
    return Question(*row) if row else None


async def answered(db: Connection, cycle: str) -> list[Question]:
    """What was answered in a cycle, the newest first."""
    return await _questions(db, cycle, "answered_at is not null", "answered_at desc, question")


async def waiting(db: Connection, cycle: str) -> list[Question]:
    """What waits for an answer in a cycle, the oldest first."""
    return await _questions(db, cycle, "answered_at is null", "asked_at, question limit 1000")


async def _questions(db: Connection, cycle: str, which: str, order: str) -> list[Question]:
    rows = await db.fetch(
        f"select {_QUESTION} from private.question where cycle = $1 and merged_into is null and {which}"  # noqa: S608  (texts of this module)
        f" order by {order}",
        cycle,
    )
    return [Question(*row) for row in rows]


async def save_answer(db: Connection, name: str, shown: str, answer: str, at: datetime) -> Question:
    """Keep an answer, and give the question with it."""
    row = await db.fetchrow(
        f"update private.question set shown = $2, answer = $3, answered_at = $4 where question = $1"  # noqa: S608  (names of columns)
        f" returning {_QUESTION}",
        name,
        shown,
        answer,
        at,
    )
    return Question(*row)  # type: ignore[misc]  # its row is owned, so it is there


async def merge_question(db: Connection, name: str, into: str) -> None:
    """Have a question, and those merged into it before, answered by another one's answer."""
    query = "update private.question set merged_into = $2 where question = $1 or merged_into = $1"
    await db.execute(query, name, into)


async def merged_into(db: Connection, name: str) -> list[str]:
    """The questions that this one's answer answers, too."""
    query = "select question from private.question where merged_into = $1 order by question"
    return [row["question"] for row in await db.fetch(query, name)]


_DRAFT = "draft, title, charter, charter_sha256, published_at, closes_at, comments_public"


async def add_charter_draft(db: Connection, draft: CharterDraft) -> None:
    """Keep a charter that is open for comment."""
    await db.execute(
        f"insert into private.charter_draft ({_DRAFT}) values ($1, $2, $3, $4, $5, $6, $7)",  # noqa: S608  (names of columns)
        *astuple(draft),
    )


async def charter_drafts(db: Connection) -> list[CharterDraft]:
    """The charters that are or were open for comment, the newest first."""
    rows = await db.fetch(f"select {_DRAFT} from private.charter_draft order by published_at desc, draft limit 100")  # noqa: S608  (names of columns)
    return [CharterDraft(*row) for row in rows]


async def charter_draft(db: Connection, name: str, lock: Lock = "") -> CharterDraft | None:
    """One of them."""
    row = await db.fetchrow(f"select {_DRAFT} from private.charter_draft where draft = $1{lock}", name)  # noqa: S608  (one of three locks)
    return CharterDraft(*row) if row else None


async def cycles_under(db: Connection, charter_sha256: str) -> list[str]:
    """The cycles that were opened under a text."""
    rows = await db.fetch("select cycle from projection.cycle where charter_sha256 = $1 order by cycle", charter_sha256)
    return [row["cycle"] for row in rows]


async def recent_comments(db: Connection, draft: str, person: str | None, source: bytes | None) -> tuple[int, int]:
    """How many comments came in the last hour: of the same person or source, and of everybody."""
    row = await db.fetchrow(
        """
        select count(*) filter (where person = $2 or source = $3) as own, count(*) as every
        from private.charter_comment
        where draft = $1 and received > clock_timestamp() - interval '1 hour'
        """,
        draft,
        person,
        source,
    )
    return (row["own"], row["every"]) if row else (0, 0)


async def add_comment(db: Connection, row: tuple[str, str, str, str, str | None, bytes | None, datetime]) -> None:
    """Keep a comment: id, draft, place, text, person or source, and when."""
    await db.execute(
        "insert into private.charter_comment (comment, draft, place, text, person, source, at)"
        " values ($1, $2, $3, $4, $5, $6, $7)",
        *row,
    )


async def charter_comments(db: Connection, draft: str, after: str, limit: int) -> list[tuple[str, str, str, datetime]]:
    """(id, place, text, at) of the comments on a charter behind the one with id `after`, the oldest first."""
    rows = await db.fetch(
        """
        select comment, place, text, at from private.charter_comment
        where draft = $1 and ($2 = '' or (received, comment) > (
            select received, comment from private.charter_comment where comment = $2))
        order by received, comment limit $3
        """,
        draft,
        after,
        limit,
    )
    return [tuple(row) for row in rows]
