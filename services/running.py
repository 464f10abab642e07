"""Where what runs on this machine is: written down by `cec up` and `cec demo`, so that other commands find it.

The file, `run/origin.json` in the data folder, names PostgreSQL with its password, so only its owner can read it; it is
gone when they stop. One that a killed process left names what does not answer.
"""

from __future__ import annotations

import os
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Self

import orjson

if TYPE_CHECKING:
    from pathlib import Path


@dataclass(frozen=True, slots=True)
class Running:
    """An origin that serves all services, and its parts."""

    url: str
    kafka_bootstrap: str
    postgres_dsn: str
    pid: int

    @classmethod
    def found(cls, var: Path) -> Self | None:
        """What was last written down in the data folder `var`, if it was not taken back."""
        try:
            return cls(**orjson.loads(_file(var).read_bytes()))
        except (FileNotFoundError, TypeError, ValueError):
            return None

    def write(self, var: Path) -> None:
        """Write it down, in place of what a killed process left."""
        file = _file(var)
        file.parent.mkdir(parents=True, exist_ok=True)
        scratch = file.with_suffix(f".{self.pid}")
        scratch.unlink(missing_ok=True)
        with os.fdopen(os.open(scratch, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as out:
            out.write(orjson.dumps(asdict(self)))
        scratch.replace(file)

    def erase(self, var: Path) -> None:
        """Take it back, unless another process wrote meanwhile."""
        if self.found(var) == self:
            _file(var).unlink(missing_ok=True)


def _file(var: Path) -> Path:
    return var / "run" / "origin.json"
