"""Who is found eligible, on which grounds one is not, and what is asked and answered. Pure, as `cycles.domain` is.

Screening begins when the cycle is closed and ends once: until then the last verdict on an application stands, and after
it the versions found eligible are reviewed. No question changes what was submitted; it is answered beside it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Literal

from schemas.applying import Window
from schemas.envelope import Event, rfc3339
from schemas.exact import SetDigest
from schemas.screening import (
    ApplicationClarified,
    ApplicationScreened,
    Clarification,
    CycleScreened,
    Screening,
    Verdict,
    WithdrawalRequest,
    WithdrawalRequested,
)
from services.chassis.refusal import RefusedError
from services.intake.applications.domain import Application
from services.intake.cycles.domain import Cycle

Stage = Literal["unscreened", "eligible", "ineligible", "asked", "answered", "overdue"]


@dataclass(frozen=True)
class Screened:
    """The last verdict on an application: its event's id, the question's due time, and the answer's event."""

    application: str
    cycle: str
    submitted: str
    verdict: Verdict
    event: str
    due: datetime | None = None
    answered: str | None = None


def stage(screened: Screened | None, now: datetime) -> Stage:
    """Where an application stands; *overdue* is a question that nobody answered in time."""
    if screened is None:
        return "unscreened"
    if screened.verdict != "sent-back":
        return screened.verdict
    if screened.answered is not None:
        return "answered"
    return "overdue" if screened.due is not None and now >= screened.due else "asked"


def _window(cycle: Cycle) -> Window:
    """The rules; RefusedError where there is nothing to screen by, or no time for it."""
    window = cycle.charter.screening
    if window is None:
        raise RefusedError("no-screening", "This cycle's charter has no screening: what was submitted is reviewed.")
    if not cycle.closed:
        raise RefusedError("not-closed", "Screening begins when the cycle is closed.")
    if cycle.screened:
        raise RefusedError("screened", "The screening of this cycle has ended: reviewers have the applications.")
    return window


def screen(  # noqa: PLR0913  (all that one verdict is decided by)
    cycle: Cycle,
    application: Application | None,
    before: Screened | None,
    verdict: Verdict,
    *,
    ground: str = "",
    text: str = "",
    due: datetime | None = None,
    now: datetime,
) -> ApplicationScreened:
    """A verdict on what stands: `text` is the reason or the question, `due` when that must be answered by."""
    window = _window(cycle)
    if application is None or application.withdrawn:
        raise RefusedError("not-standing", "This application does not stand: there is nothing to screen.")
    if stage(before, now) == "asked":
        detail = "Its question is open: wait for the answer or for the time until which it is due."
        raise RefusedError("question-open", detail)
    if verdict != "eligible" and not text.strip():
        raise RefusedError(
            "no-text", "Say in words why, or what is asked: the applicant reads it.", field="/text", status=422
        )
    known = [one.id for one in window.grounds]
    if verdict == "ineligible" and ground not in known:
        detail = f"An application is ineligible on a ground of the charter only: {', '.join(known)}."
        raise RefusedError("unknown-ground", detail, field="/ground", status=422)
    if verdict != "ineligible" and ground:
        raise RefusedError("ground", "Only an ineligible application has a ground.", field="/ground", status=422)
    if verdict == "sent-back":
        due = _due(cycle, window, due, now)
    elif due is not None:
        raise RefusedError("due", "Only a question has a time until which it is due.", field="/due", status=422)
    return ApplicationScreened(
        cycle=cycle.id,
        application=application.id,
        submitted=application.submitted,
        verdict=verdict,
        due=due,
        private=Screening(ground=ground, text=text),
    )


def _due(cycle: Cycle, window: Window, due: datetime | None, now: datetime) -> datetime:
    """When an answer is due: at the latest, where nothing is said."""
    latest = cycle.charter.calendar.after(now, window.business_days)
    latest = latest.replace(microsecond=latest.microsecond // 1_000 * 1_000)
    if due is None:
        return latest
    if not now + timedelta(hours=1) <= due <= latest:
        detail = (
            f"An answer is due between an hour and {window.business_days} business days from now: {rfc3339(latest)}."
        )
        raise RefusedError("due", detail, field="/due", status=422)
    return due


def clarify(cycle: Cycle, before: Screened | None, text: str, *, now: datetime) -> ApplicationClarified:
    """The applicant's answer, once, before it is due."""
    match stage(before, now):
        case "asked" if before is not None and not cycle.screened:
            return ApplicationClarified(
                cycle=cycle.id,
                application=before.application,
                question=before.event,
                private=Clarification(text=text),
            )
        case "answered":
            raise RefusedError("answered", "This question is answered; the answer stands.")
        case "overdue" if before is not None and before.due is not None:
            detail = f"The answer was due by {rfc3339(before.due)}; it is {rfc3339(now)}."
            raise RefusedError("due-passed", detail)
    raise RefusedError("no-question", "Nothing is asked of this application.")


def finish(
    cycle: Cycle, standing: Mapping[str, str], screened: Mapping[str, Screened]
) -> tuple[list[str], CycleScreened | None]:
    """The end of the screening, or without one the applications that still lack a verdict.

    `standing` are the events of the versions that stand, by application.
    """
    _window(cycle)
    settled = {name: one.verdict for name, one in screened.items() if one.verdict != "sent-back"}
    if lacking := sorted(name for name in standing if name not in settled):
        return lacking, None
    return [], CycleScreened(cycle=cycle.id, eligible=eligible(standing, settled))


def eligible(standing: Mapping[str, str], verdicts: Mapping[str, Verdict]) -> SetDigest:
    """The set of versions that go to review."""
    return SetDigest.of(event for name, event in standing.items() if verdicts.get(name) == "eligible")


def request_withdrawal(
    cycle: Cycle, application: Application | None, reason: str, *, asked: bool, now: datetime
) -> WithdrawalRequested:
    """An application asked back after its deadline, which the board settles."""
    if application is None:
        raise RefusedError("not-submitted", "There is nothing to withdraw: this application was never submitted.")
    if application.withdrawn:
        raise RefusedError("withdrawn", "This application was withdrawn already.")
    if not cycle.closed and now < cycle.deadline:
        detail = f"Until {rfc3339(cycle.deadline)} an application is withdrawn at once: POST …/withdraw."
        raise RefusedError("deadline-not-passed", detail)
    if asked:
        raise RefusedError("requested", "The request was made already; the board settles it.")
    return WithdrawalRequested(cycle=cycle.id, application=application.id, private=WithdrawalRequest(reason=reason))


def evolve_screened(before: Screened | None, event: Event, event_id: str) -> Screened:
    """The verdict after one of its events."""
    match before, event:
        case _, ApplicationScreened():
            return Screened(event.application, event.cycle, event.submitted, event.verdict, event_id, event.due)
        case Screened(), ApplicationClarified():
            return replace(before, answered=event_id)
    raise TypeError(f"{event.TYPE} does not follow here")
