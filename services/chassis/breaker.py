"""The breaker: a consumer whose events are poison one after the other stops, since then the fault is likely its own.

A bad deploy must not drain a topic into the dead letters. Counted are events only, in the order in which they were
taken: one that takes effect ends the row, a duplicate or one that waits changes nothing. A stopped consumer keeps its
batch, sets none of it aside, and tries again with back-off: a process that can read it goes on by itself, and so does
one that was told to (`go_on`), which then sets poison aside until an event takes effect.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import Enum, auto
from typing import TYPE_CHECKING, TypeAlias

import structlog

from services.chassis.failures import NotYetError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from services.chassis.database import Database
    from services.chassis.record import Record

Partition: TypeAlias = tuple[str, int]

log = structlog.get_logger()


class Fate(Enum):
    """What became of a record that did not fail."""

    EFFECT = auto()
    NOTHING = auto()
    """A duplicate, or an event that waits."""


class TrippedError(Exception):
    """Too many events in a row are poison. The last of them, how many, and what was wrong with it."""

    def __init__(self, record: Record, length: int, cause: Exception) -> None:
        super().__init__(f"{length} events in a row are poison, the last at {record.place}")
        self.record = record
        self.cause = cause


@dataclass(frozen=True, slots=True)
class Row:
    """The poison since the last event that took effect. `waived`: somebody said to go on until one does."""

    length: int = 0
    waived: bool = False

    def after(self, records: Sequence[Record], fates: Sequence[Fate | Exception], limit: int) -> Row:
        """The row behind these records; TrippedError where it reaches `limit` and is not waived."""
        length, waived = self.length, self.waived
        for record, fate in zip(records, fates, strict=True):
            if fate is Fate.EFFECT:
                length, waived = 0, False
            elif isinstance(fate, Exception) and not isinstance(fate, NotYetError):
                length += 1
                if length >= limit and not waived:
                    raise TrippedError(record, length, fate)
        return Row(length, waived)


class Breaker:
    """One consumer's breaker. `stopped` says whether it stands still because of it."""

    def __init__(self, group: str, limit: int) -> None:
        self.group = group
        self.limit = limit
        self.row = Row()
        self.stopped = False
        self._clear: set[Partition] = set()  # partitions of which no stop is on record

    async def trip(self, database: Database, error: TrippedError, reason: str) -> None:
        """Put the stop on record and raise it; return where somebody said to go on, which holds for this once."""
        record = error.record
        self._clear.discard((record.topic, record.partition))
        if await database.pool.fetchval(_GO_ON, self.group, record.topic, record.partition):
            self.row = replace(self.row, waived=True)
            return
        await database.pool.execute(_STOP, self.group, record.topic, record.partition, record.offset, reason)
        if not self.stopped:
            self.stopped = True
            log.critical(
                "consumer stopped: too many events in a row are poison",
                group=self.group,
                at=record.place,
                limit=self.limit,
                reason=reason,
            )
        raise error

    async def passed(self, database: Database, row: Row, partitions: set[Partition]) -> None:
        """A batch went through: remember the row behind it, and take back what was on record of its partitions."""
        self.row = row
        if self.stopped:
            self.stopped = False
            log.warning("consumer goes on", group=self.group, waived=row.waived)
        if unclear := partitions - self._clear:
            topics, parts = zip(*unclear, strict=True)
            await database.pool.execute(_CLEAR, self.group, topics, parts)
            self._clear |= unclear

    def forget(self) -> None:
        """Partitions changed hands: what is on record of them may have changed, too."""
        self._clear.clear()


_GO_ON = """
delete from chassis.breaker where consumer_group = $1 and topic = $2 and part = $3 and go_on returning true
"""
_STOP = """
insert into chassis.breaker (consumer_group, topic, part, position, reason) values ($1, $2, $3, $4, $5)
on conflict (consumer_group, topic, part) do update set position = excluded.position, reason = excluded.reason
"""
_CLEAR = """
delete from chassis.breaker where consumer_group = $1
    and (topic, part) in (select * from unnest($2::text[], $3::int[]))
"""
