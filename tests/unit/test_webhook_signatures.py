"""Standard Webhooks signatures: published values, both schemes, change of keys, and everything that must not pass."""

from __future__ import annotations

import base64
import json
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from standardwebhooks import Webhook

from services.chassis.webhooks import (
    SignatureError,
    check_key,
    new_key,
    new_secret,
    public_key,
    sign,
    signed_headers,
    verify,
)

# Published test values. v1: standard-webhooks/standard-webhooks, libraries/python/tests/test_webhooks.py;
# v1a: svix/svix-webhooks, server/svix-server/src/worker.rs, test_asymmetric_key_signing.
ID, AT, BODY = "msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330, b'{"test": 2432232314}'
SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
SIGNATURE = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="
PRIVATE = "whsk_6Xb/dCcHpPea21PS1N9VY/NZW723CEc77N4rJCubMbfVKIDij2HKpMKkioLlX0dRqSKJp4AJ6p9lMicMFs6Kvg=="
PUBLIC = "whpk_1SiA4o9hyqTCpIqC5V9HUakiiaeACeqfZTInDBbOir4="
ASYMMETRIC = "v1a,hnO3f9T8Ytu9HwrXslvumlUpqtNVqkhqw/enGzPCXe5BdqzCInXqYXFymVJaA7AZdpXwVLPo3mNl8EM+m7TBAg=="
STRANGE = "v1,Ceo5qEr07ixe2NLpvHk3FH9bwy/WavXrAFQ/9tdO6mc="

PUBLISHED = Path(__file__).resolve().parents[3] / "shared" / "vectors" / "standard-webhooks" / "vectors.json"


def cases() -> list[tuple[str, int, bytes, str, str, str]]:
    """(id, timestamp, body, secret, key for verifying, signature).

    Those above, and the gathered ones where these lie beside the repository.
    """
    found = [(ID, AT, BODY, SECRET, SECRET, SIGNATURE), (ID, AT, BODY, PRIVATE, PUBLIC, ASYMMETRIC)]
    if PUBLISHED.exists():
        file = json.loads(PUBLISHED.read_bytes())
        common, v1, v1a = (file["msg_id"], file["timestamp"], file["body"].encode()), file["v1"], file["v1a"]
        found.append((*common, v1["secret"], v1["secret"], v1["signature"]))
        found.append((*common, v1a["secret"], v1a["public"], v1a["signature"]))
    return list(dict.fromkeys(found))


def headers(**changed: str) -> dict[str, str]:
    """The published v1 delivery, with changes (`webhook_id=...`)."""
    given = {"webhook-id": ID, "webhook-timestamp": str(AT), "webhook-signature": SIGNATURE}
    return given | {name.replace("_", "-"): value for name, value in changed.items()}


@pytest.mark.parametrize("case", cases())
def test_signatures_equal_the_published_ones(case: tuple[str, int, bytes, str, str, str]) -> None:
    message_id, timestamp, body, secret, key, signature = case
    assert sign([secret], message_id, timestamp, body) == signature
    sent = headers(webhook_id=message_id, webhook_timestamp=str(timestamp), webhook_signature=signature)
    assert verify([key], sent, body, now=timestamp) == message_id


def test_the_published_public_key_belongs_to_the_published_private_one() -> None:
    assert public_key(PRIVATE) == PUBLIC


@given(st.binary(min_size=24, max_size=64), st.from_regex(r"[a-zA-Z0-9_-]{1,40}", fullmatch=True), st.text())
def test_the_reference_library_makes_the_same_signature(raw: bytes, message_id: str, body: str) -> None:
    theirs = Webhook(raw).sign(message_id, datetime.fromtimestamp(AT, UTC), body)
    assert sign([f"whsec_{base64.b64encode(raw).decode()}"], message_id, AT, body.encode()) == theirs


def test_the_reference_library_accepts_a_delivery_made_now() -> None:
    secret, now = new_secret(), int(datetime.now(UTC).timestamp())
    assert Webhook(secret).verify(BODY, signed_headers([secret], ID, now, BODY)) == json.loads(BODY)


def test_during_a_change_of_keys_each_receiver_finds_its_own_signature() -> None:
    old, new, private = new_secret(), new_secret(), new_key()
    sent = signed_headers([old, new, private], ID, AT, BODY)
    assert [part.split(",")[0] for part in sent["webhook-signature"].split(" ")] == ["v1", "v1", "v1a"]
    assert [verify([key], sent, BODY, now=AT) for key in (old, new, public_key(private))] == [ID] * 3
    with pytest.raises(SignatureError, match="no signature matches"):
        verify([new_secret(), public_key(new_key())], sent, BODY, now=AT)


