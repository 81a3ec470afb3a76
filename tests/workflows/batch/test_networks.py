"""`batch` with the shipped networks, as the program itself: the bytes of `segment`, also after kills."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from lungseg3d.core import Volume
from lungseg3d.io import write_volume
from lungseg3d.workflows.batch.verify import verify_batch
from lungseg3d.workflows.segment.cases import SegmentOptions, segment_cases
from tests.support.batch_stand_in import contents

pytestmark = pytest.mark.slow
ASKED = ("--roi", "full", "--device", "cpu", "--precision", "fp32")
COUNT = 7


@pytest.fixture(scope="module")
def source(tmp_path_factory) -> Path:
    """Crops of lung with a ball of tissue in each, and one file that is none."""
    folder = tmp_path_factory.mktemp("crops")
    for number in range(COUNT):
        random = np.random.default_rng(number)
        away = np.linalg.norm(np.indices((40, 40, 40)) - random.uniform(16, 24, (3, 1, 1, 1)), axis=0)
        hu = np.where(away <= 4 + number / 2, 40, -850) + random.normal(0, 25, (40, 40, 40))
        write_volume(folder / f"crop-{number}.nii.gz", Volume(hu.astype(np.int16), np.eye(4)))
    (folder / "text.nii.gz").write_text("no image")
    return folder


def start(source: Path, out: Path, *more: str) -> subprocess.Popen:
    words = [sys.executable, "-c", "from lungseg3d.cli import main; main()", "batch", str(source), "--out", str(out)]
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[3])}
    return subprocess.Popen([*words, *ASKED, *more], env=environment, stderr=subprocess.PIPE, text=True)


def exit_code_of(program: subprocess.Popen) -> int:
    """Wait for the end; what it said is read, so that it never waits for a reader."""
    program.communicate()
    return program.returncode


@pytest.fixture(scope="module")
def whole(source, tmp_path_factory) -> dict[str, bytes]:
    """What an uninterrupted batch of one worker writes."""
    out = tmp_path_factory.mktemp("whole") / "out"
    program = start(source, out, "--workers", "1")
    _, said = program.communicate()
    assert program.returncode == 8, said
    return contents(out)


def test_a_batch_writes_what_segment_writes(source, whole, tmp_path):
    options = SegmentOptions(roi="full", device="cpu", precision="fp32", write_timings=False)
    segment_cases(sorted(source.iterdir()), tmp_path / "out", options)
    assert contents(tmp_path / "out") == {name: data for name, data in whole.items() if "/" in name}


@pytest.mark.parametrize("workers", [2, 4])
def test_more_workers_write_the_same_bytes(source, whole, tmp_path, workers):
    assert exit_code_of(start(source, tmp_path / "out", "--workers", str(workers))) == 8
    assert contents(tmp_path / "out") == whole


def test_five_kills_change_no_byte(source, whole, tmp_path):
    out, random = tmp_path / "out", np.random.default_rng(5)
    for kill in range(5):
        program = start(source, out, "--workers", "2")
        while program.poll() is None and len(list(out.glob("crop-*/result.json"))) <= kill:
            time.sleep(0.01)
        time.sleep(float(random.uniform(0, 1)))
        program.kill()
        program.communicate()
        assert not verify_batch(out).problems
    assert exit_code_of(start(source, out, "--workers", "2")) == 8
    assert contents(out) == whole


def test_a_worker_without_memory_for_the_models_is_said_in_a_line(source, tmp_path):
    program = start(source, tmp_path / "out", "--workers", "1", "--memory-limit", "0.3")
    _, said = program.communicate()
    assert program.returncode == 3
    assert "E_OUT_OF_MEMORY" in said
    assert "Traceback" not in said


def test_the_summary_knows_weights_and_input_by_their_sums(whole):
    summary = json.loads(whole["summary.json"])
    assert summary["counts"] == {"done": COUNT, "refused": 1}
    assert all(len(case["input_sha256"]) == 64 for case in summary["cases"])
    assert {len(sum_) for files in summary["identity"]["bundles"].values() for sum_ in files.values()} == {64}
