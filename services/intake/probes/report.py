"""What a probe found, in plain words: each figure with the count that it rests on, and its definition."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import date
from typing import TYPE_CHECKING

from schemas.evidence import REMARKS
from schemas.exact import basis_points

if TYPE_CHECKING:
    from schemas.evidence import Figures, Portion, Remark
    from services.intake.probes.domain import Reading


def report(reading: Reading, figures: Figures, remarks: Sequence[Remark]) -> Iterator[str]:
    """The report's lines."""
    yield f"{reading.endpoint}, {reading.from_day} to {reading.until_day}: {reading.calls} calls"
    yield ""
    yield _line("Requests", f"{figures.requests:,}", f"{figures.services:,} service types among them{_listed(figures)}")
    yield _line("Closed", _share(figures.closed), "of all whose status is known")
    yield _line("Promised", _share(figures.promised), "have a promised date, of all")
    yield _line("On time", _share(figures.on_time), "closed on the promised date or before, of those closed with one")
    yield _line("Overdue", _share(figures.overdue), "past the promised date, of those open with one")
    days = figures.days_to_close
    if days.median is not None:
        half = str(float(days.median.fraction)).removesuffix(".0")
        yield _line("Days to close", f"median {half}, 90th percentile {days.ninth_decile}", f"of {days.count:,} closed")
    else:
        yield _line("Days to close", "not known", "no request has both dates")
    for channel in figures.channels:
        yield _line(f"  {channel.name}", f"{channel.requests:,} of {figures.with_channel:,}", "by channel")
    if figures.latest is not None:
        yield _line("Latest", str(figures.latest), f"{figures.days_since_latest} days before the window's end")
    if figures.contradictory:
        yield _line("Contradictory", f"{figures.contradictory:,}", "closed before they were made: not counted above")
    if remarks:
        yield ""
    for remark in remarks:
        yield REMARKS[remark]
    if reading.outside and not reading.requests and (last := latest_outside(reading)):
        yield f"The newest of these {len(reading.outside):,} is of {last}: --until {last} shows them."


def latest_outside(reading: Reading) -> date | None:
    """The last day of what lies outside of the window."""
    return max((one.requested.date() for one in reading.outside.values() if one.requested), default=None)


def _line(name: str, figure: str, definition: str) -> str:
    return f"{name:14} {figure:34} {definition}".rstrip()


def _share(portion: Portion) -> str:
    if portion.fraction is None:
        return "none"
    return f"{portion.part:,} of {portion.whole:,} ({basis_points(portion.fraction) / 100:.1f} %)"


def _listed(figures: Figures) -> str:
    return "" if figures.listed_services is None else f", {figures.listed_services:,} offered"
