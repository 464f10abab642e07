"""Whether today's models and what was published read each other: all versions, both ways (full-transitive).

`contract()` is what would be published today, by name: the JSON Schema of every event version, of the envelope and of
the signed command. What was published once stays; `incompatibilities` compares each of it with today's model of the
same name. Readers ignore fields that they do not know, so one change is allowed: a new field that may be left out.
Every other one is a new `.v<N+1>` with an upcaster (`schemas.versions`). A published addition stands beside the first
form as `<type>.v<N>.<M>`. Documents are judged, not today's writer: what a schema allows, somebody may have written.
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any, Final

from schemas.envelope import Envelope
from schemas.reviews import ReviewCommand
from schemas.topics import COMMANDS, EVENTS

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from pydantic import BaseModel

    from schemas.envelope import Event

Schema = dict[str, Any]
Content = Schema | bool
"""What a list or a map holds: a schema, or anything (True), or nothing (False)."""

BACKWARD: Final = "what was written may not be read any more"
FORWARD: Final = "older readers may not read what is written now"
NEITHER: Final = "neither side reads the other"
LOST: Final = "what it says is lost"

_TYPES = frozenset({"object", "array", "string", "integer", "number", "boolean", "null"})
_LOWER = ("minimum", "exclusiveMinimum", "minLength", "minItems", "minProperties")
_UPPER = ("maximum", "exclusiveMaximum", "maxLength", "maxItems", "maxProperties")
_RULES = ("pattern", "format", "multipleOf", "uniqueItems")
_NOTES = ("title", "description", "examples", "deprecated", "default", "$defs", "$id", "$schema")
"""What no reader refuses an event for. A default is compared where it matters: with its field."""
_COMPARED = {"type", "enum", "const", "anyOf", "items", "properties", "required", "additionalProperties", *_RULES}


def contract() -> dict[str, Schema]:
    """What would be published today, by name; an event's is its `dataschema` without the leading path."""
    found = {name: event_schema(model) for name, model in sorted(EVENTS.items())}
    found |= {"envelope.v1": _schema(Envelope), COMMANDS.name: _schema(ReviewCommand)}
    return {name: {"$id": f"/schemas/{name}.json", **schema} for name, schema in found.items()}


def event_schema(model: type[Event]) -> Schema:
    """An event's fields as a reader has them once they are opened, its aggregate, and which of them are sealed."""
    sealed = {name: type(mark).__name__ for name, mark in model.block_fields().items()}
    return {**_schema(model), "x-aggregate": model.ABOUT, "x-sealed": sealed}


def _schema(model: type[BaseModel]) -> Schema:
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **model.model_json_schema()}


def incompatibilities(published: Mapping[str, Schema], today: Mapping[str, Schema]) -> list[str]:
    """What keeps today's models and any published schema from reading each other, one line each; empty if nothing."""
    found = []
    for name, schema in sorted(published.items()):
        model = today.get(re.sub(r"(\.v[0-9]+)\.[0-9]+$", r"\1", name))
        changes = (
            ["no model reads it any more"] if model is None else _event_changes(_expanded(schema), _expanded(model))
        )
        found += [f"{name}: {change}" for change in changes]
    return found


def _expanded(schema: Schema) -> Schema:
    """The schema with every reference replaced by what it names, save one that leads back into itself."""
    definitions = schema.get("$defs", {})

    def expand(value: Any, within: frozenset[str]) -> Any:  # noqa: ANN401  (any JSON value)
        if isinstance(value, list):
            return [expand(item, within) for item in value]
        if not isinstance(value, dict):
            return value
        name = str(value.get("$ref", "")).rpartition("/")[2]
        if name and name not in within:
            beside = {key: item for key, item in value.items() if key != "$ref"}
            return {**expand(definitions[name], within | {name}), **beside}
        return {key: expand(item, within) for key, item in value.items()}

    return {key: expand(item, frozenset()) for key, item in schema.items() if key != "$defs"}


def _event_changes(old: Schema, new: Schema) -> Iterator[str]:
    if old.get("x-aggregate") != new.get("x-aggregate"):
        was, now = old.get("x-aggregate"), new.get("x-aggregate")
        yield _line("", f"is about `{now}` instead of `{was}`: its key and sequence are others'", NEITHER)
    before, after = old.get("x-sealed", {}), new.get("x-sealed", {})
    moved = {name for name in {**before, **after} if before.get(name) != after.get(name)}
    for name in sorted(moved):
        was, now = before.get(name, "not sealed"), after.get(name, "not sealed")
        yield _line(name, f"{was} → {now}: the set of sealed blocks is fixed", NEITHER)
    gone = {name for name in moved if name not in old["properties"] or name not in new["properties"]}
    yield from _changes(_without(old, gone), _without(new, gone), "")


def _without(schema: Schema, fields: set[str]) -> Schema:
    """The schema without those fields, and without our own marks."""
    properties = {name: field for name, field in schema["properties"].items() if name not in fields}
    required = [name for name in schema.get("required", []) if name not in fields]
    kept = {key: value for key, value in schema.items() if not key.startswith("x-")}
    return {**kept, "properties": properties, "required": required}


