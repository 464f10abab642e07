"""Versions of an event type: a breaking change is a new `.v<N+1>`, with an upcaster from the old event to the new one.

An upcaster is a pure function from one version's event to the next one's; `schemas.envelope.read` applies the chain, so
that a handler sees one version only. A block that was withheld or erased is None before and must stay None after.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

    from schemas.envelope import Event

    Old = TypeVar("Old", bound=Event)
    New = TypeVar("New", bound=Event)

UPCASTERS: dict[str, Callable[[Any], Event]] = {}
"""By the type that is lifted; what comes back is of the next version."""


def split(event_type: str) -> tuple[str, int]:
    """`intake.cycle.closed.v2` as its name and version: (`intake.cycle.closed`, 2)."""
    name, _, version = event_type.rpartition(".v")
    return name, int(version)


def lineage(event_type: str) -> list[str]:
    """The type and all its older versions, oldest first: what is read as it."""
    name, version = split(event_type)
    return [f"{name}.v{number}" for number in range(1, version + 1)]


def upcaster(old: type[Old], new: type[New]) -> Callable[[Callable[[Old], New]], Callable[[Old], New]]:
    """Register `def newer(event: Old) -> New`; ValueError unless `new` is the version right after `old`."""
    (name, version), following = split(old.TYPE), split(new.TYPE)
    if following != (name, version + 1):
        message = f"an upcaster leads from {old.TYPE} to {name}.v{version + 1}, not to {new.TYPE}"
        raise ValueError(message)
    if old.TYPE in UPCASTERS:
        message = f"{old.TYPE} has an upcaster already"
        raise ValueError(message)

    def register(function: Callable[[Old], New]) -> Callable[[Old], New]:
        UPCASTERS[old.TYPE] = function
        return function

    return register


def upcast(event: Event, wanted: str | None = None) -> Event:
    """The event as the version `wanted`, or as the newest that its chain of upcasters leads to."""
    while wanted != event.TYPE and (newer := UPCASTERS.get(event.TYPE)) is not None:
        event = newer(event)
    return event
