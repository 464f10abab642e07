"""Sealing: what the ledger hashes reveals nothing, and what is opened later is what was sealed."""

from __future__ import annotations

import base64
import json
import os
from datetime import UTC, datetime
from hashlib import sha256
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas import envelope as e
from schemas.applications import Answer, ApplicationWithdrawn, Contact, Withdrawal
from schemas.canonical import canonical
from schemas.cycles import CycleDeadlineExtended
from schemas.topics import EVENT_TOPICS, EVENTS, events_of, topic_of
from services.chassis.ids import event_id

NOW = datetime(2011, 10, 17, 12, tzinfo=UTC)


def header(event: e.Event, **changes: object) -> e.Header:
    given_values = {
        "id": event_id(),
        "type": event.TYPE,
        "source": event.source(),
        "subject": event.subject,
        "time": NOW,
        "sequence": 1,
        "cycleid": "2011-2013",
    }
    return e.Header.model_validate({**given_values, **changes})


def withdrawn(reason: str = "the budget was cut") -> ApplicationWithdrawn:
    return ApplicationWithdrawn(cycle="2011-2013", application="a-1", private=Withdrawal(reason=reason))


@given(st.text(max_size=200))
def test_an_event_reads_back_as_it_was_written(reason: str) -> None:
    written = e.write(withdrawn(reason), header(withdrawn()), os.urandom)
    assert e.read(e.parse(written.record)) == withdrawn(reason)


def test_the_leaf_is_the_record_without_its_disclosures() -> None:
    written = e.write(withdrawn(), header(withdrawn()), os.urandom)
    leaf, openings = e.leaf_of(written.record)
    assert leaf == written.leaf
    assert set(openings) == {"private"}
    body = orjson.loads(written.record)
    del body["data"]["disclosures"]
    assert canonical(body) == leaf


def test_a_leaf_and_its_surviving_disclosures_make_the_record_again() -> None:
    written = e.write(withdrawn(), header(withdrawn()), os.urandom)
    leaf, openings = e.leaf_of(written.record)
    assert e.record_of(leaf, openings) == written.record
    erased = e.record_of(leaf, {})
    assert e.leaf_of(erased) == (leaf, {})
    event = e.read(e.parse(erased))
    assert isinstance(event, ApplicationWithdrawn)
    assert event.private is None


def test_the_leaf_holds_nothing_of_a_sealed_block_and_a_reader_without_openings_sees_none() -> None:
    written = e.write(withdrawn(), header(withdrawn()), os.urandom)
    assert b"budget" not in written.leaf
    event = e.read(e.parse(written.leaf))
    assert isinstance(event, ApplicationWithdrawn)
    assert event.private is None


def test_the_same_event_sealed_twice_has_no_digest_in_common() -> None:
    first, second = (orjson.loads(e.write(withdrawn(), header(withdrawn()), os.urandom).leaf) for _ in range(2))
    assert first["data"]["sealed"]["private"] != second["data"]["sealed"]["private"]
    assert first["salt"] != second["salt"]


def test_a_disclosure_is_salt_block_and_value_in_base64url_and_its_digest_is_over_its_characters() -> None:
    opening = e.disclosure(bytes(16), "identity", {"name": "Boston"})
    assert e.unb64url(opening) == b'["AAAAAAAAAAAAAAAAAAAAAA","identity",{"name":"Boston"}]'
    assert e.opened(opening, "identity", e.digest(opening)) == {"name": "Boston"}


def test_a_digest_equals_the_published_example_of_sd_jwt() -> None:
    # RFC 9901, section 4.2.3: a disclosure and its digest.
    disclosure = "WyI2cU1RdlJMNWhhaiIsICJmYW1pbHlfbmFtZSIsICJNw7ZiaXVzIl0"
    assert e.digest(disclosure) == "uutlBuYeMDyjLLTpf6Jxi7yNkEF35jdyWMn9U7b_RYY"


