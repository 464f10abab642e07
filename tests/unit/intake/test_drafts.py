"""Drafts: patched as RFC 7396 says, checked as far as they go, complete when the charter has nothing more to ask."""

from __future__ import annotations

import os
from copy import deepcopy
from datetime import UTC, datetime
from typing import Any

import pytest

from schemas.applications import ApplicationSubmitted, Identity
from schemas.charter import Charter
from schemas.envelope import RECORD_LIMIT, Header, write
from services.chassis.ids import event_id
from services.chassis.refusal import RefusedError
from services.intake.applications import drafts
from services.intake.applications.drafts import SIZE_LIMIT, Draft, merged, read
from services.intake.cycles.domain import parsed
from tests.applicants import SHIPPED, SMALL, complete_draft

CHARTER = parsed(SHIPPED)
CORE = next(c.id for area in CHARTER.areas for c in area.criteria if c.core)
EXCUSE = {"statement": None, "not_applicable": "We have none."}


def document(**changes: Any) -> dict[str, Any]:
    made = merged(complete_draft(CHARTER, "city"), changes)
    assert isinstance(made, dict)
    return made


def refused(made: object) -> list[tuple[str, str]]:
    with pytest.raises(RefusedError) as error:
        read(made, CHARTER, "city")
    assert error.value.status == 422
    return [(violation.rule, violation.field) for violation in error.value.violations]


def gaps(made: object) -> list[tuple[str, str]]:
    return [(gap.rule, gap.field) for gap in drafts.gaps(read(made, CHARTER, "city"), CHARTER, "city")]


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
    assert read({}, CHARTER, "city") == Draft()
    half = {"metrics": [{"id": "sla_compliance"}], "contact": {"title": "Manager"}, "answers": {CORE: {}}}
    assert read(read(half, CHARTER, "city").document, CHARTER, "city") == read(half, CHARTER, "city")


@pytest.mark.parametrize(
    ("patch", "rule", "field"),
    [
        ({"answers": {"no/such~one": {}}}, "unknown-criterion", "/answers/no~1such~0one"),
        (
            {"answers": {CORE: {"not_applicable": "we are small"}}},
            "always-applicable",
            f"/answers/{CORE}/not_applicable",
        ),
        ({"answers": {CORE: {"statment": "x"}}}, "extra_forbidden", f"/answers/{CORE}/statment"),
        ({"answers": {CORE: {"statement": 7}}}, "string_type", f"/answers/{CORE}/statement"),
        (
            {"answers": {CORE: {"evidence": [{"url": "javascript:alert(1)"}]}}},
            "string_pattern_mismatch",
            f"/answers/{CORE}/evidence/0/url",
        ),
        ({"facts": {"unheard_of": True}}, "unknown-fact", "/facts/unheard_of"),
        ({"facts": {"gis_integrated": "yes"}}, "fact-value", "/facts/gis_integrated"),
        ({"facts": {"gis_integrated": 1}}, "fact-value", "/facts/gis_integrated"),
        ({"facts": {"feedback_tools_count": 3.0}}, "fact-value", "/facts/feedback_tools_count"),
        ({"facts": {"feedback_tools_count": 51}}, "fact-value", "/facts/feedback_tools_count"),
        ({"facts": {"self_service_options": ["web", "web"]}}, "fact-value", "/facts/self_service_options"),
        ({"facts": {"self_service_options": [{"web": 1}]}}, "fact-value", "/facts/self_service_options"),
        ({"assumed": ["name"]}, "unknown-fact", "/assumed/0"),
        ({"metrics": [{"id": "made_up"}]}, "unknown-metric", "/metrics/0/id"),
        ({"metrics": [{"id": "sla_compliance", "unit": "h"}]}, "metric-unit", "/metrics/0/unit"),
        ({"metrics": [{"id": "sla_compliance", "value": 93.5}]}, "string_type", "/metrics/0/value"),
        ({"contact": {"email": "nobody"}}, "string_pattern_mismatch", "/contact/email"),
        ({"contact": {"channels": {"Teléfono": "1"}}}, "string_pattern_mismatch", "/contact/channels/Teléfono/[key]"),
        ({"contact": {"official": "A\nB"}}, "string_pattern_mismatch", "/contact/official"),
        ({"status": "designated"}, "extra_forbidden", "/status"),
        ({"answers": []}, "dict_type", "/answers"),
    ],
)
def test_a_mistake_is_named_with_its_place_when_it_is_made(patch: dict[str, Any], rule: str, field: str) -> None:
    assert refused(document(**patch)) == [(rule, field)]


@pytest.mark.parametrize(
    "value",
    ["1e3", "NaN", "Infinity", "1_000", "٣", "93,5", ".5", "5.", "9" * 16, "999999999999999.999", "0.0000000001"],
)
def test_a_metric_that_is_no_plain_exact_decimal_is_refused(value: str) -> None:
    assert refused({"metrics": [{"id": "sla_compliance", "value": value}]}) == [("metric-value", "/metrics/0/value")]


