"""A cycle until its reviewing begins: what opens and closes it, which version stands, and whom a conflict bars."""

from __future__ import annotations

from dataclasses import replace
from hashlib import sha256
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from schemas.applications import Answer, ApplicationSubmitted, ApplicationWithdrawn, Claims, Contact, Identity
from schemas.charter import Charter, charter_digest
from schemas.cycles import CycleClosed, CycleOpened
from schemas.exact import SetDigest
from schemas.reviews import Account, Reviewer
from schemas.screening import CycleScreened
from services.scoring.assignment import ImpossibleError
from services.scoring.cycle import (
    Closing,
    ContradictionError,
    Cycle,
    assign_reviewers,
    close_cycle,
    end_screening,
    enroll,
    open_cycle,
    supersedes,
    withdraw,
)
from tests.screened import SCREENED, UNSCREENED

PROGRAMS = Path(__file__).resolve().parents[3] / "deploy" / "programs"
TEXT = UNSCREENED
SHIPPED = Charter.parse(TEXT)
OTHER = Charter.parse((PROGRAMS / "servicio-claro.toml").read_text(encoding="utf-8"))


def cycle(charter: Charter = SHIPPED, versions: tuple[str, ...] = (), **changes: Any) -> Cycle:
    closing = Closing("closed", bytes(32), SetDigest.of(versions))
    return replace(Cycle("c", charter, "opened", sha256(bytes(32)).hexdigest(), closing), **changes)


def opened(text: str = TEXT, **changes: Any) -> CycleOpened:
    event: dict[str, Any] = {
        "cycle": "c",
        "program": "p",
        "charter": text,
        "charter_sha256": charter_digest(text),
        "deadline": "2011-08-01T00:00:00Z",
        "assignment_commitment": sha256(bytes(32)).hexdigest(),
    }
    return CycleOpened.model_validate(event | changes)


def test_a_charter_that_is_not_what_its_digest_says_opens_no_cycle() -> None:
    assert open_cycle(opened(), "e").charter == SHIPPED
    with pytest.raises(ContradictionError, match="SHA-256"):
        open_cycle(opened(charter_sha256="0" * 64), "e")


def test_only_the_seed_that_was_committed_to_closes_a_cycle() -> None:
    before = open_cycle(opened(), "e")
    event = CycleClosed(cycle="c", submitted=SetDigest.of(["a-1"]), assignment_seed=bytes(32).hex(), closed_by="hand")
    after = close_cycle(before, event, "closing")
    assert after.closing == Closing("closing", bytes(32), SetDigest.of(["a-1"]))
    with pytest.raises(ContradictionError, match="committed"):
        close_cycle(before, event.model_copy(update={"assignment_seed": "01" * 32}), "closing")


def test_where_a_cycle_stands() -> None:
    both = cycle(versions=("a-2", "b-1"))
    assert replace(both, closing=None).state(["a-1"], all_scored=False) == "open"
    for early in (["a-2"], ["a-1", "b-1"], ["a-2", "b-1", "c-1"]):
        assert both.state(early, all_scored=False) == "waiting-for-applications"
    assert both.state(["b-1", "a-2"], all_scored=False) == "waiting-for-reviewers"
    assert replace(both, assigned=True).state(["a-2", "b-1"], all_scored=False) == "assigned"
    assert replace(both, assigned=True).state(["a-2", "b-1"], all_scored=True) == "scored"


def names_of(found: Cycle, applications: dict[str, str], reviewers: dict[str, list[str]]) -> dict[str, set[str]]:
    aliases = map(str, count())
    made = assign_reviewers(found, applications, reviewers, lambda: next(aliases))
    assert len({event.review for event in made}) == len(made)
    panels: dict[str, set[str]] = {}
    for event in made:
        assert event.private is not None
        panels.setdefault(event.application, set()).add(event.private.reviewer)
    return panels