@pytest.mark.parametrize("change", ["value", "block", "digest", "garbage"])
def test_an_opening_that_is_not_what_was_sealed_is_refused(change: str) -> None:
    opening = e.disclosure(bytes(16), "identity", "Boston")
    expected = e.digest(opening)
    given_opening, block = opening, "identity"
    if change == "value":
        given_opening = e.disclosure(bytes(16), "identity", "Denver")
    elif change == "block":
        block = "claims"
    elif change == "digest":
        expected = ""
    else:
        given_opening = "€"
    with pytest.raises(e.UnreadableError):
        e.opened(given_opening, block, expected)


def test_a_block_that_the_writer_left_out_is_an_error_and_an_empty_one_is_not() -> None:
    with pytest.raises(ValueError, match="private"):
        e.write(ApplicationWithdrawn(cycle="c", application="a"), header(withdrawn()), os.urandom)
    assert e.write(withdrawn(""), header(withdrawn()), os.urandom).leaf


@pytest.mark.parametrize(
    "changes",
    [
        {"sequence": 0},
        {"sequence": None},
        {"id": "not-a-uuid"},
        {"subject": ""},
        {"type": "Something Happened"},
        {"time": "yesterday"},
        {"specversion": "0.3"},
        {"data": "text"},
    ],
    ids=str,
)
def test_a_record_that_is_no_event_is_refused_with_the_place(changes: dict[str, object]) -> None:
    body = {**orjson.loads(e.write(withdrawn(), header(withdrawn()), os.urandom).record), **changes}
    with pytest.raises(e.UnreadableError, match=next(iter(changes))):
        e.parse(orjson.dumps(body))


def test_a_complaint_never_repeats_the_value_that_was_wrong() -> None:
    body = {**orjson.loads(e.write(withdrawn(), header(withdrawn()), os.urandom).record), "sequence": "555-0100"}
    with pytest.raises(e.UnreadableError) as refusal:
        e.parse(orjson.dumps(body))
    assert "555-0100" not in str(refusal.value)


def test_a_reader_takes_an_event_with_fields_that_it_does_not_know() -> None:
    body = orjson.loads(e.write(withdrawn(), header(withdrawn()), os.urandom).record)
    body["data"]["mood"] = "good"
    body["region"] = "north"
    assert e.read(e.parse(orjson.dumps(body))) == withdrawn()


def test_a_leaf_of_more_than_sixty_thousand_bytes_is_refused_with_its_size() -> None:
    event = CycleDeadlineExtended(cycle="c", deadline=NOW, reason="x" * 60_000)
    with pytest.raises(ValueError, match=r"60,\d{3} bytes, 60,000 are allowed"):
        e.write(event, header(event), os.urandom)


def test_a_record_of_more_than_nine_hundred_thousand_bytes_is_refused() -> None:
    event = withdrawn("x" * 700_000)
    with pytest.raises(ValueError, match="900,000 are allowed"):
        e.write(event, header(event), os.urandom)


def test_every_event_type_names_its_service_its_aggregate_and_its_version() -> None:
    for name, model in EVENTS.items():
        assert model.ABOUT in model.model_fields
        assert topic_of(name) == EVENT_TOPICS[name.split(".")[0]].name
        assert model.__doc__
    assert sum(len(events_of(service)) for service in EVENT_TOPICS) == len(EVENTS)


def test_contact_and_answers_are_blocks_of_their_classes() -> None:
    submitted = EVENTS["intake.application.submitted.v1"]
    assert set(submitted.block_fields()) == {"identity", "claims", "answers", "contact"}
    event = submitted.model_validate(
        {
            "cycle": "c",
            "application": "a",
            "version": 1,
            "identity": {
                "government": "g",
                "name": "Boston",
                "state": "Massachusetts",
                "kind": "city",
                "population": 617594,
                "population_source": "2010 Census",
                "website": "https://www.boston.gov",
                "tier": "T4",
            },
            "claims": {"facts": {}, "assumed": [], "metrics": []},
            "answers": {"crm": Answer(statement="Yes"), "gis": Answer()},
            "contact": Contact(official="X", title="Y", email="z@example.org"),
        }
    )
    assert set(event.blocks()) == {"identity", "claims", "contact", "answers/crm", "answers/gis"}


# Reading at one go equals reading step by step.


