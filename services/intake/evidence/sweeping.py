"""The loop that removes what nothing refers to any more: uploads that took too long, contents of removed files.

What is to be looked at again stands in a table, written in the transaction that made it so; the archive follows. A
content that somebody is about to refer to was touched a moment ago, and stays.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import structlog

from services.chassis.failures import backoff, transient
from services.intake.archive import Archive
from services.intake.evidence import store

if TYPE_CHECKING:
    from services.chassis.service import Service

log = structlog.get_logger()


async def sweep_evidence(service: Service) -> None:
    """Remove what is due, until cancelled."""
    attempt = 0
    while True:
        try:
            while await sweep_one(service):
                pass
            attempt = 0
        except Exception as error:  # noqa: BLE001  (a loop never dies of one bad moment)
            attempt += 1
            say = log.info if transient(error) else log.error
            say("sweep waits", attempt=attempt, error=repr(error))
            await asyncio.sleep(backoff(attempt))
            continue
        await asyncio.sleep(service.settings.poll_seconds)


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
