"""Topics in any order that respects sequence and cause, in any batches: every reader of two ends up the same."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Sequence
from datetime import UTC, date, datetime
from fractions import Fraction
from hashlib import sha256
from typing import Self

import httpx
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from schemas.charter import Charter
from schemas.cycles import CohortAnnounced, CycleOpened
from schemas.designations import DesignationExpired, DesignationGranted, Outcome, RenewalDue
from schemas.envelope import Written, parse, read, rfc3339
from schemas.exact import Ratio, SetDigest
from schemas.reviews import ApplicationScored
from schemas.topics import EVENT_TOPICS, topic_of
from services.awards import app as awards
from services.awards.settings import AwardsSettings
from services.chassis.ids import opaque_id
from services.chassis.inbox import EventInbox, isolate
from services.chassis.issuer import Issuer
from services.chassis.record import Record
from services.chassis.service import Runtime, Service
from services.chassis.settings import Settings
from services.notifications import app as notifications
from services.notifications.settings import NotificationsSettings
from services.scoring import app as scoring
from services.scoring.settings import ScoringSettings
from tests.given import written
from tests.integration.test_awards import AT, COHORT, SELECTED, Story
from tests.screened import UNSCREENED

pytestmark = pytest.mark.long

RuntimeMaker = Callable[[type[Settings]], Runtime]
RANDOM = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}|\b[0-9a-f]{64}\b")
"""Ids, and digests of them."""
APPLICANTS = [applicant for applicant in COHORT.applicants if applicant.name in SELECTED]
STARTS, ENDS, NOON = date(2011, 10, 17), date(2013, 10, 17), datetime(2013, 10, 17, 12, tzinfo=UTC)
TOLD = 3 * len(APPLICANTS) + 1
"""Events of awards, each of which makes a notice."""
EVENTS = 2 + 3 * len(APPLICANTS) + TOLD
REVIEWERS = 3
NOTICES = {
    "private.message": "select message, kind, subject, convert_from(body, 'utf8') as body from private.message",
    "private.delivery": "select message, subject, state from private.delivery",
}
"""What notifications has to send, without its own ids and the order in which it came to it."""

ORDERS = st.permutations(range(EVENTS))
CUTS = st.lists(st.integers(1, EVENTS), min_size=1, max_size=EVENTS)


def story() -> Story:
    """A cycle whose seed is the one that it committed to; nobody and nothing in it is known from elsewhere."""
    told = Story(Charter.parse(UNSCREENED), UNSCREENED, APPLICANTS).tell()
    opened = read(parse(told.records[0].record))
    assert isinstance(opened, CycleOpened)
    commitment = sha256(bytes(32)).hexdigest()
    told.records[0] = written(opened.model_copy(update={"assignment_commitment": commitment}), 1, time=AT)
    _designate(told)
    return told


def _designate(told: Story) -> None:
    """What awards tells of it, to the end of the terms; the day of the announcement is not said to follow from any."""
    # Ids in the order of the names, in which the announcement lists them.
    stem = opaque_id()[:-2]
    designations = {one.name: f"{stem}{number:02d}" for number, one in enumerate(APPLICANTS)}
    told.names |= {f"designation of {name}": designation for name, designation in designations.items()}
    digest = SetDigest.of(designations.values())
    announced = CohortAnnounced(
        cycle=told.cycle, announced_on=STARTS, designations=digest, highlights=[], narrative=["All of them."]
    )
    scored = {one.header.subject: one.header.id for one in told.records if one.header.type == ApplicationScored.TYPE}
    for applicant in APPLICANTS:
        application, designation = told.names[applicant.name], designations[applicant.name]
        about = {"cycle": told.cycle, "designation": designation}
        cause = scored.get(application)
        granted = DesignationGranted(
            **about,
            application=application,
            decided=opaque_id(),
            starts_on=STARTS,
            ends_on=ENDS,
            identity=told.submission(applicant, 1).identity,
            scores=Outcome(level="designated", total=Ratio.of(Fraction(7, 10)), unmet=[]),
        )
        told.records += [
            written(granted, 1, cause=cause, time=NOON),
            written(RenewalDue(**about, days=90, ends_on=ENDS), 2, time=NOON),
            written(DesignationExpired(**about, ended_on=ENDS), 3, time=NOON),
        ]
    told.records.append(written(announced, 1, time=NOON))


def in_order(records: Sequence[Written], wishes: Sequence[int]) -> list[Written]:
    """The records in the order of the wishes, as far as sequence and cause let them."""
    open_ = dict(enumerate(records))
    done: set[str] = set()
    turns: dict[tuple[str, str], int] = defaultdict(int)
    found: list[Written] = []
    while open_:
        ready = [
            number
            for number, one in open_.items()
            if turns[one.header.source, one.header.subject] == one.header.sequence - 1
            and (one.header.causationid is None or one.header.causationid in done)
        ]
        chosen = open_.pop(min(ready, key=lambda number: wishes[number]))
        turns[chosen.header.source, chosen.header.subject] += 1
        done.add(chosen.header.id)
        found.append(chosen)
    return found


class Taking:
    """A service that takes what it is handed, as its consumer would hand it over."""

    def __init__(self, service: Service, issuer: Issuer) -> None:
        self._service = service
        self._issuer = issuer
        self._inbox = EventInbox(service.handlers, service.name)
        self._topics = service.topics
        self._offset = 0
        self._plain = ""

    async def __aenter__(self) -> Self:
        await self._service.migrate()
        await self._service.database.open()
        if self._service.name == "notifications":
            await self._service.database.pool.execute(_SUBSCRIBE, opaque_id())
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._service.database.close()

    async def plain(self) -> str:
        """What it comes to in the order in which it happened, one event after the other."""
        if not self._plain:
            self._plain = await self.take(story(), range(EVENTS), range(EVENTS))
            assert "parked" not in self._plain
            assert self._plain.count("\n") > len(APPLICANTS)
            if self._service.name == "notifications":
                assert self._plain.count("private.delivery") == TOLD
        return self._plain

    async def take(self, told: Story, wishes: Sequence[int], cuts: Sequence[int]) -> str:
        """Take the story in this order and these batches; returns what the service came to, without its ids."""
        records = [one for one in in_order(told.records, wishes) if topic_of(one.header.type) in self._topics]
        numbers = {number % len(records) for number in cuts} | {0}
        for begin, end in zip(sorted(numbers), [*sorted(numbers)[1:], len(records)], strict=True):
            await self._hand_over([self._record(one) for one in records[begin:end]])
        if self._service.name == "scoring":
            await self._enrol(told.cycle)
        return await self._state(told)

    def _record(self, one: Written) -> Record:
        self._offset += 1
        return Record(topic_of(one.header.type), 0, self._offset, one.header.subject.encode(), one.record, 0)

    async def _hand_over(self, batch: list[Record]) -> None:
        async for piece, fates in isolate(self._service.database, self._inbox, batch):
            for record, fate in zip(piece, fates, strict=True):
                if isinstance(fate, Exception):
                    async with self._service.database.transaction() as tx:
                        await self._inbox.set_aside(tx, record, fate)
        await self._inbox.retry(self._service.database)

    async def _enrol(self, cycle: str) -> None:
        transport = httpx.ASGITransport(app=self._service.app)
        headers = {"Authorization": f"Bearer {self._issuer.token('program-admin', 'admin')}"}
        async with httpx.AsyncClient(transport=transport, base_url="http://test", headers=headers) as client:
            for number in range(REVIEWERS):
                body = {"subject": f"r-{number}", "name": "R", "states": ["none"]}
                answer = await client.post(f"/v1/cycles/{cycle}/reviewers", json=body)
                assert answer.status_code == 201, answer.text

    async def _state(self, told: Story) -> str:
        """Every row about the story in the projection, what was recorded of it, and what waits."""
        pool = self._service.database.pool
        tables = await pool.fetch("select tablename from pg_tables where schemaname = 'projection' order by 1")
        names = [f"projection.{row['tablename']}" for row in tables] + ["chassis.parked"]
        queries = dict.fromkeys(names) | (NOTICES if self._service.name == "notifications" else {})
        about_it = [f"%{name}%" for name in (told.cycle, *told.names.values())]
        recorded = await pool.fetch("select type, subject from chassis.event_log order by type")
        rows = [f"{row['type']} {row['subject']}" for row in recorded]
        for name, query in queries.items():
            rows_of = f"({query})" if query else name
            about = "where t::text like any($1::text[])"
            found = await pool.fetch(f"select row_to_json(t)::text as row from {rows_of} t {about}", about_it)  # noqa: S608  (our own)
            rows += [f"{name} {row['row']}" for row in found]
        known = {told.cycle: "cycle", **{name: who for who, name in told.names.items()}}
        known |= {one.header.id: f"{one.header.type} {one.header.subject}" for one in told.records}
        known |= {shown: "then" for one in told.records for shown in _shown(one.header.time)}
        mine = [row for row in rows if any(name in row for name in [told.cycle, *told.names.values()])]
        return "\n".join(sorted(RANDOM.sub("id", _named(row, known)) for row in mine))


_SUBSCRIBE = """
insert into private.subscription (subscription, issuer, subject, url, secret, filters, state, created_at)
values ($1, 'i', 's', 'https://one.example', 'secret', '{}', 'confirmed', now())
"""


def _shown(time: datetime) -> tuple[str, str]:
    """An event's time, as PostgreSQL and as envelopes write it."""
    stated = rfc3339(time)
    return stated.removesuffix("Z").rstrip("0").rstrip(".") + "+00:00", stated


