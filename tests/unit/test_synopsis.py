"""A charter in plain words: everything that an applicant will see is there, in lines that fit a terminal."""

from __future__ import annotations

import pytest

from schemas.charter import Charter
from services.synopsis import WIDTH, synopsis
from tests.applicants import SHIPPED, SMALL


@pytest.mark.parametrize("text", [SHIPPED, SMALL], ids=["shipped", "small"])
def test_every_text_of_every_criterion_can_be_read_in_order(text: str) -> None:
    charter = Charter.parse(text)
    lines = list(synopsis(charter, "0" * 64))
    read = " ".join(" ".join(lines).split())
    place = 0
    for area in charter.areas:
        for one in area.criteria:
            levels = [one.looks_like[score] for score in sorted(one.looks_like)]
            texts = [one.name, one.definition, one.asks, one.evidence, one.not_enough, *levels, *one.notes.values()]
            for wanted in filter(None, [*texts, one.na_when]):
                place = read.index(wanted, place)


def test_no_line_of_a_field_is_wider_than_the_page() -> None:
    lines = list(synopsis(Charter.parse(SHIPPED), "0" * 64))
    assert max(len(line) for line in lines if line.startswith("    ")) <= WIDTH


def test_the_bar_the_fee_and_the_windows_stand_in_it() -> None:
    shipped, small = ("\n".join(synopsis(Charter.parse(text), "0" * 64)) for text in (SHIPPED, SMALL))
    assert "total at least 60 %, every area at least 50 %, every core criterion at least 2" in shipped
    assert "Applying: at most 16 hours, no fee\n" in shipped
    assert "Applying: at most 12 hours, a fee of 150.00 EUR\n" in small
    assert "Reply to a preliminary decision: 15 business days" in shipped
    assert "Appeal, decided by a panel of 3: 20 business days" in shipped
    assert "Appeal" not in small
    assert "The announcement opens of the designated identity, claims, scores; of all others nothing" in shipped


def test_a_charter_without_any_of_the_optional_parts_is_told_too() -> None:
    charter = Charter.parse(SMALL)
    bare = charter.model_copy(update={"applying": None, "reply": None, "facts": (), "metrics": ()})
    read = "\n".join(synopsis(bare, "0" * 64))
    assert "Applying" not in read
    assert "business days" not in read
