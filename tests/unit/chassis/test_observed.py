"""What log lines are about: the record at hand, and nothing of it afterwards."""

from __future__ import annotations

import pytest
from structlog.contextvars import bound_contextvars, get_contextvars

from schemas.cycles import CycleDeadlineExtended
from schemas.envelope import parse
from services.chassis.observed import about
from services.chassis.record import Record
from tests.given import written

EVENT = CycleDeadlineExtended(cycle="c-1", deadline="2011-06-01T00:00:00Z", reason="flood")  # type: ignore[arg-type]
RECORD = Record("intake.events.v1", 3, 7, b"c-1", written(EVENT, 1).record, 0)
PLACE = {"topic": "intake.events.v1", "partition": 3, "offset": 7}


def test_a_record_that_was_read_is_named_with_its_event_and_forgotten_behind_it() -> None:
    envelope = parse(RECORD.value or b"")
    with bound_contextvars(group="probe"):
        with about(RECORD, envelope):
            assert get_contextvars() == {
                **PLACE,
                "group": "probe",
                "type": EVENT.TYPE,
                "subject": "c-1",
                "event_id": envelope.id,
            }
        assert get_contextvars() == {"group": "probe"}


def test_a_record_that_cannot_be_read_is_named_by_its_place_alone() -> None:
    with about(RECORD):
        assert get_contextvars() == PLACE
    assert get_contextvars() == {}


def test_a_record_is_forgotten_also_where_its_handler_fails() -> None:
    with pytest.raises(ZeroDivisionError), about(RECORD):
        raise ZeroDivisionError
    assert get_contextvars() == {}
