"""Signed commands and the keys that sign them: compact JWS (RFC 7515), Ed25519 (RFC 9864), nothing else accepted.

A reviewer's client uses `prove` once, to register its key, then `sign` and `post`. Scoring uses `unpack` and
`signature_holds`, which costs some 0.1 ms, and `check_proof`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Annotated, Literal

import orjson
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from joserfc import jws
from joserfc.jwk import OKPKey
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from schemas.envelope import unb64url
from schemas.reviews import ReviewCommand
from schemas.topics import COMMANDS
from services.chassis.refusal import RefusedError
from services.chassis.relay import producer

if TYPE_CHECKING:
    from collections.abc import Mapping

ALGORITHM = "Ed25519"
COMMAND_TYPE, PROOF_TYPE = "cec-command+jws", "cec-key+jws"
RECORD_LIMIT = 500_000
"""Bytes of a command's record: what the shipped charter's rationales and comment take at most, and half more."""
HEADER_LIMIT = 1_000
"""Characters of a header, which is remembered: with an RFC 7638 thumbprint it has some 130."""
PROOF_SECONDS = 300
"""How far a proof's `iat` may lie from machine time."""

_KID = re.compile(r"[A-Za-z0-9_-]{43}")


class _Registry(jws.JWSRegistry):
    max_payload_length = RECORD_LIMIT


_REGISTRY = _Registry(algorithms=[ALGORITHM])


@dataclass(frozen=True, slots=True)
class Unpacked:
    """A JWS taken apart: the key that it names, what it says, and what was signed how."""

    kid: str
    payload: bytes
    signed: bytes
    signature: bytes


class UnprovenError(ValueError):
    """A record of which nobody knows who sent it; the message is one word that is counted."""


class Proof(BaseModel):
    """The payload by which the holder of a key registers it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    aud: Literal["scoring.submissions.v1"]
    sub: str
    """The reviewer's id in the cycle."""
    iat: Annotated[int, Field(strict=True)]


def sign(command: ReviewCommand, key: OKPKey) -> str:
    """The value of the record that carries `command`; its key is `command.body.application`."""
    return _sealed(COMMAND_TYPE, command.model_dump_json(), key)


def prove(key: OKPKey, reviewer: str, issued_at: int) -> str:
    """What shows that its sender holds `key` (`proof` of `POST /me/keys`); `issued_at` is seconds since 1970."""
    return _sealed(PROOF_TYPE, Proof(aud="scoring.submissions.v1", sub=reviewer, iat=issued_at).model_dump_json(), key)


def _sealed(kind: str, payload: str, key: OKPKey) -> str:
    header = {"alg": ALGORITHM, "typ": kind, "kid": key.thumbprint()}
    return jws.serialize_compact(header, payload, key, registry=_REGISTRY)


async def post(bootstrap: str, command: str) -> str:
    """Send a signed command; returns where the broker put it. ValueError for text that is no command."""
    try:
        payload = unpack(command.encode(), COMMAND_TYPE).payload
        application = ReviewCommand.model_validate_json(payload).body.application
    except (UnprovenError, ValidationError) as error:
        raise ValueError("this is no signed command: make one with `cec review sign`") from error
    kafka = producer(bootstrap)
    await kafka.start()
    try:
        placed = await kafka.send_and_wait(COMMANDS.name, command.encode(), key=application.encode())
    finally:
        await kafka.stop()
    return f"{placed.topic}, partition {placed.partition}, offset {placed.offset}"


def unpack(value: bytes, kind: str) -> Unpacked:
    """Take a JWS apart without believing it. UnprovenError unless its header is `{alg, typ, kid}` as it must be."""
    if len(value) > RECORD_LIMIT:
        raise UnprovenError("oversized")
    signed, _, signature = value.rpartition(b".")
    header, _, payload = signed.partition(b".")
    if len(header) > HEADER_LIMIT:
        raise UnprovenError("unreadable")
    kid = _kid(header, kind)
    # A dot too many is in the payload, which has no character but those of base64url.
    said = _plain(payload)
    try:
        return Unpacked(kid, said, signed, _plain(signature))
    except UnprovenError as error:
        raise UnprovenError("bad-signature") from error


@lru_cache(maxsize=4_096)
def _kid(header: bytes, kind: str) -> str:
    """The key that a header names; remembered, since a reviewer's commands all have the same one."""
    try:
        read = orjson.loads(_plain(header))
    except ValueError as error:
        raise UnprovenError("unreadable") from error
    if not isinstance(read, dict):
        raise UnprovenError("unreadable")
    if set(read) != {"alg", "typ", "kid"} or read["alg"] != ALGORITHM or read["typ"] != kind:
        raise UnprovenError("wrong-header")
    if not isinstance(read["kid"], str) or not _KID.fullmatch(read["kid"]):
        raise UnprovenError("unknown-key")
    return str(read["kid"])


def _plain(text: bytes) -> bytes:
    """What stands in unpadded base64url, of which there is one spelling."""
    try:
        return unb64url(text.decode("ascii"))
    except ValueError as error:
        raise UnprovenError("unreadable") from error


def signature_holds(unpacked: Unpacked, key: Ed25519PublicKey) -> bool:
    """Whether `key` signed it."""
    try:
        key.verify(unpacked.signature, unpacked.signed)
    except InvalidSignature:
        return False
    return True


@lru_cache(maxsize=4_096)
def verifier(x: str) -> Ed25519PublicKey:
    """What checks the signatures of a key that `public_key` accepted, by the `x` of its JWK."""
    return Ed25519PublicKey.from_public_bytes(unb64url(x))


def public_key(jwk: Mapping[str, object]) -> OKPKey:
    """The public half of an Ed25519 key, with nothing besides; RefusedError for any other JWK."""
    if "d" in jwk:
        detail = "Send the public half only, without `d`; as its private half was shown, make a new key."
        raise RefusedError("private-key", detail, field="/jwk/d", status=422)
    try:
        key = Ed25519PublicKey.from_public_bytes(unb64url(str(jwk.get("x"))))
    except ValueError:
        key = None
    if key is None or (jwk.get("kty"), jwk.get("crv")) != ("OKP", ALGORITHM):
        detail = "The key must be the JWK of an Ed25519 public key: kty OKP, crv Ed25519, x."
        raise RefusedError("unusable-key", detail, field="/jwk", status=422)
    return OKPKey.import_key(key)


def check_proof(proof: str, key: OKPKey, reviewer: str, *, now: float) -> None:
    """RefusedError unless the holder of `key` made `proof` for `reviewer` just now (`now`: seconds since 1970)."""
    made = _proved(proof, key)
    if made is None:
        detail = f"The proof must be a compact JWS by this key, with typ {PROOF_TYPE}, over aud, sub and iat."
        raise RefusedError("key-proof", detail, field="/proof", status=422)
    if made.sub != reviewer:
        raise RefusedError("key-proof", f"The proof's `sub` must be {reviewer}.", field="/proof", status=422)
    if abs(int(now) - made.iat) > PROOF_SECONDS:
        detail = f"The proof's `iat` must lie within {PROOF_SECONDS} s of now: check the clock and sign it anew."
        raise RefusedError("key-proof", detail, field="/proof", status=422)


def _proved(proof: str, key: OKPKey) -> Proof | None:
    try:
        unpacked = unpack(proof.encode(), PROOF_TYPE)
        made = Proof.model_validate_json(unpacked.payload)
    except (UnprovenError, ValidationError):
        return None
    return (
        made
        if unpacked.kid == key.thumbprint() and signature_holds(unpacked, verifier(str(key.as_dict()["x"])))
        else None
    )
