"""Reviewing and scoring, decided without I/O: which reviews are accepted, what they come to, what refuses a command.

Who reviews what is decided before, in `cycle`. `score` is the program's arithmetic: charter, the applicant's kind and
the reviews' points are all it needs, so the offline verifier runs the very same function. Why a signed command can be
refused is listed in `Reason`.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from fractions import Fraction
from functools import lru_cache
from math import lcm
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
    wrong = [] if _plainly_fits(charter, card, review.body) else list(_misfits(charter, card, review.body))
    if not wrong and _most_bytes(remarks) > REMARKS_LIMIT and len(canonical(remarks.model_dump())) > REMARKS_LIMIT:
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


class _Itself:
    """A charter as a key: the object that it is. Hashing what it holds would cost more than is saved."""

    __slots__ = ("charter",)

    def __init__(self, charter: Charter) -> None:
        self.charter = charter

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Itself) and self.charter is other.charter

    def __hash__(self) -> int:
        return id(self.charter)


@dataclass(frozen=True, slots=True)
class _Judged:
    """What applicants of a kind are judged by: areas (id, weight, criteria), and the criteria of all of them."""

    areas: tuple[tuple[str, int, tuple[str, ...]], ...]
    criteria: frozenset[str]


@lru_cache(maxsize=256)
def _judged(charter: _Itself, kind: str) -> _Judged:
    areas = [(area.id, area.weight, tuple(one.id for one in area.applicable(kind))) for area in charter.charter.areas]
    return _Judged(tuple(areas), frozenset(name for _, _, names in areas for name in names))


def _plainly_fits(charter: Charter, card: Scorecard, body: ReviewBody) -> bool:
    """Whether points of the scale are given for each criterion and no other. Where not, `_misfits` tells why."""
    criteria, points = _judged(_Itself(charter), card.kind).criteria, set(body.points.values())
    return (
        body.points.keys() == criteria
        and criteria.issuperset(body.rationales)
        and all(given is not None and charter.scale.min <= given <= charter.scale.max for given in points)
    )


def _most_bytes(remarks: Remarks) -> int:
    """No fewer than they take as JSON, where a character takes six at most."""
    rationales = sum(len(name) + len(text) + 6 for name, text in remarks.rationales.items())
    return 6 * (rationales + len(remarks.comment) + len(remarks.reviewer) + len(remarks.command_sha256)) + 100


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
        Seat(seat.review, seat.reviewer, name, event.scores) if seat.review == event.review else seat
        for seat in card.seats
    ]
    # As `replace` would, in a third of the time.
    return Scorecard(card.application, card.cycle, card.version, card.submitted, card.kind, card.claimed, tuple(seats))


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
    judged, unit = _judged(_Itself(charter), kind), _unit(len(reviews))
    method, least, most = charter.scoring.criterion, charter.scale.min, charter.scale.max
    if any(review.points.keys() != judged.criteria for review in reviews):
        raise ValueError(f"a review does not give points for exactly the criteria of a {kind}")
    given = [review.points for review in reviews]
    criteria: dict[str, Ratio | None] = {}
    areas: dict[str, AreaShare] = {}
    sums: list[tuple[int, int, int]] = []
    for area, weight, names in judged.areas:
        points, maximum = 0, 0
        for name in names:
            try:
                units, criteria[name] = _combined(method, tuple([one[name] for one in given]), least, most)
            except ValueError as error:
                raise ValueError(f"{name}: {error}") from error
            if units is not None:
                points, maximum = points + units, maximum + most
        if maximum:
            areas[area] = _share(points, unit, maximum)
            sums.append((weight, points, maximum))
    # Over one denominator: a sum of fractions would look for the lowest terms at every step.
    over = lcm(*[maximum for _, _, maximum in sums])
    weighted = sum(weight * points * (over // maximum) for weight, points, maximum in sums)
    total = Fraction(weighted, unit * over * (sum(weight for weight, _, _ in sums) or 1))
    # Not validated once more: every part of it is.
    return Scores.model_construct(criteria=criteria, areas=areas, total=Ratio.of(total))


# Sums are of whole numbers, in units that every mean and median is a multiple of. Few reviewers give few different
# points, so what they come to is remembered.


@lru_cache
def _unit(reviews: int) -> int:
    """By what a criterion's score is multiplied to be a whole number."""
    return lcm(2, *range(1, reviews + 1))


@lru_cache(maxsize=4_096)
def _combined(
    method: str, column: tuple[int | None, ...], least: int, most: int
) -> tuple[int, Ratio] | tuple[None, None]:
    """A criterion's score over the reviewers, in units and as it is; None where it does not apply."""
    numbers = [points for points in column if points is not None]
    if 2 * len(numbers) < len(column):
        return None, None
    if not numbers or not least <= min(numbers) <= max(numbers) <= most:
        raise ValueError("no points, or points that the scale does not have")
    unit = _unit(len(column))
    if method == "mean":
        score = sum(numbers) * (unit // len(numbers))
    else:
        score = (median_low(numbers) + median_high(numbers)) * (unit // 2)
    return score, Ratio.of(Fraction(score, unit))


@lru_cache(maxsize=4_096)
def _share(points: int, unit: int, maximum: int) -> AreaShare:
    return AreaShare(
        points=Ratio.of(Fraction(points, unit)), maximum=maximum, share=Ratio.of(Fraction(points, unit * maximum))
    )


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
