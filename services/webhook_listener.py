"""The receiver behind `cec webhook listen`: a process on 127.0.0.1 that verifies, remembers and prints notices.

It answers what a receiver of ours must answer, on any path:

* *The challenge.* Before an endpoint is used, notifications POSTs `{"type": "cec.webhook.challenge", "challenge":
  "<random>"}`, signed like every delivery. Within 15 s the receiver answers 2xx with the JSON object `{"challenge":
  "<the same>"}`: proof that it is there and wants the notices, nothing more.
* *A notice.* A structured CloudEvent, signed as in `services.chassis.webhooks`: 204. The `webhook-id` of a notice taken
  before makes it a retry: 204 again, told as such and not written a second time. Ids are remembered while this process
  runs, the last 10,000 of them.
* *Anything else.* A missing, wrong or old signature: 401 and counted. What is no JSON object: 400. Over 1 MB: 413.

With `secret` (`whsec_…`, or the sender's `whpk_…`) every request must be signed; without it nothing is checked and the
notices say so. `out` gets one JSON line per notice: `{received_at, id, type, subject, verified, summary}`, time in UTC.
"""

from __future__ import annotations

import contextlib
import signal
import socket
from collections import Counter, OrderedDict
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import NoReturn

import orjson
import typer
import uvicorn
from pydantic import TypeAdapter, ValidationError
from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from schemas.envelope import rfc3339
from services.chassis.clock import Clock, MachineClock
from services.chassis.webhooks import ID_HEADER, SignatureError, check_key, verify

CHALLENGE = "cec.webhook.challenge"
CHALLENGE_LIMIT = 256
"""Characters."""
BODY_LIMIT = 1_000_000
"""Bytes; a record of ours has at most 900,000."""
IDS_REMEMBERED = 10_000
TEXT_LIMIT = 160
"""Characters of anything printed from a request."""

_OBJECT = TypeAdapter(dict[str, object])

Tell = Callable[[str, dict[str, object]], None]
"""Called with what happened (`notice`, `again`, `challenge`, `refused`) and its fields."""


class Inbox:
    """What has been received: decides on each request, writes and tells of it."""

    def __init__(self, secret: str | None, out: Path | None, tell: Tell, clock: Clock) -> None:
        if secret is not None:
            check_key(secret)
        self._secret, self._out, self._tell, self._clock = secret, out, tell, clock
        self._seen: OrderedDict[str, None] = OrderedDict()
        self.counts: Counter[str] = Counter()

    async def receive(self, request: Request) -> Response:
        """Answer one POST."""
        try:
            body = await request.body()
        except ClientDisconnect:
            return Response(status_code=400)  # to nobody: whoever sent it ended in the middle
        now = self._clock.now()
        try:
            message_id = self._identify(request, body, now)
            message = _parse(body)
        except SignatureError as error:
            return self._refuse(401, str(error), now)
        except ValueError as error:
            return self._refuse(400, str(error), now)
        if message.get("type") == CHALLENGE:
            return self._answer(message.get("challenge"), now)
        return self._take(message_id, message, now)

    def _identify(self, request: Request, body: bytes, now: datetime) -> str:
        if self._secret is None:
            return request.headers.get(ID_HEADER, "")
        return verify([self._secret], request.headers, body, now=now.timestamp())

    def _refuse(self, status: int, reason: str, now: datetime) -> Response:
        self.counts["refused"] += 1
        self._tell("refused", {"received_at": rfc3339(now), "status": status, "summary": reason})
        return JSONResponse({"error": reason}, status)

    def _answer(self, challenge: object, now: datetime) -> Response:
        if not isinstance(challenge, str) or not 0 < len(challenge) <= CHALLENGE_LIMIT:
            return self._refuse(400, f"a challenge is a text of 1 to {CHALLENGE_LIMIT} characters", now)
        self.counts["challenge"] += 1
        self._tell("challenge", {"received_at": rfc3339(now), "summary": "answered, ready for notices"})
        return JSONResponse({"challenge": challenge})

    def _take(self, message_id: str, message: dict[str, object], now: datetime) -> Response:
        notice: dict[str, object] = {
            "received_at": rfc3339(now),
            "id": _clean(message_id),
            "type": _clean(message.get("type")),
            "subject": _clean(message.get("subject")),
            "verified": self._secret is not None,
            "summary": _summary(message.get("data")),
        }
        again = bool(message_id) and message_id in self._seen
        if not again:
            self._write(notice)  # before it is remembered: a notice that could not be written is to be sent again
            self._seen[message_id] = None
            while len(self._seen) > IDS_REMEMBERED:
                self._seen.popitem(last=False)
        kind = "again" if again else "notice"
        self.counts[kind] += 1
        self._tell(kind, notice)
        return Response(status_code=204)

    def _write(self, notice: dict[str, object]) -> None:
        if self._out is not None:
            with self._out.open("ab") as file:
                file.write(orjson.dumps(notice, option=orjson.OPT_APPEND_NEWLINE))


