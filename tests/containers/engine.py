"""A Docker engine for as long as it is needed: the one that answers, else one of our own.

The first is looked for as testcontainers does: DOCKER_HOST, the current Docker context, the usual socket. Ours is the
distribution's `docker.io`, started by hand with its data under `var/engine` and stopped by its process id. It touches
nothing of the machine's network but the bridge `docker0`, which goes with it: no iptables rule, no forwarding, and
published ports listen on 127.0.0.1 alone. It ends with the process that started it. What stays are the installed
packages and, for the next time, the images in `var/engine`.
"""

import os
import shutil
import signal
import subprocess
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import docker
from docker.errors import DockerException
from requests import RequestException
from testcontainers.core.docker_client import DockerClient

from deploy.embedded.process import EmbeddedError, Process

PACKAGES = {"dockerd": "docker.io", "debootstrap": "debootstrap"}
"""By the program that they bring."""
BRIDGE = "docker0"
READY_WITHIN = 60.0
ANSWERS_WITHIN = 20
TIMEOUT = 300
GRACE = 30.0
SYSTEM_PATH = ":/usr/local/sbin:/usr/sbin:/sbin"
UPDATE = ("apt-get", "update", "--quiet")
INSTALL = ("apt-get", "install", "--yes", "--quiet", "--no-install-recommends")


class EngineError(RuntimeError):
    """No engine can be had: one line, saying what to do."""


@asynccontextmanager
async def engine(folder: Path, tell: Callable[[str], None]) -> AsyncIterator[tuple[docker.DockerClient, bool]]:
    """A client of an engine, and whether that is our own: named in DOCKER_HOST, and stopped when the block ends."""
    try:
        client = DockerClient(timeout=ANSWERS_WITHIN).client
        client.ping()
    except (DockerException, RequestException) as error:
        silence = error
    else:
        client.api.timeout = TIMEOUT
        tell("Containers: using the Docker engine that answers here")
        yield client, False
        return
    if os.geteuid() != 0:
        raise EngineError(f"no Docker engine answers, and only root can start one: start it yourself ({silence})")
    need("dockerd", tell)
    async with _own(folder, tell) as address:
        os.environ["DOCKER_HOST"] = address
        client = docker.from_env(timeout=TIMEOUT)
        client.containers.prune()  # what a killed predecessor left
        yield client, True


def need(program: str, tell: Callable[[str], None]) -> None:
    """Have `program` installed by the machine's own apt."""
    if not os.environ["PATH"].endswith(SYSTEM_PATH):
        os.environ["PATH"] += SYSTEM_PATH
    if shutil.which(program):
        return
    if os.geteuid() != 0 or not shutil.which("apt-get"):
        raise EngineError(
            f"{program} is missing and only root can install it, with apt: install it, "
            "or use a Docker engine that has the images"
        )
    tell(f"Containers: installing {PACKAGES[program]} with apt")
    apt(*UPDATE)
    apt(*INSTALL, PACKAGES[program])


def apt(*command: str) -> None:
    """Run one of apt's commands."""
    # In a single-user run level a package starts no service of its own.
    env = os.environ | {"DEBIAN_FRONTEND": "noninteractive", "RUNLEVEL": "1"}
    done = subprocess.run(command, env=env, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise EngineError(f"`{' '.join(command)}` failed: {last_line(done.stderr)}")


def last_line(output: str) -> str:
    """What a program said last."""
    return ([line.strip() for line in output.splitlines() if line.strip()] or ["it said nothing"])[-1]


@asynccontextmanager
async def _own(folder: Path, tell: Callable[[str], None]) -> AsyncIterator[str]:
    """Our own engine's address."""
    process = Process("the Docker engine", folder, stop_signal=signal.SIGTERM, grace=GRACE)
    await process.claim()
    had_bridge = _bridge().exists()
    # Sockets have paths of at most 107 bytes: not under a checkout that may lie deep.
    with TemporaryDirectory(prefix="cec-engine-") as run:
        address = f"unix://{run}/docker.sock"
        settings = Path(run, "daemon.json")
        settings.write_text("{}")  # the machine's own settings are for another engine
        command = ["dockerd", "--host", address, "--config-file", str(settings), "--pidfile", f"{run}/pid"]
        command += ["--data-root", str(process.folder / "data"), "--exec-root", f"{run}/exec"]
        command += ["--iptables=false", "--ip6tables=false", "--ip-forward=false", "--ip-masq=false", "--ip=127.0.0.1"]
        try:
            await _launch(process, command)
            tell(f"Containers: started a Docker engine of our own (process {process.pid}), data in {folder}")
            yield address
        finally:
            await process.stop()
            process.release()
            if not had_bridge and _bridge().exists():
                subprocess.run(["ip", "link", "delete", BRIDGE], check=False, capture_output=True)  # noqa: ASYNC221, S607  (at once; where the machine keeps it)


async def _launch(process: Process, command: list[str]) -> None:
    def listens() -> bool:
        return "API listen on" in process.output()

    try:
        await process.launch(lambda _: command, ports=0, ready=listens, within=READY_WITHIN, passing=())
    except EmbeddedError as error:
        raise EngineError(f"no Docker engine answers, and {error}") from None


def _bridge() -> Path:
    return Path("/sys/class/net", BRIDGE)
