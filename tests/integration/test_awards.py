"""Awards on the real parts: from other services' events to the announcement, its notices' dates and the terms' ends."""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from fractions import Fraction
from typing import Any

import httpx
import orjson
import pytest
from aiokafka import AIOKafkaProducer

from deploy.demo.cohort import Applicant, load
from schemas.applications import (
    Answer,
    ApplicationSubmitted,
    ApplicationWithdrawn,
    Claims,
    Contact,
    Identity,
    Withdrawal,
)
from schemas.charter import Charter, charter_digest
from schemas.cycles import CycleClosed, CycleOpened
from schemas.envelope import Written
from schemas.exact import Ratio, SetDigest
from schemas.reviews import ApplicationScored, AreaShare, Scores
from schemas.screening import WithdrawalRequest, WithdrawalRequested
from schemas.topics import topic_of
from services.awards.app import service
from services.awards.settings import AwardsSettings
from services.chassis.clock import ProgramClock
from services.chassis.ids import opaque_id
from services.chassis.issuer import Issuer
from services.chassis.service import Runtime, Service
from services.chassis.settings import Settings
from tests.applicants import PROGRAMS, SMALL
from tests.given import eventually, written
from tests.screened import UNSCREENED

RuntimeMaker = Callable[[type[Settings]], Runtime]

COHORT = load(PROGRAMS / "cohort-2011-2013.json")
DAY = date(2011, 10, 17)
SELECTED = ("Boston", "Durham", "Santa Monica", "Port Exemplar", "Placeholder Falls")


AT = datetime(2011, 7, 1, 17, tzinfo=UTC)
"""When everything in a story happens."""


@dataclass
class Story:
    """What intake and scoring publish of one cycle, in the order in which it happens."""

    charter: Charter
    text: str
    applicants: Sequence[Applicant]
    demonstration: bool = True
    cycle: str = field(default_factory=lambda: f"c-{opaque_id()}")
    records: list[Written] = field(default_factory=list)
    names: dict[str, str] = field(default_factory=dict)
    """Application by the applicant's name."""

    def tell(self) -> Story:
        opened = CycleOpened(
            cycle=self.cycle,
            program=self.charter.program.id,
            charter=self.text,
            charter_sha256=charter_digest(self.text),
            deadline=datetime(2011, 8, 1, tzinfo=UTC),
            assignment_commitment="00" * 32,
            demonstration=self.demonstration,
        )
        self.records.append(written(opened, 1, time=AT))
        submitted = {one.name: self._submit(one) for one in self.applicants}
        self.records.append(
            written(
                CycleClosed(
                    cycle=self.cycle,
                    submitted=SetDigest.of(submitted[one.name] for one in self.applicants if not one.withdraws),
                    assignment_seed="00" * 32,
                    closed_by="schedule",
                ),
                2,
                time=AT,
            )
        )
        for one in self.applicants:
            if not one.withdraws:
                self.records.append(self._score(one, submitted[one.name]))
        return self

    def submission(self, applicant: Applicant, version: int, **facts: bool) -> ApplicationSubmitted:
        tier = self.charter.tier_of(applicant.population)
        return ApplicationSubmitted(
            cycle=self.cycle,
            application=self.names.setdefault(applicant.name, opaque_id()),
            version=version,
            identity=Identity(
                government=opaque_id(),
                name=applicant.name,
                state=applicant.state,
                kind=applicant.kind,
                population=applicant.population,
                population_source=applicant.population_source,
                website=applicant.website,
                tier=tier.id if tier else "",
            ),
            claims=Claims(facts={**applicant.facts, **facts}, assumed=list(applicant.assumed), metrics=[]),
            answers={"crm": Answer(statement="One.")},
            contact=Contact(official="O", title="T", email="o@gov.example"),
        )

    def _submit(self, applicant: Applicant) -> str:
        """A first version that says nothing true, and the one that stands; the id of the latter's event."""
        untrue = {name: False for name, value in applicant.facts.items() if isinstance(value, bool)}
        first = written(self.submission(applicant, 1, **untrue), 1, time=AT)
        second = written(self.submission(applicant, 2), 2, time=AT)
        self.records += [first, second]
        if applicant.withdraws:
            gone = ApplicationWithdrawn(
                cycle=self.cycle, application=self.names[applicant.name], private=Withdrawal(reason="no time")
            )
            self.records.append(written(gone, 3, time=AT))
        return second.header.id

    def _score(self, applicant: Applicant, submitted: str) -> Written:
        kind = applicant.kind
        points = {
            name: Fraction(self.charter.scale.max * applicant.strength, 100)
            if isinstance(applicant.strength, int)
            else Fraction(self.charter.scale.max * applicant.strength[area.id], 100)
            for area in self.charter.areas
            for name in (criterion.id for criterion in area.applicable(kind))
        }
        points |= {name: Fraction(given[0]) for name, given in applicant.reviews.items()}
        areas, total = {}, Fraction(0)
        for area in self.charter.areas:
            mine = [points[criterion.id] for criterion in area.applicable(kind)]
            maximum = self.charter.scale.max * len(mine)
            share = sum(mine, Fraction(0)) / maximum
            total += share * area.weight / 100
            areas[area.id] = AreaShare(points=Ratio.of(share * maximum), maximum=maximum, share=Ratio.of(share))
        scored = ApplicationScored(
            cycle=self.cycle,
            application=self.names[applicant.name],
            submitted=submitted,
            reviews=[opaque_id()],
            scores=Scores(
                criteria={name: Ratio.of(score) for name, score in points.items()}, areas=areas, total=Ratio.of(total)
            ),
        )
        return written(scored, 1, cause=submitted, time=AT)

    async def publish(self, kafka: AIOKafkaProducer, records: Sequence[Written] | None = None) -> None:
        for record in self.records if records is None else records:
            await kafka.send(topic_of(record.header.type), record.record, key=record.header.subject.encode())
        await kafka.flush()


