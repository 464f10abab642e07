"""A cycle in review, ready to be measured: scoring's database, waiting for reviews, and the commands that bring them.

The shipped charter (29 criteria), three reviewers an application, six applications a reviewer (more, beyond 18,000
commands), one command a seat in shuffled order: each is accepted, and every third completes an application. Cycle,
reviewers, keys and seats are put into the database by scoring's own functions, without Kafka or HTTP.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, replace
from hashlib import sha256
from itertools import cycle as around
from itertools import islice
from typing import TYPE_CHECKING

import orjson
from joserfc.jwk import OKPKey

from benchmarks.harness import ROOT, Ground, Record
from schemas.applications import Answer, ApplicationSubmitted, Claims, Contact, Identity
from schemas.charter import charter_digest
from schemas.cycles import CycleClosed, CycleOpened
from schemas.envelope import Header, b64url
from schemas.exact import SetDigest
from schemas.reviews import Account, Assignee, ReviewAssigned, ReviewBody, ReviewCommand
from schemas.topics import COMMANDS
from services.chassis.clock import MachineClock
from services.chassis.ids import event_id, opaque_id, secret
from services.scoring import app, roster, store
from services.scoring.commands import ALGORITHM, COMMAND_TYPE, sign
from services.scoring.cycle import Cycle, close_cycle, enroll, open_cycle
from services.scoring.settings import ScoringSettings

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from services.chassis.database import Tx

CHARTER = (ROOT / "deploy" / "programs" / "citizen-engaged-communities.toml").read_text(encoding="utf-8")
REVIEWERS = 3_000
"""At most."""
SIGNED = 100_000
"""Commands that are signed, at most: to sign more would take longer than what is measured."""
PIECE = 2_000
"""Applications that are given their reviewers in one transaction."""


@dataclass(frozen=True)
class Seat:
    """Who reviews what, and the key that signs it."""

    application: str
    reviewer: str
    key: OKPKey


@dataclass(frozen=True)
class Reviewing:
    """A closed cycle, and the database of a scoring service that waits for its reviews."""

    database: str
    cycle: Cycle
    seats: list[Seat]
    """In the order of the commands."""

    @property
    def signed(self) -> bool:
        """Whether the commands' signatures hold."""
        return len(self.seats) <= SIGNED

    def commands(self) -> Iterator[Record]:
        """One that fills each seat, about 1,900 bytes long, made as they are taken."""
        draw = random.Random(len(self.seats))  # noqa: S311  (points that are the same in every run)
        criteria, now = self.cycle.charter.criteria("city"), int(MachineClock().now().timestamp())
        for seat in self.seats:
            said = command(self.cycle.name, seat, {name: draw.randint(0, 4) for name in criteria}, now)
            value = sign(said, seat.key) if self.signed else _unsigned(said, seat.key)
            yield COMMANDS.name, seat.application.encode(), value.encode()


