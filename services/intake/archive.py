"""Content by its SHA-256, in a folder or a bucket (`CEC_FILES_URL`), each use under a folder of its own.

`open311` holds raw answers of probes, which hold what residents wrote and are served to nobody: they are for whoever
has to check a figure. `files` holds what applicants uploaded, `uploads/…` the pieces of what is still coming.
"""

from __future__ import annotations

from contextlib import contextmanager
from functools import cache
from hashlib import sha256
from typing import TYPE_CHECKING, Any

import obstore
from obstore.exceptions import BaseError
from obstore.store import LocalStore, from_url

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from pathlib import Path

    from obstore.store import ObjectStore

    from services.intake.settings import IntakeSettings

CHUNK = 1 << 20
"""Bytes that are read at once."""


class ArchiveAwayError(OSError):
    """The folder or the bucket does not answer: to be tried again."""


class Archive:
    """Content by its hash. The same content twice is one object."""

    def __init__(self, store: ObjectStore, folder: str) -> None:
        self._store = store
        self._folder = folder

    @classmethod
    def of(cls, settings: IntakeSettings, folder: str) -> Archive:
        """Where the settings say: a folder of `var`, or a bucket."""
        return cls(_store(settings.files_url, settings.var), folder)

    async def put(self, content: bytes) -> str:
        """Keep it; its SHA-256 (hex)."""
        name = sha256(content).hexdigest()
        with _answering():
            await obstore.put_async(self._store, self._path(name), content)
        return name

    async def get(self, name: str) -> bytes | None:
        """The content with this hash; None where it is not here any more, or not what it was."""
        try:
            with _answering():
                found = await obstore.get_async(self._store, self._path(name))
                content = bytes(await found.bytes_async())
        except FileNotFoundError:
            return None
        return content if sha256(content).hexdigest() == name else None

    def read(self, name: str) -> bytes:
        """The content with this hash, in a thread. FileNotFoundError where it is not here."""
        with _answering():
            return bytes(obstore.get(self._store, self._path(name)).bytes())

    async def has(self, name: str) -> bool:
        """Whether there is something of this name."""
        try:
            with _answering():
                await obstore.head_async(self._store, self._path(name))
        except FileNotFoundError:
            return False
        return True

    async def keep(self, name: str, bits: AsyncIterator[bytes]) -> None:
        """Keep a content whose SHA-256 is known to be `name`: all of it or nothing."""
        with _answering():
            await obstore.put_async(self._store, self._path(name), bits)

    async def stream(self, name: str) -> AsyncIterator[bytes] | None:
        """The content of this name bit by bit; None where it is not here."""
        try:
            with _answering():
                found = await obstore.get_async(self._store, self._path(name))
        except FileNotFoundError:
            return None
        return _bits(found.stream(CHUNK))

    async def remove(self, name: str) -> None:
        """Have nothing of this name."""
        await self._delete([self._path(name)])

    async def clear(self) -> None:
        """Have nothing in the folder."""
        with _answering():
            found = await obstore.list(self._store, self._folder).collect_async()
        await self._delete([one["path"] for one in found])

    async def _delete(self, paths: list[str]) -> None:
        for path in paths:
            try:
                with _answering():
                    await obstore.delete_async(self._store, path)
            except FileNotFoundError:
                continue

    def _path(self, name: str) -> str:
        return f"{self._folder}/{name[:2]}/{name}"


@cache
def _store(url: str, var: Path) -> ObjectStore:
    return from_url(url) if url else LocalStore(var / "files", mkdir=True, automatic_cleanup=True)


@contextmanager
def _answering() -> Iterator[None]:
    try:
        yield
    except BaseError as error:
        raise ArchiveAwayError(str(error)) from error


async def _bits(stream: Any) -> AsyncIterator[bytes]:  # noqa: ANN401  (obstore names its type in its stubs alone)
    with _answering():
        async for bit in stream:
            yield bytes(bit)
