"""The loop that probes: takes what was asked for, reads the server outside of any transaction, settles in one.

A few at a time, and of one host one at a time over all processes. A run is leased: where a process ends in the middle,
another one begins it again, a few times. Commits wake the loop, and a poll suffices. It runs on machine time; windows
end on the day that it is in program time.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from dataclasses import replace
from datetime import datetime, timedelta
from functools import cached_property
from typing import TYPE_CHECKING, Any

import structlog

from services.chassis.ids import opaque_id
from services.chassis.looping import keep_taking_up, sleep_until_woken
from services.chassis.outbound import outbound
from services.chassis.refusal import RefusedError
from services.chassis.schedule import schedule, unschedule
from services.intake.archive import Archive
from services.intake.probes import domain, store
from services.intake.probes.fetch import Answer, Manners, ProbeFailed
from services.intake.probes.prober import read

if TYPE_CHECKING:
    from services.chassis.database import Database, Tx
    from services.chassis.outbound import Outbound
    from services.chassis.service import Service
    from services.intake.probes.domain import Reading, Run
    from services.intake.settings import IntakeSettings

AGAIN = "probe-open311"
WORK = "probes"
AT_ONCE = 2
LEASE = timedelta(minutes=30)
"""Longer than a probe and its settling take."""
KNOWN = timedelta(days=120)
"""How long an answer's address is remembered: longer than a window and the time between two probes."""

log = structlog.get_logger()


def client_of(settings: IntakeSettings) -> Outbound:
    """The client that says whose it is."""
    contact = f"; {settings.probes_contact}" if settings.probes_contact else ""
    user_agent = f"citizen-engaged-probe/1 (+{settings.public_url}{contact})"
    return outbound(user_agent, allow_loopback=settings.probes_allow_loopback)


async def begin(tx: Tx, government: str, by: str | None, *, every: int, rest: timedelta = timedelta()) -> Run:
    """Have one more probe wait, and the next one come by itself in `every` days. RefusedError where none may wait."""
    # First, as the schedule itself takes its rows: the other way round the two could wait for each other.
    await unschedule(tx, AGAIN, government)
    now = tx.clock.now()
    await schedule(tx, AGAIN, government, now + timedelta(days=every), {"every": every})
    last = await store.last_run(tx.db, government)
    run = domain.ask(await store.endpoint(tx.db, government), last, opaque_id(), by=by, now=now, rest=rest)
    if not await store.add_run(tx.db, run):
        raise RefusedError("probe-waiting", "A probe of this government is not over yet: read what comes of it.")
    tx.wakes.add(WORK)
    return run


async def probe_again(tx: Tx, subject: str, due: datetime, detail: dict[str, Any]) -> None:  # noqa: ARG001  (as a schedule calls its tasks)
    """Ask for the next probe of the government `subject`, unless its server has not answered for long."""
    endpoint = await store.endpoint(tx.db, subject)
    if endpoint is not None and not endpoint.paused:
        # Refused only where one waits already; the next one is scheduled all the same.
        with suppress(RefusedError):
            await begin(tx, subject, None, every=detail["every"])


async def run_probes(service: Service) -> None:
    """Make the probes that were asked for, until cancelled."""
    await Runner(service).run()


