"""The `cec` command. Every command has an example in its help, `--json` where it prints data, and one-line errors."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from contextlib import suppress
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from time import monotonic, sleep
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer
from pydantic import Field, ValidationError

from services.chassis.settings import Settings, unknown_variables

if TYPE_CHECKING:
    from collections.abc import Coroutine, Sequence

    import httpx

    from services.chassis.service import Service
    from services.running import Running

app = typer.Typer(
    help="Citizen-Engaged Communities: run a civic designation program with an auditable event log.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    add_completion=False,
)
cycle_app = typer.Typer(help="Run a cycle from the shell.", no_args_is_help=True)
letters_app = typer.Typer(help="Look at what a service could not take, and try it again.", no_args_is_help=True)
ledger_app = typer.Typer(help="Export a cycle's log and verify it.", no_args_is_help=True)
program_app = typer.Typer(help="Look at a charter.", no_args_is_help=True)
receipt_app = typer.Typer(help="Check a receipt.", no_args_is_help=True)
review_app = typer.Typer(help="Make and send signed review commands.", no_args_is_help=True)
topics_app = typer.Typer(help="The Kafka topics.", no_args_is_help=True)
webhook_app = typer.Typer(help="Try subscriptions out.", no_args_is_help=True)
for name, group in (
    ("cycle", cycle_app),
    ("dead-letters", letters_app),
    ("ledger", ledger_app),
    ("program", program_app),
    ("receipt", receipt_app),
    ("review", review_app),
    ("topics", topics_app),
    ("webhook", webhook_app),
):
    app.add_typer(group, name=name)

PROGRAMS = Path(__file__).resolve().parents[1] / "deploy" / "programs"
CHARTER = PROGRAMS / "citizen-engaged-communities.toml"
COHORT = PROGRAMS / "cohort-2011-2013.json"

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Role = Annotated[str, typer.Option(help="The role that the embedded issuer's token carries.")]


class CommandError(Exception):
    """What went wrong and what to do, in one line."""


class ClientSettings(Settings):
    """What the commands that talk to running services read besides."""

    token: str = Field("", description="Bearer token for `cec` commands; empty: one of the embedded issuer.")


class Audience(StrEnum):
    """For whom an export is made."""

    PUBLIC = "public"
    AUDITOR = "auditor"


class Form(StrEnum):
    """How an announcement is shown."""

    TEXT = "text"
    MARKDOWN = "markdown"
    HTML = "html"
    JSON = "json"


def main() -> None:
    """Run `cec`; every foreseen failure ends with one line on stderr and exit code 1."""
    import httpx

    try:
        unknown = unknown_variables(settings_classes())
        if unknown:
            raise CommandError(f"unknown setting {', '.join(unknown)}: see docs/reference/settings.md")
        # Outside of its standalone mode Typer doesn't raise an Exit: it returns the code.
        sys.exit(app(standalone_mode=False))
    except typer.Abort:
        sys.exit(130)
    except KeyboardInterrupt:
        sys.exit(130)
    except ValidationError as error:
        _fail("; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors()))
    except httpx.HTTPError as error:
        reason = str(error) or type(error).__name__
        _fail(f"cannot reach {ClientSettings().public_url} ({reason}); is `cec up` running?")
    except (FileNotFoundError, IsADirectoryError, NotADirectoryError, PermissionError) as error:
        _fail(f"cannot open {error.filename} ({(error.strerror or '').lower()}): check the path")
    except (CommandError, RuntimeError, ValueError, OSError) as error:
        _fail(str(error) or type(error).__name__)
    except Exception as error:
        if type(error).__module__.startswith(("typer", "click")) and hasattr(error, "format_message"):
            _fail(error.format_message(), code=2)
        raise


def _fail(message: str, *, code: int = 1) -> NoReturn:
    print(f"cec: {' '.join(message.split())}", file=sys.stderr)  # noqa: T201  (what a command says to its user)
    sys.exit(code)


def settings_classes() -> list[type[Settings]]:
    """Every settings class that some command reads."""
    from services.awards.settings import AwardsSettings
    from services.intake.settings import IntakeSettings
    from services.ledger.settings import LedgerSettings
    from services.notifications.settings import NotificationsSettings
    from services.scoring.settings import ScoringSettings

    return [
        ClientSettings,
        IntakeSettings,
        ScoringSettings,
        AwardsSettings,
        NotificationsSettings,
        LedgerSettings,
    ]


def _say(text: str = "") -> None:
    typer.echo(text)


def _print_json(value: object) -> None:
    typer.echo(json.dumps(value, indent=2, ensure_ascii=False, default=str))


def _run(work: Coroutine[Any, Any, Any]) -> Any:  # noqa: ANN401  (what the coroutine returns)
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


# --- running -------------------------------------------------------------------------------------------------------


@app.command()
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
    held = _run(play(program, cohort, out, stay=stay, as_json=as_json))
    raise typer.Exit(0 if held else 1)


@app.command()
def up() -> None:
    """Run all services in one process, with embedded parts unless others are named. Data are kept in var/.

    Example: CEC_PUBLIC_URL=http://127.0.0.1:8311 cec up
    """
    _run(_serve(None))


@app.command("run")
def run_service(
    service: Annotated[str, typer.Argument(help="intake, scoring, awards, notifications or ledger.")],
) -> None:
    """Run one service in a process of its own.

    Example: CEC_KAFKA_BOOTSTRAP_SERVERS=… CEC_POSTGRES_DSN=… cec run intake
    """
    from services.origin import SERVICES

    if service not in SERVICES:
        raise CommandError(f"no service {service!r}: one of {', '.join(SERVICES)}")
    settings = ClientSettings()
    if not settings.kafka_bootstrap_servers or not settings.postgres_dsn:
        raise CommandError(
            "cec run needs CEC_KAFKA_BOOTSTRAP_SERVERS and CEC_POSTGRES_DSN; `cec up` brings its own parts"
        )
    _run(_serve([service]))


async def _serve(names: Sequence[str] | None) -> None:
    from deploy.embedded import Stack
    from services.chassis import logs
    from services.chassis.garbage import settle
    from services.origin import SERVICES, Origin

    settings = ClientSettings()
    logs.configure(settings.log_level)
    stack = Stack(
        settings.var,
        progress=_say,
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
        _say(f"ready at {origin.url} (Kafka {stack.kafka_bootstrap}); Ctrl-C stops")
        with suppress(asyncio.CancelledError):
            await asyncio.Event().wait()
        _say("stopping")


@app.command()
def migrate(service: Annotated[str | None, typer.Argument(help="One service; all without it.")] = None) -> None:
    """Bring the services' database schemas up to date.

    Example: CEC_POSTGRES_DSN=… cec migrate scoring
    """
    _run(_migrate(service))


async def _migrate(only: str | None) -> None:
    from services.origin import SERVICES

    if only is not None and only not in SERVICES:
        raise CommandError(f"no service {only!r}: one of {', '.join(SERVICES)}")
    for name, blueprint in SERVICES.items():
        if only in {None, name}:
            dsn = blueprint.settings().postgres_dsn
            if not dsn:
                raise CommandError("set CEC_POSTGRES_DSN; `cec up` migrates its embedded database by itself")
            applied = await _dormant(name, dsn).migrate()
            _say(f"{name}: {', '.join(applied) or 'up to date'}")


def _dormant(name: str, dsn: str) -> Service:
    """A service that is not started, for what needs its database only."""
    from services.chassis.auth import KeySource, Tokens
    from services.chassis.clock import MachineClock, ProgramClock
    from services.chassis.service import Runtime
    from services.origin import SERVICES

    machine = MachineClock()
    tokens = Tokens(KeySource(""), issuer="", audience="", machine=machine)
    return SERVICES[name].make(Runtime(SERVICES[name].settings(), "", dsn, ProgramClock(machine), tokens))


@app.command()
def replay(
    service: Annotated[str, typer.Argument(help="intake, scoring, awards, notifications or ledger.")],
    keep: Annotated[bool, typer.Option("--keep", help="Keep the scratch database, to look into.")] = False,
    as_json: AsJson = False,
) -> None:
    """Rebuild a service's projection from the ledger beside the live one, and show the difference.

    It works while the services run. Exit code 0 only where there is no difference.

    Example: cec replay scoring
    """
    from services.origin import SERVICES

    if service not in SERVICES:
        raise CommandError(f"no service {service!r}: one of {', '.join(SERVICES)}")
    report = _run(_replay(service, keep=keep))
    if as_json:
        _print_json(report.as_json())
    else:
        _say(report.as_text())
    raise typer.Exit(0 if report.equal else 1)


async def _replay(name: str, *, keep: bool) -> Any:  # noqa: ANN401  (imported below: see `_run`)
    from services.chassis.feed import LedgerFeed
    from services.chassis.replay import replay as rebuild

    settings, here, said = ClientSettings(), _running(), monotonic()
    dsn = settings.postgres_dsn or (here and here.postgres_dsn)
    if not dsn:
        raise CommandError(f"set CEC_POSTGRES_DSN: no `cec up` wrote down where it runs in {settings.var}")
    origin = settings.public_url if settings.postgres_dsn or here is None else here.url

    def progress(applied: int, expected: int) -> None:
        nonlocal said
        if monotonic() - said >= 1:
            said = monotonic()
            typer.echo(f"{name}: {applied:,} of {expected:,} events", err=True)

    feed = LedgerFeed(origin, lambda: settings.token or str(_issuer().token("auditor", "cec-replay")))
    return await rebuild(_dormant(name, dsn), feed, keep=keep, progress=progress)


def _running() -> Running | None:
    from services.running import Running

    return Running.found(ClientSettings().var)


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
    created = _run(topics.apply(bootstrap, TOPICS))
    _say("created " + ", ".join(created) if created else "all there")


# --- looking -------------------------------------------------------------------------------------------------------


@program_app.command("check")
def program_check(file: Path, as_json: AsJson = False) -> None:
    """Validate a charter and print it in plain words.

    Example: cec program check deploy/programs/citizen-engaged-communities.toml
    """
    from schemas.charter import Charter, CharterError, charter_digest
    from services.synopsis import synopsis

    text = file.read_text(encoding="utf-8")
    try:
        charter = Charter.parse(text)
    except CharterError as error:
        raise CommandError(f"{file}: {error}") from error
    if as_json:
        _print_json({"sha256": charter_digest(text), "charter": charter.model_dump(mode="json")})
        return
    for line in synopsis(charter, charter_digest(text)):
        _say(line)


@app.command()
def token(
    role: Role = "program-admin",
    subject: Annotated[str | None, typer.Option(help="`sub`; the role's name without it.")] = None,
    government: Annotated[str | None, typer.Option(help="Restrict the token to this government's id.")] = None,
    email: Annotated[str, typer.Option(help="An address that the token states as verified.")] = "",
    seconds: Annotated[int, typer.Option(help="How long it is valid.")] = 3600,
) -> None:
    """Print a token of the embedded issuer.

    Example: cec token --role reviewer --subject reviewer-3
    """
    _say(_issuer().token(role, subject or role, government=government, email=email, seconds=seconds))


def _issuer() -> Any:  # noqa: ANN401  (Issuer, imported when it is needed)
    from services.chassis.clock import MachineClock
    from services.chassis.issuer import Issuer

    settings = ClientSettings()
    return Issuer.at(
        settings.var / "keys", issuer=settings.token_issuer, audience=settings.token_audience, machine=MachineClock()
    )


def _ask(
    method: str, path: str, *, role: str | None = None, body: object = None, params: dict[str, str] | None = None
) -> httpx.Response:
    """Ask the running services; CommandError with the problem's own words when they refuse."""
    import httpx

    settings = ClientSettings()
    headers = {}
    if role is not None:
        headers["Authorization"] = f"Bearer {settings.token or _issuer().token(role, role)}"
    with httpx.Client(base_url=settings.public_url, timeout=120, headers=headers, trust_env=False) as client:
        answer = client.request(method, path, json=body, params=params)
    if answer.is_error:
        with suppress(ValueError):
            raise CommandError(f"{answer.status_code} {answer.json().get('detail')}")
        raise CommandError(f"{answer.status_code} from {path}")
    return answer


