"""Charters and cycles from the shell, tokens, and announcements."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from services.cli.shell import CHARTER, AsJson, CommandError, Role, ask, issuer, print_json, say, show, worded

cycle_app = typer.Typer(help="Run a cycle from the shell.", no_args_is_help=True)
program_app = typer.Typer(help="Look at a charter.", no_args_is_help=True)


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
        print_json({"sha256": charter_digest(text), "charter": charter.model_dump(mode="json")})
        return
    for line in synopsis(charter, charter_digest(text)):
        say(line)


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
    say(issuer().token(role, subject or role, government=government, email=email, seconds=seconds))


class Form(StrEnum):
    """How an announcement is shown."""

    TEXT = "text"
    MARKDOWN = "markdown"
    HTML = "html"
    JSON = "json"


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
    show(ask("POST", "/intake/v1/cycles", role="program-admin", body=body).json(), as_json=as_json)


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
    show(ask("POST", f"/intake/v1/cycles/{cycle}/extend", role="program-admin", body=body).json(), as_json=as_json)


@cycle_app.command("close")
def cycle_close(cycle: str, as_json: AsJson = False) -> None:
    """Close a cycle by hand, before its deadline.

    Example: cec cycle close 2027-2029
    """
    show(ask("POST", f"/intake/v1/cycles/{cycle}/close", role="program-admin").json(), as_json=as_json)


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
        answer = ask("POST", f"{path}/finish", role="program-admin", body=body).json()
    else:
        answer = ask("GET", path, role="program-admin").json()
    if as_json:
        print_json(answer)
        return
    for one in answer["applications"]:
        say(f"{one['application']}  {one['stage']:10}  {one['name']}{'' if one['confirmed'] else ' (unconfirmed)'}")
    say("finished" if answer["finished"] else "not finished")


@cycle_app.command("status")
def cycle_status(cycle: str, as_json: AsJson = False) -> None:
    """Where a cycle stands: intake, scoring, awards.

    Example: cec cycle status 2027-2029
    """
    answers = {
        service: ask("GET", f"/{service}/v1/cycles/{cycle}", role="program-admin").json()
        for service in ("intake", "scoring", "awards")
    }
    if as_json:
        print_json(answers)
    else:
        for service, answer in answers.items():
            say(f"{service}: " + worded({key: value for key, value in answer.items() if value is not None}))


def announcement(
    cycle: str, form: Annotated[Form, typer.Option("--format", help="How to show it.")] = Form.TEXT
) -> None:
    """Print a cycle's announcement.

    Example: cec announcement 2011-2013 --format markdown
    """
    answer = ask("GET", f"/awards/v1/announcements/{cycle}", params={"format": form.value})
    typer.echo(answer.text, nl=not answer.text.endswith("\n"))
