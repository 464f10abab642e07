"""What the fault suite is told."""

from __future__ import annotations

import pytest


@pytest.fixture
def fault_seed(request: pytest.FixtureRequest) -> int:
    """What chance is drawn from; shown with a failure, so that it can be drawn again."""
    seed = int(request.config.getoption("--fault-seed"))
    print(f"--fault-seed {seed}")  # noqa: T201  (pytest shows it with a failure)
    return seed
