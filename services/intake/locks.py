"""How long a row that was read stays as it is."""

from __future__ import annotations

from typing import Literal

Lock = Literal["", " for share", " for update"]
"""How a row is held until the transaction ends: `for share` keeps it as it is, `for update` also keeps others out."""


SHARED: Lock = " for share"


OWNED: Lock = " for update"
