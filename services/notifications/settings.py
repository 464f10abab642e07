"""Settings of notifications."""

from __future__ import annotations

from pydantic import Field

from services.chassis.settings import Settings


class NotificationsSettings(Settings):
    """How far webhooks may reach, and how many at once."""

    webhooks_allow_loopback: bool = Field(
        default=False, description="Whether a webhook may be on this machine, over http too (embedded mode only)."
    )
    webhooks_at_once: int = Field(64, description="Webhook deliveries under way at once, per process.", ge=2, le=1_000)
    subscriptions_per_person: int = Field(
        20, description="Subscriptions that one person may have pending or confirmed.", ge=1, le=10_000
    )