def test_the_same_metric_twice_for_one_period_is_refused() -> None:
    metric = {"id": "sla_compliance", "period": "2010"}
    assert refused({"metrics": [metric, metric]}) == [
        ("metric-repeated", "/metrics/0"),
        ("metric-repeated", "/metrics/1"),
    ]


def test_mistakes_are_reported_together() -> None:
    wrong = {"answers": {"a": {}, "b": {}}, "facts": {"c": 1}, "metrics": [{"id": "d", "value": "x"}]}
    assert len(refused(wrong)) == 5


def test_a_criterion_for_other_kinds_is_no_criterion_of_this_applicant() -> None:
    charter = parsed(SMALL)
    read({"answers": {"mostrador": {}}}, charter, "municipio")
    with pytest.raises(RefusedError, match="no criterion of the charter for a provincia"):
        read({"answers": {"mostrador": {}}}, charter, "provincia")


def test_a_complete_draft_has_no_gaps() -> None:
    assert gaps(document()) == []


@pytest.mark.parametrize(
    ("patch", "rule", "field"),
    [
        ({"answers": {CORE: None}}, "unanswered", f"/answers/{CORE}"),
        ({"answers": {CORE: {"statement": " \n"}}}, "unanswered", f"/answers/{CORE}"),
        ({"facts": {"gis_integrated": None}}, "missing-fact", "/facts/gis_integrated"),
        ({"contact": {"email": None}}, "missing-contact", "/contact/email"),
        ({"contact": {"official": "  "}}, "missing-contact", "/contact/official"),
    ],
)
def test_what_is_missing_is_named(patch: dict[str, Any], rule: str, field: str) -> None:
    assert gaps(document(**patch)) == [(rule, field)]


def test_a_criterion_is_excused_only_with_a_reason_and_never_both_answered_and_excused() -> None:
    assert gaps(document(answers={"chats": EXCUSE, "focus_groups": EXCUSE})) == []
    assert gaps(document(answers={"chats": {**EXCUSE, "not_applicable": " "}})) == [
        ("no-reason", "/answers/chats/not_applicable")
    ]
    assert gaps(document(answers={"chats": {"not_applicable": "We have none."}})) == [("both", "/answers/chats")]


def test_only_as_many_criteria_of_one_area_are_excused_as_the_charter_allows() -> None:
    strict = parsed(SHIPPED.replace("not_applicable_per_area = 2", "not_applicable_per_area = 1"))
    same_area = read(document(answers={"chats": EXCUSE, "focus_groups": EXCUSE}), strict, "city")
    assert [gap.rule for gap in drafts.gaps(same_area, strict, "city")] == ["too-many-not-applicable"]
    two_areas = read(document(answers={"chats": EXCUSE, "mobile_crews": EXCUSE}), strict, "city")
    assert drafts.gaps(two_areas, strict, "city") == []


@pytest.mark.parametrize(
    ("metrics", "rules"),
    [
        ([], ["published-service-delivery"]),
        ([("sla_compliance", "%", False)], ["published-service-delivery"]),
        ([("service_level", "%", True)], ["published-service-delivery"]),
        ([("sla_compliance", "%", True)], []),
        ([("sla_compliance", "", True)], ["incomplete-metric"]),
    ],
    ids=["none", "not published", "for calls only", "published service delivery", "no unit"],
)
def test_measuring_service_delivery_in_public_is_needed(metrics: list[tuple[str, str, bool]], rules: list[str]) -> None:
    given = [
        {"id": name, "unit": unit, "value": "1", "period": "2010", "published": published}
        for name, unit, published in metrics
    ]
    assert [rule for rule, _ in gaps(document(metrics=given))] == rules


def test_a_metric_keeps_the_digits_that_were_written() -> None:
    (metric, *_) = drafts.claims(read(document(), CHARTER, "city")).metrics
    assert str(metric.value) == "93.5"


def many_criteria() -> Charter:
    """More criteria than 56,000 bytes of TOML can define: each takes a digest in the leaf and a block in the record."""
    area = CHARTER.areas[0]
    criteria = tuple(area.criteria[0].model_copy(update={"id": f"c{number:03}"}) for number in range(850))
    return CHARTER.model_copy(update={"areas": (area.model_copy(update={"criteria": criteria}),)})


@pytest.mark.parametrize("charter", [CHARTER, parsed(SMALL), many_criteria()], ids=["shipped", "small", "widest"])
def test_the_fullest_draft_fits_a_record_and_one_byte_more_is_refused(charter: Charter) -> None:
    kind = charter.eligibility.kinds[0]
    made = complete_draft(charter, kind)
    quotes = [{"url": "https://a.example", "page": "", "quote": ""} for _ in range(3 * len(made["answers"]))]
    for number, answer in enumerate(made["answers"].values()):
        answer["evidence"] += quotes[3 * number : 3 * number + 3]
    room = SIZE_LIMIT - read(made, charter, kind).size
    for quote in quotes:
        # Control characters take six bytes each in JSON: the worst that a text can be.
        quote["quote"] = "\x01" * min(20_000, room // 6)
        room -= 6 * len(quote["quote"])
    made["contact"]["title"] += "x" * room
    draft = read(made, charter, kind)
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
        read(made, charter, kind)
