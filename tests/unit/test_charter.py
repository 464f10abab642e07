"""The charter file: what is read from it, what is refused, and that every refusal names its place."""

from __future__ import annotations

import json
from fractions import Fraction
from hashlib import sha256
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.catalogue import Fact, Metric
from schemas.charter import CHARTER_LIMIT, Charter, CharterError, charter_digest, parse_share, share_text
from schemas.exact import Quantity

PROGRAMS = Path(__file__).resolve().parents[2] / "deploy" / "programs"
SHIPPED = (PROGRAMS / "citizen-engaged-communities.toml").read_text(encoding="utf-8")
SPANISH = (PROGRAMS / "servicio-claro.toml").read_text(encoding="utf-8")
CHARTER = Charter.parse(SHIPPED)
DATA = PROGRAMS.parents[2] / "shared" / "domain"


def problems(text: str) -> tuple[str, ...]:
    with pytest.raises(CharterError) as refusal:
        Charter.parse(text)
    assert "\n" not in str(refusal.value)
    return refusal.value.problems


def test_the_shipped_charter_has_four_equal_areas_and_twenty_nine_criteria() -> None:
    assert [area.weight for area in CHARTER.areas] == [25, 25, 25, 25]
    assert [len(area.criteria) for area in CHARTER.areas] == [8, 8, 8, 5]
    assert len(CHARTER.metrics) == 20
    assert len(CHARTER.announcement.highlights) == 12


def test_the_shipped_core_criteria_are_the_five_without_which_there_is_no_contact_center() -> None:
    core = [criterion.id for area in CHARTER.areas for criterion in area.criteria if criterion.core]
    assert core == ["service_requests", "contact_center", "department_linkage", "crm", "external_citizen_metrics"]


def test_every_shipped_criterion_says_what_it_asks_what_shows_it_and_what_the_upper_points_look_like() -> None:
    criteria = [criterion for area in CHARTER.areas for criterion in area.criteria]
    assert all(one.asks and one.asks.endswith("?") and one.not_enough for one in criteria)
    assert all(list(one.looks_like) == [2, 3, 4] for one in criteria)
    texts = [text for one in criteria for text in (one.definition, one.asks, one.evidence, *one.looks_like.values())]
    assert len(texts) == len(set(texts)), "a text of one criterion stands in another"
    assert [anchor.score for anchor in CHARTER.scale.anchors] == [0, 1, 2, 3, 4]


def test_what_the_shipped_program_asks_of_applicants_keeps_its_promises() -> None:
    assert CHARTER.applying is not None
    assert CHARTER.applying.effort_hours <= 16
    assert CHARTER.applying.fee is None
    more = CHARTER.applying.extension
    assert more is not None
    assert (more.business_days, [ground.id for ground in more.grounds]) == (10, ["disaster", "outage", "accommodation"])
    assert CHARTER.reply is not None
    assert CHARTER.appeal is not None
    assert (CHARTER.reply.business_days, CHARTER.appeal.business_days, CHARTER.appeal.panel) == (15, 20, 3)


def test_every_shipped_metric_says_what_a_figure_covers_and_what_is_usual() -> None:
    assert [metric.id for metric in CHARTER.metrics if not (metric.period and metric.plausible)] == []
    assert all(metric.plausible for metric in CHARTER.metrics if metric.unit == "%")


def test_the_shipped_criteria_and_metrics_are_those_of_the_programs_data() -> None:
    """Where the raw data lies beside the repository; elsewhere by what was read from it once."""
    names = [[criterion.name.casefold() for criterion in area.criteria] for area in CHARTER.areas]
    core = [[criterion.core for criterion in area.criteria] for area in CHARTER.areas]
    metrics = [(metric.id, metric.unit, metric.direction) for metric in CHARTER.metrics]
    assert (sum(map(len, names)), sum(map(sum, core)), len(metrics)) == (29, 5, 20)
    if DATA.exists():
        rubric = json.loads((DATA / "rubric.json").read_text(encoding="utf-8"))
        catalogue = json.loads((DATA / "metrics.json").read_text(encoding="utf-8"))
        assert names == [[one["name"].casefold() for one in area["criteria"]] for area in rubric["areas"]]
        assert core == [[one["core"] for one in area["criteria"]] for area in rubric["areas"]]
        assert metrics == [(one["id"], one["unit"], one["direction"]) for one in catalogue]


def test_the_shipped_bar_is_exact() -> None:
    (level,) = CHARTER.levels
    assert (level.total, level.every_area, level.every_core) == (Fraction(3, 5), Fraction(1, 2), 2)


def test_a_frozen_charter_leaves_room_in_its_event() -> None:
    assert len(json.dumps(SHIPPED, ensure_ascii=False).encode()) < CHARTER_LIMIT - 4_000


