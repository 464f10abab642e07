"""The rules of letters: what a mail server's answer means, what is too late or unwanted, and when to try again.

A letter goes out at least once and, but for a crash between the server's answer and our note of it, at most once; its
`Message-ID` follows from what it tells of and to whom, so that the second copy of a crash is seen to be one. Pure.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from hashlib import sha256
from typing import TYPE_CHECKING, Literal, TypeAlias
from uuid import UUID, uuid5

from schemas.notices import MailFailed, MailSent
from services.notifications.domain import next_attempt

if TYPE_CHECKING:
    from datetime import datetime

Kind = Literal["reminder", "invitation", "receipt", "question", "withdrawn", "withdrawal-refused"]
State = Literal["pending", "sent", "failed"]
Why: TypeAlias = Literal["bounced", "given-up", "late", "stopped", "off"]

STOPPABLE: frozenset[Kind] = frozenset({"reminder", "invitation"})
"""What a reader can want no more of. The others answer what they did themselves."""
SILENT: frozenset[Kind] = frozenset({"receipt"})
"""What no event tells the fate of: intake's answer to the submission was the receipt."""

REJECTED = 500
_ENHANCED = re.compile(r"[245]\.\d{1,3}\.\d{1,3}\b")


@dataclass(frozen=True, slots=True)
class Letter:
    """A letter on its way. `tries` are the attempts so far; after `until`, program time, it is of no use."""

    mail: str
    event: str
    kind: Kind
    tries: int = 0
    until: datetime | None = None
    stopped: bool = False


@dataclass(frozen=True, slots=True)
class Answer:
    """What an attempt met with. `code` is the server's status or empty; `final`: for this address, for good."""

    taken: bool
    code: str = ""
    final: bool = False


TAKEN = Answer(taken=True)


@dataclass(frozen=True, slots=True)
class Settlement:
    """What became of a letter: its fate's event, unless nobody waits for one, and when it is due again if it is."""

    state: State
    fact: MailSent | MailFailed | None
    why: str = ""
    next_at: datetime | None = None
    attempted: bool = True


def mail_id(event: str, reader: str) -> str:
    """The id of the letter about an event to a reader: the same however often it is made."""
    return str(uuid5(UUID(event), reader))


def fingerprint(address: str) -> bytes:
    """What an address is known by where nothing is sent to it any more."""
    return sha256(address.strip().lower().encode()).digest()


def refused(code: int, message: str) -> str:
    """A server's status as it is kept: its text is not, which may name the address."""
    found = _ENHANCED.search(message[:200])
    return f"{code} {found[0]}" if found else str(code)


def needless(letter: Letter, now: datetime, *, off: bool) -> Why | None:
    """Why a letter is not to be attempted at program time `now`; `off`: there is no mail server."""
    if letter.stopped and letter.kind in STOPPABLE:
        return "stopped"
    if letter.until is not None and now >= letter.until:
        return "late"
    return "off" if off else None


def drop(letter: Letter, why: Why) -> Settlement:
    """A letter that is not attempted any more."""
    return Settlement("failed", _failed(letter, letter.tries, why, ""), why, attempted=False)


def settle(letter: Letter, answer: Answer, now: datetime, jitter: float) -> Settlement:
    """Judge one attempt at machine time `now`; `jitter` is a random number from 0 to 1."""
    attempts = letter.tries + 1
    if answer.taken:
        silent = letter.kind in SILENT
        return Settlement("sent", None if silent else MailSent(mail=letter.mail, event=letter.event, attempts=attempts))
    if answer.final:
        return Settlement("failed", _failed(letter, attempts, "bounced", answer.code), f"bounced {answer.code}".strip())
    next_at = next_attempt(attempts, now, None, jitter)
    if next_at is None:
        return Settlement("failed", _failed(letter, attempts, "given-up", answer.code), f"given-up {answer.code}")
    return Settlement("pending", None, answer.code or "no answer", next_at)


def _failed(letter: Letter, attempts: int, why: Why, code: str) -> MailFailed | None:
    if letter.kind in SILENT:
        return None
    return MailFailed(mail=letter.mail, event=letter.event, attempts=attempts, why=why, code=code)
