"""The program's public HTTP API as its users call it: one token per person, an Idempotency-Key on every POST."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any, Self

import httpx

from services.chassis.ids import opaque_id
from services.chassis.issuer import Issuer

TRIES = 3


class CallError(RuntimeError):
    """A refused call, in the words of its problem details."""


class Person:
    """Someone with a role and a token."""

    def __init__(self, client: httpx.AsyncClient, token: str) -> None:
        self._client = client
        self._headers = {"Authorization": f"Bearer {token}"}

    async def get(self, path: str, **params: str) -> Any:  # noqa: ANN401  (any JSON value)
        """The JSON at `path`."""
        return (await self._send("GET", path, params=params)).json()

    async def content(self, path: str, **params: str) -> bytes:
        """The bytes at `path`."""
        return (await self._send("GET", path, params=params)).content

    async def post(self, path: str, body: object = None) -> Any:  # noqa: ANN401  (likewise)
        """POST once, however often it is sent."""
        return (await self._send("POST", path, json=body, headers={"Idempotency-Key": opaque_id()})).json()

    async def patch(self, path: str, body: object) -> Any:  # noqa: ANN401  (likewise)
        """PATCH what was last read at `path`."""
        etag = (await self._send("GET", path)).headers["ETag"]
        return (await self._send("PATCH", path, json=body, headers={"If-Match": etag})).json()

    async def _send(
        self,
        method: str,
        path: str,
        *,
        headers: dict[str, str] | None = None,
        **how: Any,  # noqa: ANN401  (what httpx takes)
    ) -> httpx.Response:
        answer = await self._ask(method, path, headers={**self._headers, **(headers or {})}, **how)
        if answer.is_error:
            problem = answer.json() if "json" in answer.headers.get("content-type", "") else {}
            raise CallError(f"{method} {path}: {answer.status_code} {problem.get('detail', answer.text[:200])}")
        return answer

    async def _ask(self, method: str, path: str, **how: Any) -> httpx.Response:  # noqa: ANN401  (what httpx takes)
        for _ in range(TRIES - 1):
            # A connection kept open may close just as it is used; an Idempotency-Key makes asking again harmless.
            with suppress(httpx.TransportError):
                return await self._client.request(method, path, **how)
        return await self._client.request(method, path, **how)


class People:
    """Makes people; closes their connections."""

    def __init__(self, origin: str, issuer: Issuer) -> None:
        self._issuer = issuer
        self._client = httpx.AsyncClient(base_url=origin, timeout=60, trust_env=False)

    def __call__(self, role: str, subject: str) -> Person:
        """Someone who signs in as `subject` with `role`."""
        return Person(self._client, self._issuer.token(role, subject))

    async def __aenter__(self) -> Self:
        """Nothing to open."""
        return self

    async def __aexit__(self, *_: object) -> None:
        """Close the connections."""
        await self._client.aclose()


async def until(what: str, check: Callable[[], Awaitable[object]], *, seconds: float = 120) -> Any:  # noqa: ANN401  (what `check` found)
    """Ask `check` until it gives something; CallError naming `what` after `seconds`."""
    try:
        async with asyncio.timeout(seconds):
            while not (found := await check()):  # noqa: ASYNC110  (it asks over HTTP)
                await asyncio.sleep(0.05)
            return found
    except TimeoutError as error:
        raise CallError(f"waited {seconds:.0f} s in vain: {what}") from error
