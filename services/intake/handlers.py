"""What intake does by its schedule, and what other services' events do here.

By scoring's, reviewers may read what they are assigned; by awards', a request to withdraw is settled; by those of
notifications it is known whose invitation went out. By scoring's and awards' together it is known what reviewers gave
an application, and whether its own people may read that.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from schemas.cycles import CohortAnnounced
from schemas.designations import DesignationGranted, WithdrawalAccepted, WithdrawalRefused
from schemas.notices import MailFailed, MailSent
from schemas.reviews import ApplicationScored, ReviewAssigned, ReviewerEnrolled
from services.chassis.inbox import Handlers
from services.intake.applications import store as applications
from services.intake.cycles import domain, store
from services.intake.deadlines.schedule import CLOSE, REMIND, remind
from services.intake.locks import OWNED
from services.intake.openness import invited
from services.intake.probes.runs import AGAIN, probe_again
from services.intake.reapplication import store as reapplication
from services.intake.reviewing import store as reviewing
from services.intake.screening import store as screening

if TYPE_CHECKING:
    from datetime import datetime

    from schemas.envelope import Header
    from services.chassis.database import Tx
    from services.chassis.schedule import TaskHandler

handlers = Handlers()


@handlers.on(ReviewerEnrolled)
async def know_reviewer(tx: Tx, event: ReviewerEnrolled, header: Header) -> None:
    """Whoever signs in with this account is the reviewer, as long as the block that says so is open."""
    if event.private is not None and event.private.account is not None:
        await reviewing.keep_account(tx.db, event, event.private.account, header.id)


@handlers.on(ReviewAssigned)
async def admit_reviewer(tx: Tx, event: ReviewAssigned, header: Header) -> None:
    """The reviewer may read the evidence of what was assigned."""
    if event.private is not None:
        await reviewing.keep_assignment(tx.db, event, event.private.reviewer, header.id)


@handlers.on(WithdrawalAccepted)
async def give_back(tx: Tx, event: WithdrawalAccepted, header: Header) -> None:
    """The board gave it back: it stands no more."""
    await screening.settle_withdrawal(tx.db, event.application, "withdrawn", header.id)


@handlers.on(WithdrawalRefused)
async def keep_refusal(tx: Tx, event: WithdrawalRefused, header: Header) -> None:
    """The board kept it in the cycle: the applicant reads why."""
    ours = await screening.settle_withdrawal(tx.db, event.application, "refused", header.id)
    if ours and event.private is not None:
        text = event.private.reason
        await screening.keep_statement(tx.db, header.id, event.application, "withdrawal-refused", text, header.time)


@handlers.on(ApplicationScored)
async def keep_scores(tx: Tx, event: ApplicationScored, _header: Header) -> None:
    """Shown beside the next application, once they are disclosed."""
    await reapplication.keep_scores(tx.db, event)


@handlers.on(DesignationGranted)
async def keep_designation(tx: Tx, event: DesignationGranted, _header: Header) -> None:
    """The announcement discloses more of it than of others."""
    await reapplication.keep_designation(tx.db, event)


@handlers.on(CohortAnnounced)
async def keep_announcement(tx: Tx, event: CohortAnnounced, _header: Header) -> None:
    """Before it, nothing is disclosed."""
    await reapplication.keep_announcement(tx.db, event)


@handlers.on(MailSent)
async def note_sent(tx: Tx, event: MailSent, header: Header) -> None:
    """An invitation went out."""
    await invited.keep_fate(tx.db, event.event, "sent", header.time, "")


@handlers.on(MailFailed)
async def note_failed(tx: Tx, event: MailFailed, _header: Header) -> None:
    """An invitation did not: where the address is not to blame, it can be sent again."""
    became: Literal["bounced", "dropped"] = "bounced" if event.why == "bounced" else "dropped"
    await invited.keep_fate(tx.db, event.event, became, None, f"{event.why} {event.code}".strip())


async def close_at_deadline(tx: Tx, subject: str, due: datetime, detail: dict[str, Any]) -> None:  # noqa: ARG001  (as a schedule calls its tasks)
    """Close the cycle `subject`, whose deadline passed."""
    cycle = await store.cycle(tx.db, subject, OWNED)
    if cycle is not None and not cycle.closed:
        await close(tx, cycle, "schedule")


async def close(tx: Tx, cycle: domain.Cycle, by: Literal["schedule", "hand"]) -> domain.Cycle:
    """Close a cycle whose row is owned: whoever submits holds that row, so that the set is exact."""
    standing = await applications.standing(tx.db, cycle.id)
    event = domain.close_cycle(cycle, standing, await store.seed(tx.db, cycle.id), by)
    closed = domain.evolve_cycle(cycle, event, tx.record(event))
    await store.save_cycle(tx.db, closed)
    return closed


TASKS: dict[str, TaskHandler] = {CLOSE: close_at_deadline, REMIND: remind, AGAIN: probe_again}
