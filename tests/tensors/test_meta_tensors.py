"""Volume <-> MetaTensor: the same voxels, the same place."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
import torch
from monai.data import MetaTensor

from lungseg3d.core import Volume
from lungseg3d.tensors import to_meta_tensor, to_volume

AFFINE = np.array([[0.0, -0.7, 0.1, 5.25], [0.8, 0, 0, -3.5], [0, 0.05, 2.5, 11.125], [0, 0, 0, 1]])


@pytest.mark.parametrize("dtype", [np.int16, np.uint8, np.float32, np.int32, bool])
def test_a_volume_survives_the_round_trip_with_affine_and_type(dtype):
    array = np.arange(2 * 3 * 4).reshape(2, 3, 4).astype(dtype)
    tensor = to_meta_tensor(Volume(array, AFFINE))
    assert tensor.shape == (1, 2, 3, 4)
    back = to_volume(tensor)
    assert back.array.dtype == dtype
    assert np.array_equal(back.array, array)
    assert np.array_equal(back.affine, AFFINE)


def test_nodule_numbers_above_32767_stay_positive():
    array = np.full((1, 1, 2), 65535, np.uint16)
    assert to_volume(to_meta_tensor(Volume(array, AFFINE))).array.max() == 65535


def test_a_view_turned_to_ras_becomes_a_tensor_of_the_same_voxels():
    turned = Volume(np.arange(24, dtype=np.int16).reshape(2, 3, 4), np.diag([-1.0, 1, -2, 1])).as_ras()
    back = to_volume(to_meta_tensor(turned))
    assert np.array_equal(back.array, turned.array)
    assert np.array_equal(back.affine, turned.affine)


def test_meta_goes_along_but_the_place_is_the_volumes_own():
    other = to_meta_tensor(Volume(np.zeros((2, 2, 2), np.int16), np.eye(4)), {"filename_or_obj": "a.nii"})
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        tensor = to_meta_tensor(Volume(np.zeros((2, 2, 2), np.int16), AFFINE), other.meta)
    assert tensor.meta["filename_or_obj"] == "a.nii"
    assert np.array_equal(tensor.affine.numpy(), AFFINE)
    assert np.array_equal(other.affine.numpy(), np.eye(4))


def test_a_plain_tensor_lies_at_the_origin_and_the_first_channel_is_taken():
    tensor = torch.stack([torch.zeros(2, 3, 4), torch.ones(2, 3, 4)])
    volume = to_volume(tensor)
    assert volume.array.max() == 0
    assert np.array_equal(volume.affine, np.eye(4))


def test_a_network_output_that_still_carries_gradients_becomes_a_volume():
    tensor = MetaTensor(torch.ones(1, 2, 2, 2, requires_grad=True) * 2, affine=torch.from_numpy(AFFINE))
    assert to_volume(tensor).array.sum() == 16
