"""Figures from service requests: exact, each with the count it rests on, and equal on a real and a synthetic sample."""

from __future__ import annotations

import json
import random
from datetime import UTC, date, datetime, timedelta
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.evidence import Figures, Portion
from schemas.exact import Ratio
from services.intake.probes.figures import copied_times, drops, figures
from services.intake.probes.open311 import Request, distinct, read_requests, read_services

SAMPLES = Path(__file__).resolve().parents[4] / "shared" / "domain" / "open311"
TODAY = date(2011, 7, 8)
NOON = datetime(2011, 6, 27, 12, tzinfo=UTC)


def request(number: int, **changes: Any) -> Request:
    values: dict[str, Any] = {
        "key": str(number),
        "service": "001",
        "status": "closed",
        "requested": NOON + timedelta(minutes=number),
        "updated": NOON + timedelta(minutes=7 * number),
        "expected": None,
        "closed": None,
        "channel": "",
    }
    return Request(**{**values, **changes})


def stated(found: Figures) -> dict[str, Any]:
    """The figures in the words of the sample's expected statistics."""
    share = found.on_time.fraction
    assert share is not None
    return {
        "requests": found.requests,
        "closed": found.closed.part,
        "open": found.closed.whole - found.closed.part,
        "services": found.services,
        "with_expected": found.promised.part,
        "closed_with_expected": found.on_time.whole,
        "closed_on_or_before_expected_date": found.on_time.part,
        "sla_compliance_pct_closed": round(float(share * 100), 1),
        "services_list": found.listed_services,
    }


# --- the samples: real answers, where they lie beside the repository; the twins below run everywhere -----------------

if SAMPLES.exists():

    def test_the_figures_of_the_real_sample_are_the_expected_ones() -> None:
        folder = SAMPLES / "georeport"
        requests = read_requests("application/json", (folder / "sf-2011-06-requests.json").read_bytes())
        services = read_services("application/json", (folder / "sf-2010-services.json").read_bytes())
        assert services == read_services("text/xml", (SAMPLES / "raw" / "sf-services.xml").read_bytes())
        expected = json.loads((folder / "expected-statistics.json").read_text())["sf-2011-06-requests.json"]
        assert stated(figures(distinct(requests), len(services), TODAY)) == expected

    def test_the_other_real_answers_are_read() -> None:
        raw = SAMPLES / "raw"
        chicago = read_requests("application/json", (raw / "chicago-requests-2014-2.json").read_bytes())
        toronto = read_requests("text/xml", (raw / "toronto-requests-2018-2.xml").read_bytes())
        example = read_requests("text/xml", (raw / "spec-example-service_requests.xml").read_bytes())
        assert [(one.status, one.expected is None) for one in chicago] == [("open", True)] * 2
        assert [(one.key, one.updated) for one in toronto] == [("101005420892", None), ("101005420894", None)]
        assert figures(example, None, date(2010, 4, 20)).on_time == Portion(part=1, whole=1)
        assert len(read_services("text/xml", (raw / "giessen-services.xml").read_bytes())) == 8


def twin(draw: random.Random) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """Requests as a server lists them, made so that these are their statistics."""
    counts = {"requests": 500, "closed": 371, "with_expected": 322, "closed_with_expected": 288, "on_time": 238}
    made: list[dict[str, Any]] = []
    for number in range(counts["requests"]):
        closed = number < counts["closed"]
        promised = number < 288 or 371 <= number < 371 + 322 - 288
        asked = datetime(2011, 6, 27) + timedelta(hours=draw.randrange(48), minutes=draw.randrange(60))  # noqa: DTZ001  (a zone is written behind it)
        due = asked + timedelta(days=draw.randrange(3, 9))
        late = timedelta(days=draw.randrange(1, 5)) if number >= 238 else -timedelta(days=draw.randrange(3))
        done = (due if promised else asked) + (late if promised or late.days > 0 else timedelta())
        made.append(
            {
                "service_request_id": f"n{number}",
                "status": "closed" if closed else "open",
                "service_code": f"{number % 56:03}",
                "requested_datetime": twelve_hours(asked),
                "updated_datetime": twelve_hours(done) if closed else None,
                "expected_datetime": twelve_hours(due) if promised else None,
            }
        )
    draw.shuffle(made)
    return made, {
        "requests": 500,
        "closed": 371,
        "open": 129,
        "services": 56,
        "with_expected": 322,
        "closed_with_expected": 288,
        "closed_on_or_before_expected_date": 238,
        "sla_compliance_pct_closed": 82.6,
        "services_list": 36,
    }


