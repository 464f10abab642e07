"""More time for one application, on a ground of the charter; when drafts are to be reminded of. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from schemas.envelope import rfc3339
from schemas.screening import ApplicationExtended, Correspondents, DeadlineNear, DraftState, Extension
from services.chassis.refusal import RefusedError
from services.intake.applications.domain import Application, must_be_editable
from services.intake.cycles.domain import Cycle

REMIND_DAYS = (14, 7, 2)


@dataclass(frozen=True)
class Pending:
    """A draft that is not submitted, and its deadline."""

    application: str
    government: str
    deadline: datetime


@dataclass(frozen=True)
class Told:
    """What a reminder says of a draft, and to whom."""

    people: Correspondents
    state: DraftState


def extend_application(  # noqa: PLR0913  (all that it is decided by)
    cycle: Cycle,
    own: Cycle,
    application: str,
    standing: Application | None,
    deadline: datetime,
    *,
    ground: str,
    reason: str,
    now: datetime,
) -> ApplicationExtended:
    """A later deadline for one application; `own` is the cycle with the deadline that it has so far.

    At most as many business days behind the cycle's deadline as the charter allows.
    """
    window = cycle.charter.applying.extension if cycle.charter.applying else None
    if window is None:
        raise RefusedError("no-extension", "The charter gives no application more time: extend the cycle for all.")
    must_be_editable(own, standing, now)
    known = [one.id for one in window.grounds]
    if ground not in known:
        detail = f"More time is given on a ground of the charter only: {', '.join(known)}."
        raise RefusedError("unknown-ground", detail, field="/ground", status=422)
    if deadline <= own.deadline:
        detail = f"Its deadline is {rfc3339(own.deadline)} and can only move to a later instant."
        raise RefusedError("deadline-not-later", detail, field="/deadline", status=422)
    latest = cycle.charter.calendar.after(cycle.deadline, window.business_days)
    if deadline > latest:
        detail = f"The charter allows {window.business_days} business days, which is until {rfc3339(latest)}."
        raise RefusedError("extension-too-long", detail, field="/deadline", status=422)
    return ApplicationExtended(
        cycle=cycle.id, application=application, deadline=deadline, private=Extension(ground=ground, reason=reason)
    )


def reminders(deadline: datetime, now: datetime) -> list[tuple[int, datetime]]:
    """(days before the deadline, when) of the reminders that are still to come."""
    due = ((days, deadline - timedelta(days=days)) for days in REMIND_DAYS)
    return [(days, moment) for days, moment in due if moment > now]


def is_due(cycle: Cycle, pending: Pending, days: int, deadline: datetime, now: datetime) -> bool:
    """Whether a draft is to be reminded `days` before `deadline`.

    Not where it has another deadline by now, that has passed, or the next reminder of it is due as well: what was late
    by days must not say that there are so many left.
    """
    overtaken = any(now >= deadline - timedelta(days=later) for later in REMIND_DAYS if later < days)
    return not cycle.closed and pending.deadline == deadline and now < deadline and not overtaken


def remind(cycle: Cycle, pending: Pending, told: Told, days: int) -> DeadlineNear:
    """The reminder of a draft `days` before its deadline."""
    return DeadlineNear(
        government=pending.government,
        application=pending.application,
        of_cycle=cycle.id,
        days=days,
        deadline=pending.deadline,
        contact=told.people,
        private=told.state,
    )
