"""Scoring on the real parts: charter and applications by Kafka, reviewers by HTTP, reviews by both, scores once."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from fractions import Fraction
from hashlib import sha256
from pathlib import Path
from typing import Any

import httpx
import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from joserfc.jwk import OKPKey

from deploy.embedded import Stack
from schemas.applications import (
    Answer,
    ApplicationSubmitted,
    ApplicationWithdrawn,
    Carried,
    Claims,
    Contact,
    Identity,
    Metric,
    Withdrawal,
)
from schemas.charter import Charter, charter_digest
from schemas.cycles import CycleClosed, CycleOpened
from schemas.designations import WithdrawalAccepted
from schemas.envelope import Envelope, Event, Written, b64url, parse, read
from schemas.erasures import DisclosureErased, Excused
from schemas.evidence import REMARKS, DaysToClose, EvidenceProbed, Figures, Portion, Probe
from schemas.exact import Quantity, Ratio, SetDigest
from schemas.reviews import (
    ApplicationScored,
    CommandRefused,
    ReviewAssigned,
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
from tests.screened import UNSCREENED

RuntimeMaker = Callable[[type[Settings]], Runtime]

PROGRAMS = Path(__file__).resolve().parents[2] / "deploy" / "programs"
TEXT = UNSCREENED
CHARTER = Charter.parse(TEXT)
CRITERIA = list(CHARTER.criteria("city"))
NA = next(name for name, one in CHARTER.criteria("city").items() if one.na_when)
UNCHANGED = Carried(mark="unchanged", since="2009-2011")
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
        self.versions: dict[str, str] = {}
        """The event id of each application that was sent."""
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
                criterion: Answer(not_applicable="none here")
                if criterion == claim
                else Answer(statement="Yes.", carried=UNCHANGED)
                for criterion in CRITERIA
            },
            contact=Contact(official="o", title="t", email="o@town.example"),
        )

    async def apply(self, *states: str) -> list[str]:
        names = [opaque_id() for _ in states]
        for name, state in zip(names, states, strict=True):
            sent = await publish(self.kafka, self.application(name, state=state), 1)
            self.versions[name] = sent.header.id
        return names

    def closing(self, versions: Iterable[str], seed: bytes = SEED) -> CycleClosed:
        return CycleClosed(
            cycle=self.cycle, submitted=SetDigest.of(versions), assignment_seed=seed.hex(), closed_by="hand"
        )

    async def close(self, *versions: str) -> None:
        """Close the cycle over these events; over all that `apply` sent, if none are given."""
        await publish(self.kafka, self.closing(versions or self.versions.values()), 2)

    async def deliver(self, event: Written) -> None:
        """Send an event of intake that was made before."""
        await self.kafka.send_and_wait(EVENT_TOPICS["intake"].name, event.record, key=event.header.subject.encode())

    async def parked(self, subject: str) -> list[tuple[str, str]]:
        """(kind, reason) of what waits about `subject`."""
        rows = await self.service.database.pool.fetch(
            "select kind, reason from chassis.parked where subject = $1", subject
        )
        return [(row["kind"], row["reason"]) for row in rows]

    async def shown_to(self, person: Person, application: str) -> dict[str, Any]:
        """What a reviewer is shown of an application."""
        mine = (await self.call("GET", f"/v1/me/assignments?cycle={self.cycle}", who=person.subject)).json()
        (review,) = [one["review"] for one in mine if one["application"] == application]
        return dict((await self.call("GET", f"/v1/reviews/{review}", who=person.subject)).json())

    async def enrol(self, *states: str, subject: str | None = None) -> Person:
        subject = subject or f"s-{opaque_id()}"
        body = {"subject": subject, "name": "A Name", "states": states or ("Elsewhere",)}
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

    async def hand_in(
        self, person: Person, application: str, points: Mapping[str, object] | None = None
    ) -> httpx.Response:
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
        await self.close()
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
    topic = EVENT_TOPICS["scoring"]
    partitions = [TopicPartition(topic.name, n) for n in range(topic.partitions)]
    consumer = AIOKafkaConsumer(bootstrap_servers=stack.kafka_bootstrap, enable_auto_commit=False)
    await consumer.start()
    try:
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


# A cycle


async def test_a_cycle_is_reviewed_over_http_and_kafka_and_scored_from_exactly_its_reviews(
    scoring: Scoring, stack: Stack
) -> None:
    people, (application,) = await scoring.three_reviewers("Ohio")
    receipt = await scoring.hand_in(people[0], application, {CRITERIA[0]: 1, NA: None})
    assert receipt.status_code == 201, receipt.text
    await scoring.post(
        people[1],
        application,
        body={"application": application, "points": given({CRITERIA[0]: 4, NA: None}), "recommendation": False},
    )
    where = await post(stack.kafka_bootstrap, sign(scoring.command(people[2], application), people[2].key))
    assert where.startswith(COMMANDS.name)
    done = await scoring.until("scored")
    assert done == {
        "state": "scored",
        "submitted": 1,
        "assigned": 3,
        "reviews_expected": 3,
        "reviews_in": 3,
        "problem": None,
    }

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
    assert {row["id"]: row["leaf_hash"].hex() for row in leaf_hashes}[receipt.json()["event"]] == receipt.json()[
        "leaf_hash"
    ]
    closed = await scoring.service.database.pool.fetchval(
        "select closed from projection.cycle where cycle = $1", scoring.cycle
    )
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


async def test_a_reviewer_reads_the_application_and_its_own_points_and_nobody_else_does(scoring: Scoring) -> None:
    people, (application,) = await scoring.three_reviewers("Ohio")
    me, other = people[0].subject, people[1].subject
    (mine,) = (await scoring.call("GET", f"/v1/me/assignments?cycle={scoring.cycle}", who=me)).json()
    assert mine == {"review": mine["review"], "application": application, "state": "assigned"}
    path = f"/v1/reviews/{mine['review']}"
    before = (await scoring.call("GET", path, who=me)).json()
    assert before["identity"]["name"] == "Town"
    assert before["claims"]["facts"] == {"channels": ["phone"]}
    assert before["answers"][NA]["not_applicable"] == "none here"
    marked = {name for name, answer in before["answers"].items() if answer["carried"] == UNCHANGED.model_dump()}
    assert marked == {*CRITERIA} - {NA}
    assert (before["criteria"], before["points"], before["state"]) == (CRITERIA, None, "assigned")
    assert "contact" not in before
    assert "o@town.example" not in str(before)
    await scoring.hand_in(people[0], application, {NA: None})
    after = (await scoring.call("GET", path, who=me)).json()
    assert (after["points"], after["recommendation"], after["state"]) == (given({NA: None}), True, "submitted")
    for who, role in ((other, "reviewer"), ("stranger", "reviewer"), ("admin", "program-admin"), ("board", "board")):
        assert (await scoring.call("GET", path, who=who, role=role)).status_code == 404
    assert (await scoring.call("GET", f"/v1/reviews/{opaque_id()}", who=me)).status_code == 404
    assert (await scoring.call("GET", "/v1/reviews/%00", who=me)).status_code == 400


async def test_a_reviewer_sees_what_stands_beside_an_application_and_what_the_governments_server_said(
    scoring: Scoring,
) -> None:
    await scoring.open()
    people = [await scoring.enrol("Maine") for _ in range(3)]
    name, now = opaque_id(), datetime.now(UTC)
    usual = next(metric for metric in CHARTER.metrics if metric.plausible)
    figures = [
        Metric(id=usual.id, value=Quantity.parse(value), unit=usual.unit, period=period, published=True)
        for value, period in ((usual.plausible[1], "2009"), ("999999", "2010"))  # type: ignore[index]
    ]
    claims = Claims(facts={}, assumed=[], metrics=figures)
    sent = scoring.application(name).model_copy(update={"claims": claims})
    for sequence, (days, drops) in enumerate(((-3, []), (-2, ["on_time"]), (1, []), (2, ["freshness"])), 1):
        event = probed(f"g-{name}", f"p{sequence}-{name}", drops)
        await publish(scoring.kafka, event, sequence, time=now + timedelta(days=days))
    await publish(scoring.kafka, probed(f"other-{name}", f"p5-{name}", []), 1, time=now)
    scoring.versions[name] = (await publish(scoring.kafka, sent, 1, time=now)).header.id
    await scoring.close()
    await scoring.until("assigned")

    async def all_told() -> bool:
        return len((await scoring.shown_to(people[0], name))["probes"]) == 3

    await eventually(all_told)
    shown = await scoring.shown_to(people[0], name)
    told = [(one["probe"].split("-")[0], one["after_submission"], one["claims"]["drops"]) for one in shown["probes"]]
    assert told == [("p2", False, ["on_time"]), ("p4", True, ["freshness"]), ("p3", True, [])]
    first = shown["probes"][0]
    assert first["claims"]["figures"]["on_time"] == {"part": 3, "whole": 4}
    assert (first["claims"]["from_day"], first["claims"]["until_day"]) == ("2026-01-01", "2026-03-31")
    assert first["remarks"] == [REMARKS["no-discovery"]]
    assert shown["definitions"].keys() == first["claims"]["figures"].keys()
    assert all(shown["definitions"].values())
    (doubt,) = shown["doubts"]
    assert (doubt["metric"], doubt["period"]) == (usual.id, "2010")
    assert "outside what is usual" in doubt["detail"]
    assert shown["version"] == 1
    assert datetime.fromisoformat(shown["submitted_at"]) - now < timedelta(seconds=1)
    assert shown["identity"]["tier"] == "T1"


def probed(government: str, probe: str, drops: list[Any]) -> EvidenceProbed:
    """A probe that found four promised requests, three of which were closed in time."""
    figures = Figures(
        requests=4,
        services=1,
        listed_services=None,
        closed=Portion(part=4, whole=4),
        promised=Portion(part=4, whole=4),
        on_time=Portion(part=3, whole=4),
        overdue=Portion(part=0, whole=0),
        days_to_close=DaysToClose(count=0, median=None, ninth_decile=None),
        channels=[],
        with_channel=0,
        latest=None,
        days_since_latest=None,
        contradictory=0,
    )
    claims = Probe(
        endpoint="https://311.town.example/v2",
        jurisdiction="",
        from_day=date(2026, 1, 1),
        until_day=date(2026, 3, 31),
        figures=figures,
        remarks=["no-discovery"],
        previous=None,
        drops=drops,
        raw_sha256="0" * 64,
    )
    return EvidenceProbed(government=government, probe=probe, claims=claims)


# Barriers


async def test_an_applications_events_before_its_cycles_wait_and_take_effect_after_it(scoring: Scoring) -> None:
    name = opaque_id()
    await publish(scoring.kafka, scoring.application(name), 1)
    await publish(scoring.kafka, scoring.application(name, version=2, claim=None), 2)

    async def both_wait() -> bool:
        rows = await scoring.service.database.pool.fetch("select kind from chassis.parked where subject = $1", name)
        return [row["kind"] for row in rows] == ["not_yet", "not_yet"]

    await eventually(both_wait)
    await publish(scoring.kafka, scoring.opening(), 1)

    async def entered() -> bool:
        return bool((await scoring.progress()).get("submitted") == 1)

    await eventually(entered)
    rows = await scoring.service.database.pool.fetch(
        "select version, claimed from projection.application where application = $1", name
    )
    assert [(row["version"], row["claimed"]) for row in rows] == [(2, [])]


async def test_reviewers_are_assigned_only_when_exactly_the_submitted_set_is_here(scoring: Scoring) -> None:
    await scoring.open()
    people = [await scoring.enrol("Maine") for _ in range(4)]
    early, gone = await scoring.apply("Ohio", "Utah")
    late = opaque_id()
    coming = written(scoring.application(late), 1)
    await scoring.close(scoring.versions[early], coming.header.id)
    await scoring.until("waiting-for-applications")
    await scoring.deliver(coming)

    async def three_here() -> bool:
        return bool((await scoring.progress())["submitted"] == 3)

    await eventually(three_here)
    assert (await scoring.progress())["state"] == "waiting-for-applications"
    await publish(scoring.kafka, ApplicationWithdrawn(cycle=scoring.cycle, application=gone, private=Withdrawal()), 2)
    given_out = await scoring.assigned(people)
    assert Counter(application for _, application in given_out) == {early: 3, late: 3}


async def test_an_amendment_that_comes_after_the_close_is_what_reviewers_are_assigned_to(scoring: Scoring) -> None:
    await scoring.open()
    people = [await scoring.enrol(state) for state in ("Ohio", "Ohio", "Ohio", "Utah")]
    amended, other = await scoring.apply("Utah", "Iowa")
    amendment = written(scoring.application(amended, version=2, state="Ohio", claim=None), 2)
    await scoring.close(amendment.header.id, scoring.versions[other])
    assert (await scoring.until("waiting-for-applications"))["submitted"] == 2
    assert await scoring.parked(amended) == []
    await scoring.deliver(amendment)
    waiting = await scoring.until("waiting-for-reviewers")
    # By the version that is replaced, in Utah, the three from Ohio would have sufficed.
    assert "enrol at least 2 more" in waiting["problem"]
    people += [await scoring.enrol("Maine"), await scoring.enrol("Maine")]
    given_out = await scoring.assigned(people)
    assert {person.name for person, application in given_out if application == amended} == {
        person.name for person in people[3:]
    }
    shown = await scoring.shown_to(people[3], amended)
    assert (shown["identity"]["state"], shown["answers"][NA]["not_applicable"]) == ("Ohio", None)


async def test_a_version_that_the_closing_did_not_state_is_set_aside_and_changes_nothing(scoring: Scoring) -> None:
    people, (application,) = await scoring.three_reviewers("Ohio")
    await publish(scoring.kafka, scoring.application(application, version=2, state="Utah", claim=None), 2)

    async def set_aside() -> bool:
        return bool(await scoring.parked(application))

    await eventually(set_aside)
    ((kind, reason),) = await scoring.parked(application)
    assert (kind, "version 2 is not in the set that was closed" in reason) == ("poison", True)
    assert (await scoring.progress())["state"] == "assigned"
    assert (await scoring.shown_to(people[0], application))["identity"]["state"] == "Ohio"
    assert (await scoring.hand_in(people[0], application, {NA: None})).status_code == 201
    (leaf,) = await scoring.leaves(ReviewSubmitted)
    assert leaf.data["version"] == 1


async def test_what_was_withdrawn_before_the_close_may_come_after_the_assignment(scoring: Scoring) -> None:
    await scoring.three_reviewers("Ohio")
    gone = opaque_id()
    await publish(scoring.kafka, scoring.application(gone), 1)
    await publish(scoring.kafka, ApplicationWithdrawn(cycle=scoring.cycle, application=gone, private=Withdrawal()), 2)

    async def known() -> bool:
        row = "select withdrawn from projection.application where application = $1"
        return bool(await scoring.service.database.pool.fetchval(row, gone))

    await eventually(known)
    assert await scoring.parked(gone) == []
    progress = await scoring.progress()
    assert (progress["state"], progress["submitted"], progress["assigned"]) == ("assigned", 1, 3)


async def test_what_the_board_gave_back_is_neither_read_nor_reviewed_any_more_and_nobody_waits_for_it(
    scoring: Scoring,
) -> None:
    people, (gone, stays) = await scoring.three_reviewers("Ohio", "Utah")
    assert (await scoring.hand_in(people[0], gone)).status_code == 201
    mine = f"/v1/me/assignments?cycle={scoring.cycle}"
    listed = (await scoring.call("GET", mine, who=people[1].subject)).json()
    (review,) = [one["review"] for one in listed if one["application"] == gone]
    accepted = WithdrawalAccepted(cycle=scoring.cycle, application=gone, requested=opaque_id())
    await publish(scoring.kafka, accepted, 1)

    async def one_left() -> bool:
        return [one["application"] for one in (await scoring.call("GET", mine, who=people[1].subject)).json()] == [
            stays
        ]

    await eventually(one_left)
    assert (await scoring.call("GET", f"/v1/reviews/{review}", who=people[1].subject)).status_code == 404
    assert (await scoring.hand_in(people[1], gone)).status_code == 404
    for person in people:
        assert (await scoring.hand_in(person, stays)).status_code == 201
    done = await scoring.until("scored")
    assert (done["submitted"], done["assigned"], done["reviews_expected"], done["reviews_in"]) == (2, 3, 3, 3)


async def test_too_few_reviewers_are_reported_and_the_enrolment_that_suffices_assigns(scoring: Scoring) -> None:
    await scoring.open()
    people = [await scoring.enrol(state) for state in ("Ohio", "Utah", "Iowa")]
    await scoring.apply("ohio")
    await scoring.close()
    waiting = await scoring.until("waiting-for-reviewers")
    assert "enrol at least 1 more" in waiting["problem"]
    people.append(await scoring.enrol("OHIO"))
    assert (await scoring.progress())["state"] == "waiting-for-reviewers"
    people.append(await scoring.enrol())
    done = await scoring.progress()
    assert (done["state"], done["assigned"], done["problem"]) == ("assigned", 3, None)
    assert {person.name for person, _ in await scoring.assigned(people)} == {people[n].name for n in (1, 2, 4)}


async def test_a_reviewer_who_was_erased_is_neither_drawn_nor_signed_for(scoring: Scoring) -> None:
    await scoring.open()
    people = [await scoring.enrol() for _ in range(4)]
    gone = people.pop()
    await scoring.register(gone)
    account = {"issuer": Settings().token_issuer, "subject": gone.subject}
    erased = await scoring.call("POST", "/erasures", {"account": account}, role="program-admin")
    assert erased.json()["places"]["private.key"] == 1
    query = "select id from chassis.event_log where subject = $1"
    enrolment = await scoring.service.database.pool.fetchval(query, gone.name)
    erasure = DisclosureErased(
        about=gone.name, event=enrolment, digests={"private": "x"}, claims=Excused(not_applicable=[])
    )
    await scoring.deliver(written(erasure, 1))

    async def known() -> bool:
        states = "select states from projection.reviewer where reviewer = $1"
        return bool(await scoring.service.database.pool.fetchval(states, gone.name) == [])

    await eventually(known)
    await scoring.apply("Ohio")
    await scoring.close()
    await scoring.until("assigned")
    assert {person.name for person, _ in await scoring.assigned(people)} == {person.name for person in people}


async def test_a_seed_that_was_not_committed_to_assigns_nobody(scoring: Scoring) -> None:
    await scoring.open()
    for _ in range(3):
        await scoring.enrol()
    await scoring.apply("Ohio")
    await publish(scoring.kafka, scoring.closing(scoring.versions.values(), bytes(32)), 2)

    async def set_aside() -> bool:
        reason = await scoring.service.database.pool.fetchval(
            "select reason from chassis.parked where subject = $1 and kind = 'poison'", scoring.cycle
        )
        return "committed" in (reason or "")

    await eventually(set_aside)
    assert (await scoring.progress())["state"] == "open"
    assert await scoring.leaves(ReviewAssigned) == []


async def test_every_event_delivered_twice_has_one_effect(scoring: Scoring) -> None:
    name = opaque_id()
    versions = [written(scoring.application(name, version=n), n) for n in (1, 2)]
    opening, closing = written(scoring.opening(), 1), written(scoring.closing([versions[1].header.id]), 2)
    for event in (opening, opening, *versions, *versions):
        await scoring.deliver(event)
    await scoring.until("open")
    for _ in range(3):
        await scoring.enrol()
    for event in (closing, versions[0], closing, opening):
        await scoring.deliver(event)
    await scoring.until("assigned")
    await asyncio.sleep(0.5)
    assert len(await scoring.leaves(ReviewAssigned)) == 3
    assert (await scoring.progress())["submitted"] == 1


# Over HTTP


async def test_only_a_program_admin_enrols_and_only_once(scoring: Scoring) -> None:
    body = {"subject": "s", "name": "n", "states": ["Ohio"]}
    unknown = await scoring.call("POST", f"{scoring.path}/reviewers", body, role="program-admin")
    assert unknown.status_code == 404
    await scoring.open()
    for role in ("reviewer", "board", "auditor", "applicant"):
        assert (await scoring.call("POST", f"{scoring.path}/reviewers", body, role=role)).status_code == 403
    assert (await scoring.client.post(f"{scoring.path}/reviewers", json=body)).status_code == 401
    await scoring.enrol(subject="s")
    again = await scoring.call("POST", f"{scoring.path}/reviewers", body, role="program-admin")
    assert (again.status_code, again.json()["type"]) == (409, "urn:cec:problem:already-enrolled")
    elsewhere = {**body, "issuer": "https://other.example"}
    assert (await scoring.call("POST", f"{scoring.path}/reviewers", elsewhere, role="program-admin")).status_code == 201
    for bad in (
        {**body, "subject": ""},
        {**body, "states": []},
        {**body, "subject": "a\u0000"},
        {"subject": "t", "name": "n"},
        {**body, "x": 1},
    ):
        assert (await scoring.call("POST", f"{scoring.path}/reviewers", bad, role="program-admin")).status_code in {
            400,
            422,
        }
    assert len(await scoring.leaves(ReviewerEnrolled)) == 2


async def test_progress_is_for_program_admins_and_auditors(scoring: Scoring) -> None:
    await scoring.open()
    answers = {
        role: (await scoring.call("GET", scoring.path, role=role)).status_code
        for role in ("program-admin", "auditor", "reviewer", "board", "applicant")
    }
    assert answers == {"program-admin": 200, "auditor": 200, "reviewer": 403, "board": 403, "applicant": 403}
    assert (await scoring.call("GET", "/v1/cycles/nowhere", role="auditor")).status_code == 404


async def test_a_review_that_breaks_rules_is_refused_with_every_rule_and_leaves_nothing(scoring: Scoring) -> None:
    people, (application,) = await scoring.three_reviewers("Ohio")
    answer = await scoring.hand_in(people[0], application, {CRITERIA[0]: 5, CRITERIA[1]: None, "made_up": 1})
    assert answer.status_code == 422
    assert {(one["rule"], one["pointer"]) for one in answer.json()["errors"]} == {
        ("unknown-criterion", "/points/made_up"),
        ("out-of-scale", f"/points/{CRITERIA[0]}"),
        ("not-claimed", f"/points/{CRITERIA[1]}"),
    }
    for bad in ({CRITERIA[0]: 3.0}, {CRITERIA[0]: "3"}, {CRITERIA[0]: True}, {CRITERIA[0]: 10**30}):
        assert (await scoring.hand_in(people[0], application, bad)).status_code in {400, 422}
    stranger = await scoring.enrol("Maine")
    hidden, absent = [await scoring.hand_in(stranger, name) for name in (application, opaque_id())]
    assert (hidden.status_code, hidden.json()["detail"]) == (404, absent.json()["detail"])
    assert (await scoring.hand_in(Person("nobody", "x"), application)).status_code == 404
    assert await scoring.leaves(ReviewSubmitted) == []
    assert await scoring.leaves(CommandRefused) == []
    assert (await scoring.hand_in(people[0], application)).status_code == 201
    second = await scoring.hand_in(people[0], application)
    assert (second.status_code, second.json()["type"]) == (409, "urn:cec:problem:already-submitted")
    assert len(await scoring.leaves(ReviewSubmitted)) == 1


async def test_the_same_request_sent_again_gets_the_same_receipt(scoring: Scoring) -> None:
    people, (application,) = await scoring.three_reviewers("Ohio")
    headers = {
        "Authorization": f"Bearer {scoring.issuer.token('reviewer', people[0].subject)}",
        "Idempotency-Key": "once",
    }
    body = {"application": application, "points": given(), "recommendation": True}
    first, again = [await scoring.client.post(f"{scoring.path}/reviews", json=body, headers=headers) for _ in range(2)]
    assert (first.status_code, first.json()) == (again.status_code, again.json()) == (201, first.json())
    assert len(await scoring.leaves(ReviewSubmitted)) == 1


async def test_reviews_that_arrive_together_are_all_counted_in_one_score(scoring: Scoring) -> None:
    people, (application,) = await scoring.three_reviewers("Ohio")
    signed = sign(scoring.command(people[2], application), people[2].key).encode()
    answers = await asyncio.gather(
        scoring.hand_in(people[0], application),
        scoring.hand_in(people[0], application),
        scoring.hand_in(people[1], application),
        scoring.send(signed, application),
    )
    assert sorted(one.status_code for one in answers if one is not None) == [201, 201, 409]
    await scoring.until("scored")
    assert len(await scoring.leaves(ReviewSubmitted)) == 3
    assert len(await scoring.leaves(ApplicationScored)) == 1


# Keys


async def test_a_key_belongs_to_one_reviewer_who_proved_to_hold_it(scoring: Scoring) -> None:
    await scoring.open()
    mine, other = await scoring.enrol(), await scoring.enrol()
    await scoring.register(mine)
    await scoring.register(mine)
    me = await scoring.call("GET", f"/v1/me?cycle={scoring.cycle}", who=mine.subject)
    assert me.json() == {"reviewer": mine.name, "keys": [mine.key.thumbprint()]}
    now = int(datetime.now(UTC).timestamp())

    async def refused(person: Person, key: OKPKey, proof: str, *, private: bool = False) -> str:
        body = {"cycle": scoring.cycle, "jwk": key.as_dict(private=private), "proof": proof}
        answer = await scoring.call("POST", "/v1/me/keys", body, who=person.subject)
        assert not answer.is_success
        return str(answer.json()["type"]).rsplit(":", 1)[-1]

    fresh = OKPKey.generate_key("Ed25519")
    assert await refused(other, mine.key, prove(mine.key, other.name, now)) == "key-taken"
    assert await refused(other, mine.key, prove(mine.key, mine.name, now)) == "key-proof"
    assert await refused(other, fresh, prove(fresh, other.name, now - 301)) == "key-proof"
    assert await refused(other, fresh, prove(mine.key, other.name, now)) == "key-proof"
    assert await refused(other, fresh, prove(fresh, other.name, now), private=True) == "private-key"
    assert await refused(Person("nobody", "x"), fresh, prove(fresh, "x", now)) == "not-found"
    assert (await scoring.call("GET", f"/v1/me?cycle={scoring.cycle}", who=other.subject)).json()["keys"] == []
    assert (await scoring.call("GET", f"/v1/me?cycle={scoring.cycle}", who="nobody")).status_code == 404
    assert (await scoring.call("GET", "/v1/me", who=other.subject)).status_code == 422


# Signed commands


async def test_a_command_of_a_known_sender_that_breaks_a_rule_is_refused_with_its_reason(scoring: Scoring) -> None:
    people, (application, other) = await scoring.three_reviewers("Ohio", "Utah")
    me = people[0]
    now = int(datetime.now(UTC).timestamp())
    bystander = await scoring.enrol("Maine")
    await scoring.register(bystander)
    elsewhere = f"{scoring.cycle}-2"
    opening = scoring.opening().model_copy(update={"cycle": elsewhere})
    await publish(scoring.kafka, opening, 1)

    async def known() -> bool:
        return (await scoring.call("GET", f"/v1/cycles/{elsewhere}", role="auditor")).is_success

    await eventually(known)

    def body(**points: object) -> dict[str, Any]:
        return {"application": application, "points": given(points), "recommendation": True}

    expected = {
        await scoring.post(me, application, body=body(**{CRITERIA[0]: 5})): "out-of-scale",
        await scoring.post(me, application, body=body(made_up=1)): "unknown-criterion",
        await scoring.post(me, application, body={**body(), "points": {CRITERIA[0]: 1}}): "missing-criterion",
        await scoring.post(me, application, body=body(**{CRITERIA[0]: None})): "not-claimed",
        await scoring.post(me, application, sub=people[1].name): "wrong-sender",
        await scoring.post(me, application, cycle=elsewhere): "wrong-cycle",
        await scoring.post(me, application, cycle="nowhere"): "unknown-cycle",
        await scoring.post(me, application, iat=now - 900, exp=now - 60): "expired",
        await scoring.post(me, application, iat=now + 300, exp=now + 600): "not-yet-valid",
        await scoring.post(me, application, exp=now + 7_200): "valid-too-long",
        await scoring.post(bystander, application): "not-assigned",
        await scoring.post(me, str(unknown := opaque_id()), body={**body(), "application": unknown}): "not-assigned",
    }
    misplaced = scoring.command(me, application)
    await scoring.send(sign(misplaced, me.key).encode(), other)
    expected[misplaced.command_id] = "wrong-record-key"
    broken = scoring.command(me, application)
    spoilt = {**broken.model_dump(), "body": {**body(), "points": {CRITERIA[0]: 1.5}}}
    await scoring.send(signed_json(spoilt, me.key), application)
    expected[broken.command_id] = "malformed"

    async def all_refused() -> bool:
        return len(await scoring.refusals()) >= len(expected)

    await eventually(all_refused)
    assert await scoring.refusals() == {name: [reason] for name, reason in expected.items()}
    assert await scoring.leaves(ReviewSubmitted) == []
    refusal = (await scoring.leaves(CommandRefused))[0]
    assert (refusal.sequence, refusal.cycleid, refusal.actor) == (1, scoring.cycle, None)
    assert set(refusal.data) == {"reason", "record_sha256", "sealed"}
    await scoring.post(me, application)

    async def taken() -> bool:
        return len(await scoring.leaves(ReviewSubmitted)) == 1

    await eventually(taken)


async def test_a_command_delivered_again_has_no_second_effect_and_its_id_is_never_reused(scoring: Scoring) -> None:
    people, (application, _) = await scoring.three_reviewers("Ohio", "Utah")
    me = people[0]
    good, bad = scoring.command(me, application), scoring.command(me, application, cycle="nowhere")
    other_body = {"application": application, "points": given({CRITERIA[0]: 0}), "recommendation": True}
    reused = scoring.command(me, application, command_id=good.command_id, body=other_body)
    reused_bad = scoring.command(people[1], application, command_id=bad.command_id)
    for _ in range(3):
        for made, person in ((good, me), (bad, me), (reused, me), (reused_bad, people[1])):
            await scoring.send(sign(made, person.key).encode(), application)
    last = await scoring.post(people[2], application, cycle="nowhere")

    async def last_refused() -> bool:
        return last in await scoring.refusals()

    await eventually(last_refused)
    assert await scoring.refusals() == {
        good.command_id: ["reused-command-id"],
        bad.command_id: ["unknown-cycle", "reused-command-id"],
        last: ["unknown-cycle"],
    }
    sequences = [leaf.sequence for leaf in await scoring.leaves(CommandRefused) if leaf.subject == bad.command_id]
    assert sequences == [1, 2]
    (review,) = await scoring.leaves(ReviewSubmitted)
    points = await scoring.service.database.pool.fetchval(
        "select points::jsonb from projection.given where review = $1", review.data["review"]
    )
    assert points == given()
    again = await scoring.post(me, application)

    async def refused_again() -> bool:
        return (await scoring.refusals()).get(again) == ["already-submitted"]

    await eventually(refused_again)


async def test_a_record_that_no_registered_key_signed_is_counted_and_forgotten(scoring: Scoring) -> None:
    people, (application,) = await scoring.three_reviewers("Ohio")
    me, stranger = people[0], Person("x", people[0].name)
    good = sign(scoring.command(me, application), me.key)
    header, payload, signature = good.split(".")
    ignored: list[tuple[bytes | None, str]] = [
        (sign(scoring.command(stranger, application), stranger.key).encode(), "unknown-key"),
        (f"{header}.{payload}.{signature[::-1]}".encode(), "bad-signature"),
        (f"{header}.{payload[:-4]}AAAA.{signature}".encode(), "bad-signature"),
        (signed_json({}, me.key, typ="at+jwt"), "wrong-header"),
        (signed_json({}, me.key, alg="EdDSA"), "wrong-header"),
        (signed_json({}, me.key, kid=people[1].key.thumbprint()), "bad-signature"),
        (signed_json({}, me.key, kid="\u0000" * 43), "unknown-key"),
        (signed_json({"command_id": "1"}, me.key), "no-command-id"),
        (signed_json([], me.key), "no-command-id"),
        (b"{", "unreadable"),
        (b"\xff\xfe", "unreadable"),
        (b"", "unreadable"),
        (None, "unreadable"),
        (json.dumps(scoring.command(me, application).model_dump()).encode(), "unreadable"),
        (b"x" * (RECORD_LIMIT + 1), "oversized"),
    ]
    before = Counter(scoring.ignored)
    for value, _ in ignored:
        await scoring.send(value, application)
    await scoring.send(good.encode(), application)

    async def taken() -> bool:
        return len(await scoring.leaves(ReviewSubmitted)) == 1

    await eventually(taken)
    assert scoring.ignored - before >= Counter(reason for _, reason in ignored)
    assert await scoring.refusals() == {}
    pool = scoring.service.database.pool
    assert await pool.fetchval("select count(*) from private.command") == 1
    assert await pool.fetchval("select count(*) from chassis.parked where topic = $1", COMMANDS.name) == 0


async def test_of_two_hundred_commands_with_every_tenth_bad_the_good_ones_all_count(scoring: Scoring) -> None:
    text = TEXT.replace("applications_per_reviewer = 6\n", "applications_per_reviewer = 60\n")
    assert text != TEXT
    await scoring.open(text)
    people = [await scoring.enrol("Maine") for _ in range(3)]
    for person in people:
        await scoring.register(person)
    applications = await scoring.apply(*["Ohio"] * 60)
    await scoring.close()
    work = iter(await scoring.assigned(people))
    refused, ignored = 0, 0
    for n in range(200):
        if n % 10:
            person, application = next(work)
            value = sign(scoring.command(person, application), person.key).encode()
        elif n % 20:
            person, application, refused = people[0], applications[0], refused + 1
            value = sign(scoring.command(person, application, cycle="nowhere"), person.key).encode()
        else:
            application, value, ignored = applications[0], b"\x00", ignored + 1
        await scoring.kafka.send(COMMANDS.name, value, key=application.encode())
    await scoring.kafka.flush()
    done = await scoring.until("scored")
    assert (done["reviews_in"], done["submitted"]) == (180, 60)
    assert list(work) == []

    async def all_refused() -> bool:
        return len(await scoring.refusals()) == refused

    await eventually(all_refused)
    assert (refused, ignored) == (10, 10)
    assert len(await scoring.leaves(ApplicationScored)) == 60
    parked = "select count(*) from chassis.parked where topic = $1"
    assert await scoring.service.database.pool.fetchval(parked, COMMANDS.name) == 0


def signed_json(value: object, key: OKPKey, **header: str) -> bytes:
    """A JWS by `key` over any JSON, under any header."""
    whole = {"alg": "Ed25519", "typ": COMMAND_TYPE, "kid": key.thumbprint()} | header
    part = f"{b64url(json.dumps(whole).encode())}.{b64url(json.dumps(value).encode())}"
    private = key.private_key
    assert isinstance(private, Ed25519PrivateKey)
    return f"{part}.{b64url(private.sign(part.encode()))}".encode()