def _changes(old: Schema, new: Schema, place: str) -> Iterator[str]:
    """The differences between two expanded schemas of one place."""
    if old == new:
        return
    if "anyOf" in old or "anyOf" in new:
        yield from _options(old, new, place)
        return
    was, now = _types(old), _types(new)
    if was != now:
        yield _line(
            place, f"type {_shown(old)} → {_shown(new)}", _direction(narrower=bool(was - now), wider=bool(now - was))
        )
        if not was & now:
            return
    yield from _values(old, new, place)
    yield from _bounds(old, new, place)
    for keyword in sorted({*_RULES, *old, *new} - {*_NOTES, *_LOWER, *_UPPER, *_COMPARED} | {*_RULES}):
        if old.get(keyword) != new.get(keyword):
            yield _line(
                place,
                f"{keyword} {_json(old.get(keyword))} → {_json(new.get(keyword))}",
                _direction(narrower=keyword in new, wider=keyword in old),
            )
    yield from _contents(old.get("items", True), new.get("items", True), f"{place}[]")
    yield from _contents(old.get("additionalProperties", True), new.get("additionalProperties", True), f"{place}{{}}")
    yield from _fields(old, new, place)


def _types(schema: Schema) -> frozenset[str]:
    named = schema.get("type")
    types = _TYPES if named is None else frozenset([named] if isinstance(named, str) else named)
    return types | {"integer"} if "number" in types else types


def _values(old: Schema, new: Schema, place: str) -> Iterator[str]:
    """Changes of an enumeration; a constant is one of one value."""
    before, after = (_enumerated(schema) for schema in (old, new))
    if before != after:
        gone = before is None or (after is not None and not before <= after)
        come = after is None or (before is not None and not after <= before)
        shown = ["any" if values is None else ", ".join(sorted(values)) for values in (before, after)]
        yield _line(
            place,
            f"values {shown[0]} → {shown[1]}",
            _direction(narrower=gone and after is not None, wider=come and before is not None),
        )


def _enumerated(schema: Schema) -> set[str] | None:
    values = [schema["const"]] if "const" in schema else schema.get("enum")
    return None if values is None else {_json(value) for value in values}


def _bounds(old: Schema, new: Schema, place: str) -> Iterator[str]:
    for keywords, sign in ((_LOWER, -1), (_UPPER, 1)):
        for keyword in keywords:
            was, now = (schema.get(keyword, sign * float("inf")) for schema in (old, new))
            if was != now:
                shown = " → ".join(str(schema.get(keyword, "none")) for schema in (old, new))
                yield _line(
                    place,
                    f"{keyword} {shown}",
                    _direction(narrower=sign * now < sign * was, wider=sign * now > sign * was),
                )


def _contents(old: Content, new: Content, place: str) -> Iterator[str]:
    if isinstance(old, dict) and isinstance(new, dict):
        yield from _changes(old, new, place)
    elif old != new:
        narrower = old is True or new is False
        yield _line(place, f"{_shown(old)} → {_shown(new)}", _direction(narrower=narrower, wider=not narrower))


def _fields(old: Schema, new: Schema, place: str) -> Iterator[str]:
    before, after = old.get("properties", {}), new.get("properties", {})
    needed_before, needed_after = set(old.get("required", [])), set(new.get("required", []))
    added = [name for name in after if name not in before]
    for name in sorted(before.keys() - after.keys()):
        same = [one for one in added if not any(_changes(before[name], after[one], ""))]
        added = [one for one in added if one not in same[:1]]
        what = f"removed, or renamed to `{same[0]}`" if same else "removed"
        yield _line(_at(place, name), what, LOST)
    for name in added:
        if name in needed_after:
            yield _line(_at(place, name), "new and required: give it a default", BACKWARD)
        if old.get("additionalProperties", True) is not True:
            yield _line(_at(place, name), "new, where older readers refuse what they do not know", FORWARD)
    for name in [name for name in before if name in after]:
        there = _at(place, name)
        if (name in needed_before) != (name in needed_after):
            now = name in needed_after
            yield _line(there, "is required now" if now else "may be left out now", BACKWARD if now else FORWARD)
        elif before[name].get("default") != after[name].get("default"):
            shown = " → ".join(_json(field.get("default")) for field in (before[name], after[name]))
            yield _line(there, f"default {shown}: an event without it says something else", LOST)
        yield from _changes(before[name], after[name], there)


def _options(old: Schema, new: Schema, place: str) -> Iterator[str]:
    """Changes of a union: each option is paired with one that reads the same, the others with one of their type."""
    before, after = ([{**_beside(schema), **option} for option in schema.get("anyOf", [{}])] for schema in (old, new))
    for one in list(before):
        for other in after:
            if not any(_changes(one, other, place)):
                before.remove(one)
                after.remove(other)
                break
    for one in list(before):
        for other in after:
            if _types(one) == _types(other):
                yield from _changes(one, other, place)
                before.remove(one)
                after.remove(other)
                break
    yield from (_line(place, f"no longer {_shown(one)}", BACKWARD) for one in before)
    yield from (_line(place, f"now also {_shown(one)}", FORWARD) for one in after)


def _beside(schema: Schema) -> Schema:
    """What a schema says beside its union, and so of every option."""
    return {key: value for key, value in schema.items() if key not in {"anyOf", *_NOTES}}


def _direction(*, narrower: bool, wider: bool) -> str:
    return NEITHER if narrower and wider else BACKWARD if narrower else FORWARD


def _at(place: str, name: str) -> str:
    return f"{place}.{name}" if place else name


def _line(place: str, change: str, consequence: str) -> str:
    return f"{f'`{place}` ' if place else ''}{change} ({consequence})"


def _shown(schema: Content) -> str:
    if isinstance(schema, bool):
        return "anything" if schema else "nothing"
    return str(schema.get("type", "any"))


def _json(value: object) -> str:
    return json.dumps(value, ensure_ascii=False, sort_keys=True)