def _show(answer: dict[str, Any], *, as_json: bool) -> None:
    if as_json:
        _print_json(answer)
    else:
        for key, value in answer.items():
            _say(f"{key}: {value}")


@cycle_app.command("open")
def cycle_open(
    label: str,
    deadline: Annotated[str, typer.Option(help="RFC 3339 with a time zone, e.g. 2027-05-01T17:00:00-04:00.")],
    program: Annotated[Path, typer.Option(help="Charter file.")] = CHARTER,
    as_json: AsJson = False,
) -> None:
    """Open a cycle under a charter.

    Example: cec cycle open 2027-2029 --deadline 2027-05-01T17:00:00-04:00
    """
    body = {"label": label, "deadline": deadline, "charter": program.read_text(encoding="utf-8")}
    _show(_ask("POST", "/intake/v1/cycles", role="program-admin", body=body).json(), as_json=as_json)


@cycle_app.command("extend")
def cycle_extend(
    cycle: str,
    deadline: Annotated[str, typer.Option()],
    reason: Annotated[str, typer.Option()],
    as_json: AsJson = False,
) -> None:
    """Move a cycle's deadline to a later instant.

    Example: cec cycle extend 2027-2029 --deadline 2027-05-08T17:00:00-04:00 --reason "outage of the portal"
    """
    body = {"deadline": deadline, "reason": reason}
    _show(_ask("POST", f"/intake/v1/cycles/{cycle}/extend", role="program-admin", body=body).json(), as_json=as_json)


