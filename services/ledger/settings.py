"""Settings of the ledger."""

from __future__ import annotations

from services.chassis.settings import Settings


class LedgerSettings(Settings):
    """Nothing beyond what every service has: `var/keys/log.key` signs, `public_url` names what opens from now on."""
