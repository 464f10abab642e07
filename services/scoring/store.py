"""Scoring's state in PostgreSQL. What two commands can race for is locked when it is loaded."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Any

import orjson

from schemas.charter import Charter
from schemas.exact import SetDigest
from schemas.reviews import Points
from services.scoring.cycle import Closing, Cycle, Standing
from services.scoring.domain import Scorecard, Seat

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from schemas.applications import ApplicationSubmitted
    from schemas.cycles import CycleOpened
    from schemas.envelope import Header
    from schemas.erasures import DisclosureErased
    from schemas.reviews import ApplicationScored, ReviewAssigned, ReviewSubmitted
    from schemas.screening import ApplicationClarified, ApplicationScreened
    from services.chassis.auth import Principal
    from services.chassis.database import Connection

_charter = lru_cache(maxsize=64)(Charter.parse)

# --- cycles ---------------------------------------------------------------------------------------------------------


async def cycles(db: Connection, names: Collection[str]) -> dict[str, Cycle]:
    """The known ones of `names`."""
    rows = await db.fetch("select * from projection.cycle where cycle = any($1::text[])", list(names))
    return {row["cycle"]: _cycle(row) for row in rows}


async def opened_cycles(db: Connection) -> dict[str, str]:
    """The ids of all cycles' first events."""
    return {row["cycle"]: row["opened"] for row in await db.fetch("select cycle, opened from projection.cycle")}


async def locked_cycle(db: Connection, name: str) -> Cycle | None:
    """The cycle, locked: what counts its applications and reviewers goes one after the other."""
    row = await db.fetchrow("select * from projection.cycle where cycle = $1 for update", name)
    return None if row is None else _cycle(row)


def _cycle(row: Any) -> Cycle:  # noqa: ANN401  (a row)
    closing = None
    if row["closed"] is not None:
        submitted = SetDigest(count=row["submitted_count"], sha256=row["submitted_sha256"])
        closing = Closing(row["closed"], row["seed"], submitted)
    eligible = None
    if row["eligible_sha256"] is not None:
        eligible = SetDigest(count=row["eligible_count"], sha256=row["eligible_sha256"])
    charter = _charter(row["charter"])
    return Cycle(
        row["cycle"],
        charter,
        row["opened"],
        row["commitment"],
        closing,
        assigned=row["assigned"],
        eligible=eligible,
    )


async def add_cycle(db: Connection, cycle: Cycle, event: CycleOpened) -> None:
    """Keep a new cycle."""
    await db.execute(
        "insert into projection.cycle (cycle, charter, commitment, opened) values ($1, $2, $3, $4)",
        cycle.name,
        event.charter,
        cycle.commitment,
        cycle.opened,
    )


async def save_cycle(db: Connection, cycle: Cycle) -> None:
    """Keep what changed."""
    closing = cycle.closing
    await db.execute(
        "update projection.cycle set closed = $2, seed = $3, submitted_count = $4, submitted_sha256 = $5,"
        " assigned = $6, eligible_count = $7, eligible_sha256 = $8 where cycle = $1",
        cycle.name,
        closing and closing.event,
        closing and closing.seed,
        closing and closing.submitted.count,
        closing and closing.submitted.sha256,
        cycle.assigned,
        cycle.eligible and cycle.eligible.count,
        cycle.eligible and cycle.eligible.sha256,
    )


async def note_shortage(db: Connection, cycle: str, problem: str | None) -> None:
    """Keep why the last attempt to assign reviewers failed; None: it did not."""
    if problem is None:
        await db.execute("delete from private.shortage where cycle = $1", cycle)
    else:
        await db.execute(
            "insert into private.shortage values ($1, $2) on conflict (cycle) do update set problem = excluded.problem",
            cycle,
            problem,
        )


async def shortage(db: Connection, cycle: str) -> str | None:
    """Why the last attempt to assign a cycle's reviewers failed; None where it did not, or there was none."""
    problem: str | None = await db.fetchval("select problem from private.shortage where cycle = $1", cycle)
    return problem


# --- applications ---------------------------------------------------------------------------------------------------


async def standing_version(db: Connection, application: str) -> tuple[int | None, bool]:
    """The version that stands, and whether it has reviewers. Whoever asks before changing it holds the cycle's row."""
    row = await db.fetchrow(
        "select version, exists (select from projection.review r where r.application = a.application) as seated"
        " from projection.application a where application = $1",
        application,
    )
    return (None, False) if row is None else (row["version"], row["seated"])


