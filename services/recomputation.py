"""Scoring and awards, run again from an export: the charter that was frozen, and the reviews that are opened.

Whoever holds the openings computes here, by the services' own pure domains, who stood, what every application scored,
what was decided, who was designated for how long, and what was announced, and compares it with what the log says.
"""

from __future__ import annotations

from collections import defaultdict
from hashlib import sha256
from typing import TYPE_CHECKING

from schemas import applications, cycles, designations, erasures, reviews
from schemas.charter import Charter, CharterError, charter_digest
from schemas.exact import SetDigest
from services.awards import domain as awards
from services.awards import rules
from services.eligibility import eligible, own_deadlines, released
from services.scoring import domain as scoring

if TYPE_CHECKING:
    from collections.abc import Iterator

    from schemas.envelope import Envelope
    from services.exported import Log, Report

Submitted = tuple["Envelope", applications.ApplicationSubmitted]
Granted = tuple["Envelope", designations.DesignationGranted]

ATTESTED = (
    "eligibility of the applicants",
    "who the reviewers are, their conflicts and their assignment",
    "the applicants' claims, texts and evidence",
    "the editor's sentences",
    "that nothing was left off at an aggregate's end: a renewal notice or an expiry after the last one here",
)


class Recomputation:
    """The re-run of one cycle. `run` puts what it finds into the report."""

    def __init__(self, log: Log, report: Report, charter_text: str, audience: str) -> None:
        self._log = log
        self._report = report
        self._text = charter_text
        self._audience = audience
        self._standing: set[str] | None = None
        self._versions: dict[str, str] = {}

    def run(self) -> None:
        """Everything that the charter decides. A value that no rule can take is a finding, too."""
        try:
            self._run()
        except (ValueError, ArithmeticError, KeyError) as error:
            self._bad(f"the log cannot be computed again: {error}")

    def _run(self) -> None:
        charter = self._charter()
        if charter is None:
            return
        self._check_submitted_set(charter)
        self._check_screening(charter)
        self._check_withdrawals()
        versions = sorted(self._log.of(applications.ApplicationSubmitted), key=lambda entry: entry[1].version)
        submitted = {event.application: (envelope, event) for envelope, event in versions}
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

    def _check_submitted_set(self, charter: Charter) -> None:
        """The cycle's close states exactly the versions that stood, all in time, and reveals the committed seed."""
        closed = [event for _, event in self._log.of(cycles.CycleClosed)]
        if not closed:
            if any(self._log.of(reviews.ReviewAssigned)) or any(self._log.of(cycles.CohortAnnounced)):
                self._bad("reviewed or announced, yet the cycle was never closed")
            return
        _, first = next(self._log.of(cycles.CycleOpened))
        deadline = max([first.deadline, *(event.deadline for _, event in self._log.of(cycles.CycleDeadlineExtended))])
        own, findings = own_deadlines(self._log, charter, deadline)
        self._report.findings += findings
        standing: dict[str, tuple[int, str]] = {}  # the highest version and its event's id, by application
        for entry in self._log.entries:
            if entry.envelope is None:
                continue
            if isinstance(entry.event, applications.ApplicationSubmitted):
                version = entry.event.version, entry.envelope.id
                standing[entry.event.application] = max(version, standing.get(entry.event.application, version))
                if entry.envelope.time >= max(deadline, own.get(entry.event.application, deadline)):
                    self._bad(f"entry {entry.index}: submitted after the deadline")
            elif isinstance(entry.event, applications.ApplicationWithdrawn):
                standing.pop(entry.event.application, None)
        if len(closed) != 1 or closed[0].submitted != SetDigest.of(event_id for _, event_id in standing.values()):
            self._bad("the closed cycle's set is not the last versions of what was submitted and not withdrawn")
        if sha256(bytes.fromhex(closed[0].assignment_seed)).hexdigest() != first.assignment_commitment:
            self._bad("the revealed assignment seed is not the one that was committed to")
        self._report.recomputed.append(f"the set of {len(standing)} standing versions; the committed seed")
        self._standing = set(standing)
        self._versions = {name: event_id for name, (_, event_id) in standing.items()}

    def _check_screening(self, charter: Charter) -> None:
        """Where the charter has a screening: its end states what stood and was last found eligible."""
        found, findings = eligible(self._log, charter, self._versions)
        self._report.findings += findings
        if self._standing is not None and charter.screening is not None:
            self._report.recomputed.append(f"the {len(found)} of them that the screening found eligible")
            self._standing = found

    def _check_withdrawals(self) -> None:
        """What the board gave back after the deadline, on request, is not decided."""
        found, findings = released(self._log, self._standing or set())
        self._report.findings += findings
        if self._standing is not None and found:
            self._report.recomputed.append(f"the {len(found)} of them that were given back on request")
            self._report.attested.append("that the applicants themselves asked for what was given back")
            self._standing -= found

    def _granted(self) -> Iterator[tuple[str, Granted]]:
        for envelope, event in self._log.of(designations.DesignationGranted):
            yield event.application, (envelope, event)

    def _check_disclosure(
        self,
        charter: Charter,
        granted: dict[str, Granted],
    ) -> None:
        """A public export opens what the charter says, all of it and nothing else; an auditor's opens everything.

        What the log itself says is erased is open to nobody.
        """
        erased = {
            (erasure.event, block, digest)
            for _, erasure in self._log.of(erasures.DisclosureErased)
            for block, digest in erasure.digests.items()
        }
        designated = {*granted, *(event.designation for _, event in granted.values())}
        rule = charter.disclosure
        for entry in self._log.entries:
            if entry.envelope is None:
                continue
            digests = entry.envelope.data.get("sealed", {})
            gone = {block for block, digest in digests.items() if (entry.envelope.id, block, digest) in erased}
            sealed = set(digests) - gone
            if self._audience == "public":
                classes = set(rule.designated if entry.envelope.subject in designated else rule.not_designated)
                due = {block for block in sealed if block.partition("/")[0] in classes}
            else:
                due = sealed
            for block in sorted(set(entry.openings) & gone):
                self._bad(f"entry {entry.index}: opens block {block}, which was erased")
            for block in sorted(set(entry.openings) - due - gone):
                self._bad(f"entry {entry.index}: opens block {block}, which the charter keeps sealed")
            if withheld := sorted(due - set(entry.openings)):
                self._bad(f"entry {entry.index}: withholds {', '.join(withheld)}")
        if erased:
            self._report.attested.append(f"what {len(erased)} erased blocks said: only their digests are known")

    def _rescore(self, charter: Charter, submitted: dict[str, Submitted]) -> dict[str, tuple[str, reviews.Scores]]:
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
            if len(mine) != charter.scoring.reviewers_per_application:
                self._bad(f"application {name}: {len(mine)} reviews, which is not what the charter asks for")
            applied = submitted[name][1]
            identity = applied.identity
            points = [review.scores for _, review in mine if review.scores is not None]
            if scored.scores is None or identity is None or len(points) < len(mine):
                sealed += 1
                continue
            self._check_not_applicable(charter, applied, points)
            again = scoring.score(charter, identity.kind, points)
            if again != scored.scores:
                self._bad(f"application {name} ({identity.name}): the reviews do not give the scores in the log")
            found[name] = (envelope.id, again)
        self._report.recomputed.append(f"{len(found)} applications' scores from their reviews")
        if sealed:
            self._report.attested.append(
                f"{sealed} applications' scores and decisions, which this export does not open"
            )
        return found

    def _check_not_applicable(
        self, charter: Charter, applied: applications.ApplicationSubmitted, points: list[reviews.Points]
    ) -> None:
        """No points: only where the charter has a ground, not for a core criterion, and where the applicant said so."""
        name = applied.application
        for area in charter.areas:
            excused = {one.id for one in area.criteria if any(p.points.get(one.id, 0) is None for p in points)}
            for criterion in area.criteria:
                if criterion.id in excused and (criterion.core or criterion.na_when is None):
                    self._bad(f"application {name}: {criterion.id} cannot be called not applicable")
            # The answers are opened to an auditor only.
            for one in excused & set(applied.answers or {}):
                if (applied.answers or {})[one].not_applicable is None:
                    self._bad(f"application {name}: {one} counts as not applicable, which the applicant did not claim")
            if len(excused) > charter.scoring.not_applicable_per_area:
                self._bad(f"application {name}: too many criteria of {area.id} count as not applicable")

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
            again = rules.outcome(charter, scores)
            if proposal.scored != scored_id or proposal.scores != again or made.scores != again:
                self._bad(f"application {made.application}: the charter's rules do not give the decision in the log")
            found[made.application] = (envelope.id, again)
        self._report.recomputed.append(f"{len(found)} decisions by the charter's levels")
        return found

    def _recheck_grants(
        self,
        charter: Charter,
        submitted: dict[str, Submitted],
        granted: dict[str, Granted],
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
            if grant.ends_on != rules.term(charter, grant.starts_on):
                self._bad(f"designation {grant.designation}: its term is not the charter's")
        self._report.recomputed.append(f"{len(granted)} designations: level, tier and term")

    def _recheck_announcement(
        self,
        charter: Charter,
        submitted: dict[str, Submitted],
        granted: dict[str, Granted],
    ) -> None:
        """The announced set and every highlight's words and counts follow from the designees' facts."""
        announced = list(self._log.of(cycles.CohortAnnounced))
        if not announced:
            if self._audience == "public":
                self._bad("a public export of a cycle that is not announced")
            return
        event = announced[0][1]
        if len(announced) > 1 or event.designations != SetDigest.of(grant.designation for _, grant in granted.values()):
            self._bad("the announced cohort is not the set of granted designations")
        decided = {made.application for _, made in self._log.of(designations.DecisionMade)}
        if self._standing is not None and decided != self._standing:
            self._bad("announced before every standing application was decided")
        days = {made.announce_on for _, made in self._log.of(designations.DecisionMade)}
        days |= {grant.starts_on for _, grant in granted.values()}
        if days - {event.announced_on}:
            self._bad("announced on another day than the board ratified, or a designation starts on another")
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

    def _recheck_term(self, charter: Charter, granted: dict[str, Granted]) -> None:
        """Renewal notices and expiries are the charter's, of granted designations."""
        ends = {grant.designation: grant.ends_on for _, grant in granted.values()}
        for _, due in self._log.of(designations.RenewalDue):
            if due.ends_on != ends.get(due.designation) or due.days not in charter.term.renewal_notice_days:
                self._bad(f"designation {due.designation}: a renewal notice that the charter does not give")
        notified: dict[str, list[int]] = defaultdict(list)
        for _, due in self._log.of(designations.RenewalDue):
            notified[due.designation].append(due.days)
        wanted = sorted(charter.term.renewal_notice_days)
        for _, over in self._log.of(designations.DesignationExpired):
            if sorted(notified[over.designation]) != wanted:
                self._bad(f"designation {over.designation}: expired without the charter's renewal notices")
            if over.ended_on != ends.get(over.designation):
                self._bad(f"designation {over.designation}: expired on another day than its term ends")