@cycle_app.command("close")
def cycle_close(cycle: str, as_json: AsJson = False) -> None:
    """Close a cycle by hand, before its deadline.

    Example: cec cycle close 2027-2029
    """
    _show(_ask("POST", f"/intake/v1/cycles/{cycle}/close", role="program-admin").json(), as_json=as_json)


@cycle_app.command("screening")
def cycle_screening(
    cycle: str,
    finish: Annotated[bool, typer.Option("--finish", help="End it: reviewers are assigned.")] = False,
    rest_eligible: Annotated[bool, typer.Option(help="Find eligible whom nobody has looked at.")] = False,
    as_json: AsJson = False,
) -> None:
    """Show how the screening of a closed cycle stands, or end it.

    Example: cec cycle screening 2027-2029 --finish --rest-eligible
    """
    path = f"/intake/v1/cycles/{cycle}/screening"
    if finish:
        body = {"rest_eligible": rest_eligible}
        answer = _ask("POST", f"{path}/finish", role="program-admin", body=body).json()
    else:
        answer = _ask("GET", path, role="program-admin").json()
    if as_json:
        _print_json(answer)
        return
    for one in answer["applications"]:
        _say(f"{one['application']}  {one['stage']:10}  {one['name']}{'' if one['confirmed'] else ' (unconfirmed)'}")
    _say("finished" if answer["finished"] else "not finished")


