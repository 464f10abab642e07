"""Structured logs: one JSON object per line on stderr, with what is bound to the request or the batch at hand.

Others' lines, by the standard library's logging, are such objects, too.
"""

from __future__ import annotations

import logging
import sys
from typing import TYPE_CHECKING

import structlog

if TYPE_CHECKING:
    from structlog.typing import Processor


def configure(level: str = "warning") -> None:
    """Set up structlog, and the standard library's logging (of the web server and Kafka's client) at warning."""
    numeric = logging.getLevelNamesMapping()[level.upper()]
    seen: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    written: list[Processor] = [structlog.processors.format_exc_info, structlog.processors.JSONRenderer()]
    others = logging.StreamHandler(sys.stderr)
    others.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[*seen, structlog.stdlib.add_logger_name],
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *written],
        )
    )
    logging.basicConfig(level=max(numeric, logging.WARNING), handlers=[others], force=True)
    # Kafka's client calls every retry of its own an error; what it gives up on is raised, and logged by whoever asked.
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL if numeric > logging.DEBUG else logging.INFO)
    structlog.configure(
        processors=[*seen, *written],
        wrapper_class=structlog.make_filtering_bound_logger(numeric),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=False,
    )