class Board:
    """The service as people of several roles reach it."""

    def __init__(self, svc: Service, client: httpx.AsyncClient, issuer: Issuer) -> None:
        self.service = svc
        self.client = client
        self._issuer = issuer

    async def get(
        self,
        path: str,
        role: str | None = "board",
        params: dict[str, str] | None = None,
        headers: dict[str, str] | None = None,
    ) -> httpx.Response:
        return await self.client.get(path, params=params, headers={**self._auth(role), **(headers or {})})

    async def post(
        self, path: str, body: dict[str, Any], role: str | None = "board", headers: dict[str, str] | None = None
    ) -> httpx.Response:
        return await self.client.post(path, json=body, headers={**self._auth(role), **(headers or {})})

    def _auth(self, role: str | None) -> dict[str, str]:
        return {"Authorization": f"Bearer {self._issuer.token(role, f'{role}-1')}"} if role else {}

    async def proposed(self, story: Story) -> None:
        """Wait until the service holds the whole story."""
        standing = sum(not one.withdraws for one in story.applicants)

        async def all_here() -> bool:
            answer = await self.get(f"/v1/cycles/{story.cycle}")
            if answer.status_code != 200:
                return False
            seen = answer.json()
            return bool(
                seen["proposed"] == standing
                and seen["withdrawn"] == len(story.applicants) - standing
                and seen["state"] == "deciding"
            )

        await eventually(all_here)

    async def ratified(self, story: Story, day: date = DAY) -> dict[str, Any]:
        answer = await self.post(f"/v1/cycles/{story.cycle}/ratify", {"announce_on": day.isoformat()})
        assert answer.status_code == 200, answer.text
        return dict(answer.json())

    async def announced(self, story: Story, narrative: Sequence[str] = ()) -> dict[str, Any]:
        answer = await self.post(f"/v1/cycles/{story.cycle}/announce", {"narrative": list(narrative)})
        assert answer.status_code == 200, answer.text
        return dict(answer.json())

    async def events(self, story: Story, *types: str) -> list[dict[str, Any]]:
        """What this service recorded of the story's cycle, in order."""
        rows = await self.service.database.pool.fetch("select leaf from chassis.event_log order by id")
        events = [orjson.loads(row["leaf"]) for row in rows]
        return [
            event for event in events if event["cycleid"] == story.cycle and event["type"].split(".", 1)[1] in types
        ]

    async def parked(self, story: Story) -> list[tuple[str, str]]:
        """Kind and reason of what is set aside of the story's cycle."""
        rows = await self.service.database.pool.fetch(
            "select kind, reason from chassis.parked where subject = any($1::text[])",
            [story.cycle, *story.names.values()],
        )
        return [(row["kind"], row["reason"]) for row in rows]


@pytest.fixture
async def board(runtime: RuntimeMaker, issuer: Issuer, clock: ProgramClock) -> AsyncIterator[Board]:
    set_clock(clock, date(2011, 10, 3))
    made = service(runtime(AwardsSettings))
    await made.start()
    transport = httpx.ASGITransport(app=made.app)
    async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
        yield Board(made, client, issuer)
    await made.stop()


def set_clock(clock: ProgramClock, day: date, hour: int = 12) -> None:
    clock.shift(datetime(day.year, day.month, day.day, hour, tzinfo=UTC) - clock.machine.now())


