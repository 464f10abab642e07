"""Scoring's settings: those that every service has. What the program decides by stands in its charter."""

from __future__ import annotations

from services.chassis.settings import Settings


class ScoringSettings(Settings):
    """Nothing of its own."""
