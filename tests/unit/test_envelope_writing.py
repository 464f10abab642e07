"""Sealing quickly: byte for byte what the plain way writes, for every kind of field that an event has."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta, timezone
from itertools import count
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.applications import Answer, ApplicationSubmitted, Claims, Contact, Identity
from schemas.canonical import NotCanonicalError, canonical
from schemas.cycles import CycleDeadlineExtended
from schemas.envelope import SALT_BYTES, Event, Header, Sealed, SealedEach, b64url, digest, disclosure, write
from schemas.exact import SAFE_INTEGER, SafeInt, Value
from schemas.reviews import Points, Remarks, ReviewSubmitted
from services.chassis.ids import event_id


class Note(Value):
    """Something with all kinds of fields in it."""

    text: str
    number: SafeInt
    maybe: bool | None = None
    many: list[str]


NOTE = Note(text="t", number=1, many=[])


class Noted(Event):
    """An event that no service sends."""

    ABOUT = "thing"

    thing: str
    cycle: str
    numbers: dict[str, SafeInt | None]
    inner: Note
    one: Sealed[Note] = None
    each: SealedEach[Note] = None


def plainly(event: Event, header: Header, entropy: Callable[[int], bytes]) -> tuple[bytes, bytes]:
    """Leaf and record as the contract says it: dump field by field, one canonical form of each whole."""
    sealed = set(event.block_fields())
    blocks: dict[str, Any] = {}
    for name in event.block_fields():
        value = event.model_dump(mode="json", include={name})[name]
        blocks |= {f"{name}/{key}": one for key, one in value.items()} if name in {"each", "answers"} else {name: value}
    openings = {name: disclosure(entropy(SALT_BYTES), name, value) for name, value in blocks.items()}
    data = event.model_dump(mode="json", exclude={event.ABOUT, "cycle", *sealed})
    data["sealed"] = {name: digest(opening) for name, opening in openings.items()}
    body = {
        **header.model_dump(mode="json", exclude_none=True),
        "specversion": "1.0",
        "datacontenttype": "application/json",
        "dataschema": f"/schemas/{header.type}.json",
        "salt": b64url(entropy(SALT_BYTES)),
        "data": data,
    }
    return canonical(body), canonical({**body, "data": {**data, "disclosures": openings}})


def counted() -> Callable[[int], bytes]:
    """Bytes that differ from call to call, the same in every run."""
    numbers = count()
    return lambda size: next(numbers).to_bytes(size, "big")


text = st.text(max_size=30)
keys = st.text(st.characters(max_codepoint=127), max_size=10)
integers = st.integers(-SAFE_INTEGER, SAFE_INTEGER)
notes = st.builds(Note, text=text, number=integers, maybe=st.none() | st.booleans(), many=st.lists(text, max_size=3))
subjects = st.text(st.characters(min_codepoint=32, exclude_categories=["Cs"]), min_size=1, max_size=20)
events: st.SearchStrategy[Event] = st.one_of(
    st.builds(
        Noted,
        thing=subjects,
        cycle=text,
        numbers=st.dictionaries(keys, integers | st.none(), max_size=4),
        inner=notes,
        one=notes,
        each=st.dictionaries(keys, notes, max_size=3),
    ),
    st.builds(
        ReviewSubmitted,
        cycle=text,
        application=subjects,
        review=text,
        version=st.integers(1, SAFE_INTEGER),
        via=st.sampled_from(["http", "kafka"]),
        scores=st.builds(Points, points=st.dictionaries(keys, integers | st.none()), recommendation=st.booleans()),
        private=st.builds(
            Remarks, reviewer=text, command_sha256=text, rationales=st.dictionaries(keys, text), comment=text
        ),
    ),
    st.builds(CycleDeadlineExtended, cycle=subjects, deadline=st.datetimes(timezones=st.just(UTC)), reason=text),
)
moments = st.datetimes(timezones=st.sampled_from([UTC, timezone(timedelta(hours=-7))]), min_value=datetime(1900, 1, 2))  # noqa: DTZ001  (a bound has no zone)


@given(
    event=events, time=moments, sequence=st.integers(1, SAFE_INTEGER), cause=st.none() | text, actor=st.none() | text
)
def test_an_event_is_written_as_the_plain_way_writes_it(
    event: Event, time: datetime, sequence: int, cause: str | None, actor: str | None
) -> None:
    header = Header(
        id=event_id(),
        type=event.TYPE or "tests.noted.v1",
        source="/tests",
        subject=event.subject,
        time=time,
        sequence=sequence,
        cycleid=getattr(event, "cycle", None),
        causationid=cause,
        actor=actor,
    )
    written = write(event, header, counted())
    assert (written.leaf, written.record) == plainly(event, header, counted())


def test_a_whole_application_is_written_as_the_plain_way_writes_it() -> None:
    event = ApplicationSubmitted(
        cycle="c",
        application="a",
        version=1,
        identity=Identity(
            government="g",
            name="Tlaquepaque ¡sí!",
            state="Jalisco",
            kind="city",
            population=1,
            population_source="s",
            website="w",
            tier="",
        ),
        claims=Claims(facts={"channels": ["phone"], "hours": 24, "open": True}, assumed=["hours"], metrics=[]),
        answers={"crm": Answer(statement="Yes"), "gis": Answer(not_applicable="none")},
        contact=Contact(official="x", title="y", email="z@example.org"),
    )
    header = Header(id=event_id(), type=event.TYPE, source="/intake", subject="a", time=datetime.now(UTC), sequence=1)
    written = write(event, header, counted())
    assert (written.leaf, written.record) == plainly(event, header, counted())


@pytest.mark.parametrize(
    "spoilt", [{"numbers": {"ключ": 1}}, {"numbers": {"a": SAFE_INTEGER + 1}}, {"each": {"й": NOTE}}], ids=repr
)
def test_what_has_no_canonical_form_is_refused_also_where_nothing_validated_it(spoilt: dict[str, Any]) -> None:
    sound = Noted(thing="x", cycle="c", numbers={}, inner=NOTE, one=NOTE, each={})
    now = datetime.now(UTC)
    header = Header(id=event_id(), type="tests.noted.v1", source="/tests", subject="x", time=now, sequence=1)
    assert write(sound, header, counted()).leaf
    with pytest.raises(NotCanonicalError):
        write(sound.model_copy(update=spoilt), header, counted())
