"""Where a demonstration writes: never over what is not its own, never beside another one."""

from __future__ import annotations

from pathlib import Path

import pytest

from deploy.demo.folder import FolderError, emptied
from deploy.embedded import EmbeddedError


def test_an_earlier_demonstrations_results_make_room(tmp_path: Path) -> None:
    with emptied(tmp_path / "out") as data:
        (data / "kafka").mkdir(parents=True)
        (tmp_path / "out" / "announcement.txt").write_text("old")
        (tmp_path / "out" / "2011-2013.zip").write_text("old")
    with emptied(tmp_path / "out") as data:
        assert not data.exists()
        assert {one.name for one in (tmp_path / "out").iterdir()} == {".demo.lock"}


@pytest.mark.parametrize("name", ["thesis.doc", "data/photos"])
def test_what_is_somebodys_stays_and_the_demonstration_says_so(tmp_path: Path, name: str) -> None:
    mine = tmp_path / name
    mine.parent.mkdir(parents=True, exist_ok=True)
    mine.write_text("mine")
    with pytest.raises(FolderError, match="name another --out"), emptied(tmp_path):
        pass
    assert mine.read_text() == "mine"


def test_a_running_demonstrations_folder_is_refused_and_untouched(tmp_path: Path) -> None:
    with emptied(tmp_path) as data:
        (data / "postgres").mkdir(parents=True)
        with pytest.raises(EmbeddedError, match="in use"), emptied(tmp_path):
            pass
        assert (data / "postgres").exists()
