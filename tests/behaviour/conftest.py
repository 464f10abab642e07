"""What the behaviour of a broker and a database is seen on: the parts under test, and a service that stands on them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from deploy.embedded import Stack
from services.chassis.service import Runtime
from services.chassis.settings import Settings
from tests.behaviour.house import House


@pytest.fixture
def stack(parts: Stack) -> Stack:
    """The parts that the inheriting class names: all fixtures below and in tests/conftest.py stand on them."""
    return parts


@pytest.fixture
async def house(runtime: Callable[[type[Settings]], Runtime], tmp_path: Path) -> AsyncIterator[House]:
    made = await House(runtime, tmp_path).open()
    yield made
    for member in list(made.members):
        await made.leave(member)
