"""Applications as files: what goes into a form comes back, and what is no form is told by its cells."""

from __future__ import annotations

import zipfile
from collections.abc import Callable
from io import BytesIO
from typing import Any

import pytest
import xlsxwriter
from hypothesis import example, given, settings
from hypothesis import strategies as st

from schemas.charter import Charter
from services.chassis.refusal import RefusedError
from services.intake.applications.drafts import Draft
from services.intake.exchange import form, workbook
from services.intake.exchange.domain import drafted, inert
from services.intake.exchange.filling import Filled, filled
from services.intake.exchange.form import LAYOUT
from services.intake.exchange.spreadsheet import draft_of, form_of
from services.intake.exchange.spreadsheet import returned as held
from services.intake.exchange.workbook import WorkbookError, read
from tests.applicants import SHIPPED, SMALL, complete_draft

CHARTER = Charter.parse(SHIPPED)
CRITERIA = list(CHARTER.criteria("city"))
COMPLETE = complete_draft(CHARTER, "city")

TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1, max_size=40)
AWKWARD = st.sampled_from(
    [
        "=1+1",
        "+1",
        "@sum",
        "-3",
        "{=A1}",
        "12",
        "true",
        "one\ntwo",
        "one\r\ntwo\rthree",
        " led and trailed ",
        "_x000D_",
        "_x005F_x0041_",
        "_\u2060x0041_",
        "\ufffe\uffff",
        "مرحبا\nبالعالم",  # noqa: RUF001  (Arabic)
        "\u202eright to left",
        "http://gov.example/?a=1&b=2",
        "]]>&amp;<b>",
        "\U0001f3db e\u0301",
    ]
)
WORDS = st.one_of(AWKWARD, TEXT)
LINE = WORDS
ANSWER = st.fixed_dictionaries(
    {"statement": WORDS},
    optional={
        "not_applicable": WORDS,
        "evidence": st.lists(
            st.fixed_dictionaries({"url": LINE}, optional={"page": LINE, "quote": WORDS, "file": st.just("0f" * 32)}),
            min_size=1,
            max_size=3,
        ),
    },
)
FACTS = {
    "yes_no": st.booleans(),
    "count": st.integers(0, 2**53 - 1),
}
METRIC = st.fixed_dictionaries(
    {"id": st.sampled_from([metric.id for metric in CHARTER.metrics]), "value": LINE},
    optional={"unit": LINE, "period": LINE, "published": st.just(True), "simulated": st.just(True)},
)


@st.composite
def documents(draw: st.DrawFn) -> dict[str, Any]:
    """Drafts, without what says nothing."""
    document: dict[str, Any] = {
        "answers": draw(st.dictionaries(st.sampled_from(CRITERIA), ANSWER, min_size=1, max_size=3)),
        "metrics": draw(st.lists(METRIC, max_size=3)),
        "contact": draw(st.fixed_dictionaries({"official": LINE}, optional={"title": LINE, "email": LINE})),
        "facts": {},
    }
    for fact in draw(st.lists(st.sampled_from(CHARTER.facts), max_size=5, unique_by=lambda one: one.id)):
        match fact.kind:
            case "yes_no" | "count":
                document["facts"][fact.id] = draw(FACTS[fact.kind])
            case "choice":
                document["facts"][fact.id] = draw(st.sampled_from(fact.choices))
            case "choices":
                chosen = st.lists(st.sampled_from(fact.choices), min_size=1, unique=True)
                document["facts"][fact.id] = draw(chosen)
    document["assumed"] = draw(st.lists(st.sampled_from([*document["facts"], "website", "population"]), unique=True))
    return document


def normal(draft: Draft) -> Draft:
    """The same in the order of the form."""
    order = {metric.id: number for number, metric in enumerate(CHARTER.metrics)}
    metrics = sorted(draft.metrics, key=lambda one: order[one.id])
    return draft.model_copy(update={"metrics": metrics, "assumed": sorted(draft.assumed)})


def returned(draft: Draft, charter: Charter = CHARTER, kind: str = "city") -> Draft:
    """The draft as it comes back from a workbook."""
    found = filled(read(form_of(draft, charter, kind), LAYOUT), charter)
    assert found.wrong == []
    return drafted(found.document, charter)[0]


# --- out and in again ------------------------------------------------------------------------------------------------


UNSAID: dict[str, Any] = {
    "metrics": [{"id": CHARTER.metrics[1].id, "published": False}, {"id": CHARTER.metrics[0].id, "value": "1"}],
    "assumed": ["website", CHARTER.facts[0].id],
    "acknowledged": ["metrics:0123456789abcdef"],
}
"""What a form has in another order, or not at all."""


