"""Where a person or a text stands in the sealed blocks of all logs: the ledger alone has every opening."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import TYPE_CHECKING, Final

import orjson

from schemas.envelope import digest, taken_apart, unb64url
from schemas.erasures import erasable
from services.chassis.sought import SealedBlock
from services.ledger.domain import PROGRAM, log_of

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from services.chassis.database import Connection, Tx
    from services.chassis.erasure import Erasure, Outcome
    from services.chassis.service import Service

STEP: Final = 100
"""Openings that are looked through at a stretch."""

Place = tuple[str, str, str, str, str]
"""Log, event, subject, block, opening."""


async def find_blocks(_service: Service, tx: Tx, wanted: Erasure, outcome: Outcome) -> None:
    """Name the blocks in which it occurs; they go when intake's erasures are logged, and not before."""
    stays = Counter[str]()
    seen = 0
    async for log, event, subject, block, opening in _every(tx.db):
        seen += 1
        if seen % STEP == 0:
            await asyncio.sleep(0)
        if not wanted.mentioned(orjson.loads(unb64url(opening))[2]):
            continue
        if erasable(block):
            cycle = None if log == PROGRAM else log
            found = SealedBlock(cycle=cycle, about=subject, event=event, block=block, digest=digest(opening))
            outcome.blocks.append(found)
        else:
            stays[block.partition("/")[0]] += 1
    outcome.stays = dict(stays)


async def _every(db: Connection) -> AsyncIterator[Place]:
    """The openings that are kept, of what is logged and of what is held."""
    async for row in db.cursor(_LOGGED, prefetch=STEP):
        yield tuple(row)
    for (record,) in await db.fetch("select record from private.held"):
        envelope, _, openings = taken_apart(record)
        log = log_of(envelope.type, envelope.cycleid)
        for block, opening in openings.items():
            yield log, envelope.id, envelope.subject, block, opening


_LOGGED = """
select d.log, e.id, e.subject, d.block, d.opening from private.disclosure d join ledger.entry e using (log, index)
order by e.position, d.block
"""
