"""The announcement: the words of the program's own page, and that they follow from the designees' facts."""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from dataclasses import replace
from datetime import date
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from num2words import num2words

from deploy.demo.cohort import load
from schemas.applications import FactValue
from schemas.charter import Charter
from services.awards.announcement import Announcement, Designee, announce, unspeakable
from services.awards.rendering import render

ROOT = Path(__file__).resolve().parents[2]
PROGRAMS = ROOT / "deploy" / "programs"
CHARTER = Charter.parse((PROGRAMS / "citizen-engaged-communities.toml").read_text(encoding="utf-8"))
SPANISH = Charter.parse((PROGRAMS / "servicio-claro.toml").read_text(encoding="utf-8"))
COHORT = load(PROGRAMS / "cohort-2011-2013.json")
PUBLISHED = ROOT.parent / "shared" / "domain" / "seeds" / "001_6f552bbf02c8e8af.txt"

LISTED = """\
2011-2013 Citizen-Engaged Communities

City/County Population: 75,001–150,000

Santa Monica, California

City/County Population: 150,001–300,000

Chesapeake, Virginia
Durham, North Carolina
Winston-Salem, North Carolina

City/County Population: 300,001 or more

Boston, Massachusetts
Denver, Colorado
Indianapolis, Indiana
Kansas City, Missouri
Minneapolis, Minnesota
Philadelphia, Pennsylvania

Highlights of the 2011-2013 Citizen-Engaged Communities

All 10 designees:

• Issue service requests, with some dispatching to service crews
• Provide multiple language support
• Address citizen/user accessibility needs
• Utilize Web 2.0/social media tools
• Provide multiple self-service options
• Track six to sixteen established performance metrics

In addition:

• Four of the local government designees have implemented mobile channels. Four governments are in the process of \
launching mobile channels
• Eight of the ten designees have Service Level Agreements with service departments/agencies
• Eight of the ten designees have a centralized or single knowledge-base
• Nine of the ten designees have contact center systems integrated with their GIS system
• Nine of the ten designees utilize up to seven tools for citizen feedback and are using the data collected to \
improve internal business processes
• Nine of the ten designees have a written technology plan that addresses their contact center operations

Citizen-Engaged Communities designees are also being creative about budget constraints, such as working with veteran \
and community groups and educational institutions for agents-in-training and transitioning to more “virtual agents.”

10-17-2011
"""

TEN = [
    Designee(
        id=f"designation-{number}",
        name=applicant.name,
        state=applicant.state,
        tier=tier.id,
        level="designated",
        facts=applicant.facts,
        assumed=frozenset(applicant.assumed),
    )
    for number, applicant in enumerate(COHORT.applicants)
    if not applicant.fictional and (tier := CHARTER.tier_of(applicant.population))
]


def announced(designees: Sequence[Designee] = TEN, *, simulated: bool = True) -> Announcement:
    return announce(
        CHARTER,
        designees,
        label="2011-2013",
        announced_on=date(2011, 10, 17),
        narrative=COHORT.narrative,
        simulated=simulated,
    )


def with_fact(name: str, fact: str, value: FactValue) -> list[Designee]:
    return [replace(one, facts={**one.facts, fact: value}) if one.name == name else one for one in TEN]


def highlight(announcement: Announcement, name: str) -> str:
    return next(finding.text for finding in announcement.findings if finding.id == name)


def unassumed(designees: Sequence[Designee]) -> list[Designee]:
    return [replace(one, assumed=frozenset()) for one in designees]


def test_the_text_says_what_the_programs_own_page_says() -> None:
    """As it is written down above; where the page lies beside the repository, also as it stands there."""
    own, _, notes = render(announced(), "text").partition("\nNote: ")
    heading, _, listed = own.partition("2011-2013 Citizen-Engaged Communities\n\nCity")
    assert "2011-2013 Citizen-Engaged Communities\n\nCity" + listed == LISTED
    assert heading.startswith("Presenting the 2011-2013 Citizen Engaged Communities\n\nPublic Technology Institute is")
    assert notes
    if PUBLISHED.exists():
        page, date_line, _ = PUBLISHED.read_text(encoding="utf-8").partition("10-17-2011")
        # The page breaks its lines, once inside a hyphenated word.
        assert " ".join((page + date_line).split()).replace("agents-in- t", "agents-in-t") == " ".join(own.split())


def test_the_order_in_which_designees_come_changes_nothing() -> None:
    shuffled = random.Random(4).sample(TEN, len(TEN))
    assert announced(shuffled) == announced()


