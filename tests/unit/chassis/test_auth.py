"""A token that held is taken again without a look at its signature: while it is valid, and by the same keys."""

from __future__ import annotations

from datetime import datetime, timedelta
from pathlib import Path

import pytest

from services.chassis.auth import LEEWAY_SECONDS, KeySource, Tokens
from services.chassis.clock import MachineClock
from services.chassis.issuer import Issuer
from services.chassis.problems import Problem


class Later:
    """A machine clock that can be moved."""

    def __init__(self) -> None:
        self.by = timedelta()

    def now(self) -> datetime:
        return MachineClock().now() + self.by


class Keys(KeySource):
    """A source that can be given other keys."""

    def change(self, other: Issuer) -> None:
        self._keys = self._where = other.keys


@pytest.fixture
def clock() -> Later:
    return Later()


def issuer(folder: Path, clock: Later) -> Issuer:
    return Issuer.at(folder, issuer="i", audience="a", machine=clock)


async def test_a_token_that_held_holds_again_until_it_expires(tmp_path: Path, clock: Later) -> None:
    trusted = issuer(tmp_path, clock)
    tokens = Tokens(KeySource(trusted.keys), issuer="i", audience="a", machine=clock)
    token = trusted.token("board", "someone", seconds=60)
    first = await tokens.verify(token)
    assert (first.subject, first.roles) == ("someone", frozenset({"board"}))
    assert await tokens.verify(token) is first
    clock.by = timedelta(seconds=61 + LEEWAY_SECONDS)
    for _ in range(2):
        with pytest.raises(Problem, match="expired"):
            await tokens.verify(token)


async def test_a_token_that_held_is_refused_once_its_key_is_gone(tmp_path: Path, clock: Later) -> None:
    trusted = issuer(tmp_path, clock)
    keys = Keys(trusted.keys)
    tokens = Tokens(keys, issuer="i", audience="a", machine=clock)
    token = trusted.token("board", "someone")
    await tokens.verify(token)
    keys.change(issuer(tmp_path / "other", clock))
    with pytest.raises(Problem) as refused:
        await tokens.verify(token)
    assert refused.value.status == 401


async def test_a_token_changed_in_one_character_is_another(tmp_path: Path, clock: Later) -> None:
    trusted = issuer(tmp_path, clock)
    tokens = Tokens(KeySource(trusted.keys), issuer="i", audience="a", machine=clock)
    token = trusted.token("applicant", "someone")
    await tokens.verify(token)
    with pytest.raises(Problem):
        await tokens.verify(token[:-8] + ("A" if token[-8] != "A" else "B") + token[-7:])
