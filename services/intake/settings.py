"""Intake's settings."""

from __future__ import annotations

from services.chassis.settings import Settings


class IntakeSettings(Settings):
    """What every service has, and nothing besides."""
