"""Random bytes drawn many at a time: as many as were asked for, each given out once."""

from __future__ import annotations

import os
from itertools import count

from hypothesis import given
from hypothesis import strategies as st

from services.chassis.ids import DRAWN, Drawn


@given(sizes=st.lists(st.integers(0, 3 * DRAWN), max_size=40))
def test_no_byte_is_given_out_twice_and_none_is_made_up(sizes: list[int]) -> None:
    stream, numbers = bytearray(), count()

    def entropy(size: int) -> bytes:
        drawn = b"".join(next(numbers).to_bytes(4, "big") for _ in range(-(-size // 4)))[:size]
        stream.extend(drawn)
        return drawn

    drawn, at = Drawn(entropy), 0
    for size in sizes:
        given_out = drawn(size)
        assert len(given_out) == size
        if size:
            at = stream.index(given_out, at)
            at += size


def test_salts_of_one_transaction_are_all_different() -> None:
    drawn = Drawn(os.urandom)
    assert len({drawn(16) for _ in range(10_000)}) == 10_000
