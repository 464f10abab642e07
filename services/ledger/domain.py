"""Which log an event belongs to, in which order events may be appended, and what an announced cycle opens. Pure."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING, Final, NamedTuple

from schemas.cycles import CycleOpened, LogOpened
from schemas.exact import SetDigest
from schemas.versions import split
from services.chassis.refusal import RefusedError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from schemas.charter import Disclosure
    from schemas.cycles import CohortAnnounced
    from schemas.designations import DesignationGranted

PROGRAM: Final = "program"
"""The log of what belongs to no cycle, or must not stand in a public one. Only auditors read its entries."""

_OPENING = split(CycleOpened.TYPE)[0] + ".v"
_OWN = LogOpened.source()
_PROGRAM_TYPES = ("notifications.", "scoring.reviewer.enrolled.", "intake.member.")

Need = tuple[str, ...]
"""What must be logged first: ("turn", source, subject, sequence), ("event", id) or ("log", log)."""


def log_of(event_type: str, cycle: str | None) -> str:
    """The log that an event goes to: its cycle's, or `program`."""
    return PROGRAM if not cycle or event_type.startswith(_PROGRAM_TYPES) else cycle


class Arrival(NamedTuple):
    """An event that came in, as far as its place in the log is decided by it."""

    id: str
    type: str
    source: str
    subject: str
    sequence: int
    cause: str | None
    log: str

    @property
    def turn(self) -> tuple[str, str, int]:
        """Its place in its aggregate, where no other event may stand."""
        return self.source, self.subject, self.sequence

    @property
    def opens_log(self) -> bool:
        """Whether it is entry 1 of its log, in any version: the ledger writes entry 0 just before it."""
        return self.type.startswith(_OPENING)

    @property
    def own(self) -> bool:
        """Whether only the ledger can have written it: such an event is logged before it is published."""
        return self.source == _OWN

    @property
    def needs(self) -> list[Need]:
        """What must be logged before it."""
        found: list[Need] = [] if self.opens_log else [("log", self.log)]
        if self.sequence > 1:
            found.append(("turn", self.source, self.subject, str(self.sequence - 1)))
        if self.cause is not None:
            found.append(("event", self.cause))
        return found

    @property
    def gives(self) -> list[Need]:
        """What others may have waited for."""
        found: list[Need] = [("turn", self.source, self.subject, str(self.sequence)), ("event", self.id)]
        return [*found, ("log", self.log)] if self.opens_log else found


class Sequencer:
    """Puts events in an order in which each one's predecessor, cause and log come first.

    It knows what `offer` told it: events offered once, and which of their needs the log already meets.
    """

    def __init__(self) -> None:
        self._met: set[Need] = set()
        self._lacks: dict[str, set[Need]] = {}
        self._awaited: defaultdict[Need, list[Arrival]] = defaultdict(list)

    def offer(self, arrivals: Iterable[Arrival], met: Iterable[Need]) -> list[Arrival]:
        """Take further events, and return those of all offered so far that can be appended now, in that order."""
        self._met.update(met)
        placed: list[Arrival] = []
        for arrival in arrivals:
            if lacks := {need for need in arrival.needs if need not in self._met}:
                self._lacks[arrival.id] = lacks
                for need in lacks:
                    self._awaited[need].append(arrival)
            else:
                placed += self._place(arrival)
        return placed

    def _place(self, first: Arrival) -> list[Arrival]:
        """`first`, and in cascade everything that waited for nothing else."""
        placed = [first]
        for arrival in placed:
            for need in arrival.gives:
                self._met.add(need)
                for waiting in self._awaited.pop(need, ()):
                    lacks = self._lacks[waiting.id]
                    lacks.discard(need)
                    if not lacks:
                        placed.append(waiting)
        return placed


def require_announced(announced: Sequence[CohortAnnounced], granted: Sequence[DesignationGranted]) -> None:
    """RefusedError unless the cohort is announced and the designations logged are exactly the announced ones."""
    if not announced:
        raise RefusedError("not-announced", "The cycle is not announced yet: nothing of it is public before.")
    stated, here = announced[-1].designations, SetDigest.of(grant.designation for grant in granted)
    if stated != here:
        raise RefusedError(
            "not-announced",
            f"The announcement states {stated.count} designations and the log holds {here.count} that are not yet"
            " exactly those; try again shortly.",
        )


def designated_subjects(granted: Sequence[DesignationGranted]) -> frozenset[str]:
    """What a designee's events are about: its designation and its application."""
    return frozenset(subject for grant in granted for subject in (grant.designation, grant.application))


def opens(rule: Disclosure, designated: frozenset[str], subject: str, block: str) -> bool:
    """Whether the announcement opens a block of an event about `subject`; its class is the name before the slash."""
    return block.partition("/")[0] in (rule.designated if subject in designated else rule.not_designated)
