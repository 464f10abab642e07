"""Who may be invited, ask, comment, be let off a fee, and when. Pure, as `cycles.domain` is."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from io import StringIO
from typing import Literal

from schemas.applying import Fee, Waiver
from schemas.charter import Charter, CharterError
from schemas.envelope import rfc3339
from services.chassis.refusal import RefusedError, Violation, pointer
from services.intake.cycles.domain import Cycle, ended, parsed
from services.intake.governments.domain import Government

# --- invitations -----------------------------------------------------------------------------------------------------

INVITED = 5_000
"""Rows of one list."""
_EMAIL = re.compile(r"[^@\s\x00-\x1f\x7f-\x9f]+@[^@\s\x00-\x1f\x7f-\x9f]+")
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")
_COLUMNS = ("name", "state", "email")
_LIMITS = {"name": 300, "state": 300, "email": 254}


@dataclass(frozen=True)
class Invited:
    """A government to invite, and where to write to."""

    name: str
    state: str
    email: str


def listed(text: str) -> list[Invited]:
    """The rows of a CSV file with the columns name, state and email; RefusedError for one without them."""
    try:
        rows = list(csv.DictReader(StringIO(text.removeprefix("\ufeff"), newline=""), strict=True))
    except csv.Error as error:
        raise RefusedError("csv", f"The list is not CSV: {error}.", status=422) from error
    lacking = [name for name in _COLUMNS if not rows or name not in rows[0]]
    if lacking:
        detail = f"The list begins with the line name,state,email; {', '.join(lacking)} missing, or no line after it."
        raise RefusedError("columns", detail, status=422)
    return [Invited(*((row[name] or "").strip() for name in _COLUMNS)) for row in rows]


def must_be_invitable(rows: Sequence[Invited]) -> None:
    """RefusedError (422) with every row that cannot be invited; a pointer begins with the row's number, from 0."""
    wrong: list[Violation] = []
    seen: dict[str, int] = {}
    for number, row in enumerate(rows):
        for name, most in _LIMITS.items():
            value = getattr(row, name)
            if len(value) > most or _CONTROL.search(value):
                detail = f"{name} is one line of at most {most} characters."
                wrong.append(Violation("one-line", detail, pointer((number, name))))
        if not row.name.strip():
            wrong.append(Violation("name", "Which government is it? Give its name.", pointer((number, "name"))))
        if not _EMAIL.fullmatch(row.email):
            detail = f"{row.email!r} is no e-mail address: write it as name@government.example."
            wrong.append(Violation("email-address", detail, pointer((number, "email"))))
        first = seen.setdefault(row.email.lower(), number)
        if first != number:
            detail = f"{row.email} stands in row {first} already: keep one of them."
            wrong.append(Violation("repeated", detail, pointer((number, "email"))))
    if len(rows) > INVITED:
        wrong.append(Violation("too-many", f"A list has at most {INVITED:,} rows: send it in parts."))
    if wrong:
        raise RefusedError.all(wrong[:200])


# --- questions -------------------------------------------------------------------------------------------------------

WAITING = 20
"""Questions of one person that are not answered yet."""


@dataclass(frozen=True)
class Question:
    """A question; nothing here says who asked it. `shown` are the words in which it is answered."""

    question: str
    cycle: str
    asked_at: datetime
    asked: str
    shown: str
    answer: str
    answered_at: datetime | None
    merged_into: str | None


def must_take_question(cycle: Cycle, waiting: int, now: datetime) -> None:
    """RefusedError unless somebody with so many questions waiting may ask one more."""
    if cycle.closed or now >= cycle.deadline:
        raise RefusedError("deadline-passed", f"{ended(cycle, now)}: questions were taken until then.")
    if waiting >= WAITING:
        detail = f"{waiting} of your questions wait for an answer: wait for one, or ask them in one."
        raise RefusedError("too-many-questions", detail, status=429)


def must_be_answerable(question: Question) -> None:
    """RefusedError for a question that is answered with another."""
    if question.merged_into is not None:
        raise RefusedError("merged", f"This question is one with {question.merged_into}: answer that one.")


def must_be_mergeable(question: Question, into: Question) -> None:
    """RefusedError unless the one can be answered by the other's answer."""
    must_be_answerable(question)
    if into.question == question.question or into.cycle != question.cycle:
        raise RefusedError("not-a-duplicate", "Name another question of the same cycle.", field="/into", status=422)
    if into.merged_into is not None:
        detail = f"That question is one with {into.merged_into}: name that one."
        raise RefusedError("merged", detail, field="/into")


# --- charters open for comment ---------------------------------------------------------------------------------------