async def prepared(ground: Ground, count: int) -> Reviewing:
    """A cycle with as many seats as `count`, a multiple of three."""
    service = app.service(ground.runtime(ScoringSettings))
    await service.migrate()
    await service.database.open()
    applications = [opaque_id() for _ in range(count // 3)]
    async with service.database.transaction() as tx:
        cycle = await closed_cycle(tx, applications)
        reviewers = [await reviewer(tx, cycle) for _ in range(min(REVIEWERS, max(3, len(applications) // 2)))]
    places, seats = around(reviewers), list[Seat]()
    for start in range(0, len(applications), PIECE):
        piece = [Seat(name, *who) for name in applications[start : start + PIECE] for who in islice(places, 3)]
        assigned = [
            ReviewAssigned(
                cycle=cycle.name,
                application=seat.application,
                review=opaque_id(),
                private=Assignee(reviewer=seat.reviewer),
            )
            for seat in piece
        ]
        async with service.database.transaction() as tx:
            for event in assigned:
                tx.record(event)
            await store.add_seats(tx.db, assigned)
        seats += piece
    await service.database.pool.execute("truncate chassis.outbox")
    await service.database.pool.execute("vacuum analyze")
    await service.database.close()
    random.Random(count).shuffle(seats)  # noqa: S311  (an order that is the same in every run)
    return Reviewing(service.database.name, cycle, seats)


async def closed_cycle(tx: Tx, applications: Sequence[str]) -> Cycle:
    """The cycle with these applications, which are alike but for their ids."""
    name, seed, now = f"c-{secret(4)}", bytes(32), tx.clock.now()
    opened = CycleOpened(
        cycle=name,
        program="p",
        charter=CHARTER,
        charter_sha256=charter_digest(CHARTER),
        deadline=now,
        assignment_commitment=sha256(seed).hexdigest(),
    )
    cycle = open_cycle(opened, event_id())
    await store.add_cycle(tx.db, cycle, opened)
    first, *others = applications
    event = submitted(cycle, first)
    header = Header(id=event_id(), type=event.TYPE, source=event.source(), subject=first, time=now, sequence=1)
    await store.enter_application(tx.db, event, header)
    await tx.db.execute(
        "insert into projection.application"
        " select (jsonb_populate_record(a, jsonb_build_object('application', name))).*"
        " from projection.application a, unnest($2::text[]) name where a.application = $1",
        first,
        others,
    )
    closed = CycleClosed(cycle=name, submitted=SetDigest.of([header.id]), assignment_seed=seed.hex(), closed_by="hand")
    cycle = replace(close_cycle(cycle, closed, event_id()), assigned=True)
    await store.save_cycle(tx.db, cycle)
    return cycle


def submitted(cycle: Cycle, application: str) -> ApplicationSubmitted:
    """A city's application with an answer to every criterion."""
    identity = Identity(
        government=opaque_id(),
        name="Town",
        state="Ohio",
        kind="city",
        population=9_000,
        population_source="census",
        website="https://town.example",
        tier="T1",
    )
    statement = "Residents reach us by phone, over the web and in person, and see there what became of their request."
    return ApplicationSubmitted(
        cycle=cycle.name,
        application=application,
        version=1,
        identity=identity,
        claims=Claims(facts={"channels": ["phone"]}, assumed=[], metrics=[]),
        answers={name: Answer(statement=statement) for name in cycle.charter.criteria("city")},
        contact=Contact(official="o", title="t", email="o@town.example"),
    )


async def reviewer(tx: Tx, cycle: Cycle) -> tuple[str, OKPKey]:
    """One who is enrolled, with a registered key."""
    account = Account(issuer="https://issuer.example", subject=opaque_id())
    event, key = enroll(cycle, opaque_id(), ["Maine"], account), OKPKey.generate_key("Ed25519")
    await roster.add_reviewer(tx.db, event, account, "A Name")
    await roster.add_key(tx.db, key.thumbprint(), event.reviewer, dict(key.as_dict(private=False)))
    return event.reviewer, key


def command(cycle: str, seat: Seat, points: dict[str, int | None], now: int) -> ReviewCommand:
    """A review with these points."""
    body = ReviewBody(
        application=seat.application,
        points=points,
        recommendation=True,
        comment="A sound case; the next application should say more about how complaints are followed up.",
    )
    return ReviewCommand(
        aud="scoring.submissions.v1",
        command_id=opaque_id(),
        cycle=cycle,
        sub=seat.reviewer,
        iat=now,
        exp=now + 3_600,
        body=body,
    )


def _unsigned(said: ReviewCommand, key: OKPKey) -> str:
    """As `sign` would, but that the signature is none."""
    header = orjson.dumps({"alg": ALGORITHM, "typ": COMMAND_TYPE, "kid": key.thumbprint()})
    return f"{b64url(header)}.{b64url(said.model_dump_json().encode())}.{b64url(bytes(64))}"
