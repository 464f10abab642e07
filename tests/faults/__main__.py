"""`python -m tests.faults RUNS [FIRST]`: the fault suite so many times, each with another seed; says what went wrong.

Exit 0 only if nothing did. `make faults RUNS=20` runs it.
"""

from __future__ import annotations

import re
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
SUITE = "tests/faults/test_killed_services.py"
KILLS = re.compile(r"^\d+ kills, \d+ events", re.MULTILINE)
SHOWN = 80
"""Lines of what went wrong, at most."""


def say(text: str) -> None:
    """Tell whoever waits."""
    print(text, flush=True)  # noqa: T201  (that is what it is run for)


def main(runs: int, first: int) -> int:
    """Run, and count the runs that failed."""
    failed: list[int] = []
    for seed in range(first, first + runs):
        began = time.monotonic()
        done = subprocess.run(
            [sys.executable, "-m", "pytest", "-q", "-rP", "-m", "long", "--tb=short", f"--fault-seed={seed}", SUITE],
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=False,
        )
        kills = KILLS.search(done.stdout)
        said = "holds" if done.returncode == 0 else "VIOLATED"
        say(f"seed {seed}: {said}, {kills[0] if kills else '?'}, {time.monotonic() - began:.0f} s")
        if done.returncode:
            failed.append(seed)
            say("\n".join((done.stdout + done.stderr).splitlines()[-SHOWN:]))
    again = "; again with " + " or ".join(f"--fault-seed {seed}" for seed in failed) if failed else ""
    say(f"{runs} runs, {len(failed)} with violations{again}")
    return len(failed)


if __name__ == "__main__":
    numbers = [int(argument) for argument in sys.argv[1:]]
    sys.exit(min(1, main(numbers[0] if numbers else 1, numbers[1] if len(numbers) > 1 else 1)))
