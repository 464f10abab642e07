"""What a service could not take, over HTTP: `/<service>/dead-letters`, the same for every service.

Auditors and program administrators look; administrators have it tried again, or dismiss what is no event. A record is
shown by its envelope and its public data alone: what it opens, and whatever cannot be read, is never shown, only
measured.
"""

from __future__ import annotations

from hashlib import sha256
from typing import Annotated, Any, Literal

import orjson
from fastapi import APIRouter, Query
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from schemas.envelope import EVENTS, Header, Instant
from services.chassis.parking import alarm, ask_again, dismiss, record_of
from services.chassis.problems import not_found
from services.chassis.refusal import RefusedError, Violation
from services.chassis.web import Asked, CommandRoute, Reading, SignedIn, Writing

router = APIRouter(prefix="/dead-letters", route_class=CommandRoute, tags=["dead letters"])

SHOWN = 200
"""Characters of a text, at most."""


class Place(BaseModel):
    """Where a record lies on Kafka."""

    model_config = ConfigDict(extra="forbid")

    topic: Annotated[str, Field(max_length=249, pattern=r"^[a-zA-Z0-9._-]+$")]
    partition: Annotated[int, Field(ge=0, le=2**31 - 1)]
    offset: Annotated[int, Field(ge=0, le=2**63 - 1)]


class Parked(Place):
    """A record that is kept: poison, or an event that waits."""

    kind: Literal["poison", "waiting"]
    again: bool
    """Whether it is about to be tried again."""
    source: str | None
    subject: str | None
    sequence: int | None
    """All three None where they cannot be read: then nothing waits for it by name."""
    reason: str
    parked_at: Instant
    age_seconds: int
    attempts: int


class Shown(Parked):
    """The same with a safe view of the record."""

    arrived_at: Instant
    bytes: int
    sha256: str
    """Of the record's value, hex."""
    key: str | None
    behind: int
    """How many later events of its key wait."""
    envelope: dict[str, Any]
    """The attributes that can be read."""
    data: dict[str, Any]
    """The public fields that the event's type has."""
    withheld: list[str]
    """Names of the other fields and of the blocks: what they hold is not shown."""


class Stop(Place):
    """Where a consumer stopped because too many events in a row were poison."""

    group: str
    reason: str
    since: Instant
    go_on: bool


class Listing(BaseModel):
    """What is kept, and whether a consumer stands still."""

    poison: int
    waiting: int
    again: int
    """Poison about to be tried again."""
    stopped: list[Stop]
    records: list[Parked]
    next: str | None
    """Give it as `after` for the records that follow."""


class Again(BaseModel):
    """Which poison to try again; None for all."""

    model_config = ConfigDict(extra="forbid")

    records: Annotated[list[Place], Field(max_length=10_000)] | None = None


class Dismissal(BaseModel):
    """Which unreadable records are nothing of ours, and how that is known."""

    model_config = ConfigDict(extra="forbid")

    records: Annotated[list[Place], Field(min_length=1, max_length=1_000)]
    reason: Annotated[str, Field(min_length=1, max_length=500, pattern=r"^\P{Cc}+$")]


@router.get("")
async def list_dead_letters(
    db: Reading,
    who: SignedIn,
    kind: Literal["poison", "waiting"] | None = None,
    after: Annotated[str, Query(pattern=r"^[a-zA-Z0-9._-]+/\d{1,9}/\d{1,18}$")] = "0/0/0",
    limit: Annotated[int, Query(ge=1, le=1_000)] = 100,
) -> Listing:
    """What is parked, by topic, partition and offset."""
    who.require("auditor", "program-admin")
    counts = await db.fetchrow(_COUNTS)
    topic, partition, offset = after.split("/")
    stored = {None: ["poison", "not_yet"], "poison": ["poison"], "waiting": ["not_yet"]}[kind]
    rows = await db.fetch(_LIST, stored, topic, int(partition), int(offset), limit)
    records = [Parked(**_parked(row)) for row in rows]
    following = None
    if len(records) == limit:
        last = records[-1]
        following = f"{last.topic}/{last.partition}/{last.offset}"
    return Listing(
        **counts,
        stopped=[Stop(**row) for row in await db.fetch(_STOPS)],
        records=records,
        next=following,
    )


@router.get("/{topic}/{partition}/{offset}")
async def show_dead_letter(topic: str, partition: int, offset: int, db: Reading, who: SignedIn) -> Shown:
    """One parked record; 404 also for one that has taken effect since."""
    who.require("auditor", "program-admin")
    try:
        place = Place(topic=topic, partition=partition, offset=offset)
    except ValidationError:
        raise not_found() from None
    row = await db.fetchrow(_ONE, place.topic, place.partition, place.offset)
    if row is None:
        raise not_found("Nothing is parked there: it took effect, or never was.")
    record = record_of(row)
    value = record.value or b""
    envelope, data, withheld = safe_view(value)
    return Shown(
        **_parked(row),
        arrived_at=record.arrived,
        bytes=len(value),
        sha256=sha256(value).hexdigest(),
        key=None if record.key is None else _text(record.key.decode(errors="backslashreplace")),
        behind=row["behind"],
        envelope=envelope,
        data=data,
        withheld=withheld,
    )


