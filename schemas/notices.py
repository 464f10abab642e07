"""Events about subscriptions and notices, produced by notifications. They go to the log `program`."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from schemas.envelope import Event, Sealed
from schemas.exact import Value


class Endpoint(Value):
    """Block `contact` of a subscription: where its notices go."""

    url: str


class SubscriptionConfirmed(Event):
    """A subscriber answered the challenge: notices may be sent."""

    TYPE = "notifications.subscription.confirmed.v1"
    ABOUT = "subscription"

    subscription: str
    channel: Literal["webhook"]
    contact: Sealed[Endpoint] = None


class SubscriptionCancelled(Event):
    """A subscriber wants no more notices."""

    TYPE = "notifications.subscription.cancelled.v1"
    ABOUT = "subscription"

    subscription: str


class NoticeDelivered(Event):
    """A subscriber's endpoint took a notice (2xx)."""

    TYPE = "notifications.notice.delivered.v1"
    ABOUT = "subscription"

    subscription: str
    notice: str
    """The `webhook-id`, the same on every attempt."""
    event: str
    """Id of the event that the notice tells of."""
    attempts: Annotated[int, Field(ge=1)]


class NoticeFailed(Event):
    """A notice was given up after its last attempt."""

    TYPE = "notifications.notice.failed.v1"
    ABOUT = "subscription"

    subscription: str
    notice: str
    event: str
    attempts: Annotated[int, Field(ge=1)]
    reason: str


class MailSent(Event):
    """The mail server took a letter; whether anybody reads it, nobody knows."""

    TYPE = "notifications.mail.sent.v1"
    ABOUT = "mail"

    mail: str
    """The local part of its `Message-ID`, the same on every attempt."""
    event: str
    """Id of the event that the letter tells of."""
    attempts: Annotated[int, Field(ge=1)]


class MailFailed(Event):
    """A letter is not sent, or not any more."""

    TYPE = "notifications.mail.failed.v1"
    ABOUT = "mail"

    mail: str
    event: str
    attempts: Annotated[int, Field(ge=0)]
    why: Literal["bounced", "given-up", "late", "stopped", "off"]
    """The server refused it for good, none took it in time, what it tells of is over, its reader wants none, or there
    is no mail server."""
    code: str = ""
    """The server's status, such as "550 5.1.1"."""


class EndpointDisabled(Event):
    """An endpoint gets nothing more: it answered 410, or failed for five days."""

    TYPE = "notifications.endpoint.disabled.v1"
    ABOUT = "subscription"

    subscription: str
    reason: Literal["gone", "failing"]
