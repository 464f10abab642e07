"""How things are named in requests, and which reviewer asks."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from fastapi import Path, Query
from pydantic import Field

from services.chassis.problems import not_found
from services.scoring import roster

if TYPE_CHECKING:
    from services.chassis.auth import Principal
    from services.chassis.database import Connection

_LINE = r"^\P{Cc}{1,200}$"
Line = Annotated[str, Field(pattern=_LINE)]
InPath = Annotated[str, Path(pattern=_LINE)]
InQuery = Annotated[str, Query(pattern=_LINE)]


async def known_reviewer(db: Connection, cycle: str, who: Principal) -> str:
    """The caller's id as a reviewer of the cycle; a 404 problem for everyone else."""
    reviewer = await roster.reviewer_of(db, cycle, who)
    if reviewer is None:
        raise not_found("You are not enrolled as a reviewer of such a cycle.")
    return reviewer
