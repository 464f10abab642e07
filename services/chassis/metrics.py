"""Every metric, in one list with name, kind, labels and meaning: docs/reference/metrics.md is made from it.

Counters and histograms move where things happen; gauges are measured when somebody scrapes (`services.chassis.health`).
A registry belongs to one service object, since five of them may share a process; the label `service` tells them apart.
No label holds private data, or anything that a stranger can make up. Seconds are machine time unless the text says
otherwise.
"""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass
from time import perf_counter
from typing import TYPE_CHECKING, Any, Literal, TypeVar

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.core import Metric as Family
from prometheus_client.registry import Collector

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping


F = TypeVar("F", Counter, Histogram)


@dataclass(frozen=True, eq=False)
class Metric:
    """A metric as it is listed. A counter's name ends in `_total`; every metric also has the label `service`."""

    name: str
    kind: Literal["counter", "gauge", "histogram"]
    labels: tuple[str, ...]
    meaning: str
    buckets: tuple[float, ...] = ()
    """Upper bounds of a histogram, in seconds."""


METRICS: list[Metric] = []
"""All there are, in the order of the reference."""

QUICK = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0)
LONG = (0.01, 0.05, 0.1, 0.5, 1.0, 5.0, 15.0, 60.0, 300.0, 3_600.0)


def _counter(name: str, *labels: str, meaning: str) -> Metric:
    return _listed(Metric(name, "counter", labels, meaning))


def _gauge(name: str, *labels: str, meaning: str) -> Metric:
    return _listed(Metric(name, "gauge", labels, meaning))


def _histogram(name: str, *labels: str, meaning: str, buckets: tuple[float, ...] = QUICK) -> Metric:
    return _listed(Metric(name, "histogram", labels, meaning, buckets))


def _listed(metric: Metric) -> Metric:
    METRICS.append(metric)
    return metric


# --- the process -----------------------------------------------------------------------------------------------------

SCRAPED = _gauge(
    "cec_scraped",
    "part",
    meaning="1 where the part (database, broker) answered this scrape in time. At 0 its gauges are absent, not stale.",
)
LOOP_LAG = _histogram(
    "cec_loop_lag_seconds",
    meaning="How late the event loop came to a timer, ten times a second: what blocks it delays everything.",
)

# --- from Kafka ------------------------------------------------------------------------------------------------------

LAG = _gauge(
    "cec_consumer_lag_records",
    "group",
    "topic",
    meaning="Records on this process's partitions that have not been taken yet. Growing: it does not keep up.",
)
PARTITIONS = _gauge(
    "cec_consumer_partitions",
    "group",
    "topic",
    meaning="Partitions assigned to this process. All processes together should have twelve.",
)
STOPPED = _gauge(
    "cec_consumer_stopped",
    "group",
    meaning="1 where the breaker stopped the consumer, because too many events in a row are poison.",
)
TAKEN = _counter("cec_records_taken_total", "group", meaning="Records taken: applied, known, or set aside.")
BATCH_SECONDS = _histogram(
    "cec_batch_seconds", "group", meaning="From a batch's turn to its effect, with all its retries."
)
BATCH_RETRIES = _counter(
    "cec_batch_retries_total", "group", meaning="Attempts at a batch that failed and were put off, for whatever reason."
)
PROCESS_SECONDS = _histogram(
    "cec_process_seconds",
    "group",
    meaning="One committed transaction's work on a batch, observed once for all its records, without reading ahead and"
    " COMMIT: what signed commands and the ledger have in place of a handler's time. Its sum divided by"
    " `cec_records_taken_total` is one record's share.",
)
HANDLER_SECONDS = _histogram(
    "cec_handler_seconds", "type", meaning="One event's handler, by the event type that it takes."
)
PARKED_KEYS = _gauge(
    "cec_parked_keys",
    "kind",
    meaning="Keys with parked records: `not_yet` (they wait) or `poison` (a person must look).",
)
PARKED_OLDEST = _gauge(
    "cec_parked_oldest_seconds",
    "kind",
    meaning="Age of the oldest parked record. `not_yet` should pass within seconds.",
)
DEAD_LETTERS = _gauge(
    "cec_dead_letters", meaning="Records that are parked as poison: see `cec dead-letters list`. Should be 0."
)

# --- to Kafka --------------------------------------------------------------------------------------------------------

OUTBOX = _gauge(
    "cec_outbox_records", meaning="Events and dead letters that are committed and not yet acknowledged by Kafka."
)
OUTBOX_OLDEST = _gauge(
    "cec_outbox_oldest_seconds", meaning="Age of the oldest of them. Growing: no relay is at work, or Kafka is away."
)
RELAYED = _counter(
    "cec_relayed_records_total",
    "result",
    meaning="Records that this process's relay sent: `acknowledged`, or `failed` (they stay and are sent again).",
)

# --- by the clock ----------------------------------------------------------------------------------------------------

