"""Where what runs here is written down: for its owner only, and gone with it."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from services.running import Running

HERE = Running("http://127.0.0.1:8311", "127.0.0.1:9092", "postgresql://postgres:secret@127.0.0.1:5432/postgres", 7)


def test_what_is_written_is_found_and_only_its_owner_reads_it(tmp_path: Path) -> None:
    assert Running.found(tmp_path) is None
    HERE.write(tmp_path)
    assert Running.found(tmp_path) == HERE
    assert [stat.S_IMODE(file.stat().st_mode) for file in (tmp_path / "run").iterdir()] == [0o600]
    HERE.erase(tmp_path)
    assert Running.found(tmp_path) is None


def test_what_a_killed_process_left_is_replaced_and_nobody_erases_anothers(tmp_path: Path) -> None:
    later = Running("http://127.0.0.1:8312", HERE.kafka_bootstrap, HERE.postgres_dsn, 8)
    HERE.write(tmp_path)
    later.write(tmp_path)
    HERE.erase(tmp_path)
    assert Running.found(tmp_path) == later


@pytest.mark.parametrize("text", ["", "{", "[]", '{"url": "x"}'])
def test_a_file_that_says_nothing_is_as_none(tmp_path: Path, text: str) -> None:
    HERE.write(tmp_path)
    (tmp_path / "run" / "origin.json").write_text(text)
    assert Running.found(tmp_path) is None
