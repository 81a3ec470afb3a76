"""Sources of training cases: phantoms, places for patches, empty labels."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from lungseg3d.core import Volume
from lungseg3d.data import PhantomSpec, make_phantom, phantom_datalist
from lungseg3d.tensors import to_meta_tensor, to_volume
from lungseg3d.transforms import (
    EmptyLabeld,
    LungsBelowd,
    LungsByRulesd,
    MakePhantomd,
    fill_from_nearest,
)

FIELDS = {"shape": [60, 50, 52], "spacing_mm": [7.0, 7.0, 6.0], "nodule_count": 2}


@pytest.fixture(scope="module")
def phantom_entry():
    (entry,) = phantom_datalist([3], **FIELDS)
    return entry, MakePhantomd()(entry)


def test_a_phantom_is_the_one_of_its_seed_with_lungs_behind_its_nodules(phantom_entry):
    entry, data = phantom_entry
    known = make_phantom(PhantomSpec(seed=3, shape=(60, 50, 52), spacing_mm=(7.0, 7.0, 6.0), nodule_count=2))
    assert np.array_equal(to_volume(data["image"]).array, known.ct.array)
    assert np.array_equal(data["image"].affine.numpy(), known.ct.affine)
    nodules, lungs = data["nodules"][0].numpy(), data["lungs"][0].numpy()
    assert nodules.any()
    assert np.array_equal(nodules > 0, known.nodule_map.array > 0)
    assert set(np.unique(lungs)) == {0, 1, 2}
    assert lungs[nodules > 0].all()
    outside = nodules == 0
    assert np.array_equal(lungs[outside], known.labels.array[outside])
    assert (data["case_id"], "phantom" in data) == ("phantom-0003", False)
    # The entry itself stays as it is: the data list is used again in every epoch.
    assert entry["phantom"]["seed"] == 3


def test_a_phantoms_right_lung_lies_to_the_right(phantom_entry):
    lungs = to_volume(phantom_entry[1]["lungs"])
    right, left = (lungs.grid.to_world(np.argwhere(lungs.array == value))[:, 0].mean() for value in (1, 2))
    assert right > 40
    assert left < -40


def test_lungs_by_rules_lie_on_the_cts_grid(phantom_entry):
    data = LungsByRulesd("image", output_key="label")({"image": phantom_entry[1]["image"]})
    found, known = data["label"][0].numpy(), phantom_entry[1]["lungs"][0].numpy()
    assert data["label"].dtype == torch.uint8
    for value in (1, 2):
        both = ((found == value) & (known == value)).sum()
        assert 2 * both / ((found == value).sum() + (known == value).sum()) > 0.85


def test_a_hole_takes_the_label_of_the_nearest_voxel():
    labels = np.zeros((9, 5, 5), np.uint8)
    labels[1:5], labels[5:8] = 1, 2
    hole = np.zeros(labels.shape, bool)
    hole[2:7, 2, 2] = True
    labels[hole] = 3
    filled = fill_from_nearest(labels, hole)
    assert filled[:, 2, 2].tolist() == [0, 1, 1, 1, 1, 2, 2, 2, 0]
    assert np.array_equal(filled[~hole], labels[~hole])
    assert labels[2, 2, 2] == 3


def test_no_hole_or_nothing_to_fill_from_changes_nothing():
    labels = np.array([[[0, 1, 2]]], np.uint8)
    assert np.array_equal(fill_from_nearest(labels, np.zeros(labels.shape, bool)), labels)
    assert np.array_equal(fill_from_nearest(labels, np.ones(labels.shape, bool)), labels)


def test_two_holes_far_apart_are_filled_each_from_its_own_side():
    labels = np.zeros((30, 3, 3), np.uint8)
    labels[:10], labels[20:] = 1, 2
    hole = np.zeros(labels.shape, bool)
    hole[4, 1, 1] = hole[25, 1, 1] = True
    filled = fill_from_nearest(np.where(hole, 3, labels).astype(np.uint8), hole)
    assert np.array_equal(filled, labels)


def lungs_with_spacing() -> Volume:
    labels = np.zeros((40, 5, 20), np.uint8)
    labels[2:38, 1:4, 1:19] = 1
    return Volume(labels, np.diag([2.0, 2.0, 3.0, 1.0]))


def test_an_empty_label_is_background_on_the_images_grid():
    image = to_meta_tensor(Volume(np.full((3, 4, 5), 40, np.int16), np.diag([-1.0, 2, 3, 1])))
    label = EmptyLabeld("image")({"image": image})["label"]
    assert label.dtype == torch.uint8
    assert label.shape == (1, 3, 4, 5)
    assert not label.any()
    assert torch.equal(label.affine, image.affine)


def test_lungs_below_nodules_have_values_of_their_own():
    lungs = lungs_with_spacing()
    lungs.array[20:] *= 2
    label = LungsBelowd("lungs")({"lungs": to_meta_tensor(lungs)})["label"]
    assert label.dtype == torch.uint8
    assert np.array_equal(label[0].numpy(), np.array([0, 2, 3])[lungs.array])