@cycle_app.command("status")
def cycle_status(cycle: str, as_json: AsJson = False) -> None:
    """Where a cycle stands: intake, scoring, awards.

    Example: cec cycle status 2027-2029
    """
    answers = {
        service: _ask("GET", f"/{service}/v1/cycles/{cycle}", role="program-admin").json()
        for service in ("intake", "scoring", "awards")
    }
    if as_json:
        _print_json(answers)
    else:
        for service, answer in answers.items():
            _say(f"{service}: " + ", ".join(f"{key} {value}" for key, value in answer.items() if value is not None))


@app.command()
def announcement(
    cycle: str, form: Annotated[Form, typer.Option("--format", help="How to show it.")] = Form.TEXT
) -> None:
    """Print a cycle's announcement.

    Example: cec announcement 2011-2013 --format markdown
    """
    answer = _ask("GET", f"/awards/v1/announcements/{cycle}", params={"format": form.value})
    typer.echo(answer.text, nl=not answer.text.endswith("\n"))


# --- ledger --------------------------------------------------------------------------------------------------------


@ledger_app.command("export")
def ledger_export(
    cycle: str,
    out: Annotated[Path, typer.Option("-o", "--out", help="The zip file to write.")],
    audience: Annotated[Audience, typer.Option("--for", help="What is opened.")] = Audience.PUBLIC,
    as_json: AsJson = False,
) -> None:
    """Write a cycle's whole log as one deterministic zip.

    Example: cec ledger export 2011-2013 -o 2011-2013.zip
    """
    role = "auditor" if audience is Audience.AUDITOR else None
    answer = _ask("GET", f"/ledger/v1/cycles/{cycle}/export", role=role, params={"for": audience.value})
    out.write_bytes(answer.content)
    _show({"file": str(out), "bytes": len(answer.content), "for": audience.value}, as_json=as_json)