LATENESS = _histogram(
    "cec_schedule_lateness_seconds",
    meaning="Program time from when a row was due to when it ran. A moved program clock makes it large.",
    buckets=LONG,
)
OVERDUE = _gauge("cec_schedule_overdue_seconds", meaning="Program time since the oldest due row should have run.")

# --- over HTTP -------------------------------------------------------------------------------------------------------

HTTP_SECONDS = _histogram(
    "cec_http_request_seconds",
    "method",
    "route",
    "status",
    meaning="Requests by the route's template; `other` is what no route takes. Up to the answer's last byte.",
)

# --- of single services ----------------------------------------------------------------------------------------------

COMMANDS = _counter(
    "cec_commands_total",
    "result",
    "reason",
    meaning="Signed commands (scoring): `accepted`, `refused` with the rule, or `ignored` where no known key signed, or"
    " a fault of ours came between.",
)
DELIVERIES = _counter(
    "cec_deliveries_total",
    "result",
    meaning="Attempts to deliver (notifications): `delivered`, `pending` (to be tried again), `failed`, `dropped`.",
)
LETTERS = _counter(
    "cec_letters_total",
    "result",
    meaning="Letters settled (notifications): `sent`, `pending` (an attempt failed, to be tried again), `failed`.",
)
HELD = _gauge(
    "cec_ledger_held_events", meaning="Events that wait in the ledger for their predecessor, their cause or their log."
)
HELD_OLDEST = _gauge("cec_ledger_held_oldest_seconds", meaning="Age of the oldest of them. Should stay within seconds.")
ALARMS = _gauge("cec_ledger_alarms", meaning="Events that contradict what is logged or held. Should be 0, for ever.")


class Metrics:
    """One service's metrics, all of the list, in a registry of its own."""

    def __init__(self, service: str) -> None:
        self.service = service
        self.registry = CollectorRegistry()
        self._found: dict[tuple[object, ...], Any] = {}
        self._counters = {m: Counter(*_described(m), registry=self.registry) for m in METRICS if m.kind == "counter"}
        self._gauges = {m: Gauge(*_described(m), registry=self.registry) for m in METRICS if m.kind == "gauge"}
        self._histograms = {
            m: Histogram(*_described(m), registry=self.registry, buckets=m.buckets)
            for m in METRICS
            if m.kind == "histogram"
        }

    def add(self, metric: Metric, amount: float = 1, **labels: str) -> None:
        """Count `amount` more."""
        self._series(self._counters, metric, labels).inc(amount)

    def observe(self, metric: Metric, seconds: float, **labels: str) -> None:
        """Put a duration into a histogram; a negative one, of a clock that was moved back, is none."""
        self._series(self._histograms, metric, labels).observe(max(0.0, seconds))

    def _series(self, families: Mapping[Metric, F], metric: Metric, labels: Mapping[str, str]) -> F:
        """What counts under these labels; remembered, since looking for it takes longer than to move it."""
        key = (metric, *[labels[name] for name in metric.labels])
        found = self._found.get(key)
        if found is None:
            found = self._found[key] = families[metric].labels(self.service, *key[1:])
        return found

    def note(self, metric: Metric, value: float, **labels: str) -> None:
        """Add to a counter or put into a histogram, whichever it is."""
        (self.add if metric.kind == "counter" else self.observe)(metric, value, **labels)

    @contextmanager
    def timed(self, metric: Metric, **labels: str) -> Iterator[None]:
        """Put the time that the block takes into a histogram, also where it raises."""
        began = perf_counter()
        try:
            yield
        finally:
            self.observe(metric, perf_counter() - began, **labels)

    def show(self, measured: Mapping[Metric, Mapping[tuple[str, ...], float]]) -> None:
        """Set every gauge to what was measured, by its labels' values; what was not measured is absent."""
        for metric, gauge in self._gauges.items():
            gauge.clear()
            for values, value in measured.get(metric, {}).items():
                gauge.labels(self.service, *values).set(value)

    def value(self, metric: Metric, **labels: str) -> float | None:
        """A counter's or gauge's value, or how many durations a histogram has; None where it never moved."""
        sample = f"{metric.name}_count" if metric.kind == "histogram" else metric.name
        return self.registry.get_sample_value(sample, {"service": self.service, **labels})


def text(*metrics: Metrics) -> bytes:
    """The metrics of some services in Prometheus' text format (0.0.4), each family once."""
    return generate_latest(_Together(metrics))


class _Together(Collector):
    """Several registries as one."""

    def __init__(self, metrics: tuple[Metrics, ...]) -> None:
        self._metrics = metrics

    def collect(self) -> Iterator[Family]:
        """Each family with the samples of all, but for when a series began: the text format has no use for it."""
        together: dict[str, Family] = {}
        for one in self._metrics:
            for family in one.registry.collect():
                known = together.setdefault(family.name, Family(family.name, family.documentation, family.type))
                known.samples += [sample for sample in family.samples if not sample.name.endswith("_created")]
        yield from together.values()


def _described(metric: Metric) -> tuple[str, str, tuple[str, ...]]:
    return metric.name, metric.meaning, ("service", *metric.labels)
