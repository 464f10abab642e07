"""Which events are written about, to whom, and what is kept to write from."""

from __future__ import annotations

from typing import TYPE_CHECKING

from schemas.applications import ApplicationSubmitted
from schemas.designations import WithdrawalAccepted, WithdrawalRefused
from schemas.envelope import rfc3339
from schemas.erasures import DisclosureErased
from schemas.screening import ApplicationScreened, DeadlineNear, InvitationIssued
from services.chassis.failures import NotYetError
from services.notifications.mail import queue
from services.notifications.mail.queue import Occasion, Recipient

if TYPE_CHECKING:
    from typing import Any

    from schemas.envelope import Header
    from services.chassis.database import Tx
    from services.chassis.inbox import Handlers
    from services.notifications.mail.domain import Kind

OFFICIAL = "official"
"""The reader of letters about an application, as their ids name it: a version names one."""


def join(handlers: Handlers) -> None:
    """Have letters written by these handlers."""
    handlers.then(DeadlineNear)(remind)
    handlers.then(InvitationIssued)(invite)
    handlers.on(ApplicationSubmitted)(keep_official)
    handlers.then(ApplicationSubmitted)(confirm)
    handlers.then(ApplicationScreened)(pass_question)
    handlers.then(WithdrawalAccepted)(tell_withdrawal)
    handlers.then(WithdrawalRefused)(tell_withdrawal)
    handlers.on(DisclosureErased)(forget)


async def remind(tx: Tx, event: DeadlineNear, header: Header) -> None:
    """Remind a draft's people, unless their addresses or what it lacks were erased meanwhile."""
    if event.contact is None or event.private is None:
        return
    people = [Recipient(one.person, one.email) for one in event.contact.people]
    said = {
        "application": event.application,
        "days": event.days,
        "deadline": rfc3339(event.deadline),
        "government": event.private.government,
        "incomplete": [one.model_dump() for one in event.private.incomplete],
    }
    on = Occasion("reminder", header.id, event.application, event.of_cycle, event.deadline)
    await queue.send(tx, on, people, said)


async def invite(tx: Tx, event: InvitationIssued, header: Header) -> None:
    """Write to somebody on the program's list."""
    if event.contact is None:
        return
    said = {"government": event.contact.name, "deadline": rfc3339(event.deadline)}
    people = [Recipient(event.invitee, event.contact.email)]
    on = Occasion("invitation", header.id, event.invitee, event.of_cycle, event.deadline)
    await queue.send(tx, on, people, said)


async def keep_official(tx: Tx, event: ApplicationSubmitted, header: Header) -> None:
    """Know whom to write to about it."""
    email = event.contact.email if event.contact is not None else ""
    name = event.identity.name if event.identity is not None else ""
    await queue.save_official(tx.db, event.application, header.id, email, name)


async def confirm(tx: Tx, event: ApplicationSubmitted, header: Header) -> None:
    """Say that it was received, and where the receipt is."""
    await _write(tx, "receipt", event.cycle, event.application, header, {"version": event.version})


async def pass_question(tx: Tx, event: ApplicationScreened, header: Header) -> None:
    """Say that there is a question, and until when. What it asks is read where it is answered."""
    if event.verdict == "sent-back" and event.due is not None:
        await _write(tx, "question", event.cycle, event.application, header, {"due": rfc3339(event.due)})


async def tell_withdrawal(tx: Tx, event: WithdrawalAccepted | WithdrawalRefused, header: Header) -> None:
    """Say how the board settled it."""
    kind: Kind = "withdrawn" if isinstance(event, WithdrawalAccepted) else "withdrawal-refused"
    await _write(tx, kind, event.cycle, event.application, header, {})


async def forget(tx: Tx, event: DisclosureErased, _header: Header) -> None:
    """Send nothing any more that an erased block said, and know no address of it."""
    # An answer may be erased for whom it names: the official is still to be written to.
    if event.digests.keys() & {"contact", "private"}:
        await queue.forget(tx.db, event.event)


async def _write(tx: Tx, kind: Kind, cycle: str, application: str, header: Header, said: dict[str, Any]) -> None:
    found = await queue.official(tx.db, application)
    if found is None:
        raise NotYetError(f"application {application} is not here")
    email, government = found
    said = {"application": application, "government": government, **said}
    await queue.send(tx, Occasion(kind, header.id, application, cycle), [Recipient(OFFICIAL, email)], said)
