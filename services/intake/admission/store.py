"""Invitations and recoveries as they are kept: of a token only its hash."""

from __future__ import annotations

from dataclasses import astuple, dataclass
from typing import TYPE_CHECKING

from services.intake.admission.domain import Invitation, Recovery, RecoveryState

if TYPE_CHECKING:
    from datetime import datetime

    import asyncpg

    from services.chassis.database import Connection

_INVITATION = """
select invitation, government, role, email, invited_by, invited_at, expires_at, accepted_by, revoked
from private.invitation
"""
_RECOVERY = """
select recovery, r.government, person, r.email_domain, reason, asked_at, r.state, decided_at, answer,
    g.name as government_name
from private.recovery r join private.government g using (government)
"""


@dataclass(frozen=True)
class Asked:
    """A recovery, with its government's name."""

    recovery: Recovery
    government_name: str


async def add_invitation(db: Connection, invitation: Invitation, token_sha256: bytes) -> None:
    """Keep a new invitation."""
    await db.execute(
        """
        insert into private.invitation (invitation, government, role, email, invited_by, invited_at, expires_at,
            accepted_by, revoked, token_sha256) values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)
        """,
        *astuple(invitation),
        token_sha256,
    )


async def save_invitation(db: Connection, invitation: Invitation) -> None:
    """Keep what became of an invitation."""
    await db.execute(
        "update private.invitation set accepted_by = $2, revoked = $3 where invitation = $1",
        invitation.id,
        invitation.accepted_by,
        invitation.revoked,
    )


async def invitations(db: Connection, government: str) -> list[Invitation]:
    """A government's invitations, the newest first."""
    rows = await db.fetch(f"{_INVITATION} where government = $1 order by invited_at desc, invitation", government)
    return [Invitation(*row) for row in rows]


async def invitation(db: Connection, name: str, government: str) -> Invitation | None:
    """One of a government's invitations, if any."""
    row = await db.fetchrow(f"{_INVITATION} where invitation = $1 and government = $2", name, government)
    return Invitation(*row) if row else None


async def invitation_by(db: Connection, token_sha256: bytes) -> Invitation | None:
    """The invitation with this token, if any."""
    row = await db.fetchrow(f"{_INVITATION} where token_sha256 = $1", token_sha256)
    return Invitation(*row) if row else None


async def open_invitations(db: Connection, government: str, now: datetime) -> int:
    """How many of a government's invitations can still be accepted."""
    return int(
        await db.fetchval(
            """
            select count(*) from private.invitation
            where government = $1 and accepted_by is null and not revoked and expires_at > $2
            """,
            government,
            now,
        )
    )


async def add_recovery(db: Connection, asked: Recovery) -> bool:
    """Keep a request; False where the person has an open one for this government."""
    added = await db.fetchval(
        """
        insert into private.recovery values ($1, $2, $3, $4, $5, $6, $7, $8, $9)
        on conflict (government, person) where state = 'open' do nothing returning true
        """,
        *astuple(asked),
    )
    return bool(added)


async def save_recovery(db: Connection, recovery: Recovery) -> None:
    """Keep what was decided on a request."""
    await db.execute(
        "update private.recovery set state = $2, decided_at = $3, answer = $4 where recovery = $1",
        recovery.id,
        recovery.state,
        recovery.decided_at,
        recovery.answer,
    )


async def recovery(db: Connection, name: str) -> Asked | None:
    """A request, if any."""
    row = await db.fetchrow(f"{_RECOVERY} where recovery = $1", name)
    return _asked(row) if row else None


async def recoveries(db: Connection, state: RecoveryState, limit: int) -> list[Asked]:
    """Requests in a state, the oldest first."""
    rows = await db.fetch(f"{_RECOVERY} where r.state = $1 order by asked_at, recovery limit $2", state, limit)
    return [_asked(row) for row in rows]


async def recoveries_of(db: Connection, person: str) -> list[Asked]:
    """A person's requests, the newest first."""
    rows = await db.fetch(f"{_RECOVERY} where person = $1 order by asked_at desc, recovery", person)
    return [_asked(row) for row in rows]


def _asked(row: asyncpg.Record) -> Asked:
    *values, name = row
    return Asked(Recovery(*values), name)
