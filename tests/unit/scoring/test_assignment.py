"""The draw: never a conflict, never over the cap, found wherever one exists, even, and the same for everyone."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from hashlib import sha256
from itertools import combinations, product
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.scoring.assignment import ImpossibleError, assign

Candidates = dict[str, frozenset[str]]


@st.composite
def draws(draw: st.DrawFn, *, applications: int = 12, reviewers: int = 10) -> tuple[Candidates, int, int]:
    """Candidates by application, reviewers per application, applications per reviewer."""
    pool = [f"r{n}" for n in range(draw(st.integers(1, reviewers)))]
    names = [f"a{n}" for n in range(draw(st.integers(0, applications)))]
    candidates = {name: frozenset(draw(st.sets(st.sampled_from(pool)))) for name in names}
    return candidates, draw(st.integers(1, 3)), draw(st.integers(1, 4))


small = draws(applications=4, reviewers=4)
seeds = st.binary(min_size=32, max_size=32)


def drawn(seed: bytes, candidates: Mapping[str, Collection[str]], each: int, most: int) -> dict[str, list[str]] | str:
    """The draw, or why there is none."""
    try:
        return assign(seed, candidates, each=each, most=most)
    except ImpossibleError as shortage:
        return str(shortage)


def loads(panels: dict[str, list[str]]) -> Counter[str]:
    return Counter(reviewer for panel in panels.values() for reviewer in panel)


def every_draw(candidates: Candidates, each: int, most: int) -> Iterator[Counter[str]]:
    """The loads of every draw there is, by trying all of them."""
    for panels in product(*(combinations(sorted(found), each) for found in candidates.values())):
        counted = Counter(reviewer for panel in panels for reviewer in panel)
        if all(load <= most for load in counted.values()):
            yield counted


@given(case=draws(), seed=seeds)
def test_every_application_gets_its_count_of_reviewers_without_a_conflict_and_nobody_more_than_the_cap(
    case: tuple[Candidates, int, int], seed: bytes
) -> None:
    candidates, each, most = case
    try:
        panels = assign(seed, candidates, each=each, most=most)
    except ImpossibleError:
        return
    assert set(panels) == set(candidates)
    for application, panel in panels.items():
        assert len(panel) == len(set(panel)) == each
        assert set(panel) <= candidates[application]
    assert all(load <= most for load in loads(panels).values())


@given(case=small, seed=seeds)
def test_a_draw_is_found_exactly_where_trying_all_of_them_finds_one_and_none_is_more_even(
    case: tuple[Candidates, int, int], seed: bytes
) -> None:
    candidates, each, most = case
    unevenness = [sum(load**2 for load in counted.values()) for counted in every_draw(candidates, each, most)]
    if not unevenness:
        with pytest.raises(ImpossibleError):
            assign(seed, candidates, each=each, most=most)
        return
    panels = assign(seed, candidates, each=each, most=most)
    assert sum(load**2 for load in loads(panels).values()) == min(unevenness)


@given(count=st.integers(1, 15), reviewers=st.integers(3, 12), seed=seeds)
def test_without_conflicts_loads_differ_by_at_most_one(count: int, reviewers: int, seed: bytes) -> None:
    pool = [f"r{n}" for n in range(reviewers)]
    counted = loads(assign(seed, {f"a{n}": pool for n in range(count)}, each=3, most=15))
    assert max(counted[name] for name in pool) - min(counted[name] for name in pool) <= 1


@given(case=draws(), seed=seeds, random=st.randoms(use_true_random=False))
def test_the_order_in_which_applications_and_reviewers_come_does_not_matter(
    case: tuple[Candidates, int, int], seed: bytes, random: Random
) -> None:
    candidates, each, most = case
    names = sorted(candidates)
    shuffled = {
        name: random.sample(sorted(candidates[name]), len(candidates[name]))
        for name in random.sample(names, len(names))
    }
    assert drawn(seed, shuffled, each, most) == drawn(seed, candidates, each, most)


def test_where_nothing_is_contended_an_application_gets_the_reviewers_of_the_lowest_ranks() -> None:
    seed, pool = bytes(range(32)), [f"r{n}" for n in range(8)]
    ranked = sorted(pool, key=lambda name: sha256(seed + f"a{name}".encode()).hexdigest())
    assert assign(seed, {"a": pool}, each=3, most=6) == {"a": ranked[:3]}


def test_another_seed_draws_otherwise() -> None:
    candidates = {f"a{n}": [f"r{m}" for m in range(12)] for n in range(10)}
    assert len({str(assign(bytes([n]) * 32, candidates, each=3, most=6)) for n in range(5)}) == 5


def test_a_draw_stays_what_it_was_when_it_was_first_published() -> None:
    candidates = {"north": ["r1", "r2", "r3"], "south": ["r2", "r3", "r4"], "west": ["r1", "r3", "r4"]}
    assert assign(b"published seed".ljust(32, b"."), candidates, each=2, most=2) == {
        "north": ["r3", "r1"],
        "south": ["r2", "r4"],
        "west": ["r1", "r4"],
    }


def test_what_is_missing_is_said_in_numbers() -> None:
    with pytest.raises(ImpossibleError) as shortage:
        assign(b"", {"a": ["r1", "r2"], "b": ["r1", "r2"], "c": ["r3", "r4", "r5"]}, each=3, most=6)
    assert str(shortage.value) in {
        f"{short} of 3 applications need {3 * short} reviews, but the 2 reviewers without a conflict with them can give"
        f" {2 * short}: enrol at least 1 more without one"
        for short in (1, 2)
    }
    with pytest.raises(ImpossibleError, match="need 3 reviews, but the 0 reviewers"):
        assign(b"", {"a": []}, each=3, most=6)


@given(case=small, seed=seeds)
def test_as_many_more_free_reviewers_as_it_asks_for_are_never_more_than_needed(
    case: tuple[Candidates, int, int], seed: bytes
) -> None:
    candidates, each, most = case
    try:
        assign(seed, candidates, each=each, most=most)
    except ImpossibleError as shortage:
        asked = int(str(shortage).rsplit("at least ", 1)[1].split(" ", 1)[0])
        assert asked > 0
        fewer = {f"new{n}" for n in range(asked - 1)}
        with pytest.raises(ImpossibleError):
            assign(seed, {name: found | fewer for name, found in candidates.items()}, each=each, most=most)
