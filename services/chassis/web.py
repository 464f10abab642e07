"""HTTP conventions: a command is one transaction, an Idempotency-Key makes it happen once, errors are problems.

Routers use `CommandRoute`: a POST, PUT, PATCH or DELETE runs inside a transaction that commits when its answer is a
success and rolls back otherwise. Handlers take `tx: Writing`, `db: Reading` and `who: SignedIn` and never commit.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from functools import wraps
from inspect import Parameter, signature, unwrap
from json import JSONDecodeError
from typing import TYPE_CHECKING, Annotated, Any, get_type_hints

import orjson
from fastapi import Depends, FastAPI, Request, Response
from fastapi.routing import APIRoute
from starlette.datastructures import Headers

from services.chassis import problems
from services.chassis.auth import Principal, unauthorized
from services.chassis.database import Tx
from services.chassis.idempotency import once
from services.chassis.observed import Observed, known_as
from services.chassis.problems import Problem
from services.chassis.signposts import Signposts

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

    from services.chassis.database import Connection
    from services.chassis.service import Service

SAFE = frozenset({"GET", "HEAD", "OPTIONS"})

_NUL = re.compile(rb"(?<!\\)(?:\\\\)*\\u0000")
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")


class _FailedAnswer(Exception):  # noqa: N818  (no error: it carries an answer out of the transaction)
    """Rolls a command's transaction back while its answer stands."""

    def __init__(self, response: Response) -> None:
        self.response = response


def service_of(request: Request) -> Service:
    """The service that is asked."""
    service: Service = request.app.state.service
    return service


class StrictRequest(Request):
    """Reads JSON strictly: UTF-8, no lone surrogate, no NaN, no U+0000: what no event or no database can hold."""

    async def json(self) -> Any:  # noqa: ANN401  (any JSON value)
        """The body's value; JSONDecodeError where it is no such JSON."""
        body = await self.body()
        if _NUL.search(body):
            raise JSONDecodeError("text must not hold the character U+0000", "", 0)
        return orjson.loads(body)


class CommandRoute(APIRoute):
    """Runs every unsafe method in one transaction, and hands the endpoint itself what is there for every request."""

    def __init__(self, path: str, endpoint: Callable[..., Any], **kwargs: Any) -> None:  # noqa: ANN401  (FastAPI's own)
        super().__init__(path, _handed(endpoint), **kwargs)

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """FastAPI's handler, wrapped."""
        handle, signed_in = super().get_route_handler(), _signed_in in _at_hand(self.endpoint).values()

        async def successful(request: Request) -> Response:
            return _succeeded(await handle(request))

        async def command(request: Request) -> Response:
            request = StrictRequest(request.scope, request.receive)
            refuse_control_characters(request)
            service = service_of(request)
            request.state.principal = await service.tokens.principal(request)
            known_as(request.state.principal)
            if request.method in SAFE:
                if signed_in:
                    await _signed_in(request)
                return await handle(request)
            refuse_cross_site(request)
            # Before the transaction: who sends slowly must not hold a connection, and "too large" must stay a 413.
            await request.body()
            if signed_in:
                await _signed_in(request)
            try:
                async with service.database.transaction() as tx:
                    tx.traceparent = request.headers.get("traceparent")
                    request.state.tx = tx
                    return await once(request, tx, successful)
            except _FailedAnswer as failed:
                return failed.response

        return command


class StreamingRoute(APIRoute):
    """Runs outside of a transaction, with the body unread: for a handler that takes it bit by bit, as long as it takes.

    The handler says how many bytes it takes (`request.state.body_limit`), and opens its own transactions.
    """

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """FastAPI's handler, wrapped."""
        handle = super().get_route_handler()

        async def streaming(request: Request) -> Response:
            refuse_control_characters(request)
            request.state.principal = await service_of(request).tokens.principal(request)
            known_as(request.state.principal)
            refuse_cross_site(request)
            return await handle(request)

        return streaming


class QuestionRoute(APIRoute):
    """Runs what changes nothing and is for anyone: outside of a transaction, so that no key or answer is kept."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """FastAPI's handler, wrapped."""
        handle = super().get_route_handler()

        async def question(request: Request) -> Response:
            request = StrictRequest(request.scope, request.receive)
            refuse_control_characters(request)
            return await handle(request)

        return question


def _succeeded(response: Response) -> Response:
    if response.status_code >= 400:  # noqa: PLR2004  (HTTP: from here on, errors)
        raise _FailedAnswer(response)
    return response


def refuse_control_characters(request: Request) -> None:
    """Problem 400 for an address that holds a character which no id or label has and no database takes."""
    asked = [str(request.scope["path"])]
    if request.scope["query_string"]:
        asked += [part for pair in request.query_params.multi_items() for part in pair]
    if any(map(_CONTROL.search, asked)):
        raise Problem(400, "control-character", "The path and the query must not hold control characters.")


