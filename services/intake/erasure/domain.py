"""What erasing a person records, and what is left of a version without its erased blocks. Pure, as `cycles.domain`."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import Any, Final

from schemas.applications import Contact
from schemas.cycles import MemberLeft
from schemas.erasures import DisclosureErased, Excused, erasable
from services.chassis.refusal import RefusedError
from services.chassis.sought import SealedBlock

NOBODY: Final = Contact(official="", title="", email="").model_dump(mode="json")
"""A contact that was erased."""

Content = dict[str, Any]
"""A version's content: the sealed blocks of its event."""


def erase(blocks: Iterable[SealedBlock], versions: Mapping[str, Content]) -> list[DisclosureErased]:
    """One erasure for each event of which there are `blocks`; `versions` are the contents of submissions among them.

    RefusedError (422) for a block of a class that no erasure reaches.
    """
    found = defaultdict[tuple[str | None, str, str], dict[str, str]](dict)
    for one in blocks:
        if not erasable(one.block):
            detail = f"Block {one.block} of event {one.event} is a government's own record: leave it out."
            raise RefusedError("not-erasable", detail, field="/blocks", status=422)
        found[one.cycle, one.about, one.event][one.block] = one.digest
    return [
        DisclosureErased(
            cycle=cycle, about=about, event=event, digests=names, claims=_excused(versions.get(event, {}), names)
        )
        for (cycle, about, event), names in sorted(found.items(), key=lambda item: item[0][2])
    ]


def _excused(content: Content, blocks: Iterable[str]) -> Excused:
    answers = content.get("answers", {})
    criteria = sorted(name.partition("/")[2] for name in blocks if name.startswith("answers/"))
    return Excused(not_applicable=[one for one in criteria if answers.get(one, {}).get("not_applicable") is not None])


def without(content: Content, blocks: Iterable[str]) -> Content:
    """A version's content without erased blocks: answers are not there any more, the contact is nobody."""
    gone = set(blocks)
    answers = {name: answer for name, answer in content["answers"].items() if f"answers/{name}" not in gone}
    return {**content, "answers": answers, "contact": NOBODY if "contact" in gone else content["contact"]}


def leave(person: str, governments: Iterable[str]) -> list[MemberLeft]:
    """Nobody acts for a government whom nobody knows: also its last lead goes, who is recovered by its domain."""
    return [MemberLeft(government=one, person=person) for one in governments]
