"""Errors as problems: a part that is away is 503 and a time to come back, and costs the client nothing else."""

from __future__ import annotations

import asyncpg
import httpx
import pytest
from asyncpg.exceptions._base import DataError as UnfitValueError
from fastapi import FastAPI
from starlette.requests import ClientDisconnect

from services.chassis import problems
from services.chassis.refusal import RefusedError, Violation


async def answer(error: Exception) -> httpx.Response:
    """What a client gets when a handler raises `error`; an exception that leaves the application is a fault."""
    app = FastAPI()
    problems.install(app)

    @app.get("/")
    async def _fail() -> None:
        raise error

    async with httpx.AsyncClient(transport=httpx.ASGITransport(app=app), base_url="http://test") as client:
        return await client.get("/")


@pytest.mark.parametrize(
    "error",
    [
        ConnectionRefusedError(),
        TimeoutError(),
        asyncpg.CannotConnectNowError(),
        asyncpg.InterfaceError("connection is closed"),
        asyncpg.InternalClientError("cannot switch to state 15; another operation (2) is in progress"),
        asyncpg.DiskFullError(),
    ],
)
async def test_a_part_that_is_away_is_a_503_that_says_when_to_come_back(error: Exception) -> None:
    got = await answer(error)
    assert got.status_code == 503
    assert got.headers["content-type"] == "application/problem+json"
    assert int(got.headers["retry-after"]) > 0
    assert "Idempotency-Key" in got.json()["detail"]


@pytest.mark.parametrize("error", [ZeroDivisionError(), UnfitValueError("out of int64 range")])
async def test_a_fault_of_ours_is_not_called_a_part_that_is_away(error: Exception) -> None:
    with pytest.raises(type(error)):
        await answer(error)


async def test_a_client_that_goes_away_is_no_fault_of_ours() -> None:
    assert (await answer(ClientDisconnect())).status_code == 400


async def test_what_is_wrong_in_many_places_is_said_once_and_each_place_is_named() -> None:
    got = await answer(
        RefusedError.all([Violation("unconfirmed", "Confirm that it holds.", at) for at in ("/a", "/b")])
    )
    assert got.json()["detail"] == "Confirm that it holds."
    assert [one["pointer"] for one in got.json()["errors"]] == ["/a", "/b"]
