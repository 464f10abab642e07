"""A transparency log's arithmetic: the RFC 6962 tree, C2SP signed notes and C2SP tlog-checkpoints. Pure, no I/O.

Hashes are raw SHA-256 digests (32 bytes). A `Frontier` is a tree that keeps only what appending needs: the roots of
its full subtrees. A note is UTF-8 text with signature lines below it; a checkpoint is a note's text that states a
log's origin, size and root. Base64 is read strictly: two spellings of one signature would be two files of one hash.
"""

from __future__ import annotations

import base64
import re
from dataclasses import dataclass, field
from hashlib import sha256
from typing import TYPE_CHECKING, Final, Self

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

if TYPE_CHECKING:
    from collections.abc import Iterable

HASH_BYTES: Final = 32
SIGNATURES_LIMIT: Final = 100
"""Signature lines of a note, at most: what Go's `note.Open` accepts."""

_ED25519 = b"\x01"
_KEY_ID_BYTES = 4
_NAME = re.compile(r"[^\s+]+")
_SIGNATURE = re.compile(r"— ([^\s+]+) (\S+)")
_CONTROL = re.compile(r"[\x00-\x09\x0b-\x1f]")
_SIZE = re.compile(r"0|[1-9][0-9]{0,18}")


class NoteError(ValueError):
    """A key, note or checkpoint that is malformed, or a note that no given key signed; says which in one line."""


def leaf_hash(leaf: bytes) -> bytes:
    """SHA-256(0x00 ‖ leaf)."""
    return sha256(b"\x00" + leaf).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """SHA-256(0x01 ‖ left ‖ right)."""
    return sha256(b"\x01" + left + right).digest()


@dataclass
class Frontier:
    """A growing tree: its `size`, and the roots of its full subtrees from left (largest) to right."""

    size: int = 0
    subtrees: list[bytes] = field(default_factory=list)

    def append(self, leaf: bytes) -> None:
        """Add one leaf by its hash."""
        level, node = self.size, leaf
        while level & 1:
            node = node_hash(self.subtrees.pop(), node)
            level >>= 1
        self.subtrees.append(node)
        self.size += 1

    def extend(self, leaves: Iterable[bytes]) -> Self:
        """Add leaves by their hashes, in order; returns this tree."""
        for leaf in leaves:
            self.append(leaf)
        return self

    @property
    def root(self) -> bytes:
        """The Merkle tree hash; SHA-256 of nothing for the empty tree."""
        if not self.subtrees:
            return sha256().digest()
        *left, node = self.subtrees
        for subtree in reversed(left):
            node = node_hash(subtree, node)
        return node

    def __bytes__(self) -> bytes:
        """The state: size as 8 bytes, big-endian, then the subtrees' roots."""
        return self.size.to_bytes(8, "big") + b"".join(self.subtrees)

    @classmethod
    def from_bytes(cls, state: bytes) -> Self:
        """The tree whose `bytes()` are `state`; ValueError for a state that no tree has."""
        size, nodes = int.from_bytes(state[:8], "big"), state[8:]
        if len(state) < 8 or len(nodes) != HASH_BYTES * size.bit_count():  # noqa: PLR2004  (eight bytes of size come first)
            raise ValueError(f"{len(state)} bytes are no tree's state")
        return cls(size, [nodes[at : at + HASH_BYTES] for at in range(0, len(nodes), HASH_BYTES)])


def root(leaf_hashes: Iterable[bytes]) -> bytes:
    """The Merkle tree hash over leaves in order, given by their hashes."""
    return Frontier().extend(leaf_hashes).root


@dataclass(frozen=True)
class VerifierKey:
    """An Ed25519 public key under a name; `str()` is its C2SP form `name+keyid+base64(0x01 ‖ public)`."""

    name: str
    public: bytes
    """32 bytes."""

    def __post_init__(self) -> None:
        """Refuse what cannot stand in a note."""
        if not _NAME.fullmatch(self.name) or _CONTROL.search(self.name):
            raise NoteError(f"{self.name!r} cannot name a key: no space, no '+', not empty")
        if len(self.public) != HASH_BYTES:
            raise NoteError(f"key {self.name}: an Ed25519 public key has 32 bytes, not {len(self.public)}")

    @property
    def key_id(self) -> bytes:
        """SHA-256(name ‖ 0x0A ‖ 0x01 ‖ public)[:4]."""
        return sha256(self.name.encode() + b"\n" + _ED25519 + self.public).digest()[:_KEY_ID_BYTES]

    def __str__(self) -> str:
        """`name+keyid+base64(0x01 ‖ public)`."""
        return f"{self.name}+{self.key_id.hex()}+{_b64(_ED25519 + self.public)}"

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read `str()` of a key; NoteError for another algorithm or a key id that is not this key's."""
        name, _, rest = text.partition("+")
        key_id, _, encoded = rest.partition("+")
        raw = _unb64(encoded, f"key {name!r}")
        if raw[:1] != _ED25519:
            raise NoteError(f"key {name!r}: only Ed25519 (algorithm 1) is known")
        key = cls(name, raw[1:])
        if key_id != key.key_id.hex():
            raise NoteError(f"key {name!r}: its id is {key.key_id.hex()}, not {key_id!r}")
        return key

    def signed(self, text: str, signature: bytes) -> bool:
        """Whether `signature` (64 bytes) is this key's over `text`."""
        try:
            Ed25519PublicKey.from_public_bytes(self.public).verify(signature, text.encode())
        except (InvalidSignature, ValueError):
            return False
        return True


