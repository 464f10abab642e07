"""HTTP conventions on the real database: one transaction a command, once per key, errors as problems."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import httpx
import pytest
from fastapi import APIRouter
from pydantic import BaseModel

from services.chassis.idempotency import KEPT, forget
from services.chassis.issuer import Issuer
from services.chassis.refusal import RefusedError
from services.chassis.service import Runtime, Service
from services.chassis.settings import Settings
from services.chassis.web import CommandRoute, Frontier, Reading, SignedIn, Writing

router = APIRouter(prefix="/v1", route_class=CommandRoute)


class Note(BaseModel):
    text: str


@router.post("/notes", status_code=201)
async def take_note(note: Note, tx: Writing, who: SignedIn) -> dict[str, int]:
    number = await tx.db.fetchval("insert into projection.note (text) values ($1) returning number", note.text)
    if note.text == "refuse":
        raise RefusedError("no-such-notes", "This note is refused.", field="/text")
    if note.text == "break":
        raise ZeroDivisionError
    if note.text == "slow":
        await asyncio.sleep(0.3)
    return {"number": number}


@router.get("/notes/{text}")
async def find_note(text: str, db: Reading) -> int:
    return int(await db.fetchval("select count(*) from projection.note where text = $1", text))


@router.get("/notes")
async def count_notes(db: Reading, who: SignedIn) -> int:
    return int(await db.fetchval("select count(*) from projection.note"))


class Client:
    """Someone with a token."""

    def __init__(self, service: Service, http: httpx.AsyncClient, token: str) -> None:
        self.service = service
        self.http = http
        self.headers = {"Authorization": f"Bearer {token}"}

    async def post(self, body: object, **headers: str) -> httpx.Response:
        return await self.http.post("/v1/notes", json=body, headers={**self.headers, **headers})

    async def notes(self) -> int:
        return int((await self.http.get("/v1/notes", headers=self.headers)).json())


@pytest.fixture
async def client(runtime: Callable[[type[Settings]], Runtime], issuer: Issuer, tmp_path: Path) -> AsyncIterator[Client]:
    folder = tmp_path / "migrations"
    folder.mkdir()
    (folder / "0001_note.sql").write_text(
        "create table projection.note (number bigint generated always as identity, text text)"
    )
    service = Service(name="notes", runtime=runtime(Settings), router=router, migrations=folder)
    await service.start()
    transport = httpx.ASGITransport(app=Frontier(service.app, body_limit=10_000), raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://test") as http:
        yield Client(service, http, issuer.token("applicant", "someone"))
    await service.stop()


async def test_who_has_no_token_is_told_so_whatever_the_body_holds(client: Client) -> None:
    for body in (b"{broken", b'{"text": 7}', b'{"text": "a"}'):
        headers = {"Content-Type": "application/json", "Idempotency-Key": "k"}
        answer = await client.http.post("/v1/notes", content=body, headers=headers)
        assert (answer.status_code, answer.json()["type"]) == (401, "urn:cec:problem:invalid-token")
    assert (await client.http.get("/v1/notes")).status_code == 401
    assert await client.notes() == 0


async def test_a_connection_that_is_given_back_in_a_transaction_is_none_of_the_next_ones(client: Client) -> None:
    pool = client.service.database.pool
    for _ in range(2 * client.service.settings.pool_size):
        async with pool.acquire() as db:
            assert await db.fetchval("select count(*) from projection.note") == 0
            await db.execute("begin; insert into projection.note (text) values ('left over')")
    assert await client.notes() == 0


async def test_a_repeated_key_answers_as_the_first_time_and_has_no_second_effect(client: Client) -> None:
    first = await client.post({"text": "a"}, **{"Idempotency-Key": "k"})
    again = await client.post({"text": "a"}, **{"Idempotency-Key": "k"})
    assert (first.status_code, again.status_code) == (201, 201)
    assert first.json() == again.json()
    assert again.headers["Idempotency-Replayed"] == "true"
    assert await client.notes() == 1


async def test_two_requests_at_once_under_one_key_have_one_effect(client: Client) -> None:
    answers = await asyncio.gather(*(client.post({"text": "slow"}, **{"Idempotency-Key": "k"}) for _ in range(3)))
    assert {answer.status_code for answer in answers} == {201}
    assert len({answer.text for answer in answers}) == 1
    assert await client.notes() == 1


async def test_a_key_used_for_another_body_is_refused(client: Client) -> None:
    await client.post({"text": "a"}, **{"Idempotency-Key": "k"})
    other = await client.post({"text": "b"}, **{"Idempotency-Key": "k"})
    assert other.status_code == 422
    assert other.json()["type"] == "urn:cec:problem:idempotency-key-reused"
    assert await client.notes() == 1


async def test_a_key_belongs_to_its_person(client: Client, issuer: Issuer) -> None:
    await client.post({"text": "a"}, **{"Idempotency-Key": "k"})
    other = Client(client.service, client.http, issuer.token("applicant", "someone else"))
    assert (await other.post({"text": "b"}, **{"Idempotency-Key": "k"})).status_code == 201
    assert await client.notes() == 2


async def test_an_answer_is_forgotten_when_nobody_tries_again_any_more(client: Client) -> None:
    database = client.service.database
    for key, age in (("old", KEPT), ("new", KEPT / 2)):
        await client.post({"text": key}, **{"Idempotency-Key": key})
        await database.pool.execute(
            "update private.idempotency set created_at = now() - $2::interval where key = $1", key, age
        )
    await forget(database)
    kept = await database.pool.fetch("select key from private.idempotency")
    assert [row["key"] for row in kept] == ["new"]


async def test_a_refused_command_leaves_nothing_and_may_be_sent_again_under_its_key(client: Client) -> None:
    refused = await client.post({"text": "refuse"}, **{"Idempotency-Key": "k"})
    assert refused.status_code == 409
    problem = refused.json()
    assert refused.headers["content-type"] == "application/problem+json"
    assert problem["errors"] == [{"pointer": "/text", "rule": "no-such-notes", "detail": "This note is refused."}]
    assert await client.notes() == 0
    assert (await client.post({"text": "a"}, **{"Idempotency-Key": "k"})).status_code == 201


async def test_a_bug_answers_500_without_its_inside_and_leaves_nothing(client: Client) -> None:
    answer = await client.post({"text": "break"})
    assert answer.status_code == 500
    assert "ZeroDivision" not in answer.text
    assert await client.notes() == 0


async def test_broken_json_is_named_as_such(client: Client) -> None:
    answer = await client.http.post(
        "/v1/notes", content=b'{"text": ', headers={**client.headers, "Content-Type": "application/json"}
    )
    assert answer.status_code == 400
    assert answer.json()["type"] == "urn:cec:problem:malformed-json"


@pytest.mark.parametrize(
    "path", ["/v1/notes/%00", "/v1/notes/a%0Ab", "/v1/notes/a%7F", "/v1/notes/a?b=%00", "/v1/notes/a?%00=b"]
)
async def test_a_control_character_in_an_address_is_named_and_reaches_no_database(client: Client, path: str) -> None:
    answer = await client.http.get(path)
    assert (answer.status_code, answer.json()["type"]) == (400, "urn:cec:problem:control-character")
    assert (await client.http.get("/v1/notes/a%20%C3%BC%25?b=+%25")).status_code == 200


async def test_a_wrong_field_is_named_by_its_pointer(client: Client) -> None:
    answer = await client.post({"text": 7})
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["pointer"] == "/text"


async def test_an_unknown_path_and_a_wrong_method_are_problems_too(client: Client) -> None:
    missing = await client.http.get("/v1/nothing", headers=client.headers)
    wrong = await client.http.delete("/v1/notes", headers=client.headers)
    assert (missing.status_code, wrong.status_code) == (404, 405)
    assert {a.headers["content-type"] for a in (missing, wrong)} == {"application/problem+json"}


async def test_without_a_token_nobody_writes(client: Client) -> None:
    answer = await client.http.post("/v1/notes", json={"text": "a"})
    assert answer.status_code == 401
    assert answer.headers["www-authenticate"].startswith("Bearer")


@pytest.mark.parametrize("headers", [{"Sec-Fetch-Site": "cross-site"}, {"Origin": "https://evil.example"}], ids=str)
async def test_what_a_browser_sends_for_another_site_is_refused(client: Client, headers: dict[str, str]) -> None:
    assert (await client.post({"text": "a"}, **headers)).status_code == 403
    assert await client.notes() == 0


async def test_a_body_beyond_the_limit_is_refused_with_the_limit_also_when_its_length_is_not_stated(
    client: Client,
) -> None:
    async def pieces() -> AsyncIterator[bytes]:
        for _ in range(20):
            yield b"x" * 1000

    stated = await client.post({"text": "x" * 20_000})
    streamed = await client.http.post("/v1/notes", content=pieces(), headers=client.headers)
    for answer in (stated, streamed):
        assert answer.status_code == 413
        assert "10,000" in answer.json()["detail"]


async def test_every_answer_carries_the_security_headers(client: Client) -> None:
    answer = await client.http.get("/health/live")
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert "frame-ancestors 'none'" in answer.headers["content-security-policy"]