@ledger_app.command("verify")
def ledger_verify(
    file: Path,
    policy: Annotated[Path | None, typer.Option(help="Trusted keys, obtained elsewhere.")] = None,
    as_json: AsJson = False,
) -> None:
    """Verify an export offline: container, hashes, signatures, sequences, and the re-run of scoring and awards.

    Exit code 0: all holds; 1: something does not; 2: incomplete (redacted leaves).

    Example: cec ledger verify 2011-2013.zip --policy policy.txt
    """
    from services.verifier import verify

    report = verify(file.read_bytes(), policy.read_text(encoding="utf-8") if policy else None)
    if as_json:
        _print_json(report.as_json())
    else:
        _say(report.as_text())
    raise typer.Exit(report.exit_code)


@receipt_app.command("verify")
def receipt_verify(
    file: Annotated[Path, typer.Argument(help="The receipt, or the JSON answer that it stands in.")],
    keys: Annotated[Path, typer.Option(help="The program's public keys, as GET /intake/v1/keys answered them.")],
    export: Annotated[Path | None, typer.Option(help="An export of the cycle: is the receipt's leaf in it?")] = None,
    policy: Annotated[Path | None, typer.Option(help="Trusted keys of the log, obtained elsewhere.")] = None,
    as_json: AsJson = False,
) -> None:
    """Check offline that the program signed a receipt and, with an export, that its log holds what was submitted.

    Exit code 0: all holds; 1: something does not; 2: the export is incomplete (redacted leaves).

    Example: cec receipt verify receipt.json --keys keys.json --export 2011-2013.zip
    """
    from services.chassis.receipts import opened, read_keys
    from services.receipt import check

    stated = opened(file.read_text(encoding="utf-8"), read_keys(keys.read_text(encoding="utf-8")))
    told: dict[str, Any] = {"signed": True, "receipt": stated.model_dump(mode="json")}
    report = None
    if export is not None:
        report = check(stated, export.read_bytes(), policy.read_text(encoding="utf-8") if policy else None)
        told["export"] = report.as_json()
    if as_json:
        _print_json(told)
    else:
        _say(
            f"signed: application {stated.application}, version {stated.version}, of cycle {stated.cycle},"
            f" submitted {told['receipt']['submitted_at']}, leaf {stated.leaf_hash}"
        )
        if report is not None:
            _say(report.as_text())
    raise typer.Exit(report.exit_code if report else 0)


# --- dead letters --------------------------------------------------------------------------------------------------


class Kept(StrEnum):
    """Why a record is kept."""

    POISON = "poison"
    WAITING = "waiting"


ServiceName = Annotated[str, typer.Argument(help="intake, scoring, awards, notifications or ledger.")]


def _letters(service: str, kind: Kept | None = None) -> dict[str, Any]:
    """What a service keeps, all pages of it."""
    params = {"limit": "1000"} | ({"kind": kind.value} if kind else {})
    found: dict[str, Any] = _ask("GET", f"/{service}/dead-letters", role="auditor", params=params).json()
    while found["next"]:
        more = _ask("GET", f"/{service}/dead-letters", role="auditor", params=params | {"after": found["next"]}).json()
        found |= {"records": found["records"] + more["records"], "next": more["next"]}
    return found


def _place(record: dict[str, Any]) -> str:
    return f"{record['topic']}/{record['partition']}/{record['offset']}"


def _parsed(place: str) -> dict[str, Any]:
    topic, _, rest = place.partition("/")
    partition, _, offset = rest.partition("/")
    if not (topic and partition.isdecimal() and offset.isdecimal()):
        raise CommandError(f"{place!r} is no topic/partition/offset: take it from `cec dead-letters list`")
    return {"topic": topic, "partition": int(partition), "offset": int(offset)}


