"""Reviewing and scoring, decided without I/O: which reviews are accepted, what they come to, what refuses a command.

Who reviews what is decided before, in `cycle`. `score` is the program's arithmetic: charter, the applicant's kind and
the reviews' points are all it needs, so the offline verifier runs the very same function. Why a signed command can be
refused is listed in `Reason`.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from fractions import Fraction
from statistics import median_high, median_low
from typing import Literal

from schemas.canonical import canonical
from schemas.charter import Charter
from schemas.exact import Ratio
from schemas.reviews import (
    ApplicationScored,
    AreaShare,
    CommandRefused,
    Points,
    Refusal,
    Remarks,
    ReviewBody,
    ReviewCommand,
    ReviewSubmitted,
    Scores,
)
from services.chassis.refusal import RefusedError, Violation, pointer

LEEWAY_SECONDS = 30
"""By how much a sender's clock may differ from the broker's."""
VALID_SECONDS = 3_600
"""How long a signed command may stay valid."""
REMARKS_LIMIT = 300_000
"""Bytes of a review's remarks as JSON: their event carries them in base64 and holds 900,000."""
VIOLATIONS_SHOWN = 20


class Reason(StrEnum):
    """Why a command of a known sender is refused; also the rule that a problem over HTTP names."""

    MALFORMED = "malformed"
    """The payload is not what `ReviewCommand` describes."""
    WRONG_SENDER = "wrong-sender"
    """`sub` is not the reviewer whose key signed."""
    UNKNOWN_CYCLE = "unknown-cycle"
    """No such cycle is known here."""
    WRONG_CYCLE = "wrong-cycle"
    """The key was registered for another cycle."""
    WRONG_RECORD_KEY = "wrong-record-key"
    """The record's key is not `body.application`."""
    NOT_YET_VALID = "not-yet-valid"
    """`iat` lies after the record's arrival."""
    EXPIRED = "expired"
    """`exp` lies before the record's arrival."""
    VALID_TOO_LONG = "valid-too-long"
    """`exp` lies more than an hour after `iat`, or not after it at all."""
    REUSED_COMMAND_ID = "reused-command-id"
    """The id was given to another command before."""
    NOT_ASSIGNED = "not-assigned"
    """The reviewer was not given this application (which may not exist)."""
    ALREADY_SUBMITTED = "already-submitted"
    """The reviewer's review of this application is in."""
    UNKNOWN_CRITERION = "unknown-criterion"
    """A criterion that this applicant is not judged by."""
    MISSING_CRITERION = "missing-criterion"
    """A criterion without points."""
    OUT_OF_SCALE = "out-of-scale"
    """Points that the charter's scale does not have."""
    NOT_CLAIMED = "not-claimed"
    """No points, where the applicant did not claim that the criterion does not apply."""
    REMARKS_TOO_LONG = "remarks-too-long"
    """Rationales and comment do not fit into an event."""


# --- reviews --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Seat:
    """One reviewer's place at an application; `event` and `points` once the review is in."""

    review: str
    reviewer: str
    event: str | None = None
    points: Points | None = None


@dataclass(frozen=True, slots=True)
class Scorecard:
    """An application under review: its standing version, the criteria it claims not to apply, and its reviewers."""

    application: str
    cycle: str
    version: int
    submitted: str
    """Event id of that version."""
    kind: str
    claimed: frozenset[str]
    seats: tuple[Seat, ...]

    def seat_of(self, reviewer: str) -> Seat | None:
        """The reviewer's place, if there is one."""
        return next((seat for seat in self.seats if seat.reviewer == reviewer), None)


@dataclass(frozen=True, slots=True)
class Review:
    """A review that a known reviewer hands in; `sha256` (hex) is of the record or of the HTTP body."""

    reviewer: str
    cycle: str
    body: ReviewBody
    via: Literal["http", "kafka"]
    sha256: str


