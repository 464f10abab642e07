"""An event in three versions, as three releases of a program would know it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from unittest.mock import patch

from schemas.envelope import EVENTS, Event, Sealed
from schemas.exact import Value
from schemas.versions import UPCASTERS, upcaster


class Person(Value):
    name: str


class People(Value):
    names: list[str]


class TakenV1(Event):
    """A sample was taken, by one person."""

    TYPE = "intake.sample.taken.v1"
    ABOUT = "sample"

    cycle: str
    sample: str
    note: str
    by: Sealed[Person] = None


class TakenV2(Event):
    """Remarks instead of a note; by several people."""

    TYPE = "intake.sample.taken.v2"
    ABOUT = "sample"

    cycle: str
    sample: str
    remarks: list[str]
    by: Sealed[People] = None


class TakenV3(Event):
    """The number of remarks as well."""

    TYPE = "intake.sample.taken.v3"
    ABOUT = "sample"

    cycle: str
    sample: str
    remarks: list[str]
    count: int
    by: Sealed[People] = None


RELEASES: list[type[Event]] = [TakenV1, TakenV2, TakenV3]
for version in RELEASES:
    del EVENTS[version.TYPE]  # known only inside `release`


def with_remarks(event: TakenV1) -> TakenV2:
    by = People(names=[event.by.name]) if event.by else None
    return TakenV2(cycle=event.cycle, sample=event.sample, remarks=[event.note], by=by)


def with_count(event: TakenV2) -> TakenV3:
    return TakenV3(**{**dict(event), "count": len(event.remarks)})


@contextmanager
def release(number: int) -> Iterator[None]:
    """Inside, the program knows the versions up to `number` and the upcasters between them."""
    with patch.dict(EVENTS, {model.TYPE: model for model in RELEASES[:number]}), patch.dict(UPCASTERS):
        if number > 1:
            upcaster(TakenV1, TakenV2)(with_remarks)
        if number > 2:
            upcaster(TakenV2, TakenV3)(with_count)
        yield