@settings(max_examples=12)
@given(documents(), st.data())
def test_a_form_changes_what_somebody_wrote_in_it_and_nothing_else(
    document: dict[str, Any], data: st.DataObject
) -> None:
    document |= {root: UNSAID[root] for root in data.draw(st.sets(st.sampled_from(sorted(UNSAID))))}
    document["answers"] |= {CRITERIA[-1]: {"statement": "", "evidence": [{"page": ""}]}}
    draft, kept = drafted(document, CHARTER)
    _, came = draft_of(form_of(draft, CHARTER, "city"), CHARTER)
    assert held(came, kept, CHARTER, "city") == kept
    written = draft.model_copy(update={"contact": draft.contact.model_copy(update={"title": "Somebody else"})})
    _, came = draft_of(form_of(written, CHARTER, "city"), CHARTER)
    assert held(came, kept, CHARTER, "city") == kept | {"contact": came["contact"]}


@settings(max_examples=60)
@given(documents())
def test_what_a_form_is_given_comes_back_from_it_the_same(document: dict[str, Any]) -> None:
    draft, _ = drafted(document, CHARTER)
    assert normal(returned(draft)) == normal(draft)


@settings(max_examples=200)
@given(WORDS)
@example("_x005F_x005F_x0041_")
@example("_\u2060\u2060x0041_\u2060x0041_")
def test_any_text_comes_back_from_a_cell_the_same(text: str) -> None:
    sheets = {"Contact": [["Field", "Channel", "Value"], ["official", "", text]]}
    made = workbook.written(sheets, {"Contact": [10, 10, 10]}, {"Contact": [1, 2]})
    assert read(made, ["Contact"])["Contact"][1][2] == text


@pytest.mark.parametrize(("text", "kind"), [(SHIPPED, "county"), (SMALL, "municipio")])
def test_a_complete_draft_of_any_charter_comes_back(text: str, kind: str) -> None:
    charter = Charter.parse(text)
    draft, _ = drafted(complete_draft(charter, kind), charter)
    assert returned(draft, charter, kind) == draft


def test_an_empty_form_says_nothing() -> None:
    assert returned(Draft()) == Draft()


def test_nothing_that_somebody_wrote_is_a_formula_in_the_workbook() -> None:
    statement = '=HYPERLINK("http://evil.example","you won")'
    draft = Draft.model_validate({"answers": {CRITERIA[0]: {"statement": statement}}})
    with zipfile.ZipFile(BytesIO(form_of(draft, CHARTER, "city"))) as made:
        parts = {name: made.read(name) for name in made.namelist()}
    assert b"HYPERLINK" in parts["xl/sharedStrings.xml"]
    assert not any(b"<f>" in text for text in parts.values())
    assert not any(b"hyperlink" in text for name, text in parts.items() if name.startswith("xl/worksheets"))


def test_beside_each_field_stands_what_the_charter_says_of_it() -> None:
    sheets = form.rows(Draft(), CHARTER, "city")
    rows = {row[0]: row for row in sheets["Answers"][1:]}
    assert list(rows) == CRITERIA
    crm = CHARTER.criteria("city")["crm"]
    assert crm.definition in rows["crm"]
    assert f"2: {crm.looks_like[2]}" in rows["crm"][5]
    assert "yes or no" in {row[3] for row in sheets["Facts"][1:]}


# --- what a spreadsheet makes of it ----------------------------------------------------------------------------------


def edited(change: Callable[[dict[str, list[list[str]]]], None]) -> Filled:
    """What the form of a complete draft says after somebody changed its rows."""
    sheets = form.rows(drafted(COMPLETE, CHARTER)[0], CHARTER, "city")
    change(sheets)
    return filled(sheets, CHARTER)


def test_columns_and_rows_may_be_moved() -> None:
    def move(sheets: dict[str, list[list[str]]]) -> None:
        for name in LAYOUT:
            rows = [list(reversed(row)) for row in sheets[name]]
            sheets[name] = [rows[0], *reversed(rows[1:])]

    moved, straight = edited(move), edited(lambda _: None)
    assert moved.wrong == []
    assert moved.document["answers"] == straight.document["answers"]
    assert moved.document["contact"] == straight.document["contact"]


