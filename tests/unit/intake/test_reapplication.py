"""Re-application: nothing that was said is lost on the way, and nothing that was changed is called unchanged."""

from __future__ import annotations

from copy import deepcopy
from datetime import UTC, datetime
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.applications import File
from schemas.charter import Charter, Scale
from services.chassis.refusal import RefusedError
from services.intake.applications import drafts
from services.intake.applications.drafts import Draft
from services.intake.applications.findings import Ground, obstacles
from services.intake.applications.sections import home, tidy
from services.intake.reapplication.domain import (
    Basis,
    Confirmed,
    Result,
    Then,
    basis,
    begun,
    confirmable,
    fitting,
    items,
    new,
    said,
)
from tests.applicants import SHIPPED, complete_draft

CHARTER = Charter.parse(SHIPPED)
COMPLETE = complete_draft(CHARTER, "city")
CRITERIA = list(CHARTER.criteria("city"))
ONE, TWO, THREE = CRITERIA[:3]
AT = datetime(2031, 1, 1, tzinfo=UTC)
FILE = File(sha256="0f" * 32, name="map.pdf", type="application/pdf", bytes=9)

TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=30)
SAID = TEXT.filter(bool)
EVIDENCE = st.fixed_dictionaries({"url": SAID}, optional={"page": TEXT, "quote": TEXT, "file": st.just(FILE.sha256)})
ANSWER = st.fixed_dictionaries(
    {}, optional={"statement": TEXT, "evidence": st.lists(EVIDENCE, max_size=3), "not_applicable": TEXT}
)


@st.composite
def documents(draw: st.DrawFn) -> dict[str, Any]:
    """Drafts with whatever text people write."""
    return tidy(
        {
            "answers": draw(st.dictionaries(st.sampled_from(CRITERIA[:6]), ANSWER, max_size=4)),
            "facts": {name: value for name, value in COMPLETE["facts"].items() if draw(st.booleans())},
            "assumed": draw(st.lists(st.sampled_from(["website", "population"]), unique=True)),
            "metrics": COMPLETE["metrics"],
            "contact": {"official": draw(SAID), "channels": {"311": draw(TEXT)}},
        }
    )


def version(document: dict[str, Any]) -> dict[str, Any]:
    """What intake keeps of a submission of this draft: its event's blocks."""
    draft, files = Draft.model_validate(document), {FILE.sha256: FILE}
    blocks = {
        "claims": drafts.claims(draft).model_dump(mode="json"),
        "contact": drafts.contact(draft).model_dump(mode="json"),
    }
    answers = drafts.answers(draft, CHARTER, files)
    return blocks | {"answers": {name: answer.model_dump(mode="json") for name, answer in answers.items()}}


def then(document: dict[str, Any]) -> Then:
    return Then("earlier", "2029-2031", 2, AT, said(version(document)))


def held(document: dict[str, Any], charter: Charter = CHARTER, *confirmed: str) -> Basis:
    return basis(then(document), charter, {at: Confirmed("p", AT) for at in confirmed}, {})


def otherwise(**ids: str) -> Charter:
    """The charter with criteria under other ids."""
    text = SHIPPED
    for old, renamed in ids.items():
        text = text.replace(f'id = "{old}"', f'id = "{renamed}"')
    return Charter.parse(text)


@settings(max_examples=40)
@given(documents())
def test_carrying_loses_no_character(document: dict[str, Any]) -> None:
    before = Draft.model_validate(document)
    draft = Draft.model_validate(begun(then(document), CHARTER, "city", {FILE.sha256}))
    assert items(draft) == items(before)
    assert draft.metrics == [], "a figure is of its period"
    shown = Draft.model_validate({"metrics": said(version(document)).get("metrics", [])})
    assert shown.metrics == before.metrics


@settings(max_examples=40)
@given(documents(), st.data())
def test_what_has_no_place_any_more_is_told_and_what_has_is_taken(
    document: dict[str, Any], data: st.DataObject
) -> None:
    renamed = data.draw(st.sets(st.sampled_from(CRITERIA[:6]), max_size=3))
    charter = otherwise(**{name: f"{name}_anew" for name in renamed})
    before = then(document)
    draft = Draft.model_validate(begun(before, charter, "city", {FILE.sha256}))
    _, gone = fitting(before.said, charter, "city")
    told = {one.field: one.then for one in gone}
    assert told.keys() <= {f"/answers/{name}" for name in renamed}
    kept = items(draft)
    assert kept.keys().isdisjoint(told)
    assert kept | told == items(Draft.model_validate(document))
    assert set(new(charter, "city", held(document, charter))) >= {f"/answers/{name}_anew" for name in renamed}