def whole() -> Story:
    """The shipped cohort: ten designees and three others."""
    return Story(Charter.parse(UNSCREENED), UNSCREENED, COHORT.applicants).tell()


def short() -> Story:
    """Three designees, one that fails a core criterion, one that withdraws."""
    chosen = [applicant for applicant in COHORT.applicants if applicant.name in SELECTED]
    return Story(Charter.parse(UNSCREENED), UNSCREENED, chosen).tell()


async def test_events_of_a_cycle_become_its_announcement_and_nothing_is_public_before(
    board: Board, kafka: AIOKafkaProducer, clock: ProgramClock
) -> None:
    story = whole()
    await story.publish(kafka)
    await board.proposed(story)
    ratified = await board.ratified(story)
    assert sum(item["designation"] is not None for item in ratified["items"]) == 10
    designation = next(item["designation"] for item in ratified["items"] if item["designation"])

    unknown = await board.get("/v1/announcements/no-such-cycle", role=None)
    for path in (f"/v1/announcements/{story.cycle}", f"/v1/designees/{designation}"):
        for role in (None, "board"):
            hidden = await board.get(path, role=role)
            assert hidden.status_code == 404
            assert {**hidden.json(), "instance": ""} == {**unknown.json(), "instance": ""}
    assert (await board.get("/v1/announcements", role=None)).json()["items"] == []
    assert (await board.get("/v1/designees", role=None)).json()["items"] == []

    early = await board.post(f"/v1/cycles/{story.cycle}/announce", {})
    assert early.status_code == 409
    assert "2011-10-17, has not come" in early.json()["detail"]
    set_clock(clock, DAY, hour=0)
    announced = await board.announced(story, COHORT.narrative)
    assert (announced["announced_on"], announced["designations"]) == ("2011-10-17", 10)

    text = (await board.get(f"/v1/announcements/{story.cycle}?format=text", role=None)).text
    lines = text.splitlines()
    tiers = [line for line in lines if line.startswith("City/County Population")]
    assert [tier.rpartition(" ")[2] for tier in tiers] == ["75,001–150,000", "150,001–300,000", "more"]
    listed = lines[lines.index(tiers[0]) : lines.index(f"Highlights of the {story.cycle} Citizen-Engaged Communities")]
    assert [line for line in listed if ", " in line] == [
        "Santa Monica, California",
        "Chesapeake, Virginia",
        "Durham, North Carolina",
        "Winston-Salem, North Carolina",
        "Boston, Massachusetts",
        "Denver, Colorado",
        "Indianapolis, Indiana",
        "Kansas City, Missouri",
        "Minneapolis, Minnesota",
        "Philadelphia, Pennsylvania",
    ]
    assert "All 10 designees:" in lines
    assert "• Track six to sixteen established performance metrics" in lines
    assert "• Eight of the ten designees have a centralized or single knowledge-base" in lines
    assert sum(line.startswith("• ") for line in lines[lines.index("All 10 designees:") :]) == 12
    assert COHORT.narrative[0] in lines
    assert "10-17-2011" in lines
    assert "simulated" in lines[-1]
    assert not any(one.name in text for one in COHORT.applicants if one.fictional)


async def test_every_event_names_the_one_that_it_follows_from(
    board: Board, kafka: AIOKafkaProducer, clock: ProgramClock
) -> None:
    story = short()
    await story.publish(kafka)
    await board.proposed(story)
    await board.ratified(story)
    set_clock(clock, DAY)
    await board.announced(story)
    scored = {r.header.subject: r.header.id for r in story.records if r.header.type == ApplicationScored.TYPE}
    proposed = {event["subject"]: event for event in await board.events(story, "decision.proposed.v1")}
    made = {event["subject"]: event for event in await board.events(story, "decision.made.v1")}
    granted = await board.events(story, "designation.granted.v1")
    (announced,) = await board.events(story, "cohort.announced.v1")
    assert set(made) == set(proposed) == set(scored)
    for name, event in proposed.items():
        assert event["causationid"] == event["data"]["scored"] == scored[name]
        assert made[name]["causationid"] == made[name]["data"]["proposed"] == event["id"]
        assert made[name]["data"]["announce_on"] == "2011-10-17"
    assert {story.names[name] for name in ("Boston", "Durham", "Santa Monica")} == {
        event["data"]["application"] for event in granted
    }
    for event in granted:
        assert event["causationid"] == event["data"]["decided"] == made[event["data"]["application"]]["id"]
        assert (event["data"]["starts_on"], event["data"]["ends_on"]) == ("2011-10-17", "2013-10-17")
        assert set(event["data"]["sealed"]) == {"identity", "scores"}
    assert announced["causationid"] == max(event["id"] for event in made.values())
    digest = SetDigest.of(event["subject"] for event in granted)
    assert announced["data"]["designations"] == digest.model_dump()
    assert made[story.names["Boston"]]["actor"] == announced["actor"] is not None