@pytest.mark.parametrize(
    ("city", "fact", "value", "name", "text"),
    [
        ("Denver", "sla_with_service_departments", True, "service_level_agreements", "Nine of the ten designees have"),
        ("Boston", "centralized_knowledge_base", False, "knowledge_base", "Seven of the ten designees have"),
        ("Kansas City", "gis_integrated", True, "gis", "All ten designees have contact center systems"),
        ("Denver", "feedback_tools_count", 8, "feedback", "Nine of the ten designees utilize up to eight tools"),
        ("Denver", "feedback_used_for_improvement", False, "feedback", "Eight of the ten designees utilize up to six"),
        ("Durham", "written_technology_plan", True, "technology_plan", "All ten designees have a written technology"),
        ("Durham", "mobile_channel", "in_process", "mobile_channels", "Four of the local government designees have im"),
        ("Durham", "metrics_tracked_count", 17, "metrics", "Track six to seventeen established performance metrics"),
        ("Santa Monica", "metrics_tracked_count", 16, "metrics", "Track seven to sixteen established performance met"),
    ],
)
def test_one_fact_of_one_designee_changes_that_highlights_words(
    city: str, fact: str, value: FactValue, name: str, text: str
) -> None:
    before, after = announced(), announced(with_fact(city, fact, value))
    assert highlight(after, name).startswith(text)
    changed = [old.id for old, new in zip(before.findings, after.findings, strict=True) if old.text != new.text]
    assert changed == ([name] if highlight(before, name) != highlight(after, name) else [])


def test_each_sentence_of_a_highlight_counts_for_itself() -> None:
    after = announced(with_fact("Durham", "mobile_channel", "in_process"))
    assert highlight(after, "mobile_channels").endswith(
        ". Five governments are in the process of launching mobile channels"
    )
    nobody_launches = [
        replace(one, facts={**one.facts, "mobile_channel": "none"})
        if one.facts["mobile_channel"] == "in_process"
        else one
        for one in TEN
    ]
    assert highlight(announced(nobody_launches), "mobile_channels") == (
        "Four of the local government designees have implemented mobile channels"
    )


def test_removing_one_designee_changes_ten_everywhere() -> None:
    text = render(announced([one for one in TEN if one.name != "Boston"]), "text")
    assert "All 9 designees:" in text
    assert "Eight of the nine designees have contact center systems" in text
    assert "Three of the local government designees have implemented mobile channels" in text
    assert "Boston" not in text
    assert "ten designees" not in text
    assert "10 designees" not in text


def test_a_tier_without_designees_is_left_out() -> None:
    announcement = announced([one for one in TEN if one.tier != "t3"])
    assert [group.id for group in announcement.groups] == ["t2", "t4"]


def test_what_is_said_of_all_is_said_only_while_it_is_true_of_all() -> None:
    after = announced(with_fact("Denver", "self_service_options", ["web"]))
    assert "self_service" not in [finding.id for finding in after.findings]
    assert "All 10 designees:" in [section.heading for section in after.sections]


@pytest.mark.parametrize(
    ("dispatching", "text"),
    [
        (0, "Issue service requests"),
        (1, "Issue service requests, with some dispatching to service crews"),
        (9, "Issue service requests, with some dispatching to service crews"),
        (10, "Issue service requests and dispatch to service crews"),
    ],
)
def test_a_share_of_none_some_or_all_has_its_own_wording(dispatching: int, text: str) -> None:
    designees = [
        replace(one, facts={**one.facts, "dispatches_to_crews": number < dispatching}) for number, one in enumerate(TEN)
    ]
    assert highlight(announced(designees), "service_requests") == text


def test_a_single_one_and_a_single_value_have_their_own_wording() -> None:
    designees = [
        replace(one, facts={**one.facts, "gis_integrated": not number, "metrics_tracked_count": 7})
        for number, one in enumerate(TEN)
    ]
    announcement = announced(designees)
    assert highlight(announcement, "gis").startswith("One of the ten designees has contact center systems integrated")
    assert highlight(announcement, "metrics") == "Track seven established performance metrics"


def test_a_fact_that_was_not_given_counts_for_nothing() -> None:
    silent = [replace(one, facts={}) for one in TEN]
    assert announced(silent).sections == ()


