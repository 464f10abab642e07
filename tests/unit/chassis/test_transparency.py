"""The tree, notes and checkpoints agree with published numbers and with their own definitions."""

from __future__ import annotations

import base64
import json
from hashlib import sha256
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from services.chassis.transparency import (
    Checkpoint,
    Frontier,
    NoteError,
    SignerKey,
    VerifierKey,
    leaf_hash,
    node_hash,
    open_note,
    root,
    sign_note,
)

VECTORS = Path(__file__).resolve().parents[4] / "shared" / "vectors"

# Leaves and roots: google/certificate-transparency, python/ct/crypto/merkle_test.py.
LEAVES = [bytes.fromhex(leaf) for leaf in ("", "00", "10", "2021", "3031", "40414243")]
LEAVES_HASHED = [leaf_hash(leaf) for leaf in LEAVES]
ROOTS = [
    "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
]
# The example of C2SP's signed-note specification (C2SP/C2SP, signed-note.md).
EXAMPLE_KEY = "example.com/foo+530d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k"
EXAMPLE = (
    "This is an example message.\n\n"
    "— example.com/foo Uw2QOkn8srV1yJGh2VYRlL1Tnagv1YEq6TfXppzi2ONncAlTgK7Ztg1ERYNZXsYjOBH3mFXmRKuwHjG1Yu72IneyaQM=\n"
).encode()
# The key of golang/mod's sumdb/note example, and its note.
GO_SEED = "AYEKFALVFGyNhPJEMzD1QIDr+Y7hfZx09iUvxdXHKDFz"
GO_KEY = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW"
GO_TEXT = "If you think cryptography is the answer to your problem,\nthen you don't know what your problem is.\n"
GO_SIGNATURE = "x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM="


def signer(name: str = "ledger.example/cycles/2011-2013", seed: bytes = bytes(32)) -> SignerKey:
    return SignerKey(name, Ed25519PrivateKey.from_private_bytes(seed))


def defined(leaves: list[bytes]) -> bytes:
    """RFC 6962, section 2.1, word for word."""
    if len(leaves) <= 1:
        return leaves[0] if leaves else sha256().digest()
    k = 1
    while 2 * k < len(leaves):
        k *= 2
    return node_hash(defined(leaves[:k]), defined(leaves[k:]))


@pytest.mark.parametrize("size", range(len(ROOTS)))
def test_roots_are_the_published_ones(size: int) -> None:
    assert root(map(leaf_hash, LEAVES[:size])).hex() == ROOTS[size]


@given(st.lists(st.binary(max_size=8), max_size=70))
def test_the_root_is_that_of_the_recursive_definition(leaves: list[bytes]) -> None:
    hashes = [leaf_hash(leaf) for leaf in leaves]
    assert root(hashes) == defined(hashes)


@given(st.lists(st.binary(max_size=8), max_size=70), st.lists(st.binary(max_size=8), max_size=70))
def test_a_frontier_goes_on_from_its_bytes(before: list[bytes], after: list[bytes]) -> None:
    state = bytes(Frontier().extend(map(leaf_hash, before)))
    resumed = Frontier.from_bytes(state).extend(map(leaf_hash, after))
    assert resumed.size == len(before) + len(after)
    assert resumed.root == root(map(leaf_hash, before + after))


@pytest.mark.parametrize("state", [b"", bytes(7), bytes(9), (3).to_bytes(8, "big") + bytes(32)])
def test_bytes_that_are_no_trees_state_are_refused(state: bytes) -> None:
    with pytest.raises(ValueError, match="no tree's state"):
        Frontier.from_bytes(state)


def test_the_specifications_example_opens() -> None:
    assert open_note(EXAMPLE, [VerifierKey.parse(EXAMPLE_KEY)]) == "This is an example message.\n"


def test_signing_gives_the_note_that_go_gives() -> None:
    key = signer("PeterNeumann", base64.b64decode(GO_SEED)[1:])
    assert str(key.verifier) == GO_KEY
    assert sign_note(GO_TEXT, key) == f"{GO_TEXT}\n— PeterNeumann {GO_SIGNATURE}\n".encode()


@pytest.mark.parametrize(
    "text",
    [
        "PeterNeumann+cc469956+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TWBADKEY==",
        "PeterNeumann+173116ae+ZRpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW",
        GO_KEY.replace("c74f", "c74e"),
        GO_KEY.replace("c74f20a3", "C74F20A3"),
        GO_KEY.replace("PeterNeumann", "Peter Neumann"),
        GO_KEY.replace("PeterNeumann", ""),
        "PeterNeumann",
        "",
    ],
)
def test_a_key_that_is_not_one_is_refused(text: str) -> None:
    with pytest.raises(NoteError):
        VerifierKey.parse(text)


