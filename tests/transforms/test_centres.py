"""Places for patches: in lungs, on labels, on what is dense."""

from __future__ import annotations

import numpy as np
import torch

from lungseg3d.core import Volume
from lungseg3d.tensors import to_meta_tensor
from lungseg3d.transforms import DenseCentresd, LungCentresd


def lungs_with_spacing() -> Volume:
    labels = np.zeros((40, 5, 20), np.uint8)
    labels[2:38, 1:4, 1:19] = 1
    return Volume(labels, np.diag([2.0, 2.0, 3.0, 1.0]))


def test_centres_are_all_of_the_lung_where_nothing_is_to_be_ignored():
    lungs = lungs_with_spacing()
    data = LungCentresd("lungs")({"lungs": to_meta_tensor(lungs)})
    assert data["centres"].dtype == torch.uint8
    assert np.array_equal(data["centres"][0].numpy(), lungs.array > 0)


def test_centres_keep_their_distance_in_mm_from_what_is_ignored():
    lungs = lungs_with_spacing()
    ignore = np.zeros(lungs.shape, np.uint8)
    ignore[20, 2, 10] = 1
    data = {"lungs": to_meta_tensor(lungs), "ignore": to_meta_tensor(lungs.with_array(ignore))}
    centres = LungCentresd("lungs", distance_mm=9.0)(data)["centres"][0].numpy()
    voxels = np.argwhere(lungs.array > 0)
    away_mm = np.linalg.norm((voxels - (20, 2, 10)) * (2.0, 2.0, 3.0), axis=1)
    assert (away_mm == 9.0).any()  # three slices away: exactly at the distance is still too near
    assert np.array_equal(centres[tuple(voxels.T)] > 0, away_mm > 9.0)
    assert not centres[lungs.array == 0].any()


def test_an_empty_region_to_ignore_ignores_nothing():
    lungs = lungs_with_spacing()
    data = {"lungs": to_meta_tensor(lungs), "ignore": to_meta_tensor(lungs.with_array(lungs.array * 0))}
    assert np.array_equal(LungCentresd("lungs")(data)["centres"][0].numpy(), lungs.array > 0)


def test_dense_places_are_the_middles_of_what_is_dense_away_from_labels_and_edges():
    hu = np.full((60, 50, 40), -850, np.int16)
    for x, y, z in ((15, 15, 15), (30, 30, 20), (45, 40, 20), (2, 25, 20)):
        hu[x - 2 : x + 3, y - 2 : y + 3, z - 2 : z + 3] = 40
    label, lungs = np.zeros(hu.shape, np.uint8), np.zeros(hu.shape, np.uint8)
    label[28:33, 28:33, 18:23] = 1
    lungs[:42] = 1
    affine = np.eye(4)
    data = {
        name: to_meta_tensor(Volume(array, affine))
        for name, array in {"image": hu, "label": label, "lungs": lungs}.items()
    }
    for options, expected in (
        ({}, {(15, 15, 15), (45, 40, 20)}),
        ({"lungs_key": "lungs"}, {(15, 15, 15), (45, 40, 20)} - {(45, 40, 20)}),
        ({"label_key": None}, {(15, 15, 15), (30, 30, 20), (45, 40, 20)}),
    ):
        places = np.argwhere(DenseCentresd("image", **options)(data)["tempting"][0].numpy() > 0)
        assert {tuple(place) for place in places.tolist()} == expected
