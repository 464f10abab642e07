"""Published events and today's models: what may change, what may not, and that both still read each other."""

from __future__ import annotations

import json
import re
from copy import deepcopy
from datetime import date, datetime
from pathlib import Path
from typing import Annotated, Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import Field, ValidationError, create_model

from schemas.compatibility import Schema, contract, event_schema, incompatibilities
from schemas.envelope import EVENTS, Event, Sealed, SealedEach
from schemas.exact import Value
from schemas.topics import EVENT_TOPICS
from schemas.versions import UPCASTERS, lineage, split
from services.origin import SERVICES
from tests.contract.test_subscribers import made

PUBLISHED = Path(__file__).resolve().parents[2] / "schemas" / "published"
NAME = "intake.sample.taken.v1"


def event(about: str = "sample", /, **fields: Any) -> type[Event]:
    """An event model that is registered nowhere; a field is its type, or its type and its default."""
    pairs: Any = {name: field if isinstance(field, tuple) else (field, ...) for name, field in fields.items()}
    model: type[Event] = create_model("SampleTaken", __base__=Event, sample=(str, ...), **pairs)
    model.ABOUT = about
    return model


class Place(Value):
    street: str
    floor: int = 0


class MovedPlace(Value):
    street: str
    floor: int


class WiderPlace(Value):
    street: str
    floor: int = 0
    door: str = ""


class Tree(Value):
    label: str
    children: tuple[Tree, ...] = ()


SealedPlace = Sealed[Place]
SealedMovedPlace = Sealed[MovedPlace]
SealedWiderPlace = Sealed[WiderPlace]
SealedTexts = Sealed[dict[str, str]]
SealedEachText = SealedEach[str]


def changes(old: type[Event], new: type[Event], name: str = NAME) -> list[str]:
    return incompatibilities({name: event_schema(old)}, {NAME: event_schema(new)})


# What one model writes that the other doesn't read, or reads as something else, is beside each case.
BREAKS: dict[str, tuple[type[Event], type[Event], str, str]] = {
    "field removed": (event(a=str, b=str), event(a=str), "`b` removed", "lost"),
    "optional field removed": (event(a=(str, "")), event(), "`a` removed", "lost"),
    "field renamed": (event(a=int), event(b=int), "`a` removed, or renamed to `b`", "lost"),
    "new and required": (event(), event(a=str), "`a` new and required", "may not be read any more"),
    "required now": (event(a=(str, "")), event(a=str), "`a` is required now", "may not be read any more"),
    "may be left out now": (event(a=str), event(a=(str, "")), "`a` may be left out now", "older readers"),
    "another default": (event(a=(int, 1)), event(a=(int, 2)), "`a` default 1 → 2", "lost"),
    "another type": (event(a=int), event(a=str), "`a` type integer → string", "neither"),
    "wider type": (event(a=int), event(a=float), "`a` type integer → number", "older readers"),
    "narrower type": (event(a=float), event(a=int), "`a` type number → integer", "may not be read"),
    "may be null": (event(a=str), event(a=str | None), "`a` now also null", "older readers"),
    "may not be null": (event(a=str | None), event(a=str), "`a` no longer null", "may not be read"),
    "other option": (event(a=int | str), event(a=int | bool), "`a` no longer string", "may not be read"),
    "fewer values": (event(a=Literal["x", "y"]), event(a=Literal["x"]), '`a` values "x", "y" → "x"', "may not be read"),
    "more values": (event(a=Literal["x"]), event(a=Literal["x", "y"]), '`a` values "x" → "x", "y"', "older readers"),
    "other values": (event(a=Literal["x"]), event(a=Literal["y"]), '`a` values "x" → "y"', "neither"),
    "any value": (event(a=Literal["x", "y"]), event(a=str), '`a` values "x", "y" → any', "older readers"),
    "a new pattern": (
        event(a=str),
        event(a=Annotated[str, Field(pattern="^a")]),
        '`a` pattern null → "^a"',
        "may not be read",
    ),
    "another pattern": (
        event(a=Annotated[str, Field(pattern="^a")]),
        event(a=Annotated[str, Field(pattern="^b")]),
        '`a` pattern "^a" → "^b"',
        "neither",
    ),
    "another format": (event(a=date), event(a=datetime), '`a` format "date" → "date-time"', "neither"),
    "higher minimum": (
        event(a=Annotated[int, Field(ge=1)]),
        event(a=Annotated[int, Field(ge=2)]),
        "`a` minimum 1 → 2",
        "may not be read",
    ),
    "no maximum": (
        event(a=Annotated[int, Field(lt=9)]),
        event(a=int),
        "`a` exclusiveMaximum 9 → none",
        "older readers",
    ),
    "shorter text": (event(a=str), event(a=Annotated[str, Field(max_length=5)]), "`a` maxLength none → 5", "may not"),
    "field of a value": (event(a=Place), event(a=MovedPlace), "`a.floor` is required now", "may not be read"),
    "items": (event(a=list[str]), event(a=list[int]), "`a[]` type string → integer", "neither"),
    "values of a map": (event(a=dict[str, str]), event(a=dict[str, int]), "`a{}` type string → integer", "neither"),
    "keys of a map": (
        event(a=dict[str, int]),
        event(a=dict[Annotated[str, Field(pattern="^a")], int]),
        "patternProperties",
        "may not be read",
    ),
    "another aggregate": (event(a=str), event("a", a=str), "is about `a` instead of `sample`", "neither"),
    "sealed now": (event(a=Place), event(a=SealedPlace), "`a` not sealed → Block", "neither"),
    "new sealed block": (event(), event(a=(SealedPlace, None)), "`a` not sealed → Block", "neither"),
    "block removed": (event(a=(SealedPlace, None)), event(), "`a` Block → not sealed", "neither"),
    "one block per key": (
        event(a=(SealedTexts, None)),
        event(a=(SealedEachText, None)),
        "`a` Block → BlockPerKey",
        "neither",
    ),
    "inside a block": (
        event(a=(SealedPlace, None)),
        event(a=(SealedMovedPlace, None)),
        "`a.floor` is required now",
        "may not be read",
    ),
}

