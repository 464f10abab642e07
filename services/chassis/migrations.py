"""Plain SQL files, applied once each, in order of their names, in one transaction under an advisory lock."""

from __future__ import annotations

from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import asyncpg

OWN = Path(__file__).parent / "migrations"
_LOCK = 7_311_001


class MigrationChangedError(RuntimeError):
    """A file that was already applied reads differently now: add a new file instead."""


async def migrate(connection: asyncpg.Connection, *folders: Path) -> list[str]:
    """Apply what is missing from `folders` (each sorted by file name) and return the names of the files applied."""
    applied: list[str] = []
    async with connection.transaction():
        await connection.execute("select pg_advisory_xact_lock($1)", _LOCK)
        await connection.execute("create schema if not exists chassis")
        await connection.execute(
            "create table if not exists chassis.migration (name text primary key, sha256 text not null)"
        )
        rows = await connection.fetch("select name, sha256 from chassis.migration")
        done = {row["name"]: row["sha256"] for row in rows}
        for folder in folders:
            for file in sorted(folder.glob("*.sql")):
                name, text = f"{folder.parent.name}/{file.name}", file.read_text(encoding="utf-8")
                digest = sha256(text.encode()).hexdigest()
                if name in done:
                    if done[name] != digest:
                        message = f"migration {name} changed after it was applied"
                        raise MigrationChangedError(message)
                    continue
                await connection.execute(text)
                await connection.execute("insert into chassis.migration values ($1, $2)", name, digest)
                applied.append(name)
    return applied
