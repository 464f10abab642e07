"""The loop that sends: claims what is due, calls the endpoints side by side, settles each attempt in one transaction.

Places are bounded in all and per subscription, and endpoints that are failing or unproven get half of them at most, so
that a slow or dead subscriber never delays another. It runs on machine time; commits wake it, and a poll suffices.
"""

from __future__ import annotations

import asyncio
import random
from datetime import datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING

import orjson
import structlog

from schemas.envelope import Event
from services.chassis.looping import insist, keep_taking_up, sleep_until_woken
from services.chassis.metrics import DELIVERIES
from services.chassis.outbound import Limits, OutboundFailed, OutboundRefused, outbound
from services.chassis.webhooks import signed_headers
from services.notifications import backlog, store
from services.notifications.domain import CHALLENGE, Answer, after, retry_after, settle

if TYPE_CHECKING:
    from services.chassis.outbound import OutboundResponse
    from services.chassis.service import Service
    from services.notifications.backlog import Claim, Share

SECONDS = 15.0
"""For one attempt, from looking up the name to the end of the answer."""
LEASE = timedelta(seconds=3 * SECONDS)
"""Longer than an attempt and its settling take."""
PER_SUBSCRIPTION = 4
PROOF_LIMIT = 4_096
"""Bytes of the answer to a challenge. The answer to a notice isn't read."""
DRAIN_SECONDS = 3.0

log = structlog.get_logger()


async def deliver_notices(service: Service) -> None:
    """Send what is due, until cancelled."""
    await Courier(service).run()


class Courier:
    """One process's share of the deliveries."""

    def __init__(self, service: Service) -> None:
        self._database = service.database
        self._machine = service.clock.machine
        self._client = outbound(allow_loopback=service.settings.webhooks_allow_loopback)
        self._places: int = service.settings.webhooks_at_once
        self._poll: float = service.settings.poll_seconds
        self._work = service.database.alarm(backlog.WORK)
        self._turns = {False: 0, True: 0}
        self._running: dict[asyncio.Task[None], Claim] = {}

    async def run(self) -> None:
        """Take up work as places get free; sleep until a commit makes some, an attempt ends, or the poll."""
        try:
            await keep_taking_up("deliveries", self._take_up, self._rest)
        finally:
            await self._drain()

    async def _take_up(self) -> None:
        for doubtful, most in ((False, self._places), (True, self._places // 2)):
            busy = sum(claim.doubtful for claim in self._running.values()) if doubtful else 0
            places = min(most - busy, self._places - len(self._running))
            if places > 0:
                await self._take_share(backlog.Share(doubtful, places, PER_SUBSCRIPTION, self._turns[doubtful]))

    async def _rest(self, _: None) -> None:
        await sleep_until_woken(self._work, self._poll)

    async def _take_share(self, share: Share) -> None:
        now = self._machine.now()
        claims = await backlog.claim(self._database.pool, share, now, now + LEASE)
        if len(claims) == share.places:
            self._turns[share.doubtful] = max(claim.turn for claim in claims)
        elif share.turn:
            # The round is over: look again from its beginning.
            self._turns[share.doubtful] = 0
            self._work.set()
        for claim in claims:
            task = asyncio.create_task(self._deliver(claim), name=f"delivery:{claim.delivery.notice}")
            self._running[task] = claim
            task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        claim = self._running.pop(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            # Its lease ends by itself: it is taken up again then.
            log.error("delivery not settled", notice=claim.delivery.notice, exc_info=error)
        self._work.set()

    async def _drain(self) -> None:
        """Let attempts under way end; what doesn't is taken up by the next process once its lease is over."""
        if self._running:
            _, late = await asyncio.wait(self._running, timeout=DRAIN_SECONDS)
            for task in late:
                task.cancel()
            await asyncio.gather(*late, return_exceptions=True)

    async def _deliver(self, claim: Claim) -> None:
        began = self._machine.now()
        answer = await self._post(claim, began)
        await insist(partial(self._settle, claim, answer, began), self._machine, began + LEASE)

    async def _post(self, claim: Claim, now: datetime) -> Answer:
        challenged = claim.delivery.kind == CHALLENGE
        kind = "application/json" if challenged else "application/cloudevents+json"
        signed = signed_headers([claim.secret], claim.delivery.notice, int(now.timestamp()), claim.body)
        limits = Limits(deadline=SECONDS, max_body=PROOF_LIMIT if challenged else 0)
        try:
            response = await self._client.request(
                "POST", claim.url, headers={"content-type": kind, **signed}, content=claim.body, limits=limits
            )
        except OutboundRefused as error:
            return Answer(None, str(error), final=True)
        except OutboundFailed as error:
            return Answer(None, str(error))
        wait = retry_after(response.headers.get("retry-after"), now)
        return Answer(response.status, retry_after=wait, proof=challenged and _proves(claim, response))

    async def _settle(self, claim: Claim, answer: Answer, began: datetime) -> None:
        now = self._machine.now()
        async with self._database.transaction() as tx:
            subscription = await store.load_subscription(tx.db, claim.subscription)
            delivery = await backlog.leased(tx.db, claim)
            if subscription is None or delivery is None:
                return
            settlement = settle(subscription, delivery, answer, now, random.random())  # noqa: S311  (jitter)
            cause = None if delivery.kind == CHALLENGE else delivery.event
            for fact in settlement.facts:
                if isinstance(fact, Event):
                    tx.record(fact, cause=cause)
            await backlog.settle(tx.db, delivery, settlement, began, answer.status)
            tx.note(DELIVERIES, result=settlement.state)
            await store.save_subscription(tx.db, after(subscription, settlement))


def _proves(claim: Claim, response: OutboundResponse) -> bool:
    """Whether the answer is a JSON object that holds the challenge."""
    try:
        said = orjson.loads(response.body)
    except orjson.JSONDecodeError:
        return False
    return isinstance(said, dict) and said.get("challenge") == orjson.loads(claim.body)["challenge"]
