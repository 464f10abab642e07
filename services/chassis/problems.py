"""Errors as RFC 9457 problem details: which field, which rule, and what to do."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import structlog
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

from services.chassis.failures import TRANSIENT, transient
from services.chassis.refusal import RefusedError, pointer

if TYPE_CHECKING:
    from fastapi import FastAPI, Request

TYPE = "urn:cec:problem:"
_TITLES = {
    400: "Bad request",
    401: "Not signed in",
    403: "Not allowed",
    404: "Not found",
    405: "Method not allowed",
    408: "Nothing came",
    409: "Refused by a rule",
    410: "Gone",
    412: "Changed meanwhile",
    413: "Too large",
    415: "Unsupported media type",
    422: "Does not fit",
    428: "Condition required",
    429: "Too many requests",
    503: "Unavailable for the moment",
}

_TEXT = {"type": "string"}
_FIELD = {"type": "object", "properties": {"pointer": _TEXT, "rule": _TEXT, "detail": _TEXT}}
DESCRIBED: dict[int | str, dict[str, Any]] = {
    "default": {
        "description": "Problem details (RFC 9457): `type` names the rule, `errors` the fields.",
        "content": {
            "application/problem+json": {
                "schema": {
                    "type": "object",
                    "required": ["type", "title", "status", "detail", "instance"],
                    "properties": {
                        **dict.fromkeys(("type", "title", "detail", "instance"), _TEXT),
                        "status": {"type": "integer"},
                        "errors": {"type": "array", "items": _FIELD},
                    },
                }
            }
        },
    }
}
"""How OpenAPI tells of every answer that is no success."""

log = structlog.get_logger()


class Problem(Exception):  # noqa: N818  (RFC 9457's own word)
    """An answer that is a problem. `rule` ends its `type`; `errors` name fields (RFC 6901) and rules.

    `members` stand in the document beside the usual ones (RFC 9457, section 3.2).
    """

    def __init__(
        self,
        status: int,
        rule: str,
        detail: str,
        *,
        errors: list[dict[str, str]] | None = None,
        headers: dict[str, str] | None = None,
        members: dict[str, Any] | None = None,
    ) -> None:
        super().__init__(detail)
        self.status = status
        self.rule = rule
        self.errors = errors or []
        self.headers = headers or {}
        self.members = members or {}

    def response(self, instance: str) -> JSONResponse:
        """The answer, as `application/problem+json`."""
        body: dict[str, Any] = {
            **self.members,
            "type": TYPE + self.rule,
            "title": _TITLES.get(self.status, "Error"),
            "status": self.status,
            "detail": str(self),
            "instance": instance,
        }
        if self.errors:
            body["errors"] = self.errors
        return JSONResponse(body, self.status, media_type="application/problem+json", headers=self.headers)


def not_found(what: str = "No such thing here.") -> Problem:
    """404; also for what exists but is another's, so that nobody learns of it."""
    return Problem(404, "not-found", what)


def _in_words(error: Any) -> str:  # noqa: ANN401  (pydantic's own)
    """What is wrong; of a pattern that forbids control characters, what a person can make of it."""
    known = error.get("ctx", {})
    if r"\P{Cc}" in str(known.get("pattern", "")):
        return "It must be text in one line, without control characters, and more than blanks."
    return str(known.get("error") or error["msg"])


def install(app: FastAPI) -> None:
    """Have every error of `app` leave as problem details."""

    @app.exception_handler(Problem)
    async def _problem(request: Request, error: Problem) -> JSONResponse:
        return error.response(request.url.path)

    @app.exception_handler(RefusedError)
    async def _refused(request: Request, error: RefusedError) -> JSONResponse:
        errors = [{"pointer": v.field, "rule": v.rule, "detail": v.detail} for v in error.violations]
        return Problem(error.status, error.rule, str(error), errors=errors).response(request.url.path)

    @app.exception_handler(RequestValidationError)
    async def _invalid(request: Request, error: RequestValidationError) -> JSONResponse:
        errors = [
            # The context has the bare sentence of a parser or of a validator of ours.
            {
                "pointer": pointer(e["loc"][1:]),
                "rule": e["type"],
                "detail": _in_words(e),
            }
            for e in error.errors()
        ]
        malformed = any(e["type"] == "json_invalid" for e in error.errors())
        return Problem(
            400 if malformed else 422,
            "malformed-json" if malformed else "invalid-request",
            "; ".join(f"{e['pointer'] or 'body'}: {e['detail']}" for e in errors[:5]),
            errors=errors,
        ).response(request.url.path)

    @app.exception_handler(HTTPException)
    async def _http(request: Request, error: HTTPException) -> JSONResponse:
        rule = {404: "not-found", 405: "method-not-allowed"}.get(error.status_code, "http")
        problem = Problem(error.status_code, rule, str(error.detail), headers=dict(error.headers or {}))
        return problem.response(request.url.path)

    # By class: what the handler of Exception has answered is raised again, which costs the client its connection.
    async def _away(request: Request, error: Exception) -> JSONResponse:
        if not transient(error):
            raise error
        log.warning("unavailable", path=request.url.path, error=repr(error))
        # A commit may have been under way: whether it happened is for the repeated key to find out.
        detail = "A part behind this is away. Send it again with the same Idempotency-Key: it will happen once."
        return Problem(503, "unavailable", detail, headers={"Retry-After": "2"}).response(request.url.path)

    for passing in TRANSIENT:
        app.add_exception_handler(passing, _away)

    @app.exception_handler(ClientDisconnect)
    async def _gone(request: Request, _: ClientDisconnect) -> JSONResponse:
        return Problem(400, "disconnected", "The request did not come whole.").response(request.url.path)

    @app.exception_handler(Exception)
    async def _unexpected(request: Request, error: Exception) -> JSONResponse:
        log.error("unexpected", path=request.url.path, exc_info=error)
        return Problem(500, "unexpected", "This is our fault; nothing was saved.").response(request.url.path)