class Runner:
    """One process's share of the probes."""

    def __init__(self, service: Service) -> None:
        self._database = service.database
        self._clock = service.clock
        self._settings: IntakeSettings = service.settings
        self._manners = Manners(pause=service.settings.probes_pause_seconds)
        self._work = service.database.alarm(WORK)
        self._running: dict[asyncio.Task[None], str] = {}

    @cached_property
    def _archive(self) -> Archive:
        """Opened with the first probe: where there is none, no folder is made."""
        return Archive.of(self._settings, "open311")

    async def run(self) -> None:
        """Take up runs as places get free; sleep until a commit asks for one, one ends, or the poll."""
        try:
            await keep_taking_up("probes", self._take_up, self._rest)
        finally:
            await self._give_back()

    async def _take_up(self) -> None:
        while len(self._running) < AT_ONCE:
            now = self._clock.machine.now()
            async with self._database.transaction() as tx:
                run = await store.claim_run(tx.db, now, now + LEASE)
            if run is None:
                return
            task = asyncio.create_task(self._probe(run), name=f"probe:{run.probe}")
            self._running[task] = run.probe
            task.add_done_callback(self._ended)

    async def _rest(self, _: None) -> None:
        await sleep_until_woken(self._work, self._settings.poll_seconds)

    async def _give_back(self) -> None:
        """Have the next process begin at once what this one cannot end; where that fails, the lease ends by itself."""
        running = dict(self._running)
        if not running:
            return
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)
        with suppress(Exception):
            async with self._database.transaction() as tx:
                await store.give_back(tx.db, list(running.values()))

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._running.pop(task, None)
        if not task.cancelled() and (error := task.exception()) is not None:
            # Its lease ends by itself: it is begun again then.
            log.error("probe not settled", task=task.get_name(), exc_info=error)
        self._work.set()

    async def _probe(self, run: Run) -> None:
        if run.begun > domain.INTERRUPTED_AFTER:
            await self._settle_failure(run, "the probe was interrupted each time that it was begun")
            return
        notes = Notes(self._database, self._archive, self._clock.machine.now())
        try:
            reading = await read(
                client_of(self._settings),
                run.url,
                until=self._clock.now().date(),
                jurisdiction=run.jurisdiction,
                manners=self._manners,
                memory=notes,
            )
        except ProbeFailed as failed:
            await self._settle_failure(run, str(failed))
            return
        await self._settle(run, reading, await notes.manifest())

    async def _settle(self, run: Run, reading: Reading, raw_sha256: str) -> None:
        # In a thread: the figures of many requests take longer than the loop may be held.
        found = await asyncio.to_thread(domain.look, reading)
        async with self._database.transaction() as tx:
            if not await self._mine(tx, run):
                return
            event = domain.probed(
                run,
                reading,
                found,
                previous=await store.previous_probe(tx.db, run, reading.endpoint),
                raw_sha256=raw_sha256,
                points=self._settings.probes_drop_points,
            )
            tx.actor = run.asked_by
            tx.record(event)
            (written,) = await tx.flush()
            await store.save_probe(tx.db, event, written.header)
            await self._end(tx, run, None)

    async def _settle_failure(self, run: Run, reason: str) -> None:
        async with self._database.transaction() as tx:
            if await self._mine(tx, run):
                await self._end(tx, run, reason)

    async def _mine(self, tx: Tx, run: Run) -> bool:
        """Whether the run is still this one: not ended, not taken back, not begun again elsewhere."""
        found = await store.run(tx.db, run.probe, " for update")
        return found is not None and not found.ended and found.begun == run.begun

    async def _end(self, tx: Tx, run: Run, reason: str | None) -> None:
        await store.end_run(tx.db, run.probe, reason)
        endpoint = await store.endpoint(tx.db, run.government)
        if endpoint is not None and endpoint.url == run.url:
            failures = 0 if reason is None else endpoint.failures + 1
            await store.save_endpoint(tx.db, replace(endpoint, failures=failures))
        await store.forget_answers(tx.db, self._clock.machine.now() - KNOWN)


class Notes:
    """A probe's memory: answers of earlier probes, and this one's for its manifest."""

    def __init__(self, database: Database, archive: Archive, now: datetime) -> None:
        self._database = database
        self._archive = archive
        self._now = now
        self._kept: list[dict[str, str | int]] = []

    async def recall(self, url: str) -> Answer | None:
        """The last answer from there, if the archive still has it."""
        async with self._database.reading() as db:
            row = await store.known_answer(db, url)
        body = await self._archive.get(row["sha256"]) if row else None
        return None if row is None or body is None else Answer(url, body=body, **row)

    async def keep(self, answer: Answer) -> None:
        """Keep an answer by its hash, and know its address."""
        await self._archive.put(answer.body)
        async with self._database.transaction() as tx:
            await store.keep_answer(tx.db, answer, self._now)
        self._kept.append(
            {
                "url": answer.url,
                "content_type": answer.content_type,
                "sha256": answer.sha256,
                "bytes": len(answer.body),
            }
        )

    async def manifest(self) -> str:
        """Keep the list of what was kept; its SHA-256 (hex)."""
        text, _ = domain.manifest(self._kept)
        return await self._archive.put(text)
