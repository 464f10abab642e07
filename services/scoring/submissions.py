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
from typing import TYPE_CHECKING, Any

import orjson
import structlog
from joserfc.jwk import OKPKey
from pydantic import ValidationError

from schemas.envelope import complaint
from schemas.reviews import ReviewCommand
from services.chassis.metrics import COMMANDS
from services.chassis.refusal import RefusedError
from services.scoring import store
from services.scoring.commands import COMMAND_TYPE, UnprovenError, signature_holds, unpack
from services.scoring.domain import Reason, Review, check_command, refuse
from services.scoring.reviews import take_reviews

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from joserfc.jws import CompactSignature

    from services.chassis.database import Database, Tx
    from services.chassis.record import Record
    from services.scoring.domain import Sender

LOG_SECONDS = 10.0
"""Between two log lines about ignored records, at least: whoever floods the topic must not flood the log."""

_COMMAND_ID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Signed:
    """A record that a registered key signed, and the command id in it."""

    record: Record
    sender: Sender
    payload: bytes
    command_id: str

    @property
    def record_sha256(self) -> str:
        """Of the record's value, hex."""
        return sha256(self.record.value or b"").hexdigest()


class Submissions:
    """The inbox of the commands; `ignored` counts, by reason, the records that nobody answers for."""

    parks = False

    def __init__(self) -> None:
        self.ignored: Counter[str] = Counter()
        self._unsaid: Counter[str] = Counter()
        self._said_at = float("-inf")

    async def process(self, tx: Tx, records: list[Record]) -> tuple[()]:
        """Carry out or refuse every command of the batch alone; none is anybody else's affair."""
        signed = await self._signed(tx, records)
        opened = await store.opened_cycles(tx.db)
        refused: list[tuple[Signed, RefusedError]] = []
        reviews: list[tuple[Signed, Review]] = []
        said = await store.remember(tx.db, [(one.command_id, sha256(one.payload).digest()) for one in signed])
        for one, word in zip(signed, said, strict=True):
            if word == "duplicate":
                continue
            try:
                reviews.append((one, _review(one, opened, reused=word == "reused")))
            except RefusedError as refusal:
                refused.append((one, refusal))
        answers = await take_reviews(tx, [review for _, review in reviews])
        refused += [
            (one, answer) for (one, _), answer in zip(reviews, answers, strict=True) if isinstance(answer, RefusedError)
        ]
        for one, why in refused:
            event = refuse(one.sender, one.command_id, one.record_sha256, why)
            tx.record(event, cause=opened[one.sender.cycle])
            tx.note(COMMANDS, result="refused", reason=why.rule)
        tx.note(COMMANDS, sum(not isinstance(answer, RefusedError) for answer in answers), result="accepted", reason="")
        return ()

    async def _signed(self, tx: Tx, records: list[Record]) -> list[Signed]:
        """The records that a registered key signed; the others are ignored."""
        unpacked: list[tuple[Record, CompactSignature]] = []
        for record in records:
            try:
                unpacked.append((record, unpack(record.value or b"", COMMAND_TYPE)))
            except UnprovenError as error:
                self._ignore(tx, str(error))
        keys = await store.keys(tx.db, {jws.headers()["kid"] for _, jws in unpacked})
        jwks = {kid: jwk for kid, (_, jwk) in keys.items()}
        # In a thread: verifying takes most of this path's time, and the loop must go on.
        faults = await asyncio.to_thread(_faults, [jws for _, jws in unpacked], jwks)
        signed = []
        for (record, jws), fault in zip(unpacked, faults, strict=True):
            payload = jws.payload or b""
            command_id = None if fault else _command_id(payload)
            if command_id is None:
                self._ignore(tx, fault or "no-command-id")
            else:
                signed.append(Signed(record, keys[jws.headers()["kid"]][0], payload, command_id))
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


def _faults(unpacked: Sequence[CompactSignature], jwks: Mapping[str, dict[str, Any]]) -> list[str | None]:
    """What is wrong with each signature; None where it holds."""
    keys = {kid: OKPKey.import_key(jwk) for kid, jwk in jwks.items()}
    faults: list[str | None] = []
    for jws in unpacked:
        key = keys.get(jws.headers()["kid"])
        if key is None:
            faults.append("unknown-key")
        else:
            faults.append(None if signature_holds(jws, key) else "bad-signature")
    return faults


def _command_id(payload: bytes) -> str | None:
    """The id in a payload that may otherwise be anything."""
    try:
        found = orjson.loads(payload)["command_id"]
    except (ValueError, TypeError, KeyError):
        return None
    return found if isinstance(found, str) and _COMMAND_ID.fullmatch(found) else None


def _review(one: Signed, opened: Mapping[str, str], *, reused: bool) -> Review:
    """What a command asks for; RefusedError where it cannot be read or does not hold."""
    if reused:
        raise RefusedError(
            Reason.REUSED_COMMAND_ID, "Another command came under this id: give every command a new one."
        )
    try:
        command = ReviewCommand.model_validate_json(one.payload)
    except ValidationError as error:
        raise RefusedError(Reason.MALFORMED, complaint(error)) from error
    record = one.record
    check_command(command, one.sender, record_key=record.key, arrived_ms=record.timestamp_ms, cycles=opened)
    return Review(one.sender.reviewer, one.sender.cycle, command.body, "kafka", one.record_sha256)
