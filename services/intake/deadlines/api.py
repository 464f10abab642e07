"""More time for one application, over HTTP."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter
from pydantic import BaseModel, Field

from schemas.envelope import Instant
from services.chassis.problems import not_found
from services.chassis.web import CommandRoute, SignedIn, Writing
from services.intake.access import known_cycle
from services.intake.applications import store as applications
from services.intake.deadlines import domain, store
from services.intake.deadlines.schedule import hold_close, schedule_close
from services.intake.forms import Deadline, Given, Named
from services.intake.locks import OWNED
from services.intake.screening.store import keep_statement
from services.intake.text import Prose

router = APIRouter(route_class=CommandRoute)


class MoreTime(Given):
    """A deadline for one application: on which of the charter's grounds, and why."""

    deadline: Deadline
    ground: Annotated[str, Field(max_length=64)]
    reason: Annotated[Prose, Field(min_length=1, pattern=r"\S")]


class OwnDeadlineView(BaseModel):
    """An application's own deadline, and the server's time by which it is judged."""

    application: str
    cycle: str
    deadline: Instant
    now: Instant


@router.post("/applications/{application}/extend")
async def extend_application(application: Named, body: MoreTime, tx: Writing, who: SignedIn) -> OwnDeadlineView:
    """Give one application more time, on a ground of the charter. The cycle closes when the last such time is over."""
    who.require("program-admin")
    found = await applications.sheet(tx.db, application)
    if found is None:
        raise not_found()
    await hold_close(tx, found.cycle)
    cycle = await known_cycle(tx.db, found.cycle, OWNED)
    own = await known_cycle(tx.db, found.cycle, application=application)
    standing, now = await applications.application(tx.db, application), tx.clock.now()
    event = domain.extend_application(
        cycle, own, application, standing, body.deadline, ground=body.ground, reason=body.reason, now=now
    )
    await tx.act_as(who.issuer, who.subject, cycle.id)
    recorded = tx.record(event, cause=cycle.latest)
    await store.save_extension(tx.db, event)
    await keep_statement(tx.db, recorded, application, "extension", body.reason, now, ground=body.ground)
    await schedule_close(tx, cycle)
    return OwnDeadlineView(application=application, cycle=cycle.id, deadline=event.deadline, now=now)
