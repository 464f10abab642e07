"""Events about a cycle, its governments' members and its end: produced by intake, and by awards for the cohort."""

from __future__ import annotations

from datetime import date
from typing import Literal

from schemas.envelope import Event, Instant, Sealed
from schemas.exact import SetDigest, Value


class CycleOpened(Event):
    """A cycle opened under a charter that is frozen here, whole."""

    TYPE = "intake.cycle.opened.v1"
    ABOUT = "cycle"

    cycle: str
    program: str
    charter: str
    """The charter's TOML text, exactly as it was given."""
    charter_sha256: str
    """SHA-256 (hex) of the text's UTF-8 bytes."""
    deadline: Instant
    assignment_commitment: str
    """SHA-256 (hex) of the seed by which reviewers will be assigned; `CycleClosed` reveals the seed."""
    demonstration: bool = False
    """True where scores are drawn and not given by reviewers: everything shown from this cycle says so."""


class CycleDeadlineExtended(Event):
    """The deadline moved to a later instant, for every applicant."""

    TYPE = "intake.cycle.deadline-extended.v1"
    ABOUT = "cycle"

    cycle: str
    deadline: Instant
    reason: str


class CycleClosed(Event):
    """No application enters or changes any more. States which versions stand, without listing them."""

    TYPE = "intake.cycle.closed.v1"
    ABOUT = "cycle"

    cycle: str
    submitted: SetDigest
    """Over the event ids of the standing `ApplicationSubmitted`: the latest version of every application that was
    submitted and not withdrawn. Who holds exactly these events knows that no amendment is still on its way."""
    assignment_seed: str
    """32 bytes, hex; its SHA-256 is `CycleOpened.assignment_commitment`."""
    closed_by: Literal["schedule", "hand"]


class Account(Value):
    """Block `private` of a membership: whose token it is. Other services fill their access tables from it."""

    issuer: str
    subject_claim: str
    """The token's `sub`."""


class MemberJoined(Event):
    """A person may act for a government. People are opaque ids. Goes to the log `program`."""

    TYPE = "intake.member.joined.v1"
    ABOUT = "government"

    government: str
    person: str
    role: Literal["lead", "editor", "viewer"]
    private: Sealed[Account] = None


class MemberRoleChanged(Event):
    """A person acts for a government in another role. Goes to the log `program`."""

    TYPE = "intake.member.role-changed.v1"
    ABOUT = "government"

    government: str
    person: str
    role: Literal["lead", "editor", "viewer"]


class MemberLeft(Event):
    """A person no longer acts for a government. Goes to the log `program`."""

    TYPE = "intake.member.left.v1"
    ABOUT = "government"

    government: str
    person: str


class Highlight(Value):
    """One line of the announcement, with where it comes from."""

    id: str
    """The charter's highlight rule."""
    scope: Literal["all", "some"]
    text: str
    assumed: bool
    """Whether it rests on at least one fact that is marked *assumed*."""
    counted: list[SetDigest]
    """Per sentence, the designations that it counts."""


class CohortAnnounced(Event):
    """The cycle's designations became public, all at once."""

    TYPE = "awards.cohort.announced.v1"
    ABOUT = "cycle"

    cycle: str
    announced_on: date
    designations: SetDigest
    """Over the granted designations' ids."""
    highlights: list[Highlight]
    narrative: list[str]
    """Sentences written by an editor and entered by the board."""


class LogOpened(Event):
    """Entry 0 of every log: what an outsider needs to follow it."""

    TYPE = "ledger.log.opened.v1"
    ABOUT = "log"

    log: str
    """The cycle's label, or "program"."""
    cycle: str | None = None
    origin: str
    """C2SP checkpoint origin, `HOST/cycles/<label>`."""
    verifier_key: str
    """C2SP signed-note verifier key of the log."""
    leaf_version: Literal[1] = 1