def twelve_hours(moment: datetime) -> str:
    """The time without AM or PM, as it got lost in the real sample: what compares times gets other shares."""
    return f"{moment:%Y-%m-%dT%I:%M:00}-07:00"


@pytest.mark.parametrize("seed", range(5))
def test_the_figures_of_a_synthetic_twin_are_those_it_was_made_with(seed: int) -> None:
    listed, expected = twin(random.Random(seed))
    requests = read_requests("application/json", json.dumps(listed).encode())
    assert stated(figures(distinct([*requests, *requests[:200]]), 36, TODAY)) == expected


# --- definitions -----------------------------------------------------------------------------------------------------


def test_on_time_is_by_the_dates_as_they_were_written() -> None:
    due = datetime.fromisoformat("2011-07-01T03:00:00-07:00")
    found = figures(
        [
            request(1, expected=due, updated=datetime.fromisoformat("2011-07-01T23:59:00-07:00")),
            request(2, expected=due, updated=datetime.fromisoformat("2011-07-02T00:30:00-07:00")),
            request(3, expected=due, updated=datetime.fromisoformat("2011-07-01T23:30:00")),
            request(4, expected=due, updated=None),
            request(5, expected=due, status="open"),
        ],
        None,
        date(2011, 7, 1),
    )
    assert found.on_time == Portion(part=2, whole=3)
    assert found.promised == Portion(part=5, whole=5)
    assert found.overdue == Portion(part=0, whole=1)
    assert figures([request(5, expected=due, status="open")], None, date(2011, 7, 2)).overdue.part == 1


def test_a_time_to_close_below_nothing_is_told_and_not_counted() -> None:
    found = figures([request(1), request(2, updated=NOON - timedelta(days=3))], None, TODAY)
    assert (found.days_to_close.count, found.contradictory) == (1, 1)


def test_a_time_of_copying_is_no_time_of_closing() -> None:
    copied = NOON + timedelta(days=20)
    many = [request(n, updated=copied + timedelta(seconds=n), expected=NOON) for n in range(20)]
    assert copied_times(many)
    found = figures(many, None, TODAY)
    assert (found.days_to_close.count, found.on_time.whole, found.closed.part) == (0, 0, 20)
    own = [request(n, updated=copied, closed=NOON + timedelta(days=2)) for n in range(20)]
    assert figures(own, None, TODAY).days_to_close.count == 20
    dated = [request(n, updated=datetime(2011, 6, 30)) for n in range(20)]  # noqa: DTZ001  (dates only)
    assert figures(dated, None, TODAY).days_to_close.count == 20


def test_days_that_lie_ahead_make_nothing_fresh() -> None:
    found = figures([request(1, updated=NOON + timedelta(days=2)), request(2, expected=None)], None, TODAY)
    assert (found.latest, found.days_since_latest) == (date(2011, 6, 29), 9)
    assert figures([request(1, updated=NOON + timedelta(days=900))], None, TODAY).latest == NOON.date()
    assert figures([], None, TODAY).days_since_latest is None


