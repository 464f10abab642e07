"""The prober against servers on this machine: good ones in many manners, and bad ones."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Sequence
from datetime import date, timedelta
from ipaddress import ip_address
from itertools import pairwise
from typing import Any

import pytest

from services.chassis.outbound import IPAddress, Outbound, OutboundResponse
from services.intake.probes.domain import Reading
from services.intake.probes.fetch import Answer, Manners, ProbeFailed
from services.intake.probes.figures import figures
from services.intake.probes.prober import read
from tests.open311 import Asked, City, Reply, requests_of, served

UNTIL = date(2012, 6, 15)
QUICK = Manners(pause=0, deadline=1.0, body=200_000, seconds=20, patience=0.1)
CLIENT = Outbound(allow_loopback=True, user_agent="citizen-engaged-tests")
WEEKS = 14


class Notes:
    """A memory that keeps everything."""

    def __init__(self) -> None:
        self.answers: dict[str, Answer] = {}

    async def recall(self, url: str) -> Answer | None:
        return self.answers.get(url)

    async def keep(self, answer: Answer) -> None:
        self.answers[answer.url] = answer


async def probed(city: City, url: str = "", manners: Manners = QUICK, days: int = 90) -> Reading:
    return await read(CLIENT, url or city.url, until=UNTIL, manners=manners, days=days)


# --- good servers ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("page", [None, 7, 10, 500])
async def test_every_request_of_the_window_is_read_once_whatever_the_pages(page: int | None) -> None:
    listed = requests_of(UNTIL, days=120)
    async with served(City(listed, page=page)) as city:
        reading = await probed(city)
    expected = {one["service_request_id"] for one in listed[: 90 * 3]}
    assert expected <= set(reading.requests) <= expected | {one["service_request_id"] for one in listed[: 91 * 3]}
    assert reading.remarks == set()
    assert reading.services == frozenset(f"{n:03}" for n in range(5))
    assert (reading.from_day, reading.until_day) == (UNTIL - timedelta(days=89), UNTIL)


async def test_an_answer_that_was_cut_off_without_pages_is_asked_for_in_halves() -> None:
    listed = requests_of(UNTIL, days=30, a_day=20)
    async with served(City(listed, page=None, cap=50)) as city:
        reading = await probed(city, days=30)
    assert len(reading.requests) == 600
    assert "incomplete" not in reading.remarks
    async with served(City(requests_of(UNTIL, days=7, a_day=60), page=None, cap=50)) as city:
        reading = await probed(city, days=7)
    assert reading.remarks == {"incomplete"}
    assert len(reading.requests) == 350


async def test_every_call_names_the_program_asks_for_one_week_at_most_and_waits_for_its_turn() -> None:
    async with served(City(requests_of(UNTIL))) as city:
        began = asyncio.get_running_loop().time()
        reading = await probed(city, manners=Manners(pause=0.02))
        took = asyncio.get_running_loop().time() - began
    assert took >= 0.02 * (len(city.asked) - 1)
    assert {asked.headers["user-agent"] for asked in city.asked} == {"citizen-engaged-tests"}
    assert all("cookie" not in asked.headers for asked in city.asked)
    windows = [(asked.query["start_date"], asked.query["end_date"]) for asked in city.asked if asked.query]
    assert all(
        date.fromisoformat(end[:10]) - date.fromisoformat(start[:10]) < timedelta(days=7) for start, end in windows
    )
    first, *others = list(dict.fromkeys(windows))
    assert first[1] == f"{UNTIL}T23:59:59Z"
    assert all(one < other for one, other in pairwise(others))
    assert reading.calls == len(city.asked) == 2 + WEEKS * 2


async def test_what_did_not_change_is_not_sent_again() -> None:
    notes = Notes()
    async with served(City(requests_of(UNTIL), page=None)) as city:
        first = await read(CLIENT, city.url, until=UNTIL, manners=QUICK, memory=notes)
        second = await read(CLIENT, city.url, until=UNTIL, manners=QUICK, memory=notes)
        city.requests.append({**city.requests[0], "service_request_id": "new"})
        third = await read(CLIENT, city.url, until=UNTIL, manners=QUICK, memory=notes)
    assert second.requests == first.requests
    assert (first.unchanged, second.unchanged, third.unchanged) == (0, second.calls - 2, third.calls - 4)
    assert set(third.requests) - set(first.requests) == {"new"}


async def test_the_jurisdiction_goes_with_every_call_below_the_endpoint() -> None:
    async with served(City([])) as city:
        await read(CLIENT, city.url, until=UNTIL, days=7, jurisdiction="sf gov.org", manners=QUICK)
    assert {asked.query.get("jurisdiction_id") for asked in city.asked[1:]} == {"sf gov.org"}


async def test_a_server_in_xml_behind_a_discovery_document_of_its_own() -> None:
    def reply(asked: Asked) -> Reply | None:
        name = asked.path.rpartition("/")[2]
        if name == "discovery.xml":
            body = (
                "<discovery><endpoints><endpoint><specification>GeoReport_v2</specification>"
                f"<url>{city.url}/x/</url><formats><format>text/xml</format></formats></endpoint></endpoints></discovery>"
            )
        elif name == "services.xml":
            body = "<services><service><service_code>1</service_code></service></services>"
        else:
            body = (
                "<service_requests><request><service_request_id>9</service_request_id><status>open</status>"
                "<requested_datetime>2012-06-14</requested_datetime></request></service_requests>"
            )
        return Reply(body.encode(), kind="text/xml;charset=utf-8")

    async with served(City([])) as city:
        city.instead = reply
        reading = await probed(city, f"http://127.0.0.1:{city.port}/discovery.xml")
    assert list(reading.requests) == ["9"]
    assert {asked.path for asked in city.asked[1:]} == {"/open311/v2/x/services.xml", "/open311/v2/x/requests.xml"}


async def test_a_server_without_discovery_or_time_zones_is_read_all_the_same() -> None:
    def reply(asked: Asked) -> Reply | None:
        if "discovery" in asked.path:
            return Reply(b"<html></html>", kind="text/html")
        return Reply(b"[]", 400) if asked.query.get("start_date", "").endswith("Z") else None

    async with served(City(requests_of(UNTIL, days=7))) as city:
        city.instead = reply
        reading = await probed(city, days=7)
    assert len(reading.requests) == 21
    assert reading.remarks == {"no-discovery"}
    assert sum(asked.query.get("start_date", "").endswith("Z") for asked in city.asked) == 1


async def test_a_server_that_knows_no_second_page_is_read_without() -> None:
    async with served(City(requests_of(UNTIL, days=14), page=None)) as city:
        city.instead = lambda asked: Reply(b"", 400) if "page" in asked.query else None
        reading = await probed(city, days=14)
    assert len(reading.requests) == 42
    assert reading.remarks == set()
    assert sum("page" in asked.query for asked in city.asked) == 1
    assert all(asked.query["start_date"].endswith("Z") for asked in city.asked if asked.query)


async def test_an_address_keeps_what_is_encoded_in_it_and_its_own_query() -> None:
    async with served(City(requests_of(UNTIL, days=3))) as city:
        city.instead = lambda asked: Reply(b"", 404) if "discovery" in asked.path else None
        reading = await probed(city, f"{city.url}/a%2Fb%00/?key=1&x=%20", days=3)
    assert len(reading.requests) == 9
    assert city.asked[1].path == "/open311/v2/a%2Fb%00/services.json"
    assert {asked.query["key"] for asked in city.asked} == {"1"}


async def test_a_server_that_takes_no_dates_shows_what_is_in_the_window() -> None:
    listed = requests_of(UNTIL, days=200, a_day=1)
    async with served(City([])) as city:
        city.instead = lambda asked: Reply(json.dumps(listed).encode()) if "requests" in asked.path else None
        reading = await probed(city)
    assert len(reading.requests) == 91
    assert len(reading.outside) == 109
    assert "outside-window" in reading.remarks
    assert reading.calls < 8


async def test_a_part_that_cannot_be_read_leaves_the_rest_standing() -> None:
    def reply(asked: Asked) -> Reply | None:
        return Reply(b"[}") if "2012-05" in asked.query.get("start_date", "") else None

    async with served(City(requests_of(UNTIL))) as city:
        city.instead = reply
        reading = await probed(city)
    assert reading.remarks == {"incomplete"}
    assert 100 < len(reading.requests) < 270


async def test_a_busy_server_is_waited_for_once() -> None:
    busy = iter([Reply(b"", 503, headers={"Retry-After": "0"}), Reply(b"", 429)])
    async with served(City(requests_of(UNTIL, days=7))) as city:
        city.instead = lambda asked: next(busy, None) if "requests" in asked.path else None
        reading = await probed(city, days=7)
        assert reading.remarks == {"incomplete"}
        city.instead = lambda _asked: Reply(b"", 503, headers={"Retry-After": "9999"})
        before = len(city.asked)
        with pytest.raises(ProbeFailed, match="status 503"):
            await probed(city, days=7)
        assert len(city.asked) == before + 3


async def test_no_probe_takes_more_than_its_bounds() -> None:
    listed = requests_of(UNTIL, days=90, a_day=10)
    async with served(City(listed, page=10)) as city:
        reading = await probed(city, manners=Manners(pause=0, calls=12))
        assert reading.calls == len(city.asked) == 12
        assert reading.remarks == {"incomplete"}
        small = await probed(city, manners=Manners(pause=0, total=1_000))
        assert small.remarks == {"incomplete"}
        assert small.calls < 6
        few = await probed(city, manners=Manners(pause=0, requests=30))
        assert 30 < len(few.requests) <= 40
        with pytest.raises(ProbeFailed, match="all time that a probe has"):
            await probed(city, manners=Manners(pause=0, calls=1))
    for days in (0, 91):
        with pytest.raises(ValueError, match="1 to 90 days"):
            await probed(city, days=days)


# --- bad servers -----------------------------------------------------------------------------------------------------

BOMB = (
    b'<?xml version="1.0"?><!DOCTYPE d [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;">]>'
    b"<service_requests>&b;</service_requests>"
)
BAD: dict[str, tuple[Reply, str]] = {
    "entities": (Reply(BOMB, kind="text/xml"), "document type or entities"),
    "garbage": (Reply(b'[{"service_request_id": 5,]'), "no JSON"),
    "another content type": (Reply(b"[]", kind="text/html"), "neither JSON nor XML"),
    "no content type": (Reply(b"[]", kind=""), "neither JSON nor XML"),
    "XML that says it is JSON": (Reply(b"<service_requests/>"), "no JSON"),
    "a number": (Reply(b"5"), "no service_requests document"),
    "an error": (Reply(b'[{"code": 401, "description": "secret"}]'), "no list of service requests"),
    "forbidden": (Reply(b"secret", 403), "status 403"),
    "compressed": (Reply(b"\x1f\x8b", headers={"Content-Encoding": "gzip"}), "compressed"),
    "a private address": (Reply(b"", 302, headers={"Location": "https://10.0.0.5/"}), "not on the public network"),
    "the cloud's own": (Reply(b"", 302, headers={"Location": "http://169.254.169.254/"}), "public network"),
    "a file": (Reply(b"", 307, headers={"Location": "file:///etc/passwd"}), "https://"),
    "itself": (Reply(b"", 302, headers={"Location": "/open311/v2/requests.json"}), "more than 3 redirects"),
}


@pytest.mark.parametrize("kind", BAD)
async def test_a_bad_answer_ends_in_one_line_that_quotes_nothing(kind: str) -> None:
    reply, why = BAD[kind]
    async with served(City([])) as city:
        city.instead = lambda asked: reply if "requests" in asked.path else None
        with pytest.raises(ProbeFailed, match=why) as failed:
            await probed(city)
    assert "\n" not in str(failed.value)
    assert "secret" not in str(failed.value)
    assert "10.0.0.5" not in str(failed.value)


async def test_a_hundred_megabytes_are_not_read() -> None:
    sent = 0

    async def flood(writer: asyncio.StreamWriter) -> None:
        nonlocal sent
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 100000000\r\n\r\n[")
        while sent < 100_000_000:
            writer.write(b" " * 65_536)
            await writer.drain()
            sent += 65_536

    async with served(City([])) as city:
        city.instead = lambda asked: Reply(raw=flood) if "requests" in asked.path else None
        with pytest.raises(ProbeFailed, match="longer than 200000 bytes"):
            await probed(city, days=7)
    assert sent < 20_000_000


@pytest.mark.parametrize(
    "start", [b"HTTP/1.1 200 OK\r\nX-Slow: ", b"HTTP/1.1 200 OK\r\nContent-Type: text/xml\r\n\r\n"]
)
async def test_one_byte_a_second_is_ended_by_the_deadline(start: bytes) -> None:
    async def drip(writer: asyncio.StreamWriter) -> None:
        writer.write(start)
        while True:
            writer.write(b" ")
            await writer.drain()
            await asyncio.sleep(1)

    async with served(City([])) as city, asyncio.timeout(10):
        city.instead = lambda _asked: Reply(raw=drip)
        with pytest.raises(ProbeFailed, match=r"discovery: no complete answer within 1 s"):
            await probed(city)
    assert len(city.asked) == 2


async def test_an_old_address_in_a_discovery_document_is_tried_with_https_alone() -> None:
    found = {"endpoints": [{"specification": "GeoReport_v2", "url": "http://10.0.0.5/v2"}]}
    asked: list[str] = []

    class Public(Outbound):
        async def request(self, method: str, url: str, **_how: Any) -> OutboundResponse:
            asked.append(url)
            body = json.dumps(found).encode() if "discovery" in url else b"[]"
            return OutboundResponse(200, {"content-type": "application/json"}, body)

    with pytest.raises(ProbeFailed, match="not on the public network"):
        await read(Public(), "https://city.example/discovery.json", until=UNTIL, manners=QUICK)
    found["endpoints"][0]["url"] = "http://311.city.example/v2"
    reading = await read(Public(), "https://city.example/discovery.json", until=UNTIL, manners=QUICK, days=7)
    assert reading.endpoint == "https://311.city.example/v2"
    assert all(url.startswith("https://311.city.example/v2/") for url in asked[2:])


async def test_a_name_that_leads_elsewhere_after_the_check_leads_nowhere() -> None:
    answers = iter([["127.0.0.1"], ["127.0.0.1"], ["10.0.0.5"]])

    async def names(_host: str, _port: int) -> Sequence[IPAddress]:
        return [ip_address(one) for one in next(answers, ["10.0.0.5"])]

    def reply(asked: Asked) -> Reply | None:
        return Reply(b"", 404) if "discovery" in asked.path else None

    client = Outbound(allow_loopback=True, resolver=names)
    async with served(City(requests_of(UNTIL))) as city:
        city.instead = reply
        url = f"http://city.example:{city.port}/open311/v2"
        with pytest.raises(ProbeFailed, match="requests: the host is not on the public network"):
            await read(client, url, until=UNTIL, manners=QUICK)
    assert city.paths() == ["discovery.json", "services.json"]


async def test_a_discovery_document_cannot_lead_inside() -> None:
    for inside in ("https://192.168.0.1/v2", "http://[fd00::1]/", "file:///etc", "https://u:p@city.example/", "", "x"):
        found = {"endpoints": [{"specification": "GeoReport_v2", "url": inside}]}
        async with served(City([])) as city:
            city.instead = lambda _asked, found=found: Reply(json.dumps(found).encode())  # type: ignore[misc]
            with pytest.raises(ProbeFailed):
                await probed(city)
        assert len(city.asked) == 1


@pytest.mark.parametrize("url", ["http://10.0.0.5/", "https://localhost.example:22/", "ftp://city.example/", "x", ""])
async def test_an_address_that_may_not_be_called_is_not(url: str) -> None:
    with pytest.raises(ProbeFailed):
        await read(Outbound(), url, until=UNTIL, manners=QUICK)


async def test_this_machine_is_no_city_unless_the_settings_say_so() -> None:
    async with served(City([])) as city:
        with pytest.raises(ProbeFailed):
            await read(Outbound(), city.url, until=UNTIL, manners=QUICK)
    assert city.asked == []


async def test_a_large_answer_leaves_the_loop_to_others() -> None:
    item = b"<request><service_request_id>%d</service_request_id><status>open</status></request>"
    body = b"<service_requests>" + b"".join(item % n for n in range(40_000)) + b"</service_requests>"
    longest = 0.0

    async def watch() -> None:
        nonlocal longest
        while True:
            # The processor's time of this thread: how long others were kept waiting depends on the machine.
            began = time.thread_time()
            await asyncio.sleep(0.005)
            longest = max(longest, time.thread_time() - began)

    async with served(City([])) as city:
        city.instead = lambda asked: Reply(body, kind="text/xml") if "requests" in asked.path else None
        watching = asyncio.create_task(watch())
        reading = await probed(city, manners=Manners(pause=0, calls=4), days=2)
        watching.cancel()
    assert len(reading.requests) == 40_000
    assert figures(list(reading.requests.values()), 5, UNTIL).closed.whole == 40_000
    assert longest < 0.3
