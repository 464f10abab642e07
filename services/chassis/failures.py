"""Which failures pass by themselves: a database or a broker that is away. All others are about the record at hand."""

from __future__ import annotations

import logging
import random

import asyncpg
from aiokafka.errors import KafkaError


class NotYetError(Exception):
    """What an event rests on is not here yet: its key waits, and it is tried again."""


class RacedError(Exception):
    """Another consumer moved the same mark meanwhile: the transaction is void and tried again."""


TRANSIENT: tuple[type[Exception], ...] = (
    RacedError,
    OSError,
    KafkaError,
    asyncpg.PostgresConnectionError,
    asyncpg.OperatorInterventionError,
    asyncpg.InsufficientResourcesError,
    asyncpg.TransactionRollbackError,
    asyncpg.PostgresSystemError,
    # This process stood still in the middle of a transaction, and PostgreSQL ended it.
    asyncpg.IdleInTransactionSessionTimeoutError,
    # The server was killed in the middle of a protocol exchange ("cannot switch to state …"): a lost connection.
    asyncpg.InternalClientError,
    asyncpg.InterfaceError,
    # A migration changed what a prepared statement rests on; asyncpg drops those it has.
    asyncpg.InvalidCachedStatementError,
)
"""What passes by itself, as classes; `transient` knows their exceptions."""


def transient(error: BaseException) -> bool:
    """Whether the same work may succeed later with nothing changed."""
    # asyncpg's InterfaceError is also a value that no column can hold: about the record, for ever.
    return isinstance(error, TRANSIENT) and not isinstance(error, ValueError)


def severity(error: BaseException) -> int:
    """The level at which a failure is logged that is tried again: what passes by itself need not wake anybody."""
    return logging.INFO if transient(error) else logging.ERROR


def backoff(attempt: int, *, most: float = 3.0) -> float:
    """Seconds to wait before attempt `attempt` (from 1): doubling from 0.1 s, capped, with full jitter."""
    return random.uniform(0.05, min(most, 0.1 * 2**attempt))  # noqa: S311  (jitter, not a secret)
