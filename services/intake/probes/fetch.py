"""One GET after the other at a stranger's server: paced, bounded, conditional, tried again once where that helps."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from hashlib import sha256
from time import monotonic
from typing import Protocol, TypeVar

import httpx

from services.chassis.outbound import Limits, Outbound, OutboundFailed, OutboundRefused, OutboundResponse
from services.intake.probes.open311 import UnreadableAnswer

T = TypeVar("T")

_AGAIN = frozenset({429, 500, 502, 503, 504})
_OK, _NOT_MODIFIED = 200, 304


class ProbeFailed(Exception):  # noqa: N818  (named for the outcome, like `OutboundFailed`)
    """Nothing can be shown, and why. `answered` says whether the server itself said something else than was asked."""

    def __init__(self, reason: str, *, answered: bool = False, status: int = 0) -> None:
        super().__init__(reason)
        self.answered = answered
        self.status = status


class SpentError(Exception):
    """A probe's bounds are reached."""


@dataclass(frozen=True, slots=True)
class Manners:
    """What a probe may take: seconds, bytes, calls and requests."""

    pause: float = 1.0
    deadline: float = 20.0
    body: int = 8_000_000
    calls: int = 120
    seconds: float = 900.0
    total: int = 200_000_000
    patience: float = 30.0
    """For what a server asks for by Retry-After, once."""
    requests: int = 100_000


POLITE = Manners()


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer that was read: where, and the body with its SHA-256 (hex)."""

    url: str
    content_type: str
    etag: str
    last_modified: str
    sha256: str
    body: bytes


class Memory(Protocol):
    """What is known of earlier answers, and keeps this probe's."""

    async def recall(self, url: str) -> Answer | None:
        """The last answer from there, if it is still known whole."""
        ...

    async def keep(self, answer: Answer) -> None:
        """Keep an answer."""
        ...


class Forgetful:
    """Knows nothing and keeps nothing."""

    async def recall(self, url: str) -> Answer | None:  # noqa: ARG002  (Memory's)
        """Nothing."""
        return None

    async def keep(self, answer: Answer) -> None:
        """Forget it."""


class Fetcher:
    """The calls of one probe. `unchanged` counts the answers that the server said are as before."""

    def __init__(self, client: Outbound, manners: Manners, memory: Memory) -> None:
        self.calls = 0
        self.unchanged = 0
        self._bytes = 0
        self._client = client
        self._manners = manners
        self._memory = memory
        self._limits = Limits(deadline=manners.deadline, max_body=manners.body, redirects=3)
        self._until = monotonic() + manners.seconds

    def admitted(self, url: str) -> httpx.URL:
        """The address, judged by its text alone. Raises ProbeFailed."""
        try:
            return self._client.admit(url)
        except OutboundRefused as refused:
            raise ProbeFailed(str(refused)) from None

    async def ask(self, what: str, url: httpx.URL, understand: Callable[[str, bytes], T]) -> T:
        """What is understood of the answer from there. Raises ProbeFailed, its reason beginning with `what`."""
        try:
            answer = await self._get(what, str(url))
            # In a thread: a large answer takes longer than the loop may be held.
            return await asyncio.to_thread(understand, answer.content_type, answer.body)
        except UnreadableAnswer as unreadable:
            raise ProbeFailed(f"{what}: {unreadable}", answered=True) from None
        except (OutboundRefused, OutboundFailed) as failed:
            raise ProbeFailed(f"{what}: {failed}") from None

    async def _get(self, what: str, url: str) -> Answer:
        known = await self._memory.recall(url)
        response = await self._patiently(lambda: self._call(url, known))
        if known is not None and response.status == _NOT_MODIFIED:
            self.unchanged += 1
            await self._memory.keep(known)
            return known
        if response.status != _OK:
            reason = f"{what}: the server answers with status {response.status}"
            raise ProbeFailed(reason, answered=True, status=response.status)
        said = response.headers.get
        answer = Answer(
            url=url,
            content_type=said("content-type", ""),
            etag=said("etag", ""),
            last_modified=said("last-modified", ""),
            sha256=sha256(response.body).hexdigest(),
            body=response.body,
        )
        await self._memory.keep(answer)
        return answer

    async def _patiently(self, call: Callable[[], Awaitable[OutboundResponse]]) -> OutboundResponse:
        """Try once more, after a while, what may help to be tried again."""
        try:
            response = await call()
        except OutboundFailed:
            await asyncio.sleep(self._manners.pause)
            return await call()
        if response.status not in _AGAIN:
            return response
        asked = response.headers.get("retry-after", "")
        wait = float(asked) if asked.isdecimal() and len(asked) <= 6 else self._manners.pause  # noqa: PLR2004  (digits)
        if wait > self._manners.patience:
            return response
        await asyncio.sleep(wait)
        return await call()

    async def _call(self, url: str, known: Answer | None) -> OutboundResponse:
        manners = self._manners
        if self.calls >= manners.calls or self._bytes > manners.total or monotonic() > self._until:
            raise SpentError
        if self.calls:
            await asyncio.sleep(self._manners.pause)
        self.calls += 1
        headers = {"Accept": "application/json, text/xml;q=0.9, application/xml;q=0.9"}
        if known is not None and known.etag:
            headers["If-None-Match"] = known.etag
        if known is not None and known.last_modified:
            headers["If-Modified-Since"] = known.last_modified
        response = await self._client.request("GET", url, headers=headers, limits=self._limits)
        self._bytes += len(response.body)
        return response
