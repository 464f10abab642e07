"""One transaction's events on their way into the logs, piece by piece, under the sequencer's lock.

What cannot be appended yet waits for the rest of the batch, and is held back behind it. Most events are news, and to
look for each in the logs first would cost as much as to append it. A `trusting` batch leaves that to the tables' own
constraints: where they refuse, nothing of the batch stands, and it is gone through again with a look at each event.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import structlog

from schemas.cycles import LogOpened
from services.chassis.transparency import Frontier
from services.ledger import store
from services.ledger.checkpoints import origin_of, signer
from services.ledger.domain import PROGRAM, Arrival, Sequencer
from services.ledger.incoming import Incoming, own, read_again
from services.ledger.store import Head, Known

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from services.chassis.database import Tx
    from services.chassis.settings import Settings
    from services.ledger.domain import Need

log = structlog.get_logger()


class RepeatedError(Exception):
    """A trusting batch would hold back what is logged already: the tables judge what is appended, not what waits."""


async def open_log(tx: Tx, settings: Settings, name: str) -> tuple[Head, Incoming]:
    """A new log, and the event that must become its entry 0 in this transaction."""
    origin = origin_of(settings, name)
    key = str(signer(settings, origin).verifier)
    cycle = None if name == PROGRAM else name
    tx.record(LogOpened(log=name, cycle=cycle, origin=origin, verifier_key=key))
    (written,) = await tx.flush()
    opened = Head(name, origin, key, Frontier())
    await store.open_log(tx.db, opened)
    return opened, own(written, name)


class Batch:
    """`begin`, `take` the pieces in their order, `finish`.

    asyncpg.UniqueViolationError or RepeatedError where trust was wrong.
    """

    def __init__(self, tx: Tx, settings: Settings, *, trusting: bool) -> None:
        self.repeated = False
        """Whether anything was logged or held already."""
        self.held = 0
        """How many events were held back."""
        self._tx = tx
        self._settings = settings
        self._trusting = trusting
        self._any_held = True
        self._known = Known()
        self._sequencer = Sequencer()
        self._logs: dict[str, Head] = {}
        self._here: dict[str, Incoming] = {}
        """What is not appended yet, by id."""
        self._appended: list[Arrival] = []
        self._contradicting: list[tuple[Incoming, str]] = []

    async def begin(self) -> None:
        """Be the one sequencer until the transaction ends."""
        await store.lock(self._tx.db)
        self._any_held = await store.anything_held(self._tx.db)

    async def take(self, piece: Sequence[Incoming]) -> None:
        """Append what can be appended."""
        arrivals = [incoming.arrival for incoming in piece]
        doubted = [arrival for arrival in arrivals if arrival.own] if self._trusting else arrivals
        await self._known.look(self._tx.db, "ledger.entry", doubted)
        if self._any_held:
            await self._known.look(self._tx.db, "private.held", arrivals)
        fresh = self._news(piece)
        self.repeated |= len(fresh) < len(piece)
        await self._place(fresh)

    def _news(self, piece: Iterable[Incoming]) -> list[Arrival]:
        """What is new, and known from now on; what contradicts something known is kept apart."""
        fresh, by_id, by_turn = [], self._known.by_id, self._known.by_turn
        for incoming in piece:
            arrival = incoming.arrival
            name, turn = arrival.id, arrival.turn
            if name in by_id:
                if by_id[name] != incoming.leaf_hash:
                    self._contradicting.append((incoming, "same id, other bytes"))
            elif turn in by_turn:
                self._contradicting.append((incoming, "same sequence, other id"))
            elif arrival.own:
                self._contradicting.append((incoming, "not written by the ledger"))
            else:
                by_id[name], by_turn[turn] = incoming.leaf_hash, name
                self._here[name] = incoming
                fresh.append(arrival)
        return fresh

    async def _place(self, arrivals: list[Arrival]) -> None:
        """Append those of all offered so far whose turn has come."""
        needs = {need for arrival in arrivals for need in arrival.needs}
        if now := self._sequencer.offer(arrivals, await self._met(needs)):
            await self._append(now)

    async def _met(self, needs: set[Need]) -> set[Need]:
        logs = {need[1] for need in needs if need[0] == "log"}
        self._logs |= await store.heads(self._tx.db, logs - self._logs.keys())
        found: set[Need] = {("log", name) for name in logs if name in self._logs}
        return found | await store.met(self._tx.db, needs)

    async def _append(self, now: list[Arrival]) -> None:
        released = await store.release(self._tx.db, [arrival.id for arrival in now if arrival.id not in self._here])
        self._here |= {incoming.arrival.id: incoming for incoming in map(read_again, released)}
        entries = []
        for arrival in now:
            if arrival.log not in self._logs:
                self._logs[arrival.log], first = await open_log(self._tx, self._settings, arrival.log)
                entries.append(first)
            entries.append(self._here.pop(arrival.id))
        await store.append(self._tx.db, self._logs, entries)
        self._appended += now

    async def finish(self) -> None:
        """Append what was held and waited for these, hold back what waits, and keep the trees as they are now."""
        if self._any_held:
            await self._place_behind()
        if self._here:
            await self._hold()
        await store.save_trees(self._tx.db, self._logs.values())
        for incoming, kind in self._contradicting:
            await _alarm(self._tx, incoming, kind)

    async def _place_behind(self) -> None:
        seen, looked = set[str](), 0
        while appended := self._appended[looked:]:
            looked = len(self._appended)
            behind = await store.waiting_behind(self._tx.db, appended)
            await self._place([arrival for arrival in behind if arrival.id not in seen])
            seen |= {arrival.id for arrival in behind}

    async def _hold(self) -> None:
        if self._trusting:
            known = Known()
            await known.look(self._tx.db, "ledger.entry", [incoming.arrival for incoming in self._here.values()])
            if known.by_id:
                raise RepeatedError
        await store.hold(self._tx.db, list(self._here.values()))
        self.held = len(self._here)


async def _alarm(tx: Tx, incoming: Incoming, kind: str) -> None:
    if await store.raise_alarm(tx.db, incoming, kind):
        arrival = incoming.arrival
        about = {"type": arrival.type, "subject": arrival.subject, "event_id": arrival.id}
        log.error("event contradicts the log", kind=kind, log=arrival.log, **about)