@settings(max_examples=40)
@given(documents(), documents(), st.data())
def test_no_answer_that_differs_is_ever_called_unchanged(
    before: dict[str, Any], now: dict[str, Any], data: st.DataObject
) -> None:
    said_then, said_now = Draft.model_validate(before), Draft.model_validate(now)
    every = sorted(items(said_then))
    confirmed = data.draw(st.lists(st.sampled_from(every), unique=True)) if every else []
    for name, mark in held(before, CHARTER, *confirmed).marks(said_now).items():
        was, is_ = said_then.answers.get(name, drafts.BLANK), said_now.answers[name]
        assert (mark.mark == "unchanged") == (was == is_)
        assert (mark.mark == "new") == (was == drafts.BLANK)
        assert mark.since == "2029-2031"


@settings(max_examples=40)
@given(documents(), st.data())
def test_whatever_is_left_as_it_was_waits_until_it_is_confirmed(document: dict[str, Any], data: st.DataObject) -> None:
    draft = Draft.model_validate(document)
    every = sorted(items(draft))
    confirmed = data.draw(st.lists(st.sampled_from(every), unique=True))
    ground = Ground.of(CHARTER, "city", (), draft.contact, held(document, CHARTER, *confirmed))
    found = {one.field for one in obstacles(draft, ground) if one.rule == "unconfirmed"}
    assert found == set(every) - set(confirmed)


def test_a_section_confirms_its_own_and_refuses_what_it_did_not_say_then() -> None:
    draft, against = Draft.model_validate(COMPLETE), held(COMPLETE)
    section = home(f"/answers/{ONE}", CHARTER) or ""
    all_of_it = confirmable(against, draft, section, CHARTER, None)
    assert f"/answers/{ONE}" in all_of_it
    assert all(home(at, CHARTER) == section for at in all_of_it)
    assert confirmable(against, draft, section, CHARTER, [f"/answers/{ONE}"]) == [f"/answers/{ONE}"]
    changed = deepcopy(COMPLETE)
    changed["answers"][TWO]["statement"] += " "
    del changed["answers"][THREE]
    asked = [f"/answers/{TWO}", f"/answers/{THREE}", "/contact"]
    with pytest.raises(RefusedError) as error:
        confirmable(against, Draft.model_validate(changed), section, CHARTER, asked)
    assert [(one.rule, one.field) for one in error.value.violations] == [
        ("changed", "/fields/0"),
        ("changed", "/fields/1"),
        ("not-carried", "/fields/2"),
    ]


def test_a_file_that_is_not_here_any_more_leaves_its_evidence_and_counts_as_a_change() -> None:
    document = {"answers": {ONE: {"statement": "So.", "evidence": [{"file": FILE.sha256, "quote": "A map"}]}}}
    draft = Draft.model_validate(begun(then(document), CHARTER, "city", set()))
    assert draft.answers[ONE].evidence == [drafts.Evidence(quote="A map")]
    assert held(document).became(f"/answers/{ONE}", items(draft)) == "changed"


def test_a_fact_of_another_kind_and_a_criterion_of_others_are_told_with_the_reason() -> None:
    fact = next(one for one in CHARTER.facts if one.kind == "yes_no")
    facts = tuple(one.model_copy(update={"kind": "count"}) if one == fact else one for one in CHARTER.facts)
    first, *rest = CHARTER.areas
    other = first.criteria[0].model_copy(update={"applies": ("county",)})
    area = first.model_copy(update={"criteria": (other, *first.criteria[1:])})
    charter = CHARTER.model_copy(update={"facts": facts, "areas": (area, *rest)})
    _, gone = fitting(then(COMPLETE).said, charter, "city")
    assert [(one.field, one.detail) for one in gone] == [
        (f"/answers/{other.id}", "A city is not asked for it."),
        (f"/facts/{fact.id}", "The fact is of another kind now."),
    ]


def test_what_was_erased_is_not_there_to_be_carried() -> None:
    assert said({"answers": {}, "claims": None}) == {}


def test_points_are_top_at_the_scales_highest_and_low_in_its_lower_half() -> None:
    scale = Scale.model_validate({"min": 0, "max": 4, "anchors": CHARTER.scale.model_dump()["anchors"]})
    standings = [Result.of(Fraction(points, 2), scale).standing for points in (0, 3, 4, 7, 8)]
    assert standings == ["low", "low", None, None, "top"]
