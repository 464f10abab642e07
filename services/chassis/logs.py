"""Structured logs: one JSON object per line on stderr, with what is bound to the request or the batch at hand."""

from __future__ import annotations

import logging
import sys

import structlog


def configure(level: str = "warning") -> None:
    """Set up structlog, and the standard library's logging (of the web server and Kafka's client) at warning."""
    numeric = logging.getLevelNamesMapping()[level.upper()]
    logging.basicConfig(level=max(numeric, logging.WARNING), stream=sys.stderr, format="%(message)s", force=True)
    # Kafka's client calls every retry of its own an error; what it gives up on is raised, and logged by whoever asked.
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL if numeric > logging.INFO else numeric)
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            structlog.processors.JSONRenderer(),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(numeric),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=False,
    )
