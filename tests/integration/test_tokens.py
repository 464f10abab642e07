"""Tokens at every service's door, on one of them: what does not prove who is asking is a 401 with its reason."""

from __future__ import annotations

import hmac
import json
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
from joserfc import jwt

from schemas.envelope import b64url
from services.chassis.clock import MachineClock
from services.chassis.issuer import Issuer, load_key
from services.chassis.service import Runtime
from services.chassis.settings import Settings
from services.intake.app import service
from services.intake.settings import IntakeSettings

PROTECTED = "/v1/applications/0"
Forge = Callable[["Issuers"], str]


class Issuers:
    """The issuer that is trusted, and what others make."""

    def __init__(self, trusted: Issuer, folder: Path) -> None:
        self.trusted = trusted
        self._folder = folder
        self._settings = Settings()

    def other(self, *, audience: str = "", issuer: str = "", folder: str = "") -> str:
        """A token with another audience or issuer, or signed with the key of another `folder`."""
        return Issuer.at(
            self._folder / folder,
            issuer=issuer or self._settings.token_issuer,
            audience=audience or self._settings.token_audience,
            machine=MachineClock(),
        ).token("applicant", "someone")

    def made(self, header: dict[str, Any], **changes: Any) -> str:
        """A token signed with the trusted key over a changed header and changed claims (None removes one)."""
        now = int(MachineClock().now().timestamp())
        claims = {
            "iss": self._settings.token_issuer,
            "aud": self._settings.token_audience,
            "sub": "someone",
            "iat": now,
            "exp": now + 60,
            **changes,
        }
        key = load_key(self._folder / "issuer.jwk")
        header = {"alg": "Ed25519", "typ": "at+jwt", "kid": key.kid, **header}
        present = {name: value for name, value in claims.items() if value is not None}
        return jwt.encode(header, present, key, algorithms=["Ed25519"])

    def by_shared_secret(self) -> str:
        """A token that abuses the public key as a shared secret."""
        key = load_key(self._folder / "issuer.jwk")
        header, claims = {"alg": "HS256", "typ": "at+jwt", "kid": key.kid}, {"sub": "someone"}
        content = ".".join(b64url(json.dumps(part).encode()) for part in (header, claims))
        # By hand: the library refuses to sign so.
        return f"{content}.{b64url(hmac.digest(key.as_pem(private=False), content.encode(), 'sha256'))}"


@pytest.fixture
async def client(runtime: Callable[[type[Settings]], Runtime]) -> AsyncIterator[httpx.AsyncClient]:
    svc = service(runtime(IntakeSettings))
    await svc.migrate()
    await svc.database.open()
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app=svc.app), base_url="http://test") as made:
        yield made
    await svc.database.close()


@pytest.fixture
def issuers(issuer: Issuer, tmp_path: Path) -> Issuers:
    return Issuers(issuer, tmp_path)


async def test_a_good_token_gets_past_the_door(client: httpx.AsyncClient, issuers: Issuers) -> None:
    for token in (issuers.trusted.token("applicant", "someone"), issuers.made({})):
        answer = await client.get(PROTECTED, headers={"Authorization": f"Bearer {token}"})
        assert answer.status_code == 404


@pytest.mark.parametrize(
    ("forge", "says"),
    [
        (lambda i: i.trusted.token("applicant", "someone", seconds=-60), "expired"),
        (lambda i: i.other(audience="another-program"), "aud"),
        (lambda i: i.other(issuer="https://elsewhere.example"), "iss"),
        (lambda i: i.other(folder="other-key"), "key"),
        (lambda i: i.by_shared_secret(), "algorithm"),
        (lambda i: i.made({"typ": "JWT"}), "type"),
        (lambda i: i.made({}, exp=None), "exp"),
        (lambda i: i.made({}, sub=None), "sub"),
        (lambda i: i.made({})[:-4] + "AAAA", "signature"),
        (lambda _: "eyJhbGciOiJub25lIiwidHlwIjoiYXQrand0In0.eyJzdWIiOiJ4In0.", "token"),
        (lambda _: "not-a-token", "token"),
        (lambda _: "", "Bearer"),
    ],
    ids=[
        "expired",
        "for another audience",
        "of another issuer",
        "signed by another key",
        "public key as secret",
        "of another type",
        "without end",
        "without subject",
        "broken signature",
        "unsigned",
        "not a token",
        "empty",
    ],
)
async def test_a_token_that_does_not_hold_is_refused(
    client: httpx.AsyncClient, issuers: Issuers, forge: Forge, says: str
) -> None:
    answer = await client.get(PROTECTED, headers={"Authorization": f"Bearer {forge(issuers)}"})
    assert (answer.status_code, answer.headers["content-type"]) == (401, "application/problem+json"), answer.text
    assert answer.headers["www-authenticate"].startswith("Bearer")
    assert says in answer.json()["detail"]


async def test_a_bad_token_is_refused_even_where_none_is_needed(client: httpx.AsyncClient, issuers: Issuers) -> None:
    assert (await client.get("/v1/cycles")).status_code == 200
    bad = issuers.other(audience="another-program")
    assert (await client.get("/v1/cycles", headers={"Authorization": f"Bearer {bad}"})).status_code == 401


async def test_no_token_is_told_how_to_send_one(client: httpx.AsyncClient) -> None:
    answer = await client.get(PROTECTED)
    assert answer.status_code == 401
    assert "Authorization: Bearer" in answer.json()["detail"]
