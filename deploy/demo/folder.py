"""The folder that a demonstration writes into: its own, or nobody's. Nothing is removed that it did not write."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from deploy.embedded.process import locked

RESULTS = ("announcement.*", "*.zip", "policy.txt", "notices.jsonl")
DATA = "data"
LOCK = ".demo.lock"
_PARTS = {"kafka", "postgres", "keys", "run"}


class FolderError(ValueError):
    """A folder that a demonstration must not touch."""


@contextmanager
def emptied(out: Path) -> Iterator[Path]:
    """Make or empty `out` and keep others from it; gives the folder for the run's data.

    FolderError if it holds anything that no demonstration writes; EmbeddedError if another demonstration uses it.
    """
    out.mkdir(parents=True, exist_ok=True)
    old = {file for pattern in RESULTS for file in out.glob(pattern)}
    data = out / DATA
    foreign = [one.name for one in out.iterdir() if one not in old | {data, out / LOCK}]
    if data.exists() and not data.is_dir():
        foreign.append(DATA)
    elif data.is_dir():
        foreign += [f"{DATA}/{one.name}" for one in data.iterdir() if one.name not in _PARTS]
    if foreign:
        raise FolderError(
            f"{out} holds what no demonstration wrote ({', '.join(sorted(foreign)[:3])}): name another --out"
        )
    with locked(out / LOCK, "a demonstration"):
        for file in old:
            file.unlink()
        shutil.rmtree(data, ignore_errors=True)
        yield data