@dataclass(frozen=True)
class CharterDraft:
    """A charter's text that anyone can comment on until it closes; `comments_public` says who reads them then."""

    draft: str
    title: str
    charter: str
    charter_sha256: str
    published_at: datetime
    closes_at: datetime
    comments_public: bool

    def open_at(self, at: datetime) -> bool:
        """Whether comments are taken."""
        return at < self.closes_at

    def readable_at(self, at: datetime) -> bool:
        """Whether anyone can read the comments."""
        return self.comments_public and not self.open_at(at)


def must_be_publishable(charter: str, closes_at: datetime, now: datetime) -> Charter:
    """The charter in a text that can be put out for comment; RefusedError with all that is wrong with it."""
    if closes_at <= now:
        detail = f"Comments close at {rfc3339(closes_at)}, which is not in the future of program time, {rfc3339(now)}."
        raise RefusedError("closing-not-future", detail, field="/closes_at", status=422)
    try:
        return parsed(charter)
    except CharterError as error:
        raise RefusedError.all([Violation("charter", problem, "/charter") for problem in error.problems]) from error


@dataclass(frozen=True)
class Pace:
    """Comments in the last hour, of one source and of all, and how many may be."""

    own: int
    own_limit: int
    all: int
    all_limit: int


def must_take_comment(draft: CharterDraft, pace: Pace, now: datetime) -> None:
    """RefusedError for a comment that comes after the closing or too fast."""
    if not draft.open_at(now):
        raise RefusedError("comments-closed", f"Comments were taken until {rfc3339(draft.closes_at)}.")
    if pace.own >= pace.own_limit or pace.all >= pace.all_limit:
        detail = "There were many comments from here in the last hour: try again later."
        raise RefusedError("too-many-comments", detail, status=429)


# --- fees ------------------------------------------------------------------------------------------------------------

FeeState = Literal["due", "waiver-asked", "waived", "paid"]


@dataclass(frozen=True)
class FeeStep:
    """What became of a fee: paid by a `reference`, or waived on a `ground` of the charter."""

    state: FeeState
    ground: str = ""
    reference: str = ""
    note: str = ""


DUE = FeeStep("due")


def fee_of(charter: Charter) -> Fee:
    """What an application costs; RefusedError where it costs nothing."""
    if charter.applying is None or charter.applying.fee is None:
        raise RefusedError("no-fee", "This cycle's charter asks for no fee: there is nothing to record.")
    return charter.applying.fee


def waivers(charter: Charter, government: Government) -> list[Waiver]:
    """The grounds on which this government's fee can be waived."""
    fee = charter.applying.fee if charter.applying else None
    tier = charter.tier_of(government.population)
    return [
        one
        for one in (fee.waivers if fee else ())
        if (one.kinds is None or government.kind in one.kinds)
        and (one.tiers is None or (tier is not None and tier.id in one.tiers))
    ]


def ask_waiver(before: FeeStep, ground: str, note: str, grounds: Iterable[Waiver]) -> FeeStep:
    """A waiver is asked for, on a ground that is there for this applicant."""
    _must_be(before, "due")
    _must_be_ground(ground, grounds)
    return FeeStep("waiver-asked", ground=ground, note=note)


def waive(before: FeeStep, ground: str, note: str, grounds: Iterable[Waiver]) -> FeeStep:
    """The fee is waived, whether that was asked for or not."""
    _must_be(before, "due", "waiver-asked")
    _must_be_ground(ground, grounds)
    return FeeStep("waived", ground=ground, note=note)


def pay(before: FeeStep, reference: str, note: str) -> FeeStep:
    """The fee is paid, as the program's books say."""
    _must_be(before, "due", "waiver-asked")
    return FeeStep("paid", reference=reference, note=note)


def reopen(before: FeeStep, note: str) -> FeeStep:
    """The fee is due again: what was recorded was wrong, or what was asked for is refused."""
    _must_be(before, "waiver-asked", "waived", "paid")
    return FeeStep("due", note=note)


def _must_be(before: FeeStep, *states: FeeState) -> None:
    if before.state not in states:
        detail = f"The fee is {before.state}; this is for one that is {' or '.join(states)}."
        raise RefusedError("fee-state", detail)


def _must_be_ground(ground: str, grounds: Iterable[Waiver]) -> None:
    known = [one.id for one in grounds]
    if ground not in known:
        listed_grounds = ", ".join(known) or "none"
        detail = f"{ground!r} is no ground on which this government's fee can be waived: {listed_grounds}."
        raise RefusedError("waiver-ground", detail, field="/ground", status=422)
