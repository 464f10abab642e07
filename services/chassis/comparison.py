"""Two schemas of one database, table by table and row by row, whatever the order of their rows."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from services.chassis.database import Connection

SHOWN = 5
"""Differences of a table that are told one by one."""


@dataclass(frozen=True, slots=True)
class Difference:
    """A row that differs: its key, and on either side the columns that do; None on the side that lacks the row."""

    key: dict[str, Any]
    live: dict[str, Any] | None
    replayed: dict[str, Any] | None


@dataclass(frozen=True, slots=True)
class Table:
    """A table as it is in both schemas; `shown` are the first of its `differences`."""

    name: str
    live: int
    replayed: int
    differences: int
    shown: list[Difference]

    def as_json(self) -> dict[str, Any]:
        """The same for machines."""
        return asdict(self)


async def columns(db: Connection, schema: str) -> dict[str, list[tuple[str, str]]]:
    """The tables of a schema by name, each with its columns (name, type) in order."""
    rows = await db.fetch(
        """
        select c.relname as name, array_agg(a.attname::text order by a.attnum) as columns,
            array_agg(format_type(a.atttypid, a.atttypmod) order by a.attnum) as types
        from pg_class c join pg_attribute a on a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped
        where c.relnamespace = to_regnamespace($1) and c.relkind = 'r' group by c.relname order by c.relname
        """,
        schema,
    )
    return {row["name"]: list(zip(row["columns"], row["types"], strict=True)) for row in rows}


async def compare(db: Connection, tables: list[str], *, live: str, replayed: str) -> list[Table]:
    """The tables of the schema `live` beside those of `replayed`, by the latter's primary keys."""
    return [await _compare(db, table, live, replayed) for table in tables]


async def _compare(db: Connection, table: str, live: str, replayed: str) -> Table:
    key = [row["attname"] for row in await db.fetch(_KEY, f'{replayed}."{table}"')]
    if not key:
        raise ValueError(f"{replayed}.{table} has no primary key to compare its rows by")
    same = " and ".join(f'l."{name}" = r."{name}"' for name in key)
    order = ", ".join(f'coalesce(l."{name}", r."{name}")' for name in key)
    rows = await db.fetch(
        f"""
        select to_jsonb(l) as live, to_jsonb(r) as replayed, count(*) over () as differences
        from {live}."{table}" l full join {replayed}."{table}" r on {same}
        where l::record is distinct from r::record order by {order} limit {SHOWN}
        """  # noqa: S608  (names of our own tables)
    )
    counts = await db.fetchrow(
        f'select (select count(*) from {live}."{table}"), (select count(*) from {replayed}."{table}")'  # noqa: S608  (likewise)
    )
    assert counts is not None  # noqa: S101  (a query without `from`)
    shown = [_difference(key, row["live"], row["replayed"]) for row in rows]
    return Table(table, counts[0], counts[1], rows[0]["differences"] if rows else 0, shown)


_KEY = """
select a.attname from pg_index i join pg_attribute a on a.attrelid = i.indrelid and a.attnum = any(i.indkey)
where i.indrelid = $1::text::regclass and i.indisprimary order by array_position(i.indkey::int2[], a.attnum)
"""


def _difference(key: list[str], live: dict[str, Any] | None, replayed: dict[str, Any] | None) -> Difference:
    either = live or replayed or {}
    named = {name: either[name] for name in key}
    if live is None or replayed is None:
        return Difference(named, live, replayed)
    differing = [name for name in live if live[name] != replayed.get(name)]
    return Difference(named, {n: live[n] for n in differing}, {n: replayed.get(n) for n in differing})
