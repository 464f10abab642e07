"""A city's Open311 server on a loopback port: as a good one answers, or as a test has it answer."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from hashlib import sha256
from typing import Any
from urllib.parse import parse_qs, urlsplit

Item = dict[str, Any]
Raw = Callable[[asyncio.StreamWriter], Awaitable[None]]


@dataclass
class Reply:
    """What a server answers: a body, or whatever `raw` writes."""

    body: bytes = b""
    status: int = 200
    kind: str = "application/json"
    headers: dict[str, str] = field(default_factory=dict)
    raw: Raw | None = None


@dataclass
class Asked:
    """A request as it came in; header names are lower case."""

    path: str
    query: dict[str, str]
    headers: dict[str, str]


class City:
    """Serves discovery, services and requests; `page` is its page size, None: no pages; `cap`: its longest answer."""

    def __init__(self, requests: list[Item], *, page: int | None = 100, cap: int = 1_000) -> None:
        self.requests = requests
        self.page = page
        self.cap = cap
        self.asked: list[Asked] = []
        self.instead: Callable[[Asked], Reply | None] = lambda _asked: None
        """A reply that takes the place of the city's own, if any."""
        self.port = 0
        self._serving: set[asyncio.Task[None]] = set()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/open311/v2"

    def paths(self) -> list[str]:
        return [asked.path.rpartition("/")[2] for asked in self.asked]

    def reply(self, asked: Asked) -> Reply:
        match asked.path.rpartition("/")[2]:
            case "discovery.json":
                georeport = {"specification": "http://wiki.open311.org/GeoReport_v2", "url": self.url}
                formats = {"type": "production", "formats": ["application/json"]}
                return Reply(json.dumps({"endpoints": [georeport | formats]}).encode())
            case "services.json":
                return Reply(json.dumps([{"service_code": f"{n:03}"} for n in range(5)]).encode())
            case "requests.json":
                return self._tagged(asked, json.dumps(self._chosen(asked.query)).encode())
        return Reply(b"", 404)

    def _chosen(self, query: dict[str, str]) -> list[Item]:
        first, last = query["start_date"][:19], query["end_date"][:19]
        found = [one for one in self.requests if first <= one["requested_datetime"][:19] <= last]
        found.sort(key=lambda one: str(one["requested_datetime"]), reverse=True)
        if self.page is None:
            return found[: self.cap]
        at = (int(query.get("page", "1")) - 1) * self.page
        return found[at : at + self.page]

    @staticmethod
    def _tagged(asked: Asked, body: bytes) -> Reply:
        tag = f'"{sha256(body).hexdigest()[:12]}"'
        if asked.headers.get("if-none-match") == tag:
            return Reply(b"", 304)
        return Reply(body, headers={"ETag": tag})

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._serving.add(task)
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode()
            first, *lines = head.strip().split("\r\n")
            target = urlsplit(first.split(" ")[1])
            headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
            asked = Asked(target.path, {key: values[0] for key, values in parse_qs(target.query).items()}, headers)
            self.asked.append(asked)
            reply = self.instead(asked) or self.reply(asked)
            if reply.raw is not None:
                await reply.raw(writer)
                return
            more = "".join(f"{name}: {value}\r\n" for name, value in reply.headers.items())
            length = f"Content-Type: {reply.kind}\r\nContent-Length: {len(reply.body)}\r\n"
            writer.write(f"HTTP/1.1 {reply.status} Status\r\n{length}{more}\r\n".encode() + reply.body)
            await writer.drain()
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            self._serving.discard(task)
            writer.close()

    async def stop(self) -> None:
        for task in self._serving:
            task.cancel()
        await asyncio.gather(*self._serving, return_exceptions=True)


@asynccontextmanager
async def served(city: City) -> AsyncIterator[City]:
    """The city's server, while the block runs."""
    server = await asyncio.start_server(city.serve, "127.0.0.1", 0)
    city.port = server.sockets[0].getsockname()[1]
    try:
        yield city
    finally:
        server.close()
        await city.stop()


def requests_of(until: date, *, days: int = 90, a_day: int = 3, on_time: bool = True) -> list[Item]:
    """So many requests a day, the last on `until`; those older than ten days are closed, on time or late."""
    made = []
    for number in range(days * a_day):
        asked = datetime.combine(until - timedelta(days=number // a_day), datetime.min.time()) + timedelta(
            hours=8, minutes=number % a_day
        )
        closed = number // a_day > 10
        done = asked + timedelta(days=2 + number % 2 if on_time else 6, minutes=number % 50)
        made.append(
            {
                "service_request_id": f"r{number}",
                "status": "closed" if closed else "open",
                "service_code": f"{number % 5:03}",
                "requested_datetime": f"{asked.isoformat()}-05:00",
                "updated_datetime": f"{done.isoformat()}-05:00" if closed else None,
                "expected_datetime": f"{(asked + timedelta(days=4)).isoformat()}-05:00" if number % 3 else None,
                "address": "1 PRIVATE ROAD",
                "extended_attributes": {"channel": "phone" if number % 4 else "app"},
            }
        )
    return made
