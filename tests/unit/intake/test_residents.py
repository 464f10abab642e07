"""What looks like a resident's in a text, and what only looks a little like it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.intake.applications.residents import Own, found

OWN = Own.of(
    sites=("https://www.springfield.example/311", "springfield-or.example"),
    email="manager@ci.springfield.example",
    channels=("311", "+1 503 988 4444", "https://portal.cityworks.example/springfield", "100 Main Street, Mon to Fri"),
)


@pytest.mark.parametrize(
    ("text", "kind", "what"),
    [
        ("She wrote from jane.doe+311@mail.example about it", "e-mail address", "jane.doe+311@mail.example"),
        ("Call 503-555-0142.", "phone number", "503-555-0142"),
        ("Call (503) 555-0142, evenings", "phone number", "(503) 555-0142"),
        ("503.555.0142", "phone number", "503.555.0142"),
        ("+1 503 555 0142", "phone number", "+1 503 555 0142"),
        ("tel +15035550142", "phone number", "+15035550142"),
        ("pothole at 1212 Elm Street, fixed", "street address", "1212 Elm Street"),
        ("at 7 NW Old Mill Rd. since May", "street address", "7 NW Old Mill Rd"),
        ("45 West 3rd Avenue", "street address", "45 West 3rd Avenue"),
        ("2011 Oak Lane has a new sidewalk", "street address", "2011 Oak Lane"),
        ("SSN 219-09-9999 was typed in", "social security number", "219-09-9999"),
        ("a car with license plate 7ABC123 was towed", "license plate", "7ABC123"),
        ("plate number: XYZ-4821", "license plate", "XYZ-4821"),
    ],
)
def test_a_residents_data_is_found(text: str, kind: str, what: str) -> None:
    assert [(one.kind, one.text) for one in found(text, OWN)] == [(kind, what)]


@pytest.mark.parametrize(
    "text",
    [
        "Dial 311 or 911, or 1-800-555-0199, or 866.555.0123.",
        "Our line is 503-988-4444 or (503) 988-4444; write to help@springfield.example or a@www.springfield.example.",
        "records@springfield-or.example, support@portal.cityworks.example, webmaster@usa.gov",
        "Come to 100 Main Street.",
        "From 2010-2011 to 2012-2013 calls rose from 250,000 to 300,000.",
        "We closed 123-456 of 1234-5678 requests, ticket 2011-03-14-0042 and 503-55-01425.",
        "Budget $503 555 0142, $1,250,300.45; 503.555.01425 and 503,555,0142",
        "ISO-9001, RFC-7396, CRM 2011, FY-2011, SLA-95, ADA 1990, GIS-2012, Hansen 8, Section 508",
        "In 2010 Main Street was repaved; since 2011, Oak Avenue, too.",
        "12 Drive Safe campaigns and 24 hour service on the Main Street",
        "3 Main Street Bridge projects",
        "number plate readers, license plates and tags are not used",
        "10:30-12:30, 24/7, 8-5, 1-2-3",
        "version 10.20.30.4000, 192.168.100.2000",
        "@springfield on social media, 5 @ 20 dollars",
        "000-12-3456 and 666-12-3456 and 900-12-3456 and 219-00-9999",
        "https://www.springfield.example/page?id=5035550142",
    ],
)
def test_years_amounts_and_the_governments_own_are_left_alone(text: str) -> None:
    assert found(text, OWN) == []


def test_each_is_named_once_and_all_are_named() -> None:
    text = "503-555-0142, again 503-555-0142; a@b.example; 12 Elm Street"
    assert [one.kind for one in found(text)] == ["e-mail address", "phone number", "street address"]


def test_a_web_site_that_is_none_is_no_ones_domain() -> None:
    assert Own.of(sites=("http://[", ""), email="", channels=()).domains == frozenset()


@given(st.text(max_size=200))
def test_any_text_can_be_looked_at_and_what_is_found_stands_in_it(text: str) -> None:
    assert all(one.text in text for one in found(text))


def test_a_long_text_of_the_worst_kind_is_looked_at_in_no_time() -> None:
    # Were one of the patterns to try every way to split such a text, this would not end within the test's time.
    for piece in ("1 ", "a.", "1 A ", "a@", "503-", "plate ", "12 Elm Elm Elm "):
        found(piece * (20_000 // len(piece)))
