"""Whether the log in an export holds what a receipt says, without a server."""

from __future__ import annotations

from typing import TYPE_CHECKING

from schemas.applications import ApplicationSubmitted
from schemas.envelope import rfc3339
from services.chassis import archive
from services.exported import Log, Report
from services.verifier import verify

if TYPE_CHECKING:
    from services.chassis.receipts import Stated


def check(stated: Stated, raw: bytes, policy: str | None = None) -> Report:
    """Whether an export (a zip's bytes) that itself holds has the leaf: a report of both."""
    report = verify(raw, policy)
    if report.findings:
        return report
    log = Log.load(archive.unpack(raw), Report())
    if log.cycle != stated.cycle:
        report.findings.append(f"the export is of cycle {log.cycle}, the receipt of {stated.cycle}")
        return report
    entry = next((one for one in log.entries if one.hash.hex() == stated.leaf_hash), None)
    if entry is None:
        report.findings.append("the log has no such leaf: what the receipt proves was taken in is not in it")
    elif not (
        # A redacted leaf is known by its hash alone, which is what the receipt holds.
        entry.redacted
        or (
            entry.envelope is not None
            and isinstance(entry.event, ApplicationSubmitted)
            and (entry.envelope.id, entry.event.application, entry.event.version)
            == (stated.event, stated.application, stated.version)
            and rfc3339(entry.envelope.time) == rfc3339(stated.submitted_at)
        )
    ):
        report.findings.append(f"entry {entry.index} has the leaf, but is not what the receipt says")
    else:
        report.recomputed.append(f"the receipt's leaf is entry {entry.index} of the log")
    return report
