"""Folders and files appear whole or not at all, whatever fails on the way, and a kill leaves nothing that lies."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from lungseg3d.core import OutputError
from lungseg3d.io import (
    check_writable,
    copy_file,
    make_folder,
    open_to_append,
    placing_folder,
    placing_together,
    remove_unfinished,
    scratch_file,
    write_text,
    writing,
)

OLD = {"a.txt": "old a", "b.txt": "old b", "record.json": "old record", "notes.txt": "mine"}
NEW = {"a.txt": "new a", "b.txt": "new b", "c.txt": "new c", "record.json": "new record"}


def contents(folder: Path) -> dict[str, str]:
    return {path.name: path.read_text() for path in folder.iterdir()}


def fill(folder: Path, texts: dict[str, str]) -> None:
    for name, text in texts.items():
        write_text(folder / name, text)


def replace_results(folder: Path) -> None:
    with placing_together(folder, last="record.json", stale=["b.txt"]) as stage:
        fill(stage, {name: text for name, text in NEW.items() if name != "b.txt"})


def test_files_come_together_and_others_stay(tmp_path):
    fill(make_folder(tmp_path / "case"), OLD)
    replace_results(tmp_path / "case")
    expected = {name: text for name, text in NEW.items() if name != "b.txt"} | {"notes.txt": "mine"}
    assert contents(tmp_path / "case") == expected


def test_an_error_in_the_block_leaves_the_old_files_and_no_new_folder(tmp_path):
    fill(make_folder(tmp_path / "case"), OLD)

    def stop(folder):
        with placing_together(folder, last="record.json") as stage:
            write_text(stage / "a.txt", "new a")
            raise ValueError("stop")

    for folder in (tmp_path / "case", tmp_path / "new"):
        with pytest.raises(ValueError, match="stop"):
            stop(folder)
    assert contents(tmp_path / "case") == OLD
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize("nth", range(9))
def test_a_rename_that_fails_takes_all_back(tmp_path, monkeypatch, nth):
    fill(make_folder(tmp_path / "case"), OLD)
    replace, count = os.replace, iter(range(1000))
    # The files of the stage are renamed, too, when they are written: three of them.
    monkeypatch.setattr(
        os, "replace", lambda *a: (_ for _ in ()).throw(OSError(errno.EIO, "x")) if next(count) == nth else replace(*a)
    )
    with pytest.raises(OutputError, match="E_WRITE"):
        replace_results(tmp_path / "case")
    assert contents(tmp_path / "case") == OLD
    assert not list((tmp_path / "case").glob(".writing-*"))


KILL = """
import os, signal, sys
from pathlib import Path
from tests.io.storage.test_folders import replace_results
count = iter(range(1000))
def die(step):
    def stepped(*given):
        if next(count) == int(sys.argv[2]):
            os.kill(os.getpid(), signal.SIGKILL)
        return step(*given)
    return stepped