async def enter_application(db: Connection, event: ApplicationSubmitted, header: Header) -> None:
    """Keep a version in place of an earlier one."""
    answers = event.answers or {}
    await db.execute(
        """
        insert into projection.application
            (application, cycle, version, submitted, submitted_at, identity, claims, answers, claimed)
        values ($1, $2, $3, $4, $5, $6, $7, $8, $9)
        on conflict (application) do update set version = excluded.version, submitted = excluded.submitted,
            submitted_at = excluded.submitted_at, withdrawn = false, identity = excluded.identity,
            claims = excluded.claims, answers = excluded.answers, claimed = excluded.claimed
        """,
        event.application,
        event.cycle,
        event.version,
        header.id,
        header.time,
        event.identity and event.identity.model_dump(mode="json"),
        event.claims and event.claims.model_dump(mode="json"),
        {criterion: answer.model_dump(mode="json") for criterion, answer in answers.items()},
        [criterion for criterion, answer in answers.items() if answer.not_applicable is not None],
    )


async def withdraw_application(db: Connection, name: str) -> None:
    """Take an application out of its cycle."""
    await db.execute("update projection.application set withdrawn = true where application = $1", name)


async def keep_verdict(db: Connection, event: ApplicationScreened) -> None:
    """Take an application out of its cycle or back into it, by the last verdict on it.

    One with reviewers stays: the end of the screening stated it as eligible, and the verdict that says so is to come.
    """
    await db.execute(
        "update projection.application a set withdrawn = $2 where application = $1"
        " and not exists (select from projection.review r where r.application = a.application)",
        event.application,
        event.verdict == "ineligible",
    )


async def keep_question(db: Connection, event: ApplicationScreened, event_id: str) -> None:
    """Keep what the program asked."""
    text = event.private.text if event.private else ""
    await db.execute(
        "insert into projection.question values ($1, $2, $3, $4)", event_id, event.application, text, event.due
    )


async def keep_answer(db: Connection, event: ApplicationClarified, event_id: str) -> None:
    """Keep what the applicant answered."""
    text = event.private.text if event.private else ""
    query = "update projection.question set answer = $2, answered = $3 where question = $1"
    await db.execute(query, event.question, text, event_id)


async def forget(db: Connection, erasure: DisclosureErased) -> None:
    """Delete what erased blocks said. Which criteria an erased answer called not applicable is known as before."""
    criteria = [name.partition("/")[2] for name in erasure.digests if name.startswith("answers/")]
    excused = erasure.claims.not_applicable if erasure.claims else []
    await db.execute(
        """
        update projection.application set answers = answers - $2::text[],
            claimed = array(select distinct one from unnest(claimed || $3::text[]) as one order by one)
        where submitted = $1
        """,
        erasure.event,
        criteria,
        excused,
    )
    if "private" in erasure.digests:
        await db.execute("update projection.question set text = '' where question = $1", erasure.event)
        await db.execute("update projection.question set answer = '' where answered = $1", erasure.event)
        await db.execute("update projection.reviewer set states = '{}' where reviewer = $1", erasure.about)


async def questions(db: Connection, application: str) -> list[Any]:
    """What was asked of an application and answered: rows of text, due, answer, the oldest first."""
    return await db.fetch(
        "select text, due, answer from projection.question where application = $1 order by question", application
    )


async def standing(db: Connection, cycle: str) -> dict[str, Standing]:
    """The submitted, not withdrawn applications, by id."""
    rows = await db.fetch(
        "select application, submitted, identity->>'state' as state from projection.application"
        " where cycle = $1 and not withdrawn",
        cycle,
    )
    return {row["application"]: Standing(row["submitted"], row["state"]) for row in rows}


async def release(db: Connection, name: str, event: str) -> None:
    """Have nobody read or review an application any more, wherever its own events are."""
    await db.execute("insert into projection.released values ($1, $2) on conflict do nothing", name, event)


async def unscored(db: Connection, cycle: str) -> int:
    """How many of a cycle's applications were given back and will not be scored."""
    count: int = await db.fetchval(
        "select count(*) from projection.released join projection.application using (application)"
        " left join projection.scored using (application)"
        " where cycle = $1 and not withdrawn and scored.application is null",
        cycle,
    )
    return count


async def progress(db: Connection, cycle: str) -> tuple[int, int, int]:
    """How many reviews are assigned, how many are in, and how many applications are scored.

    Of an application that was given back before it was scored, none counts: nobody waits for them.
    """
    row = await db.fetchrow(
        "select count(r.review), count(g.event), count(distinct s.application)"
        " from projection.application a left join projection.review r using (application)"
        " left join projection.given g using (review) left join projection.scored s using (application)"
        " where a.cycle = $1 and (s.application is not null"
        " or not exists (select from projection.released where released.application = a.application))",
        cycle,
    )
    return (0, 0, 0) if row is None else (row[0], row[1], row[2])


# --- reviews --------------------------------------------------------------------------------------------------------


async def add_seats(db: Connection, seats: Sequence[ReviewAssigned]) -> None:
    """Keep who reviews what."""
    await db.execute(
        "insert into projection.review (review, application, reviewer)"
        " select * from unnest($1::text[], $2::text[], $3::text[])",
        [seat.review for seat in seats],
        [seat.application for seat in seats],
        [seat.private and seat.private.reviewer for seat in seats],
    )


