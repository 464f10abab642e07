"""Whole demonstrations, each run once: as its user would run it (`cec demo --once`), or in this process."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import zipfile
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest

from deploy.demo.calls import People
from deploy.demo.cohort import load
from deploy.demo.receiver import Receiver
from deploy.demo.steps import Cycle
from deploy.embedded import Stack
from schemas.charter import Charter
from services.chassis.webhooks import new_secret
from services.origin import Origin

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
    """The shipped charter and cohort; nothing else is worth looking at if that did not hold."""
    played = play("shipped")
    if played.exit_code:
        pytest.fail(f"the demonstration ended with {played.exit_code}: {played.errors[-2000:]} {played.summary}")
    return played


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


class Amended(Cycle):
    """A cycle in which every application that stands was submitted twice."""

    async def apply(self) -> None:
        await super().apply()
        for application, applicant in self._applicants.items():
            if not applicant.withdraws:
                lead = self._people("applicant", f"lead of {applicant.name}, {applicant.state}")
                await lead.post(f"/intake/v1/applications/{application}/submit", {"attest": True})


@pytest.fixture(scope="session")
async def played() -> AsyncIterator[tuple[Origin, Receiver]]:
    """The small second program, played to its end in this process, once for the whole run; it stays up."""
    text = (PROGRAMS / "servicio-claro.toml").read_text(encoding="utf-8")
    cohort = load(PROGRAMS / "servicio-claro-2025.json")
    with TemporaryDirectory(prefix="cec-tests-") as folder:
        var = Path(folder)
        var.chmod(0o755)
        overrides = {"var": var, "public_url": "http://127.0.0.1:0", "clock_movable": True, "poll_seconds": 0.2}
        overrides |= {"webhooks_allow_loopback": True, "probes_allow_loopback": True, "probes_pause_seconds": 0}
        secret = new_secret()
        async with (
            Stack(var, parts=ROOT / "var" / "parts", durable=False) as stack,
            Origin(overrides, kafka_bootstrap=stack.kafka_bootstrap, postgres_dsn=stack.postgres_dsn) as origin,
            People(origin.url, origin.issuer) as people,
            Receiver(var / "notices.jsonl", secret) as receiver,
            Amended(cohort, Charter.parse(text), text, people, origin, lambda _: None) as cycle,
        ):
            await cycle.to_the_decision(receiver.url, secret)
            await cycle.from_the_announcement(lambda: len(receiver.received()))
            await cycle.exports()
            yield origin, receiver


def lines_of(export: bytes, name: str) -> list[bytes]:
    """The lines of a file in an export."""
    with zipfile.ZipFile(BytesIO(export)) as archive:
        return archive.read(name).splitlines()
