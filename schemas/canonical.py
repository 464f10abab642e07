"""Canonical JSON (RFC 8785, JCS), by orjson with sorted keys.

The fast path equals JCS byte for byte for ASCII keys, integers within ±(2**53 - 1) and no floats; everything else is
refused before it is hashed. `rfc8785` is the reference in the tests: exact everywhere, and some sixty times slower.
"""

from __future__ import annotations

from typing import Any

import orjson

from schemas.exact import SAFE_INTEGER


class NotCanonicalError(ValueError):
    """A value that has no canonical form here: a float, an unsafe integer, a non-ASCII or non-text key."""


def canonical(value: Any) -> bytes:  # noqa: ANN401  (any JSON value)
    """The JCS bytes of a JSON value; NotCanonicalError names what it refuses."""
    _guard(value)
    try:
        return orjson.dumps(value, option=orjson.OPT_SORT_KEYS)
    except orjson.JSONEncodeError as error:
        raise NotCanonicalError(str(error)) from error


def _guard(value: Any) -> None:  # noqa: ANN401
    kind = type(value)
    if kind is str or kind is bool or value is None:
        return
    if kind is dict:
        for key, item in value.items():
            if type(key) is not str or not key.isascii():
                message = f"key {key!r} is not ASCII text"
                raise NotCanonicalError(message)
            _guard(item)
    elif kind is list:
        for item in value:
            _guard(item)
    elif kind is not int:
        message = f"{value!r} ({kind.__name__}) is not allowed: use text, integers, ratios or decimals"
        raise NotCanonicalError(message)
    elif not -SAFE_INTEGER <= value <= SAFE_INTEGER:
        message = f"integer {value} is outside ±(2**53 - 1)"
        raise NotCanonicalError(message)
