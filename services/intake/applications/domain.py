"""What may be submitted and withdrawn until when. Pure, as `cycles.domain` is."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime

from schemas.applications import ApplicationSubmitted, ApplicationWithdrawn, Identity, Withdrawal
from schemas.envelope import Event, rfc3339
from services.chassis.refusal import RefusedError, Violation
from services.intake.applications import drafts
from services.intake.applications.drafts import Draft
from services.intake.cycles.domain import Cycle, must_be_open
from services.intake.governments.domain import Government


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


def submit(
    cycle: Cycle,
    government: Government,
    application: str,
    before: Application | None,
    draft: Draft,
    *,
    attested: bool,
    now: datetime,
) -> ApplicationSubmitted:
    """The first version of an application, or an amendment that replaces the whole version `before`."""
    must_be_editable(cycle, before, now)
    must_be_eligible(cycle, government)
    charter = cycle.charter
    wrong = drafts.gaps(draft, charter, government.kind)
    if not attested:
        detail = "An authorised official must attest to accuracy and to what becomes public: send attest true."
        wrong.append(Violation("not-attested", detail, "/attest"))
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
        answers=drafts.answers(draft, charter),
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
        detail = f"The deadline, {rfc3339(cycle.deadline)}, passed: a withdrawal goes by a request to the board."
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