def test_a_sheet_or_a_column_that_is_gone_is_told() -> None:
    def tear(sheets: dict[str, list[list[str]]]) -> None:
        del sheets["Evidence"]
        sheets["Facts"][0][4] = "Wert"

    found = [(place.sheet, place.heading, one.rule) for place, one in edited(tear).wrong]
    assert found == [("Evidence", "", "missing-sheet"), ("Facts", "Value", "missing-column")]


def test_a_row_twice_and_a_row_without_an_id_are_told_by_their_number() -> None:
    def muddle(sheets: dict[str, list[list[str]]]) -> None:
        sheets["Answers"].append(sheets["Answers"][1])
        sheets["Metrics"].append(["", "", "", "12", "", "", "", ""])

    wrong = edited(muddle).wrong
    assert [(place.sheet, place.row, one.rule) for place, one in wrong] == [
        ("Answers", len(CRITERIA) + 2, "repeated-row"),
        ("Metrics", len(CHARTER.metrics) + 2, "missing-id"),
    ]


def test_a_mistake_that_only_the_charter_knows_leads_back_to_its_cell() -> None:
    def mistake(sheets: dict[str, list[list[str]]]) -> None:
        sheets["Answers"][1][0] = "no_such_criterion"
        row = next(row for row in sheets["Facts"] if row[3] == "yes or no")
        row[4] = "perhaps"

    found = edited(mistake)
    with pytest.raises(RefusedError) as refused:
        drafted(found.document, CHARTER)
    places = {one.rule: found.place_of(one.field) for one in refused.value.violations}
    unknown, fact = places["unknown-criterion"], places["fact-value"]
    assert unknown is not None
    assert (unknown.sheet, unknown.row) == ("Answers", 2)
    assert fact is not None
    assert (fact.sheet, fact.heading) == ("Facts", "Value")


def test_what_excel_makes_of_a_typed_number_a_date_or_a_truth_is_text_again() -> None:
    content = BytesIO()
    book = xlsxwriter.Workbook(content, {"in_memory": True})
    sheet = book.add_worksheet("Metrics")
    sheet.write_number(0, 0, 93.5)
    sheet.write_number(0, 1, 12)
    sheet.write_boolean(0, 2, True)
    sheet.write_formula(0, 3, "=1+1", None, 2)
    book.close()
    assert read(content.getvalue(), ["Metrics"]) == {"Metrics": [["93.5", "12", "yes", "2"]]}


# --- what is no form -------------------------------------------------------------------------------------------------


def packed(parts: dict[str, bytes], **overrides: bytes) -> bytes:
    """A workbook of these parts."""
    made = BytesIO()
    with zipfile.ZipFile(made, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, text in {**parts, **overrides}.items():
            archive.writestr(name, text)
    return made.getvalue()


PLAIN = form_of(Draft(), CHARTER, "city")
with zipfile.ZipFile(BytesIO(PLAIN)) as plain:
    PARTS = {name: plain.read(name) for name in plain.namelist()}

STRINGS, SHEET = "xl/sharedStrings.xml", "xl/worksheets/sheet2.xml"
LAUGHS = b'<!DOCTYPE x [<!ENTITY a "ha"><!ENTITY b "&a;&a;&a;&a;">]>'
FILE = b'<!DOCTYPE x [<!ENTITY a SYSTEM "file:///etc/passwd">]>'


def with_prolog(text: bytes, prolog: bytes) -> bytes:
    end = text.index(b"?>") + 2
    return text[:end] + prolog + text[end:]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "no workbook"),
        (b"PK\x03\x04 and nothing behind", "no workbook"),
        (PLAIN[: len(PLAIN) // 2], "no workbook"),
        (
            packed({"mimetype": b"application/vnd.oasis.opendocument.spreadsheet", "content.xml": b"<x/>"}),
            "no workbook",
        ),
        (packed(PARTS, **{STRINGS: with_prolog(PARTS[STRINGS], LAUGHS)}), "no workbook"),
        (packed(PARTS, **{STRINGS: with_prolog(PARTS[STRINGS], FILE)}), "no workbook"),
        (packed(PARTS, **{STRINGS: with_prolog(PARTS[STRINGS], LAUGHS).decode().encode("utf-16")}), "no workbook"),
        (packed(PARTS, **{"xl/bomb.xml": b"<x>" + b" " * 50_000_000 + b"</x>"}), "more than 8,000,000 bytes"),
        (packed(PARTS, **{STRINGS: b"<sst>" + b"<si/>" * 300_000 + b"</sst>"}), "elements"),
        (
            packed(PARTS, **{SHEET: b'<sheetData><row r="1"><c r="A1"/></row><row r="9999"><c/></row></sheetData>'}),
            "rows",
        ),
        (packed(PARTS, **{SHEET: b'<x:row r="1" xmlns:x="x"><x:c r="XFD1048576"/></x:row>'}), "columns"),
        (packed(PARTS, **{SHEET: b'<row r="1"><c r="A4295000000"/></row>'}), "rows"),
        (packed(PARTS, **{SHEET: b"<row>" + b"<c/>" * 101 + b"</row>"}), "columns"),
        (packed({f"xl/{number}.xml": b"<x/>" for number in range(300)}), "parts"),
    ],
    ids=[
        "nothing",
        "a signature",
        "cut off",
        "another office's",
        "laughs",
        "a file's entity",
        "laughs in UTF-16",
        "a zip bomb",
        "elements",
        "a far row",
        "a far column",
        "a row beyond 32 bits",
        "many cells",
        "parts",
    ],
)
def test_what_is_no_form_is_refused_in_bounded_memory(content: bytes, said: str) -> None:
    with pytest.raises(WorkbookError, match=said):
        read(content, LAYOUT)


