"""Evidence: what files are by their content, what may be uploaded, and what looks at links say."""

from __future__ import annotations

import io
from base64 import b64encode
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.applications import Evidence
from services.chassis.refusal import RefusedError
from services.intake.applications.drafts import Draft, answers
from services.intake.applications.findings import Ground, obstacles
from services.intake.applications.residents import Own
from services.intake.cycles.domain import parsed
from services.intake.evidence.content import KINDS, must_be
from services.intake.evidence.domain import (
    Allowance,
    Citation,
    Kept,
    Look,
    Upload,
    citations,
    doubts,
    judged,
    metadata,
    must_be_removable,
    must_be_uploaded,
    must_continue,
    must_have_room,
    named,
    names_of_residents,
    next_look,
    title_of,
)
from tests.applicants import SHIPPED, complete_draft
from tests.files import CSV, JPEG, PDF, PNG, archive, lying, office, overlapping

CHARTER = parsed(SHIPPED)
NOW = datetime(2011, 5, 1, 12, tzinfo=UTC)
ROOM = 1_000_000
ALL = frozenset(KINDS)
HASH = "ab" * 32
CRITERION = next(iter(CHARTER.criteria("city")))
GOOD = {
    "pdf": PDF,
    "png": PNG,
    "jpeg": JPEG,
    "csv": CSV,
    "txt": "שלום, e\u0301\r\n\tline".encode(),
    "xlsx": office("xlsx"),
    "docx": office("docx"),
    "pptx": office("pptx"),
}


def refused(rule: str, call: Callable[..., object], *args: object) -> RefusedError:
    with pytest.raises(RefusedError) as caught:
        call(*args)
    assert caught.value.rule == rule, str(caught.value)
    return caught.value


def looked_into(kind: str, content: bytes, room: int = ROOM) -> None:
    must_be(KINDS[kind], io.BytesIO(content), room)


def kept_as(name: str = "map.pdf", *, frozen: bool = False) -> Kept:
    return Kept(HASH, name, "application/pdf", 10, "", "p1", NOW, frozen)


# --- content --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_a_file_is_what_its_content_is(kind: str) -> None:
    looked_into(kind, GOOD[kind])
    for other, content in GOOD.items():
        if KINDS[other].content != KINDS[kind].content:
            refused("content-type", looked_into, kind, content)


@pytest.mark.parametrize(
    "content",
    [b"MZ\x90\x00\x03", b"\x7fELF", b"{\\rtf1 \x00}", "Ä".encode("utf-16"), b"\x1b[31mred", b"GIF89a\x01\x00"],
)
def test_what_is_none_of_the_kinds_is_no_text_either(content: bytes) -> None:
    for kind in KINDS:
        refused("content-type", looked_into, kind, content)


@pytest.mark.parametrize("content", [b" <!DOCTYPE html><p>", b"\xef\xbb\xbf<HTML>", b"<svg onload=x>", b"<?xml ?>"])
def test_markup_is_no_text(content: bytes) -> None:
    assert "browser" in str(refused("content-type", looked_into, "txt", content))


def test_binary_deep_in_a_text_is_found() -> None:
    refused("content-type", looked_into, "csv", b"a,b\n" * 100_000 + b"\x00")


def test_an_office_file_with_macros_is_refused() -> None:
    refused("content-type", looked_into, "xlsx", office("xlsm"))
    found = refused("content-type", looked_into, "xlsx", office("xlsx", {"xl/vbaProject.bin": b"x"}))
    assert "macros" in str(found)


def test_an_archive_is_no_office_file() -> None:
    refused("content-type", looked_into, "docx", archive({"a.txt": b"a"}))
    both = b"".join(f"{KINDS[kind].type}.main+xml".encode() for kind in ("docx", "xlsx"))
    refused("content-type", looked_into, "docx", archive({"[Content_Types].xml": both}))


def test_a_bomb_is_refused_by_what_it_says_and_by_what_it_is() -> None:
    looked_into("docx", office("docx", {"word/media.bin": b"\x00" * (ROOM - 10_000)}))
    said = refused("archive", looked_into, "docx", office("docx", {"bomb.bin": b"\x00" * ROOM}))
    assert f"{ROOM:,} are allowed" in str(said)
    assert "more than it says" in str(refused("archive", looked_into, "docx", lying(5_000_000)))
    assert "overlap" in str(refused("archive", looked_into, "docx", overlapping(5)))
    many = office("docx", {f"{'n' * 200}{number}": b"" for number in range(6_000)})
    assert "too many" in str(refused("archive", looked_into, "docx", many))


