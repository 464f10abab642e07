"""Whether the log in an export holds what a receipt says, without a server."""

from __future__ import annotations

from typing import TYPE_CHECKING

from schemas.applications import ApplicationSubmitted
from schemas.envelope import digest, rfc3339
from services.chassis import archive
from services.exported import Log, Report
from services.verifier import verify

if TYPE_CHECKING:
    from services.chassis.receipts import Forgotten, Stated


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


def check_erasure(stated: Forgotten, raw: bytes, policy: str | None = None) -> Report:
    """Whether an export that itself holds opens nothing that was erased, and has the erasures of its log as stated."""
    report = verify(raw, policy)
    if report.findings:
        return report
    here = 0
    for entry in Log.load(archive.unpack(raw), Report()).entries:
        if opened := sorted(name for name, one in entry.openings.items() if digest(one) in stated.digests):
            report.findings.append(f"entry {entry.index} opens what was erased: {', '.join(opened)}")
        leaf = stated.events.get(entry.envelope.id) if entry.envelope else None
        if leaf not in {None, entry.hash.hex()}:
            report.findings.append(f"entry {entry.index} is not the event that the receipt says")
        here += leaf is not None
    report.recomputed.append(f"nothing is opened that was erased; of the events that erase it, this log has {here}")
    return report
