"""Standard Webhooks 1.0.0 signatures (github.com/standard-webhooks/standard-webhooks), for sender and receiver.

What is signed is `{id}.{timestamp}.{body}`, timestamp in whole seconds since 1970 of the *attempt*, body the very
bytes sent. A secret says by its prefix what it makes: `whsec_` (base64 of random bytes) an HMAC-SHA256, written
`v1,<base64>`; `whsk_` (base64 of an Ed25519 seed and its public key) an Ed25519 signature, `v1a,<base64>`, which
`whpk_` (base64 of the public key) verifies. During a change of keys all valid ones sign: the header holds their
signatures separated by spaces, and one that a receiver's key confirms suffices. Ids hold no full stop, else the parts
could be shifted against each other under the same signature. The library `standardwebhooks` is the reference in tests;
it reads its own clock, knows no `v1a` and raises ValueError on a malformed header, so it isn't used here.
"""

from __future__ import annotations

import base64
import hmac
import re
import secrets as entropy
from collections.abc import Mapping, Sequence

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

ID_HEADER, TIMESTAMP_HEADER, SIGNATURE_HEADER = "webhook-id", "webhook-timestamp", "webhook-signature"
TOLERANCE = 300
"""Seconds that a delivery's timestamp may lie before or after the receiver's clock."""

HMAC_PREFIX, PRIVATE_PREFIX, PUBLIC_PREFIX = "whsec_", "whsk_", "whpk_"
SECRET_BYTES = 32
"""Of a new HMAC secret; the specification asks for 24 to 64."""
SIGNATURES_READ = 16
"""More than any change of keys needs; a longer header is refused before it costs that many verifications."""

_ID = re.compile(r"[!-\-/-~]{1,256}")  # visible ASCII without the full stop
_TIMESTAMP = re.compile(r"[0-9]{1,12}")


class SignatureError(Exception):
    """A delivery is not what the holder of the secret sent just now; the message says why, in words for its sender."""


def new_secret() -> str:
    """Make an HMAC secret, `whsec_…`, to be shared with one subscriber."""
    return HMAC_PREFIX + _encode(entropy.token_bytes(SECRET_BYTES))


def new_key() -> str:
    """Make an Ed25519 secret key, `whsk_…`, which stays with the sender."""
    key = Ed25519PrivateKey.generate()
    return PRIVATE_PREFIX + _encode(key.private_bytes_raw() + key.public_key().public_bytes_raw())


def public_key(key: str) -> str:
    """Give the `whpk_…` that verifies what a `whsk_…` signs. Raises ValueError if it is no such key."""
    return PUBLIC_PREFIX + _encode(_private(key).public_key().public_bytes_raw())


def check_key(key: str) -> None:
    """Raise ValueError, with a message for the person who typed it, unless `verify` can use this key."""
    _confirms(key, "", b"", b"")


def sign(secrets: Sequence[str], message_id: str, timestamp: int, body: bytes) -> str:
    """Give the value of `webhook-signature`: one signature per secret, in their order.

    Raises ValueError for a malformed secret, an id with a full stop, or no secret at all.
    """
    if not secrets:
        raise ValueError("a webhook cannot be sent unsigned: give at least one secret")
    if _ID.fullmatch(message_id) is None:
        raise ValueError(f"a webhook id is 1 to 256 visible ASCII characters without a full stop: {message_id!r}")
    content = _content(message_id, timestamp, body)
    return " ".join(_sign(secret, content) for secret in secrets)


def signed_headers(secrets: Sequence[str], message_id: str, timestamp: int, body: bytes) -> dict[str, str]:
    """Give the three headers of one delivery attempt."""
    return {
        ID_HEADER: message_id,
        TIMESTAMP_HEADER: str(timestamp),
        SIGNATURE_HEADER: sign(secrets, message_id, timestamp, body),
    }


