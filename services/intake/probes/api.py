"""A government's Open311 server and its probes over HTTP, for its people."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

from fastapi import APIRouter, Response

from services.chassis.outbound import OutboundRefused
from services.chassis.problems import not_found
from services.chassis.refusal import RefusedError
from services.chassis.schedule import unschedule
from services.chassis.web import Asked, CommandRoute, Reading, SignedIn, Writing
from services.intake.access import acting
from services.intake.forms import Named
from services.intake.probes import store
from services.intake.probes.domain import Endpoint
from services.intake.probes.forms import EndpointView, NewEndpoint, ProbeView
from services.intake.probes.runs import AGAIN, begin, client_of

if TYPE_CHECKING:
    from schemas.evidence import Probe
    from services.intake.probes.domain import Run

router = APIRouter(route_class=CommandRoute)

SHOWN = 100
"""Probes."""


@router.put("/governments/{government}/open311")
async def name_endpoint(
    government: Named, body: NewEndpoint, tx: Writing, who: SignedIn, service: Asked
) -> EndpointView:
    """Name the government's Open311 server, to be probed on request and then once a month."""
    tx.actor, _ = await acting(tx.db, who, government, "lead", "editor")
    try:
        client_of(service.settings).admit(body.url)
    except OutboundRefused as refused:
        detail = f"This address cannot be probed: {refused}."
        raise RefusedError("address", detail, field="/url", status=422) from None
    endpoint = Endpoint(government, body.url, body.jurisdiction)
    if await store.endpoint(tx.db, government) != endpoint:
        await store.forget_endpoint(tx.db, government)
        await store.save_endpoint(tx.db, endpoint)
    return _endpoint_view(endpoint)


@router.get("/governments/{government}/open311")
async def show_endpoint(government: Named, db: Reading, who: SignedIn) -> EndpointView:
    """The government's Open311 server."""
    await acting(db, who, government)
    found = await store.endpoint(db, government)
    if found is None:
        raise not_found("This government has named no Open311 endpoint.")
    return _endpoint_view(found)


@router.delete("/governments/{government}/open311", status_code=204)
async def remove_endpoint(government: Named, tx: Writing, who: SignedIn) -> None:
    """Have the government's server no longer be probed; what was found stands."""
    await acting(tx.db, who, government, "lead", "editor")
    await unschedule(tx, AGAIN, government)
    if not await store.forget_endpoint(tx.db, government):
        raise not_found("This government has named no Open311 endpoint.")


@router.post("/governments/{government}/probes", status_code=202)
async def ask_probe(government: Named, response: Response, tx: Writing, who: SignedIn, service: Asked) -> ProbeView:
    """Ask for a probe of the last 90 days; it takes minutes, and `Location` is where to look for what it finds."""
    person, _ = await acting(tx.db, who, government, "lead", "editor")
    settings = service.settings
    rest = timedelta(minutes=settings.probes_rest_minutes)
    run = await begin(tx, government, person, every=settings.probes_every_days, rest=rest)
    response.headers["Location"] = f"/intake/v1/governments/{government}/probes/{run.probe}"
    return _probe_view(run)


@router.get("/governments/{government}/probes")
async def list_probes(government: Named, db: Reading, who: SignedIn) -> list[ProbeView]:
    """The government's last hundred probes, the newest first."""
    await acting(db, who, government)
    found = await store.runs(db, government, SHOWN)
    claims = await store.probes(db, [run.probe for run in found])
    return [_probe_view(run, claims.get(run.probe)) for run in found]


@router.get("/governments/{government}/probes/{probe}")
async def show_probe(government: Named, probe: Named, db: Reading, who: SignedIn) -> ProbeView:
    """One probe of the government."""
    await acting(db, who, government)
    run = await store.run(db, probe)
    if run is None or run.government != government:
        raise not_found("There is no such probe.")
    return _probe_view(run, (await store.probes(db, [probe])).get(probe))


def _endpoint_view(endpoint: Endpoint) -> EndpointView:
    return EndpointView(
        government=endpoint.government,
        url=endpoint.url,
        jurisdiction=endpoint.jurisdiction,
        failures=endpoint.failures,
        paused=endpoint.paused,
    )


def _probe_view(run: Run, found: tuple[str, Probe] | None = None) -> ProbeView:
    return ProbeView(
        probe=run.probe,
        government=run.government,
        state="failed" if run.reason else "done" if run.ended else "running" if run.begun else "waiting",
        asked_at=run.asked_at,
        by_schedule=run.asked_by is None,
        reason=run.reason,
        event=found[0] if found else None,
        claims=found[1] if found else None,
    )
