"""Play the demonstration, run the services, bring their parts up to date, rebuild a projection."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING, Annotated, Any

import typer

from services.cli.shell import (
    CHARTER,
    COHORT,
    AsJson,
    ClientSettings,
    CommandError,
    issuer,
    known_service,
    print_json,
    run,
    running_here,
    say,
)

if TYPE_CHECKING:
    from services.chassis.service import Service

topics_app = typer.Typer(help="The Kafka topics.", no_args_is_help=True)


def demo(
    program: Annotated[Path, typer.Option(help="Charter file.")] = CHARTER,
    cohort: Annotated[Path, typer.Option(help="Cohort file (`cec-cohort/1`).")] = COHORT,
    once: Annotated[bool, typer.Option("--once", help="Stop when the cycle is over.")] = False,
    out: Annotated[Path, typer.Option(help="Where results go.")] = Path("var/demo"),
    as_json: AsJson = False,
) -> None:
    """Play a whole cycle on real parts and verify it.

    Example: cec demo --once --out var/demo
    """
    from deploy.demo.play import play

    stay = not once and not os.environ.get("ONCE") and sys.stdout.isatty()
    held = run(play(program, cohort, out, stay=stay, as_json=as_json))
    raise typer.Exit(0 if held else 1)


def up() -> None:
    """Run all services in one process, with embedded parts unless others are named. Data are kept in var/.

    Example: CEC_PUBLIC_URL=http://127.0.0.1:8311 cec up
    """
    run(_serve(None))


def run_service(
    service: Annotated[str, typer.Argument(help="intake, scoring, awards, notifications or ledger.")],
) -> None:
    """Run one service in a process of its own.

    Example: CEC_KAFKA_BOOTSTRAP_SERVERS=… CEC_POSTGRES_DSN=… cec run intake
    """
    known_service(service)
    settings = ClientSettings()
    if not settings.kafka_bootstrap_servers or not settings.postgres_dsn:
        raise CommandError(
            "cec run needs CEC_KAFKA_BOOTSTRAP_SERVERS and CEC_POSTGRES_DSN; `cec up` brings its own parts"
        )
    run(_serve([service]))


async def _serve(names: Sequence[str] | None) -> None:
    from deploy.embedded import Stack
    from services.chassis import logs
    from services.chassis.garbage import settle
    from services.origin import SERVICES, Origin

    settings = ClientSettings()
    logs.configure(settings.log_level)
    stack = Stack(
        settings.var,
        progress=say,
        kafka_bootstrap=settings.kafka_bootstrap_servers or None,
        postgres_dsn=settings.postgres_dsn or None,
    )
    async with (
        stack,
        Origin(
            {} if settings.postgres_dsn else {"webhooks_allow_loopback": True},
            kafka_bootstrap=stack.kafka_bootstrap,
            postgres_dsn=stack.postgres_dsn,
            names=tuple(names or SERVICES),
        ) as origin,
    ):
        settle()
        say(f"ready at {origin.url} (Kafka {stack.kafka_bootstrap}); Ctrl-C stops")
        with suppress(asyncio.CancelledError):
            await asyncio.Event().wait()
        say("stopping")


def migrate(service: Annotated[str | None, typer.Argument(help="One service; all without it.")] = None) -> None:
    """Bring the services' database schemas up to date.

    Example: CEC_POSTGRES_DSN=… cec migrate scoring
    """
    run(_migrate(service))


async def _migrate(only: str | None) -> None:
    from services.origin import SERVICES

    if only is not None:
        known_service(only)
    for name, blueprint in SERVICES.items():
        if only in {None, name}:
            dsn = blueprint.settings().postgres_dsn
            if not dsn:
                raise CommandError("set CEC_POSTGRES_DSN; `cec up` migrates its embedded database by itself")
            applied = await _dormant(name, dsn).migrate()
            say(f"{name}: {', '.join(applied) or 'up to date'}")


def _dormant(name: str, dsn: str) -> Service:
    """A service that is not started, for what needs its database only."""
    from services.chassis.auth import KeySource, Tokens
    from services.chassis.clock import MachineClock, ProgramClock
    from services.chassis.service import Runtime
    from services.origin import SERVICES

    machine = MachineClock()
    tokens = Tokens(KeySource(""), issuer="", audience="", machine=machine)
    return SERVICES[name].make(Runtime(SERVICES[name].settings(), "", dsn, ProgramClock(machine), tokens))


def replay(
    service: Annotated[str, typer.Argument(help="intake, scoring, awards, notifications or ledger.")],
    keep: Annotated[bool, typer.Option("--keep", help="Keep the scratch database, to look into.")] = False,
    as_json: AsJson = False,
) -> None:
    """Rebuild a service's projection from the ledger beside the live one, and show the difference.

    It works while the services run. Exit code 0 only where there is no difference.

    Example: cec replay scoring
    """
    known_service(service)
    report = run(_replay(service, keep=keep))
    if as_json:
        print_json(report.as_json())
    else:
        say(report.as_text())
    raise typer.Exit(0 if report.equal else 1)


async def _replay(name: str, *, keep: bool) -> Any:  # noqa: ANN401  (imported below: see `run`)
    from services.chassis.feed import LedgerFeed
    from services.chassis.replay import replay as rebuild

    settings, here, said = ClientSettings(), running_here(), monotonic()
    dsn = settings.postgres_dsn or (here and here.postgres_dsn)
    if not dsn:
        raise CommandError(f"set CEC_POSTGRES_DSN: no `cec up` wrote down where it runs in {settings.var}")
    origin = settings.public_url if settings.postgres_dsn or here is None else here.url

    def progress(applied: int, expected: int) -> None:
        nonlocal said
        if monotonic() - said >= 1:
            said = monotonic()
            typer.echo(f"{name}: {applied:,} of {expected:,} events", err=True)

    feed = LedgerFeed(origin, lambda: settings.token or str(issuer().token("auditor", "cec-replay")))
    return await rebuild(_dormant(name, dsn), feed, keep=keep, progress=progress)


@topics_app.command("apply")
def topics_apply() -> None:
    """Create the topics that are missing.

    Example: CEC_KAFKA_BOOTSTRAP_SERVERS=localhost:9092 cec topics apply
    """
    from schemas.topics import TOPICS
    from services.chassis import topics

    bootstrap = ClientSettings().kafka_bootstrap_servers
    if not bootstrap:
        raise CommandError("set CEC_KAFKA_BOOTSTRAP_SERVERS; `cec up` applies the topics by itself")
    created = run(topics.apply(bootstrap, TOPICS))
    say("created " + ", ".join(created) if created else "all there")
