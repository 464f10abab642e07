"""What passes by itself, and what no repetition mends."""

from __future__ import annotations

import asyncpg
import pytest
from aiokafka.errors import KafkaConnectionError
from asyncpg.exceptions import DataError
from asyncpg.exceptions._base import DataError as UnfitValueError

from services.chassis.failures import RacedError, backoff, transient


@pytest.mark.parametrize(
    "error",
    [
        ConnectionRefusedError(),
        TimeoutError(),
        KafkaConnectionError(),
        RacedError(),
        asyncpg.ConnectionDoesNotExistError(),
        asyncpg.CannotConnectNowError(),
        asyncpg.AdminShutdownError(),
        asyncpg.TooManyConnectionsError(),
        asyncpg.DiskFullError(),
        asyncpg.DeadlockDetectedError(),
        asyncpg.InternalClientError("cannot switch to state 15; another operation (2) is in progress"),
        asyncpg.InterfaceError("connection is closed"),
        asyncpg.InvalidCachedStatementError(),
        asyncpg.IdleInTransactionSessionTimeoutError(),
    ],
)
def test_a_part_that_is_away_passes(error: Exception) -> None:
    assert transient(error)


@pytest.mark.parametrize(
    "error",
    [
        ZeroDivisionError(),
        ValueError(),
        UnfitValueError("invalid input for query argument $1: value out of int64 range"),
        DataError(),
        asyncpg.UniqueViolationError(),
        asyncpg.UndefinedTableError(),
    ],
)
def test_what_is_about_the_record_does_not_pass(error: Exception) -> None:
    assert not transient(error)


@pytest.mark.parametrize("attempt", [1, 5, 100])
def test_the_wait_before_an_attempt_is_short_and_never_nothing(attempt: int) -> None:
    assert all(0.05 <= backoff(attempt) <= 3.0 for _ in range(100))