def test_an_archive_of_an_unusual_form_is_refused() -> None:
    plain = office("docx")
    commented = plain[:-2] + b"\x03\x00abc"
    for content in (commented, plain[:-30], plain[:100], b"PK\x03\x04", plain + b"\x00"):
        refused("archive", looked_into, "docx", content)
    encrypted = bytearray(plain)
    encrypted[plain.index(b"PK\x01\x02") + 8] |= 1
    refused("archive", looked_into, "docx", bytes(encrypted))


@given(data=st.data())
def test_a_damaged_office_file_is_refused_or_still_one(data: Any) -> None:
    content = bytearray(GOOD["xlsx"])
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    try:
        looked_into("xlsx", bytes(content))
    except RefusedError as error:
        assert error.rule in {"archive", "content-type"}  # noqa: PT017  (it may also be taken)


# --- names and numbers ----------------------------------------------------------------------------------------------


def test_metadata_is_read_as_tus_writes_it() -> None:
    name = "Plan für Nörd.pdf"
    header = f"filename {b64encode(name.encode()).decode()},filetype YXBwbGljYXRpb24vcGRm, is_confidential"
    assert metadata(header) == {"filename": name, "filetype": "application/pdf", "is_confidential": ""}
    assert metadata("") == {}
    for wrong in ("filename =", "filename ?", "filename /w==", "a b c d", ",", "filename YQ==,,"):
        assert refused("upload-metadata", metadata, wrong).status == 400


def test_a_file_is_taken_by_the_end_of_its_name() -> None:
    for name, kind in (("a.pdf", "pdf"), ("A.PDF", "pdf"), ("b.jpeg", "jpeg"), ("c.jpg", "jpeg"), ("x.y.csv", "csv")):
        assert named({"filename": name}, CHARTER, ALL) == (name, kind, "")
    told = {"filename": "a.pdf", "filetype": "application/pdf; x=y", "criterion": CRITERION}
    assert named(told, CHARTER, ALL) == ("a.pdf", "pdf", CRITERION)
    for name in ("a.exe", "pdf", "a.pdf.html", "a"):
        refused("file-kind", named, {"filename": name}, CHARTER, ALL)
    refused("file-kind", named, {"filename": "a.pdf", "filetype": "text/csv"}, CHARTER, ALL)
    refused("file-kind", named, {"filename": "a.csv"}, CHARTER, frozenset({"pdf"}))
    refused("unknown-criterion", named, {"filename": "a.pdf", "criterion": "nope"}, CHARTER, ALL)


@pytest.mark.parametrize(
    "name", ["", "a/b.pdf", "a\\b.pdf", "a\nb.pdf", "a\u202efdp.pdf", "x" * 197 + ".pdf", "\x7f.pdf"]
)
def test_a_name_that_is_no_name_is_refused(name: str) -> None:
    refused("file-name", named, {"filename": name}, CHARTER, ALL)


def test_an_application_holds_so_many_files_and_bytes() -> None:
    allowance = Allowance(ALL, 100, 3, 250)
    must_have_room(100, [100], allowance)
    must_have_room(50, [100, 100], allowance)
    refused("empty-file", must_have_room, 0, [], allowance)
    refused("file-too-large", must_have_room, 101, [], allowance)
    refused("too-many-files", must_have_room, 1, [1, 1, 1], allowance)
    refused("files-too-large", must_have_room, 51, [100, 100], allowance)


def test_an_upload_goes_on_where_it_was_and_while_it_lasts() -> None:
    upload = Upload("u", "a", "map.pdf", "pdf", "", 10, 4, "p", NOW)
    must_continue(upload, 4, NOW - timedelta(seconds=1))
    refused("upload-offset", must_continue, upload, 3, NOW - timedelta(seconds=1))
    assert refused("upload-expired", must_continue, upload, 4, NOW).status == 410


def test_a_file_that_something_cites_stays() -> None:
    must_be_removable(kept_as(), [])
    refused("cited", must_be_removable, kept_as(), ["/answers/x/evidence/0"])
    refused("frozen", must_be_removable, kept_as(frozen=True), [])


# --- citations ------------------------------------------------------------------------------------------------------


def test_evidence_is_found_where_it_is_cited() -> None:
    content = {"answers": {"a/b": {"evidence": [{"url": "https://x.example"}, {"file": HASH}]}, "c": {}}, "facts": {}}
    found = list(citations(content))
    assert found == [
        Citation("/answers/a~1b/evidence/0", "https://x.example", ""),
        Citation("/answers/a~1b/evidence/1", "", HASH),
    ]
    must_be_uploaded(found, {HASH: kept_as()})
    error = refused("unknown-file", must_be_uploaded, found, {})
    assert error.violations[0].field == "/answers/a~1b/evidence/1/file"


def test_a_version_cites_a_file_with_all_that_proves_it() -> None:
    evidence = Evidence(url="", file=kept_as().file).model_dump(mode="json")
    assert list(citations({"answers": {"c": {"evidence": [evidence]}}})) == [
        Citation("/answers/c/evidence/0", "", kept_as().sha256)
    ]


