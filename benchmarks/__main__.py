"""`python -m benchmarks [ID …] [--count N] [--rounds N]`: measure, print the table, write var/bench/results.json."""

from __future__ import annotations

import argparse
from collections.abc import Awaitable, Callable

import uvloop

from benchmarks import commit_to_effect, ledger_append, relay
from benchmarks.harness import Result, ground, keep, table
from schemas.topics import TOPICS
from services.chassis import logs, topics

BENCHES: dict[str, Callable[..., Awaitable[list[Result]]]] = {
    "relay": relay.run,
    "ledger-append": ledger_append.run,
    "commit-to-effect": commit_to_effect.run,
}


async def measure(names: list[str], count: int, rounds: int) -> list[Result]:
    """Run the named comparisons one after the other, each on parts of its own."""
    results = []
    for name in names:
        async with ground() as place:
            await topics.apply(place.bootstrap, TOPICS)
            print(f"{name}: {rounds} rounds of {count:,} …", flush=True)  # noqa: T201
            results += await BENCHES[name](place, count=count, rounds=rounds)
    return results


def main() -> None:
    """Parse, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("ids", nargs="*", default=[], metavar="ID", help=f"of {', '.join(BENCHES)}; all without any")
    parser.add_argument("--count", type=int, default=20_000)
    parser.add_argument("--rounds", type=int, default=3)
    given = parser.parse_args()
    unknown = set(given.ids) - set(BENCHES)
    if unknown:
        parser.error(f"unknown: {', '.join(sorted(unknown))}")
    logs.configure("error")
    results = uvloop.run(measure(given.ids or list(BENCHES), given.count, given.rounds))
    keep(results)
    print(table(results))  # noqa: T201


if __name__ == "__main__":
    main()