def test_a_charter_of_another_shape_needs_no_code() -> None:
    charter = Charter.parse(SPANISH)
    assert (charter.scale.min, charter.scale.max, len(charter.areas)) == (1, 10, 6)
    assert [level.id for level in charter.levels] == ["bronce", "plata", "oro"]
    assert (charter.scoring.criterion, charter.tiers, charter.tier_of(5000)) == ("mean", (), None)
    assert (charter.cycle_label(2025), CHARTER.cycle_label(2011)) == ("2025", "2011-2013")


def test_the_digest_is_that_of_the_text_in_utf_8() -> None:
    assert charter_digest("ñ\n") == sha256(b"\xc3\xb1\n").hexdigest()


def test_a_criterion_applies_to_the_kinds_that_it_names_and_without_names_to_all() -> None:
    assert "neighborhood_stations" in CHARTER.criteria("city")
    assert "neighborhood_stations" not in CHARTER.criteria("town")
    assert len(CHARTER.criteria("city")) == 29


@given(st.integers(min_value=0, max_value=20_000_000))
def test_every_population_lies_in_exactly_one_shipped_tier(population: int) -> None:
    tier = CHARTER.tier_of(population)
    holding = [one for one in CHARTER.tiers if one.min <= population and (one.max is None or population <= one.max)]
    assert holding == [tier]


def test_the_tiers_meet_without_gap_or_overlap() -> None:
    assert all(upper.min == (lower.max or 0) + 1 for lower, upper in pairwise(CHARTER.tiers))


@given(st.integers(min_value=0, max_value=100 * 10**6))
def test_a_percentage_is_read_exactly_and_written_as_it_is_read(millionths: int) -> None:
    share = Fraction(millionths, 10**8)
    assert parse_share(share_text(share)) == share


@pytest.mark.parametrize(("text", "share"), [("60 %", (3, 5)), ("62.5%", (5, 8)), ("0 %", (0, 1)), ("100 %", (1, 1))])
def test_a_percentage_is_a_fraction(text: str, share: tuple[int, int]) -> None:
    assert parse_share(text) == Fraction(*share)


@pytest.mark.parametrize("text", ["60", "101 %", "-1 %", "1e1 %", "٦٠ %", "60  %", 61, 0.6, None])
def test_what_is_no_percentage_in_quotes_is_refused(text: object) -> None:
    with pytest.raises(ValueError, match="percentage in quotes"):
        parse_share(text)


def test_all_problems_of_shape_come_at_once_each_with_its_place() -> None:
    broken = (
        SHIPPED.replace('id = "information"', 'id = "Information!"')
        .replace("core = true", 'core = "yes"', 1)
        .replace('total = "60 %"', "total = 60")
        .replace("years = 2", "")
        .replace("[conflicts]", "[conflicts]\nsame_county = true")
    )
    found = problems(broken)
    assert [problem.split(":")[0] for problem in found] == [
        "levels[0].total",
        "conflicts.same_county",
        "areas[0].criteria[0].id",
        "areas[0].criteria[1].core",
        "term.years",
    ]
    assert found[0].endswith('such as "62.5 %"')
    assert found[1].endswith("is no field of a charter; remove it or check its spelling")
    assert found[4] == "term.years: is missing"


def test_all_broken_rules_come_at_once_each_with_its_place() -> None:
    broken = (
        SHIPPED.replace("min = 75001", "min = 75002")
        .replace("weight = 25", "weight = 30", 1)
        .replace('id = "complaints"', 'id = "information"')
        .replace("{total:word} designees have a centralized", "{sum:word} designees have a centralized")
        .replace('fact = "gis_integrated"', 'fact = "gis"')
        .replace("[180, 90, 30]", "[30, 90]")
    )
    assert problems(broken) == (
        "tiers[1].min: must be 75001, right after the tier before",
        "areas: the weights add up to 105, not 100",
        "areas[0].criteria[2].id: 'information' is already the id of areas[0].criteria[0]",
        "term.renewal_notice_days: must stand in descending order, each once",
        "announcement.highlights[8].sentences[0].text: unknown placeholder {sum}; known here: count, total",
        "announcement.highlights[8].sentences[0].all: unknown placeholder {sum}; known here: count, total",
        "announcement.highlights[9].sentences[0].where[0].fact: 'gis' is no fact of the charter",
    )


