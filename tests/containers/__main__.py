"""Run a command where a Docker engine answers, with images to test on: `python -m tests.containers COMMAND...`.

The engine and the images' names are in the command's environment, which tells the tests to use them. What can't be had
is an error of one line and fails. However this ends, no container and no engine of ours stays.
"""

import asyncio
import os
import secrets
import signal
import sys
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from docker.errors import DockerException
from requests import RequestException

from deploy.embedded import EmbeddedError
from tests.containers.engine import EngineError, engine
from tests.containers.images import choose, setting
from tests.containers.parts import LABEL, RUN

ROOT = Path(__file__).resolve().parents[2]
GRACE = 30.0


def tell(line: str) -> None:
    """Say what happens, in order with what the command says."""
    print(line, flush=True)  # noqa: T201  (a program's own output)


async def main(command: list[str]) -> int:
    """The command's exit code."""
    if task := asyncio.current_task():
        # As Ctrl-C, even while there is only an engine: what is under way is taken down in order.
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    folder = ROOT / "var" / "engine"
    folder.mkdir(parents=True, exist_ok=True)
    async with engine(folder, tell) as (client, own):
        images = await asyncio.to_thread(choose, client, folder, ROOT / "var" / "parts", tell, pull=not own)
        env = os.environ | {
            "CEC_TEST_PARTS": "containers",
            RUN: (run := secrets.token_hex(8)),
            "TESTCONTAINERS_HUB_IMAGE_NAME_PREFIX": "",
            "TESTCONTAINERS_RYUK_DISABLED": "true",
            "TESTCONTAINERS_CONNECTION_MODE": "docker_host",
            **{setting(part): name for part, name in images.items()},
        }
        try:
            return await ran(command, env)
        finally:
            for left in client.containers.list(all=True, filters={"label": f"{LABEL}={run}"}):
                left.remove(force=True, v=True)


async def ran(command: list[str], env: Mapping[str, str]) -> int:
    """The command's exit code. Ctrl-C reaches it too, SIGTERM as Ctrl-C; then it has time to end in order."""
    task, running = asyncio.current_task(), await asyncio.create_subprocess_exec(*command, env=env)

    def stop() -> None:
        with suppress(ProcessLookupError):
            running.send_signal(signal.SIGINT)
        if task:
            task.cancel()

    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop)
    try:
        return await running.wait()
    except asyncio.CancelledError:
        with suppress(TimeoutError):
            await asyncio.wait_for(running.wait(), GRACE)
        raise
    finally:
        if running.returncode is None:
            running.kill()
            await running.wait()


if __name__ == "__main__":
    try:
        sys.exit(asyncio.run(main(sys.argv[1:])))
    except (EngineError, EmbeddedError, DockerException, RequestException) as error:
        sys.exit(f"Containers: {error}")
    except (KeyboardInterrupt, asyncio.CancelledError):
        sys.exit("Containers: stopped before the end")
