"""What the ledger is made of."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from schemas.topics import EVENT_TOPICS
from services.chassis.metrics import ALARMS, HELD, HELD_OLDEST
from services.chassis.service import Service, Subscription
from services.ledger.api import router
from services.ledger.erasure import find_blocks
from services.ledger.handlers import LedgerInbox, open_program
from services.ledger.replay import rebuilding

if TYPE_CHECKING:
    from services.chassis.service import Runtime


def service(runtime: Runtime) -> Service:
    """The service: one inbox over all event topics, its own included, and the log `program` opened at the start."""
    topics = tuple(topic.name for topic in EVENT_TOPICS.values())
    return Service(
        name="ledger",
        runtime=runtime,
        router=router,
        migrations=Path(__file__).parent / "migrations",
        rebuilding=rebuilding(),
        subscriptions=(Subscription(topics, "ledger", LedgerInbox(runtime.settings, "ledger")),),
        forget=find_blocks,
        prepare=open_program,
        measures={
            HELD: "select count(*) from private.held",
            HELD_OLDEST: "select coalesce(extract(epoch from clock_timestamp() - min(held_at)), 0) from private.held",
            ALARMS: "select count(*) from ledger.alarm",
        },
    )