async def test_the_board_ratifies_and_announces_once_and_nobody_else_does(
    board: Board, kafka: AIOKafkaProducer, clock: ProgramClock
) -> None:
    story = short()
    path = f"/v1/cycles/{story.cycle}"
    await story.publish(kafka)
    await board.proposed(story)
    day = {"announce_on": "2011-10-17"}
    for role in ("program-admin", "auditor", "reviewer", "applicant"):
        assert (await board.post(f"{path}/ratify", day, role=role)).status_code == 403
        assert (await board.post(f"{path}/announce", {}, role=role)).status_code == 403
    assert (await board.post(f"{path}/ratify", day, role=None)).status_code == 401
    assert (await board.get(path, role=None)).status_code == 401
    assert (await board.get(path, role="applicant")).status_code == 403
    assert (await board.get(f"{path}/decisions", role="program-admin")).status_code == 403
    assert (await board.post("/v1/cycles/none/ratify", day)).status_code == 404
    assert (await board.post("/v1/cycles/none/announce", {})).status_code == 404

    first = await board.post(f"{path}/ratify", day, headers={"Idempotency-Key": "once"})
    again = await board.post(f"{path}/ratify", day, headers={"Idempotency-Key": "once"})
    assert first.status_code == again.status_code == 200
    assert first.json() == again.json()
    second = await board.post(f"{path}/ratify", day)
    assert (second.status_code, second.json()["type"]) == (409, "urn:cec:problem:nothing-proposed")
    set_clock(clock, DAY)
    await board.announced(story)
    twice = await board.post(f"{path}/announce", {"narrative": ["Once more."]})
    assert (twice.status_code, twice.json()["type"]) == (409, "urn:cec:problem:already-announced")
    assert len(await board.events(story, "decision.made.v1")) == 4
    assert len(await board.events(story, "designation.granted.v1")) == 3
    assert len(await board.events(story, "cohort.announced.v1")) == 1


@pytest.mark.parametrize("applicants", [0, 1])
async def test_a_cycle_in_which_nobody_stands_is_announced_after_its_closing(
    board: Board, kafka: AIOKafkaProducer, applicants: int
) -> None:
    leaving = [applicant for applicant in COHORT.applicants if applicant.withdraws][:applicants]
    story = Story(Charter.parse(UNSCREENED), UNSCREENED, leaving).tell()
    path = f"/v1/cycles/{story.cycle}"
    await story.publish(kafka, story.records[:-1])

    async def here() -> bool:
        answer = await board.get(path)
        return answer.status_code == 200 and answer.json()["withdrawn"] == applicants

    await eventually(here)
    assert (await board.post(f"{path}/announce", {})).status_code == 409
    await story.publish(kafka, story.records[-1:])
    await board.proposed(story)
    assert (await board.get(path)).json()["missing"] == []
    refused = await board.post(f"{path}/ratify", {"announce_on": "2011-10-17"})
    assert "announce it" in refused.json()["detail"]
    assert (await board.announced(story))["announced_on"] == "2011-10-03"
    (event,) = await board.events(story, "cohort.announced.v1")
    assert event["data"]["designations"] == SetDigest.of([]).model_dump()
    (closing,) = [record for record in story.records if record.header.type == CycleClosed.TYPE]
    assert event["causationid"] == closing.header.id
    shown = (await board.get(f"/v1/announcements/{story.cycle}", role=None)).json()
    assert (shown["total"], shown["date"]) == (0, "10-03-2011")
    text = (await board.get(f"/v1/announcements/{story.cycle}?format=text", role=None)).text
    assert story.charter.announcement.nobody.format(label=story.cycle) in text


async def test_two_announcements_at_once_make_one(board: Board, kafka: AIOKafkaProducer, clock: ProgramClock) -> None:
    story = short()
    await story.publish(kafka)
    await board.proposed(story)
    path, day = f"/v1/cycles/{story.cycle}", {"announce_on": "2011-10-17"}
    answers = await asyncio.gather(*(board.post(f"{path}/ratify", day) for _ in range(3)))
    assert sorted(answer.status_code for answer in answers) == [200, 409, 409]
    set_clock(clock, DAY)
    answers = await asyncio.gather(*(board.post(f"{path}/announce", {}) for _ in range(3)))
    assert sorted(answer.status_code for answer in answers) == [200, 409, 409]
    assert len(await board.events(story, "cohort.announced.v1")) == 1


