"""Noise, contrast and ranges: known numbers come back, what is outside is named, what is finer than the grid is not."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from lungseg3d.analysis import Acquisition, TrainingRange, measure_acquisition, range_json, range_of_json
from lungseg3d.core import Volume

SEEN = [
    Acquisition(0.7, 1.0, 8.0, 40.0, "soft"),
    Acquisition(0.9, 3.0, 20.0, 55.0, ""),
    Acquisition(0.8, 2.0, None, None, "soft"),
]
LIKE = Acquisition(0.8, 2.5, 15.0, 45.0, "soft")


def chest(heart_hu: float, signs=(1, 1)) -> tuple[Volume, Volume]:
    """Two lungs, a heart between them, 3 mm voxels; X and Z run against right and head where `signs` are -1."""
    hu, lungs = np.full((60, 40, 40), 40, np.int16), np.zeros((60, 40, 40), np.uint8)
    for value, place in ((2, slice(5, 20)), (1, slice(40, 55))):
        hu[place, 5:35, 5:35], lungs[place, 5:35, 5:35] = -850, value
    hu[20:40, 20:34, 8:26] = heart_hu
    hu[20:40, 5:14, :] = 700  # the spine
    affine = np.diag([3.0 * signs[0], 3.0, 3.0 * signs[1], 1.0])
    turned = (slice(None, None, signs[0]), slice(None), slice(None, None, signs[1]))
    return Volume(hu[turned], affine), Volume(lungs[turned], affine)


@pytest.mark.parametrize("sd_hu", [5.0, 20.0, 60.0])
def test_noise_is_measured_in_lung_and_edges_do_not_count(sd_hu):
    ct, lungs = chest(40)
    random = np.random.default_rng(0)
    slabs = [np.full((120, 120), -850.0) for _ in range(3)]
    for slab in slabs:
        slab[::12, :] = 40.0  # vessels
        slab += random.normal(0, sd_hu, slab.shape)
    # Beyond -700 and -970 HU nothing is lung: strong noise loses its tails.
    assert measure_acquisition(ct, slabs, lungs, {}).noise_hu == pytest.approx(sd_hu, rel=0.2)


@pytest.mark.parametrize("signs", [(1, 1), (-1, 1), (-1, -1)])
def test_the_blood_between_the_lungs_is_told_from_the_spine_in_every_order_of_axes(signs):
    for heart_hu in (40, 220):
        ct, lungs = chest(heart_hu, signs)
        assert measure_acquisition(ct, [], lungs, {}).blood_hu == heart_hu


def test_what_cannot_be_measured_is_unknown():
    ct, lungs = chest(40)
    one = lungs.with_array(np.where(lungs.array == 1, 1, 0).astype(np.uint8))
    found = measure_acquisition(ct, [np.full((50, 50), 40.0)], one, {"kernel": "B70f", "lung_kernel": True})
    assert found == Acquisition(3.0, 3.0, None, None, "sharp")
    assert measure_acquisition(ct, [], None, {"kernel": "B30f", "lung_kernel": False}).kernel == "soft"


def test_a_ct_like_those_seen_has_no_issue():
    assert TrainingRange.of(SEEN, 1.0).issues(LIKE, "nodules") == []


@pytest.mark.parametrize(
    ("changes", "code", "words"),
    [
        ({"slice_mm": 5.0}, "W_OOD_SPACING", "a slice distance of 5 mm, trained on 1 to 3 mm (3 CTs)"),
        ({"in_plane_mm": 2.0}, "W_OOD_SPACING", "pixels of 2 mm"),
        ({"noise_hu": 40.0}, "W_OOD_NOISE", "noise in the lungs of 40 HU, trained on 8 to 20 HU (2 CTs)"),
        ({"noise_hu": 1.0}, "W_OOD_NOISE", "noise in the lungs of 1 HU"),
        ({"blood_hu": 180.0}, "W_OOD_CONTRAST", "180 HU between the lungs, trained on 40 to 55 HU (2 CTs)"),
        ({"kernel": "sharp"}, "W_OOD_KERNEL", "a sharp kernel, trained on soft (2 CTs)"),
    ],
)
def test_what_lies_outside_is_named_with_what_was_seen(changes, code, words):
    (issue,) = TrainingRange.of(SEEN, 1.0).issues(replace(LIKE, **changes), "nodules")
    assert issue.code == code
    assert issue.message.startswith("nodules: ")
    assert words in issue.message


def test_voxels_finer_than_the_networks_grid_are_seen_as_its_own():
    thick = TrainingRange.of([replace(LIKE, slice_mm=1.0, in_plane_mm=1.0)], 1.0)
    assert thick.issues(replace(LIKE, slice_mm=0.5, in_plane_mm=0.5), "nodules") == []
    coarse = TrainingRange.of([replace(LIKE, slice_mm=5.0)], 1.0)
    assert [issue.code for issue in coarse.issues(replace(LIKE, slice_mm=0.5), "nodules")] == ["W_OOD_SPACING"]


def test_what_no_training_ct_told_is_not_judged():
    silent = TrainingRange.of([Acquisition(0.8, 2.0)], 1.0)
    assert silent.issues(replace(LIKE, slice_mm=2.0), "nodules") == []
    mostly = TrainingRange.of([LIKE, *[replace(LIKE, kernel="")] * 2], 1.0)
    assert mostly.issues(replace(LIKE, kernel="sharp"), "nodules") == []


def test_a_range_comes_back_from_json():
    found = TrainingRange.of(SEEN, 1.0)
    assert range_of_json(json.loads(json.dumps(range_json(found)))) == found
