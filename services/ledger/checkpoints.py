"""What the ledger signs: which key, under which origin, and a note once for every size."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import quote, urlsplit

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from services.chassis.issuer import load_key
from services.chassis.transparency import Checkpoint, SignerKey, sign_note
from services.ledger import store
from services.ledger.domain import PROGRAM

if TYPE_CHECKING:
    from services.chassis.database import Connection, Database
    from services.chassis.settings import Settings
    from services.ledger.store import Head


class KeyChangedError(RuntimeError):
    """The key at hand is not the one that a log was opened under."""


def origin_of(settings: Settings, log: str) -> str:
    """The origin of a log that is opened now: `HOST/cycles/<label>` or `HOST/program`, the label percent-encoded."""
    host = urlsplit(settings.public_url).netloc.rpartition("@")[2]
    return f"{host}/{PROGRAM}" if log == PROGRAM else f"{host}/cycles/{quote(log, safe='')}"


def signer(settings: Settings, origin: str) -> SignerKey:
    """The ledger's key under a log's name; made in `var/keys/log.key` the first time."""
    key = load_key(settings.var / "keys" / "log.key").private_key
    if not isinstance(key, Ed25519PrivateKey):
        raise KeyChangedError(f"{settings.var}/keys/log.key holds no private Ed25519 key")
    return SignerKey(origin, key)


def signer_of(settings: Settings, head: Head) -> SignerKey:
    """The key that `head` was opened under. KeyChangedError where the file now holds another."""
    key = signer(settings, head.origin)
    if str(key.verifier) != head.verifier_key:
        raise KeyChangedError(
            f"{settings.var}/keys/log.key is not the key that log {head.log} was opened under ({head.verifier_key}):"
            " put that key back; a log never changes its key silently"
        )
    return key


async def latest(database: Database, settings: Settings, log: str) -> bytes | None:
    """A note of a log that is at most a second behind it; None if there is no such log."""
    async with database.reading() as db:
        note = await store.signed_lately(db, log)
    if note is not None:
        return note  # without locking the log, which anyone may ask for
    async with database.transaction() as tx:
        head = await store.head(tx.db, log)
        if head is None:
            return None
        return await store.signed_lately(tx.db, log) or await sign(tx.db, settings, head)


async def sign(db: Connection, settings: Settings, head: Head) -> bytes:
    """The note of a locked log at its size: the kept one, or a new one that is kept."""
    note = await store.signed(db, head.log, head.tree.size)
    if note is not None:
        return note
    made = sign_note(Checkpoint(head.origin, head.tree.size, head.tree.root).text, signer_of(settings, head))
    await store.keep_checkpoint(db, head.log, head.tree.size, made)
    return made