def test_signatures_of_strangers_are_passed_over_and_do_not_count() -> None:
    mine, other = signer(), signer("witness.example", b"\x01" * 32)
    note = sign_note("text\n", mine)
    both = note + sign_note("text\n", other).split(b"\n\n")[1]
    assert open_note(both, [mine.verifier]) == "text\n"
    assert open_note(both, [other.verifier]) == "text\n"
    with pytest.raises(NoteError, match="none of the given keys"):
        open_note(note, [other.verifier])


def test_a_key_of_the_same_name_with_other_bytes_is_a_stranger() -> None:
    with pytest.raises(NoteError, match="none of the given keys"):
        open_note(sign_note("text\n", signer()), [signer(seed=b"\x01" * 32).verifier])


def test_every_changed_byte_of_a_note_is_found() -> None:
    key = signer()
    note = sign_note(Checkpoint(key.name, 3, bytes(32)).text, key)
    for at in range(len(note)):
        changed = bytearray(note)
        changed[at] ^= 1
        with pytest.raises(NoteError):
            open_note(bytes(changed), [key.verifier])


@pytest.mark.parametrize("text", ["", "no newline", "a\x00b\n", "a\rb\n"])
def test_text_that_is_no_notes_is_not_signed(text: str) -> None:
    with pytest.raises(NoteError):
        sign_note(text, signer())


@pytest.mark.parametrize(
    "note", ["", "text\n", "text\n\n", "text\n\n— name\n", "text\n\n— name AAAA\n", "text\n\n- a b\n"]
)
def test_what_is_no_note_is_refused(note: str) -> None:
    with pytest.raises(NoteError):
        open_note(note.encode(), [signer().verifier])


def test_a_note_in_another_encoding_is_refused() -> None:
    with pytest.raises(NoteError, match="UTF-8"):
        open_note(sign_note("text\n", signer()).replace(b"text", b"t\xe9xt"), [signer().verifier])


def test_a_checkpoint_is_three_lines() -> None:
    checkpoint = Checkpoint("ledger.example/cycles/2011-2013", 6, bytes.fromhex(ROOTS[6]))
    assert checkpoint.text == "ledger.example/cycles/2011-2013\n6\nduZ9rbzfHhDht03cYIq9L5jfsW+851J3tSMqEn8gh+8=\n"
    assert Checkpoint.parse(checkpoint.text) == checkpoint


@pytest.mark.parametrize(
    "text",
    [
        "",
        "origin\n1\n",
        f"\n1\n{base64.b64encode(bytes(32)).decode()}\n",
        f"origin\n01\n{base64.b64encode(bytes(32)).decode()}\n",
        f"origin\n-1\n{base64.b64encode(bytes(32)).decode()}\n",
        f"origin\n1\n{base64.b64encode(bytes(31)).decode()}\n",
        f"origin\n1\n{base64.b64encode(bytes(32)).decode()}",
        f"origin\n1\n{base64.b64encode(bytes(32)).decode()}\nextension\n",
        f"origin\n1\n{base64.b64encode(bytes(32)).decode().replace('A=', 'B=')}\n",
    ],
)
def test_other_text_is_no_checkpoint(text: str) -> None:
    with pytest.raises(NoteError):
        Checkpoint.parse(text)


def test_a_published_logs_checkpoints_are_reproduced_byte_for_byte() -> None:
    """transparency-dev/tessera, testdata/log: the key, the words that are its leaves, and the last root.

    The checkpoints before it, too, where the files lie beside the repository.
    """
    words = "one,two,three,four,five,six,seven,eit,nain,ten,ileven,twelf,threeten,fourten,fivten"
    seed = base64.b64decode("AeymY/SZAX0jZcJ8enZ5FY1Dz+wTML2yWSkK+9DSF3eg")[1:]
    key, frontier = signer("example.com/log/testdata", seed), Frontier()
    assert str(key.verifier) == "example.com/log/testdata+33d7b496+AeHTu4Q3hEIMHNqc6fASMsq3rKNx280NI+oO5xCFkkSx"
    for word in words.split(","):
        frontier.append(leaf_hash(word.encode()))
        note = sign_note(Checkpoint(key.name, frontier.size, frontier.root).text, key)
        gathered = VECTORS / "tessera-log" / "log" / f"checkpoint.{frontier.size}"
        assert not gathered.exists() or note == gathered.read_bytes()
    assert base64.b64encode(frontier.root) == b"rKbDipCvhuX1GZ7g5BBe8sA6BbJ7ja/1nk427v383cs="


@pytest.mark.parametrize("size", range(9))
def test_the_gathered_roots_agree_where_they_are_at_hand(size: int) -> None:
    file = VECTORS / "rfc6962" / "eight_leaf.json"
    if file.exists():
        published = json.loads(file.read_text())
        expected = published["rootsHexBySize"].get(str(size), published["emptyRootHex"])
        assert root(leaf_hash(bytes.fromhex(leaf)) for leaf in published["leafInputsHex"][:size]).hex() == expected
    assert root(LEAVES_HASHED[:size]) == defined(LEAVES_HASHED[:size])
