"""Drafts: patched as RFC 7396 says, refused only where they cannot be kept, and never too large for their event."""

from __future__ import annotations

import os
from copy import deepcopy
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.applications import ApplicationSubmitted, Identity
from schemas.canonical import canonical
from schemas.charter import Charter
from schemas.envelope import RECORD_LIMIT, Header, write
from services.chassis.ids import event_id
from services.chassis.refusal import RefusedError
from services.intake.applications import drafts
from services.intake.applications.drafts import SIZE_LIMIT, Draft, merged, shaped
from services.intake.cycles.domain import parsed
from tests.applicants import SHIPPED, SMALL, complete_draft

CHARTER = parsed(SHIPPED)
CORE = next(c.id for area in CHARTER.areas for c in area.criteria if c.core)


def document(**changes: Any) -> dict[str, Any]:
    made = merged(complete_draft(CHARTER, "city"), changes)
    assert isinstance(made, dict)
    return made


def refused(made: object) -> list[tuple[str, str]]:
    with pytest.raises(RefusedError) as error:
        shaped(made, CHARTER)
    assert error.value.status == 422
    return [(violation.rule, violation.field) for violation in error.value.violations]


@pytest.mark.parametrize(
    ("target", "patch", "result"),
    [
        ({"a": "b"}, {"a": "c"}, {"a": "c"}),
        ({"a": "b"}, {"b": "c"}, {"a": "b", "b": "c"}),
        ({"a": "b"}, {"a": None}, {}),
        ({"a": "b", "b": "c"}, {"a": None}, {"b": "c"}),
        ({"a": ["b"]}, {"a": "c"}, {"a": "c"}),
        ({"a": "c"}, {"a": ["b"]}, {"a": ["b"]}),
        ({"a": {"b": "c"}}, {"a": {"b": "d", "c": None}}, {"a": {"b": "d"}}),
        ({"a": [{"b": "c"}]}, {"a": [1]}, {"a": [1]}),
        (["a", "b"], ["c", "d"], ["c", "d"]),
        ({"a": "b"}, ["c"], ["c"]),
        ({"a": "foo"}, None, None),
        ({"a": "foo"}, "bar", "bar"),
        ({"e": None}, {"a": 1}, {"e": None, "a": 1}),
        ([1, 2], {"a": "b", "c": None}, {"a": "b"}),
        ({}, {"a": {"bb": {"ccc": None}}}, {"a": {"bb": {}}}),
    ],
)
def test_a_merge_patch_does_what_the_examples_of_rfc_7396_show(target: object, patch: object, result: object) -> None:
    before = deepcopy(target)
    assert merged(target, patch) == result
    assert target == before


def test_a_patch_that_is_nested_without_end_is_refused() -> None:
    patch: dict[str, Any] = {}
    for _ in range(900):
        patch = {"answers": patch}
    with pytest.raises(RefusedError, match="deep"):
        merged({}, patch)


def test_an_empty_draft_and_a_half_filled_one_can_be_kept() -> None:
    assert shaped({}, CHARTER) == Draft()
    half = {"metrics": [{"id": "sla_compliance"}], "contact": {"title": "Manager"}, "answers": {CORE: {}}}
    assert shaped(shaped(half, CHARTER).document, CHARTER) == shaped(half, CHARTER)


@pytest.mark.parametrize(
    ("patch", "rule", "field"),
    [
        ({"answers": {"no/such~one": {}}}, "unknown-criterion", "/answers/no~1such~0one"),
        ({"answers": {CORE: {"statment": "x"}}}, "extra_forbidden", f"/answers/{CORE}/statment"),
        ({"answers": {CORE: {"statement": 7}}}, "string_type", f"/answers/{CORE}/statement"),
        ({"facts": {"unheard_of": True}}, "unknown-fact", "/facts/unheard_of"),
        ({"facts": {"gis_integrated": "yes"}}, "fact-value", "/facts/gis_integrated"),
        ({"facts": {"gis_integrated": 1}}, "fact-value", "/facts/gis_integrated"),
        ({"facts": {"feedback_tools_count": 3.0}}, "fact-value", "/facts/feedback_tools_count"),
        ({"facts": {"feedback_tools_count": True}}, "fact-value", "/facts/feedback_tools_count"),
        ({"facts": {"feedback_tools_count": -(2**53)}}, "fact-value", "/facts/feedback_tools_count"),
        ({"facts": {"mobile_channel": "x" * 301}}, "fact-value", "/facts/mobile_channel"),
        ({"facts": {"self_service_options": [{"web": 1}]}}, "fact-value", "/facts/self_service_options"),
        ({"facts": {"self_service_options": ["web"] * 101}}, "fact-value", "/facts/self_service_options"),
        ({"assumed": ["name"]}, "unknown-fact", "/assumed/0"),
        ({"metrics": [{"id": "made_up"}]}, "unknown-metric", "/metrics/0/id"),
        ({"metrics": [{"id": "sla_compliance", "value": 93.5}]}, "string_type", "/metrics/0/value"),
        ({"contact": {"channels": {"Teléfono": "1"}}}, "string_pattern_mismatch", "/contact/channels/Teléfono/[key]"),
        ({"contact": {"official": "x" * 301}}, "string_too_long", "/contact/official"),
        ({"status": "designated"}, "extra_forbidden", "/status"),
        ({"answers": []}, "dict_type", "/answers"),
    ],
)
def test_what_cannot_be_kept_is_refused_with_its_place(patch: dict[str, Any], rule: str, field: str) -> None:
    assert refused(document(**patch)) == [(rule, field)]


