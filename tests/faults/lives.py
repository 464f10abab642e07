"""Services in processes of their own that are killed again and again, and at once begin the next life.

`python -m tests.faults.lives PLAN` imports everything once and forks a keeper for each service; a keeper forks one life
after the other, so that each begins within some tenths of a second. All of them end with whoever started them.
"""

from __future__ import annotations

import asyncio
import ctypes
import gc
import json
import os
import random
import signal
import subprocess
import sys
import traceback
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from itertools import count
from pathlib import Path
from typing import Any, NoReturn, Self

import uvloop

from services.chassis import logs
from services.chassis.settings import Settings
from services.origin import SERVICES, Blueprint, Origin
from tests.faults.evidence import witness
from tests.faults.points import NAMES, End, install, points_of, read

ROOT = Path(__file__).resolve().parents[2]
PR_SET_PDEATHSIG = 1
SHOWN = 6_000
"""Characters of what lives complained about, at most: the last ones, where a trace says what it is about."""


@dataclass(frozen=True)
class Plan:
    """What the processes are told; `ports` by service."""

    folder: str
    kafka: str
    postgres: str
    seed: int
    ports: dict[str, int]

    def file(self, name: str) -> Path:
        return Path(self.folder) / name

    @property
    def deaths(self) -> Path:
        """What lives tell before their end."""
        return self.file("deaths")

    @property
    def failures(self) -> Path:
        """What keepers tell of lives that ended otherwise."""
        return self.file("failures")

    @property
    def peace(self) -> Path:
        """Nobody is killed once this is there."""
        return self.file("peace")


class Lives:
    """The processes, from within a test."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self._process: subprocess.Popen[bytes] | None = None

    async def __aenter__(self) -> Self:
        plan = self.plan.file("plan")
        plan.write_text(json.dumps(asdict(self.plan)))
        self._process = started("lives", str(plan))
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._process is not None
        self._process.kill()
        self._process.communicate()

    def kills(self) -> Counter[tuple[str, str]]:
        """How often which (service, point) was met exactly, or a moment before."""
        return Counter((line["name"], line["point"]) for line in read(self.plan.deaths))

    def missing(self) -> set[tuple[str, str]]:
        """Points at which no process has ended yet."""
        exact = {(line["name"], line["point"]) for line in read(self.plan.deaths) if not line["late"]}
        return {(name, point) for name in NAMES for point in points_of(name)} - exact

    def check(self) -> None:
        """AssertionError with what ended otherwise than by its kill, and what lives had to complain about."""
        assert self._process is not None
        told = [self.plan.failures.read_text()] if self.plan.failures.exists() else []
        if self._process.poll() is not None:
            told.append(f"the lives ended with {self._process.returncode}")
        for name in NAMES:
            log = self.plan.file(f"{name}.log")
            lines = log.read_text().splitlines() if log.exists() else []
            told += [f"{name}: {line}" for line in lines if not _expected(line)]
        if told:
            raise AssertionError("\n".join(told)[-SHOWN:])

    def rest(self) -> None:
        """Let everyone live from now on."""
        self.plan.peace.touch()


def started(module: str, *arguments: str) -> subprocess.Popen[bytes]:
    """A process that runs one of these modules."""
    return subprocess.Popen(
        [sys.executable, "-m", f"tests.faults.{module}", *arguments],
        cwd=ROOT,
        env={name: value for name, value in os.environ.items() if not name.startswith("CEC_")},
        stdin=subprocess.PIPE,
    )


def _expected(line: str) -> bool:
    """Whether a line of the log is a warning at most, or about what nobody can read."""
    if not line.startswith('{"'):
        return False
    try:
        told = json.loads(line)
    except json.JSONDecodeError:  # where a line lies across two pages of the file, a kill leaves half of it
        return True
    return bool(told["level"] == "warning" or told["event"] == "poison parked")


def main(file: str) -> NoReturn:
    """The process that the others are forked from."""
    end_with_parent()
    plan = Plan(**json.loads(Path(file).read_text()))
    gc.freeze()  # a collection would touch, and so copy, what all lives share
    for name in plan.ports:
        if os.fork() == 0:
            _keep(name, plan)
    sys.stdin.read()
    os._exit(0)


def end_with_parent() -> None:
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def _keep(name: str, plan: Plan) -> NoReturn:
    end_with_parent()
    chance = random.Random(f"{plan.seed} {name}")
    misses: Counter[str] = Counter()
    for _ in count():
        end = End(name, chance, plan.deaths, plan.peace, misses)
        pid = os.fork()
        if pid == 0:
            _live(name, plan, end)
        _, status = os.waitpid(pid, 0)
        told = [line for line in read(plan.deaths) if line["pid"] == pid]
        if os.WIFSIGNALED(status) and os.WTERMSIG(status) in {signal.SIGKILL, signal.SIGALRM} and told:
            misses[end.point] += told[0]["point"] != end.point
            continue
        with plan.failures.open("a") as failures:
            failures.write(f"{name} ended with {os.waitstatus_to_exitcode(status)}, see its log\n")
        os._exit(1)
    raise AssertionError


def _live(name: str, plan: Plan, end: End) -> NoReturn:
    end_with_parent()
    log = os.open(plan.file(f"{name}.log"), os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    os.dup2(log, 1)
    os.dup2(log, 2)
    try:
        install(end)
        # A named member that begins anew gets its partitions back at once; nobody waits for the dead one's session.
        serve(name, plan, end.ready, instance=name)
    except BaseException:  # noqa: BLE001  (a forked process must not go on as its parent)
        traceback.print_exc()
    os._exit(1)


def serve(name: str, plan: Plan, ready: Callable[[], None] = lambda: None, **settings: Any) -> None:
    """Run a service until this process ends; `ready` is called once it does."""

    async def run() -> None:
        async with Origin(
            settings_of(plan, name) | settings, kafka_bootstrap=plan.kafka, postgres_dsn=plan.postgres, names=(name,)
        ):
            ready()
            await asyncio.Event().wait()

    logs.configure("warning")
    SERVICES["witness"] = Blueprint(Settings, witness)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(run())


def settings_of(plan: Plan, name: str) -> dict[str, Any]:
    """What a service is set to."""
    return {
        "var": Path(plan.folder),
        "public_url": f"http://127.0.0.1:{plan.ports[name]}",
        "clock_movable": True,
        "poll_seconds": 0.2,
        "pool_size": 4,
        "webhooks_allow_loopback": True,
    }


def counted(kills: Iterable[tuple[tuple[str, str], int]]) -> str:
    """A table of ends for people."""
    return "\n".join(f"{number:4}  {name:13}  {point}" for (name, point), number in sorted(kills))


if __name__ == "__main__":
    main(sys.argv[1])
