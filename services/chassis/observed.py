"""What is seen of work under way: every log line names the request or the record that it is about, requests are timed.

Bound for a request: service, method, path (never its query), request id, and the principal as a hash that means
nothing outside this process. For a record: its place and, once it is read, type, subject and event id. Never anything
private. What a service starts is bound to its name.
"""

from __future__ import annotations

import re
import secrets
from contextlib import contextmanager
from hashlib import blake2b
from time import perf_counter
from typing import TYPE_CHECKING, Final

from starlette.datastructures import Headers, MutableHeaders
from structlog.contextvars import bind_contextvars, clear_contextvars, reset_contextvars

from services.chassis.failures import transient
from services.chassis.ids import opaque_id
from services.chassis.metrics import HTTP_SECONDS

if TYPE_CHECKING:
    from collections.abc import Iterator

    from starlette.types import ASGIApp, Message, Receive, Scope, Send

    from schemas.envelope import Envelope
    from services.chassis.auth import Principal
    from services.chassis.metrics import Metrics
    from services.chassis.record import Record

REQUEST_ID: Final = "x-request-id"
_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
_GIVEN = re.compile(r"[A-Za-z0-9_.-]{1,64}")
_SECRET = secrets.token_bytes(32)


@contextmanager
def about(record: Record, envelope: Envelope | None = None) -> Iterator[None]:
    """Inside, log lines name the record, and the event in it where it was read."""
    read = {} if envelope is None else {"type": envelope.type, "subject": envelope.subject, "event_id": envelope.id}
    # Half the time of structlog's own bound_contextvars: this is done for every event.
    tokens = bind_contextvars(topic=record.topic, partition=record.partition, offset=record.offset, **read)
    try:
        yield
    finally:
        reset_contextvars(**tokens)


def known_as(principal: Principal | None) -> None:
    """Have the rest of the request's log lines name who asks."""
    if principal is not None:
        who = f"{principal.issuer}\n{principal.subject}".encode()
        bind_contextvars(principal=blake2b(who, digest_size=8, key=_SECRET).hexdigest())


class Observed:
    """ASGI middleware of a service: binds the request to its log lines, times it, and names it in the answer."""

    def __init__(self, app: ASGIApp, *, service: str, metrics: Metrics) -> None:
        self._app = app
        self._service = service
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        given = Headers(scope=scope).get(REQUEST_ID, "")
        request_id = given if _GIVEN.fullmatch(given) else opaque_id()
        # Cleared at the start and not at the end: the handler of unforeseen errors logs outside of this middleware.
        clear_contextvars()
        bind_contextvars(service=self._service, method=scope["method"], path=scope["path"], request_id=request_id)
        began, status = perf_counter(), 0

        async def named(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                MutableHeaders(scope=message)[REQUEST_ID] = request_id
            await send(message)

        try:
            await self._app(scope, receive, named)
        except Exception as error:
            status = 503 if transient(error) else 500
            raise
        finally:
            self._metrics.observe(
                HTTP_SECONDS,
                perf_counter() - began,
                method=scope["method"] if scope["method"] in _METHODS else "other",
                route=_template(scope),
                status=str(status),
            )


def _template(scope: Scope) -> str:
    """The route's own path, since real ones are without number; `other` where no route took the request."""
    return getattr(scope.get("route"), "path", None) or "other"
