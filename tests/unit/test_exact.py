"""Exact numbers."""

from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from schemas.exact import Quantity, Ratio, SetDigest, basis_points

fractions = st.fractions(min_value=-1000, max_value=1000, max_denominator=10**6)


@given(fractions)
def test_a_ratio_is_the_same_number_after_a_journey_through_json(number: Fraction) -> None:
    assert Ratio.model_validate_json(Ratio.of(number).model_dump_json()).fraction == number


@pytest.mark.parametrize("pair", [(2, 4), (1, 0), (1, -2), (2**60, 1)])
def test_a_ratio_has_one_spelling_only(pair: tuple[int, int]) -> None:
    with pytest.raises(ValidationError):
        Ratio(num=pair[0], den=pair[1])


@given(st.decimals(min_value=-(10**6), max_value=10**6, places=4))
def test_a_quantity_keeps_its_digits(number: Decimal) -> None:
    text = f"{number:f}"
    assert str(Quantity.parse(text)) == str(Decimal(text)) or Quantity.parse(text).value == 0
    assert Quantity.parse(text).fraction == Fraction(text)


@pytest.mark.parametrize("text", ["", "x", "1e5", "NaN", "Infinity", "1,5"])
def test_what_is_no_plain_decimal_is_no_quantity(text: str) -> None:
    with pytest.raises(ValueError, match="decimal"):
        Quantity.parse(text)


@given(st.lists(st.uuids().map(str), max_size=20))
def test_a_set_digest_knows_neither_order_nor_repetition(ids: list[str]) -> None:
    assert SetDigest.of(ids) == SetDigest.of([*reversed(ids), *ids])
    assert SetDigest.of(ids).count == len(set(ids))


def test_a_set_digest_of_two_ids_is_the_hash_of_both_lines() -> None:
    # printf 'a\nb' | sha256sum
    assert SetDigest.of(["b", "a"]).sha256 == "7e18f737311b2dc3b2f269dd78396b0351f14fb66efa879f768cb23181883c78"


@pytest.mark.parametrize(
    ("share", "points"),
    [(Fraction(3, 5), 6000), (Fraction(1, 3), 3333), (Fraction(2, 3), 6667), (Fraction(1, 20000), 1)],
)
def test_basis_points_round_halves_up_once(share: Fraction, points: int) -> None:
    assert basis_points(share) == points