def test_no_reviewer_gets_an_application_of_a_state_of_theirs_where_the_charter_says_so() -> None:
    reviewers = {"r1": ["Ohio", "Iowa"], "r2": [" ohio"], "r3": [], "r4": ["Utah"], "r5": ["Maine"]}
    panels = names_of(cycle(), {"a": "Ohio", "b": "Utah"}, reviewers)
    assert panels["a"] == {"r3", "r4", "r5"}
    assert "r4" not in panels["b"]
    assert OTHER.conflicts.same_state is False
    assert names_of(cycle(OTHER), {"a": "Ohio"}, {"r1": ["Ohio"], "r2": ["Ohio"]}) == {"a": {"r1", "r2"}}


def test_too_few_reviewers_are_said_and_nothing_is_assigned() -> None:
    with pytest.raises(ImpossibleError, match="enrol at least 1 more"):
        names_of(cycle(), {"a": "Ohio"}, {"r1": [], "r2": [], "r3": ["OHIO"]})


def test_an_enrolment_keeps_states_once_and_trimmed() -> None:
    account = Account(issuer="https://id.example", subject="r-1")
    event = enroll(cycle(), "r", ["Utah ", "Utah", " Iowa", " "], account)
    assert event.private == Reviewer(states=["Iowa", "Utah"], account=account)


def submitted(version: int = 1) -> ApplicationSubmitted:
    identity = Identity(
        government="g",
        name="Town",
        state="Ohio",
        kind="city",
        population=9,
        population_source="census",
        website="https://t.example",
        tier="T1",
    )
    return ApplicationSubmitted(
        cycle="c",
        application="a",
        version=version,
        identity=identity,
        claims=Claims(facts={}, assumed=[], metrics=[]),
        answers={"crm": Answer(statement="yes")},
        contact=Contact(official="o", title="t", email="o@t.example"),
    )


def test_the_highest_version_stands_whenever_it_comes() -> None:
    assert supersedes(None, submitted(), seated=False)
    assert supersedes(1, submitted(2), seated=False)
    assert not supersedes(2, submitted(2), seated=False)
    assert not supersedes(2, submitted(1), seated=False)


def test_no_version_can_come_after_reviewers_were_assigned() -> None:
    with pytest.raises(ContradictionError, match="application a: version 2 is not in the set that was closed"):
        supersedes(1, submitted(2), seated=True)


@pytest.mark.parametrize("block", ["identity", "claims", "answers"])
def test_an_application_that_cannot_be_read_is_no_application(block: str) -> None:
    with pytest.raises(ContradictionError, match="not opened"):
        supersedes(None, submitted().model_copy(update={block: None}), seated=False)


def test_what_closing_counted_is_not_withdrawn() -> None:
    event = ApplicationWithdrawn(cycle="c", application="a")
    withdraw(event, seated=False)
    with pytest.raises(ContradictionError, match="cannot be withdrawn"):
        withdraw(event, seated=True)


def test_a_cycle_without_applications_has_nothing_left_to_assign() -> None:
    seed = bytes(32)
    opened = replace(cycle(closing=None), commitment=sha256(seed).hexdigest())
    event = CycleClosed(cycle="c", submitted=SetDigest.of([]), assignment_seed=seed.hex(), closed_by="hand")
    assert close_cycle(opened, event, "e").assigned


def test_where_the_charter_has_a_screening_its_end_says_what_is_reviewed() -> None:
    before = cycle(Charter.parse(SCREENED), ("a-1", "b-1"))
    assert before.state(["a-1", "b-1"], all_scored=False) == "waiting-for-screening"
    assert not before.has_all(["a-1", "b-1"])
    after = end_screening(before, CycleScreened(cycle="c", eligible=SetDigest.of(["b-1"])))
    assert after.has_all(["b-1"])
    assert not after.has_all(["a-1", "b-1"])
    assert not after.assigned
    assert end_screening(before, CycleScreened(cycle="c", eligible=SetDigest.of([]))).assigned


def test_a_screening_that_the_charter_does_not_have_cannot_end() -> None:
    with pytest.raises(ContradictionError, match="has no screening"):
        end_screening(cycle(), CycleScreened(cycle="c", eligible=SetDigest.of([])))
