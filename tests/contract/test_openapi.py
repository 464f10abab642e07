"""The OpenAPI documents keep their word: whatever is asked, the answer is one that is documented, and none is a 5xx.

Schemathesis makes requests that fit a document and requests that don't; here they also name what there is, and come
from everybody.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from random import Random
from types import NoneType
from typing import Any, TypeAlias, get_args

import pytest
import requests
import schemathesis
from fastapi import APIRouter
from fastapi.routing import APIRoute
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from pydantic import BaseModel
from schemathesis.checks import not_a_server_error
from schemathesis.core.failures import FailureGroup
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from deploy.embedded import Stack
from services.awards.api import router as awards
from services.intake.api import router as intake
from services.ledger.api import router as ledger
from services.notifications.api import router as notifications
from services.origin import SERVICES
from services.scoring.api import router as scoring
from tests.contract.world import MEDIA, World, made

Case: TypeAlias = "schemathesis.Case[Any]"
Operation: TypeAlias = "schemathesis.APIOperation[Any, Any, Any, Any]"
Findings: TypeAlias = dict[tuple[str, int, str], str]
"""What was wrong, by operation, status and kind."""

ROUTERS = (intake, scoring, awards, notifications, ledger)
CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
]
# Python's expressions, from which Schemathesis draws, know no Unicode categories (JSON Schema's do).
CONTROL = {r"\\p{Cc}": r"\\x00-\\x1f\\x7f-\\x9f", r"\\P{Cc}": r"[^\\x00-\\x1f\\x7f-\\x9f]"}
# What ends something that the others ask for comes after them.
LAST = ("/merge", "/withdraw", "/close", "/finish", "/go-on", "/redrive", "/dismiss", "/erasures")

SHEET = "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"
schemathesis.serializer.alias([MEDIA, SHEET], "application/octet-stream")
schemathesis.serializer.alias("text/csv", "text/plain")


@pytest.fixture(scope="module")
async def world(stack: Stack, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[World]:
    async with made(stack, tmp_path_factory.mktemp("openapi")) as there:
        yield there


@pytest.mark.timeout(400)
@pytest.mark.parametrize("service", SERVICES)
async def test_every_answer_is_a_documented_one_and_none_is_a_server_error(world: World, service: str) -> None:
    # The same requests in every run: what fails here fails again.
    await asked(world, service, settings(max_examples=6, derandomize=True))


@pytest.mark.long
@pytest.mark.timeout(1_200)
@pytest.mark.parametrize("service", SERVICES)
async def test_a_long_exploration_finds_no_answer_that_is_undocumented(world: World, service: str) -> None:
    await asked(world, service, settings(max_examples=15))


async def asked(world: World, service: str, bounds: settings) -> None:
    """Ask every operation of a service; all findings at once."""
    session = requests.Session()
    session.trust_env = False
    document = (await asyncio.to_thread(session.get, f"{world.url}/{service}/v1/openapi.json", timeout=30)).text
    for category, written_out in CONTROL.items():
        document = document.replace(category, written_out)
    schema = schemathesis.openapi.from_dict(json.loads(document))
    operations: list[Operation] = [result.ok() for result in schema.get_all_operations()]  # type: ignore[union-attr]
    assert operations
    found: Findings = {}
    granted: set[str] = set()
    for operation in sorted(operations, key=late):
        # Drawn here and not in the thread: Hypothesis wants nobody else to use `random` meanwhile.
        for case, headers in drawn(operation, world, bounds):
            status, wrong = await asyncio.to_thread(answered, case, headers, f"{world.url}/{service}", session)
            found |= wrong
            if 0 < status < 400:
                granted.add(operation.label)
    assert not found, f"{len(found)} findings:\n\n" + "\n\n".join(found.values())
    assert len(granted) * 3 >= len(operations), "nearly everything was refused, which shows little"


def late(operation: Operation) -> tuple[bool, bool, bool]:
    """Where an operation stands among the others: who asks, who changes, who removes, who ends."""
    return operation.path.endswith(LAST), operation.method == "delete", operation.method != "get"


def drawn(operation: Operation, world: World, bounds: settings) -> list[tuple[Case, dict[str, str]]]:
    """Requests that fit an operation, and requests that don't, each with whose it is."""
    modes = schemathesis.GenerationMode
    fitting = operation.as_strategy(generation_mode=modes.POSITIVE)
    both = fitting
    if operation.path_parameters or operation.query or operation.headers or operation.body:
        both = fitting | fitting | operation.as_strategy(generation_mode=modes.NEGATIVE)
    cases = []

    @settings(bounds, database=None, phases=[Phase.generate], suppress_health_check=list(HealthCheck))
    @given(both, st.integers(0, 2**32))
    def draw(case: Case, seed: int) -> None:
        cases.append((case, directed(case, world, Random(seed))))

    draw()
    return cases


