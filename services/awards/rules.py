"""What the charter's rules say: the outcome of scores, the floors, the end of a term, the days of renewal notices.

Pure and exact: shares are compared as fractions, days are days.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date, timedelta
from typing import Literal

from schemas.charter import Charter, Level
from schemas.designations import Outcome
from schemas.reviews import Scores


def outcome(charter: Charter, scores: Scores) -> Outcome:
    """The highest level whose conditions all hold, by exact comparison; `unmet` are the lowest level's that do not.

    ValueError if the scores lack an area of the charter.
    """
    reached = [level for level in charter.levels if not any(_unmet(charter, level, scores))]
    lowest = charter.levels[0]
    return Outcome(
        level=reached[-1].id if reached else None, total=scores.total, unmet=list(_unmet(charter, lowest, scores))
    )


def _unmet(charter: Charter, level: Level, scores: Scores) -> Iterator[str]:
    core = [criterion.id for area in charter.areas for criterion in area.criteria if criterion.core]
    for criterion in core:
        # None or absent: the criterion does not apply to this kind of applicant.
        score = scores.criteria.get(criterion)
        if score is not None and level.every_core is not None and score.fraction < level.every_core:
            yield f"core:{criterion}"
    for area in charter.areas:
        if area.id not in scores.areas:
            raise ValueError(f"the scores lack the charter's area {area.id!r}")
        if scores.areas[area.id].share.fraction < level.every_area:
            yield f"area:{area.id}"
    if scores.total.fraction < level.total:
        yield "total"


def term(charter: Charter, starts_on: date) -> date:
    """The day on which a designation that starts on `starts_on` is no longer active.

    The same day so many calendar years later; a term that starts on February 29 ends on February 28 where that year
    has none, as PostgreSQL adds years.
    """
    year = starts_on.year + charter.term.years
    try:
        return starts_on.replace(year=year)
    except ValueError:
        return starts_on.replace(year=year, day=28)


def renewal_dates(charter: Charter, ends_on: date) -> list[tuple[int, date]]:
    """(days before the end, day of the notice), earliest first."""
    return [(days, ends_on - timedelta(days=days)) for days in charter.term.renewal_notice_days]


def status(ends_on: date, renewal_from: date | None, today: date) -> Literal["active", "renewal-due", "expired"]:
    """Where an announced designation stands on `today`; `renewal_from` is the day of its first notice."""
    if today >= ends_on:
        return "expired"
    return "renewal-due" if renewal_from is not None and today >= renewal_from else "active"
