"""How often a process that serves looks for garbage: seldom, and never through what it loaded at its start."""

from __future__ import annotations

import gc


def settle() -> None:
    """Call once all is started. A service that consumes makes many objects and few cycles: rate × 1.2."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 100)
