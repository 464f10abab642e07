"""Erasure, produced by intake: whoever keeps these openings deletes them, value and salt. The leaves stay as they are.

An erasure says digests and names of blocks, never what stood in them. It follows (`causationid`) from the event whose
blocks it erases, so that the ledger logs it behind that one; elsewhere it may come first, and is remembered.
"""

from __future__ import annotations

from typing import Final, Self

from pydantic import model_validator

from schemas.envelope import Event, Sealed
from schemas.exact import Value

ERASABLE: Final = frozenset({"answers", "contact", "private"})
"""Classes of blocks that hold what people wrote and who they are. The others (identity, claims, scores) are a
government's record: every re-computation rests on them."""
RECORD: Final = frozenset({"identity", "claims", "scores"})
"""Those others."""


def erasable(block: str) -> bool:
    """Whether a block's class is one that can be erased: the name before the slash."""
    return block.partition("/")[0] in ERASABLE


class Excused(Value):
    """Block `claims` of an erasure: what scoring goes on by."""

    not_applicable: list[str]
    """The criteria whose erased answer said that they do not apply."""


class DisclosureErased(Event):
    """Blocks of one event are withheld from now on, wherever they are kept."""

    TYPE = "intake.disclosure.erased.v1"
    ABOUT = "about"

    cycle: str | None = None
    """Where the event is in a cycle's log."""
    about: str
    """What the event is about: its subject."""
    event: str
    """Its id."""
    digests: dict[str, str]
    """By the block's name, its digest as the leaf has it."""
    claims: Sealed[Excused] = None

    @model_validator(mode="after")
    def _reachable(self) -> Self:
        if kept := sorted(name for name in self.digests if not erasable(name)):
            message = f"{', '.join(kept)}: no erasure reaches this class of blocks"
            raise ValueError(message)
        return self
