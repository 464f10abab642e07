"""What awards is made of."""

from __future__ import annotations

from pathlib import Path

from schemas.topics import EVENT_TOPICS
from services.awards.api import router
from services.awards.handlers import TASKS, handlers
from services.awards.replay import own
from services.chassis.service import Runtime, Service


def service(runtime: Runtime) -> Service:
    """Awards, listening to intake and scoring."""
    return Service(
        name="awards",
        runtime=runtime,
        router=router,
        migrations=Path(__file__).parent / "migrations",
        topics=(EVENT_TOPICS["intake"].name, EVENT_TOPICS["scoring"].name),
        handlers=handlers,
        own=own,
        tasks=TASKS,
    )
