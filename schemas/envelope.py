"""The form of every event: a CloudEvents 1.0 envelope whose data is public, with sealed blocks beside it.

A field marked `Sealed[...]` leaves its event as a *block*: the leaf that the ledger hashes holds only
`base64url(SHA-256(disclosure))`, where `disclosure = base64url(JCS([salt, block, value]))` (as SD-JWT, RFC 9901).
`SealedEach[...]` makes one block per key, named `<field>/<key>`. The record on Kafka is the leaf plus
`data.disclosures`; a reader without a disclosure sees None (or, for `SealedEach`, lacks that key).
"""

from __future__ import annotations

import binascii
from collections.abc import Callable, Container, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache, lru_cache
from hashlib import sha256
from typing import Annotated, Any, ClassVar, TypeVar

import orjson
from pydantic import BaseModel, ConfigDict, Field, InstanceOf, PlainSerializer, ValidationError

from schemas.canonical import canonical
from schemas.exact import SAFE_INTEGER
from schemas.versions import upcast

LEAF_LIMIT = 60_000
"""Bytes; C2SP tlog-tiles entry bundles carry a 16-bit length."""
RECORD_LIMIT = 900_000
"""Bytes; below Kafka's default `max.message.bytes` of 1 MiB with its overhead."""
SALT_BYTES = 16

_URL = bytes.maketrans(b"+/", b"-_")

T = TypeVar("T")


class Block:
    """Marks a field as one sealed block."""


class BlockPerKey(Block):
    """Marks a mapping as one sealed block per key."""


Sealed = Annotated[T | None, Block()]
SealedEach = Annotated[dict[str, T] | None, BlockPerKey()]


def rfc3339(moment: datetime) -> str:
    """UTC with milliseconds and `Z`, the one way an instant is written in an event."""
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


Instant = Annotated[datetime, PlainSerializer(rfc3339, when_used="json")]


class UnreadableError(ValueError):
    """A record that is no event of ours: broken JSON, a missing attribute, a digest that does not match."""


class UnknownTypeError(UnreadableError):
    """An event whose type no model here describes."""


class Event(BaseModel):
    """One fact in the past tense. Subclasses name their wire type and the field with the aggregate's id."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    TYPE: ClassVar[str] = ""
    ABOUT: ClassVar[str] = ""

    @classmethod
    def __pydantic_init_subclass__(cls, **kwargs: str) -> None:
        """Register the class under its wire type."""
        if cls.TYPE:
            EVENTS[cls.TYPE] = cls

    @classmethod
    @cache
    def is_exact(cls) -> bool:
        """Whether its fields have room for text, integers, booleans and null alone: what they hold has no float."""
        return _is_exact(cls.model_json_schema(mode="serialization"))

    @property
    def subject(self) -> str:
        """The aggregate's id: the record's key, and what `sequence` counts along."""
        return str(getattr(self, self.ABOUT))

    @classmethod
    def source(cls) -> str:
        """CloudEvents `source` of the producing service."""
        return "/" + cls.TYPE.split(".", 1)[0]

    @classmethod
    @cache
    def block_fields(cls) -> dict[str, Block]:
        """The sealed fields by name."""
        return {
            name: mark for name, field in cls.model_fields.items() for mark in field.metadata if isinstance(mark, Block)
        }

    def public(self) -> dict[str, Any]:
        """The public data as JSON values, without the ids that the envelope carries."""
        return self._apart()[0]

    def blocks(self) -> dict[str, Any]:
        """Every sealed block's value; ValueError if the writer left one out ("empty" is a value, None is not)."""
        return self.complete()[1]

    def opened_blocks(self) -> dict[str, Any]:
        """The values of those blocks that are here."""
        return self._apart()[1]

    def complete(self) -> tuple[dict[str, Any], dict[str, Any]]:
        """`public` and `blocks` at once."""
        for name in self.block_fields():
            if getattr(self, name) is None:
                message = f"{self.TYPE}: sealed block {name!r} is missing"
                raise ValueError(message)
        return self._apart()

    def _apart(self) -> tuple[dict[str, Any], dict[str, Any]]:
        # What was never validated, and is not what its field says, is refused here, and not by whoever reads it.
        data = self.model_dump(mode="json", warnings="error")
        data.pop(self.ABOUT, None)
        data.pop("cycle", None)
        found: dict[str, Any] = {}
        for name, mark in self.block_fields().items():
            value = data.pop(name)
            if value is not None and isinstance(mark, BlockPerKey):
                found.update({f"{name}/{key}": item for key, item in value.items()})
            elif value is not None:
                found[name] = value
        return data, found


