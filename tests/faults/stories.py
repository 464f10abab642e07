"""Whole cycles, played by people who are told nothing but answers, and write these down.

A connection that breaks tells nothing: the command is sent again, over HTTP under its Idempotency-Key, over Kafka as it
was. So each is asked for as often as it takes, and has to happen once.
"""

from __future__ import annotations

import asyncio
import json
import random
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from hashlib import sha256
from itertools import cycle
from typing import Any, Self

import httpx
from aiokafka import AIOKafkaProducer
from joserfc.jwk import OKPKey

from schemas.charter import Charter
from schemas.cycles import CycleOpened
from schemas.envelope import RECORD_LIMIT, rfc3339
from schemas.reviews import ReviewCommand
from schemas.topics import CLOCK, COMMANDS, EVENT_TOPICS
from services.chassis.clock import MachineClock, ProgramClock, move_record
from services.chassis.ids import opaque_id
from services.chassis.issuer import Issuer
from services.scoring.commands import prove, sign
from tests.applicants import SMALL, complete_draft
from tests.given import written

CHARTER = Charter.parse(SMALL)
KIND = "municipio"
DRAFT = complete_draft(CHARTER, KIND)
CRITERIA = list(CHARTER.criteria(KIND))
AWAY = 503
APPLICANTS = 2
PROFILE = {
    "name": "Villa Ejemplo",
    "state": "Ejemplo",
    "kind": KIND,
    "population": 59_403,
    "population_source": "censo",
    "website": "https://villa.example",
}
NEVER = timedelta(days=365 * 70)
STEP = timedelta(days=40)
"""Of program time: within a minute, terms begin and end."""


def _with(**attributes: Any) -> Callable[[bytes], bytes]:
    return lambda record: json.dumps(json.loads(record) | attributes).encode()


BROKEN: dict[str, Callable[[bytes], bytes | None]] = {
    "cut off": lambda record: record[:-1],
    "not an object": lambda _: b"[]",
    "nothing": lambda _: b"",
    "a tombstone": lambda _: None,
    "not UTF-8": lambda record: record.replace(b'"data"', b'"d\xff\xfeta"'),
    "too large": _with(more="x" * RECORD_LIMIT),
    "no id": lambda record: json.dumps({k: v for k, v in json.loads(record).items() if k != "id"}).encode(),
    "an id that says no time": _with(id="5d8a0d4c-3f0b-4c55-9a3e-0d5b3a1f6c11"),
    "another CloudEvents": _with(specversion="0.3"),
    "a sequence from zero": _with(sequence=0),
    "a sequence in words": _with(sequence="one"),
    "a subject that is not its key": _with(subject="somebody-else"),
    "a type of no service": _with(type="Opened"),
    "data that are none": _with(data="none"),
}
"""What no service can take, whatever it reads the topic for; made from a good record."""


@dataclass(frozen=True)
class Submitted:
    """What a person was told about a submission that was accepted."""

    application: str
    version: int
    event: str
    leaf_hash: str


@dataclass
class Notes:
    """What everyone was told, and what everyone asked for."""

    submitted: list[Submitted] = field(default_factory=list)
    withdrawn: list[str] = field(default_factory=list)
    deadlines: list[tuple[str, str]] = field(default_factory=list)
    reviewed: dict[str, str] = field(default_factory=dict)
    """Leaf hashes by event, of reviews over HTTP."""
    signed: dict[str, str] = field(default_factory=dict)
    """Applications by SHA-256 of the signed command."""
    refused: dict[str, str] = field(default_factory=dict)
    """By command id, the reason for which it must be."""
    announced: dict[str, str] = field(default_factory=dict)
    """Events by cycle."""
    subscriptions: dict[str, str] = field(default_factory=dict)
    """By cycle."""
    broken: dict[tuple[str, int, int], bytes | None] = field(default_factory=dict)
    """Records that nobody can read, by topic, partition and offset."""
    wrong: list[str] = field(default_factory=list)
    """Answers that nobody should ever get."""
    answers: Counter[str] = field(default_factory=Counter)
    last: dict[str, str] = field(default_factory=dict)
    """What each person who still waits for something was told last."""


class RefusedError(Exception):
    """An answer that says no."""

    def __init__(self, status: int, problem: str, detail: str) -> None:
        super().__init__(f"{status} {problem}: {detail}")
        self.status = status
        self.problem = problem


