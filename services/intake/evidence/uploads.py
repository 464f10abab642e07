"""How a file comes in: as pieces that are kept as they come, made one file when the last of them is here.

No more than a piece is in memory. A piece counts once it is in the archive, so that whoever was cut off goes on behind
it. The last one counts only with the file itself: an upload that is complete has become a file that was looked into,
or is refused and gone.
"""

from __future__ import annotations

import asyncio
import io
from bisect import bisect_right
from contextlib import suppress
from hashlib import sha256
from operator import itemgetter
from typing import TYPE_CHECKING, BinaryIO, NoReturn

from starlette.requests import ClientDisconnect

from schemas.applications import File
from services.chassis.problems import Problem
from services.chassis.refusal import RefusedError
from services.intake.archive import CHUNK, Archive, ArchiveAwayError
from services.intake.evidence import store
from services.intake.evidence.content import KINDS, must_be
from services.intake.evidence.domain import Allowance

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Sequence

    from _typeshed import WriteableBuffer

    from services.chassis.database import Tx
    from services.chassis.service import Service
    from services.intake.evidence.domain import Upload
    from services.intake.settings import IntakeSettings

IDLE_SECONDS = 60.0
"""For the next bit to come."""


def allowance_of(settings: IntakeSettings) -> Allowance:
    """What one application may hold here."""
    kinds = frozenset(settings.files_kinds.split(","))
    return Allowance(kinds, settings.files_bytes, settings.files_count, settings.files_total_bytes)


class Receiving:
    """One request's share of an upload. `may` refuses, in the transaction that ends it, what came too late."""

    def __init__(self, service: Service, upload: Upload, may: Callable[[Tx], Awaitable[None]]) -> None:
        self._service = service
        self._upload = upload
        self._may = may
        self._at = upload.received
        self._archive = Archive.of(service.settings, f"uploads/{upload.upload}")

    async def take(self, stream: AsyncIterator[bytes]) -> int:
        """Keep what comes, until there is no more of it; how many bytes are here then.

        Problem or RefusedError for what does not belong here; ClientDisconnect once what came is kept.
        """
        waiting = bytearray()
        try:
            while bit := await _next(stream):
                waiting += bit
                if self._at + len(waiting) > self._upload.length:
                    detail = f"The upload has {self._upload.length:,} bytes, as it said: this is more."
                    raise Problem(413, "upload-too-long", detail)
                while len(waiting) > CHUNK:
                    await self._keep(bytes(waiting[:CHUNK]))
                    del waiting[:CHUNK]
        except (ClientDisconnect, TimeoutError) as gone:
            if waiting and self._at + len(waiting) < self._upload.length:
                await self._keep(bytes(waiting))
            if isinstance(gone, TimeoutError):
                detail = f"Nothing came for {IDLE_SECONDS:.0f} seconds: go on from what HEAD tells."
                raise Problem(408, "upload-idle", detail) from None
            raise
        if self._at + len(waiting) == self._upload.length:
            await self._finish(bytes(waiting))
        elif waiting:
            await self._keep(bytes(waiting))
        return self._at

    async def _keep(self, piece: bytes) -> None:
        name = await self._archive.put(piece)
        async with self._service.database.transaction() as tx:
            counts = await store.add_piece(tx.db, self._upload.upload, self._at, len(piece), name)
        if not counts:
            await self._give_way()
        self._at += len(piece)

    async def _finish(self, piece: bytes) -> None:
        """Make the file of all its pieces, this one being the last, and have the application refer to it."""
        name = await self._archive.put(piece)
        async with self._service.database.reading() as db:
            pieces = [*await store.pieces(db, self._upload.upload), (self._at, name)]
        whole = io.BufferedReader(Pieces(self._archive, pieces, self._upload.length), CHUNK)
        try:
            digest = await asyncio.to_thread(self._looked_into, whole)
        except RefusedError:
            await self._remove()
            raise
        await self._store(pieces, digest)
        self._at = self._upload.length
        # Else by the sweep, when the upload expires.
        with suppress(OSError):
            await self._archive.clear()

    def _looked_into(self, whole: BinaryIO) -> str:
        """The file's SHA-256, once its content is known to be what its name says."""
        must_be(KINDS[self._upload.kind], whole, self._service.settings.files_unpacked_bytes)
        whole.seek(0)
        return _digest(whole)

    async def _store(self, pieces: Sequence[tuple[int, str]], digest: str) -> None:
        upload, machine = self._upload, self._service.clock.machine
        file = File(sha256=digest, name=upload.name, type=KINDS[upload.kind].type, bytes=upload.length)
        files = Archive.of(self._service.settings, "files")
        async with self._service.database.transaction() as tx:
            await store.touch_content(tx.db, digest, file.bytes, machine.now())
        if not await files.has(digest):
            await files.keep(digest, self._bits(pieces))
        async with self._service.database.transaction() as tx:
            await self._may(tx)
            counts = await store.add_file(tx.db, upload, self._at, file, tx.clock.now())
        if not counts:
            await self._give_way()

    async def _give_way(self) -> NoReturn:
        """Leave the upload to whoever carried it on, or ended it: nobody may know of this piece any more."""
        async with self._service.database.transaction() as tx:
            await store.look_again(tx.db, "upload", self._upload.upload, self._service.clock.machine.now())
        detail = "Another request carried this upload on, or ended it: ask with HEAD, and go on from there."
        raise Problem(409, "upload-offset", detail)

    async def _bits(self, pieces: Sequence[tuple[int, str]]) -> AsyncIterator[bytes]:
        for _, name in pieces:
            piece = await self._archive.get(name)
            if piece is None:
                raise ArchiveAwayError(f"piece {name} of an upload is not what was kept")
            yield piece

    async def _remove(self) -> None:
        async with self._service.database.transaction() as tx:
            await store.remove_upload(tx.db, self._upload.upload, self._service.clock.machine.now())


async def _next(stream: AsyncIterator[bytes]) -> bytes:
    """The next bit that is not empty; empty at the end. TimeoutError where none comes."""
    async with asyncio.timeout(IDLE_SECONDS):
        async for bit in stream:
            if bit:
                return bit
    return b""


def _digest(file: BinaryIO) -> str:
    digest = sha256()
    while bit := file.read(CHUNK):
        digest.update(bit)
    return digest.hexdigest()


class Pieces(io.RawIOBase):
    """The pieces of an upload as one file to be read in a thread, one piece in memory at a time."""

    def __init__(self, archive: Archive, pieces: Sequence[tuple[int, str]], size: int) -> None:
        super().__init__()
        self._archive = archive
        self._pieces = pieces
        self._size = size
        self._at = 0
        self._here = (-1, b"")
        """The number of a piece, and the piece."""

    def readable(self) -> bool:
        """It is."""
        return True

    def seekable(self) -> bool:
        """It is."""
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Go there."""
        self._at = max(0, offset + {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._size}[whence])
        return self._at

    def tell(self) -> int:
        """Where it is read next."""
        return self._at

    def readinto(self, buffer: WriteableBuffer) -> int:
        """Fill the buffer with what is there, to the end of a piece at most."""
        if self._at >= self._size:
            return 0
        number = bisect_right(self._pieces, self._at, key=itemgetter(0)) - 1
        start, name = self._pieces[number]
        if self._here[0] != number:
            self._here = (number, self._archive.read(name))
        view = memoryview(buffer)
        found = self._here[1][self._at - start :][: len(view)]
        view[: len(found)] = found
        self._at += len(found)
        return len(found)
