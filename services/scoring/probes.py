"""What governments' Open311 servers say, kept to be shown beside an application: no score follows from it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from datetime import datetime

    from schemas.envelope import Header
    from schemas.evidence import EvidenceProbed
    from services.chassis.database import Connection

LATER = 20
"""Probes since a submission that are shown, the newest ones."""


async def keep_probe(db: Connection, event: EvidenceProbed, header: Header) -> None:
    """Keep what a probe found, as long as it can be read."""
    if event.claims is not None:
        await db.execute(
            "insert into projection.probe values ($1, $2, $3, $4, $5, $6)",
            event.probe,
            event.government,
            header.sequence,
            header.id,
            header.time,
            event.claims.model_dump(mode="json"),
        )


async def probes(db: Connection, government: str, submitted_at: datetime) -> list[Any]:
    """A government's last probe up to a submission, then those since, the newest first.

    Rows of probe, event, probed_at, after_submission, claims.
    """
    return await db.fetch(
        """
        with known as (
            select sequence, probe, event, probed_at, probed_at > $2 as after_submission, claims
            from projection.probe where government = $1
        ), counted as (
            select *, row_number() over (partition by after_submission order by sequence desc) as place from known
        )
        select probe, event, probed_at, after_submission, claims from counted
        where place <= case when after_submission then $3 else 1 end
        order by after_submission, sequence desc
        """,
        government,
        submitted_at,
        LATER,
    )