@pytest.mark.parametrize(
    ("old", "new", "problem"),
    [
        ('form = "cec-charter/1"', 'form = "cec-charter/2"', "form: Input should be 'cec-charter/1'"),
        ('site = "https', 'site = "ftp', "program.site: String should match"),
        (
            'kinds = ["municipio", ',
            'kinds = ["municipio", "municipio", ',
            "eligibility.kinds: 'municipio' stands 2 times",
        ),
        ("max = 10\n", "max = 1\n", "scale.max: must be above min 1"),
        ("score = 4", "score = 11", "scale.anchors[1].score: 11 is not on the scale from 1 to 10"),
        ("score = 7", "score = 4", "scale.anchors[2].score: anchors must stand in ascending order"),
        ('total = "70 %"', 'total = "50 %"', "levels[1]: must ask no less than the level before"),
        ("every_core = 7", "every_core = 11", "levels[2].every_core: 11 is not a score of the scale"),
        ("core = true\n", 'core = true\nna_when = "x"\n', "areas[0].criteria[0].na_when: a core criterion is never"),
        ('applies = ["municipio"]', 'applies = ["isla"]', "areas[1].criteria[1].applies: 'isla' is not in"),
        (
            "[areas.criteria.looks_like]\n4",
            "[areas.criteria.looks_like]\n0",
            "criteria[0].looks_like: 0 is not a score",
        ),
        ("published_service_delivery = 1", "published_service_delivery = 3", "asks for 3, but 2 such metrics"),
        ("years = 3\nrenewal_notice_days = [120", "years = 1\nrenewal_notice_days = [365", "must fall within the term"),
        ('designated = ["identity", ', 'designated = ["private", ', "disclosure.designated[0]: Input should be"),
        ('group_by = "level"', 'group_by = "tier"', "announcement.group_by: the charter has no tiers"),
        ('label = "{start}"', 'label = "{year}"', "program.label: unknown placeholder {year}; known here: end, start"),
        ('"{name} ({state})"', '"{name.__class__}"', "announcement.designee: unknown placeholder {name.__class__}"),
        ('"{name} ({state})"', '"{name:word}"', "announcement.designee: write the placeholder as {name}"),
        ('"{name} ({state})"', '"{name"', "announcement.designee: is no template: expected '}' before end of string"),
        ("{areas:word}", "{areas:WORD}", "write the placeholder as {areas}, {areas:word} or {areas:Word}"),
        ("figures.menos", "figures.total", "figures.total: this name is taken by a built-in placeholder"),
        ("at_least = 1 }", "at_least = 1, is = 1 }", "needs exactly one of: is, at_least, in, count_at_least"),
        ('fact = "vias", count_at_least = 4', 'fact = "vias", at_least = 4', "needs a fact of kind count, but vias is"),
        ('fact = "vias", count_at_least = 4', 'fact = "vias", is = "web"', "for a fact of kind choices use count_at_l"),
        ('in = ["publicada", ', 'in = ["perdida", ', "where[0].in: 'perdida' is no choice of carta_de_servicios"),
        ('is = "publicada"', "is = true", "figures.publicadas.count[0].is: must be one of: publicada"),
        ('is = "publicada"', "is = 1.5", "must be true, false, a whole number or text"),
        ('highest = "idiomas"', 'highest = "vias"', "figures.mas: 'vias' is no fact of kind count"),
        ('lowest = "idiomas"', 'lowest = "idiomas", share = "some"', "share goes with count only"),
        (
            'lowest = "idiomas"',
            'lowest = "idiomas", highest = "idiomas"',
            "needs exactly one of: highest, lowest, count",
        ),
        ('kind = "yes_no"', 'kind = "yes_no"\nchoices = ["a"]', "facts[0]: choices go with kind choice or choices"),
        ('kind = "yes_no"', 'kind = "yes_no"\nmin = 1', "facts[0]: min and max go with kind count only"),
        ("min = 1\nmax = 30", "min = 31\nmax = 30", "facts[2]: max 30 is below min 31"),
        (
            "[areas.criteria.looks_like]\n4 =",
            "[areas.criteria.looks_like]\n11 =",
            "areas[0].criteria[0].looks_like: 11 is not a score of the scale",
        ),
        ("7 = ", '7 = "Respuestas publicadas por una sola oficina."\n8 =', "looks_like: 7 reads the same as 4"),
        ("notes.provincia", "notes.isla", "criteria[0].notes: 'isla' is not a kind that the criterion is for"),
        (
            'applies = ["municipio"]',
            'applies = ["municipio"]\nnotes.provincia = "x"',
            "areas[1].criteria[1].notes: 'provincia' is not a kind that the criterion is for",
        ),
        ("asks = ", 'asks = "' + "x" * 401 + '"\nold = ', "areas[0].criteria[0].asks: String should have at most 400"),
        ("effort_hours = 12", "effort_hours = 0", "applying.effort_hours: Input should be greater than or equal to 1"),
        ('"150.00"', '"0.00"', "applying.fee: amount must be above 0; where nothing is asked, leave applying.fee out"),
        ('"150.00"', "150.0", "applying.fee.amount: Input should be a valid string"),
        ('"EUR"', '"euro"', "applying.fee.currency: String should match"),
        ('text = "Municipio de', 'tiers = ["t1"]\ntext = "Municipio de', "waivers[0].tiers: 't1' is not a tier of the"),
        ('\nkinds = ["municipio"]', '\nkinds = ["isla"]', "fee.waivers[0].kinds: 'isla' is not in eligibility.kinds"),
        ('id = "emergencia"', 'id = "municipio_pequeno"', "waivers[1].id: 'municipio_pequeno' is already the id of"),
        ("business_days = 5", "business_days = 0", "applying.extension.business_days: Input should be greater than"),
        ("[reply]", "[appeal]", "appeal.panel: is missing"),
        (
            "[[reply.grounds]]",
            '[[reply.grounds]]\nid = "error_de_hecho"\ntext = "x"\n\n[[reply.grounds]]',
            "reply.grounds[1].id: 'error_de_hecho' is already the id of reply.grounds[0]",
        ),
        ('plausible = ["20", "100"]', 'plausible = ["100", "20"]', "a lower and then a higher figure, not 100 and 20"),
        ('plausible = ["20", "100"]', 'plausible = ["20", "1e2"]', "metrics[1].plausible[1]: String should match"),
        (
            'plausible = ["20", "100"]',
            "plausible = [20, 100]",
            "metrics[1].plausible[0]: Input should be a valid string",
        ),
        ('id = "vias"\nlabel', 'id = "idiomas"\nlabel', "facts[2].id: 'idiomas' is already the id of facts[1]"),
    ],
)
def test_a_rule_that_does_not_hold_is_named(old: str, new: str, problem: str) -> None:
    assert old in SPANISH
    assert any(problem in found for found in problems(SPANISH.replace(old, new, 1)))


