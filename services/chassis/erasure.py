"""Erasing a person in one service, over HTTP: `/<service>/erasures`, the same for every service.

Everything private is gone through, table by table as the database itself lists them, so that no table can be forgotten:
a text in which something sought occurs is emptied, and its row deleted where it is part of a key; an account becomes
one that nobody has. What a service has to do besides (what is about the person, what it knows from sealed blocks) it
does first, by its `forget`. Projections follow from events, hence from erased blocks (`erased`). A dry run does the
same and takes it back.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Annotated, Any

import orjson
from fastapi import APIRouter
from pydantic import BaseModel, Field

from schemas.envelope import digest, unb64url
from services.chassis import erased
from services.chassis.sought import SealedBlock, Sha256, Sought
from services.chassis.web import Asked, CommandRoute, SignedIn, Writing

if TYPE_CHECKING:
    from services.chassis.database import Connection, Tx
    from services.chassis.service import Service

router = APIRouter(prefix="/erasures", route_class=CommandRoute, tags=["erasure"])


class Erasure(Sought):
    """What is to be erased here."""

    blocks: Annotated[list[SealedBlock], Field(max_length=20_000, default_factory=list)]
    """Sealed blocks in which it occurs, as the ledger and other services found them: intake has all services drop
    them."""
    files: Annotated[list[Sha256], Field(max_length=1_000, default_factory=list)]
    """Files to be removed from intake's archive, whoever refers to them."""
    dry_run: bool = False


class Outcome(BaseModel):
    """What was erased here, or would be, by counts. It never says what."""

    service: str
    dry_run: bool
    places: dict[str, int] = {}
    """Rows by table and column."""
    blocks: list[SealedBlock] = []
    """Sealed blocks that this service found: give them to intake."""
    stays: dict[str, int] = {}
    """Sealed blocks in which it occurs and which no erasure reaches, by class: a government's own record."""
    receipt: str | None = None
    """Intake's, signed (compact JWS): which digests and how many rows were erased."""


Forget = Callable[["Service", "Tx", Erasure, Outcome], Awaitable[None]]
"""`async def forget(service, tx, wanted, outcome)`: what a service does besides; it adds to `outcome`."""
Attest = Callable[["Service", "Tx", Outcome], Awaitable[str]]
"""`async def attest(service, tx, outcome)`: the receipt for what was recorded in `tx`, and for `outcome`."""


class _TakenBackError(Exception):
    """Ends a dry run."""


@router.post("")
async def erase_person(body: Erasure, tx: Writing, who: SignedIn, asked: Asked) -> Outcome:
    """Erase a person from what this service keeps; `cec person erase` asks all of them, intake last."""
    who.require("program-admin")
    outcome = Outcome(service=asked.name, dry_run=body.dry_run)
    try:
        async with tx.db.transaction():
            await erase(asked, tx, body, outcome)
            if body.dry_run:
                raise _TakenBackError
    except _TakenBackError:
        tx.unrecord()
    return outcome


async def erase(service: Service, tx: Tx, wanted: Erasure, outcome: Outcome) -> None:
    """Do it, in this transaction; nothing is taken in meanwhile."""
    await erased.alone(tx.db)
    if service.forget is not None:
        await service.forget(service, tx, wanted, outcome)
    places = Counter(outcome.places)
    await _parked(tx.db, wanted, places)
    await _accounts(tx.db, wanted, places)
    for column in await tx.db.fetch(_COLUMNS):
        await _texts(tx.db, wanted, column, places)
    outcome.places = {name: count for name, count in sorted(places.items()) if count}
    if service.attest is not None and not wanted.dry_run:
        outcome.receipt = await service.attest(service, tx, outcome)


_COLUMNS = """
select n.nspname as schema, r.relname as "table", a.attname as column, t.typname as type, exists (
    select from pg_index i where i.indrelid = r.oid and i.indisunique and a.attnum = any(i.indkey)
) as keyed
from pg_class r join pg_namespace n on n.oid = r.relnamespace
    join pg_attribute a on a.attrelid = r.oid and a.attnum > 0 and not a.attisdropped
    join pg_type t on t.oid = a.atttypid left join pg_collation c on c.oid = a.attcollation
where r.relkind = 'r'
    -- Bytes are hashes, events that have yet to take effect, and what the public is sent: only kept answers are not.
    and (t.typname in ('text', 'jsonb') or (n.nspname, r.relname, a.attname) = ('private', 'idempotency', 'body'))
    -- Ids and words of our own are no texts: they are collated "C" or checked. Accounts have a rule of their own.
    and (c.collname is distinct from 'C' or a.attname in ('url', 'host'))
    and a.attname not in ('issuer', 'subject')
    and not exists (
        select from pg_constraint k where k.conrelid = r.oid and k.contype = 'c' and a.attnum = any(k.conkey)
    )
    and (
        n.nspname = 'private'
        or (n.nspname, r.relname, a.attname) in (('chassis', 'parked', 'reason'), ('chassis', 'schedule', 'detail'))
    )
order by 1, 2, a.attnum
"""
_HASH = re.compile(r"[0-9a-f-]{32,}")
"""Ids and hashes: a name may be spelled like a part of one."""