class Town:
    """Where everyone lives: the services' addresses, tokens, Kafka, and a clock that somebody moves."""

    def __init__(
        self,
        urls: Mapping[str, str],
        kafka: str,
        issuer: Issuer,
        seed: int,
        *,
        notices: str,
        secret: str,
        astray: bool = False,
    ) -> None:
        """`notices` is the address of a subscriber's endpoint, signed for with `secret`.

        `astray`: the services' clocks go wrong, and people are patient with what these say of tokens and proofs.
        """
        self.notes = Notes()
        self.clock = ProgramClock(MachineClock(), movable=True)
        self.chance = random.Random(seed)
        self.notices = notices
        self.secret = secret
        self.issuer = issuer
        self.astray = astray
        self._urls = urls
        self._http = httpx.AsyncClient(timeout=20, trust_env=False)
        self._kafka = AIOKafkaProducer(bootstrap_servers=kafka, max_request_size=2 * RECORD_LIMIT)
        self._over = asyncio.Event()
        self.deadlines: dict[str, datetime] = {}
        """By cycle, before which time stops for the moment."""
        self._tasks: list[asyncio.Task[None]] = []

    async def __aenter__(self) -> Self:
        await self._kafka.start()
        return self

    async def __aexit__(self, error: type[BaseException] | None, *_: object) -> None:
        if error:
            for told in self.notes.last.values():
                print("waits:", told)  # noqa: T201  (pytest shows it with a failure)
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._http.aclose()
        await self._kafka.stop()

    def begin(self, people: int) -> None:
        """Have so many cycles played side by side, one after the other, while time passes."""
        self._tasks = [asyncio.create_task(self._play()) for _ in range(people)]
        self._tasks += [asyncio.create_task(self._pass_time()), asyncio.create_task(self._break())]

    def check(self) -> None:
        """Raise what went wrong meanwhile."""
        for task in self._tasks:
            if task.done():
                task.result()

    async def rest(self, seconds: float) -> None:
        """Have everyone end the cycle at hand."""
        self._over.set()
        async with asyncio.timeout(seconds):
            await asyncio.gather(*self._tasks)

    async def _play(self) -> None:
        while not self._over.is_set():
            await Story(self).play()

    async def _pass_time(self) -> None:
        while not self._over.is_set() or not all(task.done() for task in self._tasks[:-2]):
            before = [deadline - timedelta(days=1) for deadline in self.deadlines.values()]
            to = min([self.clock.now() + STEP, *before])
            if to > self.clock.now():
                await self.move(to)
            await asyncio.sleep(1)

    async def _break(self) -> None:
        """Write to the topics what nobody can read."""
        for way in cycle(BROKEN):
            if self._over.is_set():
                return
            topic, key = self.chance.choice(list(EVENT_TOPICS.values())).name, opaque_id()
            opened = CycleOpened(
                cycle=key,
                program="p",
                charter="",
                charter_sha256="",
                deadline=self.clock.now(),
                assignment_commitment="",
            )
            value = BROKEN[way](written(opened, 1).record)
            put = await self._kafka.send_and_wait(topic, value, key=key.encode())
            self.notes.broken[topic, put.partition, put.offset] = value
            await self._kafka.send_and_wait(COMMANDS.name, value, key=key.encode())
            await asyncio.sleep(0.5)

    async def move(self, to: datetime) -> None:
        """Move program time."""
        await self._kafka.send_and_wait(CLOCK.name, move_record(self.clock, to), key=b"clock", partition=0)
        self.clock.shift(to - self.clock.machine.now())

    async def command(self, value: str, application: str) -> None:
        """Send a signed command, maybe more than once."""
        for _ in range(self.chance.choice([1, 1, 2, 3])):
            await self._kafka.send_and_wait(COMMANDS.name, value.encode(), key=application.encode())

    def person(self, role: str) -> Person:
        """Somebody new."""
        return Person(self, opaque_id(), role)

    async def ask(
        self, who: Person, method: str, path: str, body: object, headers: Mapping[str, str]
    ) -> httpx.Response:
        """Ask until there is an answer; RefusedError where it says no."""
        service = path.split("/")[1]
        while True:
            sent = {"Authorization": f"Bearer {who.token}", **headers}
            try:
                answer = await self._http.request(method, self._urls[service] + path, json=body, headers=sent)
            except httpx.TransportError as error:
                self.notes.answers[type(error).__name__] += 1
                await asyncio.sleep(0.05)
                continue
            self.notes.answers[str(answer.status_code)] += 1
            if answer.is_success:
                return answer
            problem = answer.json() if "problem+json" in answer.headers.get("content-type", "") else {}
            name = problem.get("type", "").rsplit(":")[-1]
            passes = answer.status_code == AWAY and "retry-after" in answer.headers
            if passes or (self.astray and name == "invalid-token"):
                await asyncio.sleep(0.1)
            elif not problem or answer.status_code >= 500:
                self.notes.wrong.append(f"{method} {path}: {answer.status_code} {answer.text[:300]}")
                raise AssertionError(self.notes.wrong[-1])
            else:
                raise RefusedError(answer.status_code, name, problem.get("detail", ""))


