"""A subscriber's webhook receiver in a process of its own: `cec webhook listen`, started, read and stopped."""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path
from typing import Any, Self

STARTUP_SECONDS = 20


class Receiver:
    """The listening process; `url` takes notices, `received` is what it has verified so far."""

    def __init__(self, out: Path, secret: str) -> None:
        self._out = out
        self._secret = secret
        self._process: asyncio.subprocess.Process | None = None
        self.url = ""

    async def __aenter__(self) -> Self:
        """Start the process and learn its address."""
        self._out.unlink(missing_ok=True)
        self._process = await asyncio.create_subprocess_exec(
            sys.executable,
            *("-m", "services.cli", "webhook", "listen", "--json"),
            *("--port", "0", "--secret", self._secret, "--out", str(self._out)),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            start_new_session=True,  # Ctrl-C is for the demo, which stops this after the last delivery
        )
        assert self._process.stdout is not None  # noqa: S101  (it was asked for)
        async with asyncio.timeout(STARTUP_SECONDS):
            self.url = str(json.loads(await self._process.stdout.readline())["url"])
        return self

    async def __aexit__(self, *_: object) -> None:
        """Stop the process."""
        if self._process is not None and self._process.returncode is None:
            self._process.terminate()
            await self._process.communicate()

    def received(self) -> list[dict[str, Any]]:
        """Every delivery so far, in order: `id`, `type`, `subject`, `verified`."""
        if not self._out.exists():
            return []
        return [json.loads(line) for line in self._out.read_text(encoding="utf-8").splitlines()]
