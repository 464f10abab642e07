"""Business days, as the charter counts them: in its time zone, without weekends and its holidays."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from typing import Annotated
from zoneinfo import ZoneInfo

from pydantic import AfterValidator, Field

from schemas.highlights import Rule

_WEEK = 5
"""Monday to Friday."""


def _known(name: str) -> str:
    try:
        ZoneInfo(name)
    except (OSError, ValueError, KeyError) as error:  # a folder, a path, no zone at all
        raise ValueError('must be a name of the IANA time zones, such as "America/New_York"') from error
    return name


class Calendar(Rule):
    """The time zone (IANA) in which deadlines are shown beside UTC, and the holidays, which are no business days."""

    zone: Annotated[str, Field(max_length=64), AfterValidator(_known)] = "UTC"
    holidays: tuple[date, ...] = ()

    def local(self, moment: datetime) -> datetime:
        """The same instant in the program's zone."""
        return moment.astimezone(ZoneInfo(self.zone))

    def after(self, moment: datetime, days: int) -> datetime:
        """The same time of day so many business days later, in UTC; at least one business day from now counts."""
        local = self.local(moment)
        left = days
        while left:
            local += timedelta(days=1)
            left -= local.weekday() < _WEEK and local.date() not in self.holidays
        return local.astimezone(UTC)
