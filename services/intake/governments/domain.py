"""Who acts for a government. Pure, as `cycles.domain` is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from schemas.cycles import Account, MemberJoined, MemberLeft
from schemas.envelope import Event
from services.chassis.refusal import RefusedError

Role = Literal["lead", "editor", "viewer"]


Members = Mapping[str, Role]
"""A government's people, by person id."""


@dataclass(frozen=True)
class Government:
    """Who applies, as its people registered it."""

    id: str
    name: str
    state: str
    kind: str
    population: int
    population_source: str
    website: str


def join(members: Members, government: str, person: str, role: Role, account: Account) -> MemberJoined:
    """One more person who acts for a government."""
    if person in members:
        detail = f"This person is its {members[person]} already; to change the role, remove and add again."
        raise RefusedError("member-already", detail, field="/subject")
    return MemberJoined(government=government, person=person, role=role, private=account)


def leave(members: Members, government: str, person: str) -> MemberLeft:
    """One person less; never the last lead, who alone can let others in."""
    if [name for name, role in members.items() if role == "lead"] == [person]:
        raise RefusedError("last-lead", "This is the government's last lead: add another lead first.")
    return MemberLeft(government=government, person=person)


def evolve_members(members: Members, event: Event) -> Members:
    """A government's people after one of its events."""
    match event:
        case MemberJoined():
            return {**members, event.person: event.role}
        case MemberLeft():
            return {name: role for name, role in members.items() if name != event.person}
    raise TypeError(f"{event.TYPE} does not follow here")
