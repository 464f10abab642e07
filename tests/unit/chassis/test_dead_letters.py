"""The safe view of a record: what everybody may know of it, whatever it is."""

from __future__ import annotations

import json
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.applications import ApplicationWithdrawn, Withdrawal
from schemas.reviews import Assignee, ReviewAssigned
from services.chassis.dead_letters import SHOWN, safe_view
from tests.given import written

EVENT = ReviewAssigned(cycle="2027", application="a-1", review="alias", private=Assignee(reviewer="Ada"))


def record(**changes: Any) -> dict[str, Any]:
    made: dict[str, Any] = json.loads(written(EVENT, 7).record)
    return made | changes


def test_an_event_is_shown_by_its_envelope_and_its_public_fields() -> None:
    body = record()
    envelope, data, withheld = safe_view(json.dumps(body).encode())
    assert envelope == {name: body[name] for name in ("id", "type", "source", "subject", "time", "sequence", "cycleid")}
    assert (data, withheld) == ({"review": "alias"}, ["private"])


def test_one_wrong_attribute_hides_itself_only() -> None:
    envelope, data, _ = safe_view(json.dumps(record(sequence=0, id="Ada", specversion=2)).encode())
    assert (envelope["type"], envelope["subject"]) == (ReviewAssigned.TYPE, "a-1")
    assert envelope.keys().isdisjoint({"sequence", "id"})
    assert data == {"review": "alias"}


def test_a_sealed_field_that_lies_open_is_not_shown() -> None:
    body = record()
    body["data"] |= {"private": {"reviewer": "Ada"}, "extra": "Ada"}
    envelope, data, withheld = safe_view(json.dumps(body).encode())
    assert "Ada" not in json.dumps([envelope, data])
    assert withheld == ["extra", "private"]


def test_of_an_unknown_type_no_data_is_shown() -> None:
    assert safe_view(json.dumps(record(type="scoring.review.painted.v1")).encode())[1:] == ({}, ["private", "review"])


@pytest.mark.parametrize("value", [b"", b"{", b"null", b"[1]", b'"Ada"', b"\xff", b'{"data": ["Ada"]}'])
def test_what_is_no_event_shows_nothing(value: bytes) -> None:
    assert safe_view(value) == ({}, {}, [])


def test_what_is_long_is_cut() -> None:
    envelope, data, _ = safe_view(json.dumps(record(cycleid="c" * 5_000)).encode())
    assert len(envelope["cycleid"]) == SHOWN + 1
    assert data


JSON: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.floats(allow_nan=False) | st.text(max_size=9),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=9), inner, max_size=3),
    max_leaves=12,
)


@given(st.dictionaries(st.sampled_from([*record(), "x"]), JSON), JSON)
def test_no_opening_is_shown_whatever_stands_around_it(changes: dict[str, Any], disclosures: Any) -> None:
    event = ApplicationWithdrawn(cycle="2027", application="a-1", private=Withdrawal())
    opening = written(event, 1).record
    body = orjson.loads(opening) | changes
    if isinstance(body["data"], dict):
        body["data"]["disclosures"] = {"private": "HIDDEN", "more": disclosures}
    envelope, data, withheld = safe_view(orjson.dumps(body))
    assert "HIDDEN" not in json.dumps([envelope, data, withheld])
    assert "disclosures" not in data
