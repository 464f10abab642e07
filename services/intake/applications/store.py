"""Drafts by their sections, with every change, which are private; applications as their events left them."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import orjson

from services.intake.applications.domain import Application
from services.intake.applications.sections import changes, joined, replayed
from services.intake.cycles.store import as_cycle, columns, known_charters
from services.intake.evidence.links import cite
from services.intake.governments.store import GOVERNMENTS, as_government, membership_of

if TYPE_CHECKING:
    from collections.abc import Iterable
    from datetime import datetime

    from services.chassis.database import Connection
    from services.intake.applications.sections import Document
    from services.intake.cycles.domain import Cycle
    from services.intake.governments.domain import Government, Role
    from services.intake.locks import Lock
    from services.intake.reapplication.domain import Basis


@dataclass(frozen=True)
class Page:
    """A stored section: how often it was changed (the ETag), its content, and who changed it last."""

    section: str
    revision: int
    content: Document
    person: str | None
    at: datetime | None

    @cached_property
    def size(self) -> int:
        """Bytes of its JSON."""
        return len(orjson.dumps(self.content))


@dataclass(frozen=True)
class Sheet:
    """A stored draft: whose it is, and its sections."""

    application: str
    cycle: str
    government: str
    carried: bool
    """Whether it started from the last application."""
    pages: dict[str, Page]

    @property
    def revision(self) -> int:
        """How often anything in it was changed: the ETag of the whole."""
        return sum(page.revision for page in self.pages.values())

    @cached_property
    def content(self) -> Document:
        """The whole document."""
        return joined({name: page.content for name, page in self.pages.items()})


@dataclass(frozen=True)
class Desk:
    """One section under edit, with what of the rest its edit is judged by."""

    application: str
    cycle: Cycle
    government: str
    member: tuple[str, Role] | None
    """Person id and role of whoever asks; None for a stranger."""
    kind: str
    website: str
    email_domain: str
    others: int
    """Bytes of the other sections."""
    contact: Document
    """The content of the section `contact`."""
    submitted: Application | None
    page: Page
    carried: bool
    """Whether it started from the last application: with `basis`, where that is still here."""
    basis: Basis | None = None


@dataclass(frozen=True)
class Case:
    """What a submission is decided by beside the draft."""

    member: tuple[str, Role] | None
    """Person id and role of whoever asks; None for a stranger."""
    cycle: Cycle
    government: Government
    submitted: Application | None


@dataclass(frozen=True)
class Change:
    """What became of a field, by whom and when; `before` and `after` are JSON values, None where there was none."""

    number: int
    section: str
    revision: int
    person: str
    at: datetime
    field: str
    before: Any
    after: Any


async def standing(db: Connection, cycle: str) -> list[str]:
    """Event ids of the versions that stand: of the cycle's applications that were submitted and not withdrawn."""
    rows = await db.fetch("select submitted from projection.application where cycle = $1 and not withdrawn", cycle)
    return [row["submitted"] for row in rows]


async def standing_counts(db: Connection) -> dict[str, int]:
    """How many applications stand, by cycle; a cycle without any is absent."""
    rows = await db.fetch("select cycle, count(*) from projection.application where not withdrawn group by cycle")
    return {row["cycle"]: row["count"] for row in rows}


async def add_draft(
    db: Connection, application: str, cycle: str, government: str, sections: Iterable[str]
) -> str | None:
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
        blank = "insert into private.section (application, section) select $1, * from unnest($2::text[])"
        await db.execute(blank, application, list(sections))
        return None
    existing = "select application from private.draft where cycle = $1 and government = $2"
    return str(await db.fetchval(existing, cycle, government))


async def sheet(db: Connection, application: str, lock: Lock = "") -> Sheet | None:
    """The draft of an application, if any. Owned, it stands for the application too, and nobody edits a section."""
    of_section = f"{lock} of section" if lock else ""
    # The draft's row first, then the sections in one order: two who want them all never wait for each other.
    rows = await db.fetch(
        f"""
        with found as materialized (
            select application, cycle, government from private.draft where application = $1{lock}
        )
        select found.cycle, found.government,
            exists (select from private.carried where carried.application = $1) as carried, {_PAGE}
        from found join private.section using (application) order by section{of_section}
        """,  # noqa: S608  (one of three locks)
        application,
    )
    pages = {row["section"]: Page(*row[3:]) for row in rows}
    if not rows:
        return None
    first = rows[0]
    return Sheet(application, first["cycle"], first["government"], first["carried"], pages)


_PAGE = "section, revision, content, person, at"