def app(*, secret: str | None, out: Path | None, tell: Tell, clock: Clock) -> Starlette:
    """Give the receiver as an ASGI app, its counts in `state.counts`. Raises ValueError for a malformed secret."""
    inbox = Inbox(secret, out, tell, clock)
    receiver = Starlette(routes=[Route("/{path:path}", inbox.receive, methods=["POST"])], max_body_size=BODY_LIMIT)
    receiver.state.counts = inbox.counts
    return receiver


def listen(*, port: int, secret: str | None, out: Path | None, json_lines: bool) -> None:
    """Receive on 127.0.0.1 until SIGINT or SIGTERM and tell on stdout, first the address; port 0 takes a free one.

    Exits with 1 and one line on stderr if the secret is malformed, `out` not writable or the port taken.
    """
    tell = _tell_json if json_lines else _tell_person
    try:
        receiver = app(secret=secret, out=out, tell=tell, clock=MachineClock())
        if out is not None:
            out.open("ab").close()
        server = socket.create_server(("127.0.0.1", port))
    except ValueError as error:
        _stop(f"--secret: {error}")
    except (OSError, OverflowError) as error:
        _stop(f"cannot listen on port {port} and write to {out or 'nothing'}: {error}. Port 0 takes a free one.")
    # uvicorn raises the signal again once it has stopped; as KeyboardInterrupt it ends here, with the totals.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with contextlib.suppress(KeyboardInterrupt), server:
        taken = server.getsockname()[1]
        tell("listening", {"url": f"http://127.0.0.1:{taken}/", "port": taken})
        config = uvicorn.Config(
            receiver, log_level="warning", access_log=False, lifespan="off", ws="none", timeout_graceful_shutdown=3
        )
        uvicorn.Server(config).run(sockets=[server])
    counts: Counter[str] = receiver.state.counts
    tell("stopped", {kind: counts[kind] for kind in ("challenge", "notice", "again", "refused")})


def _tell_json(kind: str, fields: dict[str, object]) -> None:
    typer.echo(orjson.dumps({"event": kind, **fields}))


def _tell_person(kind: str, fields: dict[str, object]) -> None:
    match kind:
        case "listening":
            line = f"listening on {fields['url']}"
        case "stopped":
            line = "stopped: " + ", ".join(f"{count} {name}" for name, count in fields.items())
        case "notice" | "again":
            mark = "verified" if fields["verified"] else "unchecked"
            line = "  ".join([f"{kind:9}  {mark:9}", *(str(fields[name]) for name in ("type", "subject", "summary"))])
        case _:
            line = f"{kind:9}  {fields['summary']}"
    typer.echo(f"{fields['received_at']}  {line}" if "received_at" in fields else line)


def _stop(reason: str) -> NoReturn:
    typer.echo(reason, err=True)
    raise SystemExit(1)


def _parse(body: bytes) -> dict[str, object]:
    try:
        return _OBJECT.validate_json(body)
    except ValidationError:
        raise ValueError("the body must be a JSON object") from None


def _summary(data: object) -> str:
    """Give the notice's own `summary`, else its plain fields as `name=value`."""
    if not isinstance(data, dict):
        return ""
    if isinstance(data.get("summary"), str):
        return _clean(data["summary"])
    return _clean(", ".join(f"{name}={value}" for name, value in data.items() if isinstance(value, str | int)))


def _clean(text: object) -> str:
    """Make one printable line: what comes over the network may hold codes that a terminal obeys."""
    if not isinstance(text, str):
        return ""
    return "".join(letter if letter.isprintable() else "?" for letter in text[:TEXT_LIMIT])
