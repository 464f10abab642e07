"""What is asked and answered about applications over HTTP."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, Field, PlainSerializer

from schemas.applications import FactValue, Metric
from schemas.envelope import Instant
from schemas.exact import Quantity, Ratio
from services.intake.applications.drafts import Draft
from services.intake.forms import Given, Name
from services.intake.text import Prose


def _figure(value: object) -> object:
    return Quantity.parse(value) if isinstance(value, str) else value


Figure = Annotated[Quantity, BeforeValidator(_figure), PlainSerializer(str, return_type=str)]
"""A decimal, shown as it is written in a draft; an event has it as integers."""


class FigureView(Metric):
    """A figure as it was submitted; `value` is a decimal in quotes, as in the draft."""

    value: Figure


class ClaimsView(BaseModel):
    """Facts and figures as they were submitted."""

    facts: dict[str, FactValue]
    assumed: list[str]
    metrics: list[FigureView]


class NewApplication(Given):
    """For which government. With `from`, the draft starts from its last application to an earlier cycle, else empty."""

    government: Name
    origin: Annotated[Literal["last"] | None, Field(alias="from")] = None


class Attestation(Given):
    """An authorised official's word on accuracy and on what becomes public.

    `sha256` is that of the list that was read: sent with it, another list is not attested to by mistake.
    """

    attest: bool = False
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")] | None = None


class NewComment(Given):
    """What to tell the others who work on the draft; `field` is its pointer, "" for the draft as a whole."""

    field: Annotated[str, Field(max_length=500)] = ""
    text: Annotated[str, Field(min_length=1, max_length=5_000)]


class Reason(Given):
    """Why, in the applicant's own words; may be empty."""

    reason: Prose = ""


class FindingView(BaseModel):
    """What is wrong or missing at a place of the draft's document (RFC 6901)."""

    pointer: str
    rule: str
    detail: str


class WarningView(FindingView):
    """What should be looked at again. If it stands, add its `id` to the section's (or the draft's) `acknowledged`."""

    id: str
    acknowledged: bool


class ResultView(BaseModel):
    """What reviewers gave a criterion: `top` is the scale's highest, `low` lies in its lower half."""

    points: Ratio
    maximum: int
    standing: Literal["top", "low"] | None


class CarriedView(BaseModel):
    """What the last application said at a place, `then`, and what became of it.

    `carried`: it says the same still, and waits to be confirmed or changed; `removed`: it says nothing any more.
    """

    field: str
    state: Literal["carried", "confirmed", "changed", "removed"]
    cycle: str
    version: int
    then: Any
    confirmed_by: str | None
    """A person id."""
    confirmed_at: Instant | None
    result: ResultView | None
    """Null unless the announcement of that cycle disclosed it to the applicant."""


class SectionView(BaseModel):
    """A section of a draft: its content, which has the names of the draft's document, and how far it is.

    Of what is `asked`, `done` is there and right; `complete` says that nothing of it keeps the draft from being
    submitted, warnings aside. `bytes_left` is what the whole draft may still grow by. `carried` is what the last
    application said, where the draft started from it.
    """

    application: str
    section: str
    title: str
    etag: str
    content: dict[str, Any]
    asked: int
    done: int
    complete: bool
    problems: list[FindingView]
    missing: list[FindingView]
    warnings: list[WarningView]
    carried: list[CarriedView]
    changed_by: str | None
    """A person id; null until the first change."""
    changed_at: Instant | None
    bytes_left: int


class SectionsView(BaseModel):
    """The sections of a draft in order. `complete` is true when every one is; `etag` is the whole draft's."""

    application: str
    etag: str
    complete: bool
    sections: list[SectionView]


class CheckView(BaseModel):
    """What submitting would answer now, by someone who may and who attests: `ready`, or every problem at once.

    A warning that is not acknowledged is among the problems, except of a link that leads nowhere: it only wants to be
    looked at, and `links_not_looked_at` tells of how many nothing is known yet.
    """

    application: str
    ready: bool
    problems: list[FindingView]
    warnings: list[WarningView]
    links_not_looked_at: int


class AttestationView(BaseModel):
    """What submitting attests to: a plain list of what becomes public, with the digest to send along.

    `confidential` are the fields that are never published, as pointers into the draft's document.
    """

    text: str
    sha256: str
    designated: list[str]
    not_designated: list[str]
    never: list[str]
    confidential: list[str]


class ChangeView(BaseModel):
    """What became of one field: `before` and `after` are its values, null where there was none."""

    number: int
    section: str
    revision: int
    person: str
    at: Instant
    field: str
    before: Any
    after: Any


class ChangesView(BaseModel):
    """A page of a draft's history, the newest first; `next` is the following page's `before`, null at the end."""

    changes: list[ChangeView]
    next: int | None


class DifferenceView(BaseModel):
    """A field (RFC 6901 pointer into what is compared) that differs; null where one of the two does not have it."""

    field: str
    before: Any
    after: Any


class CommentView(BaseModel):
    """What somebody said to the others about a field, and who settled it when."""

    comment: int
    field: str
    text: str
    person: str
    at: Instant
    resolved_by: str | None
    resolved_at: Instant | None


class CommentsView(BaseModel):
    """A page of comments, the oldest first; `next` is the following page's `after`, null at the end."""

    comments: list[CommentView]
    next: int | None


class TierView(BaseModel):
    """The population class that groups the announcement. It never moves the bar."""

    id: str
    label: str


class ApplicationView(BaseModel):
    """An application's state and draft. `version` counts submissions; what was submitted last stands until the next.

    `problems` are what is wrong in the draft, which keeps it all the same; `tier` is null where the charter has none.
    """

    application: str
    cycle: str
    government: str
    state: Literal["draft", "submitted", "withdrawn"]
    version: int
    deadline: Instant
    """Its own where it has a later one than the cycle."""
    etag: str
    draft: Draft
    problems: list[FindingView]
    tier: TierView | None
    bytes_left: int


class Receipt(BaseModel):
    """Proof of what was taken in, at program time: `leaf_hash` (hex) is what the cycle's log will hold of it.

    `receipt` says the same, signed (compact JWS): keep it. `cec receipt verify` checks it.
    """

    application: str
    cycle: str
    version: int
    event: str
    leaf_hash: str
    submitted_at: Instant
    receipt: str
