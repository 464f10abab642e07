"""Who may do what: every operation asked by everybody in each state, and `docs/reference/access.md` says so.

The services answer as they would, but nothing that is asked here is kept: each command's transaction is rolled back
with its answer given. To write the page anew: `pytest tests/contract/test_access.py --write`.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from random import Random
from typing import Any

import pytest
import requests
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings

from deploy.embedded import Stack
from services.chassis import web
from services.origin import SERVICES
from tests.contract.test_openapi import CONTROL, Case, Operation, named
from tests.contract.world import World, made

PAGE = Path(__file__).resolve().parents[2] / "docs" / "reference" / "access.md"
ROLES = {
    "nobody": "",
    "a stranger": "stranger",
    "viewer": "viewer",
    "editor": "editor",
    "lead": "lead",
    "program-admin": "program-admin",
    "reviewer": "reviewer",
    "board": "board",
    "auditor": "auditor",
    "subscriber": "subscriber",
    "partner": "partner",
}
STATES = ("open", "closed", "screened")
REFUSED = {401, 403, 404}
NOT_NOW = {409, 410}
SHAPE = (":invalid-request", ":malformed-json", ":control-character", ":http")
HEAD = """# Who may do what

Written by `tests/contract/test_access.py`, which asks every operation as everybody and fails where an answer differs
from this page. `a stranger` is the lead of another government; viewer, editor and lead are the government's own.

A dot says that the role gets in: what is asked is done, or told to be incomplete. Letters say in which states of the
cycle it does, where it does not in all: `o` open, `c` closed and being screened, `s` screened. `–`: the role would do,
but things stand otherwise (409, 410). Nothing: refused, as 401 without a token, 403 for a role that does not suffice,
404 for what is another's or is not there.
"""


@pytest.fixture(scope="module")
async def world(stack: Stack, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[World]:
    def rolled_back(response: Any) -> Any:
        raise web._FailedAnswer(response)

    async with made(stack, tmp_path_factory.mktemp("access")) as there:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(web, "_succeeded", rolled_back)
            yield there


@pytest.mark.long
@pytest.mark.timeout(600)
async def test_everybody_gets_in_where_the_page_says_so_and_nowhere_else(
    world: World, pytestconfig: pytest.Config
) -> None:
    parts = [HEAD]
    for service in SERVICES:
        rows = [row async for row in rows_of(world, service)]
        parts.append(f"\n## {service}\n\n| | {' | '.join(ROLES)} |\n|---|{'---|' * len(ROLES)}\n" + "".join(rows))
    found = "".join(parts)
    if pytestconfig.getoption("--write"):
        PAGE.write_text(found, encoding="utf-8")
    assert PAGE.read_text(encoding="utf-8") == found


async def rows_of(world: World, service: str) -> AsyncIterator[str]:
    """A row of the page for each operation of a service."""
    session = requests.Session()
    session.trust_env = False
    url = f"{world.url}/{service}"
    document = (await asyncio.to_thread(session.get, f"{url}/v1/openapi.json", timeout=30)).text
    for category, written_out in CONTROL.items():
        document = document.replace(category, written_out)
    schema = schemathesis.openapi.from_dict(json.loads(document))
    operations: list[Operation] = [result.ok() for result in schema.get_all_operations()]  # type: ignore[union-attr]
    for operation in sorted(operations, key=lambda one: (one.path, one.method)):
        cases = fitting(operation)
        cells = [
            await asyncio.to_thread(cell, cases, world, world.tokens[name], url, session) for name in ROLES.values()
        ]
        yield f"| {operation.method.upper()} {operation.path.removeprefix('/v1')} | {' | '.join(cells)} |\n"


def fitting(operation: Operation) -> list[Case]:
    """Requests that fit an operation, always the same ones."""
    cases: list[Case] = []

    @settings(
        max_examples=8,
        derandomize=True,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(operation.as_strategy(generation_mode=schemathesis.GenerationMode.POSITIVE))
    def draw(case: Case) -> None:
        cases.append(case)

    draw()
    return cases


def cell(cases: list[Case], world: World, token: str, url: str, session: requests.Session) -> str:
    """In which states somebody gets in."""
    of_a_state = {"cycle", "label", "application"} & set(cases[0].path_parameters or {})
    states = range(len(STATES)) if of_a_state else [0]
    statuses = {state: heard(cases, world, state, token, url, session) for state in states}
    inside = [state for state, status in statuses.items() if status not in REFUSED | NOT_NOW]
    if len(inside) == len(statuses):
        return "·"
    return "".join(STATES[state][0] for state in inside) or ("–" if NOT_NOW & set(statuses.values()) else "")


def heard(cases: list[Case], world: World, state: int, token: str, url: str, session: requests.Session) -> int:
    """The status of what somebody is answered who asks this of what is in that state."""
    answer = None
    for case in cases:
        headers = addressed(case, world, state) | ({"Authorization": f"Bearer {token}"} if token else {})
        answer = case.call(base_url=url, session=session, headers=headers, timeout=30)
        assert answer.status_code < 500, answer.text
        # Where the request itself does not fit, nobody has looked at who asks: the next one may.
        if answer.status_code not in {400, 422} or not answer.json()["type"].endswith(SHAPE):
            return answer.status_code
    raise AssertionError(f"{cases[0].operation.label}: no request fits: {answer and answer.text}")


def addressed(case: Case, world: World, state: int) -> dict[str, str]:
    """Have a request name what there is in a state; the headers that it needs."""
    here = {**world.known, **{name: world.known[name][state : state + 1] for name in ("cycle", "label", "application")}}
    there = World(world.url, world.tokens, here, world.headers)
    for name in case.path_parameters or {}:
        if name in here and name != "token":  # an invitation's, which stands in a body
            case.path_parameters[name] = here[name][0]
    case.body = named(case.body, there, Random(0))
    declared = {parameter.name.lower() for parameter in case.operation.headers}
    return {name: values[0] for name, values in world.headers.items() if name.lower() in declared}