@pytest.mark.parametrize(
    ("command", "body", "status", "pointer"),
    [
        ("ratify", {}, 422, "/announce_on"),
        ("ratify", {"announce_on": "soon"}, 422, "/announce_on"),
        ("ratify", {"announce_on": "2011-10-02"}, 422, "/announce_on"),
        ("ratify", {"announce_on": "2021-10-17"}, 422, "/announce_on"),
        ("ratify", {"announce_on": "2011-10-17", "applications": ["x"]}, 409, "/applications/0"),
        ("ratify", {"announce_on": "2011-10-17", "applications": []}, 422, "/applications"),
        ("ratify", {"announce_on": "2011-10-17", "force": True}, 422, "/force"),
        ("announce", {"narrative": [""]}, 422, "/narrative/0"),
        ("announce", {"narrative": ["x" * 601]}, 422, "/narrative/0"),
        ("announce", {}, 409, ""),
    ],
)
async def test_a_command_that_does_not_fit_is_refused_with_its_place(
    board: Board, kafka: AIOKafkaProducer, command: str, body: dict[str, Any], status: int, pointer: str
) -> None:
    story = short()
    await story.publish(kafka)
    await board.proposed(story)
    answer = await board.post(f"/v1/cycles/{story.cycle}/{command}", body)
    assert answer.status_code == status
    assert answer.json()["errors"][0]["pointer"] == pointer
    assert await board.events(story, "decision.made.v1", "cohort.announced.v1") == []


async def test_the_rest_of_a_cycle_is_ratified_for_the_same_day_and_the_announcement_waits_for_it(
    board: Board, kafka: AIOKafkaProducer, clock: ProgramClock
) -> None:
    story = short()
    path = f"/v1/cycles/{story.cycle}"
    await story.publish(kafka)
    await board.proposed(story)
    boston = {"announce_on": "2011-10-17", "applications": [story.names["Boston"]]}
    assert [item["state"] for item in (await board.post(f"{path}/ratify", boston)).json()["items"]] == ["made"]
    set_clock(clock, DAY + timedelta(days=2))
    progress = (await board.get(path, role="program-admin")).json()
    assert progress["missing"] == ["proposed decisions to ratify: 3"]
    assert (progress["made"], progress["granted"]) == (1, None)
    refused = await board.post(f"{path}/announce", {})
    assert (refused.status_code, refused.json()["type"]) == (409, "urn:cec:problem:not-decided")
    other = await board.post(f"{path}/ratify", {"announce_on": "2011-10-20"})
    assert (other.status_code, other.json()["type"]) == (409, "urn:cec:problem:announce-on-differs")
    await board.ratified(story)
    assert (await board.announced(story))["announced_on"] == "2011-10-17"
    assert (await board.get(path)).json()["state"] == "announced"


async def test_the_board_sees_decisions_with_their_reasons_and_that_scores_are_simulated(
    board: Board, kafka: AIOKafkaProducer
) -> None:
    story = short()
    await story.publish(kafka)
    await board.proposed(story)
    for role in ("board", "auditor"):
        answer = (await board.get(f"/v1/cycles/{story.cycle}/decisions", role=role)).json()
        assert answer["simulated"] is True
        found = {item["identity"]["name"]: item for item in answer["items"]}
        assert set(found) == set(SELECTED) - {"Placeholder Falls"}
        assert (found["Boston"]["outcome"]["level"], found["Boston"]["outcome"]["unmet"]) == ("designated", [])
        assert found["Port Exemplar"]["outcome"]["level"] is None
        assert [condition.split(":")[0] for condition in found["Port Exemplar"]["outcome"]["unmet"]] == ["core"]
        assert {item["state"] for item in found.values()} == {"proposed"}


