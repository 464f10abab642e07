"""Scoring on the real parts: charter and applications by Kafka, reviewers by HTTP, reviews by both, scores once."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from fractions import Fraction
from hashlib import sha256
from pathlib import Path
from typing import Any

import httpx
import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from joserfc.jwk import OKPKey

from deploy.embedded import Stack
from schemas.applications import Answer, ApplicationSubmitted, ApplicationWithdrawn, Claims, Contact, Identity
from schemas.charter import Charter, charter_digest
from schemas.cycles import CycleClosed, CycleOpened
from schemas.envelope import Envelope, Event, leaf_of, parse, read
from schemas.exact import Ratio, SetDigest
from schemas.reviews import (
    ApplicationScored,
    CommandRefused,
    ReviewAssigned,
    ReviewBody,
    ReviewCommand,
    ReviewerEnrolled,
    ReviewSubmitted,
)
from schemas.topics import COMMANDS, EVENT_TOPICS
from services.chassis.ids import opaque_id
from services.chassis.issuer import Issuer
from services.chassis.service import Runtime, Service
from services.chassis.settings import Settings
from services.scoring.app import service
from services.scoring.commands import COMMAND_TYPE, RECORD_LIMIT, post, prove, sign
from services.scoring.settings import ScoringSettings
from services.scoring.submissions import Submissions
from tests.given import eventually, publish, written

RuntimeMaker = Callable[[type[Settings]], Runtime]

PROGRAMS = Path(__file__).resolve().parents[2] / "deploy" / "programs"
TEXT = (PROGRAMS / "citizen-engaged-communities.toml").read_text(encoding="utf-8")
CHARTER = Charter.parse(TEXT)
CRITERIA = list(CHARTER.criteria("city"))
NA = next(name for name, one in CHARTER.criteria("city").items() if one.na_when)
SEED = bytes(range(32))


@dataclass
class Person:
    """A reviewer with a token and, once registered, a key."""

    subject: str
    name: str
    key: OKPKey = field(default_factory=lambda: OKPKey.generate_key("Ed25519"))


class Scoring:
    """A running service and one cycle in it."""

    def __init__(self, running: Service, client: httpx.AsyncClient, issuer: Issuer, kafka: AIOKafkaProducer) -> None:
        self.service = running
        self.client = client
        self.issuer = issuer
        self.kafka = kafka
        self.cycle = f"c-{opaque_id()}"
        self.path = f"/v1/cycles/{self.cycle}"
        inbox = running.subscriptions[0].inbox
        assert isinstance(inbox, Submissions)
        self.ignored = inbox.ignored

    async def call(
        self, method: str, path: str, body: object = None, *, role: str = "reviewer", who: str = "admin"
    ) -> httpx.Response:
        headers = {"Authorization": f"Bearer {self.issuer.token(role, who)}"}
        return await self.client.request(method, path, json=body, headers=headers)

    async def progress(self) -> dict[str, Any]:
        answer = await self.call("GET", self.path, role="auditor")
        return dict(answer.json()) if answer.is_success else {"state": "unknown"}

    async def until(self, state: str) -> dict[str, Any]:
        async def reached() -> bool:
            return bool((await self.progress())["state"] == state)

        await eventually(reached)
        return await self.progress()

    def opening(self, text: str = TEXT) -> CycleOpened:
        return CycleOpened(
            cycle=self.cycle,
            program="p",
            charter=text,
            charter_sha256=charter_digest(text),
            deadline=datetime.now(UTC),
            assignment_commitment=sha256(SEED).hexdigest(),
        )

    async def open(self, text: str = TEXT) -> None:
        await publish(self.kafka, self.opening(text), 1)
        await self.until("open")

    def application(self, name: str, *, version: int = 1, state: str = "Ohio", claim: str | None = NA) -> Event:
        return ApplicationSubmitted(
            cycle=self.cycle,
            application=name,
            version=version,
            identity=Identity(
                government=f"g-{name}",
                name="Town",
                state=state,
                kind="city",
                population=9_000,
                population_source="census",
                website="https://town.example",
                tier="T1",
            ),
            claims=Claims(facts={"channels": ["phone"]}, assumed=[], metrics=[]),
            answers={
                criterion: Answer(not_applicable="none here") if criterion == claim else Answer(statement="Yes.")
                for criterion in CRITERIA
            },
            contact=Contact(official="o", title="t", email="o@town.example"),
        )

    async def apply(self, *states: str) -> list[str]:
        names = [opaque_id() for _ in states]
        for name, state in zip(names, states, strict=True):
            await publish(self.kafka, self.application(name, state=state), 1)
        return names

    def closing(self, applications: Iterable[str], seed: bytes = SEED) -> CycleClosed:
        return CycleClosed(
            cycle=self.cycle, submitted=SetDigest.of(applications), assignment_seed=seed.hex(), closed_by="hand"
        )

    async def close(self, applications: Iterable[str]) -> None:
        await publish(self.kafka, self.closing(applications), 2)

    async def enrol(self, *states: str, subject: str | None = None) -> Person:
        subject = subject or f"s-{opaque_id()}"
        body = {"subject": subject, "name": "A Name", "states": states}
        answer = await self.call("POST", f"{self.path}/reviewers", body, role="program-admin")
        assert answer.status_code == 201, answer.text
        return Person(subject, answer.json()["reviewer"])

    async def register(self, person: Person) -> None:
        proof = prove(person.key, person.name, int(datetime.now(UTC).timestamp()))
        body = {"cycle": self.cycle, "jwk": person.key.as_dict(private=False), "proof": proof}
        answer = await self.call("POST", "/v1/me/keys", body, who=person.subject)
        assert answer.status_code == 201, answer.text
        assert answer.json() == {"kid": person.key.thumbprint()}

    async def assigned(self, people: Iterable[Person]) -> list[tuple[Person, str]]:
        """Who reviews what."""
        await self.until("assigned")
        return [
            (person, one["application"])
            for person in people
            for one in (await self.call("GET", f"/v1/me/assignments?cycle={self.cycle}", who=person.subject)).json()
        ]

    async def hand_in(self, person: Person, application: str, points: Mapping[str, object] | None = None) -> httpx.Response:
        body = {"application": application, "points": given(points), "recommendation": True, "comment": "private words"}
        return await self.call("POST", f"{self.path}/reviews", body, who=person.subject)

    def command(self, person: Person, application: str, **changes: Any) -> ReviewCommand:
        now = int(datetime.now(UTC).timestamp())
        made: dict[str, Any] = {
            "aud": "scoring.submissions.v1",
            "command_id": opaque_id(),
            "cycle": self.cycle,
            "sub": person.name,
            "iat": now,
            "exp": now + 600,
            "body": {"application": application, "points": given(), "recommendation": True},
        }
        return ReviewCommand.model_validate(made | changes)

    async def send(self, value: bytes | None, key: str | bytes = b"k") -> None:
        raw = key.encode() if isinstance(key, str) else key
        await self.kafka.send_and_wait(COMMANDS.name, value, key=raw)

    async def post(self, person: Person, application: str, **changes: Any) -> str:
        """Send a signed command; returns its id."""
        made = self.command(person, application, **changes)
        await self.send(sign(made, person.key).encode(), application)
        return made.command_id

    async def leaves(self, event: type[Event]) -> list[Envelope]:
        """The events of a type that were recorded, without their blocks."""
        rows = await self.service.database.pool.fetch(
            "select leaf from chassis.event_log where type = $1 order by id", event.TYPE
        )
        return [parse(row["leaf"]) for row in rows]

    async def refusals(self) -> dict[str, list[str]]:
        """Reasons by command id."""
        found: dict[str, list[str]] = {}
        for leaf in await self.leaves(CommandRefused):
            found.setdefault(leaf.subject, []).append(leaf.data["reason"])
        return found

    async def three_reviewers(self, *states: str) -> tuple[list[Person], list[str]]:
        """An assigned cycle in which everyone reviews everything, with registered keys."""
        await self.open()
        people = [await self.enrol("Maine") for _ in range(3)]
        for person in people:
            await self.register(person)
        applications = await self.apply(*states)
        await self.close(applications)
        await self.until("assigned")
        return people, applications


def given(points: Mapping[str, object] | None = None) -> dict[str, Any]:
    return {**dict.fromkeys(CRITERIA, 3), **(points or {})}


@pytest.fixture
async def scoring(runtime: RuntimeMaker, issuer: Issuer, kafka: AIOKafkaProducer) -> AsyncIterator[Scoring]:
    running = service(runtime(ScoringSettings))
    await running.start()
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app=running.app), base_url="http://test") as client:
        yield Scoring(running, client, issuer, kafka)
    await running.stop()


async def published(stack: Stack, cycle: str) -> list[tuple[Envelope, Event]]:
    """Everything of a cycle that scoring sent, with all blocks, in the order of its ids."""
    topic = EVENT_TOPICS["scoring"].name
    consumer = AIOKafkaConsumer(bootstrap_servers=stack.kafka_bootstrap, enable_auto_commit=False)
    await consumer.start()
    try:
        partitions = [TopicPartition(topic, n) for n in consumer.partitions_for_topic(topic) or await _known(consumer, topic)]
        consumer.assign(partitions)
        await consumer.seek_to_beginning(*partitions)
        ends = await consumer.end_offsets(partitions)
        found = []
        while any([await consumer.position(partition) < end for partition, end in ends.items()]):
            for records in (await consumer.getmany(timeout_ms=500)).values():
                found += [parse(record.value) for record in records]
    finally:
        await consumer.stop()
    return [(one, read(one)) for one in sorted(found, key=lambda one: one.id) if one.cycleid == cycle]


async def _known(consumer: AIOKafkaConsumer, topic: str) -> set[int]:
    await consumer._client.set_topics([topic])
    return set(consumer.partitions_for_topic(topic))


# A cycle


async def test_a_cycle_is_reviewed_over_http_and_kafka_and_scored_from_exactly_its_reviews(
    scoring: Scoring, stack: Stack
) -> None:
    people, (application,) = await scoring.three_reviewers("Ohio")
    receipt = await scoring.hand_in(people[0], application, {CRITERIA[0]: 1, NA: None})
    assert receipt.status_code == 201, receipt.text
    await scoring.post(people[1], application, body={"application": application, "points": given({CRITERIA[0]: 4, NA: None}), "recommendation": False})
    where = await post(stack.kafka_bootstrap, sign(scoring.command(people[2], application), people[2].key))
    assert where.startswith(COMMANDS.name)
    done = await scoring.until("scored")
    assert done == {"state": "scored", "submitted": 1, "assigned": 3, "reviews_expected": 3, "reviews_in": 3, "problem": None}

    async def all_out() -> bool:
        return bool(await scoring.service.database.pool.fetchval("select count(*) = 0 from chassis.outbox"))

    await eventually(all_out)
    events = await published(stack, scoring.cycle)
    assert Counter(type(event) for _, event in events) == {
        ReviewerEnrolled: 3,
        ReviewAssigned: 3,
        ReviewSubmitted: 3,
        ApplicationScored: 1,
    }
    reviews = {envelope.id: event for envelope, event in events if isinstance(event, ReviewSubmitted)}
    envelope, scored = events[-1]
    assert isinstance(scored, ApplicationScored)
    assert scored.reviews == sorted(reviews)
    assert envelope.causationid == max(reviews)
    assert scored.scores is not None
    assert scored.scores.criteria[CRITERIA[0]] == Ratio(num=3, den=1)
    assert scored.scores.criteria[NA] is None
    assert scored.scores.total.fraction == Fraction(3, 4)
    assert {event.via for event in reviews.values()} == {"http", "kafka"}
    assert receipt.json()["event"] in reviews
    by_id = {envelope.id: envelope for envelope, _ in events}
    leaf_hashes = await scoring.service.database.pool.fetch("select id, leaf_hash from chassis.event_log")
    assert {row["id"]: row["leaf_hash"].hex() for row in leaf_hashes}[receipt.json()["event"]] == receipt.json()["leaf_hash"]
    closed = await scoring.service.database.pool.fetchval("select closed from projection.cycle where cycle = $1", scoring.cycle)
    assert {by_id[one.id].causationid for one, event in events if isinstance(event, ReviewAssigned)} == {closed}
    for person in people:
        aliases = {event.review for _, event in events if isinstance(event, ReviewAssigned)}
        assert person.name not in aliases


async def test_nothing_public_says_who_reviewed_or_joins_a_reviewers_reviews(scoring: Scoring) -> None:
    people, applications = await scoring.three_reviewers("Ohio", "Utah")
    for application in applications:
        for person in people:
            assert (await scoring.hand_in(person, application)).status_code == 201
    await scoring.until("scored")
    rows = await scoring.service.database.pool.fetch("select type, leaf from chassis.event_log")
    for row in rows:
        text = row["leaf"].decode()
        assert "private words" not in text
        assert not [person.subject for person in people if person.subject in text]
        if row["type"] != ReviewerEnrolled.TYPE:
            assert not [person.name for person in people if person.name in text]
            assert parse(row["leaf"]).actor is None
    assert {parse(row["leaf"]).actor for row in rows if row["type"] == ReviewerEnrolled.TYPE} != {None}
    aliases = [leaf.data["review"] for leaf in await scoring.leaves(ReviewAssigned)]
    assert len(set(aliases)) == len(aliases) == 6
