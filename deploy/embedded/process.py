"""One part's process in its folder: who owns it, how it is started, seen to be alive and stopped.

The folder `var/<part>` holds `lock` (held by the owner, so a second owner gets an error), `pid` (the part's process,
written by its keeper), `port`, `log` and whatever the part keeps. The owner starts a keeper, the keeper the part: see
`deploy.embedded.keeper`. Whatever goes wrong is an `EmbeddedError` of one line.
"""

import asyncio
import contextlib
import os
import shutil
import signal
import subprocess
import sys
import time
import weakref
from collections.abc import Callable, Iterable
from io import BytesIO
from pathlib import Path
from typing import IO

import psutil

from deploy.embedded.ports import free_ports

KEEPER = Path(__file__).with_name("keeper.py")
LOG_LIMIT = 4 * 1024 * 1024
POLL = 0.02
LAUNCHES = 20
PAUSE = 0.5
ORPHAN_GRACE = 5
INHERITED = ("PATH", "HOME", "TMPDIR", "TEMP", "SYSTEMROOT")
TELLING = ("FATAL", "ERROR", "error:", "Error", "Exception")

_let_go_in_forks: "weakref.WeakSet[IO[bytes]]" = weakref.WeakSet()


class EmbeddedError(RuntimeError):
    """A part that cannot run: one line, saying what to do."""


class Process:
    """A part's process: `claim` its folder, `launch` it (or `run` something to its end), `stop`, `release`."""

    def __init__(self, name: str, folder: Path, *, stop_signal: int, grace: float) -> None:
        """`grace` is how many seconds the part has after `stop_signal` until it is killed."""
        self.name = name
        self.folder = folder.resolve()
        self.pid: int | None = None
        self._log = self.folder / "log"
        self._log_start = 0
        self._pid_file = self.folder / "pid"
        self._stop_signal = stop_signal
        self._grace = grace
        self._lock: IO[bytes] | None = None
        self._keeper: subprocess.Popen[bytes] | None = None
        self._ports: list[int] = []

    @property
    def alive(self) -> bool:
        """Whether it runs; a death shows within a fifth of a second."""
        return self._keeper is not None and self._keeper.poll() is None

    async def claim(self, pid_files: Iterable[Path] = ()) -> None:
        """Take the folder: refuse one that a living owner holds, end what a dead one left running.

        `pid_files` are the part's own, beside the keeper's.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        self._lock = self._lock or locked(self.folder / "lock", self.name)
        for pid_file in (self._pid_file, *pid_files):
            if orphan := self._orphan(pid_file):
                await _end(orphan, self._stop_signal)
        self._pid_file.unlink(missing_ok=True)

    def release(self) -> None:
        """Give the folder and the ports up."""
        self._ports = []
        if self._lock is not None:
            self._lock.close()
            self._lock = None

    async def launch(
        self,
        command: Callable[[list[int]], list[str]],
        *,
        ports: int,
        ready: Callable[[], bool],
        within: float,
        passing: tuple[str, ...],
        user: str = "",
    ) -> list[int]:
        """Start the part on free ports and wait until it is ready, again if what it died of is one of `passing`.

        `command` makes the command line from the ports, which are returned. A part that is launched once more before
        its folder is released keeps its ports: others know it by them.
        """
        attempt = 1
        while True:
            chosen = self._ports or free_ports(self.folder / "port", ports)
            await self._spawn(command(chosen), user)
            try:
                await self._until(ready, within)
            except EmbeddedError:
                if attempt == LAUNCHES or self.alive or not any(text in self.output() for text in passing):
                    raise
            else:
                self._ports = chosen
                return chosen
            attempt += 1
            await asyncio.sleep(PAUSE)

    async def run(self, command: list[str], *, within: float, user: str = "") -> bool:
        """Run one of the part's tools to its end; says whether it ended well."""
        await self._spawn(command, user)
        return await self.ended(within)

    async def ended(self, within: float) -> bool:
        """Wait for an end that was asked for elsewhere; says whether it was a good one."""
        await self._until(lambda: not self.alive, within)
        return self._keeper is not None and self._keeper.returncode == 0

    async def stop(self) -> None:
        """End the part cleanly, or by force after its grace."""
        if self._keeper is None:
            return
        self._keeper.terminate()
        if self._keeper.stdin is not None:
            self._keeper.stdin.close()
        deadline = time.monotonic() + self._grace + PAUSE
        while self.alive:
            if time.monotonic() > deadline:
                self._keeper.kill()
            await asyncio.sleep(POLL)
        if self._keeper.stdout is not None:  # where the start was given up before it was read
            self._keeper.stdout.close()
        self._keeper = self.pid = None

    def output(self) -> str:
        """What the part wrote since it was started."""
        with self._log.open("rb") as log:
            log.seek(self._log_start)
            return log.read().decode(errors="replace")

    def ending(self) -> str:
        """How the part ended, with the last telling line of its own if it wasn't killed."""
        code = (self._keeper and self._keeper.returncode) or 0
        with contextlib.suppress(ValueError):
            # The keeper's exit code is the part's, its lower eight bits; below 0 the keeper itself was killed.
            return f"{self.name} was killed by {signal.Signals(-code if code < 0 else 256 - code).name}"
        return str(self.trouble(f"ended with exit code {code}"))

    def trouble(self, what: str) -> EmbeddedError:
        """An error saying `what`, with the last telling line that the part wrote and where the rest is."""
        lines = [line.strip() for line in self.output().splitlines() if line.strip()] or [self._silence()]
        telling = [line for line in lines if any(word in line for word in TELLING)] or lines
        return EmbeddedError(f"{self.name} {what}: {telling[-1]} (see {self._log})")

    def _silence(self) -> str:
        """Why the part wrote nothing."""
        return "it said nothing" if shutil.disk_usage(self.folder).free else "the disk is full"

    async def _spawn(self, command: list[str], user: str) -> None:
        await self.stop()
        if self._log.exists() and self._log.stat().st_size > LOG_LIMIT:
            self._log.replace(self.folder / "log.1")
        keeper = [sys.executable, "-I", "-S", str(KEEPER), str(self._pid_file)]
        keeper += [str(int(self._stop_signal)), str(self._grace), user]
        with self._log.open("ab") as log:
            self._log_start = log.tell()
            self._keeper = subprocess.Popen(  # noqa: ASYNC220  (returns at once)
                [*keeper, *command],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                env=environment(),
                cwd=self.folder,
                # Ctrl-C in a terminal reaches the owner alone, who then stops its parts in order.
                start_new_session=True,
            )
        if self._keeper.stdin is not None:
            _let_go_in_forks.add(self._keeper.stdin)
        self.pid = await asyncio.to_thread(_told_pid, self._keeper)

    async def _until(self, check: Callable[[], bool], within: float) -> None:
        deadline = time.monotonic() + within
        while True:
            alive = self.alive
            if check():
                return
            if not alive:
                raise self.trouble("ended while starting")
            if time.monotonic() > deadline:
                raise self.trouble(f"was not ready within {within:.0f} s")
            await asyncio.sleep(POLL)

    def _orphan(self, pid_file: Path) -> psutil.Process | None:
        """The process in `pid_file` if it is still this folder's part, not a stranger that got its number."""
        try:
            orphan = psutil.Process(int(pid_file.read_text().split()[0]))
            return orphan if str(self.folder) in " ".join(orphan.cmdline()) else None
        except (OSError, ValueError, IndexError, psutil.Error):
            return None