async def desk(
    db: Connection, application: str, section: str, account: tuple[str, str], lock: Lock = ""
) -> Desk | None:
    """A section of a draft, if there are both, and who the account is to it, read at one go: people save all the time.

    Owned, it is this section alone: the others go on.
    """
    of_section = f"{lock} of here" if lock else ""
    row = await db.fetchrow(
        f"""
        select {columns("$5", "$1")}, draft.government, kind, website, email_domain,
            member.person as member, member.role, version, submitted, withdrawn,
            (select sum(size)::int from private.section as other
                where other.application = $1 and other.section <> $2) as others,
            (select content from private.section as other
                where other.application = $1 and other.section = 'contact') as contact,
            exists (select from private.carried where carried.application = $1) as carried,
            here.section, here.revision, here.content, here.person, here.at
        from private.section as here
        join private.draft using (application)
        join projection.cycle using (cycle)
        join private.government using (government)
        left join lateral ({membership_of("draft.government", "$3", "$4")}) as member on true
        left join projection.application as standing using (application, cycle)
        where here.application = $1 and here.section = $2{of_section}
        """,  # noqa: S608  (one of three locks)
        application,
        section,
        *account,
        known_charters(),
    )
    if row is None:
        return None
    submitted = None
    if row["version"] is not None:
        submitted = Application(application, row["cycle"], row["version"], row["submitted"], row["withdrawn"])
    page = Page(row["section"], row["revision"], row["content"], row["person"], row["at"])
    return Desk(
        application=application,
        cycle=as_cycle(row),
        government=row["government"],
        member=None if row["member"] is None else (row["member"], row["role"]),
        kind=row["kind"],
        website=row["website"],
        email_domain=row["email_domain"],
        others=row["others"],
        contact=row["contact"],
        submitted=submitted,
        page=page,
        carried=row["carried"],
    )


async def case(db: Connection, sheet: Sheet, account: tuple[str, str]) -> Case:
    """What submitting a draft that is owned is decided by, read at one go. The cycle stays as it is: it is shared."""
    row = await db.fetchrow(
        f"""
        select {columns("$3", "$1")}, government.*, member.person as member, member.role, version, submitted, withdrawn
        from projection.cycle
        join ({GOVERNMENTS}) as government on government = $2
        left join lateral ({membership_of("$2", "$4", "$5")}) as member on true
        left join (select application, version, submitted, withdrawn from projection.application) as standing_version
            on application = $1
        where cycle = $6 for share of cycle
        """,  # noqa: S608  (names of columns and parameters)
        sheet.application,
        sheet.government,
        known_charters(),
        *account,
        sheet.cycle,
    )
    if row is None:
        raise LookupError(sheet.cycle)
    submitted = None
    if row["version"] is not None:
        submitted = Application(sheet.application, sheet.cycle, row["version"], row["submitted"], row["withdrawn"])
    return Case(
        member=None if row["member"] is None else (row["member"], row["role"]),
        cycle=as_cycle(row),
        government=as_government(row),
        submitted=submitted,
    )


async def save_page(db: Connection, application: str, page: Page, content: Document, person: str, at: datetime) -> Page:
    """Keep the new content of a section that is owned, and note what changed in it; nothing where nothing did."""
    changed = changes(page.content, content)
    if not changed:
        return page
    after = Page(page.section, page.revision + 1, content, person, at)
    await db.execute(
        """
        with saved as (
            update private.section set revision = $3, content = $4, size = $5, person = $6, at = $7
            where application = $1 and section = $2
        )
        insert into private.change (application, section, revision, person, at, field, after)
        select $1, $2, $3, $6, $7, key, nullif(value, 'null') from jsonb_each($8)
        """,
        application,
        page.section,
        after.revision,
        content,
        after.size,
        person,
        at,
        changed,
    )
    if any(field.endswith("/evidence") for field in changed):
        await cite(db, application, page.section, content)
    return after


async def page_at(db: Connection, application: str, section: str, revision: int) -> Document:
    """The content that a section had at an earlier revision."""
    rows = await db.fetch(
        """
        select distinct on (field) field, after from private.change
        where application = $1 and section = $2 and revision <= $3 order by field, change desc
        """,
        application,
        section,
        revision,
    )
    return replayed([{row["field"]: row["after"]} for row in rows])


async def history(
    db: Connection, application: str, before: int, limit: int, *, section: str | None, field: str | None
) -> list[Change]:
    """Changes of a draft, the newest first, from below number `before`; of one section or field, if named."""
    rows = await db.fetch(
        """
        select change, section, revision, person, at, field,
            (select after from private.change as earlier
                where earlier.application = $1 and earlier.field = later.field and earlier.change < later.change
                order by change desc limit 1) as before,
            after
        from private.change as later
        where application = $1 and change < $2
            and ($4::text is null or section = $4) and ($5::text is null or field = $5)
        order by change desc limit $3
        """,
        application,
        before,
        limit,
        section,
        field,
    )
    return [Change(*row) for row in rows]


async def application(db: Connection, name: str) -> Application | None:
    """The application's state, once it was submitted."""
    row = await db.fetchrow("select * from projection.application where application = $1", name)
    return Application(*row) if row else None


SAVE = """
insert into projection.application values ($1, $2, $3, $4, $5)
on conflict (application) do update set
    version = excluded.version, submitted = excluded.submitted, withdrawn = excluded.withdrawn
"""


def values(application: Application) -> tuple[str, str, int, str, bool]:
    """The parameters of SAVE."""
    return application.id, application.cycle, application.version, application.submitted, application.withdrawn


async def save_application(db: Connection, application: Application) -> None:
    """Keep an application's state."""
    await db.execute(SAVE, *values(application))
