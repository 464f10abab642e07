"""Content by its hash, in a store that is not a folder; and a file that is read from its pieces."""

from __future__ import annotations

import asyncio
import io
from collections.abc import AsyncIterator
from hashlib import sha256

from hypothesis import given
from hypothesis import strategies as st
from obstore.store import MemoryStore

from services.intake.archive import Archive
from services.intake.evidence.uploads import Pieces
from tests.files import office


async def bits_of(content: bytes, size: int) -> AsyncIterator[bytes]:
    for start in range(0, len(content), size):
        yield content[start : start + size]


async def everything(stream: AsyncIterator[bytes] | None) -> bytes:
    assert stream is not None
    return b"".join([bit async for bit in stream])


async def test_what_was_kept_is_there_until_it_is_removed() -> None:
    archive = Archive(MemoryStore(), "files")
    content = bytes(range(256)) * 20_000
    name = sha256(content).hexdigest()
    assert not await archive.has(name)
    assert await archive.stream(name) is None
    assert await archive.get(name) is None
    await archive.keep(name, bits_of(content, 1_000_000))
    assert await archive.has(name)
    assert await everything(await archive.stream(name)) == content
    assert await archive.put(content) == name
    for _ in range(2):
        await archive.remove(name)
        assert not await archive.has(name)


async def test_a_folder_is_cleared_and_no_other() -> None:
    store = MemoryStore()
    here, there = Archive(store, "uploads/a"), Archive(store, "uploads/ab")
    names = [await here.put(bytes([number])) for number in range(70)]
    other = await there.put(b"other")
    await here.clear()
    assert not any([await here.has(name) for name in names])
    assert await there.get(other) == b"other"
    await here.clear()


async def test_what_was_changed_under_its_name_is_not_given_as_what_it_was() -> None:
    archive = Archive(MemoryStore(), "uploads/a")
    name = sha256(b"as it was").hexdigest()
    await archive.keep(name, bits_of(b"as it is", 100))
    assert await archive.get(name) is None


@given(cuts=st.lists(st.integers(1, 900), max_size=6, unique=True), reads=st.data())
def test_however_a_file_was_cut_it_is_read_as_the_whole(cuts: list[int], reads: st.DataObject) -> None:
    content = office("docx", {"part": bytes(range(256)) * 3})
    starts = [0, *sorted(cut for cut in cuts if cut < len(content))]
    archive = Archive(MemoryStore(), "uploads/a")

    async def put() -> list[tuple[int, str]]:
        ends = [*starts[1:], len(content)]
        return [(start, await archive.put(content[start:end])) for start, end in zip(starts, ends, strict=True)]

    whole = io.BufferedReader(Pieces(archive, asyncio.run(put()), len(content)), 64)
    assert whole.read() == content
    for _ in range(5):
        at, size = reads.draw(st.integers(0, len(content) + 10)), reads.draw(st.integers(0, 500))
        whole.seek(at)
        assert whole.read(size) == content[at : at + size]
    assert whole.seek(-22, io.SEEK_END) == len(content) - 22
    assert whole.read(4) == b"PK\x05\x06"