def test_a_file_stands_in_for_a_link_and_goes_into_the_answer() -> None:
    document = complete_draft(CHARTER, "city")
    document["answers"][CRITERION]["evidence"] = [{"file": HASH, "page": "3"}, {"url": "https://x.example"}]
    draft = Draft.model_validate(document)
    ground = Ground.of(CHARTER, "city", (), draft.contact)
    assert obstacles(draft, ground) == []
    answer = answers(draft, CHARTER, {HASH: kept_as().file})[CRITERION]
    assert [(one.url, one.page, one.file) for one in answer.evidence] == [
        ("", "3", kept_as().file),
        ("https://x.example", "", None),
    ]
    document["answers"][CRITERION]["evidence"] = [{"page": "3"}]
    assert [one.rule for one in obstacles(Draft.model_validate(document), ground)] == ["evidence-link"]


def test_a_residents_data_in_a_files_name_is_warned_of() -> None:
    assert names_of_residents("call_503-555-0142.pdf") == ["“503-555-0142” looks like a phone number"]
    assert names_of_residents("jane@home.example.pdf")
    for name in ("sla-report-2010.pdf", "fy2010_2011.csv", "311 statistics.xlsx"):
        assert names_of_residents(name) == []
    assert names_of_residents("call_503-555-0142.pdf", Own(channels=("503-555-0142",))) == []


def test_doubts_name_the_place_and_can_be_acknowledged() -> None:
    url = "https://gone.example/x"
    document = {"answers": {CRITERION: {"evidence": [{"url": url}, {"file": HASH}]}}}
    found = doubts(document, CHARTER, {HASH: kept_as("503-555-0142.pdf")}, {url: "status 404"}, Own())
    assert [(one.rule, one.field) for one in found] == [
        ("broken-link", f"/answers/{CRITERION}/evidence/0"),
        ("residents-data", f"/answers/{CRITERION}/evidence/1"),
    ]
    assert all(one.id.startswith(f"answers.{CHARTER.areas[0].id}:") for one in found)
    again = doubts(document, CHARTER, {HASH: kept_as("503-555-0142.pdf")}, {url: "status 410"}, Own())
    assert [one.id for one in again] == [one.id for one in found]
    assert doubts(document, CHARTER, {HASH: kept_as()}, {}, Own()) == []


# --- links ----------------------------------------------------------------------------------------------------------


def test_an_answers_status_says_what_a_link_is_worth() -> None:
    states = {status: judged(status, "").state for status in (200, 204, 301, 401, 403, 404, 410, 429, 500, 503)}
    assert [status for status, state in states.items() if state == "reachable"] == [200, 204]
    assert [status for status, state in states.items() if state == "broken"] == [301, 404, 410]


def test_a_broken_link_is_looked_at_again_within_the_hour_then_ever_later_up_to_a_day() -> None:
    week, hour = timedelta(days=7), timedelta(hours=1)
    assert next_look(Look("reachable", 200), 1, week) == week
    assert next_look(Look("unclear", 403), 1, week) == timedelta(days=1)
    assert next_look(Look("unclear"), 1, week) == week
    waits = [next_look(Look("broken", 404), failures, week) for failures in range(1, 50)]
    assert waits[:5] == [hour, 2 * hour, 4 * hour, 8 * hour, 16 * hour]
    assert set(waits[5:]) == {timedelta(days=1)}


@pytest.mark.parametrize(
    ("kind", "body", "title"),
    [
        (
            "text/html",
            b"<html><head><TITLE class=x>\n The 311  page &amp; more</title><title>no</title>",
            "The 311 page & more",
        ),
        ("text/html; charset=iso-8859-1", b"<title>Caf\xe9</title>", "Café"),
        ("text/html", b'<meta charset="windows-1252"><title>\x93x\x94</title>', "“x”"),
        ("text/html; charset=nonsense", "<title>é</title>".encode(), "é"),
        ("text/html; charset=idna", b"<title>x</title>", "x"),
        ("text/html", b"<title>cut off", ""),
        ("text/html", b"no title", ""),
        ("text/html", b"<title", ""),
        ("text/html", b"<title>a\x00b\xe2\x80\xaec</title>", "abc"),
        ("text/html", b"<title>" + b"x" * 1_000 + b"</title>", "x" * 300),
        ("application/pdf", b"<title>x</title>", ""),
    ],
)
def test_a_pages_title_is_one_line_that_can_be_shown(kind: str, body: bytes, title: str) -> None:
    assert title_of(kind, body) == title


@given(kind=st.sampled_from(["text/html", "text/html; charset=utf-16"]), body=st.binary(max_size=200))
def test_no_page_makes_the_title_fail(kind: str, body: bytes) -> None:
    assert title_of(kind, b"<title>" + body).isprintable()
