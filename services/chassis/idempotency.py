"""A POST with an Idempotency-Key happens once: its answer is kept in the transaction of its effect.

Sent again, it is answered as the first time, for `KEPT`; with another body under the same key it is refused.
"""

from __future__ import annotations

import asyncio
from datetime import timedelta
from hashlib import sha256
from typing import TYPE_CHECKING

from fastapi import Request, Response
from fastapi.responses import JSONResponse

from services.chassis.auth import unauthorized
from services.chassis.looping import keep_taking_up
from services.chassis.problems import Problem

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from services.chassis.auth import Principal
    from services.chassis.database import Database, Tx

KEY_LIMIT = 200
"""Characters."""
KEPT = timedelta(days=30)
"""In the database's own time: longer than anybody tries again, shorter than for ever, as an answer may name people."""
BETWEEN = timedelta(hours=1)


async def once(request: Request, tx: Tx, handle: Callable[[Request], Awaitable[Response]]) -> Response:
    """Answer a repeated key as the first time; otherwise handle the request and keep its answer."""
    key = request.headers.get("idempotency-key") if request.method == "POST" else None
    if key is None:
        return await handle(request)
    who: Principal | None = request.state.principal
    if who is None:
        raise unauthorized("A token is needed.")
    if not 1 <= len(key) <= KEY_LIMIT:
        raise Problem(400, "idempotency-key", f"Idempotency-Key must have 1 to {KEY_LIMIT} characters.")
    fingerprint = sha256(
        b"\n".join((request.method.encode(), str(request.url).encode(), await request.body()))
    ).digest()
    row = (f"{who.issuer} {who.subject}", key)
    # A second request with the same key waits here until the first one's transaction ends.
    fresh = await tx.db.fetchval(
        "insert into private.idempotency (principal, key, request_sha256) values ($1, $2, $3)"
        " on conflict do nothing returning true",
        *row,
        fingerprint,
    )
    if not fresh:
        return await _as_before(tx, row, fingerprint)
    response = await handle(request)
    kept = response if tx.kept is None else JSONResponse(tx.kept, response.status_code)
    await tx.db.execute(
        "update private.idempotency set status = $3, headers = $4, body = $5 where principal = $1 and key = $2",
        *row,
        kept.status_code,
        dict(kept.headers),
        bytes(kept.body),
    )
    return response


async def _as_before(tx: Tx, row: tuple[str, str], fingerprint: bytes) -> Response:
    kept = await tx.db.fetchrow("select * from private.idempotency where principal = $1 and key = $2", *row)
    if kept is None or kept["request_sha256"] != fingerprint:
        raise Problem(422, "idempotency-key-reused", "This Idempotency-Key was used for another request.")
    response = Response(kept["body"], kept["status"], headers=kept["headers"])
    response.headers["Idempotency-Replayed"] = "true"
    return response


async def forget(database: Database) -> None:
    """Remove the answers that were kept long enough."""
    await database.pool.execute("delete from private.idempotency where created_at < now() - $1::interval", KEPT)


async def keep_forgetting(database: Database) -> None:
    """The same every hour, until cancelled."""

    async def rest(_: None) -> None:
        await asyncio.sleep(BETWEEN.total_seconds())

    await keep_taking_up("old answers", lambda: forget(database), rest)