async def scorecards(db: Connection, applications: Collection[str]) -> dict[str, Scorecard]:
    """The known ones of `applications` that have reviewers, locked in the order of their ids."""
    rows = await db.fetch(
        "select application, cycle, version, submitted, identity->>'kind', claimed from projection.application"
        " where application = any($1::text[]) and not withdrawn"
        " and not exists (select from projection.released r where r.application = application.application)"
        " order by application for update",
        list(applications),
    )
    seats: dict[str, list[Seat]] = {}
    # A second query, once the locks are held: a review that was under way in another transaction is in by now.
    for application, review, reviewer, event, points, recommendation in await db.fetch(
        "select r.application, r.review, r.reviewer, g.event, g.points, g.recommendation"
        " from projection.review r left join projection.given g using (review)"
        " where r.application = any($1::text[]) order by r.review",
        list(applications),
    ):
        given = None
        if event is not None:
            # Checked when they were taken.
            given = Points.model_construct(points=orjson.loads(points), recommendation=recommendation)
        seats.setdefault(application, []).append(Seat(review, reviewer, event, given))
    return {
        application: Scorecard(
            application, cycle, version, submitted, kind, frozenset(claimed), tuple(seats[application])
        )
        for application, cycle, version, submitted, kind, claimed in rows
        if application in seats
    }


def _sorted(points: dict[str, int | None]) -> str:
    """Canonical: the names are a charter's ids, the points a scale's."""
    return orjson.dumps(points, option=orjson.OPT_SORT_KEYS).decode()


async def save_reviews(
    db: Connection, reviews: Sequence[tuple[str, ReviewSubmitted]], scored: Sequence[tuple[str, ApplicationScored]]
) -> None:
    """Keep reviews that came in and scores that they led to, each with its event's id."""
    given = [(name, event, event.scores) for name, event in reviews if event.scores is not None]
    await db.execute(
        """
        with scored as (insert into projection.scored select * from unnest($5::text[], $6::text[]))
        insert into projection.given select * from unnest($1::text[], $2::text[], $3::text[], $4::boolean[])
        """,
        [event.review for _, event, _ in given],
        [name for name, *_ in given],
        [_sorted(scores.points) for *_, scores in given],
        [scores.recommendation for *_, scores in given],
        [event.application for _, event in scored],
        [name for name, _ in scored],
    )


async def assignments(db: Connection, reviewer: str) -> list[Any]:
    """What a reviewer was given: rows of review, application, submitted."""
    return await db.fetch(
        "select r.review, r.application, g.event is not null as submitted"
        " from projection.review r left join projection.given g using (review) where r.reviewer = $1"
        " and not exists (select from projection.released where released.application = r.application)"
        " order by r.review",
        reviewer,
    )


async def review_of(db: Connection, review: str, who: Principal) -> Any:  # noqa: ANN401  (a row, or None)
    """A review with its application, for the account whose review it is."""
    return await db.fetchrow(
        "select r.review, g.points::jsonb as points, g.recommendation, g.event is not null as submitted, a.application,"
        " a.cycle, a.version, a.submitted_at, a.identity, a.claims, a.answers from projection.review r"
        " join projection.application a using (application) join private.reviewer p using (reviewer)"
        " left join projection.given g using (review)"
        " where r.review = $1 and p.issuer = $2 and p.subject = $3"
        " and not exists (select from projection.released where released.application = r.application)",
        review,
        who.issuer,
        who.subject,
    )


# --- commands -------------------------------------------------------------------------------------------------------


async def remember(db: Connection, commands: Sequence[tuple[str, bytes]]) -> list[str]:
    """Note commands (UUID, SHA-256 of the payload) for ever; says of each in turn: "new", "duplicate" or "reused"."""
    first = dict(reversed(commands))
    # Who comes second with the same id, in another transaction, waits here for the first one's end.
    rows = await db.fetch(
        "insert into private.command select * from unnest($1::uuid[], $2::bytea[])"
        " as t (command, payload_sha256) order by command on conflict do nothing returning command",
        list(first),
        list(first.values()),
    )
    if len(rows) == len(commands):
        return ["new"] * len(commands)
    fresh = {str(row["command"]) for row in rows}
    rows = await db.fetch(
        "select command::text, payload_sha256 from private.command where command = any($1::uuid[])"
        " union all select command::text, payload_sha256 from private.reused where command = any($1::uuid[])",
        list(first),
    )
    known = {(row["command"], row["payload_sha256"]) for row in rows}
    said, reused = [], []
    for name, payload in commands:
        if name in fresh:
            fresh.remove(name)
            said.append("new")
        elif (name, payload) in known:
            said.append("duplicate")
        else:
            known.add((name, payload))
            reused.append((name, payload))
            said.append("reused")
    await db.executemany("insert into private.reused values ($1, $2) on conflict do nothing", reused)
    return said