def environment() -> dict[str, str]:
    """The environment of a part: nothing of the owner's (PGDATA, JAVA_TOOL_OPTIONS) may change what it does."""
    return {name: os.environ[name] for name in INHERITED if name in os.environ} | {"LC_ALL": "C", "TZ": "UTC"}


def _told_pid(keeper: "subprocess.Popen[bytes]") -> int | None:
    """The part's process id as the keeper tells it; None if the part could not be started at all."""
    with keeper.stdout or BytesIO() as told:
        return int(told.readline() or 0) or None


async def _end(orphan: psutil.Process, stop_signal: int) -> None:
    """End a dead owner's part: its own way first, then by force."""
    with contextlib.suppress(psutil.NoSuchProcess):
        orphan.terminate() if sys.platform == "win32" else orphan.send_signal(stop_signal)
        deadline = time.monotonic() + ORPHAN_GRACE
        # A zombie holds nothing any more; only its parent can take it away.
        while orphan.is_running() and orphan.status() != psutil.STATUS_ZOMBIE:
            if time.monotonic() > deadline:
                orphan.kill()
            await asyncio.sleep(POLL)


def locked(path: Path, name: str) -> IO[bytes]:
    """`path` opened and locked for this process, its id written inside."""
    lock = path.open("a+b")
    try:
        if sys.platform == "win32":
            import msvcrt  # noqa: PLC0415  (Windows alone has it)

            lock.seek(1 << 20)  # past the text: Windows keeps others from reading what is locked
            msvcrt.locking(lock.fileno(), msvcrt.LK_NBLCK, 1)
        else:
            import fcntl  # noqa: PLC0415  (Windows has none)

            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        owner = path.read_text().strip() or "unknown"
        lock.close()
        raise EmbeddedError(
            f"{name} in {path.parent} is in use by process {owner}: stop it, or name another folder for the data",
        ) from None
    lock.truncate(0)
    lock.write(f"{os.getpid()}\n".encode())
    lock.flush()
    _let_go_in_forks.add(lock)
    return lock


def _let_go() -> None:
    """In a forked child (a process pool's worker), close what tells others that the owner lives."""
    for held in list(_let_go_in_forks):
        with contextlib.suppress(OSError):
            held.close()


if sys.platform != "win32":
    os.register_at_fork(after_in_child=_let_go)
