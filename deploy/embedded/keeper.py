"""The process between an owner and its part, so that no part outlives its owner, not even one killed with SIGKILL.

Run as a script with the standard library alone: `keeper.py PIDFILE SIGNAL GRACE USER COMMAND...`. It starts the
command as USER ("" for the same one), writes its process id to PIDFILE and to standard output, then waits. When
standard input ends (the owner closed it, or died) the part gets SIGNAL and, GRACE seconds later, SIGKILL: a stop and
the owner's death are one path. The keeper ends with the part, removes PIDFILE and returns the part's exit code. On
Linux the kernel ends the part of a keeper that is itself killed.
"""

import contextlib
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

POLL = 0.1
PR_SET_PDEATHSIG = 1


def keep(pid_file: Path, stop_signal: int, grace: float, user: str, command: list[str]) -> int:
    """Run `command` until it ends or the owner does; returns its exit code, negative for a signal."""
    owner = os.getppid()
    part = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=sys.stderr, **_confinement(user))
    over = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: over.set())
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    own_pid = f"{part.pid}\n"
    try:
        pid_file.write_text(own_pid)
    except OSError as error:
        # Without it, nobody could end what a killed keeper and owner leave behind. The disk is full, most likely.
        sys.stderr.write(f"Error: {error}\n")
        _end(part, stop_signal, 0)
        return 1
    sys.stdout.write(own_pid)
    sys.stdout.flush()
    threading.Thread(target=_await_end_of_input, args=[over], daemon=True).start()
    # A fork of the owner may hold the other end of our standard input: the parent's id is looked at too.
    while part.poll() is None and not over.wait(POLL) and os.getppid() == owner:
        pass
    code = _end(part, stop_signal, grace)
    # A successor that took over while we waited has written its own.
    with contextlib.suppress(FileNotFoundError):
        if pid_file.read_text() == own_pid:
            pid_file.unlink()
    return code


def _await_end_of_input(over: threading.Event) -> None:
    # Unbuffered: a daemon thread inside a buffered read aborts the interpreter's exit.
    while os.read(0, 1024):
        pass
    over.set()


def _end(part: "subprocess.Popen[bytes]", stop_signal: int, grace: float) -> int:
    try:
        if part.poll() is None:
            part.terminate() if sys.platform == "win32" else part.send_signal(stop_signal)
        part.wait(grace)
    except subprocess.TimeoutExpired:
        part.kill()
    code = part.wait()
    if sys.platform != "win32":
        # What a part may leave in its group: a Java that was killed while its helper wrote the cache.
        with contextlib.suppress(ProcessLookupError):
            os.killpg(part.pid, signal.SIGKILL)
    return code


def _confinement(user: str) -> dict[str, Any]:
    """Popen's options for a part: a group of its own, its user, and the tie to the keeper's life."""
    if sys.platform == "win32":
        return {"creationflags": subprocess.CREATE_NEW_PROCESS_GROUP}
    options: dict[str, Any] = {"process_group": 0}
    if user:
        import pwd  # noqa: PLC0415  (not on Windows)

        options |= {"user": user, "group": pwd.getpwnam(user).pw_gid, "extra_groups": []}
    if sys.platform == "linux":
        import ctypes  # noqa: PLC0415  (for Linux alone)

        keeper, prctl = os.getpid(), ctypes.CDLL(None).prctl

        def tie() -> None:
            prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
            if os.getppid() != keeper:  # killed between fork and prctl
                os._exit(1)

        # Called after the change of user, which would undo the tie.
        options["preexec_fn"] = tie
    return options


if __name__ == "__main__":
    pid_file, stop_signal, grace, user, *command = sys.argv[1:]
    sys.exit(keep(Path(pid_file), int(stop_signal), float(grace), user, command) & 0xFF)
