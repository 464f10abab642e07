"""The rules of probes, and what is said of one to a person."""

from __future__ import annotations

import sys
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest

from schemas.evidence import REMARKS, Figures, Portion, Probe
from services.chassis.refusal import RefusedError
from services.cli.main import main
from services.intake.probes.domain import PAUSED_AFTER, Endpoint, Reading, Run, ask, look, manifest, probed
from services.intake.probes.open311 import Request
from services.intake.probes.report import report

NOW = datetime(2012, 6, 15, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)
ENDPOINT = Endpoint("g1", "https://311.city.example/v2", "")
RUN = Run("p1", "g1", ENDPOINT.url, "", NOW - timedelta(days=1), "someone", begun=1, ended=True)


def read(count: int = 60, *, late: int = 0, **changes: Any) -> Reading:
    """A reading of `count` closed requests, `late` of them after their promised date."""
    reading = Reading(ENDPOINT.url, date(2012, 3, 18), date(2012, 6, 15), frozenset({"1"}))
    for number in range(count):
        asked = NOW - timedelta(days=30, minutes=number)
        done = asked + timedelta(days=5 if number < late else 1)
        due = asked + timedelta(days=2)
        reading.requests[str(number)] = Request(str(number), "1", "closed", asked, done, due, None, "phone")
    for name, value in changes.items():
        setattr(reading, name, value)
    return reading


def found(reading: Reading, before: Probe | None = None) -> Probe:
    previous = ("p0", before) if before else None
    event = probed(RUN, reading, look(reading), previous=previous, raw_sha256="0" * 64, points=10)
    assert (event.government, event.probe, event.subject) == ("g1", "p1", "g1")
    assert event.public() == {"probe": "p1"}
    assert event.claims is not None
    return event.claims


# --- when a probe may be asked for -----------------------------------------------------------------------------------


def test_a_probe_is_of_the_endpoint_as_it_is_named_now() -> None:
    run = ask(replace(ENDPOINT, jurisdiction="city"), RUN, "p2", by="someone", now=NOW, rest=HOUR)
    assert run == Run("p2", "g1", ENDPOINT.url, "city", NOW, "someone")


@pytest.mark.parametrize(
    ("endpoint", "last", "rule", "status"),
    [
        (None, None, "no-endpoint", 409),
        (ENDPOINT, replace(RUN, ended=False), "probe-waiting", 409),
        (ENDPOINT, replace(RUN, asked_at=NOW - HOUR + timedelta(seconds=1)), "probe-too-soon", 429),
    ],
)
def test_a_probe_that_may_not_be_asked_for_is_refused(
    endpoint: Endpoint | None, last: Run | None, rule: str, status: int
) -> None:
    with pytest.raises(RefusedError) as refused:
        ask(endpoint, last, "p2", by="someone", now=NOW, rest=HOUR)
    assert (refused.value.rule, refused.value.status) == (rule, status)


def test_the_schedule_needs_no_rest() -> None:
    assert ask(ENDPOINT, replace(RUN, asked_at=NOW), "p2", by=None, now=NOW, rest=HOUR).asked_by is None


def test_a_schedule_stands_still_after_so_many_failures_in_a_row() -> None:
    assert not replace(ENDPOINT, failures=PAUSED_AFTER - 1).paused
    assert replace(ENDPOINT, failures=PAUSED_AFTER).paused


def test_every_figure_has_a_definition_in_words() -> None:
    assert Figures.definitions().keys() == Figures.model_fields.keys()
    assert all(Figures.definitions().values())


# --- what a probe says -----------------------------------------------------------------------------------------------


def test_a_probe_is_compared_with_the_one_before() -> None:
    before = found(read())
    assert (before.previous, before.drops) == (None, [])
    after = found(read(late=30), before)
    assert (after.previous, after.drops) == ("p0", ["on_time", "median_days", "ninth_decile_days"])


def test_fewer_requests_mean_nothing_where_some_were_not_read() -> None:
    before = found(read())
    assert found(read(20), before).drops == ["requests"]
    assert found(read(20, remarks={"incomplete"}), before).drops == []


def test_times_of_copying_are_remarked() -> None:
    reading = read()
    for key, one in reading.requests.items():
        reading.requests[key] = replace(one, updated=NOW)
    claims = found(reading)
    assert claims.remarks == ["no-times"]
    assert claims.figures.on_time == Portion(part=0, whole=0)


def test_a_manifest_is_the_same_bytes_for_the_same_answers() -> None:
    text, digest = manifest([{"url": "https://x", "bytes": 1}])
    assert (text, digest) == manifest([{"bytes": 1, "url": "https://x"}])
    assert text == b'[{"bytes":1,"url":"https://x"}]'


# --- what is said of it ----------------------------------------------------------------------------------------------


def test_the_report_gives_each_figure_with_its_count() -> None:
    reading = read(late=21)
    text = "\n".join(report(reading, *look(reading)))
    for part in ("60 of 60 (100.0 %)", "39 of 60 (65.0 %)", "median 1, 90th percentile 5", "of 60 closed", "phone"):
        assert part in text


def test_the_report_of_nothing_says_where_something_is() -> None:
    reading = read(0, outside=read(3).requests, remarks={"outside-window", "incomplete", "no-discovery"})
    text = "\n".join(report(reading, *look(reading)))
    assert "--until 2012-05-16" in text
    assert "not known" in text
    assert all(REMARKS[one] in text for one in ("outside-window", "incomplete", "no-discovery"))


def test_the_command_names_what_it_cannot_read_and_what_to_do(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for url, reason in (
        ("http://127.0.0.1:9/v2", "set CEC_PROBES_ALLOW_LOOPBACK=true"),
        ("https://10.0.0.5/", "not on the public network"),
        ("https://u:p@city.example/", "user name or password"),
    ):
        monkeypatch.setattr(sys, "argv", ["cec", "probe", url])
        with pytest.raises(SystemExit) as ended:
            main()
        assert ended.value.code == 1
        said = capsys.readouterr().err
        assert reason in said
        assert said.count("\n") == 1
