"""What is found when somebody is erased: whole words in any case, accounts as pairs; and nothing else."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any
from unicodedata import normalize

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from services.chassis.sought import Account, Sought

ZELDA = Sought(account=Account(issuer="https://id", subject="z-1"), texts=["Zelda Quorvéx", "z.q+x@gov.example"])


@pytest.mark.parametrize(
    "text",
    [
        "Zelda Quorvéx",
        "ask ZELDA QUORVÉX, or",
        "zelda quorvéx's",
        normalize("NFD", "Zelda Quorvéx"),
        "mailto:Z.Q+X@GOV.EXAMPLE?subject=",
        "(z.q+x@gov.example)",
        "Zelda\u00a0Quorvéx",
        "Zelda\n  Quorvéx",
        "cv_zelda_quorvéx.pdf",
    ],
)
def test_a_text_is_found_as_it_may_be_written(text: str) -> None:
    assert ZELDA.in_text(text)


@pytest.mark.parametrize(
    "text", ["Zelda", "Zelda Quorvéxa", "aZelda Quorvéx", "zq+x@gov.example", "z.qq+x@gov.example", "z-1", ""]
)
def test_another_text_is_not_taken_for_it(text: str) -> None:
    assert not ZELDA.in_text(text)


@pytest.mark.parametrize(
    "text",
    ["Jo O'Neil-Ray", "JO O\u2019NEIL-RAY", "Jo O\u2018Neil\u2010Ray", "Jo\tO\u02bcNeil\u2011Ray", "jo_o'neil-ray"],
)
def test_a_name_is_found_whichever_apostrophe_hyphen_or_space_stands_in_it(text: str) -> None:
    for written in ("Jo O'Neil-Ray", "Jo O\u2019Neil\u2011Ray"):
        sought = Sought(texts=[written])
        assert sought.in_text(f"Ask {text}.")
        assert any(needle in small(json.dumps(text, ensure_ascii=False)) for needle in sought.needles)


def test_what_has_no_word_is_found_nowhere() -> None:
    assert not Sought(texts=["    ", "____", "- - "]).in_text("a ( ) b _ - - c")


def test_an_account_is_the_pair_of_issuer_and_subject() -> None:
    assert ZELDA.mentioned({"account": {"issuer": "https://id", "subject": "z-1"}})
    assert ZELDA.mentioned([{"issuer": "https://id", "subject_claim": "z-1"}])
    assert not ZELDA.mentioned({"issuer": "https://other", "subject": "z-1"})
    assert not ZELDA.mentioned({"issuer": "https://id", "subject": "z-10"})
    assert not ZELDA.mentioned("z-1")


def test_what_is_too_short_to_be_looked_for_is_refused() -> None:
    with pytest.raises(ValidationError, match="at least 4"):
        Sought(texts=["Al"])


def test_without_texts_nothing_is_found_in_texts() -> None:
    assert Sought().needles == []
    assert Sought().without({"a": ["Zelda Quorvéx"]}) == {"a": ["Zelda Quorvéx"]}


def texts() -> st.SearchStrategy[str]:
    return st.one_of(st.just("Zelda Quorvéx"), st.just('says "Zelda Quorvéx".'), st.text(max_size=20))


def documents() -> st.SearchStrategy[Any]:
    return st.recursive(
        st.one_of(texts(), st.integers(), st.booleans(), st.none()),
        lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(texts(), inner, max_size=3)),
        max_leaves=8,
    )


@given(documents())
def test_what_is_left_of_a_document_mentions_nothing_any_more(value: Any) -> None:
    left = ZELDA.without(value)
    assert not ZELDA.mentioned(left)
    assert ZELDA.without(left) == left
    if not ZELDA.mentioned(value):
        assert left == value


@given(
    st.text(min_size=4, max_size=12).filter(lambda text: "\0" not in text), st.sampled_from([str, str.upper, str.lower])
)
def test_wherever_a_text_is_found_stands_one_of_its_needles(text: str, spelled: Callable[[str], str]) -> None:
    sought, value = Sought(texts=[text]), f"({spelled(text)})"
    written = json.dumps([value], ensure_ascii=False)
    if sought.in_text(value):
        assert sought.without([value]) == [""]
        for line in (value, written):
            assert any(needle in small(line) for needle in sought.needles)


def small(text: str) -> str:
    """As PostgreSQL's `lower` in the locale C."""
    return "".join(chr(ord(one) + 32) if "A" <= one <= "Z" else one for one in text)


def test_bytes_are_found_as_postgresql_writes_them() -> None:
    assert Sought(texts=["Zelda Quorvéx"]).escaped_needles == ["zelda"]
    assert Sought(texts=["\\Жё\\"]).escaped_needles[0].startswith("\\")
    assert "\\320\\226" in "".join(Sought(texts=["Жуков"]).escaped_needles)
