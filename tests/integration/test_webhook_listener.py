"""`cec webhook listen` as a process of its own, called by the guarded client with real signatures."""

from __future__ import annotations

import asyncio
import json
import signal
import socket
import sys
import time
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import pytest

from services.chassis.outbound import Outbound, OutboundFailed, OutboundResponse
from services.chassis.webhooks import new_key, new_secret, public_key, signed_headers

SECRET = new_secret()
EVENT = {
    "specversion": "1.0",
    "id": "e1",
    "type": "awards.designation.granted.v1",
    "source": "/awards",
    "subject": "designation-1",
    "data": {"government": "Exampleton", "tier": 1, "sealed": {"terms": "digest"}},
}


@dataclass
class Listener:
    """A running listener and what it says."""

    process: Process
    url: str
    first: str

    async def line(self) -> str:
        assert self.process.stdout
        async with asyncio.timeout(5):
            return (await self.process.stdout.readline()).decode().rstrip("\n")

    async def post(self, body: bytes, headers: dict[str, str]) -> OutboundResponse:
        return await Outbound(allow_loopback=True).request("POST", self.url, headers=headers, content=body)

    async def deliver(
        self, message: object = EVENT, *, message_id: str = "n1", secret: str = SECRET, late: int = 0
    ) -> OutboundResponse:
        """One signed attempt; `late` seconds before now."""
        body = json.dumps(message).encode()
        return await self.post(body, signed_headers([secret], message_id, int(time.time()) - late, body))

    async def stop(self, by: signal.Signals = signal.SIGTERM) -> str:
        """End it; gives the rest of what it said."""
        self.process.send_signal(by)
        assert self.process.stdout
        async with asyncio.timeout(10):
            rest = await self.process.stdout.read()
            assert await self.process.wait() == 0
        return rest.decode()


async def start(
    *, port: int = 0, secret: str | None = SECRET, out: Path | None = None, as_json: bool = True
) -> Process:
    call = (
        f"listen(port={port}, secret={secret!r}, out={out and str(out)!r} and Path({str(out)!r}), json_lines={as_json})"
    )
    code = f"from pathlib import Path; from services.webhook_listener import listen; {call}"
    return await asyncio.create_subprocess_exec(sys.executable, "-c", code, stdout=PIPE, stderr=PIPE)


@asynccontextmanager
async def listener(
    *, secret: str | None = SECRET, out: Path | None = None, as_json: bool = True
) -> AsyncIterator[Listener]:
    process = await start(secret=secret, out=out, as_json=as_json)
    assert process.stdout
    try:
        async with asyncio.timeout(15):
            first = (await process.stdout.readline()).decode().rstrip("\n")
        yield Listener(process, json.loads(first)["url"] if as_json else first.removeprefix("listening on "), first)
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()


async def test_a_well_signed_notice_is_taken_written_and_told(tmp_path: Path) -> None:
    out = tmp_path / "notices.ndjson"
    async with listener(out=out) as there:
        assert (await there.deliver()).status == 204
        told = json.loads(await there.line())
        written = json.loads(out.read_text())
    assert told == {"event": "notice", **written}
    assert written.pop("received_at").endswith("Z")
    assert written == {
        "id": "n1",
        "type": "awards.designation.granted.v1",
        "subject": "designation-1",
        "verified": True,
        "summary": "government=Exampleton, tier=1",
    }


async def test_a_retry_under_the_same_id_is_answered_alike_and_written_once(tmp_path: Path) -> None:
    out = tmp_path / "notices.ndjson"
    async with listener(out=out) as there:
        statuses = [(await there.deliver(late=late)).status for late in (2, 1, 0)]
        statuses.append((await there.deliver(message_id="n2")).status)
        events = [json.loads(await there.line())["event"] for _ in range(4)]
        ids = [json.loads(line)["id"] for line in out.read_text().splitlines()]
    assert (statuses, events, ids) == ([204] * 4, ["notice", "again", "again", "notice"], ["n1", "n2"])


