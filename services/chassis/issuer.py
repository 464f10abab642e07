"""The embedded token issuer: a key in a file, for demos, tests and `cec token`. Real programs name their own issuer."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, Self

from joserfc import jwt
from joserfc.jwk import KeySet, OKPKey

if TYPE_CHECKING:
    from pathlib import Path

    from services.chassis.clock import Clock

ROLES = ("program-admin", "applicant", "reviewer", "board", "auditor", "partner", "subscriber", "service")


class Issuer:
    """Signs access tokens (RFC 9068) with an Ed25519 key."""

    def __init__(self, key: OKPKey, *, issuer: str, audience: str, machine: Clock) -> None:
        self._key = key
        self._issuer = issuer
        self._audience = audience
        self._machine = machine

    @classmethod
    def at(cls, folder: Path, *, issuer: str, audience: str, machine: Clock) -> Self:
        """The issuer whose key is kept in `folder` (mode 0600); made there the first time."""
        return cls(load_key(folder / "issuer.jwk"), issuer=issuer, audience=audience, machine=machine)

    @property
    def keys(self) -> KeySet:
        """The public key set."""
        return KeySet([OKPKey.import_key(self._key.as_dict(private=False))])

    def token(
        self, role: str, subject: str, *, government: str | None = None, email: str = "", seconds: int = 3600
    ) -> str:
        """An access token for `subject`, valid for `seconds` of machine time. ValueError for an unknown role.

        An `email` is stated as verified: whoever runs this issuer vouches for it.
        """
        if role not in ROLES:
            message = f"unknown role {role!r}: one of {', '.join(ROLES)}"
            raise ValueError(message)
        now = int(self._machine.now().timestamp())
        claims = {
            "iss": self._issuer,
            "aud": self._audience,
            "sub": subject,
            "iat": now,
            "exp": now + seconds,
            "roles": [role],
        }
        if government is not None:
            claims["government"] = government
        if email:
            claims |= {"email": email, "email_verified": True}
        header = {"alg": "Ed25519", "typ": "at+jwt", "kid": self._key.kid}
        return jwt.encode(header, claims, self._key, algorithms=["Ed25519"])


def load_key(file: Path) -> OKPKey:
    """The Ed25519 key kept in `file` as a JWK; made there the first time, readable by its owner only."""
    if not file.exists():
        file.parent.mkdir(parents=True, exist_ok=True)
        key = OKPKey.generate_key("Ed25519", auto_kid=True)
        scratch = file.with_suffix(f".{os.getpid()}")
        with os.fdopen(os.open(scratch, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as out:
            json.dump(key.as_dict(private=True), out)
        try:
            os.link(scratch, file)  # never over a key that another process made meanwhile
        except FileExistsError:
            pass
        finally:
            scratch.unlink()
    return OKPKey.import_key(json.loads(file.read_text(encoding="utf-8")))
