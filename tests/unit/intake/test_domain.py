"""Intake's rules: what the close states is what stands, nothing enters late, and the events alone rebuild the state."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from itertools import count

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.applications import Answer, ApplicationSubmitted, ApplicationWithdrawn
from schemas.charter import charter_digest
from schemas.cycles import Account, CycleClosed, CycleDeadlineExtended, CycleOpened, MemberJoined
from schemas.envelope import Event
from schemas.exact import SetDigest
from services.chassis.refusal import RefusedError
from services.intake.applications import domain as applications
from services.intake.applications import drafts
from services.intake.applications.domain import Application
from services.intake.cycles import domain as cycles
from services.intake.cycles.domain import Cycle
from services.intake.governments import domain as governments
from services.intake.governments.domain import Government, Members, Role
from tests.applicants import SHIPPED, SMALL, complete_draft

OPENS = datetime(2011, 5, 2, 14, tzinfo=UTC)
DEADLINE = OPENS + timedelta(days=90)
SEED = bytes(range(32))
ACCOUNT = Account(issuer="https://issuer.example", subject_claim="someone")
SPRINGFIELD = Government(
    id="g1",
    name="Springfield",
    state="Oregon",
    kind="city",
    population=75_001,
    population_source="2010 Census",
    website="https://springfield.example",
)
CHARTER = cycles.parsed(SHIPPED)
DRAFT = drafts.shaped(complete_draft(CHARTER, "city"), CHARTER)


def opened(charter: str = SHIPPED, label: str = "2011-2013") -> CycleOpened:
    return cycles.open_cycle(label, charter, DEADLINE, seed=SEED, now=OPENS, taken=False, demonstration=False)


def cycle_of(charter: str = SHIPPED) -> Cycle:
    return cycles.evolve_cycle(None, opened(charter), "event-1")


def submitted(before: Application | None = None, now: datetime = OPENS) -> ApplicationSubmitted:
    return applications.submit(cycle_of(), SPRINGFIELD, "a1", before, DRAFT, attested=True, now=now)


def refusal(error: pytest.ExceptionInfo[RefusedError]) -> tuple[int, list[tuple[str, str]]]:
    return error.value.status, [(violation.rule, violation.field) for violation in error.value.violations]


# --- sequences of commands ---------------------------------------------------------------------------------------


@dataclass
class Intake:
    """One cycle as the service would keep it, on a clock that only commands move. Its schedule may come late."""

    now: datetime = OPENS
    log: list[tuple[datetime, Event]] = field(default_factory=list)
    applications: dict[str, Application] = field(default_factory=dict)
    ids: Iterator[int] = field(default_factory=count)

    def __post_init__(self) -> None:
        self.cycle = cycles.evolve_cycle(None, self.record(opened()), self.name())

    def name(self) -> str:
        return f"event-{next(self.ids)}"

    def record(self, event: Event) -> Event:
        self.log.append((self.now, event))
        return event

    def submit(self, name: str) -> None:
        before = self.applications.get(name)
        event = applications.submit(self.cycle, SPRINGFIELD, name, before, DRAFT, attested=True, now=self.now)
        self.applications[name] = applications.evolve_application(before, self.record(event), self.name())

    def withdraw(self, name: str) -> None:
        before = self.applications.get(name)
        event = applications.withdraw(self.cycle, name, before, "", now=self.now)
        self.applications[name] = applications.evolve_application(before, self.record(event), self.name())

    def extend(self, hours: int) -> None:
        event = cycles.extend_deadline(self.cycle, DEADLINE + timedelta(hours=hours), "flood", now=self.now)
        self.cycle = cycles.evolve_cycle(self.cycle, self.record(event), self.name())

    def wait(self, hours: int) -> None:
        self.now += timedelta(hours=hours)

    def close(self, by: str) -> None:
        standing = [application.submitted for application in self.applications.values() if not application.withdrawn]
        event = cycles.close_cycle(self.cycle, standing, SEED, "hand" if by == "hand" else "schedule")
        self.cycle = cycles.evolve_cycle(self.cycle, self.record(event), self.name())


NAMES = st.sampled_from(["a1", "a2", "a3"])
COMMANDS = st.one_of(
    st.tuples(st.just("submit"), NAMES),
    st.tuples(st.just("withdraw"), NAMES),
    st.tuples(st.just("extend"), st.integers(-24, 96)),
    st.tuples(st.just("wait"), st.integers(1, 40 * 24)),
    st.tuples(st.just("close"), st.sampled_from(["hand", "schedule"])),
)


@settings(max_examples=150, deadline=None)
@given(st.lists(COMMANDS, max_size=25))
def test_after_any_commands_the_close_states_exactly_what_stands_and_nothing_entered_late(
    commands: list[tuple[str, str | int]],
) -> None:
    intake = Intake()
    for command, argument in [*commands, ("close", "schedule")]:
        try:
            getattr(intake, command)(argument)
        except RefusedError:
            continue
    entered: dict[str, int] = {}
    stands: dict[str, str] = {}
    gone: set[str] = set()
    deadline, closes = DEADLINE, list[CycleClosed]()
    for number, (at, event) in enumerate(intake.log):
        match event:
            case CycleDeadlineExtended():
                assert not closes
                assert at < deadline < event.deadline
                deadline = event.deadline
            case ApplicationSubmitted():
                assert not closes
                assert at < deadline
                assert event.application not in gone
                assert event.version == entered.get(event.application, 0) + 1
                entered[event.application] = event.version
                stands[event.application] = f"event-{number}"
            case ApplicationWithdrawn():
                assert not closes
                assert at < deadline
                assert event.application in entered
                gone.add(event.application)
            case CycleClosed():
                closes.append(event)
    (closed,) = closes
    assert closed.submitted == SetDigest.of(stands[name] for name in stands.keys() - gone)


@settings(max_examples=50, deadline=None)
@given(st.lists(COMMANDS, max_size=25))
def test_the_events_alone_rebuild_cycle_and_applications(commands: list[tuple[str, str | int]]) -> None:
    intake = Intake()
    for command, argument in commands:
        try:
            getattr(intake, command)(argument)
        except RefusedError:
            continue
    cycle: Cycle | None = None
    found: dict[str, Application] = {}
    for number, (_, event) in enumerate(intake.log):
        if isinstance(event, ApplicationSubmitted | ApplicationWithdrawn):
            before = found.get(event.application)
            found[event.application] = applications.evolve_application(before, event, f"event-{number}")
        else:
            cycle = cycles.evolve_cycle(cycle, event, f"event-{number}")
    assert (cycle, found) == (intake.cycle, intake.applications)


# --- cycles ------------------------------------------------------------------------------------------------------


def test_a_cycle_opens_with_its_whole_charter_and_commits_to_its_seed() -> None:
    event = opened()
    assert event.charter == SHIPPED
    assert event.charter_sha256 == charter_digest(SHIPPED)
    assert event.assignment_commitment == sha256(SEED).hexdigest()
    assert SEED.hex() not in event.model_dump_json()


def test_the_close_reveals_the_seed_that_was_committed_to() -> None:
    event = cycles.close_cycle(cycle_of(), [], SEED, "hand")
    assert sha256(bytes.fromhex(event.assignment_seed)).hexdigest() == opened().assignment_commitment


def test_a_charter_that_does_not_hold_is_refused_with_all_its_problems() -> None:
    broken = SHIPPED.replace("weight = 25", "weight = 26", 1).replace('id = "t2"', 'id = "t1"')
    with pytest.raises(RefusedError) as error:
        opened(broken)
    status, violations = refusal(error)
    assert status == 422
    assert violations == [("charter", "/charter")] * 2
    assert "tiers[1].id" in str(error.value)
    assert "101" in str(error.value)


@pytest.mark.parametrize("label", ["", "Spring", "-2011", ".", "2011/2013", "2011-2013\n", "a" * 62, "é", "program"])
def test_a_label_that_is_no_path_or_means_another_log_is_refused(label: str) -> None:
    with pytest.raises(RefusedError) as error:
        opened(label=label)
    assert refusal(error) == (422, [("label", "/label")])


def test_a_deadline_must_lie_in_the_future_of_program_time() -> None:
    with pytest.raises(RefusedError) as error:
        cycles.open_cycle("c", SHIPPED, OPENS, seed=SEED, now=OPENS, taken=False, demonstration=False)
    assert refusal(error) == (422, [("deadline-not-future", "/deadline")])


@pytest.mark.parametrize("later", [timedelta(), timedelta(days=-1)])
def test_a_deadline_only_moves_to_a_later_instant(later: timedelta) -> None:
    with pytest.raises(RefusedError) as error:
        cycles.extend_deadline(cycle_of(), DEADLINE + later, "flood", now=OPENS)
    assert error.value.rule == "deadline-not-later"


def test_a_passed_deadline_cannot_be_extended_even_before_the_schedule_closes_the_cycle() -> None:
    with pytest.raises(RefusedError) as error:
        cycles.extend_deadline(cycle_of(), DEADLINE + timedelta(days=1), "flood", now=DEADLINE)
    assert error.value.rule == "deadline-passed"


def test_a_closed_cycle_takes_nothing_even_before_its_deadline() -> None:
    closed = replace(cycle_of(), closed=True)
    with pytest.raises(RefusedError, match="closed by hand before its deadline, 2011-07-31T14:00:00") as error:
        cycles.must_be_open(closed, OPENS)
    assert error.value.rule == "deadline-passed"
    with pytest.raises(RefusedError, match="closed already"):
        cycles.close_cycle(closed, [], SEED, "hand")


# --- people ------------------------------------------------------------------------------------------------------

PEOPLE = st.sampled_from(["p1", "p2", "p3"])


@given(st.lists(st.tuples(PEOPLE, st.sampled_from([None, "lead", "editor", "viewer"])), max_size=20))
def test_a_government_never_loses_its_last_lead(changes: list[tuple[str, Role | None]]) -> None:
    members: Members = {"founder": "lead"}
    for person, role in [*changes, ("founder", None)]:
        try:
            if role is None:
                members = governments.evolve_members(members, governments.leave(members, "g1", person))
            else:
                members = governments.evolve_members(members, governments.join(members, "g1", person, role, ACCOUNT))
        except RefusedError:
            continue
        assert "lead" in members.values()


def test_a_person_joins_once_and_their_account_is_sealed() -> None:
    event = governments.join({}, "g1", "p1", "editor", ACCOUNT)
    assert isinstance(event, MemberJoined)
    assert event.blocks() == {"private": ACCOUNT.model_dump()}
    with pytest.raises(RefusedError) as error:
        governments.join({"p1": "editor"}, "g1", "p1", "lead", ACCOUNT)
    assert error.value.rule == "member-already"


# --- submitting --------------------------------------------------------------------------------------------------


def test_a_submission_holds_who_applies_with_its_tier_and_a_block_for_every_criterion() -> None:
    event = submitted()
    assert event.identity is not None
    assert (event.identity.name, event.identity.tier, event.version) == ("Springfield", "t2", 1)
    every = {criterion.id for area in CHARTER.areas for criterion in area.criteria}
    assert {f"answers/{name}" for name in every} | {"identity", "claims", "contact"} == event.blocks().keys()


def test_criteria_of_other_kinds_and_charters_without_tiers_leave_empty_values_not_gaps() -> None:
    charter = cycles.parsed(SMALL)
    province = replace(SPRINGFIELD, kind="provincia")
    draft = drafts.shaped(complete_draft(charter, "provincia"), charter)
    event = applications.submit(cycle_of(SMALL), province, "a1", None, draft, attested=True, now=OPENS)
    assert event.identity is not None
    assert event.identity.tier == ""
    assert Answer.model_validate(event.blocks()["answers/mostrador"]) == Answer()


def test_an_amendment_is_the_next_version() -> None:
    first = applications.evolve_application(None, submitted(), "s1")
    second = applications.evolve_application(first, submitted(first), "s2")
    assert (first.version, first.submitted) == (1, "s1")
    assert (second.version, second.submitted) == (2, "s2")


def test_the_last_millisecond_is_in_time_and_the_deadline_itself_is_late() -> None:
    assert submitted(now=DEADLINE - timedelta(milliseconds=1)).version == 1
    with pytest.raises(RefusedError, match="2011-07-31T14:00:00") as error:
        submitted(now=DEADLINE)
    assert refusal(error) == (409, [("deadline-passed", "")])


def test_a_draft_with_gaps_and_no_attestation_is_refused_with_all_of_it_at_once() -> None:
    with pytest.raises(RefusedError) as error:
        applications.submit(cycle_of(), SPRINGFIELD, "a1", None, drafts.Draft(), attested=False, now=OPENS)
    status, violations = refusal(error)
    assert status == 422
    rules = [rule for rule, _ in violations]
    assert rules.count("unanswered") == 29
    assert rules.count("missing-fact") == sum(fact.required for fact in CHARTER.facts)
    assert rules.count("missing-contact") == 3
    assert {"published-service-delivery", "not-attested"} <= set(rules)


@pytest.mark.parametrize(
    ("government", "says"),
    [
        (replace(SPRINGFIELD, kind="school-district"), "school-district cannot apply"),
        (replace(SPRINGFIELD, kind="provincia"), "city, town"),
    ],
)
def test_a_kind_that_the_charter_does_not_name_cannot_apply(government: Government, says: str) -> None:
    with pytest.raises(RefusedError, match=says):
        applications.must_be_eligible(cycle_of(), government)


def test_a_population_outside_all_tiers_cannot_apply() -> None:
    limited = SHIPPED.replace("min = 300001", "min = 300001\nmax = 400000")
    applications.must_be_eligible(cycle_of(limited), replace(SPRINGFIELD, population=400_000))
    with pytest.raises(RefusedError, match="no tier"):
        applications.must_be_eligible(cycle_of(limited), replace(SPRINGFIELD, population=400_001))


def test_what_was_withdrawn_stays_withdrawn_and_what_was_never_submitted_cannot_be() -> None:
    first = applications.evolve_application(None, submitted(), "s1")
    gone = applications.evolve_application(first, applications.withdraw(cycle_of(), "a1", first, "", now=OPENS), "w1")
    assert gone.submitted == "s1"
    for command in (
        lambda: submitted(gone),
        lambda: applications.must_be_editable(cycle_of(), gone, OPENS),
        lambda: applications.withdraw(cycle_of(), "a1", gone, "", now=OPENS),
    ):
        with pytest.raises(RefusedError) as error:
            command()
        assert error.value.rule == "withdrawn"
    with pytest.raises(RefusedError) as error:
        applications.withdraw(cycle_of(), "a1", None, "", now=OPENS)
    assert error.value.rule == "not-submitted"


def test_after_the_deadline_a_withdrawal_goes_by_the_board() -> None:
    first = applications.evolve_application(None, submitted(), "s1")
    with pytest.raises(RefusedError, match="request to the board") as error:
        applications.withdraw(cycle_of(), "a1", first, "", now=DEADLINE)
    assert refusal(error) == (409, [("deadline-passed", "")])


def test_who_is_too_late_for_a_cycle_that_was_closed_by_hand_is_not_told_that_its_deadline_passed() -> None:
    first = applications.evolve_application(None, submitted(), "s1")
    with pytest.raises(RefusedError, match=r"closed by hand before its deadline.*request to the board"):
        applications.withdraw(replace(cycle_of(), closed=True), "a1", first, "", now=OPENS)
