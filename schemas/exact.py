"""Exact numbers for events: rationals and decimals made of integers.

A float never enters an event, because two machines may print or add it differently and the re-computation of a
designation must agree to the last bit. Thresholds compare `Fraction`s; basis points are rounded once, for display.
"""

from __future__ import annotations

from decimal import Decimal
from fractions import Fraction
from hashlib import sha256
from math import gcd
from typing import TYPE_CHECKING, Annotated, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

if TYPE_CHECKING:
    from collections.abc import Iterable

SAFE_INTEGER = 2**53 - 1
"""The largest integer that every JSON reader keeps exact (RFC 8785, section 3.2.2.3)."""

SafeInt = Annotated[int, Field(ge=-SAFE_INTEGER, le=SAFE_INTEGER)]


class Value(BaseModel):
    """A frozen value object inside an event."""

    model_config = ConfigDict(frozen=True, extra="ignore")


class Ratio(Value):
    """A rational number `num / den` in lowest terms, `den` > 0."""

    num: SafeInt
    den: Annotated[SafeInt, Field(gt=0)]

    @model_validator(mode="after")
    def _lowest_terms(self) -> Self:
        if gcd(self.num, self.den) != 1:
            message = f"{self.num}/{self.den} is not in lowest terms"
            raise ValueError(message)
        return self

    @classmethod
    def of(cls, number: Fraction | int) -> Ratio:
        """The ratio equal to `number`; pydantic's ValidationError when a part exceeds 2**53 - 1."""
        fraction = Fraction(number)
        return cls(num=fraction.numerator, den=fraction.denominator)

    @property
    def fraction(self) -> Fraction:
        """The same number, for arithmetic."""
        return Fraction(self.num, self.den)


class Quantity(Value):
    """A decimal `value / 10**scale`, keeping the digits as they were written (80.0 is value 800, scale 1)."""

    value: SafeInt
    scale: Annotated[int, Field(ge=0, le=9)] = 0

    @classmethod
    def parse(cls, text: str) -> Quantity:
        """Read "93.5" or "-7"; ValueError for anything that is not a plain finite decimal."""
        try:
            number = Decimal(text)
        except ArithmeticError as error:
            message = f"{text!r} is not a decimal number"
            raise ValueError(message) from error
        sign, digits, exponent = number.as_tuple()
        if not isinstance(exponent, int) or exponent > 0:
            message = f"{text!r} is not a plain decimal number"
            raise ValueError(message)
        magnitude = int("".join(map(str, digits)))
        return cls(value=-magnitude if sign else magnitude, scale=-exponent)

    @property
    def fraction(self) -> Fraction:
        """The same number, for arithmetic."""
        return Fraction(self.value, 10**self.scale)

    def __str__(self) -> str:
        """The digits as they were written."""
        return str(Decimal(self.value).scaleb(-self.scale))


class SetDigest(Value):
    """A set of ids stated without listing it: how many, and SHA-256 (hex) of the sorted ids joined by newlines."""

    count: Annotated[SafeInt, Field(ge=0)]
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]

    @classmethod
    def of(cls, ids: Iterable[str]) -> SetDigest:
        """The digest of `ids`; order and repetition do not matter."""
        distinct = sorted(set(ids))
        return cls(count=len(distinct), sha256=sha256("\n".join(distinct).encode()).hexdigest())


def basis_points(share: Fraction) -> int:
    """`share` in hundredths of a percent, halves rounded up. For display only; never compare it with a threshold."""
    return (share * 20000 + 1) // 2
