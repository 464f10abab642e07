"""Canonical JSON: the fast path equals the reference, and what has no canonical form is refused."""

import json
from pathlib import Path
from typing import Any

import pytest
import rfc8785
from hypothesis import given
from hypothesis import strategies as st

from schemas.canonical import NotCanonicalError, canonical
from schemas.exact import SAFE_INTEGER

VECTORS = Path(__file__).resolve().parents[3] / "shared" / "vectors" / "rfc8785-jcs"

scalars = st.none() | st.booleans() | st.text() | st.integers(-SAFE_INTEGER, SAFE_INTEGER)
keys = st.text(st.characters(max_codepoint=127))
values = st.recursive(scalars, lambda inner: st.lists(inner) | st.dictionaries(keys, inner), max_leaves=20)


@given(values)
def test_the_fast_path_writes_the_bytes_of_the_reference(value: Any) -> None:
    assert canonical(value) == rfc8785.dumps(value)


@given(values)
def test_canonical_bytes_read_back_as_the_same_value(value: Any) -> None:
    assert json.loads(canonical(value)) == value


@pytest.mark.parametrize(
    "value",
    [1.5, float("nan"), SAFE_INTEGER + 1, -SAFE_INTEGER - 1, {"ключ": 1}, {1: 2}, (1,), b"x", {"a": [0.1]}, "\ud800"],
    ids=repr,
)
def test_what_has_no_canonical_form_is_refused(value: Any) -> None:
    with pytest.raises(NotCanonicalError):
        canonical(value)


def vectors() -> list[tuple[Any, bytes]]:
    """Values with their canonical bytes: as RFC 8785 prints them, and gathered ones where these lie at hand.

    The escapes of its section 3.2.2.2; the order of section 3.2.3, restricted to ASCII keys.
    """
    printed = {"string": '€$\u000f\nA\'B"\\\\"/', "literals": [None, True, False]}
    found = [(printed, '{"literals":[null,true,false],"string":"€$\\u000f\\nA\'B\\"\\\\\\\\\\"/"}'.encode())]
    for file in sorted((VECTORS / "input").glob("*.json")) if VECTORS.exists() else []:
        value = json.loads(file.read_text(encoding="utf-8"))
        found.append((value, (VECTORS / "output" / file.name).read_bytes().strip()))
    return found


def test_published_vectors_that_fit_our_subset_agree() -> None:
    agreed = 0
    for value, published in vectors():
        try:
            ours = canonical(value)
        except NotCanonicalError:
            continue
        agreed += 1
        assert ours == published
    assert agreed > VECTORS.exists()


def slowly(value: Any) -> None:
    """What `canonical` refuses, said plainly: one value after the other, each in its own words."""
    if value is None or isinstance(value, bool | str):
        return
    if type(value) is int and -SAFE_INTEGER <= value <= SAFE_INTEGER:
        return
    if type(value) is list:
        for item in value:
            slowly(item)
    elif type(value) is dict:
        for key, item in value.items():
            if not (isinstance(key, str) and key.isascii()):
                raise NotCanonicalError(key)
            slowly(item)
    else:
        raise NotCanonicalError(value)


odd = scalars | st.floats() | st.integers() | st.binary() | st.just(())
anything = st.recursive(
    odd, lambda inner: st.lists(inner) | st.dictionaries(keys | st.text() | st.integers(), inner), max_leaves=20
)


@given(anything)
def test_exactly_what_has_no_canonical_form_is_refused(value: Any) -> None:
    try:
        slowly(value)
    except NotCanonicalError:
        with pytest.raises(NotCanonicalError):
            canonical(value)
    else:
        assert canonical(value) == rfc8785.dumps(value)


@pytest.mark.parametrize("edge", [SAFE_INTEGER, -SAFE_INTEGER])
def test_the_largest_integers_that_every_reader_keeps_are_written_and_one_more_is_refused(edge: int) -> None:
    assert canonical([edge]) == f"[{edge}]".encode()
    with pytest.raises(NotCanonicalError):
        canonical([edge + (1 if edge > 0 else -1)])
