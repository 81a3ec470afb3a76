"""Phantom nodules measured on their reference mask, against the volume that was planted."""

import numpy as np
import pytest

from lungseg3d.analysis import measure_nodules
from lungseg3d.data import PhantomSpec, make_phantom
from lungseg3d.data.phantom.thorax import fullest_voxels


def test_a_mask_of_fullest_voxels_has_the_volume_of_all_partial_ones():
    occupancy = np.array([1.0, 0.9, 0.45, 0.45, 0.2])
    assert fullest_voxels(occupancy).sum() == 3


def test_an_object_smaller_than_a_voxel_keeps_its_fullest_one():
    assert (fullest_voxels(np.array([0.05, 0.2, 0.1])) == [False, True, False]).all()


# The finer grid has four times the voxels and is the easier one for a volume: slow.
@pytest.mark.parametrize(
    "spacing_mm", [pytest.param((1.0, 1.0, 1.0), marks=pytest.mark.slow), (1.4, 1.4, 2.0)], ids=["1 mm", "2 mm slices"]
)
def test_planted_nodules_of_5_to_20_mm_measure_within_15_percent(spacing_mm):
    shape = tuple(round(extent / s) for extent, s in zip((300, 230, 160), spacing_mm, strict=True))
    phantom = make_phantom(PhantomSpec(seed=3, shape=shape, spacing_mm=spacing_mm, nodule_count=20))
    measured = {nodule.id: nodule.volume_mm3 for nodule in measure_nodules(phantom.ct, phantom.nodule_map)}
    planted = [nodule for nodule in phantom.nodules if 5 <= nodule.equivalent_diameter_mm <= 20]
    assert len(planted) >= 8
    for nodule in planted:
        assert measured[nodule.id] == pytest.approx(nodule.volume_mm3, rel=0.15)
