"""`cec ledger verify`: what an outsider checks about a cycle from its export alone, without a server or a network.

Container, leaves, tree, signatures, order and openings are checked first; then scoring and awards are run again from
the frozen charter and the opened reviews, by the services' own pure domains, and compared with what the log says.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass, field
from functools import cached_property
from hashlib import sha256
from typing import TYPE_CHECKING, Any, TypeVar

import orjson

from schemas import applications, cycles, designations, reviews
from schemas.canonical import NotCanonicalError, canonical
from schemas.charter import Charter, CharterError, charter_digest
from schemas.envelope import Envelope, Event, UnreadableError, opened, parse, read
from schemas.exact import SetDigest
from schemas.topics import EVENTS
from services.awards import domain as awards
from services.chassis import archive
from services.chassis.transparency import Checkpoint, NoteError, VerifierKey, leaf_hash, open_note, root
from services.scoring import domain as scoring

if TYPE_CHECKING:
    from collections.abc import Iterator

E = TypeVar("E", bound=Event)

REQUIRED = ("VERIFY.md", "audience", "charter.toml", "checkpoint", "events.ndjson", "keys/log.vkey", "openings.ndjson")
ATTESTED = (
    "eligibility of the applicants",
    "who the reviewers are, their conflicts and their assignment",
    "the applicants' claims, texts and evidence",
    "the editor's sentences",
)
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


def verify(raw: bytes, policy: str | None = None) -> Report:
    """Check an export (a zip's bytes), against `policy` (C2SP tlog-policy text with `log <vkey>` lines) if given."""
    report = Report()
    try:
        files = archive.unpack(raw)
    except archive.ArchiveError as error:
        report.findings.append(f"container: {error}")
        return report
    missing = [name for name in REQUIRED if name not in files]
    if missing:
        report.findings.append(f"container: {', '.join(missing)} missing")
        return report
    try:
        log = Log.load(files, report)
        _check_tree(files, log, report, policy)
        _check_order(log, report)
        Rerun(log, report, files["charter.toml"].decode(), files["audience"].decode().strip()).run()
    except (UnicodeDecodeError, NoteError, UnreadableError) as error:
        report.findings.append(str(error))
    return report


@dataclass(frozen=True)
class Entry:
    """One leaf: its place, its envelope (None where redacted) and the blocks that this export opens."""

    index: int
    hash: bytes
    envelope: Envelope | None
    openings: dict[str, str]

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
        lines = files["events.ndjson"].split(b"\n")
        if lines.pop() != b"":
            report.findings.append("events.ndjson: the last line does not end")
        for index, line in enumerate(lines):
            entry = _read_entry(index, line, openings.pop(index, []), report)
            entries.append(entry)
            if entry.envelope is not None:
                ids[entry.envelope.id] += 1
        report.findings += [f"entry id {name} stands {count} times" for name, count in ids.items() if count > 1]
        report.findings += [f"openings.ndjson: there is no entry {index}" for index in sorted(openings)]
        report.redacted = sum(entry.envelope is None for entry in entries)
        return cls(entries)

    def of(self, model: type[E]) -> Iterator[tuple[Envelope, E]]:
        """Every readable event of one type, in order."""
        for entry in self.entries:
            if entry.envelope is not None and isinstance(entry.event, model):
                yield entry.envelope, entry.event


def _read_openings(raw: bytes, report: Report) -> dict[int, list[dict[str, Any]]]:
    found: dict[int, list[dict[str, Any]]] = defaultdict(list)
    for number, line in enumerate(raw.split(b"\n")[:-1]):
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
            return Entry(index, bytes.fromhex(value["redacted"]), None, {})
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
        _ = entry.event
    except (UnreadableError, NotCanonicalError, ValueError, TypeError, KeyError) as error:
        report.findings.append(f"entry {index}: {error}")
        return Entry(index, leaf_hash(line), None, {})
    return entry


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
    """Sequences have no gap and no double; a predecessor and a cause in this log stand before what follows."""
    last: dict[tuple[str, str], int] = defaultdict(int)
    places = {entry.envelope.id: entry.index for entry in log.entries if entry.envelope is not None}
    for entry in log.entries:
        envelope = entry.envelope
        if envelope is None:
            continue
        if envelope.sequence != last[envelope.key] + 1 and not report.redacted:
            expected = last[envelope.key] + 1
            report.findings.append(f"entry {entry.index}: sequence {envelope.sequence} where {expected} follows")
        last[envelope.key] = envelope.sequence
        if places.get(envelope.causationid or "", -1) > entry.index:
            report.findings.append(f"entry {entry.index}: stands before its cause")
    report.recomputed.append("gap-free sequences; causes before effects; the digest of every opened block")


class Rerun:
    """Scoring and awards, run again from the charter and the opened reviews."""

    def __init__(self, log: Log, report: Report, charter_text: str, audience: str) -> None:
        self._log = log
        self._report = report
        self._text = charter_text
        self._audience = audience
        self._standing: set[str] | None = None

    def run(self) -> None:
        """Everything that the charter decides."""
        charter = self._charter()
        if charter is None:
            return
        self._check_submitted_set()
        submitted = {
            event.application: (envelope, event) for envelope, event in self._log.of(applications.ApplicationSubmitted)
        }
        granted = dict(self._granted())
        self._check_disclosure(charter, granted)
        rescored = self._rescore(charter, submitted)
        redecided = self._redecide(charter, rescored)
        self._recheck_grants(charter, submitted, granted, redecided)
        self._recheck_announcement(charter, submitted, granted)
        self._recheck_term(charter, granted)
        self._report.attested += ATTESTED

    def _bad(self, finding: str) -> None:
        self._report.findings.append(finding)

    def _charter(self) -> Charter | None:
        opened_events = list(self._log.of(cycles.CycleOpened))
        if len(opened_events) != 1 or self._log.entries[1].event is not opened_events[0][1]:
            self._bad("entry 1 must be the one opening of the cycle")
            return None
        event = opened_events[0][1]
        if event.charter != self._text or event.charter_sha256 != charter_digest(self._text):
            self._bad("charter.toml is not the charter that the cycle was opened under")
        try:
            return Charter.parse(event.charter)
        except CharterError as error:
            self._bad(f"charter: {error}")
            return None

    def _check_submitted_set(self) -> None:
        """The cycle's close states exactly the applications that stood, all in time, and reveals the committed seed."""
        closed = [event for _, event in self._log.of(cycles.CycleClosed)]
        if not closed:
            return
        _, first = next(self._log.of(cycles.CycleOpened))
        deadline = max([first.deadline, *(event.deadline for _, event in self._log.of(cycles.CycleDeadlineExtended))])
        standing: set[str] = set()
        for entry in self._log.entries:
            if entry.envelope is None:
                continue
            if isinstance(entry.event, applications.ApplicationSubmitted):
                standing.add(entry.event.application)
                if entry.envelope.time >= deadline:
                    self._bad(f"entry {entry.index}: submitted after the deadline")
            elif isinstance(entry.event, applications.ApplicationWithdrawn):
                standing.discard(entry.event.application)
        if len(closed) != 1 or closed[0].submitted != SetDigest.of(standing):
            self._bad("the closed cycle's set is not the applications that were submitted and not withdrawn")
        if sha256(bytes.fromhex(closed[0].assignment_seed)).hexdigest() != first.assignment_commitment:
            self._bad("the revealed assignment seed is not the one that was committed to")
        self._report.recomputed.append(f"the set of {len(standing)} standing applications; the committed seed")
        self._standing = standing

    def _granted(self) -> Iterator[tuple[str, tuple[Envelope, designations.DesignationGranted]]]:
        for envelope, event in self._log.of(designations.DesignationGranted):
            yield event.application, (envelope, event)

    def _check_disclosure(
        self,
        charter: Charter,
        granted: dict[str, tuple[Envelope, designations.DesignationGranted]],
    ) -> None:
        """A public export opens what the charter says, all of it and nothing else; an auditor's opens everything."""
        designated = {*granted, *(event.designation for _, event in granted.values())}
        rule = charter.disclosure
        for entry in self._log.entries:
            if entry.envelope is None:
                continue
            sealed = set(entry.envelope.data.get("sealed", {}))
            if self._audience == "public":
                classes = set(rule.designated if entry.envelope.subject in designated else rule.not_designated)
                due = {block for block in sealed if block.partition("/")[0] in classes}
            else:
                due = sealed
            for block in sorted(set(entry.openings) - due):
                self._bad(f"entry {entry.index}: opens block {block}, which the charter keeps sealed")
            if withheld := sorted(due - set(entry.openings)):
                self._bad(f"entry {entry.index}: withholds {', '.join(withheld)}")

    def _rescore(
        self, charter: Charter, submitted: dict[str, tuple[Envelope, applications.ApplicationSubmitted]]
    ) -> dict[str, tuple[str, reviews.Scores]]:
        """Each opened application's scores from its reviews; returns event id and scores of those that were opened."""
        given: dict[str, list[tuple[str, reviews.ReviewSubmitted]]] = defaultdict(list)
        for envelope, review in self._log.of(reviews.ReviewSubmitted):
            given[review.application].append((envelope.id, review))
        assigned: dict[str, set[str]] = defaultdict(set)
        for _, assignment in self._log.of(reviews.ReviewAssigned):
            assigned[assignment.application].add(assignment.review)
        found: dict[str, tuple[str, reviews.Scores]] = {}
        sealed = 0
        for envelope, scored in self._log.of(reviews.ApplicationScored):
            name = scored.application
            mine = given[name]
            if scored.reviews != sorted(event_id for event_id, _ in mine) or name not in submitted:
                self._bad(f"application {name}: its score does not name exactly its reviews")
                continue
            if scored.submitted != submitted[name][0].id or {r.review for _, r in mine} != assigned[name]:
                self._bad(f"application {name}: scored from another version, or not by the reviewers assigned")
            identity = submitted[name][1].identity
            points = [review.scores for _, review in mine]
            if scored.scores is None or identity is None or any(p is None for p in points):
                sealed += 1
                continue
            again = scoring.score(charter, identity.kind, [p for p in points if p is not None])
            if again != scored.scores:
                self._bad(f"application {name} ({identity.name}): the reviews do not give the scores in the log")
            found[name] = (envelope.id, again)
        self._report.recomputed.append(f"{len(found)} applications' scores from their reviews")
        if sealed:
            self._report.attested.append(
                f"{sealed} applications' scores and decisions, which this export does not open"
            )
        return found

    def _redecide(
        self, charter: Charter, rescored: dict[str, tuple[str, reviews.Scores]]
    ) -> dict[str, tuple[str, designations.Outcome]]:
        """Each opened application's outcome from its scores; returns the ratified decision's id and outcome."""
        proposals = {envelope.id: event for envelope, event in self._log.of(designations.DecisionProposed)}
        found: dict[str, tuple[str, designations.Outcome]] = {}
        for envelope, made in self._log.of(designations.DecisionMade):
            proposal = proposals.get(made.proposed)
            if proposal is None or proposal.application != made.application:
                self._bad(f"application {made.application}: decided without a proposal of its own")
                continue
            if made.application not in rescored:
                continue
            scored_id, scores = rescored[made.application]
            again = awards.outcome(charter, scores)
            if proposal.scored != scored_id or proposal.scores != again or made.scores != again:
                self._bad(f"application {made.application}: the charter's rules do not give the decision in the log")
            found[made.application] = (envelope.id, again)
        self._report.recomputed.append(f"{len(found)} decisions by the charter's levels")
        return found

    def _recheck_grants(
        self,
        charter: Charter,
        submitted: dict[str, tuple[Envelope, applications.ApplicationSubmitted]],
        granted: dict[str, tuple[Envelope, designations.DesignationGranted]],
        redecided: dict[str, tuple[str, designations.Outcome]],
    ) -> None:
        """Whoever met a level is designated, nobody else is, each for the charter's term and in its tier."""
        for name, (decision_id, outcome) in redecided.items():
            if (outcome.level is not None) != (name in granted):
                self._bad(f"application {name}: outcome {outcome.level or 'not designated'}, yet granted differs")
            elif name in granted:
                grant = granted[name][1]
                identity = submitted[name][1].identity
                if grant.decided != decision_id or grant.scores != outcome or grant.identity != identity:
                    self._bad(f"designation {grant.designation}: not what was applied for and decided")
                tier = identity and charter.tier_of(identity.population)
                if identity is not None and identity.tier != (tier.id if tier else ""):
                    self._bad(f"designation {grant.designation}: the population's tier is another")
        for name, (_, grant) in granted.items():
            if name not in redecided:
                self._bad(f"designation {grant.designation}: nothing in this export shows that it was earned")
            if grant.ends_on != awards.term(charter, grant.starts_on):
                self._bad(f"designation {grant.designation}: its term is not the charter's")
        self._report.recomputed.append(f"{len(granted)} designations: level, tier and term")

    def _recheck_announcement(
        self,
        charter: Charter,
        submitted: dict[str, tuple[Envelope, applications.ApplicationSubmitted]],
        granted: dict[str, tuple[Envelope, designations.DesignationGranted]],
    ) -> None:
        """The announced set and every highlight's words and counts follow from the designees' facts."""
        announced = list(self._log.of(cycles.CohortAnnounced))
        if not announced:
            return
        event = announced[0][1]
        if len(announced) > 1 or event.designations != SetDigest.of(grant.designation for _, grant in granted.values()):
            self._bad("the announced cohort is not the set of granted designations")
        decided = {made.application for _, made in self._log.of(designations.DecisionMade)}
        if self._standing is not None and decided != self._standing:
            self._bad("announced before every standing application was decided")
        if any(grant.starts_on != event.announced_on for _, grant in granted.values()):
            self._bad("a designation does not start with the announcement")
        pairs = [(grant, submitted[name][1]) for name, (_, grant) in granted.items() if name in submitted]
        designees = [
            awards.designee(charter, grant.designation, applied.identity, applied.claims, grant.scores)
            for grant, applied in pairs
            if applied.identity is not None and applied.claims is not None and grant.scores is not None
        ]
        if len(designees) < len(granted):
            self._bad("the announcement rests on designees that this export does not open")
            return
        again = awards.cohort_announced(
            awards.announce(
                charter, designees, label=event.cycle, announced_on=event.announced_on, narrative=event.narrative
            )
        )
        if again != event:
            wrong = [highlight.id for highlight in event.highlights if highlight not in again.highlights]
            self._bad(f"the designees' facts do not give the announcement; highlights: {', '.join(wrong) or 'missing'}")
        self._report.recomputed.append(f"the announced set and {len(again.highlights)} highlights")

    def _recheck_term(
        self, charter: Charter, granted: dict[str, tuple[Envelope, designations.DesignationGranted]]
    ) -> None:
        """Renewal notices and expiries are the charter's, of granted designations."""
        ends = {grant.designation: grant.ends_on for _, grant in granted.values()}
        for _, due in self._log.of(designations.RenewalDue):
            if due.ends_on != ends.get(due.designation) or due.days not in charter.term.renewal_notice_days:
                self._bad(f"designation {due.designation}: a renewal notice that the charter does not give")
        for _, over in self._log.of(designations.DesignationExpired):
            if over.ended_on != ends.get(over.designation):
                self._bad(f"designation {over.designation}: expired on another day than its term ends")
