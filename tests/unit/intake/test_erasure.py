"""What erasing records, and what is left of a version."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from schemas.erasures import DisclosureErased, Excused
from services.chassis.refusal import RefusedError
from services.chassis.sought import SealedBlock
from services.intake.erasure.domain import NOBODY, erase, leave, without

CONTENT = {
    "identity": {"name": "Quorville"},
    "claims": {"facts": {}},
    "answers": {"a": {"statement": "Zelda"}, "b": {"statement": "", "not_applicable": "Zelda says so"}},
    "contact": {"official": "Zelda", "title": "", "email": "z@gov.example", "channels": {}},
}


def block(name: str, event: str = "e1", about: str = "a1", cycle: str | None = "c") -> SealedBlock:
    return SealedBlock(cycle=cycle, about=about, event=event, block=name, digest="d" * 43)


def test_each_event_has_one_erasure_with_all_its_blocks() -> None:
    found = erase([block("contact"), block("private", "e2", "g", None), block("answers/b")], {"e1": CONTENT})
    assert found == [
        DisclosureErased(
            cycle="c",
            about="a1",
            event="e1",
            digests={"contact": "d" * 43, "answers/b": "d" * 43},
            claims=Excused(not_applicable=["b"]),
        ),
        DisclosureErased(
            cycle=None, about="g", event="e2", digests={"private": "d" * 43}, claims=Excused(not_applicable=[])
        ),
    ]


@pytest.mark.parametrize("name", ["identity", "claims", "scores"])
def test_what_the_public_computes_again_is_not_erased(name: str) -> None:
    with pytest.raises(RefusedError, match="government's own record"):
        erase([block("contact"), block(name)], {})
    with pytest.raises(ValidationError, match="no erasure reaches"):
        DisclosureErased(about="a", event="e", digests={name: "d"}, claims=Excused(not_applicable=[]))


@given(st.sets(st.sampled_from(["contact", "answers/a", "answers/b", "private"])))
def test_a_version_keeps_what_was_not_erased(blocks: set[str]) -> None:
    left = without(CONTENT, blocks)
    assert (left["identity"], left["claims"]) == (CONTENT["identity"], CONTENT["claims"])
    assert left["contact"] == (NOBODY if "contact" in blocks else CONTENT["contact"])
    assert set(left["answers"]) == {name for name in "ab" if f"answers/{name}" not in blocks}
    assert without(left, blocks) == left


def test_who_is_erased_leaves_every_government_even_as_its_last_lead() -> None:
    assert [one.government for one in leave("p", ["g1", "g2"])] == ["g1", "g2"]
