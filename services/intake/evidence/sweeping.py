"""The loop that removes what nothing refers to any more: uploads that took too long, contents of removed files.

What is to be looked at again stands in a table, written in the transaction that made it so; the archive follows. A
content that somebody is about to refer to was touched a moment ago, and stays.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from services.chassis.looping import keep_taking_up
from services.intake.archive import Archive
from services.intake.evidence import store

if TYPE_CHECKING:
    from services.chassis.service import Service


async def sweep_evidence(service: Service) -> None:
    """Remove what is due, until cancelled."""

    async def sweep() -> None:
        while await sweep_one(service):
            pass

    async def rest(_: None) -> None:
        await asyncio.sleep(service.settings.poll_seconds)

    await keep_taking_up("sweeps", sweep, rest)


async def sweep_one(service: Service) -> bool:
    """Look at what is due first; False where nothing is."""
    now = service.clock.machine.now()
    async with service.database.transaction() as tx:
        taken = await store.claim_sweep(tx.db, now)
        match taken:
            case None:
                return False
            case "upload", name:
                if await store.drop_upload(tx.db, name, now):
                    await Archive.of(service.settings, f"uploads/{name}").clear()
            case "content", name:
                # In the transaction: who is about to refer to it waits for the row, and stores it anew then.
                if await store.drop_content(tx.db, name, now):
                    await Archive.of(service.settings, "files").remove(name)
    return True
