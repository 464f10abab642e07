"""Whole demonstrations, each run once as its user would run it: `cec demo --once`."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
PROGRAMS = ROOT / "deploy" / "programs"


@dataclass(frozen=True)
class Played:
    """A finished demonstration."""

    exit_code: int
    out: Path
    summary: dict[str, Any]
    errors: str

    def text(self) -> str:
        return (self.out / "announcement.txt").read_text(encoding="utf-8")

    def export(self, cycle: str) -> bytes:
        return (self.out / f"{cycle}.zip").read_bytes()


Play = Callable[..., Played]


@pytest.fixture(scope="session")
def play(tmp_path_factory: pytest.TempPathFactory) -> Play:
    """Run `cec demo`; results are kept by name for the whole run."""
    done: dict[str, Played] = {}

    def run(name: str, *arguments: str) -> Played:
        if name not in done:
            out = tmp_path_factory.mktemp("demo") / name
            finished = subprocess.run(
                [sys.executable, "-m", "services.cli", "demo", "--once", "--json", "--out", str(out), *arguments],
                cwd=ROOT,
                env={key: value for key, value in os.environ.items() if not key.startswith("CEC_")},
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                timeout=240,
                check=False,
            )
            summary = json.loads(finished.stdout) if finished.stdout.startswith("{") else {}
            done[name] = Played(finished.returncode, out, summary, finished.stderr)
        return done[name]

    return run


@pytest.fixture(scope="session")
def shipped(play: Play) -> Played:
    """The shipped charter and cohort."""
    return play("shipped")


@pytest.fixture(scope="session")
def variant(play: Play, tmp_path_factory: pytest.TempPathFactory) -> Play:
    """A demonstration of a changed charter or cohort."""

    def run(
        name: str,
        *,
        charter: Callable[[str], str] = lambda text: text,
        cohort: Callable[[dict[str, Any]], None] = lambda data: None,
    ) -> Played:
        folder = tmp_path_factory.mktemp(name)
        program = (PROGRAMS / "citizen-engaged-communities.toml").read_text(encoding="utf-8")
        data = json.loads((PROGRAMS / "cohort-2011-2013.json").read_text(encoding="utf-8"))
        cohort(data)
        (folder / "charter.toml").write_text(charter(program), encoding="utf-8")
        (folder / "cohort.json").write_text(json.dumps(data), encoding="utf-8")
        return play(name, "--program", str(folder / "charter.toml"), "--cohort", str(folder / "cohort.json"))

    return run


def lines_of(export: bytes, name: str) -> list[bytes]:
    """The lines of a file in an export."""
    from io import BytesIO  # noqa: PLC0415

    with zipfile.ZipFile(BytesIO(export)) as archive:
        return archive.read(name).splitlines()
