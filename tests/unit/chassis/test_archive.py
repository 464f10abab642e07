"""An archive's bytes follow from its files, and nothing but what `pack` makes is read."""

from __future__ import annotations

import io
import random
import struct
import zipfile
from hashlib import sha256

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.chassis.archive import MANIFEST, ArchiveError, pack, unpack

FILES = {"b/two.txt": b"two\n", "a.txt": b"", "checkpoints/10": b"\x00\xff"}
PATHS = st.from_regex(r"\A[a-z0-9]{1,4}(/[a-z0-9]{1,4})?\Z")


def zipped(*entries: tuple[str, bytes], compression: int = zipfile.ZIP_STORED) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", compression) as archive:
        for name, content in entries:
            archive.writestr(name, content)
    return out.getvalue()


def member(raw: bytes, name: str) -> bytes:
    with zipfile.ZipFile(io.BytesIO(raw)) as archive:
        return archive.read(name)


@given(st.dictionaries(PATHS, st.binary(max_size=30), max_size=5))
def test_what_is_packed_comes_back(files: dict[str, bytes]) -> None:
    raw = pack(files)
    assert unpack(raw) == files
    assert pack(dict(reversed(files.items()))) == raw


def test_the_bytes_are_the_same_on_every_machine() -> None:
    assert sha256(pack(FILES)).hexdigest() == "8b8aec0cecfcb0ab5b84d9cfda92daa1b92372718e3bc987e35de24188f10bc4"


def test_the_manifest_names_every_other_file() -> None:
    with zipfile.ZipFile(io.BytesIO(pack(FILES))) as archive:
        assert archive.namelist() == ["a.txt", "b/two.txt", "checkpoints/10", MANIFEST]
    assert orjson.loads(member(pack(FILES), MANIFEST)) == {
        "files": {name: sha256(content).hexdigest() for name, content in FILES.items()}
    }


def test_every_changed_byte_is_found() -> None:
    raw = pack(FILES)
    for at in range(len(raw)):
        for mask in (0x01, 0x80, 0xFF):
            changed = bytearray(raw)
            changed[at] ^= mask
            with pytest.raises(ArchiveError):
                unpack(bytes(changed))


def test_changed_bytes_of_a_large_archive_are_found() -> None:
    draw = random.Random(2011)
    raw = pack({f"checkpoints/{n}": draw.randbytes(2_000) for n in range(200)})
    for _ in range(100):
        changed = bytearray(raw)
        changed[draw.randrange(len(raw))] ^= draw.randrange(1, 256)
        with pytest.raises(ArchiveError):
            unpack(bytes(changed))


def test_cut_or_lengthened_archives_are_refused() -> None:
    raw = pack(FILES)
    for other in (b"", raw[:-1], raw[1:], raw + b"\0", b"\0" + raw, raw + raw):
        with pytest.raises(ArchiveError):
            unpack(other)


def test_a_file_that_is_not_the_manifests_is_named() -> None:
    forged = zipped(*{**FILES, "b/two.txt": b"2wo\n", MANIFEST: member(pack(FILES), MANIFEST)}.items())
    with pytest.raises(ArchiveError, match=r"b/two\.txt does not have the SHA-256"):
        unpack(forged)


def test_a_manifest_that_names_what_is_not_there_is_refused() -> None:
    forged = zipped(*FILES.items(), (MANIFEST, member(pack({**FILES, "more": b""}), MANIFEST)))
    with pytest.raises(ArchiveError, match=r"manifest\.json is not the manifest"):
        unpack(forged)


@pytest.mark.parametrize("name", ["../up", "/root", "a/../b", "a//b", "./a", "a\\b", "a b", "é", "", "a/", MANIFEST])
def test_a_path_that_leads_elsewhere_is_neither_packed_nor_read(name: str) -> None:
    with pytest.raises(ValueError, match="cannot be a file"):
        pack({name: b""})
    if name and name != MANIFEST:
        with pytest.raises(ArchiveError, match="plain relative path"):
            unpack(zipped((name, b"")))


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_a_name_given_twice_is_refused() -> None:
    with pytest.raises(ArchiveError, match="twice"):
        unpack(zipped(("a", b"1"), ("a", b"2")))


def test_a_bomb_is_refused_before_it_is_unpacked() -> None:
    with pytest.raises(ArchiveError, match="compressed"):
        unpack(zipped(("a", bytes(10_000_000)), compression=zipfile.ZIP_DEFLATED))


def test_files_that_claim_more_than_the_archive_holds_are_refused_before_they_are_read() -> None:
    raw = zipped(("a", bytes(1_000)))
    start, size = raw.index(b"PK\x01\x02"), struct.pack("<L", 10**9)
    lying = raw[: start + 20] + size + size + raw[start + 28 :]
    with pytest.raises(ArchiveError, match="larger than the archive"):
        unpack(lying)


def test_too_much_is_refused() -> None:
    raw = pack(FILES)
    with pytest.raises(ArchiveError, match=r"bytes, [\d,]+ are allowed"):
        unpack(raw, most_bytes=len(raw) - 1)
    with pytest.raises(ArchiveError, match="files, 3 are allowed"):
        unpack(raw, most_files=3)


def test_a_zip_of_another_maker_is_refused_even_with_the_right_files() -> None:
    entries = [*FILES.items(), (MANIFEST, member(pack(FILES), MANIFEST))]
    with pytest.raises(ArchiveError, match="is not what its files make"):
        unpack(zipped(*sorted(entries)))
