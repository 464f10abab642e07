"""The rules of openness: who may be invited, ask, comment, and what can become of a fee."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.charter import Charter
from services.chassis.refusal import RefusedError
from services.intake.governments.domain import Government
from services.intake.openness import domain
from services.intake.openness.domain import DUE, CharterDraft, FeeStep, Invited, Pace
from tests.applicants import SHIPPED, SMALL

NOW = datetime(2027, 1, 1, tzinfo=UTC)
FEE = Charter.parse(SMALL)
EVERYWHERE = "emergencia"
SMALL_TOWN = "municipio_pequeno"


def government(kind: str = "municipio", population: int = 10_000) -> Government:
    return Government("g", "Tequila", "Jalisco", kind, population, "INEGI", "https://tequila.example")


GROUNDS = domain.waivers(FEE, government())


# --- fees ------------------------------------------------------------------------------------------------------------


def test_a_ground_is_there_for_the_kinds_that_it_is_for() -> None:
    assert [one.id for one in GROUNDS] == [SMALL_TOWN, EVERYWHERE]
    assert [one.id for one in domain.waivers(FEE, government("provincia"))] == [EVERYWHERE]
    assert domain.waivers(Charter.parse(SHIPPED), government("city")) == []


def test_a_ground_is_there_for_the_tiers_that_it_is_for() -> None:
    head, rest = SHIPPED.split("[applying.extension]", 1)
    fee = '[applying.fee]\namount = "100"\ncurrency = "USD"\n\n[[applying.fee.waivers]]\nid = "small"\n'
    fee += f'text = "Small."\ntiers = ["{Charter.parse(SHIPPED).tiers[0].id}"]\n\n'
    charter = Charter.parse(f"{head}{fee}[applying.extension]{rest}")
    assert [one.id for one in domain.waivers(charter, government("city", 75_000))] == ["small"]
    assert domain.waivers(charter, government("city", 75_001)) == []


STEPS: dict[str, Callable[[FeeStep], FeeStep]] = {
    "ask": lambda fee: domain.ask_waiver(fee, EVERYWHERE, "a flood", GROUNDS),
    "waive": lambda fee: domain.waive(fee, EVERYWHERE, "", GROUNDS),
    "pay": lambda fee: domain.pay(fee, "R-1", ""),
    "reopen": lambda fee: domain.reopen(fee, "a mistake"),
}
OPEN = {"due", "waiver-asked"}
ALLOWED = {"ask": {"due"}, "waive": OPEN, "pay": OPEN, "reopen": {"waiver-asked", "waived", "paid"}}


@given(st.lists(st.sampled_from(list(STEPS)), max_size=12))
def test_whatever_is_done_to_a_fee_each_state_says_what_it_rests_on(steps: list[str]) -> None:
    fee = DUE
    for step in steps:
        if fee.state in ALLOWED[step]:
            fee = STEPS[step](fee)
        else:
            with pytest.raises(RefusedError, match=f"The fee is {fee.state}"):
                STEPS[step](fee)
        assert bool(fee.ground) == (fee.state in {"waiver-asked", "waived"})
        assert bool(fee.reference) == (fee.state == "paid")


def test_a_fee_is_waived_on_the_charters_grounds_alone() -> None:
    for decide in (domain.ask_waiver, domain.waive):
        with pytest.raises(RefusedError, match="municipio_pequeno, emergencia"):
            decide(DUE, "rain", "", GROUNDS)
        with pytest.raises(RefusedError, match="none"):
            decide(DUE, EVERYWHERE, "", [])
    assert domain.waive(FeeStep("waiver-asked"), SMALL_TOWN, "", GROUNDS) == FeeStep("waived", ground=SMALL_TOWN)


# --- invitations -----------------------------------------------------------------------------------------------------

CELL = st.text(st.characters(exclude_categories=["Cs", "Cc"]), max_size=20).map(str.strip)


@given(st.lists(st.builds(Invited, CELL, CELL, CELL), min_size=1, max_size=5))
def test_a_list_in_csv_is_read_as_it_was_written(rows: list[Invited]) -> None:
    quoted = ['"' + '","'.join(text.replace('"', '""') for text in (r.name, r.state, r.email)) + '"' for r in rows]
    assert domain.listed("\r\n".join(["name,state,email", *quoted])) == rows


def test_every_row_that_cannot_be_invited_is_told() -> None:
    rows = [Invited("A", "", "a@a.example"), Invited(" ", "", "b"), Invited("C\n", "x" * 301, "A@A.example")]
    with pytest.raises(RefusedError) as refused:
        domain.must_be_invitable(rows)
    assert [(one.field, one.rule) for one in refused.value.violations] == [
        ("/1/name", "name"),
        ("/1/email", "email-address"),
        ("/2/name", "one-line"),
        ("/2/state", "one-line"),
        ("/2/email", "repeated"),
    ]
    domain.must_be_invitable(rows[:1])


# --- comments --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("public", [True, False])
def test_comments_are_taken_until_the_closing_and_read_from_then_on_if_announced(public: bool) -> None:
    draft = CharterDraft("d", "Next", SMALL, "", NOW, NOW + timedelta(days=1), public)
    last = draft.closes_at - timedelta(milliseconds=1)
    domain.must_take_comment(draft, Pace(0, 1, 0, 1), last)
    assert not draft.readable_at(last)
    assert draft.readable_at(draft.closes_at) == public
    with pytest.raises(RefusedError, match="until 2027-01-02"):
        domain.must_take_comment(draft, Pace(0, 1, 0, 1), draft.closes_at)


@pytest.mark.parametrize("pace", [Pace(10, 10, 10, 300), Pace(0, 10, 300, 300)])
def test_too_many_comments_an_hour_are_refused_for_now(pace: Pace) -> None:
    draft = CharterDraft("d", "Next", SMALL, "", NOW, NOW + timedelta(days=1), True)
    with pytest.raises(RefusedError) as refused:
        domain.must_take_comment(draft, pace, NOW)
    assert (refused.value.status, refused.value.rule) == (429, "too-many-comments")
