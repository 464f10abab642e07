"""What may be submitted and withdrawn until when. Pure, as `cycles.domain` is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from functools import partial
from types import MappingProxyType

from schemas.applications import ApplicationSubmitted, ApplicationWithdrawn, File, Identity, Withdrawal
from schemas.envelope import Event
from services.chassis.refusal import RefusedError, Violation
from services.intake.applications import attestation, drafts, findings
from services.intake.applications.drafts import Draft
from services.intake.applications.findings import Ground, Warned
from services.intake.cycles.domain import Cycle, ended, must_be_open
from services.intake.evidence.domain import Kept, doubts
from services.intake.governments.domain import Government
from services.intake.reapplication.domain import Basis


@dataclass(frozen=True)
class Application:
    """An application that was submitted at least once; before that there is only a draft."""

    id: str
    cycle: str
    version: int
    submitted: str
    """Id of that version's event."""
    withdrawn: bool = False


def must_be_eligible(cycle: Cycle, government: Government) -> None:
    """RefusedError (422) unless the charter lets this government apply."""
    kinds, charter = cycle.charter.eligibility.kinds, cycle.charter
    if government.kind not in kinds:
        detail = f"A {government.kind} cannot apply: the charter is for {', '.join(kinds)}."
        raise RefusedError("not-eligible", detail, field="/government", status=422)
    if charter.tiers and charter.tier_of(government.population) is None:
        detail = f"A population of {government.population:,} is in no tier of the charter."
        raise RefusedError("not-eligible", detail, field="/government", status=422)


def must_be_editable(cycle: Cycle, application: Application | None, now: datetime) -> None:
    """RefusedError unless a draft can still become a submission."""
    must_be_open(cycle, now)
    if application is not None and application.withdrawn:
        raise RefusedError("withdrawn", "This application was withdrawn; that cannot be taken back in this cycle.")


def ground(cycle: Cycle, government: Government, draft: Draft, basis: Basis | None = None) -> Ground:
    """What this government's draft is judged by in this cycle; `basis` is what it started from."""
    sites = (government.website, government.email_domain)
    return Ground.of(cycle.charter, government.kind, sites, draft.contact, basis)


def _doubtful_names(draft: Draft, ground: Ground, files: Mapping[str, Kept] | Mapping[str, File]) -> list[Warned]:
    return doubts(draft.document, ground.charter, files, {}, ground.own) if files else []


def check(
    cycle: Cycle,
    government: Government,
    before: Application | None,
    draft: Draft,
    basis: Basis | None = None,
    *,
    files: Mapping[str, Kept] = MappingProxyType({}),
    now: datetime,
) -> list[Violation]:
    """Everything for which `submit` would refuse this draft now, the attestation aside: that is given then."""
    found: list[Violation] = []
    for rule in (partial(must_be_editable, cycle, before, now), partial(must_be_eligible, cycle, government)):
        try:
            rule()
        except RefusedError as error:
            found += error.violations
    judged = ground(cycle, government, draft, basis)
    return found + findings.obstacles(draft, judged, _doubtful_names(draft, judged, files))


def submit(  # noqa: PLR0913  (all that one command is decided by)
    cycle: Cycle,
    government: Government,
    application: str,
    before: Application | None,
    draft: Draft,
    *,
    attested: bool,
    seen: str | None = None,
    files: Mapping[str, File] = drafts.NO_FILES,
    basis: Basis | None = None,
    now: datetime,
) -> ApplicationSubmitted:
    """The first version of an application, or an amendment that replaces the whole version `before`.

    `seen` is the digest of the list of what becomes public that the official saw, where it is told; `files` are those
    that the draft cites, by SHA-256; `basis` is what it started from, where that was the last application.
    """
    must_be_editable(cycle, before, now)
    must_be_eligible(cycle, government)
    charter = cycle.charter
    judged = ground(cycle, government, draft, basis)
    wrong = findings.obstacles(draft, judged, _doubtful_names(draft, judged, files))
    wrong += attestation.objections(charter, attested=attested, seen=seen)
    if wrong:
        raise RefusedError.all(wrong)
    tier = charter.tier_of(government.population)
    return ApplicationSubmitted(
        cycle=cycle.id,
        application=application,
        version=before.version + 1 if before else 1,
        identity=Identity(
            government=government.id,
            name=government.name,
            state=government.state,
            kind=government.kind,
            population=government.population,
            population_source=government.population_source,
            website=government.website,
            tier=tier.id if tier else "",
        ),
        claims=drafts.claims(draft),
        answers=drafts.answers(draft, charter, files, basis.marks(draft) if basis else drafts.NO_MARKS),
        contact=drafts.contact(draft),
    )


def withdraw(
    cycle: Cycle, application: str, before: Application | None, reason: str, *, now: datetime
) -> ApplicationWithdrawn:
    """An application taken back, for this cycle for good."""
    if before is None:
        raise RefusedError("not-submitted", "There is nothing to withdraw: this application was never submitted.")
    if before.withdrawn:
        raise RefusedError("withdrawn", "This application was withdrawn already.")
    if cycle.closed or now >= cycle.deadline:
        detail = f"{ended(cycle, now)}: a withdrawal goes by a request to the board."
        raise RefusedError("deadline-passed", detail)
    return ApplicationWithdrawn(cycle=cycle.id, application=application, private=Withdrawal(reason=reason))


def evolve_application(application: Application | None, event: Event, event_id: str) -> Application:
    """The application after one of its events."""
    match application, event:
        case _, ApplicationSubmitted():
            return Application(event.application, event.cycle, event.version, event_id)
        case Application(), ApplicationWithdrawn():
            return replace(application, withdrawn=True)
    raise TypeError(f"{event.TYPE} does not follow here")
