"""Canonical JSON (RFC 8785, JCS), by orjson with sorted keys.

The fast path equals JCS byte for byte for ASCII keys, integers within ±(2**53 - 1) and no floats; everything else is
refused before it is hashed. `rfc8785` is the reference in the tests: exact everywhere, and some sixty times slower.
"""

from __future__ import annotations

from typing import Any, Final

import orjson


class NotCanonicalError(ValueError):
    """A value that has no canonical form here: a float, an unsafe integer, a non-ASCII or non-text key."""


def canonical(value: Any) -> bytes:  # noqa: ANN401  (any JSON value)
    """The JCS bytes of a JSON value; NotCanonicalError names what it refuses."""
    groups = _groups(value)
    try:
        raw = orjson.dumps(value, option=_AS_JCS)
    except (orjson.JSONEncodeError, TypeError) as error:
        raise NotCanonicalError(str(error)) from error
    # Only where a byte beyond ASCII was written can one have been of a key.
    if not raw.isascii():
        for group in groups:
            if type(group) is dict and not "".join(group).isascii():
                raise NotCanonicalError(f"keys must be ASCII text: {', '.join(group)[:200]!r}")
    return raw


_AS_JCS: Final = orjson.OPT_SORT_KEYS | orjson.OPT_STRICT_INTEGER
"""Integers outside ±(2**53 - 1) are refused, too."""


def _groups(value: Any) -> list[Any]:  # noqa: ANN401  (any JSON value)
    """Every object and list in `value`; NotCanonicalError for a float, or what orjson would write and JSON has not.

    A loop over a growing list, not a recursion: this is on the path of every event.
    """
    groups: list[Any] = [[value]]
    for group in groups:
        for item in group.values() if type(group) is dict else group:
            kind = type(item)
            if kind is str or kind is int:
                continue
            if kind is dict or kind is list:
                groups.append(item)
            elif kind is not bool and item is not None:
                raise NotCanonicalError(
                    f"{item!r} ({kind.__name__}) is not allowed: use text, integers, ratios or decimals"
                )
    return groups
