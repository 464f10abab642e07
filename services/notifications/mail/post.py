"""The loop that sends letters: claims what is due, sends it over one connection, settles each in its own transaction.

What an address or a server says about one is never logged. It runs on machine time; commits wake it, and a poll
suffices. Whether a letter is too late is asked of program time, just before it is sent.
"""

from __future__ import annotations

import asyncio
import random
from datetime import timedelta
from typing import TYPE_CHECKING

import structlog
from aiosmtplib import (
    SMTP,
    SMTPDataError,
    SMTPException,
    SMTPNotSupported,
    SMTPRecipientsRefused,
    SMTPResponseException,
)

from services.chassis.looping import insist, keep_taking_up, sleep_until_woken
from services.chassis.metrics import LETTERS
from services.notifications import store
from services.notifications.mail import queue
from services.notifications.mail.domain import REJECTED, STOPPABLE, TAKEN, Answer, drop, needless, refused, settle
from services.notifications.mail.letter import Origin, message, write

if TYPE_CHECKING:
    from email.message import EmailMessage

    from services.chassis.service import Service
    from services.notifications.mail.domain import Settlement
    from services.notifications.mail.queue import Claim

BATCH = 20
SECONDS = 15.0
"""For a letter, and for each step before the first."""
LEASE = timedelta(minutes=10)
"""Longer than a batch takes with a server that is as slow as it may be."""
DRAIN_SECONDS = 3.0

log = structlog.get_logger()


class SettlementError(Exception):
    """What became of a letter cannot be kept; its lease ends by itself. No OSError: it is not the mail server's."""


async def send_letters(service: Service) -> None:
    """Send what is due, until cancelled."""
    await Post(service).run()


class Post:
    """One process's share of the letters."""

    def __init__(self, service: Service) -> None:
        self._database = service.database
        self._clock = service.clock
        self._settings = service.settings
        self._origin = Origin(service.settings.public_url.rstrip("/"), service.settings.mail_from)
        self._work = service.database.alarm(queue.WORK)
        self._stopping = False

    async def run(self) -> None:
        """Take up what is due; sleep until a commit makes some, or the poll."""
        await keep_taking_up("letters", self.take_up, self._rest)

    async def take_up(self) -> int:
        """Send a batch; how many letters were in it."""
        now = self._clock.machine.now()
        claims = await queue.claim(self._database.pool, BATCH, now, now + LEASE)
        sending = asyncio.create_task(self._deliver(claims), name="letters")
        try:
            await asyncio.shield(sending)
        except asyncio.CancelledError:
            # A letter that the server has taken is noted before we go: else it would come twice.
            self._stopping = True
            await asyncio.wait({sending}, timeout=DRAIN_SECONDS)
            sending.cancel()
            raise
        return len(claims)

    async def _deliver(self, claims: list[Claim]) -> None:
        left = [claim for claim in claims if not await self._dropped(claim)]
        if left:
            await self._send(left)

    async def _rest(self, found: int) -> None:
        if found < BATCH:
            await sleep_until_woken(self._work, self._settings.poll_seconds)

    async def _dropped(self, claim: Claim) -> bool:
        why = needless(claim.letter, self._clock.now(), off=not self._settings.mail_host)
        if why is not None:
            await self._settle(claim, drop(claim.letter, why))
        return why is not None

    async def _send(self, claims: list[Claim]) -> None:
        """Send them in turn. A server that is not there fails all of them, one that goes away the letter at hand."""
        left = list(claims)
        at_hand: list[Claim] = []
        try:
            async with self._client() as smtp:
                # A server that ended the dialogue over one letter (421) has said nothing about the next.
                while left and smtp.is_connected and not self._stopping:
                    at_hand = [left.pop(0)]
                    answer = await self._answer(smtp, at_hand[0])
                    await self._judge(at_hand.pop(), answer)
        except (SMTPException, OSError) as error:
            # Not the error's own words: it may name an address.
            code = refused(error.code, str(error.message)) if isinstance(error, SMTPResponseException) else ""
            log.info("mail server away", error=type(error).__name__, code=code)
            for claim in at_hand or left:
                await self._judge(claim, Answer(taken=False, code=code))
        await queue.release(self._database.pool, left)

    async def _answer(self, smtp: SMTP, claim: Claim) -> Answer:
        """What became of one letter; raises what is not about this one: the connection, our sender, our password."""
        try:
            made = await self._written(claim)
        except ValueError:
            return Answer(taken=False, code="address not supported", final=True)
        if made is None:
            return Answer(taken=False, code="its cycle is not here")
        try:
            async with asyncio.timeout(SECONDS):
                await smtp.send_message(made)
        except SMTPRecipientsRefused as error:
            (one,) = error.recipients
            return Answer(taken=False, code=refused(one.code, one.message), final=one.code >= REJECTED)
        except SMTPDataError as error:
            return Answer(taken=False, code=refused(error.code, error.message), final=error.code >= REJECTED)
        except SMTPNotSupported:
            return Answer(taken=False, code="address not supported", final=True)
        return TAKEN

    async def _written(self, claim: Claim) -> EmailMessage | None:
        async with self._database.reading() as db:
            cycle = await store.load_cycle(db, claim.cycle)
        if cycle is None:
            return None
        stop = claim.stop if claim.letter.kind in STOPPABLE else ""
        written = write(claim.letter.kind, claim.said, cycle, self._origin, stop)
        return message(
            written,
            mail=claim.letter.mail,
            to=claim.email,
            stop=stop,
            program=cycle.charter.program.name,
            origin=self._origin,
            now=self._clock.machine.now(),
        )

    async def _judge(self, claim: Claim, answer: Answer) -> None:
        now = self._clock.machine.now()
        await self._settle(claim, settle(claim.letter, answer, now, random.random()))  # noqa: S311  (jitter)

    async def _settle(self, claim: Claim, settlement: Settlement) -> None:
        at = self._clock.machine.now()

        async def once() -> None:
            async with self._database.transaction() as tx:
                ours = await queue.settle(tx.db, claim, settlement, at)
                if ours and settlement.fact is not None:
                    tx.record(settlement.fact, cause=claim.letter.event)
                tx.note(LETTERS, result=settlement.state)

        try:
            await insist(once, self._clock.machine, at + LEASE)
        except Exception as error:
            raise SettlementError(claim.letter.mail) from error
        log.info("letter settled", mail=claim.letter.mail, state=settlement.state, why=settlement.why)

    def _client(self) -> SMTP:
        settings = self._settings
        return SMTP(
            hostname=settings.mail_host,
            port=settings.mail_port,
            local_hostname=self._origin.host,
            timeout=SECONDS,
            use_tls=settings.mail_tls == "tls",
            start_tls=settings.mail_tls == "starttls",
            username=settings.mail_user or None,
            password=settings.mail_password.get_secret_value() or None,
        )
