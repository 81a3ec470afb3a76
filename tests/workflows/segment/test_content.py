"""What is in the chest and what is not: the catalogue's part C on phantoms, with the shipped weights. Minutes: slow."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from lungseg3d.core import Box, CaseResult, Volume
from lungseg3d.data import Phantom, PhantomSpec, make_phantom
from lungseg3d.io import read_labels, write_volume
from lungseg3d.metrics import dice
from lungseg3d.workflows.segment.cases import segment_cases

pytestmark = pytest.mark.slow

CHEST = PhantomSpec(seed=7, shape=(190, 150, 110), spacing_mm=(2.0, 2.0, 3.0), nodule_count=3)


@pytest.fixture(scope="module")
def phantom() -> Phantom:
    return make_phantom(CHEST)


def segmented(ct: Volume, folder) -> tuple[CaseResult, np.ndarray]:
    """The result of one CT, and its label map in RAS order."""
    write_volume(folder / "ct.nii.gz", ct)
    (result,) = segment_cases([folder / "ct.nii.gz"], folder / "out")
    assert result.status in ("done", "no_lungs"), result.issues
    return result, read_labels(folder / "out" / result.case_id / "labels.nii.gz").as_ras().array


def codes(result: CaseResult) -> set[str]:
    return {issue.code for issue in result.issues}


def test_a_whole_chest_gives_no_quality_code_and_its_lungs(phantom, tmp_path):
    result, labels = segmented(phantom.ct, tmp_path)
    assert codes(result) == set()
    assert dice(labels > 0, phantom.labels.as_ras().array > 0) > 0.93


def test_a_ct_without_lungs_has_an_empty_mask_and_a_status_of_its_own(tmp_path):
    result, labels = segmented(make_phantom(replace(CHEST, lungs="none", nodule_count=0)).ct, tmp_path)
    assert result.status == "no_lungs"
    assert "W_NO_LUNG" in codes(result)
    assert not labels.any()
    assert result.nodules == ()


def test_half_a_chest_says_where_the_image_ends_inside_the_lungs(phantom, tmp_path):
    x, y, z = phantom.ct.shape
    result, _ = segmented(phantom.ct.crop(Box((0, 0, 0), (x, y, z // 2))), tmp_path)
    (issue,) = [issue for issue in result.issues if issue.code == "W_LUNG_TOUCHES_EDGE"]
    assert "upper end" in issue.message
    assert "lower end" not in issue.message


@pytest.mark.parametrize(("present", "missing"), [("right", "left"), ("left", "right")])
def test_after_pneumonectomy_the_missing_side_is_named(present, missing, tmp_path):
    result, _ = segmented(make_phantom(replace(CHEST, lungs=present, nodule_count=0)).ct, tmp_path)
    issues = [issue for issue in result.issues if issue.code in ("W_ONE_LUNG", "W_ASYMMETRY")]
    assert len(issues) == 1
    assert f" {missing} lung" in issues[0].message


def test_table_arms_and_air_outside_the_body_are_never_lung(tmp_path):
    wide = make_phantom(replace(CHEST, shape=(240, 190, 110), arms=True))
    _, labels = segmented(wide.ct, tmp_path)
    truth = wide.labels.as_ras().array > 0
    stray_ml = np.count_nonzero((labels > 0) & ~truth) * wide.ct.voxel_volume_mm3 / 1000
    assert dice(labels > 0, truth) > 0.93
    assert stray_ml < 0.1 * np.count_nonzero(truth) * wide.ct.voxel_volume_mm3 / 1000


def test_metal_and_dense_contrast_change_the_lungs_little(phantom, tmp_path):
    hu = phantom.ct.array.copy()
    heart = phantom.ct.as_ras().array.shape
    middle = (heart[0] // 2, heart[1] // 2, heart[2] // 2)
    hu[middle[0] - 4 : middle[0] + 4, middle[1] + 8 : middle[1] + 11, middle[2] - 6 : middle[2] + 6] = 3071
    result, labels = segmented(Volume(hu, phantom.ct.affine), tmp_path)
    assert "W_NO_LUNG" not in codes(result)
    assert dice(labels > 0, phantom.labels.as_ras().array > 0) > 0.93
