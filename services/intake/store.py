"""Intake's tables: cycles, members and applications as their events left them; drafts, people and seeds as private."""

from __future__ import annotations

from dataclasses import astuple, dataclass
from typing import TYPE_CHECKING, Any, Literal

from schemas.cycles import CycleOpened
from services.chassis.ids import opaque_id
from services.intake.domain import Application, Cycle, Government, Members, Role

if TYPE_CHECKING:
    import asyncpg

    from services.chassis.database import Connection

Lock = Literal["", " for share", " for update"]
"""How a row is held until the transaction ends: `for share` keeps it as it is, `for update` also keeps others out."""

SHARED: Lock = " for share"
OWNED: Lock = " for update"


@dataclass(frozen=True)
class Sheet:
    """A stored draft: whose it is, its revision (the ETag) and its document."""

    application: str
    cycle: str
    government: str
    revision: int
    content: dict[str, Any]


@dataclass(frozen=True)
class Member:
    """A person's account and role in a government."""

    person: str
    role: Role
    issuer: str
    subject: str


async def cycle(db: Connection, name: str, lock: Lock = "") -> Cycle | None:
    """The cycle called `name`, if any."""
    row = await db.fetchrow(f"select * from projection.cycle where cycle = $1{lock}", name)  # noqa: S608  (one of three locks)
    return _cycle(row) if row else None


async def cycles(db: Connection) -> list[Cycle]:
    """All cycles, by name."""
    return [_cycle(row) for row in await db.fetch("select * from projection.cycle order by cycle")]


def _cycle(row: asyncpg.Record) -> Cycle:
    opened = CycleOpened(
        cycle=row["cycle"],
        program=row["program"],
        charter=row["charter"],
        charter_sha256=row["charter_sha256"],
        deadline=row["first_deadline"],
        assignment_commitment=row["assignment_commitment"],
        demonstration=row["demonstration"],
    )
    return Cycle(opened=opened, deadline=row["deadline"], closed=row["closed"], latest=row["latest"])


async def claim_label(db: Connection, name: str, seed: bytes) -> bool:
    """Keep a new cycle's assignment seed; False where the label is taken. Of two at once, the second one waits."""
    row = "insert into private.seed values ($1, $2) on conflict do nothing returning true"
    return bool(await db.fetchval(row, name, seed))


async def seed(db: Connection, name: str) -> bytes:
    """The seed that a cycle committed to."""
    return bytes(await db.fetchval("select seed from private.seed where cycle = $1", name))


async def save_cycle(db: Connection, cycle: Cycle) -> None:
    """Keep a cycle's state."""
    opened = cycle.opened
    await db.execute(
        """
        insert into projection.cycle values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)
        on conflict (cycle) do update set
            deadline = excluded.deadline, closed = excluded.closed, latest = excluded.latest
        """,
        cycle.id,
        opened.program,
        opened.charter,
        opened.charter_sha256,
        opened.deadline,
        opened.assignment_commitment,
        opened.demonstration,
        cycle.deadline,
        cycle.closed,
        cycle.latest,
    )


async def standing(db: Connection, cycle: str) -> list[str]:
    """Event ids of the versions that stand: of the cycle's applications that were submitted and not withdrawn."""
    rows = await db.fetch("select submitted from projection.application where cycle = $1 and not withdrawn", cycle)
    return [row["submitted"] for row in rows]


async def standing_counts(db: Connection) -> dict[str, int]:
    """How many applications stand, by cycle; a cycle without any is absent."""
    rows = await db.fetch("select cycle, count(*) from projection.application where not withdrawn group by cycle")
    return {row["cycle"]: row["count"] for row in rows}


async def person(db: Connection, issuer: str, subject: str) -> str:
    """The random id of whoever signs in as (`issuer`, `subject`); made the first time."""
    return str(
        await db.fetchval(
            """
            insert into private.person values ($1, $2, $3)
            on conflict (issuer, subject) do update set subject = excluded.subject returning person
            """,
            issuer,
            subject,
            opaque_id(),
        )
    )


async def membership(db: Connection, issuer: str, subject: str, government: str) -> tuple[str, Role] | None:
    """(person, role) of an account in a government; None for a stranger."""
    row = await db.fetchrow(
        """
        select person, role from projection.member join private.person using (person)
        where government = $1 and issuer = $2 and subject = $3
        """,
        government,
        issuer,
        subject,
    )
    return (row["person"], row["role"]) if row else None


async def government(db: Connection, name: str, lock: Lock = "") -> Government | None:
    """The government with this id, if any. Its row, owned, stands for its whole list of members."""
    row = await db.fetchrow(f"select * from private.government where government = $1{lock}", name)  # noqa: S608  (likewise)
    return Government(*row) if row else None


async def add_government(db: Connection, government: Government) -> None:
    """Keep a new government."""
    await db.execute("insert into private.government values ($1, $2, $3, $4, $5, $6, $7)", *astuple(government))


async def members(db: Connection, government: str) -> list[Member]:
    """The people who act for a government."""
    rows = await db.fetch(
        """
        select person, role, issuer, subject from projection.member join private.person using (person)
        where government = $1 order by role, person
        """,
        government,
    )
    return [Member(*row) for row in rows]


async def roles(db: Connection, government: str) -> Members:
    """The roles of the people who act for a government."""
    rows = await db.fetch("select person, role from projection.member where government = $1", government)
    return {row["person"]: row["role"] for row in rows}


async def save_members(db: Connection, government: str, members: Members) -> None:
    """Keep a government's people."""
    await db.execute("delete from projection.member where government = $1", government)
    await db.execute(
        "insert into projection.member select $1, * from unnest($2::text[], $3::text[])",
        government,
        list(members),
        list(members.values()),
    )


async def add_draft(db: Connection, application: str, cycle: str, government: str) -> str | None:
    """Keep an empty draft; where there is one of this government in this cycle already, its application's id."""
    added = await db.fetchval(
        """
        insert into private.draft (application, cycle, government) values ($1, $2, $3)
        on conflict (cycle, government) do nothing returning true
        """,
        application,
        cycle,
        government,
    )
    if added:
        return None
    existing = "select application from private.draft where cycle = $1 and government = $2"
    return str(await db.fetchval(existing, cycle, government))


async def sheet(db: Connection, application: str, lock: Lock = "") -> Sheet | None:
    """The draft of an application, if any. Its row, owned, stands for the application too."""
    row = await db.fetchrow(
        "select application, cycle, government, revision, content from private.draft"  # noqa: S608  (likewise)
        f" where application = $1{lock}",
        application,
    )
    return Sheet(*row) if row else None


async def save_draft(db: Connection, application: str, content: dict[str, Any]) -> int:
    """Keep a draft's new document; its new revision."""
    changed = "update private.draft set content = $2, revision = revision + 1 where application = $1 returning revision"
    return int(await db.fetchval(changed, application, content))


async def application(db: Connection, name: str) -> Application | None:
    """The application's state, once it was submitted."""
    row = await db.fetchrow("select * from projection.application where application = $1", name)
    return Application(*row) if row else None


async def save_application(db: Connection, application: Application) -> None:
    """Keep an application's state."""
    await db.execute(
        """
        insert into projection.application values ($1, $2, $3, $4, $5)
        on conflict (application) do update set
            version = excluded.version, submitted = excluded.submitted, withdrawn = excluded.withdrawn
        """,
        *astuple(application),
    )
