"""Who is asking: bearer tokens (JWT, RFC 9068 `at+jwt`) verified against the issuer's JWKS.

A token proves identity; its `roles` claim names the program's staff (program-admin, board, auditor). What an applicant
or a reviewer may touch follows from memberships and enrolments, which each service keeps for itself. Tokens live in
machine time.
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import KeySet
from joserfc.jws import extract_compact

from services.chassis.problems import Problem

if TYPE_CHECKING:
    from collections.abc import Mapping

    from fastapi import Request

    from services.chassis.clock import Clock

ALGORITHMS = ["Ed25519", "EdDSA", "ES256", "RS256"]
REFETCH_SECONDS = 30.0
LEEWAY_SECONDS = 30
HELD = 10_000
"""Tokens whose signatures are remembered, at most."""
CLAIM_LIMIT = 254
"""Characters of a name or an address."""


@dataclass(frozen=True)
class Principal:
    """Who is asking: (`issuer`, `subject`), never an e-mail address."""

    issuer: str
    subject: str
    roles: frozenset[str] = frozenset()
    government: str | None = None
    """Where set, the token reaches no other government than this one."""
    name: str = ""
    email: str = ""
    """The address that the issuer has verified; empty where it says none, or does not say `email_verified`."""

    def require(self, *roles: str) -> None:
        """Problem 403 unless the token carries one of `roles`."""
        if not self.roles.intersection(roles):
            wanted = " or ".join(roles)
            raise Problem(403, "role-required", f"This needs the role {wanted}.")


class KeySource:
    """The issuer's keys: a file, an https address, or the embedded issuer's set; fetched again for an unknown `kid`."""

    def __init__(self, where: str | KeySet) -> None:
        self._where = where
        self._keys: KeySet | None = where if isinstance(where, KeySet) else None
        self._fetched = float("-inf")
        self._lock = asyncio.Lock()

    async def keys(self, kid: str | None) -> KeySet:
        """The key set, refreshed (at most twice a minute) when it doesn't know `kid`."""
        async with self._lock:
            stale = self._keys is None or (kid is not None and kid not in {key.kid for key in self._keys})
            if stale and not isinstance(self._where, KeySet) and time.monotonic() - self._fetched > REFETCH_SECONDS:
                self._keys = await self._fetch(self._where)
                self._fetched = time.monotonic()
        if self._keys is None:
            raise Problem(503, "issuer-unavailable", "The token issuer's keys cannot be read now; try again shortly.")
        return self._keys

    @staticmethod
    async def _fetch(where: str) -> KeySet:
        try:
            if where.startswith(("https://", "http://")):
                async with httpx.AsyncClient(timeout=5) as client:
                    answer = await client.get(where)
                    answer.raise_for_status()
                    return KeySet.import_key_set(answer.json())
            text = await asyncio.to_thread(Path(where).read_text)
            return KeySet.import_key_set(httpx.Response(200, text=text).json())
        except (OSError, httpx.HTTPError, ValueError, JoseError) as error:
            raise Problem(503, "issuer-unavailable", "The token issuer's keys cannot be read now.") from error


class Tokens:
    """Verifies bearer tokens for one audience."""

    def __init__(self, keys: KeySource, *, issuer: str, audience: str, machine: Clock) -> None:
        self._keys = keys
        self._machine = machine
        self._issuer = issuer
        self._held: dict[str, tuple[Principal, KeySet, float]] = {}
        """Tokens that held, by which keys, and until when: a signature takes longer to check than a draft to save."""
        self._claims = jwt.JWTClaimsRegistry(
            now=lambda: int(machine.now().timestamp()),
            leeway=LEEWAY_SECONDS,
            iss={"essential": True, "value": issuer},
            aud={"essential": True, "value": audience},
            sub={"essential": True},
            exp={"essential": True},
        )

    async def principal(self, request: Request) -> Principal | None:
        """Who sent `request`; None without an Authorization header. Problem 401 for a token that doesn't hold."""
        header = request.headers.get("authorization")
        if header is None:
            return None
        scheme, _, token = header.partition(" ")
        if scheme.lower() != "bearer" or not token:
            raise unauthorized("Send the token as `Authorization: Bearer …`.")
        return await self.verify(token.strip())

    async def verify(self, token: str) -> Principal:
        """The principal that `token` proves; Problem 401 naming what is wrong with it."""
        if token in self._held:
            principal, by, until = self._held[token]
            if self._machine.now().timestamp() < until and by is await self._keys.keys(None):
                return principal
            del self._held[token]
        keys = await self._keys.keys(_kid(token))
        try:
            decoded = jwt.decode(token, keys, algorithms=ALGORITHMS)
            if str(decoded.header.get("typ", "")).lower() not in {"at+jwt", "application/at+jwt"}:
                raise unauthorized("The token's type is not at+jwt.")
            self._claims.validate(decoded.claims)
        except (JoseError, ValueError) as error:
            raise unauthorized(f"The token does not hold: {_reason(error)}.") from error
        claims = decoded.claims
        roles = claims.get("roles", [])
        principal = Principal(
            issuer=str(claims["iss"]),
            subject=str(claims["sub"]),
            roles=frozenset(map(str, roles)) if isinstance(roles, list) else frozenset(),
            government=claims.get("government"),
            name=_told(claims, "name"),
            email=_told(claims, "email") if claims.get("email_verified") is True else "",
        )
        if len(self._held) >= HELD:
            self._held.clear()
        self._held[token] = principal, keys, float(claims["exp"])
        return principal


def unauthorized(detail: str) -> Problem:
    """Problem 401 with the challenge of RFC 6750."""
    return Problem(401, "invalid-token", detail, headers={"WWW-Authenticate": 'Bearer error="invalid_token"'})


def _told(claims: Mapping[str, Any], name: str) -> str:
    """A claim that people read; empty where it is no text that could be shown."""
    value = claims.get(name)
    return value if isinstance(value, str) and value.isprintable() and len(value) <= CLAIM_LIMIT else ""


def _kid(token: str) -> str | None:
    try:
        return extract_compact(token.encode()).headers().get("kid")
    except (JoseError, ValueError):
        return None


def _reason(error: Exception) -> str:
    text = str(error)
    if isinstance(error, JoseError):
        text = error.description or error.error.replace("_", " ")
    return text.rstrip(".").lower() or "it cannot be read"