@dataclass(frozen=True)
class Person:
    """Someone with a token."""

    town: Town
    subject: str
    role: str

    @property
    def token(self) -> str:
        return self.town.issuer.token(self.role, self.subject)

    async def get(self, path: str) -> Any:
        return (await self.town.ask(self, "GET", path, None, {})).json()

    async def post(self, path: str, body: object = None) -> Any:
        """POST under one Idempotency-Key."""
        return (await self.town.ask(self, "POST", path, body, {"Idempotency-Key": opaque_id()})).json()

    async def edit(self, path: str, body: object) -> None:
        await self.town.ask(self, "PATCH", path, body, {"If-Match": "*"})

    async def find(self, path: str, fits: Callable[[Any], bool] = lambda _: True) -> Any:
        """Ask for what comes a little later."""
        return await self.when(lambda: self.get(path), fits, {"not-found"})

    async def when(self, ask: Callable[[], Awaitable[Any]], fits: Callable[[Any], bool], not_yet: set[str]) -> Any:
        """Ask until the answer fits; a refusal for one of these problems is *not yet*."""
        last = self.town.notes.last
        while True:
            try:
                found = await ask()
                if fits(found):
                    last.pop(self.subject, None)
                    return found
                last[self.subject] = f"{self.role}: {found}"
            except RefusedError as refusal:
                if refusal.problem not in not_yet:
                    raise
                last[self.subject] = f"{self.role}: {refusal}"
            await asyncio.sleep(0.1)


@dataclass(frozen=True)
class Reviewer:
    """Someone who was enrolled, with a key where it signs."""

    person: Person
    name: str
    key: OKPKey | None


