"""Intake as a process of its own, as `cec run intake` is, with routes more: the bare way's, in the same application.

The bare way has a pool of its own, as large as the service's and as asyncpg makes one.
"""

from __future__ import annotations

import asyncio
import sys
from asyncio.subprocess import PIPE
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import asyncpg

from services.chassis.database import speak_json
from services.chassis.garbage import settle
from services.chassis.ids import secret
from services.origin import Origin

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from fastapi import APIRouter

    from benchmarks.harness import Ground

    Pool = asyncpg.Pool[asyncpg.Record]


@dataclass(frozen=True)
class Server:
    """A process that serves: its address, the name of its database, its folder."""

    url: str
    database: str
    var: Path
    pid: int


@asynccontextmanager
async def serving(ground: Ground, module: str) -> AsyncIterator[Server]:
    """What `module`, run as a program, serves by `serve`, as long as the block takes."""
    with TemporaryDirectory(prefix="cec-bench-intake-") as var:
        arguments = ("-m", module, ground.bootstrap, ground.dsn, var)
        process = await asyncio.create_subprocess_exec(sys.executable, *arguments, stdin=PIPE, stdout=PIPE)
        assert process.stdout is not None  # noqa: S101  (asked for above)
        try:
            async with asyncio.timeout(60):
                url, database = (await process.stdout.readline()).decode().split()
            yield Server(url, database, Path(var), process.pid)
        finally:
            process.terminate()
            await process.communicate()


async def serve(bare: Callable[[Pool, Callable[[], None]], APIRouter], tables: str) -> None:
    """Be the server, until it is told to end, on the parts and in the folder that the command line names.

    `bare` makes the router from its pool, on whose database `tables` are there, and from what wakes the relay.
    """
    bootstrap, dsn, var = sys.argv[1:]
    settings = {
        "var": Path(var),
        "database_prefix": f"b{secret(4)}_",
        "public_url": "http://127.0.0.1:0",
        "clock_movable": True,
    }
    origin = Origin(settings, kafka_bootstrap=bootstrap, postgres_dsn=dsn, names=("intake",))
    (service,) = origin.services
    async with (
        origin,
        asyncpg.create_pool(
            dsn, database=service.database.name, min_size=0, max_size=service.settings.pool_size, init=speak_json
        ) as pool,
    ):
        await pool.execute(tables)
        service.app.include_router(bare(pool, service.database.on_recorded))
        settle()
        print(origin.url, service.database.name, flush=True)  # noqa: T201
        await asyncio.Event().wait()