def test_what_programs_write_beside_the_cells_is_no_obstacle() -> None:
    chain = b"<calcChain>" + b'<c r="XFD1"/>' * 300 + b"</calcChain>"
    last = PARTS[SHEET].replace(b"</sheetData>", b'<row r="1048576" ht="15"/></sheetData>')
    assert last != PARTS[SHEET]
    more = {"xl/calcChain.xml": chain, "xl/media/picture.png": b"\x89PNG", SHEET: last, "docProps/thumbnail.jpeg": b""}
    assert read(packed(PARTS, **more), LAYOUT) == read(PLAIN, LAYOUT)


def test_a_part_that_lies_about_its_size_is_read_no_further_than_it_says() -> None:
    bomb = packed(PARTS, **{"xl/bomb.xml": b"<x>" + b" " * 20_000_000 + b"</x>"})
    # In the directory at the end, where readers look: 20,000,007 bytes become 7.
    lying = bomb.replace((20_000_007).to_bytes(4, "little"), (7).to_bytes(4, "little"))
    assert lying != bomb
    with pytest.raises(WorkbookError, match="no workbook"):
        read(lying, LAYOUT)


@settings(max_examples=60)
@given(st.integers(0, len(PLAIN) - 1), st.binary(min_size=1, max_size=4))
def test_a_damaged_workbook_is_read_or_refused_and_nothing_else(at: int, damage: bytes) -> None:
    try:
        read(PLAIN[:at] + damage + PLAIN[at + len(damage) :], LAYOUT)
    except WorkbookError as error:
        assert str(error)  # noqa: PT017  (both are right)


# --- JSON ------------------------------------------------------------------------------------------------------------


def test_every_mistake_in_a_file_is_told_at_once_by_its_pointer() -> None:
    document = {
        "answers": {
            CRITERIA[0]: {"statement": 12},
            "no_such": {"statement": "?"},
            CRITERIA[1]: {"evidence": [{}, {"page": None}]},
        },
        "facts": {"no_such": 1},
        "assumed": ["no_such"],
        "metrics": [{"id": "no_such"}],
        "contact": {"email": "x" * 300, "phone": "1"},
        "points": {},
    }
    with pytest.raises(RefusedError) as refused:
        drafted(document, CHARTER)
    assert {one.field for one in refused.value.violations} == {
        f"/answers/{CRITERIA[0]}/statement",
        "/answers/no_such",
        f"/answers/{CRITERIA[1]}/evidence/1/page",
        "/facts/no_such",
        "/assumed/0",
        "/metrics/0/id",
        "/contact/email",
        "/contact/phone",
        "/points",
    }


@pytest.mark.parametrize("document", [[], "draft", None, {"answers": []}, {"facts": 3}])
def test_what_is_no_draft_is_refused(document: object) -> None:
    with pytest.raises(RefusedError):
        drafted(document, CHARTER)


def test_a_file_of_nothing_but_mistakes_is_told_of_the_first_two_hundred() -> None:
    with pytest.raises(RefusedError) as refused:
        drafted({"answers": {f"c{number}": {} for number in range(5_000)}}, CHARTER)
    assert len(refused.value.violations) == 200


@pytest.mark.parametrize("text", ["=1", "+1", "-1", "@x", "\tx", "\rx"])
def test_no_text_is_a_formula_in_csv(text: str) -> None:
    assert inert(text) == "'" + text
    assert inert("1 = 1") == "1 = 1"
