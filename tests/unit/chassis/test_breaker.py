"""The breaker counts poison in a row, and nothing else."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.chassis.breaker import Fate, Row, TrippedError
from services.chassis.failures import NotYetError
from services.chassis.record import Record

BAD = ValueError("bad")
FATES = st.lists(st.sampled_from([Fate.EFFECT, Fate.NOTHING, BAD, NotYetError()]), max_size=60)


def records(count: int) -> list[Record]:
    return [Record("intake.events.v1", 3, offset, b"k", b"v", 0) for offset in range(count)]


def row(fates: list[Fate | Exception], limit: int, start: Row | None = None) -> Row:
    return (start or Row()).after(records(len(fates)), fates, limit)


def test_an_effect_ends_the_row_and_a_duplicate_or_an_event_that_waits_does_not() -> None:
    assert row([BAD, Fate.NOTHING, BAD, NotYetError(), BAD], 9) == Row(3)
    assert row([BAD, BAD, Fate.EFFECT, BAD], 9) == Row(1)


def test_the_record_that_reaches_the_limit_is_named() -> None:
    with pytest.raises(
        TrippedError, match=r"3 events in a row are poison, the last at intake\.events\.v1/3/4"
    ) as tripped:
        row([BAD, Fate.EFFECT, BAD, BAD, BAD, BAD, Fate.EFFECT], 3)
    assert (tripped.value.record.offset, tripped.value.cause) == (4, BAD)


def test_whoever_was_told_to_go_on_does_so_until_an_event_takes_effect() -> None:
    assert row([BAD] * 50, 3, Row(2, waived=True)) == Row(52, waived=True)
    with pytest.raises(TrippedError):
        row([BAD, BAD, Fate.EFFECT, BAD, BAD, BAD], 3, Row(2, waived=True))


@given(FATES, FATES, st.integers(1, 10))
def test_how_records_are_cut_into_batches_changes_nothing(
    first: list[Fate | Exception], second: list[Fate | Exception], limit: int
) -> None:
    def judged(*batches: list[Fate | Exception]) -> Row | str:
        now = Row()
        try:
            for batch in batches:
                now = row(batch, limit, now)
        except TrippedError:
            return "tripped"
        return now

    assert judged(first, second) == judged(first + second)


@given(FATES, st.integers(1, 10))
def test_it_trips_exactly_where_so_many_are_poison_without_an_effect_between(
    fates: list[Fate | Exception], limit: int
) -> None:
    told = "".join("e" if fate is Fate.EFFECT else "b" if fate is BAD else "" for fate in fates)
    try:
        row(fates, limit)
        tripped = False
    except TrippedError:
        tripped = True
    assert tripped == ("b" * limit in told)
