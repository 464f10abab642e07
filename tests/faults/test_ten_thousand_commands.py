"""Ten thousand signed commands, every tenth bad in one way or another: the others count, each bad one is answered."""

from __future__ import annotations

import random
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from hashlib import sha256
from itertools import cycle as endlessly
from typing import Any

import httpx
import pytest
from aiokafka import AIOKafkaProducer

from deploy.embedded import Stack
from schemas.envelope import Envelope, read
from schemas.reviews import ApplicationScored, CommandRefused, ReviewSubmitted
from schemas.topics import COMMANDS, EVENT_TOPICS
from services.chassis.issuer import Issuer
from services.chassis.service import Runtime
from services.chassis.settings import Settings
from services.scoring.app import service
from services.scoring.commands import RECORD_LIMIT, sign
from services.scoring.settings import ScoringSettings
from tests.faults.evidence import events_in, in_kafka
from tests.given import eventually
from tests.integration.test_scoring import CRITERIA, TEXT, Person, Scoring, given, signed_json

pytestmark = pytest.mark.long

EACH, APPLICATIONS = 30, 300
COUNT = 10_000
RuntimeMaker = Callable[[type[Settings]], Runtime]
Sent = tuple[bytes | None, str]
"""A record's value and key."""


class Culprit:
    """Sends what is bad; of each, what must become of it."""

    def __init__(self, scoring: Scoring, me: Person, application: str, other: Person, elsewhere: str) -> None:
        """`me` has not reviewed `application` yet."""
        self.refused: Counter[tuple[str, str]] = Counter()
        """By command id and reason."""
        self.ignored: Counter[str] = Counter()
        self.last = me, ""
        """Who sent the last good one, and its id."""
        self._scoring = scoring
        self._me, self._other = me, other
        self._stranger = Person("x", me.name)
        self._application, self._elsewhere = application, elsewhere
        self._now = int(time.time())

    def ways(self, chance: random.Random) -> Iterator[Callable[[Sent], Sent]]:
        """Each way of being bad, in some order, for ever; made from a good one that was just sent."""
        now, body = self._now, {"application": self._application, "points": given(), "recommendation": True}
        changes: list[tuple[dict[str, Any], str]] = [
            ({"body": {**body, "points": given({CRITERIA[0]: 5})}}, "out-of-scale"),
            ({"body": {**body, "points": given({"made_up": 1})}}, "unknown-criterion"),
            ({"body": {**body, "points": {CRITERIA[0]: 1}}}, "missing-criterion"),
            ({"body": {**body, "points": given({CRITERIA[0]: None})}}, "not-claimed"),
            ({"sub": self._other.name}, "wrong-sender"),
            ({"cycle": "nowhere"}, "unknown-cycle"),
            ({"iat": now - 9_000, "exp": now - 6_000}, "expired"),
            ({"iat": now + 3_000, "exp": now + 3_100}, "not-yet-valid"),
            ({"exp": now + 90_000}, "valid-too-long"),
        ]
        raw: list[tuple[Callable[[str, str, str], bytes | None], str]] = [
            (lambda h, p, s: f"{h}.{p}.{s[::-1]}".encode(), "bad-signature"),
            (lambda h, p, s: f"{h}.{p[:-4]}AAAA.{s}".encode(), "bad-signature"),
            (lambda _h, _p, _s: b"{}", "unreadable"),
            (lambda _h, _p, _s: b"\xff\xfe", "unreadable"),
            (lambda _h, _p, _s: None, "unreadable"),
            (lambda _h, _p, _s: b"x" * (RECORD_LIMIT + 1), "oversized"),
            (lambda _h, _p, _s: signed_json({}, self._me.key, typ="at+jwt"), "wrong-header"),
            (lambda _h, _p, _s: signed_json({}, self._me.key, alg="EdDSA"), "wrong-header"),
            (lambda _h, _p, _s: signed_json({}, self._stranger.key), "unknown-key"),
            (lambda _h, _p, _s: signed_json({}, self._me.key, kid=self._other.key.thumbprint()), "bad-signature"),
            (lambda _h, _p, _s: signed_json({"command_id": "1"}, self._me.key), "no-command-id"),
            (lambda _h, _p, _s: signed_json([], self._me.key), "no-command-id"),
        ]
        every: list[Callable[[Sent], Sent]] = [
            *(self._changed(change, reason) for change, reason in changes),
            *(self._unproven(spoil, reason) for spoil, reason in raw),
            *(self._misplaced, self._malformed, self._again, self._reused),
        ]
        return endlessly(chance.sample(every, len(every)))

    def _changed(self, change: dict[str, Any], reason: str) -> Callable[[Sent], Sent]:
        def bad(_: Sent) -> Sent:
            command = self._scoring.command(self._me, self._application, **change)
            return self._refuse(command.command_id, reason, sign(command, self._me.key).encode(), self._application)

        return bad

    def _unproven(self, spoil: Callable[[str, str, str], bytes | None], reason: str) -> Callable[[Sent], Sent]:
        def bad(good: Sent) -> Sent:
            value, key = good
            self.ignored[reason] += 1
            assert value is not None
            header, payload, signature = value.decode().split(".")
            return spoil(header, payload, signature), key

        return bad

    def _misplaced(self, _: Sent) -> Sent:
        command = self._scoring.command(self._me, self._application)
        return self._refuse(
            command.command_id, "wrong-record-key", sign(command, self._me.key).encode(), self._elsewhere
        )

    def _malformed(self, _: Sent) -> Sent:
        command = self._scoring.command(self._me, self._application)
        spoilt = {**command.model_dump(), "body": {"application": self._application, "points": {"x": 1.5}}}
        return self._refuse(command.command_id, "malformed", signed_json(spoilt, self._me.key), self._application)

    def _again(self, good: Sent) -> Sent:
        """The same review under another id, behind the first one."""
        person, _ = self.last
        key = good[1]
        command = self._scoring.command(person, key)
        return self._refuse(command.command_id, "already-submitted", sign(command, person.key).encode(), key)

    def _reused(self, good: Sent) -> Sent:
        """Another body under an id that was used."""
        person, used = self.last
        key = good[1]
        other = {"application": key, "points": given({CRITERIA[0]: 0}), "recommendation": False}
        command = self._scoring.command(person, key, command_id=used, body=other)
        return self._refuse(used, "reused-command-id", sign(command, person.key).encode(), key)

    def _refuse(self, command: str, reason: str, value: bytes, key: str) -> Sent:
        self.refused[command, reason] += 1
        return value, key