def test_a_statement_of_a_million_characters_is_refused_with_the_limit() -> None:
    with pytest.raises(RefusedError, match="at most 20000 characters"):
        shaped({"answers": {CORE: {"statement": "x" * 1_000_000}}}, CHARTER)


def test_what_cannot_be_kept_is_told_together() -> None:
    wrong = {"answers": {"a": {}, "b": {}}, "facts": {"c": 1}, "metrics": [{"id": "d", "value": "x"}]}
    assert len(refused(wrong)) == 4


@pytest.mark.parametrize(
    "text",
    [
        "\u0645\u062f\u064a\u0646\u0629 \u200f311\u200e",
        "e\u0301 is not \u00e9",
        "न\u093fवास\u0940 \u200d",
        "\u202e override \u202c",
        "👩\u200d👩\u200d👧",
        "a\r\nb\tc",
    ],
    ids=["right to left", "combining", "joined", "override", "emoji", "line ends"],
)
def test_text_is_kept_as_it_was_written(text: str) -> None:
    draft = shaped({"answers": {CORE: {"statement": text}}}, CHARTER)
    assert drafts.answers(draft, CHARTER)[CORE].statement == text


def test_a_metric_keeps_the_digits_that_were_written() -> None:
    (metric, *_) = drafts.claims(shaped(document(), CHARTER)).metrics
    assert str(metric.value) == "93.5"


def many_criteria() -> Charter:
    """More criteria than 56,000 bytes of TOML can define: each takes a digest in the leaf and a block in the record."""
    area = CHARTER.areas[0]
    criteria = tuple(area.criteria[0].model_copy(update={"id": f"c{number:03}"}) for number in range(850))
    return CHARTER.model_copy(update={"areas": (area.model_copy(update={"criteria": criteria}),)})


@settings(max_examples=20)
@given(st.text(max_size=50), st.dictionaries(st.text("abc-_9", min_size=1, max_size=5), st.text(max_size=9)))
def test_a_draft_has_the_size_of_its_canonical_json(text: str, channels: dict[str, str]) -> None:
    made = document(answers={CORE: {"statement": text}})
    made["contact"]["channels"] = {f"a{name}": value for name, value in channels.items()}
    draft = shaped(made, CHARTER)
    assert draft.size == len(canonical(draft.model_dump(mode="json")))


@pytest.mark.parametrize("charter", [CHARTER, parsed(SMALL), many_criteria()], ids=["shipped", "small", "widest"])
def test_the_fullest_draft_fits_a_record_and_one_byte_more_is_refused(charter: Charter) -> None:
    kind = charter.eligibility.kinds[0]
    made = complete_draft(charter, kind)
    quotes = [{"url": "https://a.example", "page": "", "quote": ""} for _ in range(3 * len(made["answers"]))]
    for number, answer in enumerate(made["answers"].values()):
        answer["evidence"] += quotes[3 * number : 3 * number + 3]
    room = SIZE_LIMIT - shaped(made, charter).size
    for quote in quotes:
        # Control characters take six bytes each in JSON: the worst that a text can be.
        quote["quote"] = "\x01" * min(20_000, room // 6)
        room -= 6 * len(quote["quote"])
    made["contact"]["title"] += "x" * room
    draft = shaped(made, charter)
    assert draft.size == SIZE_LIMIT
    event = ApplicationSubmitted(
        cycle="c" * 61,
        application=event_id(),
        version=1,
        identity=Identity(
            government=event_id(),
            name="n" * 300,
            state="s" * 300,
            kind=kind,
            population=1,
            population_source="p" * 300,
            website="w" * 2_000,
            tier="t",
        ),
        claims=drafts.claims(draft),
        answers=drafts.answers(draft, charter),
        contact=drafts.contact(draft),
    )
    header = Header(
        id=event_id(),
        type=event.TYPE,
        source=event.source(),
        subject=event.subject,
        time=datetime.now(UTC),
        sequence=1,
        cycleid=event.cycle,
        causationid=event_id(),
        actor=event_id(),
    )
    assert len(write(event, header, os.urandom).record) <= RECORD_LIMIT
    made["contact"]["title"] += "x"
    with pytest.raises(RefusedError, match="540,001 bytes"):
        drafts.must_fit(shaped(made, charter).size)
