"""What the fault suite is told, and where its parts keep their data."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest


@pytest.fixture
def fault_seed(request: pytest.FixtureRequest) -> int:
    """What chance is drawn from; shown with a failure, so that it can be drawn again."""
    seed = int(request.config.getoption("--fault-seed"))
    print(f"--fault-seed {seed}")  # noqa: T201  (pytest shows it with a failure)
    return seed


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder that PostgreSQL's own user gets through, too."""
    with TemporaryDirectory(prefix="cec-tests-") as made:
        path = Path(made)
        path.chmod(0o755)
        yield path
