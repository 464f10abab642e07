"""Subscriptions over HTTP: for any person who is signed in, each seeing only its own."""

from typing import Annotated, Any

from fastapi import APIRouter, Path, Query
from pydantic import BaseModel, ConfigDict, Field

from schemas.envelope import Instant
from services.chassis.auth import Principal
from services.chassis.database import Connection
from services.chassis.ids import opaque_id, secret
from services.chassis.outbound import OutboundRefused, outbound
from services.chassis.problems import not_found
from services.chassis.refusal import RefusedError
from services.chassis.web import Asked, CommandRoute, Reading, SignedIn, Writing
from services.chassis.webhooks import PRIVATE_PREFIX, new_secret, public_key, sign
from services.notifications import backlog, domain, notice, store
from services.notifications.domain import Filters, State, Subscription
from services.notifications.mail import api as mail

router = APIRouter(prefix="/v1", route_class=CommandRoute)

router.include_router(mail.router)

PAGE = 100
Id = Annotated[str, Path(pattern=r"^[0-9a-f-]{36}$")]
Cursor = Annotated[int | None, Query(ge=1, le=2**63 - 1)]


class NewSubscription(BaseModel):
    """Where notices shall go, signed with `secret`: `whsec_…` (base64 of 24 to 64 bytes), `whsk_…`, or a new one."""

    model_config = ConfigDict(extra="forbid")

    url: Annotated[str, Field(max_length=2_048)]
    secret: Annotated[str, Field(pattern=r"^whs(ec|k)_[A-Za-z0-9+/]{32,86}={0,2}$")] | None = None
    filters: Filters = Filters()


class SubscriptionView(BaseModel):
    """A subscription as it stands; `reason` says why it failed or was disabled."""

    subscription: str
    state: State
    reason: str
    url: str
    filters: Filters
    created_at: Instant


class Subscribed(SubscriptionView):
    """A new subscription; its endpoint is challenged at once."""

    secret: str | None = None
    """Where it was made here: shown this once."""
    public_key: str | None = None
    """For a `whsk_…` secret: the `whpk_…` that verifies its signatures."""


class Subscriptions(BaseModel):
    """Newest first. `next` is the cursor of the following page, None on the last."""

    items: list[SubscriptionView]
    next: int | None


class AttemptView(BaseModel):
    """One attempt, at machine time. `status` None: there was no answer; `reason` empty: it was delivered."""

    notice: str
    """The `webhook-id`."""
    event: str
    type: str
    attempt: int
    at: Instant
    status: int | None
    reason: str
    next_attempt: Instant | None


class Attempts(BaseModel):
    """Newest first. `next` is the cursor of the following page, None on the last."""

    items: list[AttemptView]
    next: int | None


class Replayed(BaseModel):
    """A notice that is sent again, under its old `webhook-id`."""

    notice: str
    event: str
    type: str
    state: str = "pending"


@router.post("/subscriptions", status_code=201, response_model_exclude_none=True)
async def subscribe(body: NewSubscription, tx: Writing, who: SignedIn, service: Asked) -> Subscribed:
    """Ask for notices. They begin once the endpoint has answered its challenge."""
    _check_url(body.url, allow_loopback=service.settings.webhooks_allow_loopback)
    key = body.secret or new_secret()
    public = _check_secret(key)
    domain.subscribe(await store.count_live(tx.db, who), service.settings.subscriptions_per_person)
    name, now = opaque_id(), service.clock.machine.now()
    await store.insert_subscription(tx.db, who, name, url=body.url, secret=key, filters=body.filters, now=now)
    challenge = notice.challenge(opaque_id(), name, secret())
    await backlog.send(tx, [challenge], [(name, challenge)])
    return Subscribed(
        subscription=name,
        state="pending",
        reason="",
        url=body.url,
        filters=body.filters,
        created_at=now,
        secret=None if body.secret else key,
        public_key=public,
    )


@router.get("/subscriptions")
async def list_subscriptions(db: Reading, who: SignedIn, cursor: Cursor = None) -> Subscriptions:
    """One's own subscriptions, also those that ended."""
    rows = await store.owned(db, who, before=cursor, limit=PAGE)
    return Subscriptions(items=[_view(row) for row in rows], next=_next(rows))


@router.get("/subscriptions/{subscription}")
async def show_subscription(subscription: Id, db: Reading, who: SignedIn) -> SubscriptionView:
    """One of one's own subscriptions."""
    return await _shown(db, who, subscription)


@router.delete("/subscriptions/{subscription}")
async def cancel_subscription(subscription: Id, tx: Writing, who: SignedIn) -> SubscriptionView:
    """Want no more notices; what is on its way is dropped."""
    found = await _own(tx.db, who, subscription)
    for event in domain.cancel(found):
        tx.record(event)
        found = domain.evolve(found, event)
    await store.save_subscription(tx.db, found)
    return await _shown(tx.db, who, subscription)


@router.get("/subscriptions/{subscription}/attempts")
async def list_attempts(subscription: Id, db: Reading, who: SignedIn, cursor: Cursor = None) -> Attempts:
    """Every attempt that was made for one of one's own subscriptions, the challenge included."""
    await _shown(db, who, subscription)
    rows = await backlog.attempts(db, subscription, before=cursor, limit=PAGE)
    items = [AttemptView(attempt=row["number"], next_attempt=row["next_at"], **dict(row)) for row in rows]
    return Attempts(items=items, next=_next(rows))


@router.post("/subscriptions/{subscription}/notices/{notice_id}/replay", status_code=202)
async def replay_notice(subscription: Id, notice_id: Id, tx: Writing, who: SignedIn) -> Replayed:
    """Have a notice sent again, delivered or not."""
    domain.replay(await _own(tx.db, who, subscription))
    row = await backlog.replay(tx, subscription, notice_id)
    if row is None:
        raise not_found()
    return Replayed(**dict(row))


def _check_url(url: str, *, allow_loopback: bool) -> None:
    try:
        outbound(allow_loopback=allow_loopback).admit(url)
    except OutboundRefused as error:
        raise RefusedError("url", f"This address cannot be used: {error}.", field="/url", status=422) from error


def _check_secret(key: str) -> str | None:
    """Refuse a malformed secret; the public key of a `whsk_…`."""
    try:
        sign([key], "check", 0, b"")
        return public_key(key) if key.startswith(PRIVATE_PREFIX) else None
    except ValueError as error:
        raise RefusedError("secret", f"{error}.", field="/secret", status=422) from error


async def _own(db: Connection, who: Principal, name: str) -> Subscription:
    found = await store.load_subscription(db, name, who)
    if found is None:
        raise not_found()
    return found


async def _shown(db: Connection, who: Principal, name: str) -> SubscriptionView:
    rows = await store.owned(db, who, name=name)
    if not rows:
        raise not_found()
    return _view(rows[0])


def _view(row: Any) -> SubscriptionView:  # noqa: ANN401  (a row of `store.owned`)
    return SubscriptionView.model_validate(dict(row))


def _next(rows: list[Any]) -> int | None:
    return rows[-1]["position"] if len(rows) == PAGE else None
