"""The steps of a demonstration cycle, each through the public HTTP API or a topic, in the order of a real year."""

from __future__ import annotations

import asyncio
import io
import zipfile
from collections import Counter, defaultdict
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, time, timedelta
from typing import Any, Self

import orjson
from aiokafka import AIOKafkaProducer

from deploy.demo.calls import People, until
from deploy.demo.cohort import Applicant, Cohort
from deploy.demo.reviewer import Reviewer
from schemas.charter import Charter
from schemas.envelope import rfc3339
from schemas.reviews import ReviewBody
from schemas.topics import CLOCK
from services.chassis.clock import move_record
from services.origin import Origin

# A cycle's year, as days before the announcement.
OPENS, DEADLINE, RATIFIES = 168, 77, 14
AT_ONCE = 8
"""How many people act at the same time."""
ELSEWHERE = ("Oregon", "Ohio", "Texas", "Utah", "Maine", "Iowa")
"""States that reviewers come from beside the applicants' own, which bar them from some applications."""


class Cycle:
    """One cycle being played, step by step."""

    def __init__(
        self,
        cohort: Cohort,
        charter: Charter,
        charter_text: str,
        people: People,
        origin: Origin,
        tell: Callable[[str], None],
    ) -> None:
        self._cohort = cohort
        self._charter = charter
        self._charter_text = charter_text
        self._people = people
        self._origin = origin
        self._tell = tell
        self._admin = people("program-admin", "demo-admin")
        self._board = people("board", "demo-board")
        self._auditor = people("auditor", "demo-auditor")
        self._subscriber = people("subscriber", "demo-subscriber")
        self._kafka = AIOKafkaProducer(bootstrap_servers=origin.kafka_bootstrap)
        self._applicants: dict[str, Applicant] = {}
        self._reviewers: list[Reviewer] = []
        self._subscription = ""
        self._name = cohort.cycle
        self._designees = 0

    async def __aenter__(self) -> Self:
        """Connect to Kafka."""
        await self._kafka.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        """Disconnect."""
        await self._kafka.stop()

    async def to_the_decision(self, url: str, secret: str) -> None:
        """Everything before the announcement; notices are to go to `url`, signed with `secret`."""
        await self.open()
        await self.subscribe(url, secret)
        await self.apply()
        await self.enrol()
        await self.close()
        await self.review()
        await self.decide()

    async def from_the_announcement(self, received: Callable[[], int]) -> None:
        """The rest, until every notice has come; `received` counts those that did."""
        await self.announce()
        await self.run_out()
        await self.await_notices(received)

    def _day(self, before: int, hour: int = 14) -> datetime:
        return datetime.combine(self._cohort.announced_on, time(hour), UTC) - timedelta(days=before)

    async def _move(self, to: datetime) -> None:
        """Move every service's program time."""
        clock = self._origin.clock
        await self._kafka.send_and_wait(CLOCK.name, move_record(clock, to), key=b"clock", partition=0)

        async def moved() -> bool:
            return abs(clock.now() - to) < timedelta(minutes=5)

        await until(f"program time to be {to:%Y-%m-%d}", moved)

    async def open(self) -> None:
        """The program-admin opens the cycle under the charter."""
        await self._move(self._day(OPENS))
        body = {
            "label": self._name,
            "charter": self._charter_text,
            "deadline": rfc3339(self._day(DEADLINE, 21)),
            "demonstration": True,
        }
        opened = await self._admin.post("/intake/v1/cycles", body)
        self._tell(f"{self._today()}: cycle open; charter SHA-256 {opened['charter_sha256'][:16]}…")

    def _today(self) -> str:
        return f"{self._origin.clock.now():%Y-%m-%d}"

    async def subscribe(self, url: str, secret: str) -> None:
        """A subscriber asks for every notice and answers the challenge."""
        body = {"url": url, "secret": secret, "filters": {}}
        made = await self._subscriber.post("/notifications/v1/subscriptions", body)
        self._subscription = f"/notifications/v1/subscriptions/{made['subscription']}"

        async def confirmed() -> bool:
            return str((await self._subscriber.get(self._subscription))["state"]) == "confirmed"

        await until("the webhook subscription to be confirmed", confirmed)
        self._tell("a subscriber's webhook answered its challenge")

    async def apply(self) -> None:
        """Every government registers, drafts and submits; some withdraw."""
        names = await _each(self._cohort.applicants, self._apply)
        self._applicants = dict(zip(names, self._cohort.applicants, strict=True))
        withdrawn = sum(applicant.withdraws for applicant in self._cohort.applicants)
        self._tell(f"{self._today()}: {len(names)} applications submitted, {withdrawn} of them withdrawn")

    async def _apply(self, applicant: Applicant) -> str:
        lead = self._people("applicant", f"lead of {applicant.name}, {applicant.state}")
        profile = applicant.model_dump(include={"name", "state", "kind", "population", "population_source", "website"})
        government = await lead.post("/intake/v1/governments", profile)
        path = f"/intake/v1/cycles/{self._name}/applications"
        application = str((await lead.post(path, {"government": government["government"]}))["application"])
        await lead.patch(f"/intake/v1/applications/{application}", self._draft(applicant))
        await lead.post(f"/intake/v1/applications/{application}/submit", {"attest": True})
        if applicant.withdraws:
            await lead.post(f"/intake/v1/applications/{application}/withdraw", {"reason": "demonstration"})
        return application

    def _draft(self, applicant: Applicant) -> dict[str, Any]:
        given = {name: answer.model_dump(mode="json") for name, answer in applicant.answers.items()}
        drawn = {
            name: {
                "statement": f"{criterion.name}: drawn for the demonstration.",
                "evidence": [{"url": applicant.website}],
            }
            for name, criterion in self._charter.criteria(applicant.kind).items()
            if name not in given
        }
        metrics = [{**metric.model_dump(mode="json"), "value": str(metric.value)} for metric in applicant.metrics]
        contact = {
            "official": "Demonstration Official",
            "title": "City or county manager",
            "email": "official@government.example",
            "channels": {"portal": applicant.website},
        }
        return {
            "answers": {**drawn, **given},
            "facts": applicant.model_dump(mode="json")["facts"],
            "assumed": list(applicant.assumed),
            "metrics": metrics,
            "contact": contact,
        }

    async def enrol(self) -> None:
        """The program-admin enrols reviewers; every second one registers a key for signed commands."""
        for number in range(self._cohort.reviewers):
            await self._enrol(number)
        signing = sum(reviewer.key is not None for reviewer in self._reviewers)
        self._tell(
            f"{self._today()}: {len(self._reviewers)} reviewers enrolled, {signing} will sign commands over Kafka"
        )

    async def _enrol(self, number: int, states: tuple[str, ...] | None = None) -> None:
        home = sorted({applicant.state for applicant in self._cohort.applicants})
        pool = [state for pair in zip(home, ELSEWHERE * len(home), strict=False) for state in pair]
        body = {
            "subject": f"demo-reviewer-{number}",
            "name": f"Reviewer {number}",
            "states": list(states or (pool[number % len(pool)],)),
        }
        made = await self._admin.post(f"/scoring/v1/cycles/{self._name}/reviewers", body)
        reviewer = Reviewer(number, str(made["reviewer"]), self._people("reviewer", f"demo-reviewer-{number}"))
        if number % 2:
            await reviewer.register_key(self._name, self._origin.clock.machine.now())
        self._reviewers.append(reviewer)

    async def close(self) -> None:
        """The deadline passes: the schedule closes the cycle, and reviewers are assigned by the revealed seed."""
        await self._move(self._day(DEADLINE, 21) + timedelta(seconds=1))
        path = f"/scoring/v1/cycles/{self._name}"
        how = "closed by the schedule; "
        if self._charter.screening is not None:
            await self._screen(path)
            how = ""
        problem = ""
        for extra in range(20):
            state = await until("reviewers to be assigned", lambda: self._settled(path))
            if state["state"] == "scored":
                self._tell(f"{self._today()}: {how}nobody stands, so there is nothing to review")
                return
            if state["state"] == "assigned":
                self._tell(f"{self._today()}: {how}{state['reviews_expected']} reviews assigned")
                return
            problem = state["problem"]
            # Too many conflicts: an administrator would look for a reviewer without any.
            await self._enrol(self._cohort.reviewers + extra, ("none",))
            await asyncio.sleep(0.2)
        raise RuntimeError(f"reviewers cannot be assigned: {problem}")

    async def _screen(self, path: str) -> None:
        """The program-admin finds everyone eligible who applied."""

        async def closed() -> bool:
            return str((await self._admin.get(path))["state"]) not in {"open", "waiting-for-applications"}

        await until("the cycle to be closed", closed)
        await self._admin.post(f"/intake/v1/cycles/{self._name}/screening/finish", {"rest_eligible": True})
        self._tell(f"{self._today()}: closed by the schedule; all that stand are found eligible")

    async def _settled(self, path: str) -> dict[str, Any] | None:
        answer: dict[str, Any] = await self._admin.get(path)
        return answer if answer["state"] in {"assigned", "scored", "waiting-for-reviewers"} else None

    async def review(self) -> None:
        """Every reviewer reads what it was assigned and gives points: half over HTTP, half as signed commands."""
        await self._move(self._day(DEADLINE - 30))
        due: dict[str, list[Reviewer]] = defaultdict(list)
        for reviewer in self._reviewers:
            for assignment in await reviewer.person.get("/scoring/v1/me/assignments", cycle=self._name):
                reviewer.reviews[assignment["application"]] = assignment["review"]
                due[assignment["application"]].append(reviewer)
        work = [
            (reviewer, application, position)
            for application, assigned in sorted(due.items())
            for position, reviewer in enumerate(assigned)
        ]
        await _each(work, self._review)
        path = f"/scoring/v1/cycles/{self._name}"

        async def scored() -> bool:
            return str((await self._admin.get(path))["state"]) == "scored"

        await until("every application to be scored", scored)
        signed = sum(reviewer.key is not None for reviewer, _, _ in work)
        self._tell(f"{self._today()}: {len(work)} reviews in, {signed} of them as signed commands; all scored")

    async def _review(self, task: tuple[Reviewer, str, int]) -> None:
        reviewer, application, position = task
        await reviewer.person.get(f"/scoring/v1/reviews/{reviewer.reviews[application]}")
        applicant = self._applicants[application]
        drawn = self._cohort.points(self._charter, applicant, position)
        criteria = self._charter.criteria(applicant.kind)
        best = self._charter.scale.max * len(drawn)
        body = ReviewBody(
            application=application,
            points={name: drawn.get(name) for name in criteria},
            recommendation=2 * sum(drawn.values()) >= best,
            comment="Drawn for the demonstration.",
        )
        await reviewer.send(body, self._name, self._kafka, self._origin.clock.machine.now())

    async def decide(self) -> None:
        """The board ratifies what the charter's rules propose."""
        await self._move(self._day(RATIFIES))
        path = f"/awards/v1/cycles/{self._name}"
        standing = sum(not applicant.withdraws for applicant in self._cohort.applicants)

        async def proposed() -> bool:
            return int((await self._board.get(path))["proposed"]) >= standing

        await until("every decision to be proposed", proposed)
        if not standing:
            await until("the closing to be known", lambda: self._nothing_missing(path))
            self._tell(f"{self._today()}: nobody stands, so there is nothing to ratify")
            return
        await self._board.post(f"{path}/ratify", {"announce_on": self._cohort.announced_on.isoformat()})
        answer = await self._board.get(path)
        self._designees = int(answer["granted"])
        made = answer["made"]
        self._tell(f"{self._today()}: the board ratified {made} decisions: {self._designees} designations, none public")

    async def _nothing_missing(self, path: str) -> bool:
        return not (await self._board.get(path))["missing"]

    async def announce(self) -> None:
        """The board announces, with the editor's sentences."""
        await self._move(self._day(0))
        await self._board.post(f"/awards/v1/cycles/{self._name}/announce", {"narrative": list(self._cohort.narrative)})
        self._tell(f"{self._today()}: announced")

    async def run_out(self) -> None:
        """The term passes: renewal notices, then expiry."""
        if not self._designees:
            return
        start = self._cohort.announced_on
        year = start.year + self._charter.term.years
        end = start.replace(year=year) if (start.month, start.day) != (2, 29) else start.replace(year=year, day=28)
        ends = datetime.combine(end, time(12), UTC)
        await self._await_status("active")
        for days in sorted(self._charter.term.renewal_notice_days, reverse=True):
            await self._move(ends - timedelta(days=days))
            await self._await_status("renewal-due")
            self._tell(f"{self._today()}: renewal due in {days} days")
        await self._move(ends + timedelta(days=1))
        await self._await_status("expired")
        self._tell(f"{self._today()}: {self._designees} designations expired")

    async def _await_status(self, status: str) -> None:
        async def reached() -> bool:
            found = await self._designations()
            return len(found) == self._designees and all(one["status"] == status for one in found)

        await until(f"every designation to be {status}", reached)

    async def _designations(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = []
        params = {"cycle": self._name}
        while True:
            page = await self._board.get("/awards/v1/designees", **params)
            found += page["items"]
            if not page.get("next"):
                return found
            params["cursor"] = page["next"]

    async def await_notices(self, received: Callable[[], int]) -> None:
        """Wait until the subscriber has what its subscription is due: award and announcement, renewals, expiry."""
        renewals = len(self._charter.term.renewal_notice_days)
        due = 1 + self._designees * (2 + renewals)

        async def all_here() -> bool:
            return received() >= due

        await until(f"{due} notices to be delivered", all_here)
        self._tell(f"{received()} notices delivered")

    async def announcement(self, form: str) -> bytes:
        """The announcement as anyone gets it."""
        return await self._board.content(f"/awards/v1/announcements/{self._name}", format=form)

    async def log(self) -> dict[str, Any]:
        """The ledger's own word on the cycle's log."""
        answer: dict[str, Any] = await self._auditor.get(f"/ledger/v1/logs/{self._name}")
        return answer

    async def exports(self) -> tuple[bytes, bytes]:
        """The public and the auditor's export, once the log holds the last expiry."""
        path = f"/ledger/v1/cycles/{self._name}/export"
        expired, announced = "awards.designation.expired.v1", "awards.cohort.announced.v1"

        async def whole() -> bytes | None:
            made = await self._auditor.content(path, **{"for": "auditor"})
            events = self.events_by_type(made)
            return made if events[announced] and events[expired] >= self._designees else None

        auditor: bytes = await until("the ledger to hold every event", whole)
        return await self._auditor.content(path, **{"for": "public"}), auditor

    @staticmethod
    def events_by_type(export: bytes) -> Counter[str]:
        """How many events of each type an export holds."""
        with zipfile.ZipFile(io.BytesIO(export)) as archive:
            lines = archive.read("events.ndjson").splitlines()
        return Counter(orjson.loads(line)["type"] for line in lines)


async def _each(items: Any, work: Callable[[Any], Awaitable[Any]]) -> list[Any]:  # noqa: ANN401  (whatever is worked on)
    """Do `work` for every item, some at once; results in the items' order."""
    gate = asyncio.Semaphore(AT_ONCE)

    async def one(item: Any) -> Any:  # noqa: ANN401  (likewise)
        async with gate:
            return await work(item)

    return list(await asyncio.gather(*(one(item) for item in items)))