def refuse_cross_site(request: Request) -> None:
    """Problem 403 for an unsafe request that a browser sends on behalf of another site."""
    site = request.headers.get("sec-fetch-site")
    origin = request.headers.get("origin")
    if site in {"cross-site", "same-site"} or (
        origin is not None and origin not in {str(request.base_url).rstrip("/"), _own_origin(request)}
    ):
        raise Problem(403, "cross-site", "This request comes from another site.")


def _own_origin(request: Request) -> str:
    return f"{request.url.scheme}://{request.headers.get('host', '')}"


# Async, though none of them waits: what is not would go by way of a thread, with every request.
async def _writing(request: Request) -> Tx:
    tx: Tx = request.state.tx
    return tx


async def _asked(request: Request) -> Service:
    return service_of(request)


async def _reading(request: Request) -> AsyncIterator[Connection]:
    async with service_of(request).database.reading() as db:
        yield db


async def _signed_in(request: Request) -> Principal:
    who: Principal | None = request.state.principal
    if who is None:
        raise unauthorized("A token is needed: send `Authorization: Bearer …`.")
    return who


async def _maybe_signed_in(request: Request) -> Principal | None:
    who: Principal | None = request.state.principal
    return who


Writing = Annotated[Tx, Depends(_writing)]
"""The command's transaction."""
Reading = Annotated[Any, Depends(_reading)]
"""A read-only snapshot (asyncpg connection)."""
SignedIn = Annotated[Principal, Depends(_signed_in)]
"""Who is asking; 401 without a token."""
Anyone = Annotated[Principal | None, Depends(_maybe_signed_in)]
"""Who is asking, if anyone says."""
Asked = Annotated[Any, Depends(_asked)]
"""The service that is asked (`services.chassis.service.Service`)."""

_AT_HAND: dict[Any, Callable[[Request], Awaitable[object]]] = {
    Writing: _writing,
    SignedIn: _signed_in,
    Anyone: _maybe_signed_in,
    Asked: _asked,
}


def _at_hand(endpoint: Callable[..., Any]) -> dict[str, Callable[[Request], Awaitable[object]]]:
    """The arguments of an endpoint that are of `_AT_HAND`, and what finds them."""
    hints = get_type_hints(unwrap(endpoint), include_extras=True)
    return {name: _AT_HAND[hint] for name, hint in hints.items() if hint in _AT_HAND}


def _handed(endpoint: Callable[..., Any]) -> Callable[..., Any]:
    """The endpoint with what is `_AT_HAND` given to it by one call each: FastAPI's own way takes thirty."""
    taken = _at_hand(endpoint)
    # FastAPI gives the request to one argument only.
    if not taken or Request in get_type_hints(unwrap(endpoint)).values():
        return endpoint
    known = signature(endpoint)
    request = Parameter("asking_", Parameter.KEYWORD_ONLY, annotation=Request)
    left = [one for one in known.parameters.values() if one.name not in taken]

    @wraps(endpoint)
    async def handed(*, asking_: Request, **given: Any) -> Any:  # noqa: ANN401  (any endpoint's)
        return await endpoint(**given, **{name: await find(asking_) for name, find in taken.items()})

    handed.__signature__ = known.replace(parameters=[*left, request])  # type: ignore[attr-defined]
    return handed


def api(service: Service) -> FastAPI:
    """The FastAPI application of a service, served under `/<service>`."""
    app = FastAPI(
        title=f"Citizen-Engaged Communities: {service.name}",
        version="1",
        openapi_url="/v1/openapi.json",
        responses=problems.DESCRIBED,
        docs_url=None,
        redoc_url=None,
    )
    app.state.service = service
    problems.install(app)
    app.add_middleware(Observed, service=service.name, metrics=service.metrics)
    app.router.routes.insert(0, Signposts(app.router.routes))
    app.include_router(service.router)
    return app


class Frontier:
    """ASGI middleware at the edge: bounds the request's body and adds the security headers to every answer."""

    def __init__(self, app: ASGIApp, *, body_limit: int) -> None:
        self._app = app
        self._limit = body_limit

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        # In the request's state, where a route that streams sets another one before it reads.
        state = scope.setdefault("state", {})
        state["body_limit"] = self._limit
        told = Headers(scope=scope).get("content-length", "0")
        seen = 0

        async def bounded() -> Message:
            nonlocal seen
            _must_fit(int(told) if told.isdecimal() else 0, state["body_limit"])
            message = await receive()
            seen += len(message.get("body", b""))
            _must_fit(seen, state["body_limit"])
            return message

        async def secured(message: Message) -> None:
            if message["type"] == "http.response.start":
                names = {name.lower() for name, _ in message["headers"]}
                message["headers"] = [
                    *message["headers"],
                    *((name, value) for name, value in _SECURITY if name not in names),
                ]
            await send(message)

        await self._app(scope, bounded, secured)


def _must_fit(size: int, limit: int) -> None:
    if size > limit:
        raise Problem(413, "body-too-large", f"A request may have {limit:,} bytes.")


_SECURITY = (
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"strict-origin-when-cross-origin"),
    (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'; base-uri 'none'"),
    (b"cache-control", b"no-store"),
)
