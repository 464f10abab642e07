"""The ledger's tables: logs with their trees, entries, openings, checkpoints, what is held back, and alarms.

Who appends holds the sequencer's lock (`lock`) until its transaction ends, so that what it read stays true. `head`
locks a log's row against appending for as long as its transaction lasts.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from schemas.cycles import CohortAnnounced
from schemas.versions import lineage
from services.chassis.erased import stripped
from services.chassis.transparency import Frontier
from services.ledger.domain import Arrival

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from schemas.erasures import DisclosureErased
    from services.chassis.auth import Principal
    from services.chassis.database import Connection
    from services.ledger.domain import Need
    from services.ledger.incoming import Incoming

_SEQUENCER = 7_311_003
_TREE = "log, origin, verifier_key, frontier"
_ENTRY = ("log", "index", "id", "type", "source", "subject", "sequence", "leaf_hash", "leaf")


@dataclass(slots=True)
class Head:
    """A log and its tree."""

    log: str
    origin: str
    verifier_key: str
    tree: Frontier


async def lock(db: Connection) -> None:
    """Be the one sequencer until the transaction ends."""
    await db.execute("select pg_advisory_xact_lock($1)", _SEQUENCER)


async def head(db: Connection, log: str) -> Head | None:
    """A log that nobody can append to before the transaction ends; None if it is not open."""
    return (await heads(db, [log])).get(log)


async def heads(db: Connection, logs: Collection[str]) -> dict[str, Head]:
    """Those of `logs` that are open, locked."""
    if not logs:
        return {}
    rows = await db.fetch(
        f"select {_TREE} from projection.log where log = any($1) order by log for update",  # noqa: S608  (a constant)
        sorted(logs),
    )
    return {row["log"]: _head(row) for row in rows}


async def every_head(db: Connection) -> list[Head]:
    """Every open log, not locked."""
    return [_head(row) for row in await db.fetch(f"select {_TREE} from projection.log order by log")]  # noqa: S608  (likewise)


def _head(row: Any) -> Head:  # noqa: ANN401  (a row of _TREE)
    return Head(row["log"], row["origin"], row["verifier_key"], Frontier.from_bytes(row["frontier"]))


class Known:
    """What is logged or held already: leaf hashes by id, and ids by turn."""

    def __init__(self) -> None:
        self.by_id: dict[str, bytes] = {}
        self.by_turn: dict[tuple[str, str, int], str] = {}

    async def look(self, db: Connection, table: str, arrivals: Sequence[Arrival]) -> None:
        """Add what `table` (`ledger.entry` or `private.held`) has under the ids or in the turns of `arrivals`."""
        if not arrivals:
            return
        columns = "id, leaf_hash, source, subject, sequence"
        rows = await db.fetch(
            f"""
            select {columns} from {table} where id = any($1)
            union all
            select {columns} from {table} join unnest($2::text[], $3::text[], $4::bigint[])
                as t (source, subject, sequence) using (source, subject, sequence)
            """,  # noqa: S608  (constants)
            [a.id for a in arrivals],
            *_turns([a.turn for a in arrivals]),
        )
        for name, leaf_hash, *turn in rows:
            self.by_id[name], self.by_turn[tuple(turn)] = leaf_hash, name


async def anything_held(db: Connection) -> bool:
    """Whether any event waits."""
    return bool(await db.fetchval("select exists (select from private.held)"))


async def met(db: Connection, needs: Collection[Need]) -> set[Need]:
    """Those of `needs` that the entries meet: an event, or a turn."""
    found: set[Need] = set()
    if ids := [need[1] for need in needs if need[0] == "event"]:
        found |= {("event", row["id"]) for row in await db.fetch("select id from ledger.entry where id = any($1)", ids)}
    if turns := [(need[1], need[2], int(need[3])) for need in needs if need[0] == "turn"]:
        rows = await db.fetch(
            "select source, subject, sequence from ledger.entry"
            " join unnest($1::text[], $2::text[], $3::bigint[]) as t (source, subject, sequence)"
            " using (source, subject, sequence)",
            *_turns(turns),
        )
        found |= {("turn", row["source"], row["subject"], str(row["sequence"])) for row in rows}
    return found


async def waiting_behind(db: Connection, placed: Sequence[Arrival]) -> list[Arrival]:
    """What is held and may have waited for one of `placed`, in the order in which it came."""
    aggregates = list({(a.source, a.subject) for a in placed})
    rows = await db.fetch(
        """
        with found as (
            select position from private.held
                join unnest($1::text[], $2::text[]) as t (source, subject) using (source, subject)
            union
            select position from private.held where cause = any($3)
            union
            select position from private.held where log = any($4)
        )
        select id, type, source, subject, sequence, cause, log from private.held join found using (position)
        order by position
        """,
        [source for source, _ in aggregates],
        [subject for _, subject in aggregates],
        [a.id for a in placed],
        [a.log for a in placed if a.opens_log],
    )
    return [Arrival(**row) for row in rows]


async def hold(db: Connection, incoming: Sequence[Incoming]) -> None:
    """Keep events that must wait."""
    if not incoming:
        return
    await db.copy_records_to_table(
        "held",
        schema_name="private",
        columns=("id", "type", "source", "subject", "sequence", "cause", "log", "leaf_hash", "record"),
        records=[
            (a.id, a.type, *a.turn, a.cause, a.log, i.leaf_hash, i.record) for i in incoming for a in (i.arrival,)
        ],
    )


async def release(db: Connection, ids: Sequence[str]) -> list[bytes]:
    """Take those of `ids` that are held out of the table and return their records."""
    if not ids:
        return []
    rows = await db.fetch("delete from private.held where id = any($1) returning record", ids)
    return [row["record"] for row in rows]


async def overdue(db: Connection, seconds: float) -> list[Any]:
    """What is held for longer than that and was not warned of before (rows of id, type, log), oldest first."""
    rows = await db.fetch(
        "update private.held set warned = true"
        " where not warned and held_at < clock_timestamp() - make_interval(secs => $1)"
        " returning position, id, type, log",
        seconds,
    )
    return sorted(rows, key=lambda row: int(row["position"]))


async def raise_alarm(db: Connection, incoming: Incoming, kind: str) -> bool:
    """Keep an event that contradicts the log, without its openings; False if it was kept before."""
    a = incoming.arrival
    return bool(
        await db.fetchval(
            "insert into ledger.alarm (id, leaf_hash, kind, log, source, subject, sequence, leaf)"
            " values ($1, $2, $3, $4, $5, $6, $7, $8) on conflict do nothing returning true",
            a.id,
            incoming.leaf_hash,
            kind,
            a.log,
            a.source,
            a.subject,
            a.sequence,
            incoming.leaf,
        )
    )


async def open_log(db: Connection, opened: Head) -> None:
    """Add a log without entries."""
    await db.execute(
        "insert into projection.log (log, origin, verifier_key, root, frontier) values ($1, $2, $3, $4, $5)",
        opened.log,
        opened.origin,
        opened.verifier_key,
        opened.tree.root,
        bytes(opened.tree),
    )


async def append(db: Connection, logs: Mapping[str, Head], placed: Sequence[Incoming]) -> None:
    """Append events to their logs, in order, and keep the openings. The trees of `logs` grow; see `save_trees`."""
    entries, openings = [], []
    for arrival, leaf, leaf_hash, opened, _ in placed:
        name, event_type, source, subject, sequence, _, log = arrival
        tree = logs[log].tree
        entries.append((log, tree.size, name, event_type, source, subject, sequence, leaf_hash, leaf))
        for block, opening in opened.items():
            openings.append((log, tree.size, block, opening))
        tree.append(leaf_hash)
    await db.copy_records_to_table("entry", schema_name="ledger", columns=_ENTRY, records=entries)
    if openings:
        await db.copy_records_to_table("disclosure", schema_name="private", records=openings)


async def save_trees(db: Connection, heads: Collection[Head]) -> None:
    """Keep the trees of logs as they are now."""
    if not heads:
        return
    await db.execute(
        """
        update projection.log as l set size = t.size, root = t.root, frontier = t.frontier
        from unnest($1::text[], $2::bigint[], $3::bytea[], $4::bytea[]) as t (log, size, root, frontier)
        where l.log = t.log
        """,
        [head.log for head in heads],
        [head.tree.size for head in heads],
        [head.tree.root for head in heads],
        [bytes(head.tree) for head in heads],
    )


async def overview(db: Connection, log: str | None = None) -> list[Any]:
    """Every log, or one, that is open or waited for: rows of log, origin, verifier_key, size, root, held, overdue."""
    return await db.fetch(
        """
        select log, origin, verifier_key, coalesce(size, 0) as size, root, coalesce(held, 0) as held,
            coalesce(overdue, 0) as overdue
        from projection.log full join (
            select log, count(*) as held, count(*) filter (where warned) as overdue from private.held group by log
        ) as waiting using (log)
        where $1::text is null or log = $1 order by log
        """,
        log,
    )


async def announced(db: Connection, log: str | None = None) -> set[str]:
    """The logs, or of one, in which a cohort is announced."""
    rows = await db.fetch(
        "select log from projection.log where ($1::text is null or log = $1) and exists ("
        "select from ledger.entry e where e.log = projection.log.log and type = any($2))",
        log,
        lineage(CohortAnnounced.TYPE),
    )
    return {row["log"] for row in rows}


async def signed(db: Connection, log: str, size: int) -> bytes | None:
    """The note that was signed at a size."""
    note: bytes | None = await db.fetchval("select note from ledger.checkpoint where log = $1 and size = $2", log, size)
    return note


async def signed_lately(db: Connection, log: str) -> bytes | None:
    """The last note of a log, if nothing was appended since or less than a second has passed."""
    note: bytes | None = await db.fetchval(
        """
        select c.note from ledger.checkpoint c join projection.log l using (log)
        where log = $1 and (c.size = l.size or c.signed_at > clock_timestamp() - interval '1 second')
        order by c.size desc limit 1
        """,
        log,
    )
    return note


async def keep_checkpoint(db: Connection, log: str, size: int, note: bytes) -> None:
    """Keep what was signed at a size; asyncpg.UniqueViolationError if something was already."""
    await db.execute("insert into ledger.checkpoint (log, size, note) values ($1, $2, $3)", log, size, note)


async def checkpoints(db: Connection, log: str, size: int) -> dict[int, bytes]:
    """Every checkpoint of a log up to a size."""
    rows = await db.fetch("select size, note from ledger.checkpoint where log = $1 and size <= $2", log, size)
    return {row["size"]: row["note"] for row in rows}


async def leaves(db: Connection, log: str, size: int, *types: str) -> list[bytes]:
    """The leaves of a log below a size, in order; of some types only, if any are given."""
    rows = await db.fetch(
        "select leaf from ledger.entry where log = $1 and index < $2"
        " and (cardinality($3::text[]) = 0 or type = any($3)) order by index",
        log,
        size,
        types,
    )
    return [row["leaf"] for row in rows]


async def openings(db: Connection, log: str, size: int, classes: Sequence[str] | None = None) -> list[Any]:
    """The surviving openings of a log below a size: rows of index, event, subject, block, disclosure, sorted.

    Only of blocks of `classes`, if given.
    """
    return await db.fetch(
        """
        select d.index, e.id as event, e.subject, d.block, d.opening as disclosure
        from private.disclosure d join ledger.entry e using (log, index)
        where d.log = $1 and d.index < $2 and ($3::text[] is null or split_part(d.block, '/', 1) = any($3))
        order by d.index, d.block
        """,
        log,
        size,
        classes,
    )


async def forget(db: Connection, erasures: Sequence[DisclosureErased]) -> None:
    """Delete openings: of what is logged, and in what is held. Only with their digests: any other stays explained."""
    if not erasures:
        return
    blocks = [(erasure.event, name, one) for erasure in erasures for name, one in erasure.digests.items()]
    await db.execute(
        """
        delete from private.disclosure d
        using ledger.entry e, unnest($1::text[], $2::text[], $3::text[]) as t (id, block, digest)
        where e.id = t.id and d.log = e.log and d.index = e.index and d.block = t.block
            and t.digest = translate(encode(sha256(d.opening::bytea), 'base64'), '+/=', '-_')
        """,
        [event for event, _, _ in blocks],
        [name for _, name, _ in blocks],
        [one for _, _, one in blocks],
    )
    gone = {one for erasure in erasures for one in erasure.digests.values()}
    held = await db.fetch("select id, record from private.held where id = any($1)", [one.event for one in erasures])
    for name, record in held:
        await db.execute("update private.held set record = $2 where id = $1", name, stripped(record, gone))


async def note_reading(db: Connection, who: Principal, what: str, log: str, size: int) -> None:
    """Write down who is about to read private data."""
    await db.execute(
        "insert into private.read_log (issuer, subject, what, log, size) values ($1, $2, $3, $4, $5)",
        who.issuer,
        who.subject,
        what,
        log,
        size,
    )


def _turns(turns: Sequence[tuple[str, str, int]]) -> tuple[list[str], list[str], list[int]]:
    return [t[0] for t in turns], [t[1] for t in turns], [t[2] for t in turns]
