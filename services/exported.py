"""An export as read: its entries with their openings, and the report of what was found about it."""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any, TypeVar

import orjson

from schemas.canonical import NotCanonicalError, canonical
from schemas.envelope import Envelope, Event, UnreadableError, opened, parse, read, unb64url
from schemas.topics import EVENTS
from services.chassis.transparency import leaf_hash

if TYPE_CHECKING:
    from collections.abc import Iterator

E = TypeVar("E", bound=Event)

HOLDS, BROKEN, INCOMPLETE = 0, 1, 2


@dataclass
class Report:
    """What was checked. `findings` name what does not hold; `redacted` counts leaves known by their hash only."""

    recomputed: list[str] = field(default_factory=list)
    attested: list[str] = field(default_factory=list)
    findings: list[str] = field(default_factory=list)
    redacted: int = 0
    pinned: bool = False
    size: int = 0
    root: str = ""

    @property
    def exit_code(self) -> int:
        """0 all holds, 1 something does not, 2 incomplete."""
        if self.findings:
            return BROKEN
        return INCOMPLETE if self.redacted else HOLDS

    def headline(self) -> str:
        """The answer in one line."""
        if self.findings:
            return f"DOES NOT HOLD ({len(self.findings)} findings)"
        keys = "" if self.pinned else "; internally consistent, keys not pinned"
        missing = f"; incomplete, {self.redacted} redacted leaves" if self.redacted else ""
        return f"verified{missing}{keys}: {self.size} entries, root {self.root[:16]}…"

    def as_text(self) -> str:
        """The whole answer for a person."""
        lines = [self.headline()]
        for title, items in (
            ("Does not hold:", self.findings),
            ("Re-computed from this export:", self.recomputed),
            ("Attested only (this export cannot prove it):", self.attested),
        ):
            if items:
                lines += ["", title, *(f"  - {item}" for item in items)]
        return "\n".join(lines)

    def as_json(self) -> dict[str, Any]:
        """The whole answer for a machine."""
        return {
            "holds": self.exit_code == HOLDS,
            "exit_code": self.exit_code,
            "size": self.size,
            "root": self.root,
            "keys_pinned": self.pinned,
            "redacted": self.redacted,
            "findings": self.findings,
            "recomputed": self.recomputed,
            "attested": self.attested,
        }


@dataclass(frozen=True)
class Entry:
    """One leaf: its place, its envelope (None where redacted or unreadable) and the blocks that this export opens."""

    index: int
    hash: bytes
    envelope: Envelope | None
    openings: dict[str, str]
    redacted: bool = False

    @cached_property
    def event(self) -> Event | None:
        """The typed event with its opened blocks; None where redacted."""
        if self.envelope is None:
            return None
        data = {**self.envelope.data, "disclosures": self.openings}
        return read(self.envelope.model_copy(update={"data": data}))


@dataclass(frozen=True)
class Log:
    """The entries of an export, in order."""

    entries: list[Entry]

    @classmethod
    def load(cls, files: dict[str, bytes], report: Report) -> Log:
        """Read events and openings; what is not as it must be goes to the report."""
        openings = _read_openings(files["openings.ndjson"], report)
        entries = []
        ids: Counter[str] = Counter()
        for index, line in enumerate(_lines("events.ndjson", files["events.ndjson"], report)):
            entry = _read_entry(index, line, openings.pop(index, []), report)
            entries.append(entry)
            if entry.envelope is not None:
                ids[entry.envelope.id] += 1
        report.findings += [f"entry id {name} stands {count} times" for name, count in ids.items() if count > 1]
        report.findings += [f"openings.ndjson: there is no entry {index}" for index in sorted(openings)]
        report.redacted = sum(entry.redacted for entry in entries)
        return cls(entries)

    @property
    def cycle(self) -> str | None:
        """The cycle that entry 0 opens the log of."""
        first = self.entries[0].envelope if self.entries else None
        return first.cycleid if first else None

    def of(self, model: type[E]) -> Iterator[tuple[Envelope, E]]:
        """Every readable event of one type, in order."""
        for entry in self.entries:
            if entry.envelope is not None and isinstance(entry.event, model):
                yield entry.envelope, entry.event


def _lines(name: str, raw: bytes, report: Report) -> list[bytes]:
    """The lines of a file, each of which ends with a newline; what stands behind the last one is a finding."""
    *lines, rest = raw.split(b"\n")
    if rest:
        report.findings.append(f"{name}: the last line does not end")
    return lines


def _read_openings(raw: bytes, report: Report) -> dict[int, list[dict[str, Any]]]:
    found: dict[int, list[dict[str, Any]]] = defaultdict(list)
    for number, line in enumerate(_lines("openings.ndjson", raw, report)):
        try:
            row = orjson.loads(line)
            if set(row) != {"index", "event", "block", "disclosure"} or canonical(row) != line:
                raise ValueError("not canonical")
            found[row["index"]].append(row)
        except (ValueError, TypeError) as error:
            report.findings.append(f"openings.ndjson line {number}: {error}")
    return found


def _read_entry(index: int, line: bytes, rows: list[dict[str, Any]], report: Report) -> Entry:
    """One line of events.ndjson with its openings, each checked against its digest."""
    try:
        value = orjson.loads(line)
        if canonical(value) != line:
            report.findings.append(f"entry {index}: not in canonical form")
        if isinstance(value, dict) and set(value) == {"redacted"}:
            if rows:
                report.findings.append(f"entry {index}: redacted, yet opened")
            return Entry(index, bytes.fromhex(value["redacted"]), None, {}, redacted=True)
        envelope = parse(line)
        entry = Entry(index, leaf_hash(line), envelope, {row["block"]: row["disclosure"] for row in rows})
        if "disclosures" in envelope.data:
            report.findings.append(f"entry {index}: a leaf holds no disclosures")
        if envelope.type not in EVENTS:
            report.findings.append(f"entry {index}: unknown type {envelope.type}")
            return Entry(index, entry.hash, None, {})
        if len(entry.openings) != len(rows) or any(row["event"] != envelope.id for row in rows):
            report.findings.append(f"entry {index}: openings that are not this entry's, or given twice")
        sealed = envelope.data.get("sealed", {})
        for block, opening in entry.openings.items():
            opened(opening, block, sealed.get(block, ""))
        if not _as_written(entry):
            report.findings.append(f"entry {index}: a value is not of its field's type")
    except (UnreadableError, NotCanonicalError, ValueError, TypeError, KeyError) as error:
        report.findings.append(f"entry {index}: {error}")
        return Entry(index, leaf_hash(line), None, {})
    return entry


def _as_written(entry: Entry) -> bool:
    """Whether the typed event says just what the leaf and its openings say: a reader may have coerced "4" into 4."""
    event, envelope = entry.event, entry.envelope
    if event is None or envelope is None:
        return False
    values = {block: orjson.loads(unb64url(opening))[2] for block, opening in entry.openings.items()}
    return _within(event.public(), envelope.data) and all(
        _within(value, values[block]) for block, value in event.opened_blocks().items() if block in values
    )


def _within(read_value: Any, written: Any) -> bool:  # noqa: ANN401  (any JSON value)
    """Whether what was read stands in what was written; fields that either side lacks are a newer version's."""
    if isinstance(read_value, dict) and isinstance(written, dict):
        return all(_within(value, written[key]) for key, value in read_value.items() if key in written)
    if isinstance(read_value, list) and isinstance(written, list):
        return len(read_value) == len(written) and all(map(_within, read_value, written))
    return type(read_value) is type(written) and bool(read_value == written)
