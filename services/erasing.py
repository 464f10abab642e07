"""Erasing a person from every service: what `cec person erase` asks of them over HTTP, in an order to be repeated.

The ledger first, which alone has every sealed block; intake last, which tells all services by events which blocks to
drop, and then knows the person no more. Whoever was interrupted asks again: nothing is lost before intake has answered.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from time import monotonic, sleep
from typing import Any, Final

Ask = Callable[[str, dict[str, Any]], dict[str, Any]]
"""POST a body to a path as program-admin; the answer's JSON."""

ORDER: Final = ("ledger", "scoring", "awards", "notifications", "intake")
SHORTEST: Final = 4
"""Characters of a text that is looked for: a shorter one is a part of anything."""
_PAUSE = 0.3


@dataclass
class Wanted:
    """What is to be erased: an account, texts, files by their SHA-256."""

    account: dict[str, str] | None = None
    texts: list[str] = field(default_factory=list)
    files: list[str] = field(default_factory=list)

    def know(self, somebody: dict[str, str]) -> None:
        """Add what intake knows of a person."""
        self.account = {name: somebody[name] for name in ("issuer", "subject")}
        addresses = [somebody["email"], somebody["subject"] if "@" in somebody["subject"] else ""]
        self.texts += [text for text in (somebody["name"], *addresses) if len(text) >= SHORTEST]


def find(ask: Ask, person: str, issuer: str) -> list[dict[str, str]]:
    """Whoever is known by this id, address or subject."""
    found: list[dict[str, str]] = ask("/intake/v1/people/find", {"person": person, "issuer": issuer})["people"]
    return found


def erase(ask: Ask, wanted: Wanted, *, dry_run: bool) -> list[dict[str, Any]]:
    """What each service erased, or would."""
    blocks: dict[tuple[str, str], dict[str, Any]] = {}
    outcomes = []
    for service in ORDER:
        body: dict[str, Any] = {**asdict(wanted), "dry_run": dry_run}
        if service == "intake":
            body["blocks"] = list(blocks.values())
        outcomes.append(outcome := ask(f"/{service}/erasures", body))
        blocks |= {(one["event"], one["block"]): one for one in outcome["blocks"]}
    return outcomes


def left_over(ask: Ask, wanted: Wanted, seconds: float) -> int:
    """How many sealed blocks the ledger still has once it had time to take the erasures in."""
    until = monotonic() + seconds
    while True:
        left = len(ask("/ledger/erasures", {**asdict(wanted), "dry_run": True})["blocks"])
        if not left or monotonic() > until:
            return left
        sleep(_PAUSE)


def told(outcomes: list[dict[str, Any]]) -> list[str]:
    """The same for a person to read: by service, what and how much."""
    lines = []
    for outcome in outcomes:
        sealed: dict[str, int] = {}
        for one in outcome["blocks"]:
            name = one["block"].partition("/")[0]
            sealed[name] = sealed.get(name, 0) + 1
        counts = {**outcome["places"], **{f"sealed blocks: {name}": count for name, count in sorted(sealed.items())}}
        stays = {f"stays, a government's record: {name}": count for name, count in outcome["stays"].items()}
        lines += [f"{outcome['service']}: {'nothing' if not counts else ''}".rstrip()]
        lines += [f"  {name}  {count}" for name, count in {**counts, **stays}.items()]
    return lines