def test_one_matching_signature_among_strange_ones_suffices() -> None:
    mixed = f"{STRANGE} v2,{STRANGE[3:]} nonsense v1,*** v1 {SIGNATURE} {STRANGE}"
    assert verify([SECRET], headers(webhook_signature=mixed), BODY, now=AT) == ID


def test_header_names_are_taken_in_any_case() -> None:
    assert verify([SECRET], {name.title(): value for name, value in headers().items()}, BODY, now=AT) == ID


def test_a_body_that_is_no_text_is_signed_and_verified_as_bytes() -> None:
    body = b"\xff\x00\xfe"
    assert verify([SECRET], signed_headers([SECRET], ID, AT, body), body, now=AT) == ID


@pytest.mark.parametrize("late", [-300, 0, 300])
def test_a_timestamp_within_five_minutes_is_accepted(late: int) -> None:
    assert verify([SECRET], headers(), BODY, now=AT + late) == ID


@pytest.mark.parametrize(("late", "says"), [(301, "old"), (-301, "ahead")])
def test_a_timestamp_outside_of_five_minutes_is_refused(late: int, says: str) -> None:
    with pytest.raises(SignatureError, match=says):
        verify([SECRET], headers(), BODY, now=AT + late)


@pytest.mark.parametrize(
    ("changed", "says"),
    [
        ({"webhook_id": ""}, "webhook-id is missing"),
        ({"webhook_timestamp": ""}, "webhook-timestamp is missing"),
        ({"webhook_signature": ""}, "webhook-signature is missing"),
        ({"webhook_id": "msg_other"}, "no signature"),
        ({"webhook_id": f"{ID}.1"}, "full stop"),
        ({"webhook_timestamp": str(AT + 1)}, "no signature"),
        ({"webhook_timestamp": "hello"}, "whole seconds"),
        ({"webhook_timestamp": f"{AT}.5"}, "whole seconds"),
        ({"webhook_timestamp": "-1"}, "whole seconds"),
        ({"webhook_timestamp": "1" * 400}, "whole seconds"),
        ({"webhook_signature": SIGNATURE.replace("OE=", "OA=")}, "no signature"),
        ({"webhook_signature": SIGNATURE.replace("v1,", "v1a,")}, "no signature"),
        ({"webhook_signature": SIGNATURE.replace("v1,", "v2,")}, "no signature"),
        ({"webhook_signature": SIGNATURE.removeprefix("v1,")}, "no signature"),
        ({"webhook_signature": "v1,"}, "no signature"),
        ({"webhook_signature": "v1,é"}, "no signature"),
        ({"webhook_signature": " ".join([STRANGE] * 16 + [SIGNATURE])}, "more than 16"),
    ],
)
def test_a_changed_header_is_refused(changed: dict[str, str], says: str) -> None:
    with pytest.raises(SignatureError, match=says):
        verify([SECRET], headers(**changed), BODY, now=AT)


def test_a_changed_body_is_refused_by_both_schemes() -> None:
    for key, signature in ((SECRET, SIGNATURE), (PUBLIC, ASYMMETRIC)):
        with pytest.raises(SignatureError):
            verify([key], headers(webhook_signature=signature), BODY + b" ", now=AT)


def test_a_signature_cannot_be_shifted_to_another_id_and_timestamp() -> None:
    """`a.1.<body>` is also what id `a.1` and an empty timestamp would sign: ids hold no full stop on either side."""
    with pytest.raises(ValueError, match="full stop"):
        sign([SECRET], "a.1", AT, BODY)


@pytest.mark.parametrize("secret", ["MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaS", "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSwBr"])
def test_an_unpadded_secret_is_the_padded_one(secret: str) -> None:
    padded = secret + "=" * (-len(secret) % 4)
    assert sign([f"whsec_{secret}"], ID, AT, BODY) == sign([f"whsec_{padded}"], ID, AT, BODY)


@pytest.mark.parametrize("key", ["", "whsec_", "whsec_****", "whpk_AAAA", "whsk_AAAA", PRIVATE, "plain"])
def test_a_key_that_verifies_nothing_is_an_error_and_not_a_refusal(key: str) -> None:
    with pytest.raises(ValueError, match=r"whsec_|whpk_"):
        check_key(key)


@pytest.mark.parametrize("secret", ["", "whsec_", "whsec_****", "whsk_AAAA", PUBLIC, PRIVATE.replace("6Xb/", "6Xb+")])
def test_a_malformed_secret_signs_nothing(secret: str) -> None:
    with pytest.raises(ValueError, match=r"begins with|must be base64|does not belong"):
        sign([secret], ID, AT, BODY)


def test_nothing_is_sent_unsigned() -> None:
    with pytest.raises(ValueError, match="unsigned"):
        sign([], ID, AT, BODY)
