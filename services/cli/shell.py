"""What the commands share: what they read, how they ask and what they print."""

from __future__ import annotations

import asyncio
import json
import signal
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from pydantic import Field

from services.chassis.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Coroutine

    import httpx

    from services.running import Running


PROGRAMS = Path(__file__).resolve().parents[2] / "deploy" / "programs"
CHARTER = PROGRAMS / "citizen-engaged-communities.toml"
COHORT = PROGRAMS / "cohort-2011-2013.json"

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Role = Annotated[str, typer.Option(help="The role that the embedded issuer's token carries.")]
ServiceName = Annotated[str, typer.Argument(help="intake, scoring, awards, notifications or ledger.")]


class CommandError(Exception):
    """What went wrong and what to do, in one line."""


class ClientSettings(Settings):
    """What the commands that talk to running services read besides."""

    token: str = Field("", description="Bearer token for `cec` commands; empty: one of the embedded issuer.")


def say(text: str = "") -> None:
    """Print a line."""
    typer.echo(text)


def print_json(value: object) -> None:
    """Print for a program."""
    typer.echo(json.dumps(value, indent=2, ensure_ascii=False, default=str))


def show(answer: dict[str, Any], *, as_json: bool) -> None:
    """Print an answer, a line each of its members."""
    if as_json:
        print_json(answer)
    else:
        for key, value in answer.items():
            say(f"{key}: {worded(value)}")


def worded(value: object) -> str:
    """A value of an answer, as people read it."""
    match value:
        case None:
            return "none"
        case bool():
            return "yes" if value else "no"
        case dict():
            return ", ".join(f"{plain(key)} {worded(inner)}" for key, inner in value.items())
        case list():
            return "; ".join(map(worded, value))
        case _:
            return plain(str(value))


def plain(text: str) -> str:
    """Text that may be anybody's, with whatever a terminal would obey written out."""
    return "".join(one if one.isprintable() else one.encode("unicode_escape").decode() for one in text)


def known_service(name: str) -> str:
    """The name, where a service has it."""
    from schemas.topics import EVENT_TOPICS

    if name not in EVENT_TOPICS:
        raise CommandError(f"no service {name!r}: one of {', '.join(EVENT_TOPICS)}")
    return name


def run(work: Coroutine[Any, Any, Any]) -> Any:  # noqa: ANN401  (what the coroutine returns)
    """Run a coroutine; SIGTERM ends it like Ctrl-C, so that everything it holds is stopped cleanly."""
    import uvloop

    async def guarded() -> Any:  # noqa: ANN401  (likewise)
        task = asyncio.current_task()
        if task is not None:
            asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
        return await work

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        try:
            return runner.run(guarded())
        except asyncio.CancelledError:
            raise typer.Exit(143) from None


def issuer() -> Any:  # noqa: ANN401  (Issuer, imported when it is needed)
    """The embedded issuer of the data folder."""
    from services.chassis.clock import MachineClock
    from services.chassis.issuer import Issuer

    settings = ClientSettings()
    return Issuer.at(
        settings.var / "keys", issuer=settings.token_issuer, audience=settings.token_audience, machine=MachineClock()
    )


def ask(
    method: str, path: str, *, role: str | None = None, body: object = None, params: dict[str, str] | None = None
) -> httpx.Response:
    """Ask the running services; CommandError with the problem's own words when they refuse."""
    import httpx

    settings = ClientSettings()
    headers = {}
    if role is not None:
        headers["Authorization"] = f"Bearer {settings.token or issuer().token(role, role)}"
    with httpx.Client(base_url=settings.public_url, timeout=120, headers=headers, trust_env=False) as client:
        answer = client.request(method, path, json=body, params=params)
    if answer.is_error:
        with suppress(ValueError):
            raise CommandError(f"{answer.status_code} {answer.json().get('detail')}")
        raise CommandError(f"{answer.status_code} from {path}")
    return answer


def running_here() -> Running | None:
    """What `cec up` wrote down of where it runs, if it does."""
    from services.running import Running

    return Running.found(ClientSettings().var)
