"""One file by many spellings is one input; different files never are."""

from __future__ import annotations

import os
import shutil

import pytest

from lungseg3d.io import file_key, find_twin


@pytest.fixture
def place(tmp_path, monkeypatch):
    (tmp_path / "x").mkdir()
    (tmp_path / "a.nii").write_bytes(b"a")
    (tmp_path / "b.nii").write_bytes(b"a")
    (tmp_path / "link.nii").symlink_to(tmp_path / "a.nii")
    (tmp_path / "y").symlink_to(tmp_path / "x")
    os.link(tmp_path / "a.nii", tmp_path / "hard.nii")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("spelling", ["./a.nii", "x/../a.nii", "x//../a.nii", "y/../a.nii", "link.nii", "hard.nii"])
def test_every_spelling_of_a_file_has_its_key(place, spelling):
    assert file_key(spelling) == file_key("a.nii") == file_key(place / "a.nii")


def test_folders_too_and_equal_bytes_do_not_make_one_file(place):
    assert file_key("y") == file_key("x/") == file_key(place / "x" / ".")
    assert file_key("a.nii") != file_key("b.nii")
    shutil.copy(place / "a.nii", place / "copy.nii")
    assert file_key("copy.nii") != file_key("a.nii")


def test_what_is_not_there_is_known_by_its_resolved_path(place):
    assert file_key("none.nii") == file_key("./x/../none.nii") != file_key("other.nii")


def test_the_first_two_that_are_one_are_found(place):
    assert find_twin(["b.nii", "a.nii", "./b.nii", "link.nii"]) == (0, 2)
    assert find_twin(["a.nii", "b.nii"]) is None
