"""Sections: a draft apart and together again, and a history that makes the present."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.chassis.refusal import RefusedError
from services.intake.applications.drafts import merged, shaped
from services.intake.applications.sections import (
    Document,
    changes,
    fields,
    home,
    joined,
    must_stay_within,
    replayed,
    sections,
    split,
    tidy,
)
from services.intake.cycles.domain import parsed
from tests.applicants import SHIPPED, SMALL, complete_draft

CHARTER = parsed(SHIPPED)
AREAS = {area.id: [c.id for c in area.criteria] for area in CHARTER.areas}
NAMES = list(sections(CHARTER))

texts = st.text(max_size=8)
names = st.text(min_size=1, max_size=3) | st.sampled_from(["a/b", "~", "~1", "/", "a", "b"])
leaves = st.booleans() | st.integers() | texts | st.lists(texts, max_size=2)
documents = st.recursive(
    st.dictionaries(names, leaves, max_size=3), lambda inner: st.dictionaries(names, leaves | inner, max_size=3)
)
patches = st.recursive(
    st.dictionaries(names, leaves | st.none(), max_size=3),
    lambda inner: st.dictionaries(names, leaves | st.none() | inner, max_size=3),
)


def test_every_area_is_a_section_before_facts_metrics_and_contact() -> None:
    assert list(sections(CHARTER)) == [*(f"answers.{area}" for area in AREAS), "facts", "metrics", "contact"]
    assert list(sections(parsed(SMALL)))[-3:] == ["facts", "metrics", "contact"]


def test_a_draft_is_its_sections() -> None:
    whole = {**complete_draft(CHARTER, "city"), "acknowledged": [f"{NAMES[0]}:0a", "metrics:1b", "metrics:2c"]}
    parts = split(whole, CHARTER)
    assert list(parts) == NAMES
    assert parts["metrics"]["acknowledged"] == ["metrics:1b", "metrics:2c"]
    again = joined(parts)
    assert again == whole
    assert shaped(again, CHARTER) == shaped(whole, CHARTER)
    for name, part in parts.items():
        must_stay_within(sections(CHARTER)[name], part, CHARTER)


def test_what_is_another_sections_is_refused_and_told_where_it_belongs() -> None:
    first, second, *_ = AREAS
    content = {"answers": {AREAS[second][0]: {"statement": "x"}}, "contact": {"title": "Mayor"}}
    with pytest.raises(RefusedError, match=rf"belongs to the section answers\.{second}") as error:
        must_stay_within(sections(CHARTER)[f"answers.{first}"], content, CHARTER)
    assert [(v.rule, v.field) for v in error.value.violations] == [
        ("other-section", f"/answers/{AREAS[second][0]}/statement"),
        ("other-section", "/contact/title"),
    ]


@pytest.mark.parametrize("warning", ["", "x", "nowhere:12", ":"])
def test_an_id_that_is_no_warnings_is_refused(warning: str) -> None:
    with pytest.raises(RefusedError, match="no warning") as error:
        split({"acknowledged": ["metrics:1b", warning]}, CHARTER)
    assert error.value.violations[0].field == "/acknowledged/1"


@pytest.mark.parametrize(
    ("field", "section"),
    [
        (f"/answers/{AREAS['integrated_technology'][0]}/statement", "answers.integrated_technology"),
        (f"/answers/{AREAS['integrated_technology'][0]}", "answers.integrated_technology"),
        ("/facts/gis_integrated", "facts"),
        ("/assumed", "facts"),
        ("/metrics/0/value", "metrics"),
        ("/contact/email", "contact"),
        ("/answers/unheard_of", None),
        ("/answers", None),
        ("/acknowledged/0", None),
        ("/status", None),
        ("contact", None),
        ("", None),
    ],
)
def test_a_field_is_at_home_in_one_section(field: str, section: str | None) -> None:
    assert home(field, CHARTER) == section


@given(documents)
def test_a_tidy_content_is_the_same_as_its_fields(content: Document) -> None:
    kept = tidy(content)
    assert tidy(kept) == kept
    assert replayed([fields(kept)]) == kept


@given(st.lists(patches, max_size=6))
def test_a_history_makes_the_present(edits: list[dict[str, Any]]) -> None:
    present: Document = {}
    history: list[dict[str, Any]] = []
    past = [present]
    for patch in edits:
        after = tidy(merged(present, patch))
        history.append(changes(present, after))
        present = after
        past.append(present)
    assert replayed(history) == present
    for number, state in enumerate(past):
        assert replayed(history[:number]) == state


@given(documents, documents)
def test_what_did_not_change_is_in_no_change(one: Document, other: Document) -> None:
    before, after = tidy(one), tidy(other)
    changed = changes(before, after)
    assert changed.keys() == {
        field
        for field in fields(before).keys() | fields(after).keys()
        if fields(before).get(field) != fields(after).get(field)
    }
    assert changes(after, after) == {}


editors = st.tuples(
    st.sampled_from(["a", "b", "c"]),
    st.sampled_from([AREAS["citizen_participation"][0], AREAS["performance_reporting"][0]]),
    st.text(min_size=1, max_size=6),
    st.booleans(),
)


@given(st.lists(editors, max_size=20))
def test_no_sequence_of_edits_by_several_people_loses_what_was_acknowledged(
    edits: list[tuple[str, str, str, bool]],
) -> None:
    """Each edits what they read last; a stale edit is refused, and only an accepted one replaces what they saw."""
    revisions = dict.fromkeys(NAMES, 0)
    stored: dict[str, Document] = {name: {} for name in NAMES}
    read: dict[str, dict[str, int]] = {who: dict(revisions) for who in "abc"}
    said: dict[str, str] = {}
    for who, criterion, text, rereads in edits:
        section = home(f"/answers/{criterion}", CHARTER)
        assert section
        if rereads:
            read[who] = dict(revisions)
        before = stored[section].get("answers", {}).get(criterion, {}).get("statement", "")
        if read[who][section] != revisions[section]:
            continue
        stored[section] = tidy(merged(stored[section], {"answers": {criterion: {"statement": before + text}}}))
        revisions[section] += 1
        read[who][section] = revisions[section]
        said[criterion] = said.get(criterion, "") + text
    whole = joined(stored)
    assert {name: answer["statement"] for name, answer in whole.get("answers", {}).items()} == said
