"""Where something that was erased could still be: every column of every table, inside of openings, too."""

from __future__ import annotations

import base64
import re
from collections import Counter
from collections.abc import Iterable

import orjson

from services.chassis.service import Service

_TOKEN = re.compile(r"[A-Za-z0-9_-]{40,}")


async def traces(service: Service, markers: Iterable[str]) -> Counter[str]:
    """By `service schema.table.column`, how many values hold a marker (case folded)."""
    found = Counter[str]()
    tables = await service.database.pool.fetch(
        "select schemaname, tablename from pg_tables where schemaname not in ('pg_catalog', 'information_schema')"
    )
    for schema, table in tables:
        for row in await service.database.pool.fetch(f'select * from "{schema}"."{table}"'):  # noqa: S608  (our own tables)
            for column, value in row.items():
                found[f"{service.name} {schema}.{table}.{column}"] += marked(value, markers)
    return +found


def marked(value: object, markers: Iterable[str]) -> bool:
    """Whether a value holds a marker, as it is or in an opening."""
    if isinstance(value, bytes):
        value = value.decode(errors="replace")
    text = value if isinstance(value, str) else orjson.dumps(value, default=str).decode()
    texts = (text, *(_decoded(token) for token in _TOKEN.findall(text)))
    return any(marker in one.casefold() for one in texts for marker in markers)


def _decoded(token: str) -> str:
    try:
        return base64.urlsafe_b64decode(token + "=" * (-len(token) % 4)).decode(errors="replace")
    except ValueError:
        return ""
