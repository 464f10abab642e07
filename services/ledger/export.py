"""A cycle's log as files: what anyone may hold after the announcement, or what an auditor may."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Literal, TypeVar

from schemas.canonical import canonical
from schemas.charter import Charter
from schemas.cycles import CohortAnnounced, CycleOpened
from schemas.designations import DesignationGranted
from schemas.envelope import Event, parse, read
from schemas.versions import lineage
from services.ledger import store
from services.ledger.domain import designated_subjects, opens, require_announced

if TYPE_CHECKING:
    from services.chassis.database import Connection
    from services.ledger.store import Head

Audience = Literal["public", "auditor"]
E = TypeVar("E", bound=Event)

STEPS = Path(__file__).with_name("VERIFY.md")


async def require_public(db: Connection, head: Head) -> None:
    """RefusedError unless this log's designations are announced and all here."""
    require_announced(await _announced(db, head), await _granted(db, head))


async def files(db: Connection, head: Head, audience: Audience) -> dict[str, bytes]:
    """The export of a log at the size of `head`, for which a checkpoint is kept; by path, without the manifest."""
    leaves = await store.leaves(db, head.log, head.tree.size)
    notes = await store.checkpoints(db, head.log, head.tree.size)
    charter = await _charter(db, head)
    return {
        "VERIFY.md": STEPS.read_bytes(),
        "audience": f"{audience}\n".encode(),
        "charter.toml": charter.encode(),
        "events.ndjson": b"".join(leaf + b"\n" for leaf in leaves),
        "openings.ndjson": await _openings(db, head, audience, charter),
        "checkpoint": notes[head.tree.size],
        **{f"checkpoints/{size}": note for size, note in notes.items()},
        "keys/log.vkey": f"{head.verifier_key}\n".encode(),
    }


async def _openings(db: Connection, head: Head, audience: Audience, charter: str) -> bytes:
    """One line per opened block. What stays sealed is not even fetched, and what is fetched is judged one by one."""
    if audience == "public":
        rule = Charter.parse(charter).disclosure
        designated = designated_subjects(await _granted(db, head))
        rows = await store.openings(db, head.log, head.tree.size, [*rule.designated, *rule.not_designated])
        rows = [row for row in rows if opens(rule, designated, row["subject"], row["block"])]
    else:
        rows = await store.openings(db, head.log, head.tree.size)
    names = ("index", "event", "block", "disclosure")
    return b"".join(canonical({name: row[name] for name in names}) + b"\n" for row in rows)


async def _charter(db: Connection, head: Head) -> str:
    (opened, *_) = await _events(db, head, CycleOpened)
    return opened.charter


async def _announced(db: Connection, head: Head) -> list[CohortAnnounced]:
    return await _events(db, head, CohortAnnounced)


async def _granted(db: Connection, head: Head) -> list[DesignationGranted]:
    return await _events(db, head, DesignationGranted)


async def _events(db: Connection, head: Head, model: type[E]) -> list[E]:
    """The log's events of a type, also those of its older versions."""
    leaves = await store.leaves(db, head.log, head.tree.size, *lineage(model.TYPE))
    events = [read(parse(leaf), model.TYPE) for leaf in leaves]
    return [event for event in events if isinstance(event, model)]