def _age(seconds: int) -> str:
    for size, unit in ((86_400, "d"), (3_600, "h"), (60, "min")):
        if seconds >= size:
            return f"{seconds // size} {unit}"
    return f"{seconds} s"


@letters_app.command("list")
def letters_list(
    service: Annotated[str | None, typer.Argument(help="One service; all without it.")] = None,
    kind: Annotated[Kept | None, typer.Option(help="Only what is poison, or only what waits.")] = None,
    as_json: AsJson = False,
) -> None:
    """Show what could not take effect: poison, and events that wait for something.

    Example: cec dead-letters list scoring --kind poison
    """
    from services.origin import SERVICES

    found = {name: _letters(name, kind) for name in ([service] if service else SERVICES)}
    if as_json:
        _print_json(found)
        return
    for name, letters in found.items():
        _say(f"{name}: {letters['poison']} poison, {letters['waiting']} waiting")
        for stop in letters["stopped"]:
            _say(f"  STOPPED at {_place(stop)} since {stop['since']}: {stop['reason']}")
        for record in letters["records"]:
            what = f"{record['subject']} {record['sequence']}" if record["subject"] else "unreadable"
            _say(f"  {_place(record)}  {record['kind']}, {_age(record['age_seconds'])}, {what}: {record['reason']}")


@letters_app.command("show")
def letters_show(
    service: ServiceName,
    place: Annotated[str, typer.Argument(help="topic/partition/offset, as `list` prints it.")],
    as_json: AsJson = False,
) -> None:
    """Show one record: why it is kept, and what of it is public.

    Example: cec dead-letters show scoring intake.events.v1/3/1042
    """
    path = f"/{service}/dead-letters/{_place(_parsed(place))}"
    _show(_ask("GET", path, role="auditor").json(), as_json=as_json)


@letters_app.command("redrive")
def letters_redrive(
    service: ServiceName,
    places: Annotated[list[str] | None, typer.Argument(help="topic/partition/offset, one or more.")] = None,
    everything: Annotated[bool, typer.Option("--all", help="All poison of the service.")] = False,
    wait: Annotated[float, typer.Option(help="Seconds to wait for the result.")] = 30,
    as_json: AsJson = False,
) -> None:
    """Try poison again now, in the order of its key, and show what came of it. Exit code 1: some is poison still.

    Example: cec dead-letters redrive scoring intake.events.v1/3/1042
    """
    if bool(places) == everything:
        raise CommandError("name the records as topic/partition/offset, or give --all")
    named = [_parsed(place) for place in places or ()]
    body = {} if everything else {"records": named}
    asked = _ask("POST", f"/{service}/dead-letters/redrive", role="program-admin", body=body).json()
    if missing := {_place(one) for one in named} - {_place(one) for one in asked}:
        raise CommandError(f"no poison at {', '.join(sorted(missing))}: see `cec dead-letters list {service}`")
    until = monotonic() + wait
    while (left := _letters(service))["again"] and monotonic() < until:
        sleep(0.2)
    kept = {_place(record): record for record in left["records"]}
    results = [{"place": _place(one)} | _came_of(kept.get(_place(one))) for one in asked]
    if as_json:
        _print_json(results)
    else:
        for one in results:
            _say(f"{one['place']}: {one['result']}" + (f" ({one['reason']})" if one["reason"] else ""))
        _say(f"tried again: {len(results)}")
    raise typer.Exit(int(any(one["result"] in {"poison", "not tried yet"} for one in results)))


def _came_of(record: dict[str, Any] | None) -> dict[str, Any]:
    if record is None:
        return {"result": "took effect", "reason": None}
    return {"result": "not tried yet" if record["again"] else record["kind"], "reason": record["reason"]}


@letters_app.command("go-on")
def letters_go_on(service: ServiceName, as_json: AsJson = False) -> None:
    """Have a service that stopped at too much poison set it aside, until an event takes effect.

    Example: cec dead-letters go-on scoring
    """
    stops = _ask("POST", f"/{service}/dead-letters/go-on", role="program-admin").json()
    if as_json:
        _print_json(stops)
    else:
        for stop in stops:
            _say(f"goes on at {_place(stop)}")
        _say(f"stopped: {len(stops)}")