async def test_the_board_settles_what_is_asked_back_after_the_deadline_and_what_it_gives_back_is_designated_nowhere(
    board: Board, kafka: AIOKafkaProducer, clock: ProgramClock
) -> None:
    story = short()
    boston, durham = story.names["Boston"], story.names["Durham"]
    for name in (boston, durham):
        asked = WithdrawalRequested(
            cycle=story.cycle, application=name, private=WithdrawalRequest(reason="A new mayor.")
        )
        story.records.append(written(asked, 3))
    await story.publish(kafka)
    await board.proposed(story)
    requests = f"/v1/cycles/{story.cycle}/withdrawals"

    async def here() -> bool:
        return bool((await board.get(f"/v1/cycles/{story.cycle}")).json()["withdrawals_to_settle"] == 2)

    await eventually(here)
    assert {one["reason"] for one in (await board.get(requests)).json()["items"]} == {"A new mayor."}
    assert (await board.get(requests, role="reviewer")).status_code == 403
    assert len((await board.ratified(story))["items"]) == 2
    paths = [f"/v1/applications/{name}/withdrawal" for name in (boston, durham)]
    assert (await board.post(f"{paths[0]}/accept", {}, role="program-admin")).status_code == 403
    accepted = await board.post(f"{paths[0]}/accept", {})
    assert accepted.status_code == 200, accepted.text
    refused = await board.post(f"{paths[1]}/refuse", {"reason": "Its reviews are in."})
    assert refused.json()["state"] == "refused"
    again = await board.post(f"{paths[1]}/accept", {})
    assert (again.status_code, again.json()["type"].rpartition("/")[2]) == (409, "urn:cec:problem:settled")
    assert (await board.post(f"/v1/applications/{opaque_id()}/withdrawal/accept", {})).status_code == 404
    seen = {
        one["identity"]["name"]: (one["state"], one["answer"]) for one in (await board.get(requests)).json()["items"]
    }
    assert seen == {"Boston": ("accepted", ""), "Durham": ("refused", "Its reviews are in.")}
    assert {item["identity"]["name"] for item in (await board.ratified(story))["items"]} == {"Durham"}
    set_clock(clock, DAY)
    assert (await board.announced(story))["designations"] == 2
    (left,) = await board.events(story, "application.withdrawn.v1")
    assert left["causationid"] == left["data"]["requested"] == story.records[-2].header.id
    (kept,) = await board.events(story, "withdrawal.refused.v1")
    assert "Its reviews are in." not in json.dumps(kept)


async def test_any_order_of_arrival_and_every_duplicate_gives_the_same_decisions(
    board: Board, kafka: AIOKafkaProducer
) -> None:
    seen = []
    for seed in range(4):
        story = short()
        records = [*story.records, *story.records]
        if seed == 0:  # scores first, the cycle's opening last
            records = [*reversed(story.records), *story.records]
        else:
            random.Random(seed).shuffle(records)
        await story.publish(kafka, records)
        await board.proposed(story)
        answer = (await board.get(f"/v1/cycles/{story.cycle}/decisions")).json()
        seen.append({item["identity"]["name"]: (item["state"], item["outcome"]) for item in answer["items"]})
        facts = await board.service.database.pool.fetch(
            "select claims -> 'facts' ->> 'issues_service_requests' as fact, version from projection.application"
            " where cycle = $1",
            story.cycle,
        )
        assert {(row["fact"], row["version"]) for row in facts} == {("true", 2)}
        assert len(await board.events(story, "decision.proposed.v1")) == 4

        async def nothing_waits(told: Story = story) -> bool:
            return await board.parked(told) == []

        await eventually(nothing_waits)
    assert all(one == seen[0] for one in seen)


async def test_an_early_score_waits_for_the_version_that_was_reviewed(board: Board, kafka: AIOKafkaProducer) -> None:
    story = short()
    boston = story.names["Boston"]
    stands = next(r for r in story.records if r.header.subject == boston and r.header.sequence == 2)
    await story.publish(kafka, [record for record in story.records if record is not stands])

    async def others_proposed() -> bool:
        answer = await board.get(f"/v1/cycles/{story.cycle}")
        proposed = answer.status_code == 200 and answer.json()["proposed"] == 3
        return proposed and bool(await board.parked(story))

    await eventually(others_proposed)
    ((kind, reason),) = await board.parked(story)
    assert kind == "not_yet"
    assert "version that was reviewed" in reason
    await story.publish(kafka, [stands])
    await board.proposed(story)


async def test_renewals_come_at_their_dates_and_the_end_once(
    board: Board, kafka: AIOKafkaProducer, clock: ProgramClock
) -> None:
    story = short()
    await story.publish(kafka)
    await board.proposed(story)
    await board.ratified(story)
    set_clock(clock, DAY)
    await board.announced(story)
    for number, (day, standing) in enumerate(
        [
            (date(2013, 4, 19), "active"),
            (date(2013, 4, 20), "renewal-due"),
            (date(2013, 7, 19), "renewal-due"),
            (date(2013, 9, 17), "renewal-due"),
        ]
    ):
        set_clock(clock, day)

        async def noticed(expected: int = 3 * number) -> bool:
            return len(await board.events(story, "renewal.due.v1")) == expected

        await eventually(noticed)
        directory = (await board.get(f"/v1/designees?cycle={story.cycle}", role=None)).json()["items"]
        assert {one["status"] for one in directory} == {standing}
    assert [event["data"]["days"] for event in await board.events(story, "renewal.due.v1")] == [180] * 3 + [90] * 3 + [
        30
    ] * 3
    set_clock(clock, date(2013, 10, 16), hour=23)
    await asyncio.sleep(0.5)
    assert await board.events(story, "designation.expired.v1") == []
    set_clock(clock, date(2013, 10, 17), hour=0)

    async def expired() -> bool:
        return len(await board.events(story, "designation.expired.v1")) == 3

    await eventually(expired)
    directory = (await board.get(f"/v1/designees?cycle={story.cycle}", role=None)).json()["items"]
    assert {one["status"] for one in directory} == {"expired"}


