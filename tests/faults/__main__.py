"""`python -m tests.faults RUNS [FIRST]`: the whole fault suite so many times, each with another seed.

Every file here, and the bad days among the ordinary tests; two at a time, each in a process and on parts of its own;
per run its kills, events, violations and seconds by file, and what went wrong. Exit 0 only if nothing did.
`make faults RUNS=20` runs it.
"""

from __future__ import annotations

import asyncio
import re
import sys
import time
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
FILES = [
    *sorted(map(str, Path(__file__).parent.glob("test_*.py"))),
    "tests/e2e/test_redelivery.py",
    "tests/integration/test_dead_letters.py::test_every_tenth_record_broken_in_twelve_ways_leaves_the_others_their_effect",
]
AT_ONCE = 2
TOLD = re.compile(r"^(?:\d+ [a-z]+, )*\d+ violations$", re.MULTILINE)
"""What a verdict says of a test, also of one that fails."""
SHOWN = 80
"""Lines of what went wrong in a file, at most."""


@dataclass(frozen=True)
class Result:
    """What became of one file."""

    name: str
    failed: bool
    seconds: float
    output: str

    @property
    def counts(self) -> Counter[str]:
        """Kills and other faults, events, violations."""
        found = Counter[str]()
        for number, what in re.findall(r"(\d+) ([a-z]+)", " ".join(TOLD.findall(self.output))):
            found[what] += int(number)
        return found


def say(text: str) -> None:
    """Tell whoever waits."""
    print(text, flush=True)  # noqa: T201  (that is what it is run for)


async def test(file: str, seed: int, free: asyncio.Semaphore) -> Result:
    """Run one file."""
    options = ["-q", "-rfEP", "-m", "long or not long", "--tb=short", "--show-capture=stdout"]
    options += [f"--fault-seed={seed}", f"--hypothesis-seed={seed}"]
    async with free:
        began = time.monotonic()
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "pytest", *options, file),
            cwd=ROOT,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        output, _ = await process.communicate()
    return Result(name_of(file), process.returncode != 0, time.monotonic() - began, output.decode(errors="replace"))


def name_of(file: str) -> str:
    """What a file is called here."""
    return Path(file.partition("::")[0]).stem.removeprefix("test_")


async def run(seed: int, files: Iterable[str]) -> list[Result]:
    """Run all files, the first ones first; tell of them."""
    began, free = time.monotonic(), asyncio.Semaphore(AT_ONCE)
    results = await asyncio.gather(*(test(file, seed, free) for file in files))
    counts = Counter[str]()
    for one in results:
        counts.update(one.counts)
    bad = [one for one in results if one.failed]
    said = f"FAILED {' '.join(one.name for one in bad)}" if bad else "holds"
    took = ", ".join(f"{one.name} {one.seconds:.0f}" for one in results)
    told = ", ".join(f"{number} {what}" for what, number in counts.items())
    say(f"seed {seed}: {said}; {told}; {time.monotonic() - began:.0f} s ({took})")
    for one in bad:
        say("\n".join(one.output.splitlines()[-SHOWN:]))
    return results


async def main(runs: int, first: int) -> int:
    """Run, and count the runs that failed."""
    failed, files = list[int](), FILES
    for seed in range(first, first + runs):
        results = await run(seed, files)
        # What takes longest begins first.
        seconds = {one.name: one.seconds for one in results}
        files = sorted(FILES, key=lambda file: -seconds[name_of(file)])
        if any(one.failed for one in results):
            failed.append(seed)
    again = "; again with " + " or ".join(f"--fault-seed {seed}" for seed in failed) if failed else ""
    say(f"{runs} runs, {len(failed)} with violations{again}")
    return len(failed)


if __name__ == "__main__":
    numbers = [int(argument) for argument in sys.argv[1:]]
    sys.exit(min(1, asyncio.run(main(numbers[0] if numbers else 1, numbers[1] if len(numbers) > 1 else 1))))
