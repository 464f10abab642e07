"""With signposts before them, an application's routes answer what they answer without."""

from __future__ import annotations

import httpx
import pytest
from fastapi import APIRouter, FastAPI
from starlette.middleware.base import RequestResponseEndpoint
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Mount

from services.chassis.signposts import Signposts

PATHS = ["/v1/things/new", "/v1/things/7", "/v1/things/7/parts", "/v1/things/", "/v1/other", "/v1/late", "/v1/file/a/b"]
METHODS = ["GET", "HEAD", "POST", "DELETE", "OPTIONS"]


def application(*, signposted: bool) -> FastAPI:
    """Routers in routers, with routes that only their order tells apart."""
    app = FastAPI()
    if signposted:
        app.router.routes.insert(0, Signposts(app.router.routes))
    inner, outer = APIRouter(), APIRouter(prefix="/v1")

    @inner.get("/things/new")
    async def fresh() -> str:
        return "fresh"

    @inner.get("/things/{number}")
    async def one(number: int) -> str:
        return f"one {number}"

    @inner.post("/things/{name}")
    async def made(name: str) -> str:
        return f"made {name}"

    @inner.get("/things/{name}/parts")
    async def parts(name: str) -> str:
        return f"parts {name}"

    outer.include_router(inner)
    app.include_router(outer)

    @app.get("/v1/file/{path:path}")
    async def file(path: str) -> str:
        return path

    app.router.routes.append(Mount("/v1/other", PlainTextResponse("mounted")))

    @app.get("/v1/late")
    async def late() -> str:
        return "late"

    return app


async def answer(app: FastAPI, method: str, path: str) -> tuple[int, str, str]:
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app=app), base_url="http://test") as client:
        found = await client.request(method, path)
    return found.status_code, found.text, found.headers.get("location", "")


@pytest.mark.parametrize("path", [*PATHS, "/v1/things/7/", "/v1/nothing", "/", "/v1/things/x/y/z"])
async def test_every_method_of_every_path_is_answered_as_without(path: str) -> None:
    with_it, without = application(signposted=True), application(signposted=False)
    for method in METHODS:
        assert await answer(with_it, method, path) == await answer(without, method, path)


async def test_a_route_that_comes_after_the_first_request_is_found_all_the_same() -> None:
    app = application(signposted=True)
    assert (await answer(app, "GET", "/v1/things/new"))[:2] == (200, '"fresh"')
    app.get("/v1/things/added/later")(lambda: "added")
    assert (await answer(app, "GET", "/v1/things/added/later"))[:2] == (200, '"added"')


async def test_a_route_is_known_to_what_looks_at_the_request_by_its_own_path() -> None:
    app, seen = application(signposted=True), []

    @app.middleware("http")
    async def look(request: Request, call_next: RequestResponseEndpoint) -> Response:
        found = await call_next(request)
        seen.append(request.scope["route"].path)
        return found

    await answer(app, "GET", "/v1/things/7")
    assert seen == ["/things/{number}"]
