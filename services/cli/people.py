"""Erase a person."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from services.cli.shell import AsJson, CommandError, ask, print_json, say

person_app = typer.Typer(help="Erase a person.", no_args_is_help=True)


@person_app.callback()
def _people() -> None:
    """Erase a person."""


@person_app.command("erase")
def person_erase(  # noqa: PLR0913  (what can be said about it)
    person: Annotated[
        str | None, typer.Argument(help="A person id, an e-mail address, or the subject of an account.")
    ] = None,
    *,
    issuer: Annotated[str, typer.Option(help="The account's issuer; empty: that of the token.")] = "",
    text: Annotated[
        list[str] | None, typer.Option(help="Erase what holds this text, too: a name as others spell it, a sentence.")
    ] = None,
    file: Annotated[list[str] | None, typer.Option(help="Erase an uploaded file by its SHA-256.")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only show what would go, and where.")] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Don't ask.")] = False,
    receipt: Annotated[Path | None, typer.Option(help="Write the signed receipt there.")] = None,
    wait: Annotated[float, typer.Option(help="Seconds that the ledger is given to follow.")] = 30,
    as_json: AsJson = False,
) -> None:
    """Erase a person, and every text and sealed block in which their name or address occurs, from all services.

    It can be repeated, also after it was interrupted. Exit code 1: the ledger still holds some of it.

    Example: cec person erase jane.doe@springfield.example --dry-run
    """
    from services import erasing

    wanted = _wanted(person, issuer, text or [], file or [])
    planned = erasing.erase(_post, wanted, dry_run=True)
    if not (dry_run or yes):
        for line in erasing.told(planned):
            typer.echo(line, err=True)
        if not sys.stdin.isatty():
            raise CommandError("this cannot be taken back: say --yes")
        typer.confirm("Erase all this, for ever?", abort=True, err=True)
    outcomes = planned if dry_run else erasing.erase(_post, wanted, dry_run=False)
    signed = next((one["receipt"] for one in outcomes if one["receipt"]), None)
    # Before the wait: intake knows the person no more, so whoever breaks off there could not get the receipt again.
    if receipt is not None and signed is not None:
        receipt.write_text(f"{signed}\n", encoding="utf-8")
    if not as_json:
        for line in erasing.told(outcomes):
            say(line)
        say("nothing was erased: this was a dry run" if dry_run else f"receipt: {receipt or signed}")
    left = 0 if dry_run else erasing.left_over(_post, wanted, wait)
    if as_json:
        print_json({"dry_run": dry_run, "services": outcomes, "receipt": signed, "left_in_the_ledger": left})
    if left:
        detail = "it drops them once it runs; to look again, give the name and the address as --text with --dry-run"
        raise CommandError(f"the ledger still holds {left} sealed blocks: {detail}")


def _wanted(person: str | None, issuer: str, texts: list[str], files: list[str]) -> Any:  # noqa: ANN401  (imported when it is needed)
    from services import erasing

    wanted = erasing.Wanted(texts=list(texts), files=files)
    if person is None:
        if not (texts or files):
            raise CommandError("say who, or which --text or --file")
        return wanted
    found = erasing.find(_post, person, issuer)
    if len(found) > 1:
        raise CommandError(f"several people have that: name one by id, {', '.join(one['person'] for one in found)}")
    if found:
        wanted.know(found[0])
    elif not texts:
        raise CommandError("nobody is known by that: give the name or the address as --text to look for it anyway")
    return wanted


def _post(path: str, body: dict[str, Any]) -> dict[str, Any]:
    answer: dict[str, Any] = ask("POST", path, role="program-admin", body=body).json()
    return answer