def _named(row: str, known: dict[str, str]) -> str:
    for _ in range(2):
        for name, meaning in known.items():
            row = row.replace(name, meaning)
    return row


@pytest.fixture(params=["scoring", "awards", "notifications"])
async def taking(request: pytest.FixtureRequest, runtime: RuntimeMaker, issuer: Issuer) -> AsyncIterator[Taking]:
    made = {
        "scoring": lambda: scoring.service(runtime(ScoringSettings)),
        "awards": lambda: awards.service(runtime(AwardsSettings)),
        "notifications": lambda: notifications.service(runtime(NotificationsSettings)),
    }[request.param]()
    async with Taking(made, issuer) as found:
        yield found


@settings(
    max_examples=20,
    # To shrink what failed would take hundreds of tries on a database.
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(wishes=ORDERS, cuts=CUTS)
async def test_any_order_that_respects_sequence_and_cause_has_the_same_effect(
    taking: Taking, wishes: list[int], cuts: list[int]
) -> None:
    assert await taking.take(story(), wishes, cuts) == await taking.plain()


def test_orders_respect_what_they_must() -> None:
    records = story().records
    assert len(records) == EVENTS
    backwards = in_order(records, range(EVENTS, 0, -1))
    assert backwards != records
    assert {topic_of(one.header.type) for one in records} == {
        EVENT_TOPICS[name].name for name in ("intake", "scoring", "awards")
    }
    places = {one.header.id: place for place, one in enumerate(backwards)}
    assert all(
        places[one.header.causationid] < places[one.header.id] for one in records if one.header.causationid is not None
    )
