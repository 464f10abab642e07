"""Open311 answers as servers give them, and what they must not be able to do to who reads them."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any
from xml.sax.saxutils import escape

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from services.intake.probes.open311 import (
    ELEMENTS,
    Endpoint,
    UnreadableAnswer,
    distinct,
    format_of,
    read_discovery,
    read_requests,
    read_services,
)

JSON, XML = "application/json; charset=utf-8", "text/xml"

DISCOVERY = {
    "changeset": "2011-06-28T00:00:00Z",
    "endpoints": [
        {"specification": "http://wiki.open311.org/GeoReport_v1", "url": "https://old.example", "type": "production"},
        {
            "specification": "http://wiki.open311.org/GeoReport_v2",
            "url": "https://test.example/v2",
            "type": "test",
            "formats": ["text/xml"],
        },
        {
            "specification": "http://wiki.open311.org/GeoReport_v2",
            "url": "https://api.example/v2",
            "type": "production",
            "formats": ["text/xml", "application/json"],
        },
    ],
}
REQUEST = {
    "service_request_id": 638344,
    "status": "closed",
    "service_name": "Sidewalk & Curb",
    "service_code": "006",
    "requested_datetime": "2010-04-14T06:37:38-08:00",
    "updated_datetime": "2010-04-16T06:37:38-08:00",
    "expected_datetime": None,
    "address": "8TH AVE",
    "lat": 37.76,
}


def as_json(value: object) -> bytes:
    return json.dumps(value).encode()


def as_xml(root: str, item: str, values: list[dict[str, Any]]) -> bytes:
    return f"<{root}>{''.join(element(item, value) for value in values)}</{root}>".encode()


def element(name: str, value: Any) -> str:
    if isinstance(value, dict):
        return f"<{name}>{''.join(element(key, inner) for key, inner in value.items())}</{name}>"
    return f"<{name}/>" if value is None else f"<{name}>{escape(str(value))}</{name}>"


# --- discovery and services ------------------------------------------------------------------------------------------


def test_the_endpoint_in_production_is_chosen_with_its_formats() -> None:
    assert read_discovery(JSON, as_json(DISCOVERY)) == Endpoint("https://api.example/v2", ("json", "xml"))
    listed = "".join(
        f"<endpoint><specification>{one['specification']}</specification><url>{one['url']}</url>"
        f"<type>{one['type']}</type><formats>"
        + "".join(f"<format>{kind}</format>" for kind in one.get("formats", []))
        + "</formats></endpoint>"
        for one in DISCOVERY["endpoints"]
        if isinstance(one, dict)
    )
    document = f'<discovery xmlns="http://open311.example"><endpoints>{listed}</endpoints></discovery>'
    assert read_discovery(XML, document.encode()) == Endpoint("https://api.example/v2", ("json", "xml"))


def test_a_discovery_document_without_georeport_says_so() -> None:
    documents: list[object] = [{}, {"endpoints": []}, {"endpoints": DISCOVERY["endpoints"][:1]}, {"endpoints": "x"}, []]
    for document in documents:
        with pytest.raises(UnreadableAnswer, match="names no GeoReport v2 endpoint"):
            read_discovery(JSON, as_json(document))


def test_services_are_read_bare_wrapped_alone_and_none() -> None:
    one = {"service_code": "001", "service_name": "Cans", "description": None}
    for answer in ([one], {"services": [one]}, {"services": {"service": [one]}}):
        assert read_services(JSON, as_json(answer)) == {"001"}
    assert read_services(XML, as_xml("services", "service", [one])) == {"001"}
    assert read_services(XML, as_xml("services", "service", [one, {"service_name": "Tree"}])) == {"001", "Tree"}
    assert read_services(JSON, b"[]") == read_services(XML, b"<services/>") == frozenset()


# --- requests --------------------------------------------------------------------------------------------------------


def test_a_request_is_the_same_from_json_and_xml_and_nothing_private_of_it_is_kept() -> None:
    (from_json,), (from_xml,) = (
        read_requests(JSON, as_json([REQUEST])),
        read_requests(XML, as_xml("service_requests", "request", [REQUEST])),
    )
    assert from_json == from_xml
    assert (from_json.key, from_json.service, from_json.status) == ("638344", "006", "closed")
    assert from_json.expected is None
    assert "8TH" not in repr(from_json)
    assert "37.7" not in repr(from_json)


def test_times_without_a_zone_or_a_sense_are_taken_for_what_they_say() -> None:
    def moment(text: object) -> datetime | None:
        return read_requests(JSON, as_json([{**REQUEST, "requested_datetime": text}]))[0].requested

    assert moment("2014-07-12T10:58:43") == datetime(2014, 7, 12, 10, 58, 43)  # noqa: DTZ001  (a server that leaves the zone out)
    assert moment("2014-07-12") == datetime(2014, 7, 12)  # noqa: DTZ001  (likewise)
    assert moment("2014-07-12T10:58:43Z") == datetime(2014, 7, 12, 10, 58, 43, tzinfo=UTC)
    dates = ("0001-01-01T00:00:00", "9999-12-31T23:59:59-08:00", "07/12/2014", "2014-13-45", "")
    for nonsense in (*dates, 5, [5], {"a": "b"}):
        assert moment(nonsense) is None


def test_a_request_without_an_id_goes_by_its_token_or_by_all_that_it_says() -> None:
    nameless = {key: value for key, value in REQUEST.items() if key != "service_request_id"}
    found = read_requests(JSON, as_json([REQUEST, nameless, {**nameless, "token": "t1"}, nameless]))
    assert [one.key for one in found][::2] == ["638344", "t1"]
    assert len(distinct(found)) == 3
    assert distinct([*found, *found]) == distinct(found)


def test_of_one_request_in_two_answers_the_later_one_stands() -> None:
    first, again = read_requests(JSON, as_json([{**REQUEST, "status": "open"}, REQUEST]))
    assert [one.status for one in distinct([first, again])] == ["closed"]


def test_a_channel_is_read_where_servers_put_it_and_cannot_be_long_or_unprintable() -> None:
    for more in ({"channel": "phone"}, {"source": "phone"}, {"extended_attributes": {"channel": "phone"}}):
        for answer in (
            read_requests(JSON, as_json([{**REQUEST, **more}])),
            read_requests(XML, as_xml("service_requests", "request", [{**REQUEST, **more}])),
        ):
            assert answer[0].channel == "phone"
    odd = {"channel": "a\u0000b\u202e" + "c" * 10_000}
    (one,) = read_requests(JSON, as_json([{**REQUEST, **odd}]))
    assert one.channel.startswith("a b c")
    assert len(one.channel) <= 60


@pytest.mark.parametrize("item", [REQUEST, [REQUEST], {"service_requests": [REQUEST]}, {"request": REQUEST}])
def test_requests_are_read_bare_and_wrapped(item: object) -> None:
    assert len(read_requests(JSON, as_json(item))) == 1


# --- what is no answer -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "body", "why"),
    [
        ("text/html", b"<html></html>", "Content-Type"),
        ("", b"[]", "Content-Type"),
        ("application/jsonp", b"f([])", "Content-Type"),
        (JSON, b"", "no JSON"),
        (JSON, b"<services/>", "no JSON"),
        (JSON, b'[{"status": NaN}]', "no JSON"),
        (JSON, b"\xff\xfe", "no JSON"),
        (JSON, b"[" * 100_000, "no JSON"),
        (JSON, b'"closed"', "no service_requests"),
        (JSON, b"42", "no service_requests"),
        (JSON, b'[{"code": 404, "description": "x"}]', "no list of service requests"),
        (JSON, b"[1, 2]", "no list of service requests"),
        (XML, b"", "no XML"),
        (XML, b"[]", "no XML"),
        (XML, b"<service_requests><request>", "no XML"),
        (XML, b'<?xml version="1.0" encoding="utf-7"?><service_requests/>', "no XML"),
        (XML, b"<html/>", "no service_requests"),
        (XML, b"<errors><error><code>404</code><description>x</description></error></errors>", "error document"),
        (XML, b"<service_requests>" + b"<a>" * 20, "deeper than"),
    ],
)
def test_an_answer_of_another_kind_is_refused_with_its_reason(kind: str, body: bytes, why: str) -> None:
    with pytest.raises(UnreadableAnswer, match=why):
        read_requests(kind, body)


ATTACKS = {
    "entities": '<!DOCTYPE x [<!ENTITY a "lol"><!ENTITY b "&a;&a;">]><service_requests>&b;</service_requests>',
    "a file": '<!DOCTYPE x [<!ENTITY f SYSTEM "file:///etc/passwd">]><service_requests>&f;</service_requests>',
    "an address": '<!DOCTYPE x SYSTEM "http://169.254.169.254/latest"><service_requests/>',
    "a parameter entity": '<!DOCTYPE x [<!ENTITY % p SYSTEM "http://127.0.0.1/d"> %p;]><service_requests/>',
    "a document type alone": "<!DOCTYPE service_requests><service_requests/>",
}


@pytest.mark.parametrize("attack", ATTACKS)
@pytest.mark.parametrize("encoding", ["utf-8", "utf-16"])
def test_an_entity_attack_is_refused_before_anything_is_expanded(attack: str, encoding: str) -> None:
    with pytest.raises(UnreadableAnswer, match="document type or entities"):
        read_requests(XML, f'<?xml version="1.0"?>{ATTACKS[attack]}'.encode(encoding))


def test_more_elements_than_any_answer_needs_are_not_read() -> None:
    body = b"<service_requests>" + b"<a/>" * (ELEMENTS + 1) + b"</service_requests>"
    with pytest.raises(UnreadableAnswer, match="elements"):
        read_requests(XML, body)


@given(st.binary(max_size=200), st.sampled_from([JSON, XML, "text/html"]))
@example(b"<services><service>&#0;</service></services>", XML)
def test_no_bytes_make_a_reader_fail_otherwise(body: bytes, kind: str) -> None:
    for read in (read_discovery, read_services, read_requests):
        try:
            read(kind, body)
        except UnreadableAnswer as refused:
            assert "\n" not in str(refused)  # noqa: PT017  (most bytes are refused, some are not)


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=12),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from([*REQUEST, "endpoints", "extended_attributes", "request", "formats"]), inner)
    ),
    max_leaves=12,
)


@given(JSON_VALUES)
def test_no_json_makes_a_reader_fail_otherwise(value: object) -> None:
    for read in (read_discovery, read_services, read_requests):
        try:
            read(JSON, as_json(value))
        except UnreadableAnswer:
            continue


@pytest.mark.parametrize(
    ("kind", "expected"),
    [("application/json", "json"), ("TEXT/JSON", "json"), ("application/geo+json;x=y", "json"), ("text/xml", "xml")],
)
def test_formats_go_by_the_content_type(kind: str, expected: str) -> None:
    assert format_of(kind) == expected
