"""What became of whole cycles, beside what everyone who played them was told: nothing is missing, nothing is twice."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from pathlib import Path

from schemas.applications import ApplicationSubmitted, ApplicationWithdrawn
from schemas.cycles import CohortAnnounced, CycleClosed, CycleDeadlineExtended, CycleOpened, LogOpened
from schemas.designations import DecisionMade, DecisionProposed, DesignationExpired, DesignationGranted, RenewalDue
from schemas.envelope import Envelope, Event, read
from schemas.exact import SetDigest
from schemas.notices import NoticeDelivered
from schemas.reviews import ApplicationScored, CommandRefused, ReviewAssigned, ReviewSubmitted
from services.chassis.issuer import Issuer
from tests.faults.lives import Plan
from tests.faults.stories import CHARTER, Notes
from tests.faults.verdict import Verdict, databases

ByType = Mapping[type[Event], list[Envelope]]
"""Events in the order of their numbers."""


async def reach(plan: Plan, issuer: Issuer, notes: Notes, notices: Path, *, misdated: bool = False) -> Verdict:
    """Look at everything. `notices` is the file that a subscriber wrote."""
    verdict = Verdict(plan, broken=notes.broken, misdated=misdated)
    verdict.violations += notes.wrong
    await verdict.look()
    by_type = _by_type(verdict.events.values())
    _look_at_answers(verdict, by_type, notes)
    _look_at_effects(verdict, by_type, notes)
    await _look_at_notices(verdict, by_type, plan, notes, notices)
    await verdict.recompute(issuer, notes.announced)
    return verdict


def _look_at_answers(verdict: Verdict, by_type: ByType, notes: Notes) -> None:
    """Every answer has its event, and there is none that nobody asked for."""
    hashes = verdict.hashes
    told = {one.event: (one.application, one.version, one.leaf_hash) for one in notes.submitted}
    found = {e.id: (e.subject, e.data["version"], hashes[e.id]) for e in by_type[ApplicationSubmitted]}
    verdict.expect("submissions", found, told)
    found_deadlines = sorted((e.subject, e.data["deadline"]) for e in by_type[CycleDeadlineExtended])
    verdict.expect("deadlines", found_deadlines, sorted(notes.deadlines))
    verdict.expect("withdrawals", sorted(e.subject for e in by_type[ApplicationWithdrawn]), sorted(notes.withdrawn))
    reviews = [(e, review) for e in by_type[ReviewSubmitted] if isinstance(review := read(e), ReviewSubmitted)]
    over_http = {e.id: hashes[e.id] for e, review in reviews if review.via == "http"}
    verdict.expect("reviews over HTTP", over_http, notes.reviewed)
    signed = sorted((r.private.command_sha256, r.application) for _, r in reviews if r.via == "kafka" and r.private)
    verdict.expect("signed reviews", signed, sorted(notes.signed.items()))
    refused = sorted((e.subject, e.data["reason"]) for e in by_type[CommandRefused])
    verdict.expect("refused commands", refused, sorted(notes.refused.items()))
    verdict.expect("announcements", {e.subject: e.id for e in by_type[CohortAnnounced]}, notes.announced)


def _look_at_effects(verdict: Verdict, by_type: ByType, notes: Notes) -> None:
    """What one event makes of another service happens once for each, and for no other."""
    cycles = sorted(e.subject for e in by_type[CycleOpened])
    verdict.expect("cycles announced", sorted(notes.announced), cycles)
    verdict.expect("cycles closed", sorted(e.subject for e in by_type[CycleClosed]), cycles)
    verdict.expect("logs opened", sorted(e.subject for e in by_type[LogOpened]), sorted([*cycles, "program"]))
    withdrawn = {e.subject for e in by_type[ApplicationWithdrawn]}
    standing = sorted({e.subject for e in by_type[ApplicationSubmitted]} - withdrawn)
    for model in (ApplicationScored, DecisionProposed, DecisionMade):
        verdict.expect(model.TYPE, sorted(e.subject for e in by_type[model]), standing)
    each = CHARTER.scoring.reviewers_per_application
    for seat in (ReviewAssigned, ReviewSubmitted):
        found = Counter(e.subject for e in by_type[seat])
        verdict.expect(seat.TYPE, found, Counter(dict.fromkeys(standing, each)))
    granted = sorted(e.subject for e in by_type[DesignationGranted])
    verdict.expect("designations expired", sorted(e.subject for e in by_type[DesignationExpired]), granted)
    renewals = sorted((e.subject, e.data["days"]) for e in by_type[RenewalDue])
    days = CHARTER.term.renewal_notice_days
    verdict.expect("renewals", renewals, sorted((name, day) for name in granted for day in days))
    latest = {e.subject: e.id for e in by_type[ApplicationSubmitted] if e.subject not in withdrawn}
    for closed in by_type[CycleClosed]:
        stated = [latest[e.subject] for e in by_type[ApplicationScored] if e.cycleid == closed.subject]
        digest = SetDigest.of(stated).model_dump(mode="json")
        verdict.expect(f"what closing {closed.subject} stated", closed.data["submitted"], digest)


async def _look_at_notices(verdict: Verdict, by_type: ByType, plan: Plan, notes: Notes, notices: Path) -> None:
    """Each subscriber is told of each event of its cycle under one id, which came to its endpoint."""
    wanted: Counter[tuple[str, str]] = Counter()
    for cycle, subscription in notes.subscriptions.items():
        for model in (DesignationGranted, CohortAnnounced, RenewalDue, DesignationExpired):
            wanted.update((subscription, e.id) for e in by_type[model] if e.cycleid == cycle)
    async with databases(plan, ["notifications"]) as tables:
        rows = await tables["notifications"].fetch(
            "select d.subscription, d.message, d.notice, d.state from private.delivery d"
            " join private.message m using (message) where m.kind <> 'challenge'"
        )
    verdict.expect("notices", Counter((row["subscription"], row["message"]) for row in rows), wanted)
    verdict.expect("undelivered", [tuple(row) for row in rows if row["state"] != "delivered"], [])
    delivered = Counter((e.subject, e.data["event"]) for e in by_type[NoticeDelivered])
    verdict.expect("delivered notices", delivered, wanted)
    received = [json.loads(line) for line in notices.read_text().splitlines()]
    verdict.expect("received notices", Counter(n["id"] for n in received), Counter(row["notice"] for row in rows))


def _by_type(events: Iterable[Envelope]) -> ByType:
    """Events by model, in the order of their numbers."""
    found: dict[type[Event], list[Envelope]] = defaultdict(list)
    models = {model.TYPE: model for model in _MODELS}
    for event in sorted(events, key=lambda event: event.sequence):
        if event.type in models:
            found[models[event.type]].append(event)
    return found


_MODELS: tuple[type[Event], ...] = (
    *(CycleOpened, CycleDeadlineExtended, CycleClosed, ApplicationSubmitted, ApplicationWithdrawn),
    *(ReviewAssigned, ReviewSubmitted, ApplicationScored, CommandRefused),
    *(DecisionProposed, DecisionMade, DesignationGranted, CohortAnnounced, RenewalDue, DesignationExpired),
    *(NoticeDelivered, LogOpened),
)