async def test_bad_old_unsigned_and_changed_deliveries_are_refused_and_counted(tmp_path: Path) -> None:
    out = tmp_path / "notices.ndjson"
    body = json.dumps(EVENT).encode()
    good = signed_headers([SECRET], "n1", int(time.time()), body)
    async with listener(out=out) as there:
        answers = [
            await there.deliver(secret=new_secret()),
            await there.deliver(late=301),
            await there.deliver(late=-330),
            await there.post(body, {}),
            await there.post(body + b" ", good),
            await there.post(body, good | {"webhook-id": "n2"}),
        ]
        reasons = [json.loads(await there.line())["summary"] for _ in answers]
        after = await there.post(body, good)
        stopped = json.loads((await there.stop()).splitlines()[-1])
    assert [answer.status for answer in answers] == [401] * 6
    expected = ["no signature matches", "old", "ahead", "missing", "no signature matches", "no signature matches"]
    for answer, reason, part in zip(answers, reasons, expected, strict=True):
        assert part in reason
        assert json.loads(answer.body) == {"error": reason}
    assert after.status == 204  # none of the refused took its id
    assert len(out.read_text().splitlines()) == 1
    assert stopped == {"event": "stopped", "challenge": 0, "notice": 1, "again": 0, "refused": 6}


async def test_a_signed_challenge_is_answered_with_itself_and_an_unsigned_one_is_not() -> None:
    challenge = {"type": "cec.webhook.challenge", "challenge": "Zm9v-42"}
    async with listener() as there:
        answer = await there.deliver(challenge)
        assert (answer.status, json.loads(answer.body)) == (200, {"challenge": "Zm9v-42"})
        assert (await there.post(json.dumps(challenge).encode(), {})).status == 401
        for wrong in ("", "a" * 257, 7, None):
            assert (await there.deliver(challenge | {"challenge": wrong})).status == 400


async def test_a_signed_body_that_is_no_object_or_too_long_is_refused() -> None:
    async with listener() as there:
        for body in (b"not json", b"[]", b"\xff", b""):
            answer = await there.post(body, signed_headers([SECRET], "n1", int(time.time()), body))
            assert answer.status == 400
        with suppress(OutboundFailed):  # who goes on sending may find the connection closed before the answer is read
            assert (await there.post(b" " * 1_000_001, {})).status == 413


async def test_a_sender_that_ends_in_the_middle_of_a_notice_is_nobodys_error() -> None:
    async with listener() as there:
        _, writer = await asyncio.open_connection("127.0.0.1", int(there.url.rstrip("/").rpartition(":")[2]))
        writer.write(b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 1000\r\n\r\n{")
        await writer.drain()
        await asyncio.sleep(0.2)
        writer.transport.abort()
        assert (await there.deliver()).status == 204
        await there.stop()
        assert there.process.stderr
        assert await there.process.stderr.read() == b""


async def test_the_senders_public_key_verifies_too() -> None:
    key = new_key()
    async with listener(secret=public_key(key)) as there:
        assert (await there.deliver(secret=key)).status == 204
        assert (await there.deliver(secret=new_key())).status == 401


async def test_without_a_secret_notices_are_taken_and_marked_unverified(tmp_path: Path) -> None:
    out = tmp_path / "notices.ndjson"
    async with listener(secret=None, out=out) as there:
        assert (await there.post(json.dumps(EVENT).encode(), {})).status == 204
        assert (await there.deliver({"type": "cec.webhook.challenge", "challenge": "c"})).status == 200
    assert json.loads(out.read_text())["verified"] is False


@pytest.mark.parametrize("by", [signal.SIGINT, signal.SIGTERM])
async def test_a_person_reads_one_line_per_notice_and_totals_at_the_end(by: signal.Signals) -> None:
    async with listener(as_json=False) as there:
        assert there.first.startswith("listening on http://127.0.0.1:")
        await there.deliver(EVENT | {"subject": "\x1b[31mred\n\u202e", "data": {"summary": "Exampleton is designated"}})
        line = await there.line()
        await there.deliver()
        again = await there.line()
        rest = await there.stop(by)
    assert line.endswith("notice     verified   awards.designation.granted.v1  ?[31mred??  Exampleton is designated")
    assert "  again  " in again
    assert rest == "stopped: 0 challenge, 1 notice, 1 again, 0 refused\n"


async def test_what_keeps_it_from_starting_is_one_line_that_says_what_to_do(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        for process, part in (
            (await start(port=port), f"port {port}"),
            (await start(port=70_000), "port 70000"),
            (await start(secret="hello"), "--secret: a key for verifying begins with whsec_"),
            (await start(out=tmp_path), str(tmp_path)),
        ):
            async with asyncio.timeout(15):
                said, errors = await process.communicate()
            assert process.returncode == 1
            assert said == b""
            assert len(errors.splitlines()) == 1
            assert part in errors.decode()
