"""Ids. Event ids are time-ordered (UUIDv7); what a person or an application is called by is random and says nothing."""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING
from uuid import uuid4

import uuid_utils

if TYPE_CHECKING:
    from collections.abc import Callable

DRAWN = 1_024
"""Bytes: a call of the system for each salt takes longer than what is done with it."""


def event_id() -> str:
    """A fresh UUIDv7."""
    return str(uuid_utils.uuid7())


def opaque_id() -> str:
    """A fresh random id (UUIDv4) that carries neither time nor origin."""
    return str(uuid4())


def secret(nbytes: int = 32) -> str:
    """A fresh secret, hex."""
    return secrets.token_hex(nbytes)


class Drawn:
    """Random bytes, drawn many at a time and each given out once. It is for one piece of work and never kept.

    A copy of it, as a fork would make, would give out the same bytes.
    """

    def __init__(self, entropy: Callable[[int], bytes]) -> None:
        self._entropy = entropy
        self._here = b""
        self._given = 0

    def __call__(self, size: int) -> bytes:
        """The next `size` bytes."""
        if self._given + size > len(self._here):
            self._here, self._given = self._entropy(max(size, DRAWN)), 0
        self._given += size
        return self._here[self._given - size : self._given]
