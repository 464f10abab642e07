"""Try a subscription out."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from services.cli.shell import AsJson

webhook_app = typer.Typer(help="Try subscriptions out.", no_args_is_help=True)


@webhook_app.command("listen")
def webhook_listen(
    port: Annotated[int, typer.Option(help="0: a free one.")] = 0,
    secret: Annotated[str | None, typer.Option(help="The subscription's secret (whsec_…).")] = None,
    out: Annotated[Path | None, typer.Option(help="Append what arrives, one JSON object per line.")] = None,
    as_json: AsJson = False,
) -> None:
    """Receive notices on loopback, verify their signatures and print them.

    Example: cec webhook listen --port 9000 --secret whsec_…
    """
    from services.webhook_listener import listen

    listen(port=port, secret=secret, out=out, json_lines=as_json)
