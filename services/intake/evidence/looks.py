"""The loop that looks at links: one at a time of a host, through the guarded client, in machine time.

A page is read as far as its title, everything else not at all. A link is leased while it is looked at: where a process
ends in the middle, another one looks again. What was made up for a demonstration is left alone.
"""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import TYPE_CHECKING

from services.chassis.looping import keep_taking_up
from services.chassis.outbound import Limits, OutboundFailed, OutboundRefused, outbound
from services.intake.evidence import links
from services.intake.evidence.domain import Look, judged, next_look, title_of

if TYPE_CHECKING:
    from services.chassis.outbound import Outbound
    from services.chassis.service import Service
    from services.intake.evidence.links import Errand
    from services.intake.settings import IntakeSettings

AT_ONCE = 4
LIMITS = Limits(deadline=20.0, max_body=65_536, redirects=5, cut=True)
LEASE = timedelta(minutes=2)
"""Longer than a look and its settling take."""
RELIED_ON = timedelta(days=365)
"""After a cycle's deadline: until then its evidence is looked at again."""


def client_of(settings: IntakeSettings) -> Outbound:
    """The client that says whose it is."""
    user_agent = f"citizen-engaged-links/1 (+{settings.public_url})"
    return outbound(user_agent, allow_loopback=settings.links_allow_loopback)


async def look(client: Outbound, url: str) -> Look:
    """What a look at a link finds."""
    try:
        client.admit(url)
    except OutboundRefused as refused:
        if url.startswith("http://"):
            return Look("unclear", None, "only links that begin with https:// are looked at")
        return Look("broken", None, str(refused))
    try:
        response = await client.request("GET", url, headers={"Accept": "text/html,*/*;q=0.5"}, limits=LIMITS)
    except (OutboundRefused, OutboundFailed) as failed:
        return Look("broken", None, str(failed))
    return judged(response.status, title_of(response.headers.get("content-type", ""), response.body))


async def check_links(service: Service) -> None:
    """Look at the links that are due, until cancelled."""

    async def look_at_one() -> bool:
        return await check_one(service, client_of(service.settings))

    async def rest(busy: bool) -> None:  # noqa: FBT001  (what `look_at_one` gives)
        if not busy:
            await asyncio.sleep(service.settings.poll_seconds * AT_ONCE)

    async with asyncio.TaskGroup() as places:
        for _ in range(AT_ONCE):
            places.create_task(keep_taking_up("links", look_at_one, rest))


async def check_one(service: Service, client: Outbound) -> bool:
    """Look at the link that is due first; False where none is."""
    machine = service.clock.machine
    async with service.database.transaction() as tx:
        errand = await links.claim_link(tx.db, machine.now(), machine.now() + LEASE)
    if errand is None:
        return False
    if errand.demonstration or service.clock.now() > errand.deadline + RELIED_ON:
        async with service.database.transaction() as tx:
            await links.leave_link(tx.db, errand.link)
    else:
        await _settle(service, errand, await look(client, errand.link.url))
    return True


async def _settle(service: Service, errand: Errand, found: Look) -> None:
    settings, now = service.settings, service.clock.machine.now()
    failures = errand.link.failures + 1
    due = now + next_look(found, failures, timedelta(days=settings.links_every_days))
    pause = now + timedelta(seconds=settings.links_pause_seconds)
    async with service.database.transaction() as tx:
        await links.save_look(tx.db, errand.link, found, now=now, due=due, busy_until=pause)