# --- probes --------------------------------------------------------------------------------------------------------


@app.command()
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
        reading = _run(
            read(client_of(settings), url, until=last, days=days, jurisdiction=jurisdiction, manners=manners)
        )
    except ProbeFailed as failed:
        here = not settings.probes_allow_loopback and any(name in url for name in ("127.0.0.1", "localhost", "[::1]"))
        hint = "; for a server on this machine set CEC_PROBES_ALLOW_LOOPBACK=true" if here else ""
        raise CommandError(f"{url}: {failed}{hint}") from None
    figures, remarks = look(reading)
    if not as_json:
        for line in report(reading, figures, remarks):
            _say(line)
        return
    _print_json(
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


# --- reviews -------------------------------------------------------------------------------------------------------


@review_app.command("key")
def review_key(
    cycle: Annotated[str, typer.Option(help="The cycle's label.")],
    reviewer: Annotated[str, typer.Option(help="Your reviewer id in this cycle (`GET /scoring/v1/me`).")],
    key: Annotated[Path, typer.Option(help="Your Ed25519 key (JWK); made if it is not there.")],
) -> None:
    """Print what registers your public key: POST it to /scoring/v1/me/keys within minutes, with your token.

    Example: cec review key --cycle 2011-2013 --reviewer ID --key reviewer.jwk > key.json
    """
    from services.chassis.issuer import load_key
    from services.scoring.commands import prove

    held = load_key(key)
    proof = prove(held, reviewer, int(datetime.now(UTC).timestamp()))
    _print_json({"cycle": cycle, "jwk": held.as_dict(private=False), "proof": proof})


@review_app.command("sign")
def review_sign(
    review: Annotated[Path, typer.Argument(help="JSON: application, points, recommendation, rationales, comment.")],
    cycle: Annotated[str, typer.Option(help="The cycle's label.")],
    reviewer: Annotated[str, typer.Option(help="Your reviewer id in this cycle (`GET /scoring/v1/me`).")],
    key: Annotated[Path, typer.Option(help="Your Ed25519 key (JWK); made if it is not there.")],
    command_id: Annotated[str | None, typer.Option(help="Give the same id to send the same review again.")] = None,
) -> None:
    """Print a review as a signed command, ready for the topic scoring.submissions.v1.

    Example: cec review sign review.json --cycle 2011-2013 --reviewer ID --key reviewer.jwk > command.jws
    """
    from schemas.reviews import ReviewBody, ReviewCommand
    from services.chassis.ids import opaque_id
    from services.chassis.issuer import load_key
    from services.scoring.commands import sign

    now = int(datetime.now(UTC).timestamp())
    command = ReviewCommand(
        aud="scoring.submissions.v1",
        command_id=command_id or opaque_id(),
        cycle=cycle,
        sub=reviewer,
        iat=now,
        exp=now + 600,
        body=ReviewBody.model_validate_json(review.read_bytes()),
    )
    _say(sign(command, load_key(key)))


@review_app.command("post")
def review_post(command: Annotated[Path, typer.Argument(help="A file that `cec review sign` wrote.")]) -> None:
    """Send a signed review command over Kafka.

    Where `cec up` runs with the same data folder, its own Kafka is found.

    Example: CEC_KAFKA_BOOTSTRAP_SERVERS=localhost:9092 cec review post command.jws
    """
    from services.scoring.commands import post

    signed = command.read_text(encoding="utf-8").strip()
    here = _running()
    bootstrap = ClientSettings().kafka_bootstrap_servers or (here and here.kafka_bootstrap)
    if not bootstrap:
        raise CommandError("set CEC_KAFKA_BOOTSTRAP_SERVERS to the broker's host:port (`cec up` prints it)")
    where = _run(post(bootstrap, signed))
    _say(f"sent: {where}")
    _say(
        "Scoring answers by an event on scoring.events.v1: the review's, or scoring.command.refused.v1 with the reason."
        " Once it is taken, GET /scoring/v1/me/assignments says `submitted`."
    )


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


if __name__ == "__main__":
    main()