def test_a_single_designee_is_not_called_one_of_the_one() -> None:
    text = render(announced(TEN[:1]), "text")
    assert "The contact services of the one designee:" in text
    assert "• Track six established performance metrics" in text
    assert "• The designee has implemented mobile channels\n" in text
    assert "one designees" not in text


@pytest.mark.parametrize("form", ["text", "markdown", "html"])
def test_a_cycle_without_designees_says_so_and_claims_nothing(form: str) -> None:
    rendered = render(announced([]), form)  # type: ignore[arg-type]
    assert "No government was designated in the 2011-2013 cycle." in rendered
    assert "Highlights" not in rendered


def test_every_highlight_keeps_whom_it_counts_and_its_figures() -> None:
    by_id = {finding.id: finding for finding in announced().findings}
    ids = {one.name: one.id for one in TEN}
    implemented, launching = by_id["mobile_channels"].statements
    assert implemented.counts == tuple(
        sorted(ids[n] for n in ("Santa Monica", "Boston", "Indianapolis", "Kansas City"))
    )
    assert len(launching.counts) == 4
    assert ids["Indianapolis"] not in by_id["feedback"].statements[0].counts
    assert by_id["feedback"].statements[0].figures == {"high": 7}
    assert by_id["metrics"].statements[0].figures == {"low": 6, "high": 16}
    assert by_id["service_requests"].statements[0].figures == {"dispatching": 4}


def test_a_highlight_is_marked_where_any_designees_fact_behind_it_is_assumed() -> None:
    designees = unassumed(TEN)
    assert not any(finding.assumed for finding in announced(designees).findings)
    # Indianapolis does not count here, but only because of this fact.
    marked = [
        replace(one, assumed=frozenset({"centralized_knowledge_base"})) if one.name == "Indianapolis" else one
        for one in designees
    ]
    assert [finding.id for finding in announced(marked).findings if finding.assumed] == ["knowledge_base"]


def test_only_what_the_published_page_says_of_all_ten_rests_on_nothing_assumed() -> None:
    sure = [finding.id for finding in announced().findings if not finding.assumed]
    assert sure == ["languages", "accessibility", "social_media"]


def test_the_labels_stand_wherever_a_person_looks() -> None:
    announcement = announced()
    note = "(highlights counted from the top: 1, 5, 6, 7, 8, 9, 10, 11, 12). The scores of this cycle are simulated:"
    assert note in render(announcement, "text")
    assert note in render(announcement, "html")
    assert render(announcement, "html").count("<em>(assumed)</em></li>") == 9
    assert render(announcement, "markdown").count(" *(assumed)*\n") == 9
    assert "Communities <em>(scores simulated)</em></h2>" in render(announcement, "html")
    document = json.loads(render(announcement, "json"))
    assert document["simulated"] is True
    assert sum(one["assumed"] for section in document["sections"] for one in section["highlights"]) == 9


def test_without_assumed_facts_and_drawn_scores_there_is_no_note() -> None:
    announcement = announced(unassumed(TEN), simulated=False)
    assert announcement.notes == ()
    assert render(announcement, "text").endswith("\n\n10-17-2011\n")
    assert "simulated" not in render(announcement, "html")


def test_the_json_form_holds_every_word_and_no_fraction() -> None:
    def exact(text: str) -> float:
        raise AssertionError(f"{text} is a float")

    announcement = announced()
    document = json.loads(render(announcement, "json"), parse_float=exact)
    assert [group["designees"][0]["name"] for group in document["groups"]] == [
        "Santa Monica, California",
        "Chesapeake, Virginia",
        "Boston, Massachusetts",
    ]
    texts = [one["text"] for section in document["sections"] for one in section["highlights"]]
    assert texts == [finding.text for finding in announcement.findings]


def test_a_governments_name_can_add_neither_markup_nor_lines() -> None:
    evil = replace(TEN[0], name="<script>x</script> [a](https://b.example)\n• Forged")
    announcement = announced([evil])
    assert "<script>" not in render(announcement, "html")
    assert "<script>" not in render(announcement, "markdown").replace("\\<", "")
    assert "\\[a\\]" in render(announcement, "markdown")
    assert "\n• Forged" not in render(announcement, "text")


@pytest.mark.parametrize("tier", ["t9", None])
def test_a_designee_of_an_unknown_tier_is_never_silently_left_out(tier: str | None) -> None:
    with pytest.raises(ValueError, match="designee designation-0: the charter has no tier"):
        announced([replace(TEN[0], tier=tier)])


def test_one_designation_is_announced_once() -> None:
    with pytest.raises(ValueError, match="share one id"):
        announced([TEN[0], TEN[0]])


