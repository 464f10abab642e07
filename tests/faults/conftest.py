"""Where the fault suite's parts keep their data."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder that PostgreSQL's own user gets through, too."""
    with TemporaryDirectory(prefix="cec-tests-") as made:
        path = Path(made)
        path.chmod(0o755)
        yield path
