"""Events about a government as such, produced by intake. They go to the log `program`, and name nobody."""

from __future__ import annotations

from schemas.envelope import Event


class GovernmentConfirmed(Event):
    """The program found a government to be what its people registered."""

    TYPE = "intake.government.confirmed.v1"
    ABOUT = "government"

    government: str


class GovernmentChanged(Event):
    """A confirmed government's name, state, kind or e-mail domain changed: as it stands, nobody has confirmed it."""

    TYPE = "intake.government.changed.v1"
    ABOUT = "government"

    government: str


class GovernmentMerged(Event):
    """A government was registered twice: its people and drafts are now the other one's, `into`."""

    TYPE = "intake.government.merged.v1"
    ABOUT = "government"

    government: str
    into: str