os.replace, os.fsync = die(os.replace), die(os.fsync)
replace_results(Path(sys.argv[1]))
"""


@pytest.mark.parametrize("nth", [0, 8, 9, 10, 11, 12, 13])
def test_after_a_kill_a_record_stands_for_all_of_its_files(tmp_path, nth):
    case = make_folder(tmp_path / "case")
    fill(case, OLD)
    killed = subprocess.run(
        [sys.executable, "-c", KILL, str(case), str(nth)], check=False, cwd=Path(__file__).parents[3]
    )
    assert killed.returncode in (0, -signal.SIGKILL)
    record = case / "record.json"
    if record.exists():  # at every moment, also before anything is cleaned up
        assert (case / "a.txt").read_text()[:3] == record.read_text()[:3]
    remove_unfinished(case)
    found = contents(case)
    assert found["notes.txt"] == "mine"
    new = {name: text for name, text in NEW.items() if name != "b.txt"} | {"notes.txt": "mine"}
    assert found == new if found["record.json"] == "new record" else {k: found.get(k) for k in OLD} == OLD


def test_what_a_living_process_writes_is_not_removed(tmp_path):
    with writing(tmp_path / "a.txt") as file, placing_folder(tmp_path / "b") as stage:
        remove_unfinished(tmp_path)
        file.write(b"x")
        write_text(stage / "c.txt", "y")
    assert (tmp_path / "a.txt").read_text() == "x"
    assert contents(tmp_path / "b") == {"c.txt": "y"}
    (tmp_path / ".writing-left").mkdir()
    (tmp_path / ".writing-x").write_text("half")
    remove_unfinished(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.txt", "b"]


def test_a_folder_takes_the_place_of_another_only_when_told_to(tmp_path):
    fill(make_folder(tmp_path / "a"), OLD)
    with pytest.raises(OutputError, match="E_OUTPUT_EXISTS"), placing_folder(tmp_path / "a"):
        pass
    with placing_folder(tmp_path / "a", replace=True) as stage:
        write_text(stage / "n.txt", "n")
    assert contents(tmp_path / "a") == {"n.txt": "n"}
    assert [path.name for path in tmp_path.iterdir()] == ["a"]
    assert (tmp_path / "a").stat().st_mode & 0o777 == 0o777 & ~_mask()


@pytest.mark.parametrize("nth", [0, 1])
def test_a_swap_that_fails_leaves_the_old_folder(tmp_path, monkeypatch, nth):
    fill(make_folder(tmp_path / "a"), OLD)
    rename, count = os.rename, iter(range(10))
    monkeypatch.setattr(
        os, "rename", lambda *a: (_ for _ in ()).throw(OSError(errno.EACCES, "x")) if next(count) == nth else rename(*a)
    )
    with pytest.raises(OutputError, match="E_WRITE"), placing_folder(tmp_path / "a", replace=True) as stage:
        write_text(stage / "n.txt", "n")
    assert contents(tmp_path / "a") == OLD
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


def test_a_library_that_hides_a_full_disk_does_not_hide_it_from_us(tmp_path, monkeypatch):
    import torch

    from lungseg3d.io.storage import files

    def full(self, data):
        self.failure = OSError(errno.ENOSPC, "No space left on device")
        raise self.failure

    monkeypatch.setattr(files._WatchedFile, "write", full)
    with pytest.raises(OutputError, match="E_NO_SPACE"), writing(tmp_path / "w.pt") as file:
        torch.save({"w": torch.zeros(2_000_000)}, file)
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_came_out_shorter_than_it_was_written_is_no_result(tmp_path):
    def cut():
        with writing(tmp_path / "a") as file:
            file.write(b"x" * 4_000_000)
            file.flush()
            os.truncate(next(tmp_path.glob(".writing-*")), 1000)

    with pytest.raises(OutputError, match="not all that was written is there"):
        cut()
    assert list(tmp_path.iterdir()) == []


def test_a_copy_is_the_same_and_a_missing_source_leaves_nothing(tmp_path):
    (tmp_path / "a").write_bytes(bytes(range(256)))
    copy_file(tmp_path / "a", tmp_path / "b")
    assert (tmp_path / "b").read_bytes() == bytes(range(256))
    with pytest.raises(OutputError, match="E_WRITE"):
        copy_file(tmp_path / "nowhere", tmp_path / "c")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "b"]


def test_a_file_where_a_folder_should_be_is_an_output_error(tmp_path):
    (tmp_path / "a").write_text("x")
    for folder in (tmp_path / "a", tmp_path / "a" / "b"):
        with pytest.raises(OutputError, match="E_WRITE"):
            check_writable(folder)


def test_a_journal_grows_by_whole_lines(tmp_path):
    for line in (b"one\n", b"two\n"):
        with open_to_append(tmp_path / "j") as file:
            file.write(line)
    assert (tmp_path / "j").read_bytes() == b"one\ntwo\n"


def test_a_scratch_file_has_its_space_and_no_name(tmp_path):
    with scratch_file(tmp_path, 1000) as file:
        assert os.fstat(file.fileno()).st_size == 1000
        assert list(tmp_path.iterdir()) == []


def test_a_name_of_many_long_characters_can_be_written(tmp_path):
    write_text(tmp_path / ("肺" * 80 + ".txt"), "x")
    assert [len(path.name) for path in tmp_path.iterdir()] == [84]


def _mask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
