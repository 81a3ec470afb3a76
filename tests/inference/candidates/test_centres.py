"""Peaks of a map of centres, and a second look at each."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from monai.data import MetaTensor
from scipy import ndimage

from lungseg3d.inference import CentreSearch, FindCentresd, MirroredViews
from lungseg3d.inference.candidates.centres import find_peaks


class Bright(torch.nn.Module):
    """Probability = image; in images whose first voxel along X is brighter than the last one, half of it."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = torch.nn.Parameter(torch.tensor(1.0))
        self.shown = 0

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        self.shown += len(image)
        halved = (image[:, :, 0].amax(dim=(1, 2, 3)) > image[:, :, -1].amax(dim=(1, 2, 3))).view(-1, 1, 1, 1, 1)
        logits = self.scale * torch.logit((image * torch.where(halved, 0.5, 1.0)).clamp(1e-4, 1 - 1e-4))
        return torch.cat([torch.zeros_like(logits), logits], dim=1)


class Small(torch.nn.Module):
    """Sees balls of 3 voxels and no larger ones: bright in the middle, dark 4 voxels away."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = torch.nn.Parameter(torch.tensor(1.0))

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        core = torch.nn.functional.avg_pool3d(image, 3, stride=1, padding=1)
        around = torch.nn.functional.max_pool3d(image, 9, stride=1, padding=4)
        wide = torch.nn.functional.avg_pool3d(image, 9, stride=1, padding=4)
        logits = self.scale * (20 * (core - 4 * wide * around) - 10)
        return torch.cat([torch.zeros_like(logits), logits], dim=1)


def hills(*tops: tuple[tuple[int, int, int], float], size: int = 30) -> np.ndarray:
    found = np.zeros((size,) * 3)
    for voxel, height in tops:
        point = np.zeros(found.shape)
        point[voxel] = 1
        hill = ndimage.gaussian_filter(point, 1.5)
        found = np.maximum(found, height * hill / hill.max())
    return np.where(found > 0.01, found, 0)


def test_peaks_are_the_tops_of_hills_the_highest_first():
    peaks = find_peaks(hills(((8, 8, 8), 0.6), ((20, 21, 22), 0.9)), 0.5, 4.0)
    assert [peak.voxel for peak in peaks] == [(20, 21, 22), (8, 8, 8)]
    np.testing.assert_allclose([peak.probability for peak in peaks], [0.9, 0.6])


def test_low_peaks_and_lower_ones_beside_a_higher_one_are_none():
    found = hills(((8, 8, 8), 0.9), ((12, 8, 8), 0.8), ((20, 20, 20), 0.4))
    assert [peak.voxel for peak in find_peaks(found, 0.5, 4.1)] == [(8, 8, 8)]
    assert [peak.voxel for peak in find_peaks(found, 0.5, 3.9)] == [(8, 8, 8), (12, 8, 8)]


def test_a_flat_top_is_one_peak_and_an_empty_map_has_none():
    found = np.zeros((10, 10, 10))
    assert find_peaks(found, 0.5, 3.0) == []
    found[4:6, 4:6, 4:6] = 1.0
    assert len(find_peaks(found, 0.5, 3.0)) == 1


def find(
    image: np.ndarray, first: np.ndarray, network: torch.nn.Module | None = None, flips=(0, 1), roi_size=16, **search
):
    views = MirroredViews(network or Bright(), flips=flips, precision="fp32")
    affine = torch.diag(torch.tensor([2.0, 2, 2, 1]))
    data = {"image": MetaTensor(torch.tensor(image[None], dtype=torch.float32))}
    data["pred"] = MetaTensor(torch.tensor(first[None], dtype=torch.float32), affine=affine)
    found = FindCentresd("pred", views, CentreSearch(**{"scales": (1,), **search}), roi_size=roi_size)(data)
    assert torch.equal(found["pred"].affine, affine)
    assert torch.equal(found["confidence"].affine, affine)
    return found["pred"][0].numpy(), found["confidence"][0].numpy()


@pytest.mark.parametrize("roi_size", [15, 16])
def test_a_mark_lies_where_the_second_look_sees_the_middle(roi_size):
    marks, confidence = find(hills(((12, 14, 20), 0.8)), hills(((13, 12, 20), 0.6)), roi_size=roi_size)
    count = ndimage.label(marks)[1]
    assert (count, set(np.unique(marks))) == (1, {0.0, 1.0})
    assert ndimage.center_of_mass(marks) == pytest.approx((12, 14, 20))
    assert np.array_equal(confidence > 0, marks > 0)
    assert confidence.max() == pytest.approx(0.8, abs=1e-3)


def test_the_confidence_is_the_mean_of_all_views():
    image = hills(((15, 15, 15), 0.8))
    image[15 - 7, 15, 15] = 0.2  # on the border of the window of 16: two of the four views are halved
    _, confidence = find(image, hills(((15, 15, 15), 0.8)))
    assert confidence.max() == pytest.approx(0.6, abs=1e-3)


def test_two_peaks_of_one_thing_are_one_mark_and_those_at_the_border_stay_inside():
    first = np.maximum(hills(((12, 14, 17), 0.6)), hills(((12, 14, 23), 0.6)))
    assert ndimage.label(find(hills(((12, 14, 20), 0.8)), first)[0])[1] == 1
    marks, _ = find(hills(((0, 29, 0), 0.8)), hills(((0, 29, 0), 0.8)))
    assert marks[0, 29, 0] == 1


def test_what_falls_below_the_least_is_not_marked_nor_looked_at_any_further():
    network = Bright()
    two = hills(((8, 8, 8), 0.9), ((22, 22, 22), 0.2))
    marks, _ = find(two, np.maximum(two, hills(((22, 22, 22), 0.9))), network, flips=(0, 1, 2), least=0.5)
    assert ndimage.label(marks)[1] == 1
    assert marks[8, 8, 8] == 1
    # At most 1 a view could be gained: after the fifth, 5 x 0.2 and three more are less than 8 x 0.5.
    assert network.shown == 8 + 6


def test_nothing_is_found_in_an_empty_map():
    marks, confidence = find(np.zeros((20, 20, 20)), np.zeros((20, 20, 20)))
    assert not marks.any()
    assert not confidence.any()


def test_no_more_places_are_looked_at_than_asked_for():
    network = Bright()
    two = hills(((8, 8, 8), 0.9), ((22, 22, 22), 0.8))
    marks, _ = find(two, two, network, flips=(0,), most=1)
    assert ndimage.label(marks)[1] == 1
    assert marks[8, 8, 8] == 1
    assert network.shown == 2


def ball(radius: float, middle=(24, 24, 24), size: int = 48) -> np.ndarray:
    grid = np.indices((size,) * 3) - np.array(middle)[:, None, None, None]
    return ((grid**2).sum(axis=0) <= radius**2).astype(float)


@pytest.mark.parametrize(("radius", "scale"), [(2.5, 1), (5.0, 2)])
def test_a_thing_is_found_at_the_resolution_at_which_it_is_known(radius, scale):
    image = ball(radius)
    first = hills(((23, 24, 25), 0.6), size=48)
    for scales in ((1,), (2,), (1, 2)):
        marks, confidence = find(image, first, Small(), scales=scales, least=0.5)
        assert marks.any() == (scale in scales)
        if marks.any():
            np.testing.assert_allclose(ndimage.center_of_mass(marks), (24, 24, 24), atol=1.0)
            assert confidence.max() > 0.7


def test_what_both_resolutions_see_is_one_mark_of_the_surer_one():
    image = hills(((20, 20, 20), 0.8), size=48)
    alone = [find(image, image, scales=(scale,))[1].max() for scale in (1, 2)]
    marks, confidence = find(image, image, scales=(1, 2))
    assert ndimage.label(marks)[1] == 1
    assert confidence.max() == max(alone) > min(alone)
