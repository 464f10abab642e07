"""Read an Open311 server."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated

import typer

from services.cli.shell import AsJson, CommandError, print_json, run, say


def probe(
    url: Annotated[str, typer.Argument(help="An Open311 GeoReport v2 address, or that of its discovery document.")],
    days: Annotated[int, typer.Option(min=1, max=90, help="How many days the window has.")] = 90,
    until: Annotated[datetime | None, typer.Option(formats=["%Y-%m-%d"], help="Its last day; today.")] = None,
    jurisdiction: Annotated[str, typer.Option(help="`jurisdiction_id`, where the server serves several.")] = "",
    as_json: AsJson = False,
) -> None:
    """Read an Open311 server politely and show what its service requests say. Nothing is kept.

    Example: cec probe https://311.city.example/open311/v2 --days 30
    """
    from services.intake.probes.domain import look
    from services.intake.probes.fetch import Manners, ProbeFailed
    from services.intake.probes.prober import read
    from services.intake.probes.report import latest_outside, report
    from services.intake.probes.runs import client_of
    from services.intake.settings import IntakeSettings

    settings = IntakeSettings()
    manners = Manners(pause=settings.probes_pause_seconds)
    last = (until or datetime.now(UTC)).date()
    try:
        reading = run(read(client_of(settings), url, until=last, days=days, jurisdiction=jurisdiction, manners=manners))
    except ProbeFailed as failed:
        here = not settings.probes_allow_loopback and any(name in url for name in ("127.0.0.1", "localhost", "[::1]"))
        hint = "; for a server on this machine set CEC_PROBES_ALLOW_LOOPBACK=true" if here else ""
        raise CommandError(f"{url}: {failed}{hint}") from None
    figures, remarks = look(reading)
    if not as_json:
        for line in report(reading, figures, remarks):
            say(line)
        return
    print_json(
        {
            "endpoint": reading.endpoint,
            "jurisdiction": jurisdiction,
            "from_day": reading.from_day,
            "until_day": reading.until_day,
            "calls": reading.calls,
            "figures": figures.model_dump(mode="json"),
            "remarks": remarks,
            "outside": {"requests": len(reading.outside), "latest": latest_outside(reading)},
        }
    )
