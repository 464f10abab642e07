"""Settings of notifications."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, SecretStr

from services.chassis.settings import Settings


class NotificationsSettings(Settings):
    """How far webhooks may reach, and how many at once; by which server letters are sent."""

    webhooks_allow_loopback: bool = Field(
        default=False, description="Whether a webhook may be on this machine, over http too (embedded mode only)."
    )
    webhooks_at_once: int = Field(64, description="Webhook deliveries under way at once, per process.", ge=2, le=1_000)
    subscriptions_per_person: int = Field(
        20, description="Subscriptions that one person may have pending or confirmed.", ge=1, le=10_000
    )
    mail_host: str = Field("", description="The SMTP server that letters go to; empty: none are sent.")
    mail_port: int = Field(587, description="Its port.", ge=1, le=65_535)
    mail_tls: Literal["starttls", "tls", "none"] = Field(
        "starttls", description="How it is spoken to: starttls, tls (from the start, port 465), or none (tests only)."
    )
    mail_user: str = Field("", description="Who signs in there; empty: nobody.")
    mail_password: SecretStr = Field(SecretStr(""), description="With which password.")
    mail_from: str = Field("", description="The address that letters come from; empty: no-reply at CEC_PUBLIC_URL.")
