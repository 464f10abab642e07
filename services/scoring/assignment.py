"""Who reviews what: a draw by a revealed seed that anyone with the same inputs repeats, on any platform.

The *rank* of a pair is SHA-256(seed ‖ application ‖ reviewer), ids in UTF-8; lower comes first. Applications choose in
ascending order of SHA-256(seed ‖ application), each all its reviewers, one after the other. A choice looks breadth
first: from the application to the reviewers that it may have and has not, by rank; from each of these to the
applications that the reviewer holds, by rank; from those to their other reviewers, and so on. Of all reviewers found
below the cap, the first with the fewest applications is taken, and every application on the way hands its reviewer on
to the one before it and takes the next.

Each such path costs least, so the whole is a flow of least cost: a draw that exists is found, and the sum of the
squared loads is the least that the conflicts allow; loads differ by at most one wherever that is possible. Not left to
a library, whose order of search, which a re-computation must share, may change with any version.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from hashlib import sha256
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping


class ImpossibleError(Exception):
    """No draw gives every application its reviewers; the message says how many reviews are missing, and where."""


def assign(seed: bytes, candidates: Mapping[str, Collection[str]], *, each: int, most: int) -> dict[str, list[str]]:
    """`each` reviewers for every application, by rank, none of them with more than `most` applications.

    `candidates` are, by application, the reviewers whom no conflict bars. Raises ImpossibleError.
    """
    draw = _Draw(seed, candidates, most)
    for application in sorted(candidates, key=lambda name: _rank(seed, name)):
        for _ in range(each):
            search = _Search(draw, application)
            best = search.best()
            if best is None:
                raise ImpossibleError(_shortage(candidates, search.applications, each, most))
            search.hand_on(best)
    return {name: sorted(panel, key=draw.ranks[name].__getitem__) for name, panel in draw.panels.items()}


def _rank(seed: bytes, *names: str) -> bytes:
    return sha256(seed + "".join(names).encode()).digest()


class _Draw:
    """A draw under way: `panels` are reviewers by application, `held` applications by reviewer."""

    def __init__(self, seed: bytes, candidates: Mapping[str, Collection[str]], most: int) -> None:
        self.most = most
        self.ranks = {a: {r: _rank(seed, a, r) for r in reviewers} for a, reviewers in candidates.items()}
        self.ranked = {a: sorted(ranks, key=ranks.__getitem__) for a, ranks in self.ranks.items()}
        self.panels: dict[str, set[str]] = {application: set() for application in candidates}
        self.held: dict[str, set[str]] = {reviewer: set() for ranks in self.ranks.values() for reviewer in ranks}


@dataclass
class _Search:
    """One choice: how each reviewer and each application was reached from `start`."""

    draw: _Draw
    start: str
    reviewer_by: dict[str, str] = field(default_factory=dict)
    application_by: dict[str, str] = field(default_factory=dict)

    @property
    def applications(self) -> set[str]:
        """All applications that were reached."""
        return {self.start, *self.application_by}

    def best(self) -> str | None:
        """The reviewer to take; None if all that can be reached are at the cap."""
        held = self.draw.held
        least = min(map(len, held.values()), default=0)
        found: str | None = None
        for reviewer in self._reachable():
            load = len(held[reviewer])
            if load < self.draw.most and (found is None or load < len(held[found])):
                found = reviewer
                if load == least:  # none further on has fewer
                    break
        return found

    def _reachable(self) -> Iterator[str]:
        draw, queue = self.draw, deque([self.start])
        while queue:
            current = queue.popleft()
            for reviewer in draw.ranked[current]:
                if reviewer in self.reviewer_by or reviewer in draw.panels[current]:
                    continue
                self.reviewer_by[reviewer] = current
                yield reviewer
                new = [name for name in draw.held[reviewer] if name not in self.application_by and name != self.start]
                new.sort(key=lambda name: draw.ranks[name][reviewer])
                self.application_by.update(dict.fromkeys(new, reviewer))
                queue.extend(new)

    def hand_on(self, last: str) -> None:
        """Walk back from `last`: every application on the way takes the next reviewer and gives up its own."""
        draw, taken = self.draw, last
        while True:
            taker = self.reviewer_by[taken]
            draw.panels[taker].add(taken)
            draw.held[taken].add(taker)
            if taker == self.start:
                return
            taken = self.application_by[taker]
            draw.panels[taker].remove(taken)
            draw.held[taken].remove(taker)


def _shortage(candidates: Mapping[str, Collection[str]], short: set[str], each: int, most: int) -> str:
    """Why the applications in `short`, among which no reviewer has room, can never all have their reviewers."""
    openings: dict[str, int] = {}
    for application in short:
        for reviewer in candidates[application]:
            openings[reviewer] = min(openings.get(reviewer, 0) + 1, most)
    needed, possible = each * len(short), sum(openings.values())
    more = -((possible - needed) // min(most, len(short)))
    return (
        f"{len(short)} of {len(candidates)} applications need {needed} reviews, but the {len(openings)} reviewers"
        f" without a conflict with them can give {possible}: enrol at least {more} more without one"
    )
