"""What erasing a person takes here: their subscriptions end, and where these went is not known any more."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import orjson

from schemas.notices import SubscriptionCancelled, SubscriptionConfirmed
from schemas.versions import lineage
from services.chassis.sought import SealedBlock
from services.notifications import store

if TYPE_CHECKING:
    from services.chassis.database import Tx
    from services.chassis.erasure import Erasure, Outcome
    from services.chassis.service import Service


async def end_subscriptions(_service: Service, tx: Tx, wanted: Erasure, outcome: Outcome) -> None:
    """Cancel what the account subscribed to, forget the addresses, and name the sealed ones."""
    # A letter that waits is not sent to nobody.
    done = await tx.db.execute(
        "update private.mail set state = 'failed', why = 'erased', email = null, said = null, lease = null"
        " where state = 'pending' and lower(email) = any($1::text[])",
        [text.lower() for text in wanted.texts],
    )
    outcome.places["private.mail.email"] = int(done.split()[-1])
    if wanted.account is None:
        return
    names = await store.subscribed(tx.db, wanted.account.issuer, wanted.account.subject)
    for name in names:
        subscription = await store.load_subscription(tx.db, name)
        if subscription is not None and subscription.state in {"pending", "confirmed"}:
            if subscription.state == "confirmed":
                tx.record(SubscriptionCancelled(subscription=name))
            await store.save_subscription(tx.db, replace(subscription, state="cancelled"))
    await tx.db.execute("update private.subscription set url = '' where subscription = any($1::text[])", names)
    outcome.places["private.subscription.url"] = len(names)
    rows = await tx.db.fetch(
        "select id, subject, leaf from chassis.event_log where subject = any($1::text[]) and type = any($2::text[])",
        names,
        lineage(SubscriptionConfirmed.TYPE),
    )
    for event, subject, leaf in rows:
        sealed = orjson.loads(leaf)["data"]["sealed"]["contact"]
        outcome.blocks.append(SealedBlock(cycle=None, about=subject, event=event, block="contact", digest=sealed))
