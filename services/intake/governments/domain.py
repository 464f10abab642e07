"""Governments and who acts for them. Pure, as `cycles.domain` is."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from typing import Any, Final, Literal

from schemas.cycles import Account, MemberJoined, MemberLeft, MemberRoleChanged
from schemas.envelope import Event
from schemas.governments import GovernmentChanged
from services.chassis.refusal import RefusedError

Role = Literal["lead", "editor", "viewer"]
Standing = Literal["unconfirmed", "confirmed", "merged"]

Members = Mapping[str, Role]
"""A government's people, by person id."""

PROFILE: Final = (
    "name",
    "state",
    "kind",
    "population",
    "population_source",
    "population_year",
    "website",
    "email_domain",
)
"""What its people say of a government, and may change."""

CONFIRMED: Final = frozenset({"name", "state", "kind", "email_domain"})
"""What the program confirms of it: who changes one of these is to be confirmed anew."""


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
    population_year: int | None = None
    email_domain: str = ""
    revision: int = 1
    """Of the profile, counted by its changes."""
    standing: Standing = "unconfirmed"
    merged_into: str | None = None

    @property
    def profile(self) -> dict[str, Any]:
        """What its people say of it."""
        return {name: value for name, value in asdict(self).items() if name in PROFILE}


Differences = dict[str, dict[str, Any]]
"""By field, what it was (`before`) and is (`after`)."""


def must_be_dated(population_year: int | None, now: datetime) -> None:
    """RefusedError (422) for a population that was counted in a year to come."""
    if population_year is not None and population_year > now.year:
        detail = f"The population's year, {population_year}, has not come yet: it is {now.year}."
        raise RefusedError("population-year", detail, field="/population_year", status=422)


def must_be_taken(kind: str, kinds: Collection[str]) -> None:
    """RefusedError (422) for a kind that none of the open cycles' charters lists. Where none is open, any will do."""
    if kinds and kind not in kinds:
        detail = f"No open cycle takes a {kind!r}: it is one of {', '.join(sorted(kinds))}."
        raise RefusedError("kind", detail, field="/kind", status=422)


def must_not_be_merged(government: Government) -> None:
    """RefusedError for a registration that was merged into another."""
    if government.merged_into is not None:
        detail = f"This registration was merged into {government.merged_into}: go on there."
        raise RefusedError("government-merged", detail)


def edit(before: Government, changes: Mapping[str, Any], now: datetime) -> tuple[Government, Differences]:
    """The government with another profile, and what differs. What was submitted is not touched by it."""
    must_not_be_merged(before)
    after = replace(before, **changes)
    must_be_dated(after.population_year, now)
    was, now_is = before.profile, after.profile
    found = {name: {"before": was[name], "after": now_is[name]} for name in PROFILE if was[name] != now_is[name]}
    return (replace(after, revision=before.revision + 1) if found else before), found


def doubt(before: Government, differences: Differences) -> GovernmentChanged | None:
    """What follows where a confirmed government is not any more what was confirmed."""
    if before.standing == "confirmed" and CONFIRMED & differences.keys():
        return GovernmentChanged(government=before.id)
    return None


def join(members: Members, government: str, person: str, role: Role, account: Account) -> MemberJoined:
    """One more person who acts for a government."""
    if person in members:
        detail = f"This person is its {members[person]} already: change the role there."
        raise RefusedError("member-already", detail)
    return MemberJoined(government=government, person=person, role=role, private=account)


def change_role(members: Members, government: str, person: str, role: Role) -> MemberRoleChanged | None:
    """A person in another role, None where it is theirs already; never the last lead in a lower one."""
    if members[person] == role:
        return None
    if role != "lead":
        _must_leave_a_lead(members, person)
    return MemberRoleChanged(government=government, person=person, role=role)


def leave(members: Members, government: str, person: str) -> MemberLeft:
    """One person less; never the last lead, who alone can let others in."""
    _must_leave_a_lead(members, person)
    return MemberLeft(government=government, person=person)


def make_lead(
    members: Members, government: str, person: str, account: Account
) -> MemberJoined | MemberRoleChanged | None:
    """A person as lead, whether they were one of its people or not; None for who leads already."""
    if person in members:
        return change_role(members, government, person, "lead")
    return join(members, government, person, "lead", account)


def _must_leave_a_lead(members: Members, person: str) -> None:
    if [name for name, role in members.items() if role == "lead"] == [person]:
        raise RefusedError("last-lead", "This is the government's last lead: make somebody else lead first.")


def evolve_members(members: Members, event: Event) -> Members:
    """A government's people after one of its events."""
    match event:
        case MemberJoined() | MemberRoleChanged():
            return {**members, event.person: event.role}
        case MemberLeft():
            return {name: role for name, role in members.items() if name != event.person}
    raise TypeError(f"{event.TYPE} does not follow here")
