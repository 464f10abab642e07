"""The ledger's authenticated feed as a client reads it: how state is rebuilt that Kafka's retention no longer covers.

Every event of every log, in an order in which a predecessor and a cause come first, as the very bytes that Kafka
carried (without disclosures erased since). Pages end where `cursor` says; reading goes on from there later.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import httpx

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

PAGE = 1_000


class FeedError(RuntimeError):
    """The ledger refused, in its problem's words, or did not answer."""


@dataclass(frozen=True, slots=True)
class Page:
    """Records in the feed's order, and where it goes on."""

    records: list[bytes]
    cursor: int


class Feed(Protocol):
    """Where records are read from: the ledger, or a test's list."""

    def pages(self, after: int = 0) -> AsyncIterator[Page]:
        """The pages behind a cursor, until there are no more for the moment."""
        ...


class LedgerFeed:
    """The feed of the ledger at `origin`, read with the tokens of an auditor or a service that `token()` gives."""

    def __init__(self, origin: str, token: Callable[[], str], *, page: int = PAGE) -> None:
        self._origin = origin
        self._token = token
        self._page = page

    async def pages(self, after: int = 0) -> AsyncIterator[Page]:
        """The pages behind a cursor, until there are no more for the moment. FeedError where it cannot be read."""
        async with httpx.AsyncClient(base_url=self._origin, timeout=60, trust_env=False) as client:
            while (page := await self._page_behind(client, after)).records:
                yield page
                after = page.cursor

    async def _page_behind(self, client: httpx.AsyncClient, after: int) -> Page:
        # A token each: reading a long feed takes longer than one is valid.
        who = {"Authorization": f"Bearer {self._token()}"}
        try:
            answer = await client.get("/ledger/v1/feed", params={"after": after, "limit": self._page}, headers=who)
        except httpx.HTTPError as error:
            reason = str(error) or type(error).__name__
            raise FeedError(f"the ledger at {self._origin} does not answer ({reason}): is `cec up` running?") from error
        if answer.is_error:
            raise FeedError(f"the ledger's feed: {_reason(answer)}")
        return Page(answer.content.splitlines(), int(httpx.URL(answer.links["next"]["url"]).params["after"]))


def _reason(answer: httpx.Response) -> str:
    problem = answer.json() if "json" in answer.headers.get("content-type", "") else {}
    return f"{answer.status_code} {problem.get('detail', answer.reason_phrase)}"
