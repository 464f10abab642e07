"""Governments, their people and what the program makes of them: nobody is shut out, nothing is merged away."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.cycles import Account, MemberJoined, MemberLeft, MemberRoleChanged
from schemas.governments import GovernmentChanged, GovernmentConfirmed, GovernmentMerged
from services.chassis.refusal import RefusedError
from services.intake.admission import domain as admission
from services.intake.admission.domain import Invitation, Recovery
from services.intake.governments import domain
from services.intake.governments.domain import Government, Members, Role
from services.intake.registry import domain as registry
from services.intake.registry.domain import Entry
from services.intake.registry.spelling import Registration, likenesses, name_key, state_key

NOW = datetime(2012, 3, 1, 12, tzinfo=UTC)
ACCOUNT = Account(issuer="https://issuer.example", subject_claim="someone")
SPRINGFIELD = Government(
    id="g1",
    name="Springfield",
    state="Oregon",
    kind="city",
    population=59_403,
    population_source="2010 Census",
    population_year=2010,
    website="https://springfield.example",
    email_domain="springfield.example",
)
ROLES = st.sampled_from(["lead", "editor", "viewer"])
PEOPLE = st.sampled_from(["p1", "p2", "p3", "founder"])


def rule(error: pytest.ExceptionInfo[RefusedError]) -> str:
    return error.value.rule


# --- people ----------------------------------------------------------------------------------------------------------


@given(st.lists(st.tuples(PEOPLE, st.sampled_from(["join", "change", "leave", "recover"]), ROLES), max_size=30))
def test_no_joining_changing_leaving_and_recovering_leaves_a_government_without_a_lead(
    acts: list[tuple[str, str, Role]],
) -> None:
    members: Members = {"founder": "lead"}
    for person, act, role in acts:
        before = members
        try:
            event: Any = None
            if act == "join":
                event = domain.join(members, "g1", person, role, ACCOUNT)
            elif act == "recover":
                event = domain.make_lead(members, "g1", person, ACCOUNT)
            elif person in members:
                event = (
                    domain.leave(members, "g1", person)
                    if act == "leave"
                    else domain.change_role(members, "g1", person, role)
                )
        except RefusedError:
            continue
        if event is not None:
            members = domain.evolve_members(members, event)
            assert members != before
        if act == "recover":
            assert members[person] == "lead"
        assert "lead" in members.values()


def test_a_role_that_is_theirs_already_changes_nothing_and_the_last_lead_keeps_it() -> None:
    members: Members = {"p1": "lead", "p2": "editor"}
    assert domain.change_role(members, "g1", "p2", "editor") is None
    assert domain.change_role(members, "g1", "p1", "lead") is None
    assert domain.change_role(members, "g1", "p2", "viewer") == MemberRoleChanged(
        government="g1", person="p2", role="viewer"
    )
    for role in ("editor", "viewer"):
        with pytest.raises(RefusedError, match="make somebody else lead") as error:
            domain.change_role(members, "g1", "p1", role)
        assert rule(error) == "last-lead"


# --- the profile -----------------------------------------------------------------------------------------------------


def test_an_edit_says_what_was_and_what_is_and_one_that_changes_nothing_is_none() -> None:
    after, differences = domain.edit(SPRINGFIELD, {"population": 60_000, "name": "Springfield"}, NOW)
    assert differences == {"population": {"before": 59_403, "after": 60_000}}
    assert (after.population, after.revision, after.name) == (60_000, 2, "Springfield")
    assert domain.edit(SPRINGFIELD, {"name": "Springfield"}, NOW) == (SPRINGFIELD, {})


@pytest.mark.parametrize(
    ("changes", "doubted"),
    [
        ({"name": "Shelbyville"}, True),
        ({"state": "Ohio"}, True),
        ({"kind": "county"}, True),
        ({"email_domain": "shelbyville.example"}, True),
        ({"population": 1, "website": "https://new.example", "population_source": "x", "population_year": None}, False),
        ({"name": "Springfield"}, False),
    ],
    ids=str,
)
def test_only_what_was_confirmed_makes_a_confirmed_government_unconfirmed_when_it_changes(
    changes: dict[str, Any], doubted: bool
) -> None:
    confirmed = replace(SPRINGFIELD, standing="confirmed")
    _, differences = domain.edit(confirmed, changes, NOW)
    assert domain.doubt(confirmed, differences) == (GovernmentChanged(government="g1") if doubted else None)
    assert domain.doubt(SPRINGFIELD, differences) is None


def test_a_population_of_a_year_to_come_is_refused_by_program_time() -> None:
    domain.must_be_dated(2012, NOW)
    domain.must_be_dated(None, NOW)
    with pytest.raises(RefusedError, match="it is 2012") as error:
        domain.edit(SPRINGFIELD, {"population_year": 2013}, NOW)
    assert (rule(error), error.value.violations[0].field) == ("population-year", "/population_year")


# --- confirming and merging ------------------------------------------------------------------------------------------

TWIN = replace(SPRINGFIELD, id="g2")


def test_a_government_is_confirmed_once_and_not_after_it_was_merged() -> None:
    assert registry.confirm(SPRINGFIELD) == GovernmentConfirmed(government="g1")
    with pytest.raises(RefusedError) as error:
        registry.confirm(replace(SPRINGFIELD, standing="confirmed"))
    assert rule(error) == "confirmed-already"
    with pytest.raises(RefusedError, match="go on there") as error:
        registry.confirm(replace(SPRINGFIELD, standing="merged", merged_into="g2"))
    assert rule(error) == "government-merged"


def test_a_registration_is_merged_once_and_never_into_itself_or_into_a_merged_one() -> None:
    assert registry.merge(TWIN, SPRINGFIELD) == GovernmentMerged(government="g2", into="g1")
    gone = replace(TWIN, standing="merged", merged_into="g3")
    for pair, expected in (
        ((TWIN, TWIN), "merged-into-itself"),
        ((gone, SPRINGFIELD), "government-merged"),
        ((SPRINGFIELD, gone), "government-merged"),
    ):
        with pytest.raises(RefusedError) as error:
            registry.merge(*pair)
        assert rule(error) == expected


@given(
    st.dictionaries(PEOPLE, ROLES, min_size=1),
    st.dictionaries(PEOPLE, ROLES, min_size=1).map(lambda there: {**there, "kept": "lead"}),
    st.data(),
)
def test_after_a_merge_everybody_who_comes_along_has_their_highest_role_and_nobody_is_left_behind(
    leaving: Members, there: Members, data: st.DataObject
) -> None:
    left_out = data.draw(st.sets(st.sampled_from(sorted(leaving))))
    accounts = dict.fromkeys(leaving, ACCOUNT)
    old, new = leaving, there
    for event in registry.move_members(("g2", leaving), ("g1", there), accounts, left_out):
        if event.subject == "g2":
            assert isinstance(event, MemberLeft)
            old = domain.evolve_members(old, event)
        else:
            assert isinstance(event, MemberJoined | MemberRoleChanged)
            new = domain.evolve_members(new, event)
    assert old == {}
    coming = {person: role for person, role in leaving.items() if person not in left_out}
    assert new.keys() == there.keys() | coming.keys()
    for person, role in new.items():
        had = [registry.RANK[one[person]] for one in (there, coming) if person in one]
        assert registry.RANK[role] == max(had)


def test_only_people_of_the_duplicate_can_be_left_out() -> None:
    with pytest.raises(RefusedError, match="p9") as error:
        registry.move_members(("g2", {"p1": "lead"}), ("g1", {"p2": "lead"}), {"p1": ACCOUNT}, ["p9"])
    assert rule(error) == "not-a-member"


def entry(government: str, *, state: str = "draft", is_open: bool = True, cycle: str = "c1") -> Entry:
    return Entry(government, f"a-{government}", cycle, state != "draft", state == "withdrawn", is_open)


@pytest.mark.parametrize("theirs", ["draft", "submitted", "withdrawn"])
@pytest.mark.parametrize("ours", ["draft", "submitted", "withdrawn"])
@pytest.mark.parametrize("is_open", [True, False])
def test_of_two_applications_in_one_cycle_none_that_stands_is_lost(theirs: str, ours: str, is_open: bool) -> None:
    duplicate, kept = entry("g2", state=theirs, is_open=is_open), entry("g1", state=ours, is_open=is_open)
    with pytest.raises(RefusedError, match=r"Both have an application in c1: a-g1 .*, a-g2 ") as error:
        registry.must_not_collide([duplicate], [kept], [])
    assert (rule(error), error.value.status) == ("two-applications", 409)
    if is_open and theirs == "submitted":
        way = "withdrawn by its lead" if ours == "submitted" else "the other way round"
        with pytest.raises(RefusedError, match=way):
            registry.must_not_collide([duplicate], [kept], ["a-g2"])
    else:
        registry.must_not_collide([duplicate], [kept], ["a-g2"])


def test_applications_of_different_cycles_do_not_collide_and_need_no_setting_aside() -> None:
    duplicate, kept = entry("g2", cycle="c2", state="submitted"), entry("g1")
    registry.must_not_collide([duplicate], [kept], [])
    with pytest.raises(RefusedError, match="Nothing is in the way of a-g2") as error:
        registry.must_not_collide([duplicate], [kept], ["a-g2"])
    assert (rule(error), error.value.status) == ("not-to-set-aside", 422)


# --- spelling --------------------------------------------------------------------------------------------------------


def like(name: str, other: str, kind: str = "city", other_kind: str = "city", states: str = "OR|Oregon") -> str | None:
    one_state, other_state = states.split("|")
    one = Registration("1", name, one_state, kind)
    return likenesses(one, [one, Registration("2", other, other_state, other_kind)]).get("2")


@pytest.mark.parametrize(
    ("name", "other"),
    [
        ("Springfield", "springfield"),
        ("Springfield", "  The City of  SPRINGFIELD "),
        ("St. Paul", "Saint Paul"),
        ("Cañon City", "Canon City"),
        ("Coeur d’Alene", "Coeur d'Alene"),
        ("Winston-Salem", "Winston Salem"),
    ],
)
def test_names_that_are_spelled_alike_are_the_same(name: str, other: str) -> None:
    assert like(name, other) == "same"


@pytest.mark.parametrize(
    ("name", "other"),
    [
        ("Springfield", "Sprngfield"),
        ("Springfield", "Springfeild"),
        ("Springfield", "Springfield City"),
        ("Sacramento", "Sacremento"),
    ],
)
def test_near_spellings_are_near(name: str, other: str) -> None:
    assert like(name, other) == "near"


@pytest.mark.parametrize(
    ("name", "other"),
    [
        ("Springfield", "Springdale"),
        ("Salem", "North Salem"),
        ("Lake Forest", "Lake Worth"),
        ("Saint Paul", "Saint Peter"),
        ("Portland", "Eugene"),
    ],
)
def test_other_names_are_neither(name: str, other: str) -> None:
    assert like(name, other) is None


def test_one_name_is_near_in_another_kind_and_nothing_in_another_state() -> None:
    assert like("Multnomah County", "County of Multnomah", "county", "county") == "same"
    assert like("Clackamas", "Clackamas County", "city", "county") == "near"
    assert like("Springfield", "Springfield", states="Oregon|Ohio") is None
    assert like("Guadalajara", "Guadalajara", "municipio", "municipio", states="Jalisco|JALISCO") == "same"


def test_a_city_that_is_called_so_keeps_its_word() -> None:
    assert name_key("Carson City", "city") == "carson city"
    assert name_key("City of Kansas City", "city") == "kansas city"
    assert name_key("Town", "town") == "town"
    assert (state_key("WV"), state_key("west  virginia")) == ("west virginia", "west virginia")


@given(st.text(max_size=40), st.text(max_size=20))
def test_any_text_is_the_same_as_itself_and_comparing_is_mutual(name: str, other: str) -> None:
    assert like(name, name) == "same"
    assert like(name, other) == like(other, name, states="Oregon|OR")


def test_the_same_come_first_and_the_nearest_next() -> None:
    one = Registration("0", "Springfield", "Oregon", "city")
    others = [
        Registration(name, name, "Oregon", "city") for name in ("Sprngfeld", "Springfeld", "Eugene", "SPRINGFIELD")
    ]
    assert list(likenesses(one, others).items()) == [
        ("SPRINGFIELD", "same"),
        ("Springfeld", "near"),
        ("Sprngfeld", "near"),
    ]


# --- invitations and recoveries --------------------------------------------------------------------------------------

INVITATION = Invitation(
    id="i1",
    government="g1",
    role="editor",
    email="",
    invited_by="p1",
    invited_at=NOW,
    expires_at=NOW + timedelta(days=14),
)


@pytest.mark.parametrize(
    ("invitation", "at", "expected"),
    [
        (replace(INVITATION, accepted_by="p2"), NOW, "invitation-used"),
        (replace(INVITATION, accepted_by="p2", revoked=True), NOW + timedelta(days=20), "invitation-used"),
        (replace(INVITATION, revoked=True), NOW + timedelta(days=20), "invitation-revoked"),
        (INVITATION, NOW + timedelta(days=14), "invitation-expired"),
    ],
)
def test_an_invitation_that_was_used_revoked_or_ended_says_which(
    invitation: Invitation, at: datetime, expected: str
) -> None:
    with pytest.raises(RefusedError) as error:
        admission.must_be_open(invitation, at)
    assert rule(error) == expected


def test_an_invitation_holds_to_its_last_millisecond() -> None:
    admission.must_be_open(INVITATION, NOW + timedelta(days=14, milliseconds=-1))
    assert INVITATION.state(NOW) == "open"


def test_a_government_has_at_most_a_hundred_open_invitations() -> None:
    admission.must_have_room(99)
    with pytest.raises(RefusedError) as error:
        admission.must_have_room(100)
    assert rule(error) == "too-many-invitations"


def test_what_is_kept_of_a_token_does_not_give_it_away() -> None:
    assert admission.fingerprint("secret") != admission.fingerprint("secreT")
    assert b"secret" not in admission.fingerprint("secret")


@pytest.mark.parametrize(
    ("address", "shown"),
    [
        ("clerk@springfield.example", True),
        ("Clerk@SpringField.Example", True),
        ("clerk@it.springfield.example", True),
        ("clerk@evilspringfield.example", False),
        ("clerk@springfield.example.evil.example", False),
        ("springfield.example", False),
        ("clerk@example", False),
        ("", False),
    ],
)
def test_an_address_shows_a_domain_or_a_part_of_it(address: str, shown: bool) -> None:
    assert admission.shows(address, "springfield.example") is shown
    assert not admission.shows(address, "")


def test_who_leads_has_nothing_to_recover_and_a_request_is_decided_once() -> None:
    admission.must_not_lead({"p1": "editor"}, "p1")
    with pytest.raises(RefusedError) as error:
        admission.must_not_lead({"p1": "lead"}, "p1")
    assert rule(error) == "lead-already"
    asked = Recovery("r1", "g1", "p1", "springfield.example", "She retired.", NOW)
    admission.must_be_undecided(asked)
    for state in ("approved", "refused"):
        with pytest.raises(RefusedError, match=state) as error:
            admission.must_be_undecided(replace(asked, state=state))
        assert rule(error) == "recovery-decided"