async def test_nothing_falls_due_before_the_announcement_and_a_jump_over_a_term_skips_and_repeats_nothing(
    board: Board, kafka: AIOKafkaProducer, clock: ProgramClock
) -> None:
    story = short()
    await story.publish(kafka)
    await board.proposed(story)
    await board.ratified(story)
    set_clock(clock, date(2015, 1, 1))
    await asyncio.sleep(0.6)
    due = ("renewal.due.v1", "designation.expired.v1")
    assert await board.events(story, *due) == []
    await board.announced(story)

    async def all_due() -> bool:
        return len(await board.events(story, *due)) >= 12

    await eventually(all_due)
    await asyncio.sleep(0.6)
    events = await board.events(story, *due)
    assert len(events) == 12
    (announced,) = await board.events(story, "cohort.announced.v1")
    for subject in {event["subject"] for event in events}:
        mine = [event for event in events if event["subject"] == subject]
        assert [event["data"].get("days") for event in mine] == [180, 90, 30, None]
        assert [event["sequence"] for event in mine] == [2, 3, 4, 5]
        assert {event["causationid"] for event in mine} == {announced["id"]}
        assert mine[-1]["data"]["ended_on"] == "2013-10-17"


async def test_what_was_announced_stays_as_it_was_said(
    board: Board, kafka: AIOKafkaProducer, clock: ProgramClock
) -> None:
    story = short()
    await story.publish(kafka)
    await board.proposed(story)
    await board.ratified(story)
    set_clock(clock, DAY)
    await board.announced(story, ["An editor's sentence."])
    path = f"/v1/announcements/{story.cycle}"
    before = [(await board.get(path, role=None, params={"format": form})).text for form in ("text", "json")]
    boston = next(one for one in story.applicants if one.name == "Boston")
    changed = story.submission(boston.model_copy(update={"name": "Bostown"}), 3, gis_integrated=False)
    later = written(changed.model_copy(update={"application": story.names["Boston"]}), 3)
    await story.publish(kafka, [later])

    async def taken() -> bool:
        version = await board.service.database.pool.fetchval(
            "select version from projection.application where application = $1", story.names["Boston"]
        )
        return bool(version == 3)

    await eventually(taken)
    assert [(await board.get(path, role=None, params={"format": form})).text for form in ("text", "json")] == before
    names = [one["name"] for one in (await board.get("/v1/designees", role=None)).json()["items"]]
    assert names == ["Boston", "Durham", "Santa Monica"]
    (event,) = await board.events(story, "cohort.announced.v1")
    said = [highlight["text"] for highlight in event["data"]["highlights"]]
    assert all(f"• {text}" in before[0].splitlines() for text in said)


async def test_the_announcement_comes_in_four_forms_and_json_says_what_it_rests_on(
    board: Board, kafka: AIOKafkaProducer, clock: ProgramClock
) -> None:
    story = short()
    await story.publish(kafka)
    await board.proposed(story)
    await board.ratified(story)
    set_clock(clock, DAY)
    await board.announced(story)
    path = f"/v1/announcements/{story.cycle}"
    for accept, media, start in (
        ("text/plain", "text/plain", "Presenting"),
        ("text/markdown", "text/markdown", "# Presenting"),
        ("text/html,application/xhtml+xml,*/*;q=0.8", "text/html", "<!doctype html>"),
        ("text/html;q=0.2, text/plain;q=0.7", "text/plain", "Presenting"),
        ("*/*", "application/json", "{"),
        ("image/png", "application/json", "{"),
    ):
        answer = await board.get(path, role=None, headers={"Accept": accept})
        assert answer.headers["content-type"].split(";")[0] == media
        assert answer.headers["vary"] == "Accept"
        assert answer.text.startswith(start)
    chosen = await board.get(path, role=None, params={"format": "markdown"}, headers={"Accept": "text/html"})
    assert chosen.headers["content-type"].startswith("text/markdown")
    assert (await board.get(path, role=None, params={"format": "pdf"})).status_code == 422

    shown = (await board.get(path, role=None, params={"format": "json"})).json()
    assert shown["simulated"] is True
    granted = {event["subject"]: event for event in await board.events(story, "designation.granted.v1")}
    stands = {
        record.header.subject: record.header.id
        for record in story.records
        if record.header.type == ApplicationSubmitted.TYPE and record.header.sequence == 2
    }
    (event,) = await board.events(story, "cohort.announced.v1")
    highlights = [highlight for section in shown["sections"] for highlight in section["highlights"]]
    assert [one["id"] for one in highlights] == [one["id"] for one in event["data"]["highlights"]] != []
    for highlight, stated in zip(highlights, event["data"]["highlights"], strict=True):
        assert highlight["provenance"]["rule"] == highlight["id"]
        counts = [SetDigest.of(sentence["counts"]).model_dump() for sentence in highlight["sentences"]]
        assert counts == stated["counted"]
        for counted in highlight["provenance"]["designations"]:
            grant = granted[counted["designation"]]
            assert counted["granted"] == grant["id"]
            assert counted["submitted"] == stands[grant["data"]["application"]]