def _is_exact(schema: Any) -> bool:  # noqa: ANN401  (JSON)
    """Whether a JSON Schema allows no number but integers, and says of everything what it is."""
    if not isinstance(schema, dict):
        return False
    inner = [
        *schema.get("$defs", {}).values(),
        *schema.get("properties", {}).values(),
        *schema.get("anyOf", []),
        *(schema[name] for name in ("items", "additionalProperties") if name in schema),
    ]
    kind = schema.get("type")
    needs = {"array": "items", "object": "properties" if "properties" in schema else "additionalProperties"}
    known = kind in {"string", "integer", "boolean", "null"} or needs.get(str(kind)) in schema
    return (known or "$ref" in schema or "anyOf" in schema) and all(map(_is_exact, inner))


EVENTS: dict[str, type[Event]] = {}
"""Every event class by its wire type, filled as `schemas.*` are imported (see `schemas.topics`)."""


class Header(BaseModel):
    """The envelope's attributes, as a handler sees them."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    id: Annotated[str, Field(pattern=r"^[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$")]
    type: Annotated[str, Field(pattern=r"^[a-z]+(\.[a-z][a-z-]*)+\.v[1-9][0-9]*$", max_length=100)]
    source: Annotated[str, Field(pattern=r"^/[a-z]+$")]
    # What no text column (U+0000) or bigint of a reader could hold must not get past the envelope.
    subject: Annotated[str, Field(pattern=r"^[^\x00-\x1f]+$", max_length=200)]
    time: Instant
    sequence: Annotated[int, Field(ge=1, le=SAFE_INTEGER)]
    cycleid: str | None = None
    causationid: str | None = None
    actor: str | None = None


class Envelope(Header):
    """A whole event as read from the wire."""

    specversion: Annotated[str, Field(pattern=r"^1\.0$")]
    dataschema: str
    salt: str
    # As it was read, not copied: what is in it, JSON made.
    data: InstanceOf[dict[str, Any]]

    @property
    def key(self) -> tuple[str, str]:
        """What `sequence` counts along: (source, subject)."""
        return self.source, self.subject


@dataclass(frozen=True, slots=True)
class Written:
    """A sealed event: its header, the bytes that the ledger hashes, and the bytes that Kafka carries."""

    header: Header
    leaf: bytes
    record: bytes

    @property
    def leaf_hash(self) -> bytes:
        """RFC 6962 leaf hash: SHA-256(0x00 ‖ leaf)."""
        return sha256(b"\x00" + self.leaf).digest()


def b64url(raw: bytes) -> str:
    """Base64url without padding."""
    return binascii.b2a_base64(raw, newline=False).translate(_URL).rstrip(b"=").decode("ascii")


def unb64url(text: str) -> bytes:
    """The inverse of `b64url`; ValueError for anything that `b64url` does not write."""
    over = len(text) % 4
    # What the last character says beyond the last byte must be zero: no bytes have two spellings.
    if over and text[-1] not in _LAST[over]:
        message = "not canonical base64url"
        raise ValueError(message)
    return binascii.a2b_base64(text.encode("ascii").translate(_FROM_URL) + _PADDING[over], strict_mode=True)


_TO_URL = bytes.maketrans(b"+/", b"-_")
_FROM_URL = bytes.maketrans(b"-_+/=", b"+/!!!")
_PADDING = (b"", b"", b"==", b"=")
_LAST = ("", "", "AQgw", "AEIMQUYcgkosw048")
"""Which characters can end a text whose length is this many above a multiple of four."""


def disclosure(salt: bytes, block: str, value: Any) -> str:  # noqa: ANN401  (any JSON value)
    """The opening of a block: base64url(JCS([salt, block, value]))."""
    return b64url(canonical([b64url(salt), block, value]))


def digest(opening: str) -> str:
    """What the leaf holds in an opening's place: base64url(SHA-256(ASCII opening))."""
    return b64url(sha256(opening.encode("ascii")).digest())


