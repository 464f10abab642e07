"""Export a cycle's log, verify it, and check a receipt."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from schemas.envelope import rfc3339
from services.cli.shell import AsJson, ask, print_json, say, show

if TYPE_CHECKING:
    from services.chassis.receipts import Forgotten, Stated
    from services.exported import Report

ledger_app = typer.Typer(help="Export a cycle's log and verify it.", no_args_is_help=True)
receipt_app = typer.Typer(help="Check a receipt.", no_args_is_help=True)


class Audience(StrEnum):
    """For whom an export is made."""

    PUBLIC = "public"
    AUDITOR = "auditor"


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
    answer = ask("GET", f"/ledger/v1/cycles/{cycle}/export", role=role, params={"for": audience.value})
    out.write_bytes(answer.content)
    show({"file": str(out), "bytes": len(answer.content), "for": audience.value}, as_json=as_json)


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
        print_json(report.as_json())
    else:
        say(report.as_text())
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

    Of an erasure: that the export opens nothing that was erased, and its log has the erasures.

    Exit code 0: all holds; 1: something does not; 2: the export is incomplete (redacted leaves).

    Example: cec receipt verify receipt.json --keys keys.json --export 2011-2013.zip
    """
    from services.chassis.receipts import read, read_keys

    stated = read(file.read_text(encoding="utf-8"), read_keys(keys.read_text(encoding="utf-8")))
    told: dict[str, Any] = {"signed": True, "receipt": stated.model_dump(mode="json")}
    report = None
    if export is not None:
        report = _checked(stated, export.read_bytes(), policy.read_text(encoding="utf-8") if policy else None)
        told["export"] = report.as_json()
    if as_json:
        print_json(told)
    else:
        say(f"signed: {_said(stated)}")
        if report is not None:
            say(report.as_text())
    raise typer.Exit(report.exit_code if report else 0)


def _checked(stated: Stated | Forgotten, export: bytes, policy: str | None) -> Report:
    from services.chassis.receipts import Stated
    from services.receipt import check, check_erasure

    if isinstance(stated, Stated):
        return check(stated, export, policy)
    return check_erasure(stated, export, policy)


def _said(stated: Stated | Forgotten) -> str:
    from services.chassis.receipts import Stated

    if isinstance(stated, Stated):
        return (
            f"application {stated.application}, version {stated.version}, of cycle {stated.cycle},"
            f" submitted {rfc3339(stated.submitted_at)}, leaf {stated.leaf_hash}"
        )
    return (
        f"erased {rfc3339(stated.erased_at)}, sealed blocks: {len(stated.digests)}, by events: {len(stated.events)},"
        f" rows: {sum(stated.rows.values())}"
    )