def answered(case: Case, headers: dict[str, str], url: str, session: requests.Session) -> tuple[int, Findings]:
    """An answer's status, and what is wrong with it."""
    try:
        answer = case.call(base_url=url, session=session, headers=headers, timeout=30)
    except (requests.exceptions.InvalidHeader, UnicodeError):
        return 0, {}  # nothing that HTTP can say
    operation = case.operation
    try:
        case.validate_response(answer, checks=CHECKS)
    except FailureGroup as failures:
        return answer.status_code, {
            (operation.label, answer.status_code, type(one).__name__): f"{failures}\n{answer.text[:600]}"
            for one in failures.exceptions
        }
    # For what is no success the document has a word for all ("default"); a success is documented by its number.
    if answer.status_code < 400 and str(answer.status_code) not in operation.definition.raw["responses"]:
        key = (operation.label, answer.status_code, "undocumented success")
        return answer.status_code, {key: f"{key}\n{case.as_curl_command()}"}
    return answer.status_code, {}


def directed(case: Case, world: World, chance: Random) -> dict[str, str]:
    """Have a request name what there is, mostly; the headers of somebody who sends it."""
    for name in case.path_parameters or {}:
        if name in world.known and chance.random() < 0.9:
            case.path_parameters[name] = one_of(world.known[name], chance)
    case.body = named(case.body, world, chance)
    declared = {parameter.name.lower() for parameter in case.operation.headers}
    for name, values in world.headers.items():
        if name.lower() in declared and chance.random() < 0.8:
            case.headers[name] = one_of(values, chance)
    usual = ("lead", "program-admin") if chance.random() < 0.7 else tuple(world.tokens)
    token = world.tokens[chance.choice(usual)]
    return {"Authorization": f"Bearer {token}"} if token else {}


def one_of(values: list[Any], chance: Random) -> Any:
    """The first mostly: the firsts belong together."""
    return values[0] if chance.random() < 0.6 else chance.choice(values)


def named(value: Any, world: World, chance: Random) -> Any:
    """A body with values that there are in the fields of their names."""
    if isinstance(value, list):
        return [named(one, world, chance) for one in value]
    if not isinstance(value, dict):
        return value
    return {
        key: one_of(world.known[key], chance)
        if key in world.known and chance.random() < 0.7
        else named(one, world, chance)
        for key, one in value.items()
    }


def test_what_an_answer_leaves_out_where_there_is_none_is_not_promised() -> None:
    routes = [route for router in ROUTERS for route in every(router)]
    terse = [route for route in routes if route.response_model_exclude_none]
    assert terse
    promised = {
        f"{route.path}: {model.__name__}.{name}"
        for route in terse
        for model in models(route.response_model)
        for name, field in model.model_fields.items()
        if field.is_required() and NoneType in get_args(field.annotation)
    }
    assert promised == set()


def every(router: APIRouter) -> Iterator[APIRoute]:
    """The routes of a router and of those that it includes."""
    for route in router.routes:
        if isinstance(route, APIRoute):
            yield route
        elif isinstance(included := getattr(route, "original_router", None), APIRouter):
            yield from every(included)


def models(kind: Any) -> set[type[BaseModel]]:
    """The models that a type is made of."""
    if isinstance(kind, type) and issubclass(kind, BaseModel):
        return {kind}.union(*(models(field.annotation) for field in kind.model_fields.values()))
    return set().union(*map(models, get_args(kind)))
