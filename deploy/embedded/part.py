"""What the owner of a part sees of it, whichever it is: who it is, whether it lives, how it ended."""

from abc import ABC, abstractmethod
from pathlib import Path

from deploy.embedded.process import Process


class Part(ABC):
    """A process in a folder; `start` and `stop` may follow each other again and again."""

    def __init__(self, process: Process) -> None:
        self._process = process

    @property
    def pid(self) -> int | None:
        """The part's process: Java, the postmaster."""
        return self._process.pid

    @property
    def name(self) -> str:
        """What people call it."""
        return self._process.name

    @property
    def folder(self) -> Path:
        """Where its data and its log are."""
        return self._process.folder

    @property
    def alive(self) -> bool:
        """Whether it runs."""
        return self._process.alive

    def ending(self) -> str:
        """How it ended, once it isn't alive any more."""
        return self._process.ending()

    @abstractmethod
    async def start(self) -> None:
        """Make its data folder the first time, start it, and wait until it answers."""

    async def stop(self) -> None:
        """End it cleanly and give its folder up."""
        await self._process.stop()
        self._process.release()