def verify(
    keys: Sequence[str], headers: Mapping[str, str], body: bytes, *, now: float, tolerance: int = TOLERANCE
) -> str:
    """Give the `webhook-id` of a delivery that one of `keys` (`whsec_…`, `whpk_…`) confirms; else raise SignatureError.

    `now` is machine time in seconds since 1970. Header names count in any case. Raises ValueError for a malformed key.
    """
    message_id, timestamp, signatures = _read(headers)
    if timestamp < now - tolerance:
        raise SignatureError(f"{TIMESTAMP_HEADER} is more than {tolerance} s old")
    if timestamp > now + tolerance:
        raise SignatureError(f"{TIMESTAMP_HEADER} is more than {tolerance} s ahead")
    content = _content(message_id, timestamp, body)
    if not any(_confirms(key, version, raw, content) for version, raw in signatures for key in keys):
        raise SignatureError("no signature matches: made with another secret, or changed on the way")
    return message_id


def _read(headers: Mapping[str, str]) -> tuple[str, int, list[tuple[str, bytes]]]:
    """Take id, timestamp and (version, signature) apart; a signature that is not base64 counts as empty."""
    found = {name.lower(): value for name, value in headers.items()}
    for name in (ID_HEADER, TIMESTAMP_HEADER, SIGNATURE_HEADER):
        if not found.get(name):
            raise SignatureError(f"the header {name} is missing")
    message_id, timestamp, signatures = found[ID_HEADER], found[TIMESTAMP_HEADER], found[SIGNATURE_HEADER].split(" ")
    if _ID.fullmatch(message_id) is None:
        raise SignatureError(f"{ID_HEADER} must be visible ASCII without a full stop")
    if _TIMESTAMP.fullmatch(timestamp) is None:
        raise SignatureError(f"{TIMESTAMP_HEADER} must be whole seconds since 1970")
    if len(signatures) > SIGNATURES_READ:
        raise SignatureError(f"{SIGNATURE_HEADER} holds more than {SIGNATURES_READ} signatures")
    pairs = (signature.partition(",") for signature in signatures)
    return message_id, int(timestamp), [(version, _raw(text) or b"") for version, _, text in pairs]


def _sign(secret: str, content: bytes) -> str:
    if secret.startswith(HMAC_PREFIX):
        return f"v1,{_encode(_hmac(secret, content))}"
    return f"v1a,{_encode(_private(secret).sign(content))}"


def _confirms(key: str, version: str, signature: bytes, content: bytes) -> bool:
    if key.startswith(HMAC_PREFIX):
        return hmac.compare_digest(_hmac(key, content), signature) and version == "v1"
    if not key.startswith(PUBLIC_PREFIX):
        raise ValueError(f"a key for verifying begins with {HMAC_PREFIX} or {PUBLIC_PREFIX}")
    public = Ed25519PublicKey.from_public_bytes(_decode(key, PUBLIC_PREFIX, 32))
    try:
        public.verify(signature, content)
    except InvalidSignature:
        return False
    return version == "v1a"


def _hmac(secret: str, content: bytes) -> bytes:
    return hmac.digest(_decode(secret, HMAC_PREFIX), content, "sha256")


def _private(key: str) -> Ed25519PrivateKey:
    raw = _decode(key, PRIVATE_PREFIX, 64)
    private = Ed25519PrivateKey.from_private_bytes(raw[:32])
    if private.public_key().public_bytes_raw() != raw[32:]:
        raise ValueError(f"the public half of this {PRIVATE_PREFIX} key does not belong to its private half")
    return private


def _content(message_id: str, timestamp: int, body: bytes) -> bytes:
    return f"{message_id}.{timestamp}.".encode() + body


def _encode(raw: bytes) -> str:
    return base64.b64encode(raw).decode("ascii")


def _decode(key: str, prefix: str, length: int | None = None) -> bytes:
    if not key.startswith(prefix):
        raise ValueError(f"a key for this begins with {prefix}")
    text = key.removeprefix(prefix).rstrip("=")
    raw = _raw(text + "=" * (-len(text) % 4))
    if not raw or len(raw) != (length or len(raw)):
        raise ValueError(f"what follows {prefix} must be base64 of {length or 'at least one'} bytes")
    return raw


def _raw(text: str) -> bytes | None:
    try:
        return base64.b64decode(text, validate=True)
    except ValueError:  # binascii.Error is one; so is what is not ASCII
        return None
