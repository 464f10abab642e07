"""What erasing a person takes here: a reviewer's name and keys. The chassis has the account be nobody's."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from services.chassis.database import Tx
    from services.chassis.erasure import Erasure, Outcome
    from services.chassis.service import Service


async def forget_reviewer(_service: Service, tx: Tx, wanted: Erasure, outcome: Outcome) -> None:
    """Keep no name of the account and no key that signs for it, in whatever cycles it reviewed."""
    if wanted.account is None:
        return
    keys = await tx.db.fetch(
        "delete from private.key using private.reviewer r"
        " where key.reviewer = r.reviewer and r.issuer = $1 and r.subject = $2 returning kid",
        wanted.account.issuer,
        wanted.account.subject,
    )
    outcome.places["private.key"] = len(keys)
    rows = await tx.db.fetch(
        "update private.reviewer set name = '' where issuer = $1 and subject = $2 and name <> '' returning reviewer",
        wanted.account.issuer,
        wanted.account.subject,
    )
    outcome.places["private.reviewer.name"] = len(rows)
