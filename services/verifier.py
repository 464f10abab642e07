"""`cec ledger verify`: what an outsider checks about a cycle from its export alone, without a server or a network.

Container, leaves, tree, signatures, order and openings are checked here; then scoring and awards are run again
(`services.recomputation`) and compared with what the log says.
"""

from __future__ import annotations

from collections import defaultdict
from datetime import datetime, timedelta
from pathlib import Path

from schemas import cycles
from schemas.envelope import UnreadableError
from services.chassis import archive
from services.chassis.transparency import Checkpoint, NoteError, VerifierKey, open_note, root
from services.exported import Log, Report
from services.recomputation import Recomputation

REQUIRED = frozenset(
    ("VERIFY.md", "audience", "charter.toml", "checkpoint", "events.ndjson", "keys/log.vkey", "openings.ndjson")
)
AUDIENCES = ("public", "auditor")
SKEW = timedelta(minutes=5)
"""How far the clocks of two services' machines may differ."""
STEPS = Path(__file__).parent / "ledger" / "VERIFY.md"


def verify(raw: bytes, policy: str | None = None) -> Report:
    """Check an export (a zip's bytes), against `policy` (C2SP tlog-policy text with `log <vkey>` lines) if given."""
    report = Report()
    try:
        files = archive.unpack(raw)
    except archive.ArchiveError as error:
        report.findings.append(f"container: {error}")
        return report
    missing = sorted(REQUIRED - set(files))
    if missing:
        report.findings.append(f"container: {', '.join(missing)} missing")
        return report
    strange = sorted(name for name in set(files) - REQUIRED if not name.startswith("checkpoints/"))
    report.findings += [f"container: {name} does not belong into an export" for name in strange]
    if files["VERIFY.md"] != STEPS.read_bytes():
        report.attested.append("VERIFY.md, which is not the text that this program ships")
    try:
        log = Log.load(files, report)
        _check_tree(files, log, report, policy)
        _check_order(log, report)
        audience = files["audience"].decode().removesuffix("\n")
        if audience not in AUDIENCES:
            report.findings.append(f"audience: {audience!r} is none of {', '.join(AUDIENCES)}")
        Recomputation(log, report, files["charter.toml"].decode(), audience).run()
    except (UnicodeDecodeError, NoteError, UnreadableError) as error:
        report.findings.append(str(error))
    return report


def _check_tree(files: dict[str, bytes], log: Log, report: Report, policy: str | None) -> None:
    """The tree over all leaves equals what the log's key signed, at every size that was ever signed."""
    key = VerifierKey.parse(files["keys/log.vkey"].decode().strip())
    if policy is not None:
        trusted = [line.split()[1] for line in policy.splitlines() if line.startswith("log ") and len(line.split()) > 1]
        report.pinned = str(key) in trusted
        if not report.pinned:
            report.findings.append("keys/log.vkey is not a key that the policy trusts")
    hashes = [entry.hash for entry in log.entries]
    latest = Checkpoint.parse(open_note(files["checkpoint"], [key]))
    report.size, report.root = latest.size, latest.root.hex()
    if latest.size != len(hashes):
        report.findings.append(f"the checkpoint states {latest.size} entries, the export holds {len(hashes)}")
    notes = {name: note for name, note in files.items() if name.startswith("checkpoints/")}
    if f"checkpoints/{latest.size}" not in notes:
        report.findings.append("the last checkpoint is not among checkpoints/")
    for name, note in {"checkpoint": files["checkpoint"], **notes}.items():
        stated = Checkpoint.parse(open_note(note, [key]))
        if name not in {"checkpoint", f"checkpoints/{stated.size}"} or stated.size > len(hashes):
            report.findings.append(f"{name}: states size {stated.size}")
        elif root(hashes[: stated.size]) != stated.root:
            report.findings.append(f"{name}: the entries do not make the root that was signed")
        if stated.origin != latest.origin:
            report.findings.append(f"{name}: another log, {stated.origin}")
    first = log.entries[0].event if log.entries else None
    if not isinstance(first, cycles.LogOpened) or (first.origin, first.verifier_key) != (latest.origin, str(key)):
        report.findings.append("entry 0 does not open this log under this key")
    report.recomputed.append(f"every leaf's hash, the tree's root and {len(notes)} signed checkpoints")


def _check_order(log: Log, report: Report) -> None:
    """Sequences have no gap and no double; predecessor and cause stand before what follows from them, also in time."""
    last: dict[tuple[str, str], int] = defaultdict(int)
    dated: dict[tuple[str, str], datetime] = {}
    times: dict[str, datetime] = {}
    gaps: list[str] = []
    hidden = 0
    for entry in log.entries:
        envelope = entry.envelope
        if envelope is None:
            continue
        place, cause = f"entry {entry.index}", envelope.causationid
        step = envelope.sequence - last[envelope.key] - 1
        if step:
            hidden += max(step, 0)
            gaps.append(f"{place}: sequence {envelope.sequence} where {last[envelope.key] + 1} follows")
        before = (dated.get(envelope.key), times.get(cause or ""))
        if any(moment is not None and envelope.time < moment - SKEW for moment in before):
            report.findings.append(f"{place}: dated before what it follows from")
        if cause is not None and cause not in times and not report.redacted:
            report.findings.append(f"{place}: its cause does not stand before it")
        if envelope.cycleid != log.cycle:
            report.findings.append(f"{place}: belongs to cycle {envelope.cycleid}, not to {log.cycle}")
        last[envelope.key] = envelope.sequence
        dated[envelope.key] = times[envelope.id] = envelope.time
    # A redacted leaf stands in for one missing number, and for no more.
    if hidden > report.redacted or len(gaps) > hidden:
        report.findings += gaps
    report.recomputed.append("gap-free sequences; causes before effects; the digest of every opened block")