HOLDS: dict[str, tuple[type[Event], type[Event]]] = {
    "the same": (event(a=Place, b=list[int]), event(a=Place, b=list[int])),
    "a new field that may be left out": (event(a=str), event(a=str, b=(str, ""))),
    "a new optional part": (event(), event(a=(Place | None, None))),
    "a new field in a value": (event(a=Place), event(a=WiderPlace)),
    "a new field in a block": (event(a=(SealedPlace, None)), event(a=(SealedWiderPlace, None))),
    "a new field in an option": (event(a=Place | None), event(a=WiderPlace | None)),
    "options in another order": (event(a=int | str), event(a=str | int)),
    "another sentence of documentation": (
        event(a=Annotated[int, Field(description="One.")]),
        event(a=Annotated[int, Field(description="Two.", title="A")]),
    ),
    "a value that holds itself": (event(a=Tree), event(a=Tree)),
}


@pytest.mark.parametrize("case", BREAKS)
def test_a_breaking_change_is_one_line_that_names_the_place_and_who_is_left_out(case: str) -> None:
    old, new, place, who = BREAKS[case]
    line = next(line for line in changes(old, new) if place in line)
    assert line.startswith(f"{NAME}: ")
    assert who in line
    assert "\n" not in line


@pytest.mark.parametrize("case", HOLDS)
def test_what_both_sides_read_is_no_incompatibility(case: str) -> None:
    assert changes(*HOLDS[case]) == []


def test_several_changes_are_a_line_each() -> None:
    old, new = event(a=int, b=str, c=Place), event(a=str, c=MovedPlace, d=int)
    assert len(changes(old, new)) == 4


def test_an_event_without_a_model_is_named() -> None:
    assert incompatibilities({NAME: event_schema(event())}, {}) == [f"{NAME}: no model reads it any more"]


def test_an_event_that_is_new_today_breaks_nothing() -> None:
    assert incompatibilities({}, {NAME: event_schema(event())}) == []


def test_every_published_form_is_compared_not_only_the_last() -> None:
    first, second, third = event(a=str), event(a=str, b=(int, 0)), event(a=str, b=(str, ""))
    published = {NAME: event_schema(first), f"{NAME}.1": event_schema(second)}
    assert changes(first, third) == []
    found = incompatibilities(published, {NAME: event_schema(third)})
    assert len(found) == 2
    assert all(line.startswith(f"{NAME}.1: `b` ") for line in found)


def test_a_new_field_where_readers_refuse_what_they_do_not_know_leaves_older_readers_out() -> None:
    name = "scoring.submissions.v1"
    today = contract()
    old = deepcopy(today[name])
    del old["$defs"]["ReviewBody"]["properties"]["comment"]
    (line,) = incompatibilities({name: old}, today)
    assert "`body.comment` new, where older readers refuse" in line


# --- what the readers themselves say ---------------------------------------------------------------------------------