def opened(opening: str, block: str, expected: str) -> Any:  # noqa: ANN401  (any JSON value)
    """The value behind `opening`, once its digest and its block's name are checked; UnreadableError otherwise."""
    try:
        hashed = binascii.b2a_base64(sha256(opening.encode("ascii")).digest(), newline=False)
        if hashed.translate(_TO_URL, b"=") != expected.encode():
            message = f"block {block!r}: the opening does not match its digest"
            raise UnreadableError(message)
        _salt, name, value = orjson.loads(unb64url(opening))
    except UnreadableError:
        raise
    except (ValueError, TypeError, AttributeError) as error:  # broken base64 or JSON, not a list, not text
        message = f"block {block!r}: not a disclosure"
        raise UnreadableError(message) from error
    if name != block:
        message = f"block {block!r}: the opening is of block {name!r}"
        raise UnreadableError(message)
    return value


def write(event: Event, header: Header, entropy: Callable[[int], bytes]) -> Written:
    """Seal `event` under `header`. `entropy(n)` gives n fresh random bytes (never derived, never reused).

    Raises ValueError when a block is missing, or when leaf (60,000) or record (900,000 bytes) is too large.
    """
    public, blocks = event.complete()
    form = _known_canonical if event.is_exact() else canonical
    openings = {name: b64url(form([b64url(entropy(SALT_BYTES)), name, value])) for name, value in blocks.items()}
    data = {**public, "sealed": {name: digest(opening) for name, opening in openings.items()}}
    head = {
        **_attributes(header),
        "specversion": "1.0",
        "datacontenttype": "application/json",
        "dataschema": f"/schemas/{header.type}.json",
        "salt": b64url(entropy(SALT_BYTES)),
    }
    leaf = _with_data(head, form(data))
    # What is added are ASCII texts under names that were canonical a line ago: nothing to look through once more.
    record = _with_data(head, orjson.dumps({**data, "disclosures": openings}, option=orjson.OPT_SORT_KEYS))
    for what, size, limit in (("leaf", len(leaf), LEAF_LIMIT), ("record", len(record), RECORD_LIMIT)):
        if size > limit:
            message = f"{header.type}: the {what} has {size:,} bytes, {limit:,} are allowed"
            raise ValueError(message)
    return Written(header, leaf, record)


def _known_canonical(value: Any) -> bytes:  # noqa: ANN401  (any JSON value)
    """`canonical` of what is known to be exact, without a look at each item for a float."""
    try:
        raw = orjson.dumps(value, option=orjson.OPT_SORT_KEYS | orjson.OPT_STRICT_INTEGER)
    except TypeError:
        return canonical(value)
    # Where a byte beyond ASCII was written, it may be a key's.
    return raw if raw.isascii() else canonical(value)


def _attributes(header: Header) -> dict[str, Any]:
    """The header as JSON values, without what is absent."""
    values = {name: value for name, value in header.__dict__.items() if value is not None}
    values["time"] = _stamp(header.time)
    return values


_stamp = lru_cache(maxsize=64)(rfc3339)
"""All events of a transaction have one time."""


def _with_data(head: Mapping[str, Any], data: bytes) -> bytes:
    """The canonical bytes of an event whose `data` is canonical already; `head` holds text and a safe integer."""
    return orjson.dumps({**head, "data": orjson.Fragment(data)}, option=orjson.OPT_SORT_KEYS)


def parse(record: bytes) -> Envelope:
    """Read a record's envelope; UnreadableError says what is wrong in one line."""
    return _envelope(_json(record))


