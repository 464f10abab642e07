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
    try:
        _guard(value)
        return orjson.dumps(value, option=orjson.OPT_SORT_KEYS)
    except (orjson.JSONEncodeError, TypeError) as error:
        raise NotCanonicalError(str(error)) from error


def _guard(value: Any) -> None:  # noqa: ANN401  (any JSON value)
    """Refuse what orjson would write otherwise than JCS. A loop, not a recursion: this is on the ledger's hot path."""
    waiting = [[value]]
    while waiting:
        group = waiting.pop()
        for item in group:
            kind = type(item)
            if kind is str or kind is bool or item is None:
                continue
            if kind is int:
                if not -SAFE_INTEGER <= item <= SAFE_INTEGER:
                    raise NotCanonicalError(f"integer {item} is outside ±(2**53 - 1)")
            elif kind is dict:
                # `join` raises TypeError for a key that is not text.
                if not "".join(item).isascii():
                    raise NotCanonicalError(f"keys must be ASCII text: {', '.join(item)[:200]!r}")
                waiting.append(item.values())
            elif kind is list:
                waiting.append(item)
            else:
                raise NotCanonicalError(
                    f"{item!r} ({kind.__name__}) is not allowed: use text, integers, ratios or decimals"
                )
