"""Ids. Event ids are time-ordered (UUIDv7); what a person or an application is called by is random and says nothing."""

from __future__ import annotations

import secrets
from uuid import uuid4

import uuid_utils


def event_id() -> str:
    """A fresh UUIDv7."""
    return str(uuid_utils.uuid7())


def opaque_id() -> str:
    """A fresh random id (UUIDv4) that carries neither time nor origin."""
    return str(uuid4())


def secret(nbytes: int = 32) -> str:
    """A fresh secret, hex."""
    return secrets.token_hex(nbytes)