class Story:
    """One cycle, from its opening to its announcement."""

    def __init__(self, town: Town) -> None:
        self.town = town
        self.notes = town.notes
        self.cycle = f"c-{opaque_id()}"
        self.admin, self.board, self.auditor = (town.person(role) for role in ("program-admin", "board", "auditor"))

    async def play(self) -> None:
        scheduled = self.town.chance.random() < 0.3
        deadline = self.town.clock.now() + (3 * STEP if scheduled else NEVER)
        if scheduled:
            self.town.deadlines[self.cycle] = deadline
        await self._open(deadline)
        await asyncio.gather(self._subscribe(), self._gather(), self._extend(deadline))
        reviewers = await self._enrol()
        if scheduled:
            del self.town.deadlines[self.cycle]
        else:
            await self.admin.post(f"/intake/v1/cycles/{self.cycle}/close")
        await self._review(reviewers)
        await self._decide()

    async def _open(self, deadline: datetime) -> None:
        body = {"label": self.cycle, "charter": SMALL, "deadline": rfc3339(deadline)}
        await self.admin.post("/intake/v1/cycles", body)

    async def _extend(self, deadline: datetime) -> None:
        for minutes in range(1, 3):
            body = {"deadline": rfc3339(deadline + timedelta(minutes=minutes)), "reason": "again"}
            told = await self.admin.post(f"/intake/v1/cycles/{self.cycle}/extend", body)
            self.notes.deadlines.append((self.cycle, told["deadline"]))

    async def _subscribe(self) -> None:
        subscriber = self.town.person("subscriber")
        body = {"url": self.town.notices, "secret": self.town.secret, "filters": {"cycles": [self.cycle]}}
        while True:
            made = await subscriber.post("/notifications/v1/subscriptions", body)
            path = f"/notifications/v1/subscriptions/{made['subscription']}"
            found = await subscriber.find(path, lambda found: found["state"] != "pending")
            if found["state"] == "confirmed":
                break
            # Four challenges in a row were signed at one time and read at another.
            assert self.town.astray, found
        self.notes.subscriptions[self.cycle] = made["subscription"]

    async def _gather(self) -> None:
        await asyncio.gather(*(self._apply(number) for number in range(APPLICANTS)))

    async def _apply(self, number: int) -> None:
        lead = self.town.person("applicant")
        government = (await lead.post("/intake/v1/governments", PROFILE))["government"]
        path = f"/intake/v1/cycles/{self.cycle}/applications"
        application = (await lead.post(path, {"government": government}))["application"]
        path = f"/intake/v1/applications/{application}"
        await lead.edit(path, DRAFT)
        for _ in range(2):
            told = await lead.post(f"{path}/submit", {"attest": True})
            self.notes.submitted.append(Submitted(application, told["version"], told["event"], told["leaf_hash"]))
        if number == 0 and self.town.chance.random() < 0.3:
            await lead.post(f"{path}/withdraw", {"reason": "no budget"})
            self.notes.withdrawn.append(application)

    async def _enrol(self) -> list[Reviewer]:
        found = [self.town.person("reviewer") for _ in range(CHARTER.scoring.reviewers_per_application + 1)]
        return [await self._enrolled(person, signs=number != 0) for number, person in enumerate(found)]

    async def _enrolled(self, person: Person, *, signs: bool) -> Reviewer:
        path = f"/scoring/v1/cycles/{self.cycle}/reviewers"
        body = {"subject": person.subject, "name": "R", "states": ["elsewhere"]}
        made = await self.admin.when(lambda: self.admin.post(path, body), lambda _: True, {"not-found"})
        if not signs:
            return Reviewer(person, made["reviewer"], None)
        key = OKPKey.generate_key("Ed25519", auto_kid=True)
        jwk = key.as_dict(private=False)

        def registration() -> dict[str, Any]:
            proof = prove(key, made["reviewer"], int(self.town.clock.machine.now().timestamp()))
            return {"cycle": self.cycle, "jwk": jwk, "proof": proof}

        passing = {"key-proof"} if self.town.astray else set()
        await person.when(lambda: person.post("/scoring/v1/me/keys", registration()), lambda _: True, passing)
        return Reviewer(person, made["reviewer"], key)

    async def _review(self, reviewers: list[Reviewer]) -> None:
        path = f"/scoring/v1/cycles/{self.cycle}"
        await self.auditor.find(path, lambda found: found["state"] in {"assigned", "scored"})
        await asyncio.gather(*(self._review_all(reviewer) for reviewer in reviewers))
        await self.auditor.find(path, lambda found: found["state"] == "scored")

    async def _review_all(self, reviewer: Reviewer) -> None:
        for one in await reviewer.person.get(f"/scoring/v1/me/assignments?cycle={self.cycle}"):
            points = {name: self.town.chance.randint(7, 10) for name in CRITERIA}
            body = {"application": one["application"], "points": points, "recommendation": True}
            if reviewer.key is None:
                told = await reviewer.person.post(f"/scoring/v1/cycles/{self.cycle}/reviews", body)
                self.notes.reviewed[told["event"]] = told["leaf_hash"]
            else:
                await self._sign(reviewer, reviewer.key, body)

    async def _sign(self, reviewer: Reviewer, key: OKPKey, body: dict[str, Any]) -> None:
        now = int(self.town.clock.machine.now().timestamp())
        whole = {
            "aud": COMMANDS.name,
            "command_id": opaque_id(),
            "cycle": self.cycle,
            "sub": reviewer.name,
            "iat": now,
            "exp": now + 600,
            "body": body,
        }
        bad = ReviewCommand.model_validate(whole | {"command_id": opaque_id(), "cycle": "nowhere"})
        good = sign(ReviewCommand.model_validate(whole), key)
        self.notes.refused[bad.command_id] = "unknown-cycle"
        self.notes.signed[sha256(good.encode()).hexdigest()] = body["application"]
        for value in (sign(bad, key), good):
            await self.town.command(value, body["application"])

    async def _decide(self) -> None:
        path = f"/awards/v1/cycles/{self.cycle}"
        await self.board.find(path, lambda found: found["proposed"] == found["submitted"] and found["state"] != "open")
        # The services may be a step ahead of what is known here.
        await self.board.when(self._ratify, lambda _: True, {"announce-on-out-of-range"})
        announced = await self.board.when(
            lambda: self.board.post(f"{path}/announce", {}), lambda _: True, {"not-decided"}
        )
        self.notes.announced[self.cycle] = announced["event"]

    async def _ratify(self) -> Any:
        day = (self.town.clock.now() + timedelta(days=1)).date()
        return await self.board.post(f"/awards/v1/cycles/{self.cycle}/ratify", {"announce_on": day.isoformat()})
