"""What intake is made of."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from schemas.topics import EVENT_TOPICS, READERS
from services.chassis.service import Service
from services.intake.api import router
from services.intake.erasure.forget import forget_person, sign_receipt
from services.intake.evidence.looks import check_links
from services.intake.evidence.sweeping import sweep_evidence
from services.intake.handlers import TASKS, handlers
from services.intake.probes.runs import run_probes
from services.intake.replay import own

if TYPE_CHECKING:
    from services.chassis.service import Runtime


def service(runtime: Runtime) -> Service:
    """The service; it listens to scoring, awards and notifications and closes cycles by its schedule."""
    return Service(
        name="intake",
        runtime=runtime,
        router=router,
        migrations=Path(__file__).parent / "migrations",
        topics=tuple(EVENT_TOPICS[name].name for name in READERS["intake"]),
        handlers=handlers,
        own=own,
        tasks=TASKS,
        forget=forget_person,
        attest=sign_receipt,
        loops=(run_probes, check_links, sweep_evidence),
    )
