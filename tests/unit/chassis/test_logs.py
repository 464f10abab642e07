"""What a log line is, whoever writes it, and how loudly a failure is told."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator

import asyncpg
import pytest
import structlog
from structlog.contextvars import bound_contextvars

from services.chassis import logs
from services.chassis.failures import severity


@pytest.fixture
def as_a_service_logs(capsys: pytest.CaptureFixture[str]) -> Iterator[pytest.CaptureFixture[str]]:
    root = logging.getLogger()
    before, level, others = structlog.get_config(), root.level, logging.getLogger("aiokafka").level
    handlers = root.handlers[:]
    root.handlers = []
    yield capsys
    structlog.configure(**before)
    root.handlers = handlers
    root.setLevel(level)
    logging.getLogger("aiokafka").setLevel(others)


def test_every_line_is_an_object_that_says_what_it_is_about_also_one_of_a_library(
    as_a_service_logs: pytest.CaptureFixture[str],
) -> None:
    logs.configure("info")
    with bound_contextvars(service="scoring"):
        structlog.get_logger().info("batch waits", attempt=1)
        logging.getLogger("uvicorn.error").warning("Invalid %s", "request")
        try:
            raise ZeroDivisionError
        except ZeroDivisionError:
            logging.getLogger("asyncio").exception("nobody took it")
    ours, web, lost = map(json.loads, as_a_service_logs.readouterr().err.splitlines())
    assert (ours["event"], ours["level"], ours["attempt"], ours["service"]) == ("batch waits", "info", 1, "scoring")
    assert (web["event"], web["level"], web["logger"]) == ("Invalid request", "warning", "uvicorn.error")
    assert "ZeroDivisionError" in lost["exception"]
    assert web["service"] == lost["service"] == "scoring"


@pytest.mark.parametrize(("level", "lines"), [("warning", 0), ("info", 0), ("debug", 1)])
def test_what_kafkas_client_says_of_its_own_retries_is_for_who_looks_for_a_fault(
    as_a_service_logs: pytest.CaptureFixture[str], level: str, lines: int
) -> None:
    logs.configure(level)
    logging.getLogger("aiokafka.conn").error("Unable to connect")
    assert len(as_a_service_logs.readouterr().err.splitlines()) == lines


def test_a_failure_that_passes_by_itself_wakes_nobody_and_a_bug_does() -> None:
    assert severity(ConnectionResetError()) == severity(asyncpg.DeadlockDetectedError()) == logging.INFO
    assert severity(KeyError("state")) == logging.ERROR