@dataclass(frozen=True)
class SignerKey:
    """An Ed25519 private key under a name."""

    name: str
    private: Ed25519PrivateKey = field(repr=False)

    @property
    def verifier(self) -> VerifierKey:
        """The public side."""
        return VerifierKey(self.name, self.private.public_key().public_bytes_raw())


def sign_note(text: str, key: SignerKey) -> bytes:
    """The note: `text`, an empty line, and `— name base64(keyid ‖ signature)`. NoteError for text that is no note's."""
    if not text.endswith("\n") or _CONTROL.search(text):
        raise NoteError("a note's text ends with a newline and holds no other control character")
    verifier = key.verifier
    line = _b64(verifier.key_id + key.private.sign(text.encode()))
    return f"{text}\n— {verifier.name} {line}\n".encode()


def open_note(note: bytes, keys: Iterable[VerifierKey]) -> str:
    """The note's text, once at least one of `keys` is found to have signed it; other keys' signatures are passed over.

    NoteError where the note is malformed, where a given key's signature is wrong, or where none of them is there.
    """
    text, signatures = _split(note)
    known = {(key.name, key.key_id): key for key in keys}
    verified = False
    for name, key_id, signature in signatures:
        key = known.get((name, key_id))
        if key is None:
            continue
        if not key.signed(text, signature):
            raise NoteError(f"the signature of {name} is not over this text")
        verified = True
    if not verified:
        wanted = ", ".join(f"{name} ({key_id.hex()})" for name, key_id in known) or "nobody"
        raise NoteError(f"signed by none of the given keys: {wanted}")
    return text


def _split(note: bytes) -> tuple[str, list[tuple[str, bytes, bytes]]]:
    """A note's text and its signatures as (name, key id, signature)."""
    try:
        whole = note.decode()
    except UnicodeDecodeError as error:
        raise NoteError("a note is UTF-8 text") from error
    text, gap, block = whole.rpartition("\n\n")
    if not gap or not block.endswith("\n") or _CONTROL.search(whole):
        raise NoteError("no note: text, an empty line, and signature lines are needed")
    lines = block[:-1].split("\n")
    if len(lines) > SIGNATURES_LIMIT:
        raise NoteError(f"{len(lines)} signatures, {SIGNATURES_LIMIT} are allowed")
    signatures = []
    for line in lines:
        match = _SIGNATURE.fullmatch(line)
        raw = _unb64(match[2], f"signature of {match[1]}") if match else b""
        if match is None or len(raw) <= _KEY_ID_BYTES:
            raise NoteError(f"{line[:100]!r} is no signature line")
        signatures.append((match[1], raw[:_KEY_ID_BYTES], raw[_KEY_ID_BYTES:]))
    return text + "\n", signatures


@dataclass(frozen=True)
class Checkpoint:
    """What a log states of itself: under `origin`, at `size` entries, the tree's `root`."""

    origin: str
    size: int
    root: bytes

    @property
    def text(self) -> str:
        """`origin`, `size` and base64(`root`), a line each."""
        return f"{self.origin}\n{self.size}\n{_b64(self.root)}\n"

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read `text`; NoteError for anything else, extension lines included."""
        lines = text.split("\n")
        if len(lines) != 4 or not lines[0] or not _SIZE.fullmatch(lines[1]) or lines[3]:  # noqa: PLR2004  (three lines, each ended)
            raise NoteError("a checkpoint is three lines: origin, size and root")
        found = cls(lines[0], int(lines[1]), _unb64(lines[2], "root"))
        if len(found.root) != HASH_BYTES:
            raise NoteError(f"a root has 32 bytes, not {len(found.root)}")
        return found


def _b64(raw: bytes) -> str:
    return base64.b64encode(raw).decode()


def _unb64(text: str, what: str) -> bytes:
    try:
        raw = base64.b64decode(text, validate=True)
    except ValueError as error:
        raise NoteError(f"{what}: not base64") from error
    if _b64(raw) != text:
        raise NoteError(f"{what}: not the one base64 spelling of its bytes")
    return raw
