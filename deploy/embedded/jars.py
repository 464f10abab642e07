"""Apache Kafka's jars: fetched once with jgo, each checked against the SHA-256 pinned in `jars.toml` at every start.

They lie in `<parts>/kafka-<version>/` under their own names. A jar that is there with other content is refused, never
replaced in silence; a jar that is not there is fetched into a folder of its own, checked, then moved in, so nothing
half-fetched or unchecked is ever seen. Which repository is asked is jgo's own setting (a mirror goes there).
"""

import asyncio
import hashlib
import tempfile
import tomllib
from collections.abc import Callable
from pathlib import Path

from deploy.embedded.process import EmbeddedError

_pinned = tomllib.loads(Path(__file__).with_name("jars.toml").read_text())
NAME: str = _pinned["name"]
PINS: dict[str, str] = _pinned["jars"]

AT_ONCE = 4
ATTEMPTS = 3
TIMEOUT = 30
TOLD_EVERY = 10


async def kafka_jars(parts: Path, progress: Callable[[str], None]) -> list[Path]:
    """The class path: every pinned jar, present and checked."""
    folder = parts / NAME.lower().removeprefix("apache ").replace(" ", "-")
    jars = {coordinate: folder / _filename(coordinate) for coordinate in PINS}
    await _fetch_missing({coordinate: jar for coordinate, jar in jars.items() if not jar.exists()}, progress)
    for coordinate, jar in jars.items():
        await asyncio.to_thread(_check, jar, PINS[coordinate])
    return list(jars.values())


def _filename(coordinate: str) -> str:
    _, artifact, version = coordinate.split(":")
    return f"{artifact}-{version}.jar"


def _check(jar: Path, pin: str) -> None:
    with jar.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if found != pin:
        raise EmbeddedError(f"{jar} is not the pinned jar (its SHA-256 is {found}): remove it to have it fetched again")


async def _fetch_missing(missing: dict[str, Path], progress: Callable[[str], None]) -> None:
    gate = asyncio.Semaphore(AT_ONCE)
    done = len(PINS) - len(missing)

    async def fetch(coordinate: str, jar: Path) -> None:
        nonlocal done
        async with gate:
            await asyncio.to_thread(_fetch, coordinate, jar)
        done += 1
        if done % TOLD_EVERY == 0 or done == len(PINS):
            progress(f"fetching {NAME}: {done} of {len(PINS)} jars")

    try:
        async with asyncio.TaskGroup() as group:
            for coordinate, jar in missing.items():
                group.create_task(fetch(coordinate, jar))
    except ExceptionGroup as problems:
        raise problems.exceptions[0] from None


def _fetch(coordinate: str, jar: Path) -> None:
    # A third of a second to import, which a start with all jars there does not pay.
    from jgo.config import GlobalSettings  # noqa: PLC0415  (as said above)
    from jgo.constants import MAVEN_CENTRAL_URL  # noqa: PLC0415  (likewise)
    from jgo.maven import MavenContext  # noqa: PLC0415  (likewise)

    group, artifact, version = coordinate.split(":")
    repositories = {"central": MAVEN_CENTRAL_URL} | GlobalSettings.load().repositories
    jar.parent.mkdir(parents=True, exist_ok=True)
    problem = ""
    for _ in range(ATTEMPTS):
        with tempfile.TemporaryDirectory(prefix=".fetch-", dir=jar.parent) as scratch:
            context = MavenContext(repo_cache=Path(scratch), remote_repos=repositories, timeout=TIMEOUT)
            try:
                fetched = context.project(group, artifact).at_version(version).artifact().resolve()
            except (OSError, RuntimeError) as error:
                problem = f"{type(error).__name__} {error}".splitlines()[0]
                continue
            _check(fetched, PINS[coordinate])
            fetched.replace(jar)
            return
    raise EmbeddedError(
        f"cannot fetch {coordinate} of {NAME} ({problem}): "
        "check the network, or name an existing broker in CEC_KAFKA_BOOTSTRAP_SERVERS",
    )
