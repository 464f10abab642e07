"""Apache Kafka and PostgreSQL in containers, set up as the embedded pair is.

Image names are settings: CEC_TEST_KAFKA_IMAGE and CEC_TEST_POSTGRES_IMAGE, by default the official ones.
"""

import asyncio
import os
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack, asynccontextmanager, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from testcontainers.community.postgres import PostgresContainer
from testcontainers.core.container import DockerContainer
from testcontainers.core.wait_strategies import LogMessageWaitStrategy

from deploy.embedded.kafka import CLUSTER, SETTINGS, STARTED
from deploy.embedded.ports import free_ports
from deploy.embedded.postgres import FLEETING
from tests.containers.images import OFFICIAL, setting

READY_WITHIN = 90
LOGS = "/tmp/kraft-combined-logs"  # noqa: S108  (the container's own)
PATIENT = {"timeout": 300}
RUN = "CEC_TEST_RUN"
LABEL = "cec-test-run"
"""Of our containers, with the value of RUN: whoever set it can find those that a killed run left."""


@asynccontextmanager
async def started() -> AsyncIterator[tuple[str, str]]:
    """Both, removed when the block ends: the broker's bootstrap address and the superuser's address of `postgres`."""
    containers = ExitStack()
    try:
        yield (
            await asyncio.to_thread(containers.enter_context, kafka()),
            await asyncio.to_thread(containers.enter_context, postgres()),
        )
    finally:
        # Beside the event loop, which sees its connections end.
        await asyncio.to_thread(containers.close)


def image(part: str) -> str:
    """The image that a part runs from."""
    return os.environ.get(setting(part)) or OFFICIAL[part]


@contextmanager
def kafka() -> Iterator[str]:
    """A broker; its bootstrap address."""
    with TemporaryDirectory() as folder:
        (port,) = free_ports(Path(folder, "port"), 1)
    container = DockerContainer(image("kafka"), docker_client_kw=PATIENT).with_bind_ports(9092, port)
    # What clients are told must be known before the start, so the port is chosen here. The broker itself uses another.
    address = f"{container.get_docker_client().host()}:{port}"
    settings = _embedded_settings() | {
        "CLUSTER_ID": CLUSTER,
        "KAFKA_HEAP_OPTS": "-Xmx256m -Xms64m",
        "KAFKA_CONTROLLER_QUORUM_VOTERS": "1@localhost:9093",
        "KAFKA_LISTENERS": "PLAINTEXT://0.0.0.0:9092,CONTROLLER://localhost:9093,INTERNAL://localhost:9094",
        "KAFKA_ADVERTISED_LISTENERS": f"PLAINTEXT://{address},INTERNAL://localhost:9094",
        "KAFKA_INTER_BROKER_LISTENER_NAME": "INTERNAL",
        "KAFKA_LISTENER_SECURITY_PROTOCOL_MAP": "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT,INTERNAL:PLAINTEXT",
        "KAFKA_LOG_DIRS": LOGS,
    }
    container.with_envs(**settings).with_tmpfs_mount(LOGS).with_kwargs(labels=_labels())
    with container.waiting_for(LogMessageWaitStrategy(STARTED).with_startup_timeout(READY_WITHIN)):
        yield address


@contextmanager
def postgres() -> Iterator[str]:
    """A server; the superuser's address of the database `postgres`."""
    options = " ".join(f"-c {name}={value}" for name, value in {"max_connections": "200", **FLEETING}.items())
    container = PostgresContainer(
        image("postgres"), username="postgres", password="test", dbname="postgres", docker_client_kw=PATIENT
    )
    with container.with_command(f"postgres {options}").with_kwargs(labels=_labels()):
        yield container.get_connection_url(driver=None)


def _labels() -> dict[str, str]:
    return {LABEL: os.environ.get(RUN, "")}


def _embedded_settings() -> dict[str, str]:
    """The embedded broker's settings that name no place, as the environment of an image."""
    lines = [line for line in SETTINGS.splitlines() if "{" not in line and not line.startswith("#")]
    pairs = [line.split("=", 1) for line in lines]
    return {f"KAFKA_{name.upper().replace('.', '_')}": value for name, value in pairs}
