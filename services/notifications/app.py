"""What notifications is made of."""

from __future__ import annotations

from pathlib import Path

from schemas.topics import EVENT_TOPICS
from services.chassis.service import Runtime, Service
from services.notifications.api import router
from services.notifications.delivery import deliver_notices
from services.notifications.erasure import end_subscriptions
from services.notifications.handlers import handlers
from services.notifications.mail.post import send_letters


def service(runtime: Runtime) -> Service:
    """Notifications, listening to intake and awards, delivering to subscribers."""
    return Service(
        name="notifications",
        runtime=runtime,
        router=router,
        migrations=Path(__file__).parent / "migrations",
        topics=(EVENT_TOPICS["intake"].name, EVENT_TOPICS["awards"].name),
        handlers=handlers,
        loops=(deliver_notices, send_letters),
        forget=end_subscriptions,
    )
