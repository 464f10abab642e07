"""Run a command where a Docker engine answers, with images to test on: `python -m tests.containers COMMAND...`.

The engine and the images' names are in the command's environment, which tells the tests to use them. What can't be had
is an error of one line and fails.
"""

import asyncio
import os
import sys
from pathlib import Path

from docker.errors import DockerException

from deploy.embedded import EmbeddedError
from tests.containers.engine import EngineError, engine
from tests.containers.images import choose, setting

ROOT = Path(__file__).resolve().parents[2]


def tell(line: str) -> None:
    """Say what happens, in order with what the command says."""
    print(line, flush=True)  # noqa: T201  (a program's own output)


async def main(command: list[str]) -> int:
    """The command's exit code."""
    folder = ROOT / "var" / "engine"
    folder.mkdir(parents=True, exist_ok=True)
    async with engine(folder, tell) as (client, own):
        images = await asyncio.to_thread(choose, client, folder, ROOT / "var" / "parts", tell, pull=not own)
        env = os.environ | {
            "CEC_TEST_PARTS": "containers",
            "TESTCONTAINERS_RYUK_DISABLED": "true",
            "TESTCONTAINERS_CONNECTION_MODE": "docker_host",
            **{setting(part): name for part, name in images.items()},
        }
        running = await asyncio.create_subprocess_exec(*command, env=env)
        return await running.wait()


if __name__ == "__main__":
    try:
        sys.exit(asyncio.run(main(sys.argv[1:])))
    except (EngineError, EmbeddedError, DockerException) as error:
        sys.exit(f"Containers: {error}")
