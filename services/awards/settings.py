"""Settings of awards."""

from __future__ import annotations

from services.chassis.settings import Settings


class AwardsSettings(Settings):
    """Nothing beyond what every service has: the rules are the charter's."""
