"""The range of a training: measured from its CTs, kept in its bundle, held against a new CT by `segment`."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from lungseg3d.core import BundleError
from lungseg3d.io import write_volume
from lungseg3d.workflows.bundle.training_range import TRAINING_RANGE, read_training_range, write_training_range
from lungseg3d.workflows.segment.cases import SegmentOptions, segment_cases


@pytest.fixture
def bundle(bundles, tmp_path) -> Path:
    return Path(shutil.copytree(bundles.nodules, tmp_path / "bundle"))


def test_crops_of_a_training_become_a_range_and_a_broken_one_costs_only_itself(bundle, crops, tmp_path):
    (tmp_path / "broken.nii.gz").write_text("no image")
    images = [crops / f"image-{i}.nii.gz" for i in range(4)] + [tmp_path / "broken.nii.gz"]
    write_training_range(bundle, [{"case_id": path.name, "image": str(path)} for path in images], 1.0)
    content = json.loads((bundle / TRAINING_RANGE).read_text(encoding="utf-8"))
    assert content["cases"] == 4
    assert content["ranges"]["slice_mm"] == {"low": 1.0, "high": 1.0, "cases": 4}
    assert "blood_hu" not in content["ranges"]  # crops have no two lungs
    assert read_training_range(bundle, "b").found.working_mm == 1.0


def test_a_file_that_is_no_range_is_named(bundle):
    (bundle / TRAINING_RANGE).write_text("[]", encoding="utf-8")
    with pytest.raises(BundleError, match=r"E_TRAINING_RANGE"):
        read_training_range(bundle, "b")


def test_segment_says_what_of_a_ct_the_training_never_saw(bundle, bundles, chest, tmp_path):
    seen = {"low": 0.7, "high": 1.0, "cases": 5}
    content = {"cases": 5, "working_mm": 1.0, "ranges": {"slice_mm": seen, "in_plane_mm": seen}, "kernels": {}}
    (bundle / TRAINING_RANGE).write_text(json.dumps(content), encoding="utf-8")
    write_volume(tmp_path / "chest.nii.gz", chest.ct)
    options = SegmentOptions(device="cpu", precision="fp32", lung_bundle=bundles.lungs, nodule_bundle=bundle)
    (result,) = segment_cases([tmp_path / "chest.nii.gz"], tmp_path / "out", options)
    issue, other = result.issues
    assert (issue.code, other.code) == ("W_OOD_SPACING", "W_NO_OPERATING_POINT")
    assert "pixels of 3 mm" in issue.message
    assert "a slice distance of 4 mm, trained on 0.7 to 1 mm (5 CTs)" in issue.message
