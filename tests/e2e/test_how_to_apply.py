"""The walk in docs/how-to/apply.md, block by block as a reader pastes it: bash and curl against a running program."""

from __future__ import annotations

import asyncio
import os
import re
import secrets
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path

from deploy.embedded import Stack
from services.origin import Origin
from tests.open311 import City, requests_of, served

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "how-to" / "apply.md").read_text(encoding="utf-8")
_FENCED = re.compile(r"^ *```(\w*)\n(.*?)^ *```$", re.MULTILINE | re.DOTALL)
_END = "\x1e"
"""What the shell prints after each block."""


@dataclass(frozen=True)
class Block:
    """Commands, and what the page says that they print; `…` there is anything within a line."""

    commands: str
    printed: str

    def fits(self, output: str) -> bool:
        pattern = re.escape(self.printed).replace("…", ".+")
        return re.fullmatch(pattern, output) is not None


def blocks() -> Iterator[Block]:
    """The page's shell blocks, each with the text block that follows it, if one does."""
    found = [(match[1], match[2]) for match in _FENCED.finditer(PAGE)]
    for (kind, commands), (following, printed) in zip(found, [*found[1:], ("", "")], strict=True):
        if kind == "sh":
            yield Block(commands, printed if following == "text" else "")


async def test_the_walk_through_an_application_prints_what_its_page_says(stack: Stack, tmp_path: Path) -> None:
    walk = list(blocks())
    (tmp_path / ".venv").mkdir()
    (tmp_path / ".venv" / "bin").symlink_to(Path(sys.executable).parent)
    (tmp_path / "deploy").symlink_to(ROOT / "deploy")
    overrides = {
        "var": tmp_path / "var",
        "public_url": "http://127.0.0.1:0",
        "database_prefix": f"t{secrets.token_hex(4)}_",
        "poll_seconds": 0.2,
        "probes_allow_loopback": True,
        "probes_pause_seconds": 0,
    }
    async with (
        served(City(requests_of(datetime.now(UTC).date()))) as city,
        Origin(
            overrides, kafka_bootstrap=stack.kafka_bootstrap, postgres_dsn=stack.postgres_dsn, names=("intake",)
        ) as origin,
    ):
        given = {key: value for key, value in os.environ.items() if not key.startswith("CEC_")}
        given |= {"CEC_VAR": "var", "CEC_PUBLIC_URL": origin.url, "OPEN311": city.url, "no_proxy": "*"}
        printed, errors = await pasted(walk, tmp_path, given)
    wrong = [
        f"{block.commands}prints\n{output}instead of\n{block.printed}"
        for block, output in zip(walk, printed, strict=False)
        if not block.fits(output)
    ]
    if len(printed) < len(walk):
        wrong.append(f"{walk[len(printed)].commands}fails: {errors}")
    assert not wrong, "\n".join(wrong)


async def pasted(walk: list[Block], folder: Path, given: dict[str, str]) -> tuple[list[str], str]:
    """What one shell in `folder` prints block by block, as far as it came, and its errors."""
    script = "\n".join(["set -euo pipefail", *(f"{block.commands}printf '{_END}'" for block in walk)])
    bash = await asyncio.create_subprocess_exec(
        "bash",
        "-c",
        script,
        cwd=folder,
        env=given,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        async with asyncio.timeout(120):
            output, errors = await bash.communicate()
    finally:
        if bash.returncode is None:
            bash.kill()
            await bash.wait()
    *printed, rest = output.decode().split(_END)
    return printed, f"{errors.decode()}{rest}"


def test_the_page_shows_output_only_below_commands_that_are_run() -> None:
    kinds = [match[1] for match in _FENCED.finditer(PAGE)]
    assert kinds.count("sh") > 20
    assert {before for before, kind in pairwise(kinds) if kind == "text"} == {"sh"}
    assert set(kinds) == {"console", "sh", "text"}
