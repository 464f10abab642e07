"""Old events are read as new ones, with what was sealed and what was withheld."""

from __future__ import annotations

import orjson
import pytest
from hypothesis import given as given_any
from hypothesis import strategies as st

from schemas import envelope as e
from schemas.cycles import CycleDeadlineExtended
from schemas.versions import lineage, split, upcaster
from services.chassis.failures import NotYetError
from services.chassis.inbox import Handlers
from tests.given import written
from tests.releases import People, Person, TakenV1, TakenV2, TakenV3, release, with_remarks

FIRST = TakenV1(cycle="c", sample="s-1", note="cold", by=Person(name="Ada"))


def test_an_old_event_is_read_as_the_newest_version_through_every_step() -> None:
    record = written(FIRST, 1).record
    with release(1):
        assert e.read(e.parse(record)) == FIRST
    with release(2):
        assert e.read(e.parse(record)) == with_remarks(FIRST)
    with release(3):
        newest = TakenV3(cycle="c", sample="s-1", remarks=["cold"], count=1, by=People(names=["Ada"]))
        assert e.read(e.parse(record)) == newest


def test_an_event_is_read_as_the_version_that_is_wanted() -> None:
    record = written(FIRST, 1).record
    with release(3):
        assert e.read(e.parse(record), TakenV1.TYPE) == FIRST
        assert e.read(e.parse(record), TakenV2.TYPE) == with_remarks(FIRST)


def test_a_block_that_was_withheld_is_none_in_every_version() -> None:
    leaf = written(FIRST, 1).leaf
    with release(3):
        event = e.read(e.parse(leaf))
    assert isinstance(event, TakenV3)
    assert event.by is None
    assert event.remarks == ["cold"]


@given_any(st.text(max_size=50), st.text(max_size=50))
def test_whatever_an_old_event_says_its_newest_form_can_be_written_and_read(note: str, name: str) -> None:
    with release(3):
        old = FIRST.model_copy(update={"note": note, "by": Person(name=name)})
        newest = e.read(e.parse(written(old, 1).record))
        assert e.read(e.parse(written(newest, 1).record)) == newest


def test_an_old_event_is_judged_by_its_own_version_and_its_digests() -> None:
    body = orjson.loads(written(FIRST, 1).record)
    with release(2):
        body["data"]["note"] = 7
        with pytest.raises(e.UnreadableError, match=r"taken\.v1: note"):
            e.read(e.parse(orjson.dumps(body)))
        body["data"].update(note="cold", sealed={"by": "x"})
        with pytest.raises(e.UnreadableError, match="digest"):
            e.read(e.parse(orjson.dumps(body)))


def test_a_new_event_is_not_read_as_an_older_version() -> None:
    with release(2):
        record = written(with_remarks(FIRST), 1).record
        with pytest.raises(e.UnreadableError, match="an upcaster is missing"):
            e.read(e.parse(record), TakenV1.TYPE)
    with release(1), pytest.raises(e.UnknownTypeError, match=r"taken\.v2"):
        e.read(e.parse(record))


def test_an_upcaster_leads_to_the_next_version_of_the_same_event_and_is_the_only_one() -> None:
    with release(2):
        with pytest.raises(ValueError, match=r"to intake\.sample\.taken\.v2, not to intake\.sample\.taken\.v3"):
            upcaster(TakenV1, TakenV3)
        with pytest.raises(ValueError, match="not to"):
            upcaster(TakenV1, CycleDeadlineExtended)
        with pytest.raises(ValueError, match="already"):
            upcaster(TakenV1, TakenV2)


def test_the_lineage_of_a_type_is_all_that_is_read_as_it() -> None:
    assert split("intake.cycle.deadline-extended.v12") == ("intake.cycle.deadline-extended", 12)
    assert lineage(TakenV3.TYPE) == [TakenV1.TYPE, TakenV2.TYPE, TakenV3.TYPE]


async def test_handlers_take_older_events_as_theirs_wait_for_newer_ones_and_leave_others_alone() -> None:
    handlers = Handlers()

    @handlers.on(TakenV2)
    async def note(*_: object) -> None: ...

    assert handlers.handled_as(TakenV1.TYPE) == TakenV2.TYPE
    assert handlers.handled_as(TakenV2.TYPE) == TakenV2.TYPE
    assert handlers.handled_as(CycleDeadlineExtended.TYPE) is None
    assert handlers.handled_as("intake.sample.taken-away.v9") is None
    # Also where this program has a model of the newer version: no handler takes it yet.
    with release(3), pytest.raises(NotYetError, match=r"taken\.v3 is newer than intake\.sample\.taken\.v2"):
        handlers.handled_as(TakenV3.TYPE)


async def test_two_versions_of_an_event_have_one_handler() -> None:
    handlers = Handlers()

    async def note(*_: object) -> None: ...

    handlers.on(TakenV1)(note)
    with pytest.raises(ValueError, match="already"):
        handlers.on(TakenV2)(note)
