"""A record loses what was erased, whatever state it is in, and nothing else."""

from __future__ import annotations

import os

from hypothesis import given
from hypothesis import strategies as st

from schemas.applications import ApplicationWithdrawn, Withdrawal
from schemas.envelope import digest, leaf_of, parse, read
from schemas.erasures import DisclosureErased, Excused
from services.chassis.erased import stripped, tokens
from tests.given import written

EVENT = written(ApplicationWithdrawn(cycle="c", application="a", private=Withdrawal(reason="Zelda said so" * 5)), 1)
OPENING = leaf_of(EVENT.record)[1]["private"]


def test_a_record_without_an_erased_opening_has_the_same_leaf() -> None:
    left = stripped(EVENT.record, {digest(OPENING)})
    assert leaf_of(left) == (EVENT.leaf, {})
    event = read(parse(left))
    assert isinstance(event, ApplicationWithdrawn)
    assert event.private is None


def test_other_digests_change_nothing() -> None:
    assert stripped(EVENT.record, {"x" * 43}) == EVENT.record
    assert stripped(b"not a record", {digest(OPENING)}) == b"not a record"


def test_a_governments_record_stays_whatever_an_erasure_says() -> None:
    record = written(DisclosureErased(about="a", event="e", digests={}, claims=Excused(not_applicable=["b"])), 1).record
    opening = leaf_of(record)[1]["claims"]
    assert stripped(record, {digest(opening)}) == record
    assert opening not in tokens(record)


@given(st.integers(min_value=1, max_value=40), st.binary(max_size=20))
def test_a_broken_record_loses_the_bytes_of_an_erased_opening(cut: int, noise: bytes) -> None:
    broken = noise + EVENT.record[cut:-cut]
    assert OPENING.encode() in broken
    assert OPENING.encode() not in stripped(broken, {digest(OPENING)})


def test_every_opening_of_a_record_is_told() -> None:
    assert OPENING in tokens(EVENT.record)
    assert tokens(os.urandom(0)) == []
