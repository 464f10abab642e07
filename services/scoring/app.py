"""What scoring is made of."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from schemas.topics import COMMANDS, EVENT_TOPICS, READERS
from services.chassis.service import Service, Subscription
from services.scoring.api import router
from services.scoring.erasure import forget_reviewer
from services.scoring.handlers import handlers
from services.scoring.replay import own
from services.scoring.submissions import Submissions

if TYPE_CHECKING:
    from services.chassis.service import Runtime


def service(runtime: Runtime) -> Service:
    """The service; it listens to intake's and awards' events and to the reviewers' signed commands."""
    return Service(
        name="scoring",
        runtime=runtime,
        router=router,
        migrations=Path(__file__).parent / "migrations",
        topics=tuple(EVENT_TOPICS[name].name for name in READERS["scoring"]),
        handlers=handlers,
        own=own,
        forget=forget_reviewer,
        subscriptions=(Subscription((COMMANDS.name,), "scoring-commands", Submissions()),),
    )