def unassigned(review: Review) -> Scorecard:
    """What stands for an application that nobody here reviews, whether or not it exists."""
    return Scorecard(review.body.application, review.cycle, 0, "", "", frozenset(), ())


def decide_review(charter: Charter, card: Scorecard, review: Review) -> ReviewSubmitted:
    """Accept a review. RefusedError names every rule that it breaks."""
    seat = card.seat_of(review.reviewer)
    if seat is None:
        raise RefusedError(
            Reason.NOT_ASSIGNED,
            "This application is not assigned to you: `GET /me/assignments` lists those that are.",
            field="/application",
            status=404,
        )
    if seat.event is not None:
        raise RefusedError(Reason.ALREADY_SUBMITTED, "Your review of this application is in already; it stands.")
    remarks = Remarks(
        reviewer=review.reviewer,
        command_sha256=review.sha256,
        rationales=review.body.rationales,
        comment=review.body.comment,
    )
    wrong = list(_misfits(charter, card, review.body))
    if not wrong and len(canonical(remarks.model_dump())) > REMARKS_LIMIT:
        wrong = [Violation(Reason.REMARKS_TOO_LONG, f"Shorten rationales and comment to {REMARKS_LIMIT:,} bytes.")]
    if wrong:
        raise RefusedError.all(wrong[:VIOLATIONS_SHOWN])
    return ReviewSubmitted(
        cycle=card.cycle,
        application=card.application,
        review=seat.review,
        version=card.version,
        via=review.via,
        scores=Points(points=review.body.points, recommendation=review.body.recommendation),
        private=remarks,
    )


def _misfits(charter: Charter, card: Scorecard, body: ReviewBody) -> Iterator[Violation]:
    criteria = charter.criteria(card.kind)
    for place, names in (("points", body.points), ("rationales", body.rationales)):
        for name in names:
            if name not in criteria:
                detail = f"{name[:60]!r} is no criterion that this applicant is judged by."
                yield Violation(Reason.UNKNOWN_CRITERION, detail, pointer((place, name[:60])))
    for name in criteria:
        at = pointer(("points", name))
        if name not in body.points:
            yield Violation(Reason.MISSING_CRITERION, f"{name}: give points.", at)
        elif (given := body.points[name]) is None:
            if name not in card.claimed:
                detail = f"{name}: the applicant does not claim that it does not apply: give points."
                yield Violation(Reason.NOT_CLAIMED, detail, at)
        elif given not in charter.scale:
            detail = f"{name}: points are whole numbers from {charter.scale.min} to {charter.scale.max}."
            yield Violation(Reason.OUT_OF_SCALE, detail, at)


def evolve(card: Scorecard, event: ReviewSubmitted, name: str) -> Scorecard:
    """The scorecard after a review, whose event has the id `name`."""
    seats = [
        replace(seat, event=name, points=event.scores) if seat.review == event.review else seat for seat in card.seats
    ]
    return replace(card, seats=tuple(seats))


def decide_score(charter: Charter, card: Scorecard) -> ApplicationScored | None:
    """What the reviews come to, once the last of them is in."""
    reviews = [(seat.event, seat.points) for seat in card.seats if seat.event is not None and seat.points is not None]
    if len(reviews) < len(card.seats):
        return None
    return ApplicationScored(
        cycle=card.cycle,
        application=card.application,
        submitted=card.submitted,
        reviews=sorted(event for event, _ in reviews),
        scores=score(charter, card.kind, [points for _, points in reviews]),
    )


# --- the arithmetic -------------------------------------------------------------------------------------------------


