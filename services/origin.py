"""One origin: the services of one process behind one address, with the embedded issuer's keys and one health answer.

`cec up` and `cec demo` run all five here; `cec run SERVICE` runs one. Services never call each other, so whether they
share a process changes nothing but memory.
"""

from __future__ import annotations

import asyncio
import os
import socket
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self
from urllib.parse import urlsplit

import uvicorn
from prometheus_client import CONTENT_TYPE_PLAIN_0_0_4
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Mount, Route

from schemas.topics import CLOCK, TOPICS
from services.awards import app as awards
from services.awards.settings import AwardsSettings
from services.chassis import health, topics
from services.chassis.auth import KeySource, Tokens
from services.chassis.clock import MachineClock, ProgramClock, follow
from services.chassis.issuer import Issuer
from services.chassis.problems import Problem
from services.chassis.service import Runtime, Service
from services.chassis.web import Frontier
from services.intake import app as intake
from services.intake.settings import IntakeSettings
from services.ledger import app as ledger
from services.ledger.settings import LedgerSettings
from services.notifications import app as notifications
from services.notifications.settings import NotificationsSettings
from services.running import Running
from services.scoring import app as scoring
from services.scoring.settings import ScoringSettings

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from services.chassis.settings import Settings


@dataclass(frozen=True)
class Blueprint:
    """How a service is made: its settings class and its `app.service`."""

    settings: type[Settings]
    make: Callable[[Runtime], Service]


SERVICES: dict[str, Blueprint] = {
    "intake": Blueprint(IntakeSettings, intake.service),
    "scoring": Blueprint(ScoringSettings, scoring.service),
    "awards": Blueprint(AwardsSettings, awards.service),
    "notifications": Blueprint(NotificationsSettings, notifications.service),
    "ledger": Blueprint(LedgerSettings, ledger.service),
}


class PortTakenError(RuntimeError):
    """Another program listens where the origin should."""


class Origin:
    """Some or all services on one address, from `start` to `stop`."""

    def __init__(
        self,
        settings: dict[str, Any],
        *,
        kafka_bootstrap: str,
        postgres_dsn: str,
        names: Sequence[str] = tuple(SERVICES),
    ) -> None:
        """`settings` override what the environment says; port 0 in `public_url` means a free one."""
        url = urlsplit(settings.get("public_url") or IntakeSettings().public_url)
        self._socket = _listen(url.hostname or "127.0.0.1", 80 if url.port is None else url.port)
        self.url = f"{url.scheme}://{url.hostname}:{self._socket.getsockname()[1]}"
        overrides = {**settings, "public_url": self.url}
        common = IntakeSettings(**overrides)
        machine = MachineClock()
        self.clock = ProgramClock(machine, movable=common.clock_movable)
        self.issuer = Issuer.at(
            common.var / "keys", issuer=common.token_issuer, audience=common.token_audience, machine=machine
        )
        self.kafka_bootstrap = kafka_bootstrap
        self._var = common.var
        self._running = Running(self.url, kafka_bootstrap, postgres_dsn, os.getpid())
        tokens = Tokens(
            KeySource(common.jwks or self.issuer.keys),
            issuer=common.token_issuer,
            audience=common.token_audience,
            machine=machine,
        )
        self.services = [
            SERVICES[name].make(
                Runtime(SERVICES[name].settings(**overrides), kafka_bootstrap, postgres_dsn, self.clock, tokens)
            )
            for name in names
        ]
        self._embedded_issuer = not common.jwks
        self._server = _Server(
            uvicorn.Config(
                Frontier(self._application(), body_limit=common.body_limit),
                log_config=None,
                access_log=False,
                lifespan="off",
                server_header=False,
                timeout_graceful_shutdown=5,
                timeout_keep_alive=75,  # longer than clients keep a connection: none finds it just closed
            )
        )
        self._tasks: list[asyncio.Task[None]] = []

    def _application(self) -> Starlette:
        async def live(_: Request) -> Response:
            still = await asyncio.gather(*(health.standstill(service) for service in self.services))
            good = max(still) < health.STANDSTILL_SECONDS
            return JSONResponse({"status": "live" if good else "stands still"}, 200 if good else 503)

        async def metrics(_: Request) -> Response:
            return Response(await health.scrape(*self.services), media_type=CONTENT_TYPE_PLAIN_0_0_4)

        async def ready(_: Request) -> Response:
            answers = await asyncio.gather(*(service.ready() for service in self.services))
            parts = {service.name: answer for service, answer in zip(self.services, answers, strict=True)}
            good = all(all(answer.values()) for answer in answers)
            return JSONResponse({"status": "ready" if good else "not ready", "services": parts}, 200 if good else 503)

        async def jwks(_: Request) -> Response:
            return JSONResponse(self.issuer.keys.as_dict(private=False))

        async def nothing(request: Request, _: Exception) -> Response:
            return Problem(404, "not-found", "No such thing here.").response(request.url.path)

        routes = [Route("/health/live", live), Route("/health/ready", ready), Route("/metrics", metrics)]
        if self._embedded_issuer:
            routes.append(Route("/.well-known/jwks.json", jwks))
        mounts = [Mount(f"/{service.name}", service.app) for service in self.services]
        return Starlette(routes=[*routes, *mounts], exception_handlers={404: nothing})

    async def start(self) -> None:
        """Apply the topics, learn the program time, start the services and serve."""
        await topics.apply(self.kafka_bootstrap, TOPICS)
        if self.clock.movable:
            known = asyncio.Event()
            self._tasks.append(asyncio.create_task(follow(self.clock, self.kafka_bootstrap, CLOCK.name, known.set)))
            await known.wait()
        async with asyncio.TaskGroup() as group:
            for service in self.services:
                group.create_task(service.start())
        self._tasks.append(asyncio.create_task(self._server.serve([self._socket])))
        while not self._server.started:  # noqa: ASYNC110  (uvicorn has no event for it)
            await asyncio.sleep(0.01)
        if len(self.services) == len(SERVICES):
            self._running.write(self._var)

    async def stop(self) -> None:
        """Stop serving, then the services, then the clock."""
        self._running.erase(self._var)
        self._server.should_exit = True
        if self._server.started:
            with suppress(TimeoutError):
                async with asyncio.timeout(8):
                    await self._tasks[-1]
        await asyncio.gather(*(service.stop() for service in self.services))
        for task in self._tasks:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task
        self._socket.close()

    async def __aenter__(self) -> Self:
        """Start; what was started before a failure is stopped again."""
        try:
            await self.start()
        except BaseException:
            with suppress(Exception):
                await self.stop()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        """Stop."""
        await self.stop()


class _Server(uvicorn.Server):
    """Leaves signals to the command that runs it: the embedded parts must stop after the services."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Capture none."""
        yield


def _listen(host: str, port: int) -> socket.socket:
    listening = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind((host, port))
    except OSError as error:
        listening.close()
        message = f"cannot listen on {host}:{port} ({error.strerror}); set CEC_PUBLIC_URL to another port"
        raise PortTakenError(message) from error
    return listening
