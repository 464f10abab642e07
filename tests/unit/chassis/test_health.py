"""Standing still: only who has something to do and doesn't get on."""

from __future__ import annotations

from aiokafka import TopicPartition

from services.chassis.health import Progress

FIRST, SECOND = TopicPartition("t", 0), TopicPartition("t", 1)


def test_a_consumer_without_anything_to_take_never_stands_still() -> None:
    progress = Progress()
    assert [progress.standstill({}, now) for now in (0.0, 1_000.0, 2_000.0)] == [0, 0, 0]


def test_a_partition_stands_still_from_when_it_was_first_seen_waiting_at_a_position() -> None:
    progress = Progress()
    assert [progress.standstill({FIRST: 7}, now) for now in (100.0, 130.0, 400.0)] == [0, 30, 300]


def test_a_partition_that_gets_on_does_not_stand_still_however_much_waits() -> None:
    progress = Progress()
    assert [progress.standstill({FIRST: position}, 100.0 * position) for position in range(9)] == [0] * 9


def test_one_partition_that_stands_still_is_seen_beside_others_that_get_on() -> None:
    progress = Progress()
    assert [progress.standstill({FIRST: 7, SECOND: position}, 100.0 * position) for position in range(4)] == [
        0,
        100,
        200,
        300,
    ]


def test_an_idle_partition_starts_anew_when_a_record_comes() -> None:
    progress = Progress()
    progress.standstill({FIRST: 7}, 0.0)
    progress.standstill({}, 50.0)
    assert progress.standstill({FIRST: 7}, 10_000.0) == 0
