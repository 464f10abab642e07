"""Which images tests run on, and that a stand-in is never taken for the official image."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from docker.errors import APIError, ImageNotFound

from tests.containers import images
from tests.containers.engine import EngineError
from tests.containers.images import OFFICIAL, STAND_INS

KAFKA, POSTGRES = OFFICIAL.values()


class Engine:
    """Has some images, can pull others, and remembers what was built."""

    def __init__(self, *has: str, pulls: tuple[str, ...] = ()) -> None:
        self.has, self.pulls = set(has), pulls
        self.built: list[str] = []
        self.images = self

    def get(self, name: str) -> None:
        if name not in self.has:
            raise ImageNotFound(name)

    def pull(self, name: str) -> None:
        if name not in self.pulls:
            raise APIError("500", explanation="no route to the registry")
        self.has.add(name)


@pytest.fixture(autouse=True)
def bare(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody names an image, and what is built costs nothing."""

    def build(client: Engine, part: str, files: Mapping[str, Path]) -> None:
        client.built.append(STAND_INS[part])

    for part in OFFICIAL:
        monkeypatch.delenv(images.setting(part), raising=False)
    for name, fake in {"_base": lambda *_: None, "_kafka": lambda *_: {}, "_postgres": dict, "_build": build}.items():
        monkeypatch.setattr(images, name, fake)


def choose(engine: Any, *, pull: bool = True) -> tuple[dict[str, str], str]:
    """The choice, and what was said about it."""
    said: list[str] = []
    return images.choose(engine, Path(), Path(), said.append, pull=pull), "\n".join(said)


def test_official_images_that_can_be_pulled_are_used() -> None:
    engine = Engine(KAFKA, pulls=(POSTGRES,))
    chosen, said = choose(engine)
    assert chosen == OFFICIAL
    assert not engine.built
    assert "STAND-IN" not in said


def test_what_cannot_be_pulled_is_stood_in_for_and_said_to_prove_the_wiring_only() -> None:
    engine = Engine(POSTGRES)
    chosen, said = choose(engine)
    assert chosen == {"kafka": STAND_INS["kafka"], "postgres": POSTGRES}
    assert engine.built == [STAND_INS["kafka"]]
    assert f"postgres is the image {POSTGRES}" in said
    assert "kafka is a STAND-IN" in said
    assert f"has no {KAFKA} (no route to the registry)" in said
    assert "the wiring only, not the official image" in said


def test_an_engine_of_our_own_does_not_pull_official_images() -> None:
    engine = Engine(pulls=(KAFKA, POSTGRES))
    chosen, _ = choose(engine, pull=False)
    assert chosen == STAND_INS


def test_a_named_image_is_pulled_by_any_engine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CEC_TEST_KAFKA_IMAGE", "example/kafka:1")
    chosen, _ = choose(Engine(POSTGRES, pulls=("example/kafka:1",)), pull=False)
    assert chosen == {"kafka": "example/kafka:1", "postgres": POSTGRES}


def test_nothing_stands_in_for_a_named_image(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CEC_TEST_POSTGRES_IMAGE", "example/postgres:1")
    with pytest.raises(EngineError, match=r"CEC_TEST_POSTGRES_IMAGE names example/postgres:1.*no route"):
        choose(Engine(KAFKA))