def score(charter: Charter, kind: str, reviews: Sequence[Points]) -> Scores:
    """What an applicant of this kind gets from its reviews, exactly, with every criterion that it is judged by.

    A criterion does not apply where more than half of the reviewers gave no points, which they may only do where the
    applicant claimed so; otherwise its score is the charter's median (for an even count the mean of the middle two) or
    mean of the points given. An area's share is the sum of its applicable criteria's scores over what they could have
    been at most; the total is the mean of the shares by the areas' weights. An area without any applicable criterion,
    which no sound charter allows to happen, is left out of the result and of the weights. Raises ValueError for reviews
    that `decide_review` would not have accepted.
    """
    criteria: dict[str, Ratio | None] = {}
    areas: dict[str, AreaShare] = {}
    weighted, weights = Fraction(0), 0
    for area in charter.areas:
        points, maximum = Fraction(0), 0
        for criterion in area.applicable(kind):
            given = _combined(charter, criterion.id, reviews)
            criteria[criterion.id] = None if given is None else Ratio.of(given)
            if given is not None:
                points, maximum = points + given, maximum + charter.scale.max
        if maximum:
            share = points / maximum
            areas[area.id] = AreaShare(points=Ratio.of(points), maximum=maximum, share=Ratio.of(share))
            weighted, weights = weighted + area.weight * share, weights + area.weight
    if any(set(review.points) != set(criteria) for review in reviews):
        raise ValueError(f"a review does not give points for exactly the criteria of a {kind}")
    return Scores(criteria=criteria, areas=areas, total=Ratio.of(weighted / weights if weights else 0))


def _combined(charter: Charter, criterion: str, reviews: Sequence[Points]) -> Fraction | None:
    """A criterion's score over the reviewers; None where it does not apply."""
    numbers = [points for review in reviews if (points := review.points.get(criterion)) is not None]
    if 2 * len(numbers) < len(reviews):
        return None
    if not numbers or any(number not in charter.scale for number in numbers):
        raise ValueError(f"{criterion}: no points, or points that the scale does not have")
    if charter.scoring.criterion == "mean":
        return Fraction(sum(numbers), len(numbers))
    return Fraction(median_low(numbers) + median_high(numbers), 2)


# --- signed commands ------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Sender:
    """The reviewer whose registered key signed a command, and the cycle that the key was registered for."""

    reviewer: str
    cycle: str


def check_command(
    command: ReviewCommand, sender: Sender, *, record_key: bytes | None, arrived_ms: int, cycles: Collection[str]
) -> None:
    """Judge all of a command but its review. RefusedError for the first rule that it breaks.

    `arrived_ms` is the broker's LogAppendTime in milliseconds since 1970, `cycles` are those known here.
    """
    if command.sub != sender.reviewer:
        raise RefusedError(Reason.WRONG_SENDER, "`sub` is not the reviewer whose key signed.")
    if command.cycle != sender.cycle:
        if command.cycle not in cycles:
            raise RefusedError(Reason.UNKNOWN_CYCLE, "No such cycle is known here.")
        raise RefusedError(Reason.WRONG_CYCLE, "The key was registered for another cycle.")
    if record_key != command.body.application.encode():
        raise RefusedError(Reason.WRONG_RECORD_KEY, "Send the record under the application's id as its key.")
    if not 0 < command.exp - command.iat <= VALID_SECONDS:
        raise RefusedError(Reason.VALID_TOO_LONG, f"`exp` must lie at most {VALID_SECONDS} s after `iat`.")
    if command.iat * 1000 > arrived_ms + LEEWAY_SECONDS * 1000:
        raise RefusedError(Reason.NOT_YET_VALID, "`iat` lies ahead: set the clock of the machine that signs.")
    if command.exp * 1000 < arrived_ms - LEEWAY_SECONDS * 1000:
        raise RefusedError(Reason.EXPIRED, "The command arrived after `exp`: sign it anew.")


def refuse(sender: Sender, command_id: str, record_sha256: str, refusal: RefusedError) -> CommandRefused:
    """The fact that a command of a known sender was not carried out."""
    return CommandRefused(
        cycle=sender.cycle,
        command=command_id,
        reason=refusal.rule,
        record_sha256=record_sha256,
        private=Refusal(reviewer=sender.reviewer, detail=str(refusal)[:4_000]),
    )
