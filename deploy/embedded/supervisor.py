"""Keeps the embedded parts up: one that ends is started again on the same ports and data, and that is told.

At once the first time, then after growing pauses. After a few failures in a row it says so and what to do, and from
then on tries only now and again: a disk that is full may be freed after hours. A part that has run for a while has a
clean record again. A part that runs and doesn't answer is not noticed: only its end is.
"""

import asyncio
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from deploy.embedded.part import Part
from deploy.embedded.process import EmbeddedError

LOOK = 0.1


@dataclass(frozen=True)
class Pace:
    """How often to try, in seconds."""

    pauses: tuple[float, ...] = (0.0, 0.5, 1.0, 2.0, 4.0)
    """Before the first, second, ... start in a row."""
    slow: float = 15.0
    """Before every further one."""
    steady: float = 30.0
    """A part that ran for so long did not fail in a row."""


PACE = Pace()


class Supervisor:
    """Watches parts that were started by their owner, from `start` to `stop`."""

    def __init__(self, parts: Iterable[Part], progress: Callable[[str], None], pace: Pace) -> None:
        self._parts = list(parts)
        self._progress = progress
        self._pace = pace
        self._tasks: list[asyncio.Task[None]] = []

    def start(self) -> None:
        """Watch."""
        self._tasks = [asyncio.create_task(self._keep(part), name=f"keep {part.name}") for part in self._parts]

    async def stop(self) -> None:
        """Watch no more, and give up a start under way; what it left running is the part's own `stop` to end."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._tasks = []

    async def _keep(self, part: Part) -> None:
        failures = 0
        while True:
            since = time.monotonic()
            while part.alive:  # noqa: ASYNC110  (a child's end sets no event)
                await asyncio.sleep(LOOK)
            if time.monotonic() - since > self._pace.steady:
                failures = 0
            problem = part.ending()
            while problem:
                failures += 1
                await self._pause(part, failures, problem)
                problem = await _started(part)

    async def _pause(self, part: Part, failures: int, problem: str) -> None:
        """Say what went wrong and when it is tried again, and wait until then."""
        patient = len(self._pace.pauses)
        pause = self._pace.pauses[failures - 1] if failures <= patient else self._pace.slow
        self._progress(f"{problem}: starting it again{f' in {pause:g} s' if pause else ''}")
        if failures == patient + 1:
            self._progress(
                f"{part.name.upper()} FAILED {failures} TIMES IN A ROW: see {part.folder / 'log'} and free disk space "
                f"if it is full; from now on it is tried every {pause:g} s"
            )
        await asyncio.sleep(pause)


async def _started(part: Part) -> str:
    """Start `part`; says what went wrong, "" if nothing did."""
    try:
        await part.start()
    except (EmbeddedError, OSError) as error:
        return str(error) if isinstance(error, EmbeddedError) else f"{part.name} cannot be started ({error})"
    return ""
