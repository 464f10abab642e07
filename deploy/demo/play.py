"""`cec demo`: a whole cycle on real parts, played through the public APIs and topics, then exported and verified."""

from __future__ import annotations

import asyncio
import json
import time
from collections import Counter
from collections.abc import Callable
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil

from deploy.demo.calls import CallError, People
from deploy.demo.cohort import Cohort, load
from deploy.demo.folder import emptied
from deploy.demo.receiver import Receiver
from deploy.demo.steps import Cycle
from deploy.embedded import Stack
from schemas.charter import Charter, CharterError
from services.chassis import logs
from services.chassis.webhooks import new_secret
from services.exported import Report
from services.origin import Origin
from services.verifier import verify

FORMATS = {"txt": "text", "md": "markdown", "html": "html", "json": "json"}


@dataclass
class Result:
    """What a demonstration came to."""

    cycle: str
    announcement: str = ""
    notices: Counter[str] = field(default_factory=Counter)
    unverified_notices: int = 0
    early_notices: int = 0
    events: Counter[str] = field(default_factory=Counter)
    log: dict[str, Any] = field(default_factory=dict)
    reports: dict[str, Report] = field(default_factory=dict)
    seconds: float = 0.0
    memory_mib: int = 0

    @property
    def held(self) -> bool:
        """Whether everything that was promised came true."""
        return (
            all(report.exit_code == 0 for report in self.reports.values())
            and not self.unverified_notices
            and not self.early_notices
            and bool(self.reports)
        )

    def as_json(self) -> dict[str, Any]:
        """The same for machines."""
        return {
            "cycle": self.cycle,
            "held": self.held,
            "notices": dict(sorted(self.notices.items())),
            "unverified_notices": self.unverified_notices,
            "notices_before_announcement": self.early_notices,
            "events": dict(sorted(self.events.items())),
            "log": self.log,
            "verified": {name: report.as_json() for name, report in self.reports.items()},
            "seconds": round(self.seconds, 1),
            "memory_mib": self.memory_mib,
        }


async def play(program: Path, cohort_file: Path, out: Path, *, stay: bool, as_json: bool) -> bool:
    """Play `cohort_file` under the charter `program`; True if everything held. Prints as it goes."""
    charter_text = program.read_text(encoding="utf-8")  # noqa: ASYNC240  (nothing else runs yet)
    try:
        charter = Charter.parse(charter_text)
    except CharterError as error:
        raise CallError(f"{program}: {error}") from error
    cohort = load(cohort_file)
    cohort.check(charter)
    say: Callable[[str], None] = (lambda _: None) if as_json else (lambda text: print(text, flush=True))  # noqa: T201  (the demonstration talks)
    logs.configure("error")
    started = time.monotonic()

    def tell(text: str) -> None:
        say(f"{time.monotonic() - started:6.1f} s  {text}")

    tell(f"{charter.program.name}: cycle {cohort.cycle}, {len(cohort.applicants)} applicants")
    async with AsyncExitStack() as running:
        data = running.enter_context(emptied(out))
        stack = await running.enter_async_context(Stack(data, parts=Path("var/parts"), progress=tell, durable=False))
        overrides = {
            "var": data,
            "public_url": "http://127.0.0.1:0",
            "clock_movable": True,
            "poll_seconds": 0.5,
            "webhooks_allow_loopback": True,
        }
        origin = await running.enter_async_context(
            Origin(overrides, kafka_bootstrap=stack.kafka_bootstrap, postgres_dsn=stack.postgres_dsn)
        )
        tell(f"five services ready at {origin.url}")
        result = await _play(cohort, charter, charter_text, origin, out, tell)
        result.seconds = time.monotonic() - started
        result.memory_mib = _memory_mib()
        _tell_result(result, out, say)
        if as_json:
            print(json.dumps(result.as_json(), indent=2, ensure_ascii=False))  # noqa: T201  (its summary)
        if stay:
            say(f"\nStill up at {origin.url} until Ctrl-C. Look at:")
            for path in (
                f"/awards/v1/announcements/{cohort.cycle}?format=html",
                "/awards/v1/designees",
                "/ledger/v1/logs",
            ):
                say(f"  {origin.url}{path}")
            with suppress(asyncio.CancelledError):
                await asyncio.Event().wait()
    return result.held


async def _play(
    cohort: Cohort, charter: Charter, charter_text: str, origin: Origin, out: Path, tell: Callable[[str], None]
) -> Result:
    secret = new_secret()
    async with People(origin.url, origin.issuer) as people, Receiver(out / "notices.jsonl", secret) as receiver:
        cycle = Cycle(cohort, charter, charter_text, people, origin, tell)
        async with cycle:
            await cycle.to_the_decision(receiver.url, secret)
            result = Result(cohort.cycle, early_notices=len(receiver.received()))
            await cycle.from_the_announcement(lambda: len(receiver.received()))
        _count_notices(result, receiver.received())
        await _keep_results(cycle, result, out)
    tell("exported; verifying without the services")
    policy = (out / "policy.txt").read_text(encoding="utf-8")
    for name, file in (("public", out / f"{cohort.cycle}.zip"), ("auditor", out / f"{cohort.cycle}-auditor.zip")):
        result.reports[name] = await asyncio.to_thread(verify, file.read_bytes(), policy)
    return result


def _count_notices(result: Result, received: list[dict[str, Any]]) -> None:
    for notice in received:
        result.notices[notice["type"]] += 1
        result.unverified_notices += not notice["verified"]


async def _keep_results(cycle: Cycle, result: Result, out: Path) -> None:
    for ending, form in FORMATS.items():
        (out / f"announcement.{ending}").write_bytes(await cycle.announcement(form))
    result.announcement = (out / "announcement.txt").read_text(encoding="utf-8")
    public, auditor = await cycle.exports()
    (out / f"{result.cycle}.zip").write_bytes(public)
    (out / f"{result.cycle}-auditor.zip").write_bytes(auditor)
    result.log = await cycle.log()
    (out / "policy.txt").write_text(f"log {result.log['verifier_key']}\nquorum none\n", encoding="utf-8")
    result.events = cycle.events_by_type(auditor)


def _tell_result(result: Result, out: Path, say: Callable[[str], None]) -> None:
    say(f"\n{'─' * 100}\n{result.announcement.rstrip()}\n{'─' * 100}\n")
    say("Notices received by a subscriber, each signature verified:")
    for kind, count in sorted(result.notices.items()):
        say(f"  {count:5}  {kind}")
    if result.early_notices or result.unverified_notices:
        say(f"  BUT {result.early_notices} before the announcement, {result.unverified_notices} not verified")
    say("Events in the cycle's log:")
    for kind, count in sorted(result.events.items()):
        say(f"  {count:5}  {kind}")
    say(f"Ledger: {result.log['size']} entries, root {result.log['root']}")
    for name, report in result.reports.items():
        say(f"{name.capitalize()} export: {report.headline()}")
        for finding in report.findings:
            say(f"  {finding}")
    say(f"Results in {out}/; {result.seconds:.1f} s in all, {result.memory_mib} MiB of memory at the end.")
    say("EVERYTHING HELD" if result.held else "SOMETHING DID NOT HOLD")


def _memory_mib() -> int:
    """Proportional memory of this process and its children: embedded parts, services, receiver."""
    me = psutil.Process()
    total = 0
    for process in (me, *me.children(recursive=True)):
        with suppress(psutil.Error):
            total += getattr(process.memory_full_info(), "pss", process.memory_info().rss)
    return total // 2**20
