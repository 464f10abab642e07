"""When an invitation holds, and who may ask to recover a government whose lead has left. Pure, by program time."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from hashlib import sha256
from typing import Final, Literal

from schemas.envelope import rfc3339
from services.chassis.refusal import RefusedError
from services.intake.governments.domain import Members, Role

OPEN_INVITATIONS: Final = 100
"""At most, of one government."""

InvitationState = Literal["open", "accepted", "revoked", "expired"]
RecoveryState = Literal["open", "approved", "refused"]


@dataclass(frozen=True)
class Invitation:
    """A lead's word that whoever has its token may act for the government, once."""

    id: str
    government: str
    role: Role
    email: str
    invited_by: str
    invited_at: datetime
    expires_at: datetime
    accepted_by: str | None = None
    revoked: bool = False

    def state(self, now: datetime) -> InvitationState:
        """What it is good for at `now`."""
        if self.accepted_by is not None:
            return "accepted"
        if self.revoked:
            return "revoked"
        return "expired" if now >= self.expires_at else "open"


@dataclass(frozen=True)
class Recovery:
    """An official's request to lead a government whose lead has left or does not answer."""

    id: str
    government: str
    person: str
    email_domain: str
    reason: str
    asked_at: datetime
    state: RecoveryState = "open"
    decided_at: datetime | None = None
    answer: str = ""


def fingerprint(token: str) -> bytes:
    """What is kept of an invitation's token: 32 random bytes need no salt."""
    return sha256(token.encode()).digest()


def must_have_room(open_now: int) -> None:
    """RefusedError where too many of a government's invitations are open."""
    if open_now >= OPEN_INVITATIONS:
        detail = f"{OPEN_INVITATIONS} invitations are open: revoke some, or wait until they are accepted or expire."
        raise RefusedError("too-many-invitations", detail)


def lasting(now: datetime, days: int) -> datetime:
    """When an invitation ends, to the millisecond in which it is shown."""
    until = now + timedelta(days=days)
    return until.replace(microsecond=until.microsecond // 1_000 * 1_000)


def must_be_open(invitation: Invitation, now: datetime) -> None:
    """RefusedError unless the invitation can still be accepted, or revoked."""
    match invitation.state(now):
        case "accepted":
            raise RefusedError("invitation-used", "This invitation was accepted already: ask for another one.")
        case "revoked":
            raise RefusedError("invitation-revoked", "This invitation was taken back: ask the government's lead.")
        case "expired":
            when = rfc3339(invitation.expires_at)
            raise RefusedError("invitation-expired", f"This invitation ended at {when}: ask for another one.")


def shows(address: str, email_domain: str) -> bool:
    """Whether an address is of a government's e-mail domain, or of a part of it ("it.springfield.gov")."""
    _, at, host = address.lower().rpartition("@")
    return bool(at and email_domain) and (host == email_domain or host.endswith("." + email_domain))


def must_not_lead(members: Members, person: str) -> None:
    """RefusedError for who has nothing to recover."""
    if members.get(person) == "lead":
        raise RefusedError("lead-already", "You lead this government already.")


def must_be_undecided(recovery: Recovery) -> None:
    """RefusedError for a request that was decided."""
    if recovery.state != "open":
        raise RefusedError("recovery-decided", f"This request was {recovery.state} already.")