@pytest.fixture
async def scoring(runtime: RuntimeMaker, issuer: Issuer, kafka: AIOKafkaProducer) -> AsyncIterator[Scoring]:
    running = service(runtime(ScoringSettings))
    await running.start()
    async with httpx.AsyncClient(
        transport=httpx.ASGITransport(app=running.app), base_url="http://test", timeout=60
    ) as client:
        yield Scoring(running, client, issuer, kafka)
    await running.stop()


@pytest.mark.timeout(900)
async def test_of_ten_thousand_commands_with_every_tenth_bad_the_others_count_and_each_bad_one_is_answered(
    scoring: Scoring, stack: Stack, fault_seed: int
) -> None:
    chance = random.Random(fault_seed)
    text = TEXT.replace("applications_per_reviewer = 6\n", f"applications_per_reviewer = {APPLICATIONS}\n")
    text = text.replace("reviewers_per_application = 3\n", f"reviewers_per_application = {EACH}\n")
    await scoring.open(text)
    people = [await scoring.enrol("Maine") for _ in range(EACH)]
    for person in people:
        await scoring.register(person)
    await scoring.apply(*["Ohio"] * APPLICATIONS)
    await scoring.close()
    await eventually(lambda: _is(scoring, "assigned"), 240)
    seats = await scoring.assigned(people)
    work = iter(seats)
    # The seat that is taken last: until then it is there for bad ones to be about.
    culprit = Culprit(scoring, *seats[-1], *seats[0])
    ways, turn = culprit.ways(chance), chance.randrange(1, 10)
    good: Sent = (None, "")
    sent: list[tuple[str, str]] = []
    for number in range(COUNT):
        if number % 10 == turn:
            value, key = next(ways)(good)
        else:
            person, key = next(work)
            command = scoring.command(person, key)
            culprit.last = person, command.command_id
            value = sign(command, person.key).encode()
            good = value, key
            sent.append((sha256(value).hexdigest(), key))
        await scoring.kafka.send(COMMANDS.name, value, key=key.encode())
    await scoring.kafka.flush()
    assert list(work) == []
    await eventually(lambda: _is(scoring, "scored"), 500)

    async def all_refused() -> bool:
        return sum(map(len, (await scoring.refusals()).values())) >= culprit.refused.total()

    await eventually(all_refused, 120)
    done = await scoring.progress()
    assert (done["reviews_in"], done["submitted"]) == (EACH * APPLICATIONS, APPLICATIONS)
    events = await on_kafka(scoring, stack)
    told = Counter((one.subject, one.data["reason"]) for one in events if one.type == CommandRefused.TYPE)
    assert told == culprit.refused
    reviews = [review for one in events if isinstance(review := read(one), ReviewSubmitted)]
    assert sorted((one.private.command_sha256, one.application) for one in reviews if one.private) == sorted(sent)
    assert sum(one.type == ApplicationScored.TYPE for one in events) == APPLICATIONS
    assert scoring.ignored >= culprit.ignored
    assert culprit.refused.total() + culprit.ignored.total() == COUNT // 10
    parked = "select count(*) from chassis.parked where topic = $1"
    assert await scoring.service.database.pool.fetchval(parked, COMMANDS.name) == 0


async def on_kafka(scoring: Scoring, stack: Stack) -> list[Envelope]:
    """The events that came of it, each once, as Kafka has them; they are just those that were recorded."""
    pool = scoring.service.database.pool

    async def none_leaving() -> bool:
        return not await pool.fetchval("select exists (select from chassis.outbox)")

    await eventually(none_leaving, 60)
    recorded = await pool.fetch("select id, subject from chassis.event_log")
    keys = {row["subject"].encode() for row in recorded}
    records = await in_kafka(stack.kafka_bootstrap, EVENT_TOPICS["scoring"])
    found = {event.id: event for _, event in events_in(record for record in records if record.key in keys)}
    assert set(found) == {row["id"] for row in recorded}
    return list(found.values())


async def _is(scoring: Scoring, state: str) -> bool:
    return bool((await scoring.progress())["state"] == state)
