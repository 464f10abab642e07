"""Until when each application could come in, which were reviewed and which given back, run again from an export."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from schemas import cycles, designations, reviews, screening
from schemas.exact import SetDigest

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from datetime import datetime

    from schemas.applying import Window
    from schemas.charter import Charter
    from services.exported import Log


def own_deadlines(log: Log, charter: Charter, deadline: datetime) -> tuple[dict[str, datetime], list[str]]:
    """The later deadlines of single applications, and what is wrong with them by the charter."""
    own: dict[str, datetime] = {}
    findings = []
    window = charter.applying.extension if charter.applying else None
    for envelope, event in log.of(screening.ApplicationExtended):
        name = f"application {event.application}"
        own[event.application] = max(event.deadline, own.get(event.application, event.deadline))
        if window is None or event.deadline > charter.calendar.after(deadline, window.business_days):
            findings.append(f"{name}: a deadline of its own that the charter does not allow")
        if window is not None and event.private and event.private.ground not in {one.id for one in window.grounds}:
            findings.append(f"{name}: a deadline of its own on a ground that is not the charter's")
        if envelope.time >= event.deadline:
            findings.append(f"{name}: its own deadline had passed when it was given")
    return own, findings


def eligible(log: Log, charter: Charter, versions: Mapping[str, str]) -> tuple[set[str], list[str]]:
    """Which of the standing applications are reviewed, and what is wrong with how that was found.

    `versions` are the event ids of the versions that stand, by application. Without a screening all are reviewed.
    """
    ended = [event for _, event in log.of(screening.CycleScreened)]
    verdicts = {event.application: event for _, event in log.of(screening.ApplicationScreened)}
    if charter.screening is None:
        return set(versions), ["screened, which the charter does not provide for"] if ended or verdicts else []
    if not ended:
        early = any(log.of(reviews.ReviewAssigned)) or any(log.of(cycles.CohortAnnounced))
        return set(versions), ["reviewed or announced, yet the screening never ended"] if early else []
    found = {name for name in versions if name in verdicts and verdicts[name].verdict == "eligible"}
    findings = list(_wrong_verdicts(verdicts, versions, charter.screening))
    if len(ended) != 1 or ended[0].eligible != SetDigest.of(versions[name] for name in found):
        findings.append("the screening's end does not state the versions whose last verdict is eligible")
    seated = {seat.application for _, seat in log.of(reviews.ReviewAssigned)}
    findings += [f"application {name}: reviewed, though it was not found eligible" for name in sorted(seated - found)]
    return found, findings


def released(log: Log, standing: set[str]) -> tuple[set[str], list[str]]:
    """Which of the applications that were to be decided the board gave back, and what is wrong with how it did.

    Each on a request of its own, none of them decided.
    """
    asked = {envelope.id: event.application for envelope, event in log.of(screening.WithdrawalRequested)}
    given = [(event.application, event.requested) for _, event in log.of(designations.WithdrawalAccepted)]
    kept = [(event.application, event.requested) for _, event in log.of(designations.WithdrawalRefused)]
    settled = Counter(request for _, request in [*given, *kept])
    gone = {name for name, _ in given}
    decided = {event.application for _, event in log.of(designations.DecisionMade)}
    findings = [
        f"application {name}: its withdrawal was settled, which it did not ask for"
        for name, request in [*given, *kept]
        if asked.get(request) != name
    ]
    findings += [f"request {request}: settled more than once" for request, times in settled.items() if times > 1]
    findings += [f"application {name}: withdrawn, yet decided" for name in sorted(gone & decided)]
    findings += [f"application {name}: withdrawn, though it did not stand" for name in sorted(gone - standing)]
    return gone, findings


def _wrong_verdicts(
    verdicts: Mapping[str, screening.ApplicationScreened], versions: Mapping[str, str], window: Window
) -> Iterator[str]:
    grounds = {one.id for one in window.grounds}
    for name in sorted(versions.keys() - {n for n, event in verdicts.items() if event.verdict != "sent-back"}):
        yield f"application {name}: the screening ended without a verdict on it"
    for name, event in verdicts.items():
        if event.submitted != versions.get(name):
            yield f"application {name}: the verdict is on another version than the one that stands"
        if event.verdict == "ineligible" and event.private and event.private.ground not in grounds:
            yield f"application {name}: ineligible on a ground that is not the charter's"
