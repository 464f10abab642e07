"""The list of metrics is what is registered, what is measured, and what the reference says."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from prometheus_client import REGISTRY
from prometheus_client.parser import text_string_to_metric_families

from deploy.reference import REFERENCE
from services.chassis import metrics as m
from services.chassis.health import MEASURES
from services.chassis.metrics import METRICS, Metric, Metrics, text
from services.origin import SERVICES
from tests.contract.test_subscribers import made

SOURCE = Path(__file__).resolve().parents[2] / "services"
ASKED_OTHERWISE = {m.SCRAPED, m.LAG, m.PARTITIONS, m.STOPPED, m.OVERDUE}
"""Gauges that no query gives."""


def moved(*names: str) -> Metrics:
    """Metrics of which every counter and histogram has moved and every gauge is shown."""
    metrics = Metrics(names[0] if names else "probe")
    for metric in METRICS:
        if metric.kind != "gauge":
            metrics.note(metric, 1, **dict.fromkeys(metric.labels, "x"))
    metrics.show({metric: {("x",) * len(metric.labels): 1.0} for metric in METRICS if metric.kind == "gauge"})
    return metrics


def families(raw: bytes) -> dict[str, object]:
    found = [(family.name, family) for family in text_string_to_metric_families(raw.decode())]
    assert len(found) == len(dict(found)), "a family stands twice"
    return dict(found)


@pytest.mark.parametrize("name", SERVICES)
def test_every_metric_that_a_service_registers_is_in_the_list_and_the_other_way_round(name: str) -> None:
    registered = {family.name for family in made(name).metrics.registry.collect()}
    assert registered == {metric.name.removesuffix("_total") for metric in METRICS}


def test_every_metric_shows_under_its_name_with_its_labels_and_kind() -> None:
    shown = list(text_string_to_metric_families(text(moved()).decode()))
    assert {family.name: family.type for family in shown} == {
        metric.name.removesuffix("_total"): metric.kind for metric in METRICS
    }
    for metric, family in zip(METRICS, sorted(shown, key=lambda f: order(f.name)), strict=True):
        assert family.documentation == metric.meaning
        for sample in family.samples:
            assert set(sample.labels) - {"le"} == {"service", *metric.labels}
            assert not sample.name.endswith("_created")


def order(family: str) -> int:
    return [metric.name.removesuffix("_total") for metric in METRICS].index(family)


def test_names_are_unique_and_say_their_unit() -> None:
    assert len({metric.name for metric in METRICS}) == len(METRICS)
    for metric in METRICS:
        assert re.fullmatch(r"cec_[a-z_]+", metric.name)
        assert metric.name.endswith("_total") == (metric.kind == "counter")
        assert metric.kind != "histogram" or (metric.name.endswith("_seconds") and metric.buckets)
        assert metric.meaning.endswith(".")


def test_every_gauge_is_measured_by_somebody_and_nothing_else_is() -> None:
    measured = [set(MEASURES), ASKED_OTHERWISE, *(set(made(name).measures) for name in SERVICES)]
    assert sum(map(len, measured)) == len(set[Metric]().union(*measured)), "a gauge is measured twice"
    assert set[Metric]().union(*measured) == {metric for metric in METRICS if metric.kind == "gauge"}


def test_every_counter_and_histogram_is_moved_somewhere() -> None:
    code = "\n".join(file.read_text(encoding="utf-8") for file in SOURCE.rglob("*.py") if file.name != "metrics.py")
    constants = {name: value for name, value in vars(m).items() if isinstance(value, Metric)}
    assert set(constants.values()) == set(METRICS)
    for name, metric in constants.items():
        if metric.kind != "gauge":
            assert re.search(rf"\b(add|observe|note|timed)\([^()]*\b{name}\b", code), f"{name} never moves"


def test_the_reference_has_every_metric() -> None:
    reference = (REFERENCE / "metrics.md").read_text(encoding="utf-8")
    for metric in METRICS:
        assert f"| `{metric.name}` | {metric.kind} |" in reference


def test_services_of_one_process_share_no_registry_and_show_together_once_each() -> None:
    first, second = moved("intake"), moved("awards")
    first.add(m.TAKEN, 41, group="x")
    assert (first.value(m.TAKEN, group="x"), second.value(m.TAKEN, group="x")) == (42, 1)
    together = families(text(first, second))
    assert len(together) == len(METRICS)
    samples = [sample for family in together.values() for sample in family.samples]  # type: ignore[attr-defined]
    assert {sample.labels["service"] for sample in samples} == {"intake", "awards"}
    assert len(samples) == len({(sample.name, *sorted(sample.labels.items())) for sample in samples})


def test_nothing_is_registered_with_the_module() -> None:
    moved()
    assert not [family.name for family in REGISTRY.collect() if family.name.startswith("cec_")]


def test_a_gauge_that_was_not_measured_is_absent_and_not_stale() -> None:
    metrics = moved()
    metrics.show({m.OUTBOX: {(): 3.0}})
    assert metrics.value(m.OUTBOX) == 3
    assert metrics.value(m.DEAD_LETTERS) is None


def test_a_time_before_its_beginning_counts_as_none() -> None:
    metrics = Metrics("probe")
    metrics.observe(m.LATENESS, -5.0)
    assert metrics.registry.get_sample_value("cec_schedule_lateness_seconds_sum", {"service": "probe"}) == 0
