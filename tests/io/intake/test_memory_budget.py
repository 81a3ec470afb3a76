"""A CT that takes more than was set aside is refused by its header, in every format, and says what to do."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import SimpleITK

from lungseg3d.core import LungSegError, Volume
from lungseg3d.io import MemoryBudget, ReadOptions, open_ct, write_dicom_series, write_volume

SHAPE = (24, 20, 16)
NEEDED = 1000 + 24 * 20 * 16 * 9


def budget(most_bytes: int) -> ReadOptions:
    return ReadOptions(memory=MemoryBudget(most_bytes, 1000, 9.0, 5.0))


@pytest.fixture(params=["ct.nii", "ct.nii.gz", "ct.nrrd", "ct.mha", "series"])
def ct(request, tmp_path) -> Path:
    hu = np.random.default_rng(0).normal(-400, 400, SHAPE).clip(-1000, 1000).astype(np.int16)
    if request.param.endswith((".nrrd", ".mha")):
        SimpleITK.WriteImage(SimpleITK.GetImageFromArray(hu.T), str(tmp_path / request.param))
    else:
        write = write_dicom_series if request.param == "series" else write_volume
        write(tmp_path / request.param, Volume(hu, np.diag([1.0, 1.0, 2.0, 1.0])))
    return tmp_path / request.param


def test_what_fits_to_the_byte_is_read_and_one_byte_less_is_refused(ct):
    assert open_ct(ct, budget(NEEDED)).volume.shape == SHAPE
    with pytest.raises(LungSegError, match=r"24 x 20 x 16 voxels take about 0\.0 GiB") as refused:
        open_ct(ct, budget(NEEDED - 1))
    assert refused.value.code == "E_MEMORY_BUDGET"
    assert ct.name in refused.value.message
    assert "--max-memory" in refused.value.remedy


def test_a_header_alone_is_enough_to_refuse(tmp_path):
    small = tmp_path / "ct.nii"
    write_volume(small, Volume(np.zeros((8, 8, 8), np.int16), np.eye(4)))
    claims = bytearray(small.read_bytes()[:352])
    claims[42:48] = np.array([768, 768, 1200], "<i2").tobytes()
    small.write_bytes(claims)  # not one voxel is there
    with pytest.raises(LungSegError, match=r"768 x 768 x 1200 voxels take about 5\.9 GiB, .* allows 4\.0"):
        open_ct(small, budget(4 * 2**30))


def test_voxels_that_are_large_in_the_file_count_while_they_are_read():
    plan = MemoryBudget(0, 0, 9.0, 5.0)
    assert plan.needed_bytes((10, 10, 10), 2) == 9000
    assert plan.needed_bytes((10, 10, 10), 8) == 13000


def test_the_way_out_is_a_budget_that_suffices():
    plan = MemoryBudget(2 * 2**30, 2**30, 9.0)
    with pytest.raises(LungSegError) as refused:
        plan.check("ct", (1024, 1024, 500), 2)
    words = refused.value.remedy.split()
    enough = float(words[words.index("--max-memory") + 1])
    MemoryBudget(int(enough * 2**30), 2**30, 9.0).check("ct", (1024, 1024, 500), 2)
    share = float(words[words.index("%") - 1]) / 100
    plan.check("ct", (1024, 1024, int(500 * share)), 2)
