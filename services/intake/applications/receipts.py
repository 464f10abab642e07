"""The key that signs receipts for what was submitted: `keys/receipts.key` in CEC_VAR, made there the first time."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

from joserfc.jwk import KeySet, OKPKey

from services.chassis.issuer import load_key

if TYPE_CHECKING:
    from pathlib import Path

    from services.chassis.settings import Settings


@lru_cache(maxsize=8)
def _key(var: Path) -> OKPKey:
    return load_key(var / "keys" / "receipts.key")


def key_of(settings: Settings) -> OKPKey:
    """The key of this installation."""
    return _key(settings.var)


def public_keys(settings: Settings) -> KeySet:
    """What its receipts are checked with."""
    return KeySet([OKPKey.import_key(key_of(settings).as_dict(private=False))])
