"""Signed commands from `scoring.submissions.v1`: anyone may have written them, so none holds up another.

A record that no registered key signed is counted, now and then logged, and forgotten. A command of a known sender is
carried out, or refused by an event with the reason; either way its id is remembered for ever, so that delivering it
again has no second effect. Nothing is parked.
"""

from __future__ import annotations

import asyncio
import re
from collections import Counter
from dataclasses import dataclass
from hashlib import sha256
from time import monotonic
from typing import TYPE_CHECKING

import orjson
import structlog
from pydantic import ValidationError

from schemas.envelope import complaint
from schemas.reviews import ReviewCommand
from services.chassis.metrics import COMMANDS
from services.chassis.record import read_ahead, reading
from services.chassis.refusal import RefusedError
from services.scoring import roster, store
from services.scoring.commands import COMMAND_TYPE, signature_holds, unpack, verifier
from services.scoring.domain import Reason, Review, check_command, refuse
from services.scoring.reviews import take_reviews

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from services.chassis.database import Database, Tx
    from services.chassis.record import Record
    from services.scoring.commands import Unpacked
    from services.scoring.domain import Sender

LOG_SECONDS = 10.0
"""Between two log lines about ignored records, at least: whoever floods the topic must not flood the log."""

_COMMAND_ID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Read:
    """A record that is a JWS, and the command in it, or why there is none."""

    record: Record
    jws: Unpacked
    command: ReviewCommand | ValidationError

    @property
    def command_id(self) -> str | None:
        """The id in a payload that may otherwise be anything."""
        if isinstance(self.command, ReviewCommand):
            return self.command.command_id
        try:
            found = orjson.loads(self.jws.payload)["command_id"]
        except (ValueError, TypeError, KeyError):
            return None
        return found if isinstance(found, str) and _COMMAND_ID.fullmatch(found) else None


@dataclass(frozen=True, slots=True)
class Signed:
    """A command that a registered key signed, and its id."""

    read: Read
    sender: Sender
    command_id: str

    @property
    def record_sha256(self) -> str:
        """Of the record's value, hex."""
        return sha256(self.read.record.value or b"").hexdigest()


class Submissions:
    """The inbox of the commands; `ignored` counts, by reason, the records that nobody answers for."""

    parks = False

    def __init__(self) -> None:
        self.ignored: Counter[str] = Counter()
        self._unsaid: Counter[str] = Counter()
        self._said_at = float("-inf")

    async def read(self, records: list[Record]) -> list[Record]:
        """Each with the command in it."""
        return await read_ahead(records, _read)

    async def process(self, tx: Tx, records: list[Record]) -> tuple[()]:
        """Carry out or refuse every command of the batch alone; none is anybody else's affair."""
        read = self._readable(tx, records)
        keys = await roster.keys(tx.db, {one.jws.kid for one in read})
        # Locked under the keys of the records, which those of their commands must equal.
        cards = await store.scorecards(tx.db, {_name(one.record.key or b"") for one in read})
        signed = await self._signed(tx, read, keys)
        opened = await store.opened_cycles(tx.db)
        refused: list[tuple[Signed, RefusedError]] = []
        reviews: list[tuple[Signed, Review]] = []
        said = await store.remember(tx.db, [(one.command_id, sha256(one.read.jws.payload).digest()) for one in signed])
        for one, word in zip(signed, said, strict=True):
            if word == "duplicate":
                continue
            try:
                reviews.append((one, _review(one, opened, reused=word == "reused")))
            except RefusedError as refusal:
                refused.append((one, refusal))
        answers = await take_reviews(tx, [review for _, review in reviews], cards)
        refused += [
            (one, answer) for (one, _), answer in zip(reviews, answers, strict=True) if isinstance(answer, RefusedError)
        ]
        for one, why in refused:
            event = refuse(one.sender, one.command_id, one.record_sha256, why)
            tx.record(event, cause=opened[one.sender.cycle])
            tx.note(COMMANDS, result="refused", reason=why.rule)
        tx.note(COMMANDS, sum(not isinstance(answer, RefusedError) for answer in answers), result="accepted", reason="")
        return ()

    def _readable(self, tx: Tx, records: list[Record]) -> list[Read]:
        """The records that are JWS as they must be; the others are ignored."""
        found = []
        for record in records:
            read = reading(record, _read)
            if isinstance(read, Read):
                found.append(read)
            else:
                self._ignore(tx, str(read))
        return found

    async def _signed(self, tx: Tx, read: list[Read], keys: Mapping[str, tuple[Sender, str]]) -> list[Signed]:
        """The commands that a registered key signed; the others are ignored."""
        # In a thread: verifying takes most of this path's time, and the loop must go on.
        faults = await asyncio.to_thread(_faults, [one.jws for one in read], {kid: x for kid, (_, x) in keys.items()})
        signed = []
        for one, fault in zip(read, faults, strict=True):
            command_id = None if fault else one.command_id
            if command_id is None:
                self._ignore(tx, fault or "no-command-id")
            else:
                signed.append(Signed(one, keys[one.jws.kid][0], command_id))
        return signed

    def _ignore(self, tx: Tx, reason: str) -> None:
        tx.note(COMMANDS, result="ignored", reason=reason)
        self.ignored[reason] += 1
        self._unsaid[reason] += 1
        if monotonic() - self._said_at >= LOG_SECONDS:
            log.warning("commands ignored", **self._unsaid)
            self._unsaid.clear()
            self._said_at = monotonic()

    async def set_aside(self, tx: Tx, record: Record, error: Exception) -> None:
        """Leave a record that a fault of ours kept from being carried out; Kafka has it for seven days."""
        self._ignore(tx, "failed")
        log.error("command failed", partition=record.partition, offset=record.offset, error=repr(error))

    async def retry(self, database: Database) -> None:
        """Nothing ever waits."""


def _name(key: bytes) -> str:
    """The id that a record is sent under; empty, which no id is, where the database could not hold it."""
    text = key[:1_000].decode(errors="replace")
    return "" if "\0" in text else text


def _read(record: Record) -> Read:
    """What a record says. UnprovenError where it is no JWS as it must be."""
    jws = unpack(record.value or b"", COMMAND_TYPE)
    try:
        return Read(record, jws, ReviewCommand.model_validate_json(jws.payload))
    except ValidationError as error:
        return Read(record, jws, error)


def _faults(unpacked: Sequence[Unpacked], keys: Mapping[str, str]) -> list[str | None]:
    """What is wrong with each signature; None where it holds. `keys` are public ones by their ids."""
    faults: list[str | None] = []
    for jws in unpacked:
        x = keys.get(jws.kid)
        if x is None:
            faults.append("unknown-key")
        else:
            faults.append(None if signature_holds(jws, verifier(x)) else "bad-signature")
    return faults


def _review(one: Signed, opened: Mapping[str, str], *, reused: bool) -> Review:
    """What a command asks for; RefusedError where it cannot be read or does not hold."""
    if reused:
        raise RefusedError(
            Reason.REUSED_COMMAND_ID, "Another command came under this id: give every command a new one."
        )
    command, record = one.read.command, one.read.record
    if isinstance(command, ValidationError):
        raise RefusedError(Reason.MALFORMED, complaint(command)) from command
    check_command(command, one.sender, record_key=record.key, arrived_ms=record.timestamp_ms, cycles=opened)
    return Review(one.sender.reviewer, one.sender.cycle, command.body, "kafka", one.record_sha256)