FIELDS: dict[str, tuple[Any, Any, st.SearchStrategy[Any]]] = {
    "number": (int, 0, st.integers(-5, 5)),
    "small number": (Annotated[int, Field(ge=0, le=3)], 1, st.integers(0, 3)),
    "text": (str, "", st.text(max_size=3)),
    "word": (Literal["x", "y"], "x", st.sampled_from(["x", "y"])),
    "one word": (Literal["x"], "x", st.just("x")),
    "maybe number": (int | None, None, st.none() | st.integers(-5, 5)),
    "numbers": (list[int], [], st.lists(st.integers(-5, 5), max_size=2)),
    "flag": (bool, False, st.booleans()),
    "place": (Place, Place(street=""), st.builds(Place, street=st.text(max_size=2), floor=st.integers(0, 3))),
    "wider place": (
        WiderPlace,
        WiderPlace(street=""),
        st.builds(WiderPlace, street=st.text(max_size=2), floor=st.integers(0, 3), door=st.text(max_size=2)),
    ),
}
forms = st.dictionaries(st.sampled_from("abc"), st.tuples(st.sampled_from(sorted(FIELDS)), st.booleans()), max_size=3)


def model_of(form: dict[str, tuple[str, bool]]) -> type[Event]:
    return event(**{name: FIELDS[kind][:2] if optional else FIELDS[kind][0] for name, (kind, optional) in form.items()})


@given(forms, forms, st.data())
def test_where_nothing_is_reported_each_side_reads_what_the_other_writes(
    old: dict[str, tuple[str, bool]], new: dict[str, tuple[str, bool]], data: st.DataObject
) -> None:
    if data.draw(st.booleans(), label="a change of the old form"):
        new = {**old, **{name: field for name, field in new.items() if name not in old}}
    writer_form, reader_form = data.draw(st.permutations([old, new]))
    writer, reader = model_of(writer_form), model_of(reader_form)
    values = {name: data.draw(FIELDS[kind][2], label=name) for name, (kind, _) in writer_form.items()}
    written = writer.model_validate({"sample": "s", **values}).model_dump(mode="json")
    found = changes(model_of(old), model_of(new))
    try:
        read = reader.model_validate(written, strict=True).model_dump(mode="json")
    except ValidationError:
        assert found
    else:
        shared = writer_form.keys() & reader_form.keys()
        assert found or all(_within(written[name], read[name]) for name in shared)


def _within(value: Any, read: Any) -> bool:
    """Whether what one side says is what the other got, but for what it doesn't know or adds by default."""
    if isinstance(value, dict):
        return all(_within(value[key], read[key]) for key in value.keys() & read.keys())
    return bool(value == read)


# --- our own contract ------------------------------------------------------------------------------------------------


def published(folder: Path) -> dict[str, Schema]:
    return {file.stem: json.loads(file.read_text(encoding="utf-8")) for file in sorted(folder.glob("*.json"))}


def test_todays_models_read_all_that_was_published() -> None:
    assert incompatibilities(published(PUBLISHED), contract()) == []


def test_a_snapshot_of_today_survives_its_files(tmp_path: Path) -> None:
    for name, schema in contract().items():
        (tmp_path / f"{name}.json").write_text(json.dumps(schema), encoding="utf-8")
    read = published(tmp_path)
    assert set(read) == set(contract())
    assert incompatibilities(read, contract()) == []


def test_no_field_of_any_event_can_disappear_or_change_its_type_unseen() -> None:
    snapshot = contract()
    for name, schema in snapshot.items():
        for field in schema["properties"]:
            without, other = deepcopy(schema), deepcopy(schema)
            del without["properties"][field]
            without["required"] = [one for one in schema.get("required", []) if one != field]
            without.get("x-sealed", {}).pop(field, None)
            other["properties"][field] = {"type": "number", "multipleOf": 7}
            for changed in (without, other):
                found = incompatibilities(snapshot, {**snapshot, name: changed})
                assert any(re.match(rf"{re.escape(name)}: `{field}` ", line) for line in found), (name, field)


def test_the_name_of_a_schema_is_what_events_carry_as_their_dataschema() -> None:
    assert {contract()[name]["$id"] for name in EVENTS} == {f"/schemas/{name}.json" for name in EVENTS}


def test_every_older_version_of_an_event_has_a_model_and_an_upcaster() -> None:
    for name in EVENTS:
        assert set(lineage(name)) <= set(EVENTS)
        assert set(lineage(name)[:-1]) <= set(UPCASTERS)


def test_services_handle_and_name_only_the_newest_versions() -> None:
    newest = dict(sorted(map(split, EVENTS)))
    assert set(SERVICES) == set(EVENT_TOPICS)
    for service in (made(name) for name in SERVICES):
        for handled in service.handlers.by_type:
            assert split(handled)[1] == newest[split(handled)[0]], f"{service.name} handles {handled}"
