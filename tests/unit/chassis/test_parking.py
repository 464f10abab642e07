"""Why a record is kept is told without what it holds."""

from __future__ import annotations

import asyncpg
import pytest

from schemas.envelope import UnreadableError, parse
from services.chassis.failures import NotYetError
from services.chassis.parking import reason_of
from services.chassis.refusal import RefusedError


def raised(error: Exception) -> Exception:
    try:
        raise error
    except Exception as caught:  # noqa: BLE001  (with its traceback)
        return caught


@pytest.mark.parametrize("kind", [NotYetError, UnreadableError])
def test_our_own_words_are_told(kind: type[Exception]) -> None:
    assert reason_of(raised(kind("cycle 2027 is not here yet"))) == "cycle 2027 is not here yet"
    assert reason_of(RefusedError("seed", "another seed was committed to")) == "another seed was committed to"


def test_of_any_other_failure_its_type_and_place_are_told_and_not_its_message() -> None:
    said = reason_of(raised(ValueError("ada@example.org")))
    assert said.startswith("ValueError at tests/unit/chassis/test_parking.py:")
    assert said.endswith(" raised")
    assert reason_of(KeyError("ada@example.org")) == "KeyError"


def test_of_a_refusal_by_postgresql_the_rule_is_told_and_not_the_row() -> None:
    error = asyncpg.UniqueViolationError("duplicate key")
    error.detail = "Key (email)=(ada@example.org) already exists."
    error.constraint_name = "member_email"
    assert "ada" in str(error)
    assert reason_of(error) == "UniqueViolationError (member_email)"


def test_a_reason_has_no_nul_and_an_end() -> None:
    said = reason_of(UnreadableError("\0" * 600))
    assert len(said) == 500
    assert "\0" not in said


def test_a_record_that_does_not_parse_is_complained_about_without_its_values() -> None:
    with pytest.raises(UnreadableError) as complaint:
        parse(b'{"id": "ada@example.org", "subject": "ada\\u0000"}')
    assert "ada" not in reason_of(complaint.value)
