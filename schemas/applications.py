"""Events about an application, produced by intake."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from schemas.envelope import Event, Sealed, SealedEach
from schemas.exact import Quantity, SafeInt, Value

FactValue = bool | SafeInt | str | list[str]
"""yes_no, count, choice, choices: as the charter's fact says."""


class Identity(Value):
    """Block `identity`: who applies."""

    government: str
    """The government's id."""
    name: str
    state: str
    kind: str
    """One of the charter's eligible kinds."""
    population: Annotated[SafeInt, Field(ge=1)]
    population_source: str
    website: str
    tier: str
    """The charter's tier that the population falls into. It groups the announcement and never moves the bar.
    Empty where the charter has no tiers."""


class Metric(Value):
    """A measured figure of the charter's catalogue."""

    id: str
    value: Quantity
    unit: str
    period: str
    """What it was measured over, e.g. "2010"."""
    published: bool
    """Whether the government publishes it to its residents."""
    simulated: bool = False
    """True for a drawn figure: shown with that label wherever a person sees it."""


class Claims(Value):
    """Block `claims`: facts and metrics."""

    facts: dict[str, FactValue]
    assumed: list[str]
    """Ids of the facts (or "website", "population") that nobody has verified: shown with that label wherever a person
    sees them."""
    metrics: list[Metric]


class File(Value):
    """An uploaded file. Intake gives it at /intake/v1/applications/{application}/files/{sha256} to whoever may read it.

    What it holds is in no event: who has it can prove by `sha256` that it is this one.
    """

    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
    name: str
    type: str
    """The media type, as found from the content."""
    bytes: Annotated[SafeInt, Field(ge=1)]


class Evidence(Value):
    """Where a reviewer can look: at an address (empty: there is none), in a file, or in both."""

    url: str
    page: str = ""
    quote: str = ""
    file: File | None = None


class Carried(Value):
    """How an answer stands to what the same government's last application said by the same criterion."""

    mark: Literal["unchanged", "changed", "new"]
    """`unchanged`: somebody confirmed that it still holds, and not one character differs. `new`: nothing was said."""
    since: str
    """That application's cycle."""


class Answer(Value):
    """Block `answers/<criterion>`: one criterion's statement, or why it does not apply."""

    statement: str = ""
    evidence: list[Evidence] = []
    not_applicable: str | None = None
    """The reason, by the charter's `na_when`; None where the criterion applies."""
    carried: Carried | None = None
    """None where nothing is answered, and in an application that did not start from an earlier one."""


class Contact(Value):
    """Block `contact`: the official who attests, and the channels that the directory will promote."""

    official: str
    title: str
    email: str
    channels: dict[str, str] = {}
    """311, phone, portal, app, chat, walk-in: where residents reach the government."""


class ApplicationSubmitted(Event):
    """A government submitted, or amended: the highest version stands."""

    TYPE = "intake.application.submitted.v1"
    ABOUT = "application"

    cycle: str
    application: str
    version: Annotated[int, Field(ge=1)]
    attested: Literal[True] = True
    """An authorised official confirmed accuracy and what becomes public."""
    identity: Sealed[Identity] = None
    claims: Sealed[Claims] = None
    answers: SealedEach[Answer] = None
    """One block for every criterion of the charter."""
    contact: Sealed[Contact] = None


class Withdrawal(Value):
    """Block `private`: why an applicant withdrew, in its own words; may be empty."""

    reason: str = ""


class ApplicationWithdrawn(Event):
    """An applicant took its application back before the deadline."""

    TYPE = "intake.application.withdrawn.v1"
    ABOUT = "application"

    cycle: str
    application: str
    private: Sealed[Withdrawal] = None
