"""Signed commands before they are carried out: what a stranger writes reaches the database only as it can hold it."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from services.scoring.submissions import _name


@given(st.binary(max_size=1_200))
def test_whatever_key_a_record_has_it_can_be_asked_for(key: bytes) -> None:
    name = _name(key)
    assert "\0" not in name
    assert len(name) <= 1_000
    name.encode()


@given(st.text(st.characters(min_codepoint=32, exclude_categories=["Cs"]), min_size=1, max_size=200))
def test_an_id_that_a_command_can_name_is_asked_for_as_it_is(application: str) -> None:
    assert _name(application.encode()) == application