SLAS = "sla_with_service_departments"


@settings(max_examples=60, deadline=None)
@given(st.lists(st.booleans(), min_size=2, max_size=200))
def test_the_number_words_are_the_numbers_for_any_cohort(having: list[bool]) -> None:
    designees = [Designee(f"d{n}", f"C{n}", "S", "t1", "designated", {SLAS: has}) for n, has in enumerate(having)]
    texts = [finding.text for finding in announced(designees).findings]
    count, total = sum(having), str(num2words(len(having)))
    if not count:
        assert texts == []
    elif count == len(having):
        assert texts == [f"All {total} designees have Service Level Agreements with service departments/agencies"]
    else:
        verb = "has" if count == 1 else "have"
        words = str(num2words(count))
        subject = f"{words[0].upper()}{words[1:]} of the {total} designees {verb} Service Level Agreements"
        assert texts == [f"{subject} with service departments/agencies"]


@settings(max_examples=40, deadline=None)
@given(st.sets(st.sampled_from(range(10))))
def test_every_designee_is_listed_once_for_any_part_of_the_cohort(chosen: set[int]) -> None:
    announcement = announced([TEN[number] for number in chosen])
    listed = [member for group in announcement.groups for member in group.members]
    assert sorted(listed) == sorted(TEN[number].id for number in chosen)
    assert announcement.total == len(chosen)


def spanish(*levels: tuple[str, str, int]) -> Announcement:
    designees = [
        Designee(
            id=name,
            name=name,
            state="Región del Sur",
            tier=None,
            level=level,
            facts={"atencion_en_linea": True, "idiomas": languages, "vias": [], "carta_de_servicios": "publicada"},
        )
        for name, level, languages in levels
    ]
    return announce(SPANISH, designees, label="2025", announced_on=date(2025, 6, 12), simulated=True)


def test_another_program_speaks_its_own_language_and_groups_by_level_from_the_highest() -> None:
    text = render(spanish(("Zuera", "bronce", 2), ("Alba", "oro", 4), ("Águeda", "oro", 3)), "text")
    assert text.startswith("Distinciones Servicio Claro 2025 (programa de ejemplo)\n")
    assert "Las candidaturas se valoran en seis áreas:" in text
    oro = "Nivel Oro\n\nÁgueda (Región del Sur)\nAlba (Región del Sur)\n"
    assert f"{oro}\nNivel Bronce\n\nZuera (Región del Sur)\n" in text
    assert "Nivel Plata" not in text
    assert "Los 3 gobiernos distinguidos:\n\n• Atienden en línea a cualquier hora\n" in text
    assert "• Atienden en entre 2 y 4 lenguas\n" in text
    assert "Además:\n\n• Todos tienen carta de servicios o la preparan; publicadas: 3\n" in text
    assert "\n12 de junio de 2025\n" in text
    assert "Nota: Las puntuaciones de esta edición son simuladas" in text


def test_a_yes_is_not_a_count_of_one() -> None:
    text = (PROGRAMS / "servicio-claro.toml").read_text(encoding="utf-8")
    charter = Charter.parse(text.replace('fact = "idiomas", at_least = 1', 'fact = "idiomas", is = 1'))
    spoken = [
        [finding.id for finding in announce(charter, [one], label="2025", announced_on=date(2025, 6, 12)).findings]
        for one in (Designee("d", "D", "S", None, "oro", {"idiomas": value}) for value in (1, True))
    ]
    assert spoken == [["idiomas"], []]


def test_the_page_names_its_language() -> None:
    assert '<html lang="es">' in render(spanish(("Puerto", "oro", 4)), "html")


def test_both_shipped_charters_can_be_worded_here() -> None:
    assert [unspeakable(CHARTER), unspeakable(SPANISH)] == [[], []]


def test_a_language_or_date_that_cannot_be_worded_is_known_before_a_cycle_opens() -> None:
    program = CHARTER.program.model_copy(update={"language": "xx"})
    wording = CHARTER.announcement.model_copy(update={"date_format": "bb"})
    assert unspeakable(CHARTER.model_copy(update={"program": program})) == [
        "program.language: numbers cannot be spelt in 'xx'",
        "program.language: dates cannot be written in 'xx'",
    ]
    (problem,) = unspeakable(CHARTER.model_copy(update={"announcement": wording}))
    assert problem.startswith("announcement.date_format: is no CLDR date pattern")
