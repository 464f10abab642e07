"""Kafka and PostgreSQL, started once for the whole run, and services built on them with databases of their own."""

from __future__ import annotations

import os
import secrets
import subprocess
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from tempfile import mkdtemp

import hypothesis
import pytest
import structlog
from aiokafka import AIOKafkaProducer

from deploy.embedded import Stack
from schemas.topics import TOPICS
from services.chassis import topics
from services.chassis.auth import KeySource, Tokens
from services.chassis.clock import MachineClock, ProgramClock
from services.chassis.issuer import Issuer
from services.chassis.service import Runtime
from services.chassis.settings import Settings

# How long an example takes says something about the machine and nothing about the rule.
hypothesis.settings.register_profile("cec", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow])
hypothesis.settings.load_profile("cec")

# structlog's own way of showing an exception is with the values of every frame: to make them readable takes seconds, in
# which the loop of the services under test stands still.
structlog.configure(
    processors=[
        *structlog.get_config()["processors"][:-1],
        structlog.dev.ConsoleRenderer(exception_formatter=structlog.dev.plain_traceback),
    ]
)

ROOT = Path(__file__).resolve().parents[1]
PARTS = os.environ.get("CEC_TEST_PARTS", "embedded")


def pytest_addoption(parser: pytest.Parser) -> None:
    """What tests can be told."""
    parser.addoption("--fault-seed", type=int, default=20131001, help="what the fault suite draws its kills from")
    parser.addoption("--write", action="store_true", help="write docs/reference/access.md anew, as it was found")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out, where other parts than usual are chosen, the tests that stand on none: they would show nothing new."""
    if PARTS != "embedded":
        idle = [item for item in items if "stack" not in getattr(item, "fixturenames", ())]
        items[:] = [item for item in items if item not in idle]
        config.hook.pytest_deselected(items=idle)


@pytest.fixture
def fault_seed(request: pytest.FixtureRequest) -> int:
    """What chance is drawn from; shown with a failure, so that it can be drawn again."""
    seed = int(request.config.getoption("--fault-seed"))
    print(f"--fault-seed {seed}")  # noqa: T201  (pytest shows it with a failure)
    return seed


@pytest.fixture(scope="session")
async def embedded() -> AsyncIterator[Stack]:
    """Kafka and PostgreSQL as child processes, with the topics applied."""
    var = Path(mkdtemp(prefix="cec-tests-"))
    var.chmod(0o755)  # as root, PostgreSQL runs as another user, who must get through
    async with Stack(var, parts=ROOT / "var" / "parts", durable=False) as running:
        await topics.apply(running.kafka_bootstrap, TOPICS)
        yield running
    _remove(var)


def _remove(folder: Path) -> None:
    """Without waiting for it: that many files take minutes on a disk that others use as well."""
    subprocess.run(["sh", "-c", 'rm -rf "$0" >/dev/null 2>&1 &', str(folder)], check=True)  # noqa: S607  (any shell)


@pytest.fixture(scope="session")
async def containers() -> AsyncIterator[Stack]:
    """Kafka and PostgreSQL in containers, with the topics applied."""
    from tests.containers.parts import started  # noqa: PLC0415  (a third of a second that only some runs need)

    async with started() as (bootstrap, dsn):
        await topics.apply(bootstrap, TOPICS)
        yield Stack(Path(), kafka_bootstrap=bootstrap, postgres_dsn=dsn)


@pytest.fixture(scope="session")
def stack(request: pytest.FixtureRequest) -> Stack:
    """The parts that CEC_TEST_PARTS names: `embedded` (the default) or `containers`."""
    chosen: Stack = request.getfixturevalue(PARTS)
    return chosen


@pytest.fixture
async def kafka(stack: Stack) -> AsyncIterator[AIOKafkaProducer]:
    """A plain producer, for what other services or strangers would send."""
    producer = AIOKafkaProducer(bootstrap_servers=stack.kafka_bootstrap)
    await producer.start()
    yield producer
    await producer.stop()


@pytest.fixture
def clock() -> ProgramClock:
    """A movable program clock."""
    return ProgramClock(MachineClock(), movable=True)


@pytest.fixture
def issuer(tmp_path: Path) -> Issuer:
    """An issuer of tokens that the services under test accept."""
    settings = Settings()
    return Issuer.at(tmp_path, issuer=settings.token_issuer, audience=settings.token_audience, machine=MachineClock())


@pytest.fixture
def runtime(stack: Stack, clock: ProgramClock, issuer: Issuer) -> Callable[[type[Settings]], Runtime]:
    """Makes what a service is given; every test has databases of its own."""
    prefix = f"t{secrets.token_hex(4)}_"

    def make(settings_class: type[Settings] = Settings) -> Runtime:
        settings = settings_class(database_prefix=prefix, clock_movable=True, poll_seconds=0.2, pool_size=4)
        return Runtime(
            settings=settings,
            kafka_bootstrap=stack.kafka_bootstrap,
            postgres_dsn=stack.postgres_dsn,
            clock=clock,
            tokens=Tokens(
                KeySource(issuer.keys),
                issuer=settings.token_issuer,
                audience=settings.token_audience,
                machine=clock.machine,
            ),
        )

    return make
