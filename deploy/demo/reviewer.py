"""A reviewer of the demonstration, who reads over HTTP and hands in over HTTP or as signed commands."""

from __future__ import annotations

from typing import TYPE_CHECKING

from joserfc.jwk import OKPKey

from schemas.reviews import ReviewBody, ReviewCommand
from schemas.topics import COMMANDS
from services.chassis.ids import opaque_id
from services.scoring.commands import prove, sign

if TYPE_CHECKING:
    from datetime import datetime

    from aiokafka import AIOKafkaProducer

    from deploy.demo.calls import Person


class Reviewer:
    """Id in the cycle, token, key where it signs, and its assignments."""

    def __init__(self, number: int, name: str, person: Person) -> None:
        self.number = number
        self.name = name
        self.person = person
        self.key: OKPKey | None = None
        self.reviews: dict[str, str] = {}

    async def register_key(self, cycle: str, now: datetime) -> None:
        """Make a key and register it with a proof of its possession."""
        key = OKPKey.generate_key("Ed25519", auto_kid=True)
        proof = prove(key, self.name, int(now.timestamp()))
        body = {"cycle": cycle, "jwk": key.as_dict(private=False), "proof": proof}
        await self.person.post("/scoring/v1/me/keys", body)
        self.key = key

    async def send(self, body: ReviewBody, cycle: str, kafka: AIOKafkaProducer, now: datetime) -> None:
        """Hand a review in: over HTTP, or as a signed command where there is a key."""
        if self.key is None:
            await self.person.post(f"/scoring/v1/cycles/{cycle}/reviews", body.model_dump(mode="json"))
            return
        issued = int(now.timestamp())
        command = ReviewCommand(
            aud="scoring.submissions.v1",
            command_id=opaque_id(),
            cycle=cycle,
            sub=self.name,
            iat=issued,
            exp=issued + 600,
            body=body,
        )
        await kafka.send_and_wait(COMMANDS.name, sign(command, self.key).encode(), key=body.application.encode())
