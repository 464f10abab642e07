"""Receipts: compact JWS (Ed25519) over what was taken in and under which leaf the cycle's log must have it.

Others say what was erased, by digests. They hold in anyone's hands, for whoever has the public key. The key's id is its
RFC 7638 thumbprint.
"""

from __future__ import annotations

import json
from typing import Annotated, Literal

from joserfc import jws
from joserfc.errors import JoseError
from joserfc.jwk import KeySet, OKPKey
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from schemas.envelope import Instant

KIND = "cec-receipt+jws"
ALGORITHM = "Ed25519"
LIMIT = 2_000_000
"""Characters of a receipt, at most; one has about 500, and 60 more for each digest that was erased."""

_REGISTRY = jws.JWSRegistry(algorithms=[ALGORITHM])


class Stated(BaseModel):
    """What a receipt says: this version of this application came in then, and has this leaf in the cycle's log."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    form: Literal["cec-receipt/1"] = "cec-receipt/1"
    iss: str
    """The public address of the program's installation."""
    cycle: str
    application: str
    version: int
    event: str
    leaf_hash: str
    """RFC 6962, hex."""
    submitted_at: Instant


class Forgotten(BaseModel):
    """What a receipt for an erasure says: digests and counts, never what was erased."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    form: Literal["cec-erasure/1"] = "cec-erasure/1"
    iss: str
    """The public address of the program's installation."""
    erased_at: Instant
    events: dict[str, str]
    """By id, the leaf hashes (RFC 6962, hex) of the events that have all services erase."""
    digests: list[str]
    """Of the sealed blocks that were erased, as their leaves go on to have them."""
    rows: dict[str, int]
    """How many rows were emptied or deleted, by table."""


class ReceiptError(ValueError):
    """A receipt that is none, or is nobody's whose key is at hand."""


def signed(stated: Stated | Forgotten, key: OKPKey) -> str:
    """The receipt."""
    header = {"alg": ALGORITHM, "typ": KIND, "kid": key.thumbprint()}
    return jws.serialize_compact(header, stated.model_dump_json(), key, registry=_REGISTRY)


def opened(text: str, keys: KeySet) -> Stated:
    """What the receipt for a submission says; ReceiptError as in `read`, and for one of something else."""
    stated = read(text, keys)
    if not isinstance(stated, Stated):
        raise ReceiptError("this is the receipt for an erasure, and for no submission")
    return stated


def read(text: str, keys: KeySet) -> Stated | Forgotten:
    """What a receipt says, once its signature holds; ReceiptError otherwise. `text` may be a JSON answer with it."""
    compact = _compact(text)
    try:
        found = jws.deserialize_compact(compact, keys, registry=_REGISTRY)
    except (JoseError, ValueError) as error:
        raise ReceiptError(f"no key at hand has signed this receipt ({type(error).__name__})") from error
    if found.headers().get("typ") != KIND:
        raise ReceiptError(f"this was signed, but is no receipt: its typ is not {KIND}")
    try:
        return _EITHER.validate_json(found.payload)
    except ValidationError as error:
        raise ReceiptError("this was signed, but does not say what a receipt says") from error


_EITHER: TypeAdapter[Stated | Forgotten] = TypeAdapter(Annotated[Stated | Forgotten, Field(discriminator="form")])


def _compact(text: str) -> str:
    """The JWS in a file: as it is, or the member `receipt` of what the program answered."""
    found: object = text.strip()
    if text.lstrip().startswith("{"):
        try:
            found = json.loads(text).get("receipt")
        except ValueError as error:
            raise ReceiptError(f"the file is neither a receipt nor JSON: {error}") from error
    if not isinstance(found, str) or found.count(".") != 2 or len(found) > LIMIT:  # noqa: PLR2004  (JWS: three parts)
        raise ReceiptError("the file holds no receipt: save the member `receipt` of what submitting answered")
    return found


def read_keys(text: str) -> KeySet:
    """The keys in a file as `GET /intake/v1/keys` answers it; ReceiptError for anything else."""
    try:
        return KeySet.import_key_set(json.loads(text))
    except (JoseError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ReceiptError("the key file is no JSON Web Key Set: save what GET /intake/v1/keys answers") from error
