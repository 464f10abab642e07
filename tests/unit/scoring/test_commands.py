"""Signed commands: what is signed is read back, and nothing else is believed."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from hypothesis import given
from hypothesis import strategies as st
from joserfc import jws
from joserfc.errors import JoseError
from joserfc.jwk import OctKey, OKPKey
from pydantic import ValidationError

from schemas.reviews import ReviewBody, ReviewCommand
from services.chassis.refusal import RefusedError
from services.scoring.commands import (
    COMMAND_TYPE,
    PROOF_TYPE,
    RECORD_LIMIT,
    UnprovenError,
    check_proof,
    post,
    prove,
    public_key,
    sign,
    signature_holds,
    unpack,
    verifier,
)

PRIVATE = Ed25519PrivateKey.generate()
KEY = OKPKey.import_key(PRIVATE)
COMMAND = ReviewCommand(
    aud="scoring.submissions.v1",
    command_id="01234567-89ab-4def-8123-456789abcdef",
    cycle="2011-2013",
    sub="reviewer",
    iat=1_300_000_000,
    exp=1_300_000_600,
    body=ReviewBody(application="a", points={"crm": 3, "chat": None}, recommendation=True, comment="¡Ñ!"),
)


def checker(key: OKPKey) -> Ed25519PublicKey:
    return verifier(str(key.as_dict(private=False)["x"]))


def b64(value: object) -> str:
    raw = value if isinstance(value, bytes) else json.dumps(value).encode()
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def signed(header: dict[str, Any], payload: bytes = b"{}") -> bytes:
    """A JWS with any header, rightly signed by KEY."""
    part = f"{b64(header)}.{b64(payload)}"
    return f"{part}.{b64(PRIVATE.sign(part.encode()))}".encode()


def test_a_signed_command_is_read_back_and_confirmed_by_its_key_alone() -> None:
    unpacked = unpack(sign(COMMAND, KEY).encode(), COMMAND_TYPE)
    assert ReviewCommand.model_validate_json(unpacked.payload) == COMMAND
    assert unpacked.kid == KEY.thumbprint()
    assert signature_holds(unpacked, checker(public_key(KEY.as_dict(private=False))))
    assert not signature_holds(unpacked, checker(OKPKey.generate_key("Ed25519")))


@pytest.mark.parametrize("part", [0, 1, 2])
def test_one_changed_character_anywhere_is_noticed(part: int) -> None:
    parts = sign(COMMAND, KEY).split(".")
    parts[part] = ("B" if parts[part][9] != "B" else "C").join((parts[part][:9], parts[part][10:]))
    try:
        unpacked = unpack(".".join(parts).encode(), COMMAND_TYPE)
    except UnprovenError:
        return
    assert not signature_holds(unpacked, checker(KEY))


@pytest.mark.parametrize(
    "change",
    [
        {"alg": "EdDSA"},
        {"alg": "none"},
        {"alg": "HS256"},
        {"alg": None},
        {"alg": ["Ed25519"]},
        {"typ": "at+jwt"},
        {"typ": PROOF_TYPE},
        {"typ": None},
        {"kid": None},
        {"kid": 1},
        {"kid": "\u0000" * 43},
        {"kid": "short"},
        {"b64": False, "crit": ["b64"]},
        {"jwk": {"kty": "OKP"}},
    ],
    ids=str,
)
def test_a_header_that_is_not_exactly_as_it_must_be_is_not_believed(change: dict[str, Any]) -> None:
    header = {"alg": "Ed25519", "typ": COMMAND_TYPE, "kid": KEY.thumbprint(), **change}
    value = signed({name: found for name, found in header.items() if found is not None})
    with pytest.raises(UnprovenError):
        unpack(value, COMMAND_TYPE)


def test_a_public_key_is_no_secret_to_sign_with() -> None:
    public = public_key(KEY.as_dict(private=False))
    raw = base64.urlsafe_b64decode(str(public.as_dict()["x"]) + "=")
    header = {"alg": "HS256", "typ": COMMAND_TYPE, "kid": KEY.thumbprint()}
    forged = jws.serialize_compact(header, COMMAND.model_dump_json(), OctKey.import_key(raw), algorithms=["HS256"])
    with pytest.raises(UnprovenError):
        unpack(forged.encode(), COMMAND_TYPE)


def test_a_record_larger_than_any_command_is_not_even_read() -> None:
    with pytest.raises(UnprovenError, match="oversized"):
        unpack(b"x" * (RECORD_LIMIT + 1), COMMAND_TYPE)


@given(value=st.binary(max_size=200) | st.text(max_size=200).map(str.encode))
def test_whatever_lies_in_the_topic_is_only_unproven(value: bytes) -> None:
    with pytest.raises(UnprovenError):
        unpack(value, COMMAND_TYPE)


@given(
    header=st.recursive(
        st.none() | st.integers() | st.text(),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
        max_leaves=6,
    )
)
def test_whatever_a_header_says_is_only_unproven(header: object) -> None:
    with pytest.raises(UnprovenError):
        unpack(f"{b64(header)}.e30.AA".encode(), COMMAND_TYPE)


@pytest.mark.parametrize(
    ("change", "place"),
    [
        ({"command_id": "1"}, "command_id"),
        ({"command_id": "01234567-89AB-4def-8123-456789abcdef"}, "command_id"),
        ({"aud": "elsewhere"}, "aud"),
        ({"iat": "1300000000"}, "iat"),
        ({"exp": 1.5}, "exp"),
        ({"cycle": "a\u0000b"}, "cycle"),
        ({"extra": 1}, "extra"),
        ({"body": {**COMMAND.body.model_dump(), "points": {"crm": 3.0}}}, "points"),
        ({"body": {**COMMAND.body.model_dump(), "points": {"crm": "3"}}}, "points"),
        ({"body": {**COMMAND.body.model_dump(), "points": {"crm": True}}}, "points"),
        ({"body": {**COMMAND.body.model_dump(), "recommendation": 1}}, "recommendation"),
        ({"body": {**COMMAND.body.model_dump(), "comment": "\u0000"}}, "comment"),
        ({"body": {**COMMAND.body.model_dump(), "application": ""}}, "application"),
    ],
    ids=str,
)
def test_a_command_is_read_strictly(change: dict[str, Any], place: str) -> None:
    with pytest.raises(ValidationError, match=place):
        ReviewCommand.model_validate_json(json.dumps({**COMMAND.model_dump(), **change}))


VALID = sign(COMMAND, KEY)


@st.composite
def damaged(draw: st.DrawFn) -> str:
    """A command in which something was put, taken out, swapped or said otherwise; sometimes nothing."""
    parts = VALID.split(".")
    for _ in range(draw(st.integers(0, 3))):
        part = draw(st.integers(0, 2))
        at = draw(st.integers(-3, 3) | st.integers(0, len(parts[part])))
        put = draw(st.text("AEgwQ-_+/=. \n¡", max_size=4))
        parts[part] = parts[part][:at] + put + parts[part][at:][draw(st.integers(0, 4)) :]
    if draw(st.booleans()):
        parts[0] = b64(draw(st.dictionaries(st.sampled_from(["alg", "typ", "kid", "crit"]), st.text() | st.none())))
    return ".".join(parts)


@given(value=damaged())
def test_what_is_unpacked_and_holds_is_exactly_what_joserfc_takes_for_signed(value: str) -> None:
    try:
        unpacked = unpack(value.encode(), COMMAND_TYPE)
        ours = unpacked.payload if signature_holds(unpacked, checker(KEY)) else None
    except UnprovenError:
        ours = None
    try:
        theirs = jws.deserialize_compact(value.encode(), KEY, algorithms=["Ed25519"]).payload
    except (JoseError, ValueError, TypeError, AttributeError):
        theirs = None
    assert ours == theirs


# Keys


def test_only_the_public_half_of_an_ed25519_key_is_kept() -> None:
    jwk = KEY.as_dict(private=False)
    kept = public_key({**jwk, "kid": "mine", "use": "sig", "alg": "EdDSA"})
    assert kept.as_dict() == {"kty": "OKP", "crv": "Ed25519", "x": jwk["x"]}
    assert kept.thumbprint() == KEY.thumbprint()


@pytest.mark.parametrize(
    ("jwk", "rule"),
    [
        (KEY.as_dict(private=True), "private-key"),
        ({}, "unusable-key"),
        ({"kty": "OKP", "crv": "Ed25519", "x": 7}, "unusable-key"),
        ({"kty": "OKP", "crv": "Ed25519", "x": "AAAA"}, "unusable-key"),
        ({"kty": "OKP", "crv": "Ed25519", "x": str(KEY.as_dict()["x"]) + "="}, "unusable-key"),
        ({**OKPKey.generate_key("X25519").as_dict(private=False)}, "unusable-key"),
        ({**KEY.as_dict(private=False), "kty": "EC"}, "unusable-key"),
    ],
    ids=["private", "empty", "a number", "short", "padded", "another curve", "another type"],
)
def test_any_other_key_is_refused(jwk: dict[str, object], rule: str) -> None:
    with pytest.raises(RefusedError) as refusal:
        public_key(jwk)
    assert refusal.value.rule == rule


@pytest.mark.parametrize(
    "made",
    [
        lambda: prove(OKPKey.generate_key("Ed25519"), "reviewer", 1_000),
        lambda: prove(KEY, "another", 1_000),
        lambda: prove(KEY, "reviewer", 699),
        lambda: prove(KEY, "reviewer", 1_301),
        lambda: prove(KEY, "reviewer", 10**400),
        lambda: sign(COMMAND, KEY),
        lambda: signed({"alg": "Ed25519", "typ": PROOF_TYPE, "kid": KEY.thumbprint()}, b"[]").decode(),
        lambda: "proof",
        lambda: "",
    ],
    ids=["another key", "another reviewer", "old", "early", "far off", "a command", "no claims", "no JWS", "empty"],
)
def test_a_key_is_not_registered_without_a_fresh_proof_of_its_possession(made: Callable[[], str]) -> None:
    check_proof(prove(KEY, "reviewer", 700), public_key(KEY.as_dict(private=False)), "reviewer", now=1_000.0)
    with pytest.raises(RefusedError) as refusal:
        check_proof(made(), public_key(KEY.as_dict(private=False)), "reviewer", now=1_000.0)
    assert refusal.value.rule == "key-proof"


async def test_what_is_no_command_is_not_sent() -> None:
    with pytest.raises(ValueError, match="cec review sign"):
        await post("127.0.0.1:1", "no command")
