"""Reads an Open311 server politely: discovery, services, and the requests of a window of at most 90 days.

One call after the other with a pause in between, never more than `Manners` allows, each through the guarded client, and
conditional where an earlier answer is known. Windows are asked for in calendar weeks (UTC), so that next month's probe
asks for most of them by the same address: the newest one first, for freshness, then from the oldest on. Pages are
followed where the server has any; where it answers with round numbers instead, the week is asked for in halves. What
comes twice or lies outside of the window does not count. A part that cannot be read leaves the rest standing and a
remark; ProbeFailed, with a reason in one line that quotes nothing, is for when there is nothing to show.
"""

from __future__ import annotations

from datetime import date, timedelta
from itertools import count

import httpx

from services.chassis.outbound import Outbound
from services.intake.probes.domain import WINDOW_DAYS, Reading
from services.intake.probes.fetch import POLITE, Fetcher, Forgetful, Manners, Memory, ProbeFailed, SpentError
from services.intake.probes.open311 import (
    Endpoint,
    Format,
    Request,
    read_discovery,
    read_requests,
    read_services,
)

SLICE_DAYS = 7
CAP = 50
"""An answer without pages whose length is a multiple of this may have been cut off there."""
FAILURES = 3
"""Parts in a row that cannot be read: then it is no use to go on."""
ONE_DAY = timedelta(days=1)
_BAD_REQUEST = 400


async def read(
    client: Outbound,
    url: str,
    *,
    until: date,
    days: int = WINDOW_DAYS,
    jurisdiction: str = "",
    manners: Manners = POLITE,
    memory: Memory | None = None,
) -> Reading:
    """Read the server at `url`: its GeoReport v2 address, or that of its discovery document. Raises ProbeFailed."""
    if not 1 <= days <= WINDOW_DAYS:
        raise ValueError(f"a window has 1 to {WINDOW_DAYS} days")
    reading = Reading(url, until - timedelta(days=days - 1), until)
    fetcher = Fetcher(client, manners, memory or Forgetful())
    visit = _Visit(fetcher, reading, jurisdiction, manners.requests)
    try:
        await visit.list_services(await visit.discover(url))
    except SpentError:
        raise ProbeFailed("the server took all time that a probe has, and came to no list of services") from None
    await visit.list_requests()
    reading.calls, reading.unchanged = fetcher.calls, fetcher.unchanged
    return reading


class _SameAgain(Exception):  # noqa: N818  (no error: the server takes no dates, so that it has said all already)
    pass