async def _texts(db: Connection, wanted: Sought, column: Any, places: Counter[str]) -> None:  # noqa: ANN401  (a row of _COLUMNS)
    if not wanted.texts:
        return
    table, name = f'"{column["schema"]}"."{column["table"]}"', f'"{column["column"]}"'
    place, kind = f"{column['schema']}.{column['table']}.{column['column']}", column["type"]
    text = f"encode({name}, 'escape')" if kind == "bytea" else f"{name}::text"
    where = f"exists (select from unnest($1::text[]) n where position(n in lower({text})) > 0)"
    # Held: a row that somebody changes meanwhile would be another one behind its ctid.
    few = f"select ctid, {name} from {table} where {where} for update"  # noqa: S608  (the catalogue's names)
    rows = await db.fetch(few, wanted.escaped_needles if kind == "bytea" else wanted.needles)
    changed = [(at, left) for at, value in rows if (left := _emptied(wanted, value)) != value]
    # Bytes that hold a text, as kept answers do, are of no use without it.
    if kind == "bytea" or (kind == "text" and column["keyed"]):
        await db.executemany(f"delete from {table} where ctid = $1", [(at,) for at, _ in changed])  # noqa: S608  (likewise)
    else:
        await db.executemany(f"update {table} set {name} = $2 where ctid = $1", changed)  # noqa: S608  (likewise)
    places[place] += len(changed)


def _emptied(wanted: Sought, value: Any) -> Any:  # noqa: ANN401  (of a column)
    match value:
        case bytes():
            return b"" if wanted.in_text(value.decode(errors="replace")) else value
        case str() if _HASH.fullmatch(value):
            return value
    return wanted.without(value)


def _count(done: str) -> int:
    """Of how many rows a command speaks: "UPDATE 3"."""
    return int(done.rpartition(" ")[2])


_ACCOUNTS = """
select r.relname as "table" from pg_class r join pg_namespace n on n.oid = r.relnamespace
where n.nspname = 'private' and r.relkind = 'r' and 2 = (
    select count(*) from pg_attribute a where a.attrelid = r.oid and a.attname in ('issuer', 'subject')
) order by 1
"""


async def _accounts(db: Connection, wanted: Sought, places: Counter[str]) -> None:
    """An account becomes one that nobody has, and so does one whose subject is an address that is sought.

    Any other subject that is spelled like a text, such as the name that somebody gave themselves, may be anybody's.
    """
    account = (wanted.account.issuer, wanted.account.subject) if wanted.account else (None, None)
    for (table,) in await db.fetch(_ACCOUNTS):
        query = f"""
            update private."{table}" set issuer = '', subject = 'erased ' || gen_random_uuid()
            where issuer = $1 and subject = $2 or subject like '%@%' and lower(subject) = any($3::text[])
        """  # noqa: S608  (likewise)
        done = await db.execute(query, *account, [text.lower() for text in wanted.texts])
        places[f"private.{table}.subject"] += _count(done)
    done = await db.execute("delete from private.idempotency where principal = $1 || ' ' || $2", *account)
    places["private.idempotency.principal"] += _count(done)


async def _parked(db: Connection, wanted: Sought, places: Counter[str]) -> None:
    """What is parked loses the openings in which something sought occurs; what cannot be read and says it, all.

    A government's record and what is public of an event stay: the event has yet to take effect.
    """
    rows = await db.fetch("select topic, part, position, record from chassis.parked where record is not null")
    for *place, record in rows:
        gone = {digest(token) for token in erased.tokens(record) if wanted.mentioned(_said(token))}
        await erased.know(db, gone)
        without = erased.stripped(record, gone)
        if not erased.readable(record) and wanted.in_text(without.decode(errors="replace")):
            without = b""
        if without != record:
            query = "update chassis.parked set record = $4 where topic = $1 and part = $2 and position = $3"
            await db.execute(query, *place, without)
            places["chassis.parked.record"] += 1


def _said(token: str) -> Any:  # noqa: ANN401  (any JSON value)
    try:
        return orjson.loads(unb64url(token))
    except ValueError:
        return None