def test_an_area_that_could_be_left_without_a_criterion_is_refused() -> None:
    everywhere = SPANISH.replace("not_applicable_per_area = 1", "not_applicable_per_area = 5")
    only_optional = everywhere.replace("core = true\n", "").replace("definition", 'na_when = "x"\ndefinition')
    only_optional = only_optional.replace('na_when = "No se atiende', '# "').replace('na_when = "El territorio', '# "')
    assert "areas[0].criteria: a municipio could be left with no criterion to be judged by" in problems(only_optional)


@pytest.mark.parametrize("text", ["form = ", "a = 1\na = 2", "\x00"])
def test_what_is_no_toml_says_where(text: str) -> None:
    (problem,) = problems(text)
    assert problem.startswith("the file is not TOML: ")


def test_a_charter_too_large_for_its_event_is_refused_before_a_cycle_opens() -> None:
    (problem,) = problems(SHIPPED + "#" * CHARTER_LIMIT)
    assert problem.endswith("shorten it to 56,000")


@pytest.mark.parametrize(
    ("fact", "good", "bad"),
    [
        (Fact(id="f", label="f", kind="yes_no"), [True, False], [1, "yes", None]),
        (Fact(id="f", label="f", kind="count"), [0, 10**6], [-1, True, "3", 1.0, None]),
        (Fact(id="f", label="f", kind="count", min=1, max=3), [1, 3], [0, 4]),
        (Fact(id="f", label="f", kind="count", max=0), [0], [1]),
        (Fact(id="f", label="f", kind="choice", choices=("a", "b")), ["a"], ["c", ["a"], True]),
        (Fact(id="f", label="f", kind="choices", choices=("a", "b")), [[], ["b", "a"]], [["a", "a"], ["c"], "a", [[]]]),
    ],
)
def test_a_fact_takes_values_of_its_kind_only(fact: Fact, good: list[object], bad: list[object]) -> None:
    assert [fact.problem(value) for value in good] == [None] * len(good)
    assert all(fact.problem(value) for value in bad)


@pytest.mark.parametrize("value", ["20", "20.0", "100", "99.99"])
def test_a_usual_figure_raises_no_doubt(value: str) -> None:
    (metric,) = [one for one in CHARTER.metrics if one.id == "sla_compliance"]
    assert metric.doubt(Quantity.parse(value)) is None


@pytest.mark.parametrize("value", ["19.999", "100.000001", "-1", "0"])
def test_a_figure_outside_what_is_usual_is_doubted_in_words(value: str) -> None:
    (metric,) = [one for one in CHARTER.metrics if one.id == "sla_compliance"]
    assert metric.doubt(Quantity.parse(value)) == f"{value} % is outside what is usual, 20 to 100 %"


def test_a_metric_without_a_usual_range_doubts_nothing() -> None:
    assert Metric(id="m", name="m", formula="m", unit="s", direction="up").doubt(Quantity.parse("-5")) is None