def _json(record: bytes) -> dict[str, Any]:
    try:
        body = orjson.loads(record)
    except orjson.JSONDecodeError as error:
        message = f"record: not JSON: {error}"
        raise UnreadableError(message) from error
    if not isinstance(body, dict):
        message = "record: not an object"
        raise UnreadableError(message)
    return body


_VALIDATED: Callable[[dict[str, Any]], Envelope] = Envelope.__pydantic_validator__.validate_python
"""`Envelope.model_validate` without the questions that it asks about its other arguments."""


def _envelope(body: dict[str, Any]) -> Envelope:
    try:
        return _VALIDATED(body)
    except ValidationError as error:
        raise UnreadableError(complaint(error)) from error


def complaint(error: ValidationError, sealed: Container[str] = ()) -> str:
    """A validation error in one line: each place and rule, without the values (they may be private).

    Of what is wrong inside a `sealed` field only its name is told: there, keys and rules may speak, too.
    """
    return "; ".join(
        f"{e['loc'][0]}: does not fit"
        if e["loc"] and e["loc"][0] in sealed
        else f"{'.'.join(map(str, e['loc'])) or 'record'}: {e['msg']}"
        for e in error.errors()[:5]
    )


def leaf_of(record: bytes) -> tuple[bytes, dict[str, str]]:
    """Split a record into the leaf's bytes and its disclosures by block: `taken_apart` without the envelope."""
    _, leaf, openings = taken_apart(record)
    return leaf, openings


def taken_apart(record: bytes) -> tuple[Envelope, bytes, dict[str, str]]:
    """A record's envelope (without disclosures), its leaf's bytes, and its disclosures by block, read at one go.

    Raises UnreadableError for what is no event or holds an opening that does not fit, and NotCanonicalError for what
    has no canonical form.
    """
    body = _json(record)
    envelope = _envelope(body)
    openings = envelope.data.pop("disclosures", {})
    sealed = envelope.data.get("sealed")
    if not isinstance(openings, dict) or not isinstance(sealed, dict):
        message = "data.sealed and data.disclosures must be objects"
        raise UnreadableError(message)
    for block, opening in openings.items():
        opened(opening, block, sealed.get(block, ""))
    return envelope, canonical(body), openings


def record_of(leaf: bytes, openings: Mapping[str, str]) -> bytes:
    """The inverse of `leaf_of`: the record again, with those of its disclosures that survive."""
    body = orjson.loads(leaf)
    body["data"]["disclosures"] = dict(openings)
    return canonical(body)


def read(envelope: Envelope, wanted: str | None = None) -> Event:
    """The typed event in an envelope, every opening checked against its digest, as the version `wanted` or the newest.

    Raises UnknownTypeError for a type without a model, and UnreadableError for data that does not fit its model or
    that no upcaster makes the version that is wanted.
    """
    model = EVENTS.get(envelope.type)
    if model is None:
        message = f"unknown event type {envelope.type}"
        raise UnknownTypeError(message)
    public = {name: value for name, value in envelope.data.items() if name not in {"sealed", "disclosures"}}
    sealed = envelope.data.get("sealed", {})
    openings = envelope.data.get("disclosures", {})
    if not isinstance(sealed, dict) or not isinstance(openings, dict):
        message = "data.sealed and data.disclosures must be objects"
        raise UnreadableError(message)
    values = {block: opened(opening, block, sealed.get(block, "")) for block, opening in openings.items()}
    for name, mark in model.block_fields().items():
        if isinstance(mark, BlockPerKey):
            prefix = f"{name}/"
            public[name] = {block.removeprefix(prefix): v for block, v in values.items() if block.startswith(prefix)}
        elif name in values:
            public[name] = values[name]
    public[model.ABOUT] = envelope.subject
    if "cycle" in model.model_fields:
        public["cycle"] = envelope.cycleid
    try:
        event = upcast(model.model_validate(public), wanted)
    except ValidationError as error:
        message = f"{envelope.type}: {complaint(error, model.block_fields())}"
        raise UnreadableError(message) from error
    if wanted not in {None, event.TYPE}:
        message = f"{envelope.type} cannot be read as {wanted}: an upcaster is missing"
        raise UnreadableError(message)
    return event
