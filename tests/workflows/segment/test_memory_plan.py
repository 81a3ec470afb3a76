"""`--max-memory`: a CT that would take more is refused unread and stops no other; what is begun stays within it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from lungseg3d.core import Volume
from lungseg3d.data import PhantomSpec, make_phantom
from lungseg3d.inference.prediction import predictors
from lungseg3d.io import write_volume
from lungseg3d.workflows.batch_state.identity import identity_of
from lungseg3d.workflows.segment.cases import SegmentOptions, segment_cases
from lungseg3d.workflows.segment.memory_plan import BASE_BYTES, reading_options

GIB = 2**30


def claim(path: Path, shape: tuple[int, int, int]) -> Path:
    """A NIfTI of this shape, all zeros, that takes no room on the disk."""
    write_volume(path, Volume(np.zeros((8, 8, 8), np.int16), np.diag([0.7, 0.7, 0.5, 1.0])))
    header = bytearray(path.read_bytes()[:352])
    header[42:48] = np.array(shape, "<i2").tobytes()
    path.write_bytes(header)
    os.truncate(path, 352 + 2 * int(np.prod(shape)))
    return path


def test_no_limit_is_no_budget():
    assert reading_options(SegmentOptions()).memory is None


def test_more_that_is_asked_for_takes_more():
    plain, more = (
        reading_options(SegmentOptions(max_memory_gib=4.0, **asked)).memory.bytes_per_voxel
        for asked in ({}, {"uncertainty": True, "formats": ("nifti", "seg")})
    )
    assert more > plain


def test_a_ct_beyond_the_budget_fails_with_the_numbers_and_stops_no_other(chest, bundles, tmp_path):
    write_volume(tmp_path / "chest.nii", chest.ct)
    large = claim(tmp_path / "large.nii", (768, 768, 1200))
    how = {"device": "cpu", "precision": "fp32", "lung_bundle": bundles.lungs, "nodule_bundle": bundles.nodules}
    options = SegmentOptions(max_memory_gib=BASE_BYTES / GIB + 0.5, **how)
    first, second = segment_cases([large, tmp_path / "chest.nii"], tmp_path / "out", options)
    assert (first.status, first.issues[0].code, second.status) == ("failed", "E_MEMORY_BUDGET", "done")
    record = json.loads((tmp_path / "out" / "large" / "result.json").read_text(encoding="utf-8"))
    assert "768 x 768 x 1200" in record["issues"][0]["message"]


def test_the_budget_is_no_part_of_what_results_depend_on():
    assert identity_of(SegmentOptions(max_memory_gib=3.0), 1) == identity_of(SegmentOptions(), 1)


MEASURED = """
import os, sys, threading, time
from lungseg3d.cli import main
peak = 0
def watch():
    global peak
    while True:
        peak = max(peak, sum(map(resident, family())))
        time.sleep(0.02)
def family():
    return [os.getpid(), *map(int, open(f"/proc/self/task/{os.getpid()}/children").read().split())]
def resident(pid):
    try:
        # Pss: what processes share, such as the voxels that the decoder hands over, counts once.
        lines = open(f"/proc/{pid}/smaps_rollup").read().splitlines()
    except OSError:
        return 0
    return next((1024 * int(line.split()[1]) for line in lines if line.startswith("Pss:")), 0)
threading.Thread(target=watch, daemon=True).start()
try:
    main()
finally:
    print("peak", peak, file=sys.stderr)
"""


def run(*words: object) -> tuple[int, int, str]:
    """Exit code, peak memory in bytes of the program and its decoder, and what it printed."""
    done = subprocess.run(
        [sys.executable, "-c", MEASURED, "segment", *map(str, words)], capture_output=True, text=True, check=False
    )
    return done.returncode, int(done.stderr.rsplit("peak ", 1)[1]), done.stdout + done.stderr


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="/proc says what processes hold")
@pytest.mark.parametrize("slices", [300, 600])
def test_a_run_stays_within_the_budget_that_it_accepted(slices, tmp_path):
    ct = make_phantom(PhantomSpec(seed=1, shape=(256, 256, 150), spacing_mm=(1.4, 1.4, 2.0))).ct
    nearest = [((np.arange(n) + 0.5) * m / n).astype(int) for n, m in zip((512, 512, slices), ct.shape, strict=True)]
    fine = Volume(np.asfortranarray(ct.array[np.ix_(*nearest)]), np.diag([0.7, 0.7, 300 / slices, 1.0]))
    write_volume(tmp_path / "ct.nii", fine)
    plan = reading_options(SegmentOptions(max_memory_gib=1.0)).memory
    enough = -(-plan.needed_bytes(fine.shape, 2) // 2**20) / 2**10 + 0.001
    code, peak, said = run(tmp_path / "ct.nii", "--out", tmp_path / "out", "--device", "cpu", "--max-memory", enough)
    assert code == 0, said
    assert peak <= enough * GIB


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="/proc says what processes hold")
def test_768_x_768_x_1200_voxels_are_refused_where_they_do_not_fit_and_nothing_is_decoded(tmp_path):
    large = claim(tmp_path / "large.nii", (768, 768, 1200))
    code, peak, said = run(large, "--out", tmp_path / "out", "--device", "cpu", "--max-memory", "4")
    assert (code, "E_MEMORY_BUDGET" in said) == (3, True)
    assert peak < BASE_BYTES


@pytest.mark.parametrize("backend", ["openvino", "compile"])
def test_a_backend_that_knows_no_slabs_is_planned_with_more(monkeypatch, backend):
    monkeypatch.setattr(predictors, "obstacle_to", lambda *way: "")
    monkeypatch.setattr(predictors, "has_openvino", lambda: True)
    plain, more = (
        reading_options(SegmentOptions(max_memory_gib=4.0, backend=name, precision="fp32", device="cpu")).memory
        for name in ("torch", backend)
    )
    assert plain.base_bytes == BASE_BYTES
    assert more.base_bytes >= BASE_BYTES + 0.2 * GIB


@pytest.mark.parametrize("installed", [True, False])
def test_auto_is_planned_as_what_it_takes(monkeypatch, installed):
    monkeypatch.setattr(predictors, "has_openvino", lambda: installed)
    auto = SegmentOptions(max_memory_gib=4.0, precision="fp32", device="cpu")
    assert (reading_options(auto).memory.base_bytes > BASE_BYTES) == installed
