"""`python -m benchmarks [ID …] [--count N] [--rounds N]`: measure, print the table, write var/bench/results.json.

With `--growth`, one round for 1,000, 10,000, … up to `count` records each: is the cost per record flat?
"""

from __future__ import annotations

import argparse
from collections.abc import Awaitable, Callable

import uvloop

from benchmarks import (
    commit_to_effect,
    intake,
    last_minute,
    ledger_append,
    relay,
    score_projection,
    tutorial,
    xlsx_import,
)
from benchmarks.harness import Result, ground, keep, table
from schemas.topics import TOPICS
from services.chassis import logs, topics
from services.chassis.garbage import settle

BENCHES: dict[str, Callable[..., Awaitable[list[Result]]]] = {
    "relay": relay.run,
    "ledger-append": ledger_append.run,
    "score-projection": score_projection.run,
    "score-projection-tutorial": tutorial.run,
    "commit-to-effect": commit_to_effect.run,
    "save-section": intake.run_save_section,
    "submit": intake.run_submit,
    "last-minute": last_minute.run,
    "xlsx-import": xlsx_import.run,
}


async def measure(names: list[str], count: int, rounds: int, *, durable: bool) -> list[Result]:
    """Run the named comparisons one after the other, each on parts of its own."""
    results = []
    for name in names:
        async with ground(durable=durable) as place:
            await topics.apply(place.bootstrap, TOPICS)
            settle()
            print(f"{name}: {rounds} rounds of {count:,} …", flush=True)  # noqa: T201
            found = await BENCHES[name](place, count=count, rounds=rounds)
        keep(found)
        results += found
    return results


async def grown(names: list[str], most: int, *, durable: bool) -> str:
    """What a record costs, in µs, in runs of ever more records on databases that are new in each run."""
    lines = [f"{'':28}{'records':>12}{'ours, µs':>12}{'bare, µs':>12}"]
    count = 1_000
    while count <= most:
        lines += [
            f"{found.id:28}{count:12,}{1e6 / found.ours:12,.1f}{1e6 / found.baseline:12,.1f}"
            for found in await measure(names, count, 1, durable=durable)
            if found.unit.endswith("/s")
        ]
        count *= 10
    return "\n".join(lines)


def main() -> None:
    """Parse, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("ids", nargs="*", default=[], metavar="ID", help=f"of {', '.join(BENCHES)}; all without any")
    parser.add_argument("--count", type=int, default=20_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--growth", action="store_true", help="the cost per record for 1,000, 10,000, … up to --count")
    parser.add_argument("--fleeting", action="store_true", help="PostgreSQL without fsync, as the tests have it")
    given = parser.parse_args()
    unknown = set(given.ids) - set(BENCHES)
    if unknown:
        parser.error(f"unknown: {', '.join(sorted(unknown))}")
    logs.configure("error")
    names, durable = given.ids or list(BENCHES), not given.fleeting
    if given.growth:
        print(uvloop.run(grown(names, given.count, durable=durable)))  # noqa: T201
        return
    results = uvloop.run(measure(names, given.count, given.rounds, durable=durable))
    print(table(results))  # noqa: T201


if __name__ == "__main__":
    main()
