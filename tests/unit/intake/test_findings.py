"""What is wrong, missing or doubtful in a draft: told with its place and in order, and kept all the same."""

from __future__ import annotations

from typing import Any

import pytest

from services.intake.applications.drafts import Draft, merged, shaped
from services.intake.applications.findings import Ground, Report, obstacles, reports
from services.intake.cycles.domain import parsed
from tests.applicants import SHIPPED, SMALL, complete_draft

CHARTER = parsed(SHIPPED)
CORE = next(c.id for area in CHARTER.areas for c in area.criteria if c.core)
EXCUSE = {"statement": None, "not_applicable": "We have none."}
SECTIONS = [*(f"answers.{area.id}" for area in CHARTER.areas), "facts", "metrics", "contact"]


def document(**changes: object) -> dict[str, Any]:
    made: dict[str, Any] = merged(complete_draft(CHARTER, "city"), changes)
    return made


def ground(draft: Draft, kind: str = "city") -> Ground:
    return Ground.of(CHARTER, kind, ("https://www.springfield.example", ""), draft.contact)


def found(kind: str = "city", **changes: Any) -> list[Report]:
    draft = shaped(document(**changes), CHARTER)
    return reports(draft, ground(draft, kind))


def problems(**changes: Any) -> list[tuple[str, str]]:
    return [(one.rule, one.field) for report in found(**changes) for one in report.problems]


def missing(**changes: Any) -> list[tuple[str, str]]:
    return [(one.rule, one.field) for report in found(**changes) for one in report.missing]


def warned(**changes: Any) -> list[tuple[str, str]]:
    return [(one.rule, one.field) for report in found(**changes) for one in report.warnings]


def hindering(draft: Draft) -> list[str]:
    return [one.rule for one in obstacles(draft, ground(draft))]


def test_a_complete_draft_has_nothing_in_its_way() -> None:
    draft = shaped(document(), CHARTER)
    assert obstacles(draft, ground(draft)) == []
    assert all(report.complete and report.done == report.asked for report in found())


def test_an_empty_draft_is_told_everything_section_by_section_in_the_charters_order() -> None:
    draft = Draft()
    told = reports(draft, ground(draft))
    assert [report.section.name for report in told] == SECTIONS
    assert [report.asked for report in told] == [8, 8, 8, 5, len(CHARTER.facts), 1, 3]
    assert {report.done for report in told} == {0}
    assert [one.field for report in told for one in report.missing] == [
        *(f"/answers/{name}" for name in CHARTER.criteria("city")),
        *(f"/facts/{fact.id}" for fact in CHARTER.facts if fact.required),
        "/metrics",
        "/contact/official",
        "/contact/title",
        "/contact/email",
    ]


@pytest.mark.parametrize(
    ("patch", "rule", "field"),
    [
        ({"answers": {CORE: {**EXCUSE}}}, "always-applicable", f"/answers/{CORE}/not_applicable"),
        ({"answers": {"chats": {"not_applicable": "We have none."}}}, "both", "/answers/chats"),
        (
            {"answers": {CORE: {"evidence": [{"url": "javascript:alert(1)"}]}}},
            "evidence-link",
            f"/answers/{CORE}/evidence/0/url",
        ),
        ({"answers": {CORE: {"evidence": [{"url": "https:/"}]}}}, "evidence-link", f"/answers/{CORE}/evidence/0/url"),
        ({"facts": {"feedback_tools_count": 51}}, "fact-value", "/facts/feedback_tools_count"),
        ({"facts": {"mobile_channel": "smoke"}}, "fact-value", "/facts/mobile_channel"),
        ({"facts": {"self_service_options": ["web", "web"]}}, "fact-value", "/facts/self_service_options"),
        ({"contact": {"email": "nobody"}}, "email-address", "/contact/email"),
        ({"contact": {"official": "A\nB"}}, "one-line", "/contact/official"),
    ],
)
def test_a_wrong_value_is_kept_and_told_with_its_place(patch: dict[str, Any], rule: str, field: str) -> None:
    assert problems(**patch) == [(rule, field)]
    draft = shaped(document(**patch), CHARTER)
    assert shaped(merged(draft.document, patch), CHARTER) == draft
    assert hindering(draft) == [rule]


@pytest.mark.parametrize(
    "value",
    ["1e3", "NaN", "Infinity", "1_000", "٣", "93,5", ".5", "5.", "9" * 16, "999999999999999.999", "0.0000000001"],
)
def test_a_metric_that_is_no_plain_exact_decimal_is_told(value: str) -> None:
    metric = {"id": "sla_compliance", "value": value, "unit": "%", "period": "2010", "published": True}
    assert problems(metrics=[metric]) == [("metric-value", "/metrics/0/value")]


def test_a_metric_in_another_unit_or_twice_for_one_period_is_told() -> None:
    metric = {"id": "sla_compliance", "value": "93.5", "unit": "h", "period": "2010", "published": True}
    assert problems(metrics=[metric]) == [("metric-unit", "/metrics/0/unit")]
    metric["unit"] = "%"
    assert problems(metrics=[metric, metric]) == [("metric-repeated", "/metrics/0"), ("metric-repeated", "/metrics/1")]


def test_an_answer_for_other_kinds_of_applicant_is_told_and_not_counted() -> None:
    charter = parsed(SMALL)
    draft = shaped({"answers": {"mostrador": {"statement": "Abre a las ocho."}}}, charter)

    def told(kind: str) -> list[str]:
        return [
            one.rule
            for report in reports(draft, Ground.of(charter, kind, (), draft.contact))
            for one in report.problems
        ]

    assert told("municipio") == []
    assert told("provincia") == ["not-asked"]