def test_channels_are_counted_and_the_many_small_ones_are_told_together() -> None:
    requests = [request(n, channel=f"c{n % 20:02}" if n < 60 else "") for n in range(100)]
    requests += [request(200 + n, channel="phone") for n in range(5)]
    found = figures(requests, None, TODAY)
    assert found.with_channel == 65
    assert (found.channels[0].name, found.channels[0].requests) == ("phone", 5)
    assert (found.channels[-1].name, found.channels[-1].requests) == ("other", 27)
    assert sum(one.requests for one in found.channels) == 65


@given(st.lists(st.integers(0, 400), min_size=1, max_size=60))
def test_median_and_ninth_decile_are_those_of_the_sorted_days(days: list[int]) -> None:
    requests = [request(n, updated=NOON + timedelta(days=day), requested=NOON) for n, day in enumerate(days)]
    spread = figures(requests, None, date(2013, 1, 1)).days_to_close
    if copied_times(requests):
        assert spread.count == 0
        return
    assert spread.median is not None
    assert spread.ninth_decile is not None
    below = sum(day <= spread.ninth_decile for day in days)
    assert Fraction(below, len(days)) >= Fraction(9, 10)
    assert Fraction(sum(day < spread.ninth_decile for day in days), len(days)) < Fraction(9, 10)
    assert 2 * sum(day <= spread.median.fraction for day in days) >= len(days)
    assert 2 * sum(day >= spread.median.fraction for day in days) >= len(days)


def test_of_nothing_there_is_no_share_and_no_time() -> None:
    found = figures([], None, TODAY)
    assert found.on_time.fraction is None
    assert (found.days_to_close.median, found.days_to_close.ninth_decile) == (None, None)
    assert found.channels == []


def test_figures_hold_no_float() -> None:
    def leaves(value: Any) -> list[Any]:
        if isinstance(value, dict):
            return [leaf for inner in value.values() for leaf in leaves(inner)]
        return [leaf for inner in value for leaf in leaves(inner)] if isinstance(value, list) else [value]

    found = figures([request(n, updated=NOON + timedelta(days=n)) for n in range(4)], 3, TODAY)
    assert found.days_to_close.median == Ratio(num=3, den=2)
    assert not any(isinstance(leaf, float) for leaf in leaves(found.model_dump(mode="json")))


# --- drops -----------------------------------------------------------------------------------------------------------


def sample(**changes: Any) -> Figures:
    made = figures(
        [
            request(
                n,
                requested=NOON,
                updated=NOON + timedelta(days=n % 5, minutes=n),
                expected=NOON + timedelta(days=3),
            )
            for n in range(100)
        ],
        40,
        date(2011, 7, 1),
    )
    return made.model_copy(update=changes)


def test_the_same_again_is_no_drop() -> None:
    assert drops(sample(), sample(), points=10) == []


@pytest.mark.parametrize(
    ("worse", "flag"),
    [
        ({"requests": 49}, "requests"),
        ({"listed_services": 19}, "services"),
        ({"listed_services": None}, "services"),
        ({"promised": Portion(part=90, whole=100)}, "promised"),
        ({"on_time": Portion(part=70, whole=100)}, "on_time"),
        ({"days_since_latest": 8}, "freshness"),
        ({"days_since_latest": None}, "freshness"),
    ],
)
def test_what_is_clearly_worse_is_flagged_and_the_way_back_is_not(worse: dict[str, Any], flag: str) -> None:
    assert drops(sample(), sample(**worse), points=10) == [flag]
    assert drops(sample(**worse), sample(), points=10) == []


def test_longer_times_to_close_are_flagged() -> None:
    before = sample()
    slower = before.days_to_close.model_copy(update={"median": Ratio.of(4), "ninth_decile": 9})
    assert drops(before, sample(days_to_close=slower), points=10) == ["median_days", "ninth_decile_days"]


def test_a_share_of_few_says_nothing() -> None:
    few = Portion(part=2, whole=29)
    assert drops(sample(), sample(promised=few, on_time=few), points=10) == []
    assert drops(sample(), sample(promised=Portion(part=91, whole=100)), points=10) == []