@router.post("/redrive", status_code=202)
async def redrive_dead_letters(body: Again, tx: Writing, who: SignedIn, asked: Asked) -> list[Place]:
    """Have poison tried again now, in the order of its key; returns what will be. Where it fails again, it stays."""
    who.require("program-admin")
    places = None if body.records is None else [(r.topic, r.partition, r.offset) for r in body.records]
    tx.wakes |= {alarm(consumer.group) for consumer in asked.consumers}
    return [Place(topic=t, partition=p, offset=o) for t, p, o in await ask_again(tx, places)]


@router.post("/dismiss")
async def dismiss_dead_letters(body: Dismissal, tx: Writing, who: SignedIn) -> list[Place]:
    """Drop poison that is no event of ours; its copy on Kafka stays for its thirty days. All of it, or none."""
    who.require("program-admin")
    places = [(r.topic, r.partition, r.offset) for r in body.records]
    gone = set(await dismiss(tx, places, body.reason))
    if kept := [n for n, place in enumerate(places) if place not in gone]:
        detail = (
            "No unreadable poison is here. What can be read as an event is mended and tried again, never dismissed."
        )
        raise RefusedError.all([Violation("not-unreadable", detail, f"/records/{n}") for n in kept], status=409)
    return [Place(topic=t, partition=p, offset=o) for t, p, o in sorted(gone)]


@router.post("/go-on", status_code=202)
async def go_on_over_poison(tx: Writing, who: SignedIn) -> list[Stop]:
    """Have stopped consumers set poison aside until an event takes effect; returns the stops that this is about."""
    who.require("program-admin")
    await tx.db.execute("update chassis.breaker set go_on = true")
    return [Stop(**row) for row in await tx.db.fetch(_STOPS)]


_COUNTS = """
select count(*) filter (where kind = 'poison') as poison, count(*) filter (where kind = 'not_yet') as waiting,
    count(*) filter (where again) as again
from chassis.parked
"""
_COLUMNS = """
    p.*, floor(extract(epoch from clock_timestamp() - p.parked_at))::bigint as age_seconds
"""
_LIST = f"""
select {_COLUMNS} from chassis.parked p
where kind = any($1::text[]) and (topic, part, position) > ($2, $3, $4) order by topic, part, position limit $5
"""  # noqa: S608  (constants)
_ONE = f"""
select {_COLUMNS}, (
    select count(*) from chassis.parked l
    where l.source = p.source and l.subject = p.subject and l.sequence > p.sequence and l.kind = 'not_yet'
) as behind
from chassis.parked p where topic = $1 and part = $2 and position = $3
"""  # noqa: S608  (constants)
_STOPS = """
select consumer_group as "group", topic, part as "partition", position as "offset", reason, tripped_at as since, go_on
from chassis.breaker order by consumer_group, topic, part
"""


def _parked(row: Any) -> dict[str, Any]:  # noqa: ANN401  (a row of _LIST or _ONE)
    return {
        "topic": row["topic"],
        "partition": row["part"],
        "offset": row["position"],
        "kind": "waiting" if row["kind"] == "not_yet" else "poison",
        **{name: row[name] for name in _PLAIN},
    }


_PLAIN = ("again", "source", "subject", "sequence", "reason", "parked_at", "age_seconds", "attempts")


def safe_view(value: bytes) -> tuple[dict[str, Any], dict[str, Any], list[str]]:
    """A record's readable attributes, its type's public fields, and the names of what is withheld.

    Attributes are judged one by one, each by its own rule, so that a record with one bad attribute still says what it
    is; a text that no rule bounds is cut.
    """
    try:
        body = orjson.loads(value)
    except ValueError:
        return {}, {}, []
    if not isinstance(body, dict):
        return {}, {}, []
    wrong = _misfits(body)
    attributes = {name: _shown(body[name]) for name in Header.model_fields if name in body and name not in wrong}
    data = body.get("data")
    if not isinstance(data, dict):
        return attributes, {}, []
    model = EVENTS.get(attributes.get("type", ""))
    public = set(model.model_fields) - set(model.block_fields()) if model else set[str]()
    sealed = data.get("sealed")
    blocks = list(sealed) if isinstance(sealed, dict) else []
    fields = [name for name in data if name not in public and name not in {"sealed", "disclosures"}]
    withheld = sorted({_text(name) for name in (*fields, *blocks)})
    return attributes, {name: _shown(data[name]) for name in data if name in public}, withheld


def _misfits(body: dict[str, Any]) -> set[str | int]:
    """The names of the attributes that don't fit their rules."""
    try:
        Header.model_validate_json(orjson.dumps({name: body.get(name) for name in Header.model_fields}))
    except ValidationError as error:
        return {found["loc"][0] for found in error.errors()}
    return set()


def _shown(value: Any) -> Any:  # noqa: ANN401  (any JSON value)
    """The value, or where it is long its beginning."""
    text = value if isinstance(value, str) else orjson.dumps(value).decode()
    return value if len(text) <= SHOWN else _text(text)


def _text(text: str) -> str:
    return text if len(text) <= SHOWN else text[:SHOWN] + "…"
