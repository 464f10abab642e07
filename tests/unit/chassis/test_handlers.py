"""What an event leaves and what is done about it are apart, so that a replay can leave the latter out."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

import pytest

from schemas.cycles import CycleClosed, CycleOpened
from services.chassis.failures import NotYetError
from services.chassis.inbox import Handlers

if TYPE_CHECKING:
    from schemas.envelope import Header
    from services.chassis.database import Tx


def recording(done: list[str], name: str) -> Any:
    async def step(_tx: Tx, _event: object, _header: Header) -> None:
        done.append(name)

    return step


async def run(handlers: Handlers, event_type: str) -> None:
    for step in handlers.steps(event_type):
        await step(cast("Tx", None), None, cast("Header", None))


async def test_a_reaction_runs_behind_what_keeps_the_event_and_never_in_a_replay() -> None:
    handlers, own, done = Handlers(), Handlers(), list[str]()
    handlers.on(CycleOpened)(recording(done, "kept"))
    handlers.then(CycleOpened)(recording(done, "reacted"))
    own.on(CycleClosed)(recording(done, "own"))
    await run(handlers, CycleOpened.TYPE)
    await run(handlers, CycleClosed.TYPE)
    assert done == ["kept", "reacted"]
    done.clear()
    await run(handlers.keeping(own), CycleOpened.TYPE)
    await run(handlers.keeping(own), CycleClosed.TYPE)
    assert done == ["kept", "own"]


async def test_a_reaction_alone_is_enough_to_handle_a_type() -> None:
    handlers, done = Handlers(), list[str]()
    handlers.then(CycleOpened)(recording(done, "reacted"))
    assert handlers.handled_as(CycleOpened.TYPE) == CycleOpened.TYPE
    await run(handlers, CycleOpened.TYPE)
    assert done == ["reacted"]
    assert handlers.keeping(Handlers()).steps(CycleOpened.TYPE) == []
    with pytest.raises(NotYetError, match="newer"):
        handlers.keeping(Handlers()).handled_as("intake.cycle.opened.v9")


def test_a_type_has_one_reaction() -> None:
    handlers = Handlers()
    handlers.then(CycleOpened)(recording([], "first"))
    with pytest.raises(ValueError, match="has a reaction already"):
        handlers.then(CycleOpened)(recording([], "second"))