class _Visit:
    """One probe under way."""

    def __init__(self, fetcher: Fetcher, reading: Reading, jurisdiction: str, most: int) -> None:
        self._fetcher = fetcher
        self._reading = reading
        self._jurisdiction = {"jurisdiction_id": jurisdiction} if jurisdiction else {}
        self._most = most
        self._base = httpx.URL()
        self._format: Format = "json"
        self._zone = "Z"
        self._pages: bool | None = None
        """Whether the server has pages, once that is known."""
        self._before: set[str] = set()
        """The requests in the last first page."""

    async def discover(self, url: str) -> Endpoint:
        given = self._fetcher.admitted(url)
        if given.path.endswith(("discovery.json", "discovery.xml")):
            endpoint = await self._fetcher.ask("discovery", given, read_discovery)
        else:
            try:
                endpoint = await self._fetcher.ask("discovery", _below(given, "discovery.json"), read_discovery)
            except ProbeFailed as failed:
                if not failed.answered:
                    raise
                self._reading.remarks.add("no-discovery")
                endpoint = Endpoint(url, ("json", "xml"))
        self._base = self._found(endpoint.url)
        self._reading.endpoint = str(self._base)
        return endpoint

    def _found(self, url: str) -> httpx.URL:
        """The address in a discovery document; many such documents are older than the server's certificate."""
        try:
            return self._fetcher.admitted(url)
        except ProbeFailed:
            if not url.startswith("http://"):
                raise
            return self._fetcher.admitted(url.replace("http", "https", 1))

    async def list_services(self, endpoint: Endpoint) -> None:
        """Learn the service types and, by the way, the format that the server has."""
        failure: ProbeFailed | None = None
        for self._format in endpoint.formats:
            try:
                self._reading.services = await self._fetcher.ask("services", self._address("services"), read_services)
            except ProbeFailed as failed:
                if not failed.answered:
                    raise
                failure = failure or failed
            else:
                return
        raise failure or ProbeFailed("the server names no format")

    async def list_requests(self) -> None:
        failed: list[ProbeFailed] = []
        read_any = False
        for first, last in _in_turn(self._reading.from_day, self._reading.until_day):
            try:
                await self._walk(first, last)
            except SpentError:
                self._reading.remarks.add("incomplete")
                return
            except _SameAgain:
                return
            except ProbeFailed as failure:
                self._reading.remarks.add("incomplete")
                failed.append(failure)
                if len(failed) == FAILURES:
                    break
            else:
                failed.clear()
                read_any = True
        if failed and not read_any and not self._reading.requests:
            raise failed[0]

    async def _walk(self, first: date, last: date) -> None:
        """Read all requests from `first` to `last`, both included."""
        items = await self._page(first, last, 1)
        if not items:
            return
        seen = {item.key for item in items}
        if seen == self._before and not all(_within(item, first, last) for item in items):
            raise _SameAgain
        self._before = seen
        if self._pages is not False:
            await self._leaf_through(first, last, seen)
        if not self._pages and len(items) % CAP == 0:
            await self._halve(first, last)

    async def _leaf_through(self, first: date, last: date, seen: set[str]) -> None:
        """Read the further pages, until one has nothing new; the first time, find out whether there are any."""
        for number in count(2):
            try:
                more = {item.key for item in await self._page(first, last, number)}
            except ProbeFailed as failed:
                if self._pages is None and failed.answered:
                    self._pages = False
                    return
                raise
            if self._pages is None:
                self._pages = not more or not more <= seen
            if more <= seen:
                return
            seen |= more

    async def _halve(self, first: date, last: date) -> None:
        if first == last:
            self._reading.remarks.add("incomplete")
            return
        middle = first + (last - first) // 2
        await self._walk(first, middle)
        await self._walk(middle + ONE_DAY, last)

    async def _page(self, first: date, last: date, number: int) -> list[Request]:
        items = await self._window(first, last, number)
        reading = self._reading
        for item in items:
            inside = _within(item, reading.from_day, reading.until_day)
            (reading.requests if inside else reading.outside)[item.key] = item
        if reading.outside:
            reading.remarks.add("outside-window")
        if len(reading.requests) + len(reading.outside) > self._most:
            raise SpentError
        return items

    async def _window(self, first: date, last: date, number: int) -> list[Request]:
        def address() -> httpx.URL:
            dates = {"start_date": f"{first}T00:00:00{self._zone}", "end_date": f"{last}T23:59:59{self._zone}"}
            return self._address("requests", **dates, **({"page": str(number)} if number > 1 else {}))

        try:
            return await self._fetcher.ask("requests", address(), read_requests)
        except ProbeFailed as failed:
            if failed.status != _BAD_REQUEST or not self._zone or number > 1:
                raise
            self._zone = ""  # some servers take no time zone, against the specification
            return await self._fetcher.ask("requests", address(), read_requests)

    def _address(self, what: str, **query: str) -> httpx.URL:
        return _below(self._base, f"{what}.{self._format}").copy_merge_params({**self._jurisdiction, **query})


def _within(item: Request, first: date, last: date) -> bool:
    """With a day more on either side: windows are in UTC, dates are local."""
    return item.requested is None or first - ONE_DAY <= item.requested.date() <= last + ONE_DAY


def _below(base: httpx.URL, name: str) -> httpx.URL:
    # By the raw path: what a path has encoded stays so.
    path, mark, query = base.raw_path.partition(b"?")
    return base.copy_with(raw_path=path.rstrip(b"/") + b"/" + name.encode() + mark + query)


def _in_turn(first: date, last: date) -> list[tuple[date, date]]:
    """The window's calendar weeks: the last one, then the others from the first on."""
    weeks, start = [], first
    while start <= last:
        end = min(start + timedelta(days=SLICE_DAYS - 1 - start.weekday()), last)
        weeks.append((start, end))
        start = end + ONE_DAY
    return [weeks[-1], *weeks[:-1]]