@pytest.mark.parametrize(
    ("patch", "rule", "field"),
    [
        ({"answers": {CORE: None}}, "unanswered", f"/answers/{CORE}"),
        ({"answers": {CORE: {"statement": " \n"}}}, "unanswered", f"/answers/{CORE}"),
        ({"answers": {"chats": {**EXCUSE, "not_applicable": " "}}}, "no-reason", "/answers/chats/not_applicable"),
        ({"facts": {"gis_integrated": None}}, "missing-fact", "/facts/gis_integrated"),
        ({"contact": {"email": None}}, "missing-contact", "/contact/email"),
        ({"contact": {"official": "  "}}, "missing-contact", "/contact/official"),
    ],
)
def test_what_is_missing_is_named(patch: dict[str, Any], rule: str, field: str) -> None:
    assert missing(**patch) == [(rule, field)]
    assert sum(report.asked - report.done for report in found(**patch)) == 1


def test_only_as_many_criteria_of_one_area_are_excused_as_the_charter_allows() -> None:
    both = {"answers": {"chats": EXCUSE, "focus_groups": EXCUSE}}
    assert problems(**both) == missing(**both) == []
    strict = parsed(SHIPPED.replace("not_applicable_per_area = 2", "not_applicable_per_area = 1"))

    def told(*names: str) -> list[str]:
        draft = shaped(document(answers=dict.fromkeys(names, EXCUSE)), strict)
        return [one.rule for one in obstacles(draft, Ground.of(strict, "city", (), draft.contact))]

    assert told("chats", "focus_groups") == ["too-many-not-applicable"]
    assert told("chats", "mobile_crews") == []


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
        {"id": name, "unit": unit, "value": "50", "period": "2010", "published": published}
        for name, unit, published in metrics
    ]
    assert [rule for rule, _ in missing(metrics=given)] == rules


# --- warnings -------------------------------------------------------------------------------------------------------


def implausible(value: str) -> dict[str, Any]:
    return {"id": "sla_compliance", "value": value, "unit": "%", "period": "2010", "published": True}


def test_a_figure_outside_what_is_usual_is_no_problem_and_wants_to_be_acknowledged() -> None:
    given = document(metrics=[implausible("2.5")])
    draft = shaped(given, CHARTER)
    (warning,) = [one for report in reports(draft, ground(draft)) for one in report.warnings]
    assert (warning.rule, warning.field) == ("implausible-metric", "/metrics/0/value")
    assert "2.5 % is outside what is usual, 20 to 100 %" in warning.detail
    assert hindering(draft) == ["not-acknowledged"]
    assert hindering(shaped({**given, "acknowledged": [warning.id]}, CHARTER)) == []
    moved = {**given, "acknowledged": [warning.id], "metrics": [implausible("2.5"), implausible("2.50")]}
    moved["metrics"][0] = {**moved["metrics"][0], "period": "2009", "value": "50"}
    assert hindering(shaped(moved, CHARTER)) == ["not-acknowledged"]


def test_an_acknowledged_figure_may_move_in_the_list_and_another_is_warned_of_anew() -> None:
    draft = shaped(document(metrics=[implausible("2.5")]), CHARTER)
    (seen,) = [one.id for report in reports(draft, ground(draft)) for one in report.warnings]
    other = {"id": "time_to_close", "value": "48", "unit": "h", "period": "2010", "published": True}
    moved = shaped({**document(metrics=[other, implausible("2.5")]), "acknowledged": [seen]}, CHARTER)
    assert hindering(moved) == []
    changed = shaped({**document(metrics=[implausible("2.6")]), "acknowledged": [seen]}, CHARTER)
    assert hindering(changed) == ["not-acknowledged"]


@pytest.mark.parametrize(
    "answer",
    [
        {"statement": "Ask Jane at 503-555-0142 about it."},
        {"evidence": [{"url": "https://a.example", "quote": "jane.doe@mail.example wrote to us"}]},
        {"statement": None, "not_applicable": "Only 12 Elm Street would use it."},
    ],
    ids=["statement", "quote", "reason"],
)
def test_residents_data_is_warned_of_wherever_people_write(answer: dict[str, Any]) -> None:
    ((rule, field),) = warned(answers={"chats": answer})
    assert rule == "residents-data"
    assert field.startswith("/answers/chats/")


def test_the_governments_own_contacts_are_nobodys_data() -> None:
    text = "Call 503-988-4444, write to help@springfield.example or to manager@gov.example, or come to 12 Elm Street."
    own = {"phone": "(503) 988-4444", "walk-in": "12 Elm Street, first floor"}
    assert warned(answers={CORE: {"statement": text}}, contact={"channels": own}) == []
    assert len(warned(answers={CORE: {"statement": text}})) == 2


def test_a_section_alone_is_judged_as_within_the_whole() -> None:
    whole = shaped(document(answers={CORE: {"statement": "503-555-0142"}}, contact={"email": "x"}), CHARTER)
    for report in reports(whole, ground(whole)):
        ids = {c.id for c in report.section.area.criteria} if report.section.area else set()
        alone = Draft(
            answers={name: answer for name, answer in whole.answers.items() if name in ids},
            facts=whole.facts if report.section.name == "facts" else {},
            metrics=whole.metrics if report.section.name == "metrics" else [],
            contact=whole.contact if report.section.name == "contact" else Draft().contact,
        )
        assert report in reports(alone, ground(whole))
