"""A cache belongs to the content of its cases, and a damaged file of it is made again."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from monai.transforms import Compose, MapTransform

from lungseg3d.engines import PreparedCases


class Read(MapTransform):
    """Numbers of a text file times a factor; counts how often it had to."""

    times = 0

    def __init__(self, keys: str, factor: float = 1.0) -> None:
        super().__init__(keys)
        self.factor = factor

    def __call__(self, data):
        type(self).times += 1
        return {**data, "image": torch.from_numpy(np.loadtxt(data["image"])) * self.factor}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "data").mkdir()
    for n in range(2):
        np.savetxt(tmp_path / "data" / f"c{n}.txt", np.arange(40) + n)
    Read.times = 0
    return tmp_path


def prepared(folder: Path, factor: float = 1.0, data: str = "data", cache: str = "cache", **more) -> list[float]:
    """The sum of each case, through a data set made anew."""
    cases = [{"case_id": f"c{n}", "image": str(folder / data / f"c{n}.txt"), **more} for n in range(2)]
    found = PreparedCases(cases, Compose([Read("image", factor)]), folder / cache)
    return [float(case["image"].sum()) for case in found]


def files(folder: Path) -> list[Path]:
    return sorted((folder / "cache").glob("*.pt"))


def test_a_second_training_prepares_nothing(folder):
    assert prepared(folder) == [780.0, 820.0]
    assert prepared(folder) == [780.0, 820.0]
    assert (Read.times, len(files(folder))) == (2, 2)


def test_other_content_under_the_same_name_is_prepared_anew(folder):
    prepared(folder)
    np.savetxt(folder / "data" / "c1.txt", np.full(40, 7.0))
    assert prepared(folder) == [780.0, 280.0]
    assert Read.times == 3


@pytest.mark.parametrize("change", [{"factor": 2.0}, {"fold": 3}, {"facts": {"texture": 1}}])
def test_other_settings_or_facts_are_prepared_anew(folder, change):
    prepared(folder)
    prepared(folder, **change)
    assert Read.times == 4


def test_the_same_data_in_another_folder_are_found_again(folder):
    prepared(folder)
    shutil.copytree(folder / "data", folder / "moved")
    assert prepared(folder, data="moved") == [780.0, 820.0]
    assert Read.times == 2


def test_another_version_of_the_program_prepares_anew(folder, monkeypatch):
    prepared(folder)
    monkeypatch.setattr("lungseg3d.__version__", "0.0.0")
    prepared(folder)
    assert Read.times == 4


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 2 // 3])


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 0xFF
    path.write_bytes(data)


def hold_something_else(path: Path) -> None:
    torch.save({"image": torch.zeros(3)}, path)


@pytest.mark.parametrize(
    "damage",
    [cut, flip, hold_something_else, lambda path: path.write_bytes(b""), lambda path: path.write_text("no weights")],
    ids=["cut", "one byte", "another case", "empty", "text"],
)
def test_a_damaged_file_is_named_and_made_again(folder, damage, caplog):
    prepared(folder)
    first = files(folder)[0]
    whole = first.read_bytes()
    damage(first)
    assert prepared(folder) == [780.0, 820.0]
    assert Read.times == 3
    (said,) = (record.message for record in caplog.records if "W_CACHE_DAMAGED" in record.message)
    assert str(first) in said
    assert [len(path.read_bytes()) for path in files(folder)] == [len(whole)] * 2
    prepared(folder)
    assert Read.times == 3


def test_a_folder_in_a_files_place_is_no_traceback(folder):
    prepared(folder)
    first = files(folder)[0]
    first.unlink()
    (first / "inside").mkdir(parents=True)
    assert prepared(folder) == [780.0, 820.0]


def test_a_cache_that_cannot_be_written_is_done_without(folder, caplog):
    (folder / "cache").write_text("a file")
    assert prepared(folder) == prepared(folder) == [780.0, 820.0]
    assert Read.times == 4
    assert "W_CACHE_NOT_WRITTEN" in caplog.text


def test_no_cache_is_asked_for(folder):
    cases = [{"case_id": "c0", "image": str(folder / "data" / "c0.txt")}]
    assert float(PreparedCases(cases, Compose([Read("image")]), None)[0]["image"].sum()) == 780.0
    assert not (folder / "cache").exists()