def unsealed(record: bytes) -> tuple[e.Envelope, bytes, dict[str, str]]:
    """`taken_apart` the obvious way: the envelope by its model, the leaf dumped anew, each opening step by step."""
    envelope = e.Envelope.model_validate_json(record)
    body = json.loads(record)
    openings = body["data"].pop("disclosures", {})
    assert isinstance(openings, dict)
    assert isinstance(body["data"]["sealed"], dict)
    for block, opening in openings.items():
        hashed = base64.urlsafe_b64encode(sha256(opening.encode("ascii")).digest()).decode().rstrip("=")
        assert body["data"]["sealed"].get(block) == hashed
        raw = base64.b64decode(opening + "=" * (-len(opening) % 4), altchars=b"-_", validate=True)
        assert base64.urlsafe_b64encode(raw).decode().rstrip("=") == opening
        _salt, name, _value = json.loads(raw)
        assert name == block
    return envelope, canonical(body), openings


def same(record: bytes) -> bool:
    """Both ways give the same, or both refuse; says which."""
    try:
        envelope, leaf, openings = unsealed(record)
    except (AssertionError, KeyError, TypeError, ValueError, AttributeError):
        with pytest.raises(ValueError):  # noqa: PT011  (whichever of ours: both are errors of a value)
            e.taken_apart(record)
        return False
    found, bytes_, opened = e.taken_apart(record)
    assert (bytes_, opened) == (leaf, openings)
    assert found.model_dump(exclude={"data"}) == envelope.model_dump(exclude={"data"})
    assert found.data == json.loads(leaf)["data"]
    return True


junk: st.SearchStrategy[Any] = (
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=20) | st.just({})
)
places = st.sampled_from(
    ["id", "type", "source", "subject", "time", "sequence", "specversion", "dataschema", "salt", "data", "region"]
)


@given(st.text(max_size=200), st.sampled_from([None, "cycle-ü"]))
def test_a_record_is_taken_apart_at_one_go_as_it_is_step_by_step(reason: str, actor: str | None) -> None:
    assert same(e.write(withdrawn(reason), header(withdrawn(), actor=actor), os.urandom).record)


@given(places, junk)
def test_a_record_with_anything_else_in_a_place_of_its_envelope_fares_the_same_both_ways(
    place: str, value: object
) -> None:
    body = {**orjson.loads(e.write(withdrawn(), header(withdrawn()), os.urandom).record), place: value}
    same(json.dumps(body).encode())


@given(st.sampled_from(["sealed", "disclosures", "mood"]), junk | st.dictionaries(st.text(max_size=5), junk))
def test_a_record_with_anything_else_in_its_data_fares_the_same_both_ways(place: str, value: object) -> None:
    body = orjson.loads(e.write(withdrawn(), header(withdrawn()), os.urandom).record)
    body["data"][place] = value
    same(json.dumps(body).encode())


@given(st.integers(0, 2_000), st.integers(0, 255))
def test_a_record_with_one_byte_changed_fares_the_same_both_ways(at: int, byte: int) -> None:
    record = bytearray(e.write(withdrawn(), header(withdrawn()), os.urandom).record)
    record[at % len(record)] = byte
    same(bytes(record))


@given(st.text(alphabet=st.characters(max_codepoint=127), max_size=12) | st.binary(max_size=12).map(e.b64url))
def test_base64url_is_read_exactly_where_it_was_written_so(text: str) -> None:
    try:
        raw = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
    except ValueError:
        raw = b"\xff" + text.encode()  # anything that is not written so
    if e.b64url(raw) == text:
        assert e.unb64url(text) == raw
    else:
        with pytest.raises(ValueError):  # noqa: PT011  (binascii's or ours)
            e.unb64url(text)


@given(
    st.sampled_from(["A", "QQ", "QR", "QUI", "QUJ", "QUJD", "Q=", "QQ==", "+w", "-w", "/w", "_w", "Q Q", "QQ\n", ""])
)
def test_no_bytes_have_two_spellings(text: str) -> None:
    if text in {"QQ", "QUI", "QUJD", "-w", "_w", ""}:
        assert e.b64url(e.unb64url(text)) == text
    else:
        with pytest.raises(ValueError):  # noqa: PT011  (binascii's or ours)
            e.unb64url(text)