async def test_the_directory_is_filtered_and_read_page_by_page(
    board: Board, kafka: AIOKafkaProducer, clock: ProgramClock
) -> None:
    story = whole()
    await story.publish(kafka)
    await board.proposed(story)
    await board.ratified(story)
    set_clock(clock, DAY)
    await board.announced(story)
    listed: list[dict[str, Any]] = []
    cursor: dict[str, str] = {}
    pages = 0
    while True:
        page = (await board.get("/v1/designees", role=None, params={"limit": "4", **cursor})).json()
        listed, pages = listed + page["items"], pages + 1
        if page["next"] is None:
            break
        cursor = {"cursor": page["next"]}
    assert pages == 3
    names = [one["name"] for one in listed]
    assert names == sorted(names)
    assert len(set(names)) == 10
    carolina = (await board.get("/v1/designees", role=None, params={"state": "North Carolina"})).json()["items"]
    assert [one["name"] for one in carolina] == ["Durham", "Winston-Salem"]
    assert len((await board.get("/v1/designees", role=None, params={"tier": "t4"})).json()["items"]) == 6
    assert (await board.get("/v1/designees", role=None, params={"cycle": "none"})).json()["items"] == []
    assert (await board.get("/v1/designees", role=None, params={"cursor": "!"})).status_code == 422
    durham = (await board.get(f"/v1/designees/{carolina[0]['designation']}", role=None)).json()
    assert durham == {
        "designation": carolina[0]["designation"],
        "cycle": story.cycle,
        "name": "Durham",
        "state": "North Carolina",
        "kind": "city",
        "tier": "t3",
        "tier_label": "150,001–300,000",
        "level": "designated",
        "level_name": "Citizen-Engaged Community",
        "starts_on": "2011-10-17",
        "ends_on": "2013-10-17",
        "status": "active",
        "simulated": True,
    }
    (one,) = (await board.get("/v1/announcements", role=None)).json()["items"]
    assert one == {"cycle": story.cycle, "announced_on": "2011-10-17", "designations": 10, "simulated": True}
    assert not any(one.name in json.dumps([listed, durham]) for one in COHORT.applicants if one.fictional)


async def test_a_program_of_another_shape_is_announced_in_its_language_by_level(
    board: Board, kafka: AIOKafkaProducer, clock: ProgramClock
) -> None:
    charter = Charter.parse(SMALL)
    applicants = [
        Applicant(
            name=name,
            state="Aragón",
            kind="municipio",
            population=5_000,
            population_source="padrón",
            website="https://gov.example",
            facts={"atencion_en_linea": True},
            strength=strength,
        )
        for name, strength in (("Zuera", 90), ("Ávila", 75), ("Borja", 30))
    ]
    story = Story(charter, SMALL, applicants, demonstration=False).tell()
    await story.publish(kafka)
    await board.proposed(story)
    await board.ratified(story)
    set_clock(clock, DAY)
    await board.announced(story)
    text = (await board.get(f"/v1/announcements/{story.cycle}?format=text", role=None)).text
    lines = text.splitlines()
    assert lines.index("Nivel Oro") < lines.index("Zuera (Aragón)") < lines.index("Nivel Plata")
    assert lines.index("Nivel Plata") < lines.index("Ávila (Aragón)")
    assert "Borja" not in text
    assert "17 de octubre de 2011" in lines
    shown = (await board.get(f"/v1/designees?cycle={story.cycle}", role=None)).json()["items"]
    assert {(one["tier"], one["ends_on"], one["simulated"]) for one in shown} == {(None, "2014-10-17", False)}
