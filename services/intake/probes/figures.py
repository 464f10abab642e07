"""What a window's service requests show, in exact numbers, and what got worse since the probe before. Pure.

Times of day are not compared, dates are: some servers lose AM and PM, some the zone, some have dates only. A date is
the one that the government wrote. `updated_datetime` of a closed request is its closing, as GeoReport v2 has it, unless
the server has a field of its own for that, or most records were changed in one and the same minute: then it tells when
they were copied, and nothing is said about times to close.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from datetime import date, datetime, timedelta
from fractions import Fraction

from schemas.evidence import Channel, DaysToClose, Drop, Figures, Portion
from schemas.exact import Ratio
from services.intake.probes.open311 import Request

CHANNELS = 12
"""Told one by one."""
COPIED_FROM = 10
"""Records from which on a common minute is no chance."""
ENOUGH = 30
"""Requests that a share must rest on, before and after, for its fall to be told."""
LONGER = Fraction(3, 2)
"""By which a time to close must grow, and by a day at least."""
STALE_DAYS = 7


def figures(requests: Sequence[Request], listed: int | None, today: date) -> Figures:
    """The figures of `requests`, each there once; `listed` is how many service types the server offers."""
    copied = copied_times(requests)
    closings = [(one, _closing(one, copied=copied)) for one in requests if one.status == "closed"]
    judged = [(one.expected.date(), day) for one, day in closings if one.expected and day]
    due = [one.expected.date() for one in requests if one.status == "open" and one.expected]
    days = [(day - one.requested.date()).days for one, day in closings if one.requested and day]
    channels = Counter(one.channel for one in requests if one.channel)
    latest = _latest(requests, today)
    return Figures(
        requests=len(requests),
        services=len({one.service for one in requests} - {""}),
        listed_services=listed,
        closed=Portion(part=len(closings), whole=sum(one.status != "" for one in requests)),
        promised=Portion(part=sum(one.expected is not None for one in requests), whole=len(requests)),
        on_time=Portion(part=sum(day <= promised for promised, day in judged), whole=len(judged)),
        overdue=Portion(part=sum(promised < today for promised in due), whole=len(due)),
        days_to_close=_spread([one for one in days if one >= 0]),
        channels=_channels(channels),
        with_channel=channels.total(),
        latest=latest,
        days_since_latest=(today - latest).days if latest else None,
        contradictory=sum(one < 0 for one in days),
    )


def copied_times(requests: Iterable[Request]) -> bool:
    """Whether most records were changed in one minute (midnight is a date's, not a copy's)."""
    minutes = [one.updated.replace(second=0, microsecond=0) for one in requests if one.updated]
    timed = Counter(minute for minute in minutes if (minute.hour, minute.minute) != (0, 0))
    return len(minutes) >= COPIED_FROM and bool(timed) and 2 * max(timed.values()) > len(minutes)


def drops(before: Figures, after: Figures, *, points: int) -> list[Drop]:
    """What is clearly worse; `points` are the percentage points by which a share must have fallen."""
    found: list[Drop] = []
    if before.requests >= ENOUGH and 2 * after.requests < before.requests:
        found.append("requests")
    if before.listed_services and 2 * (after.listed_services or 0) < before.listed_services:
        found.append("services")
    if _fell(before.promised, after.promised, points):
        found.append("promised")
    if _fell(before.on_time, after.on_time, points):
        found.append("on_time")
    was, now = before.days_to_close, after.days_to_close
    if min(was.count, now.count) >= ENOUGH:
        if was.median and now.median and _longer(was.median.fraction, now.median.fraction):
            found.append("median_days")
        if _longer(Fraction(was.ninth_decile or 0), Fraction(now.ninth_decile or 0)):
            found.append("ninth_decile_days")
    if _fresh(before) and not _fresh(after):
        found.append("freshness")
    return found


def _closing(request: Request, *, copied: bool) -> date | None:
    moment: datetime | None = request.closed or (None if copied else request.updated)
    return moment.date() if moment else None


def _latest(requests: Iterable[Request], today: date) -> date | None:
    """No later than tomorrow: it may be tomorrow there already, and what lies beyond is a mistake."""
    days = [moment.date() for one in requests for moment in (one.requested, one.updated, one.closed) if moment]
    return min(max(past), today) if (past := [day for day in days if day <= today + timedelta(days=1)]) else None


def _spread(days: list[int]) -> DaysToClose:
    if not days:
        return DaysToClose(count=0, median=None, ninth_decile=None)
    days.sort()
    middle = Fraction(days[(len(days) - 1) // 2] + days[len(days) // 2], 2)
    return DaysToClose(count=len(days), median=Ratio.of(middle), ninth_decile=days[-(-9 * len(days) // 10) - 1])


def _channels(counted: Counter[str]) -> list[Channel]:
    ranked = sorted(counted.items(), key=lambda pair: (-pair[1], pair[0]))
    shown = [Channel(name=name, requests=count) for name, count in ranked[:CHANNELS]]
    rest = sum(count for _, count in ranked[CHANNELS:])
    return [*shown, Channel(name="other", requests=rest)] if rest else shown


def _fell(before: Portion, after: Portion, points: int) -> bool:
    if before.fraction is None or after.fraction is None or min(before.whole, after.whole) < ENOUGH:
        return False
    return before.fraction - after.fraction >= Fraction(points, 100)


def _longer(before: Fraction, after: Fraction) -> bool:
    return after >= before + 1 and after >= before * LONGER


def _fresh(figures: Figures) -> bool:
    return figures.days_since_latest is not None and figures.days_since_latest <= STALE_DAYS
