"""Masks of several readers become the share of them that outlined a voxel."""

from __future__ import annotations

import numpy as np

from lungseg3d.core import Volume
from lungseg3d.tensors import to_meta_tensor
from lungseg3d.transforms import ReaderSharesd
from lungseg3d.transforms.readers import reader_masks, reader_shares

BITS = np.array([0b0000, 0b0010, 0b1010, 0b1011, 0b0001], np.uint8).reshape(5, 1, 1)  # readers 0, 1 and 3


def test_shares_count_only_readers_who_outlined_anything():
    np.testing.assert_allclose(reader_shares(BITS).ravel(), [0, 1 / 3, 2 / 3, 1, 1 / 3])
    masks = reader_masks(BITS)
    assert masks.shape == (3, 5, 1, 1)
    assert masks[2].ravel().tolist() == [False, False, True, True, False]


def test_nobody_outlined_nothing():
    assert reader_masks(np.zeros((2, 2, 2), np.uint8)).shape == (0, 2, 2, 2)
    assert not reader_shares(np.zeros((2, 2, 2), np.uint8)).any()


def test_the_transform_gives_per_cent_of_the_readers_of_a_case():
    label = Volume((BITS == 0b1011).astype(np.uint8), np.eye(4))
    data = {"label": to_meta_tensor(label), "readers": to_meta_tensor(Volume(BITS, np.eye(4)))}
    found = ReaderSharesd("label")(data)
    assert found["label"][0].numpy().ravel().tolist() == [0, 33, 67, 100, 33]
    assert str(found["label"].dtype) == "torch.uint8"
    assert "readers" not in found


def test_an_outline_without_readers_is_that_of_one():
    label = Volume(np.array([0, 1, 1, 0, 0], np.uint8).reshape(5, 1, 1), np.eye(4))
    found = ReaderSharesd("label")({"label": to_meta_tensor(label)})
    assert found["label"][0].numpy().ravel().tolist() == [0, 100, 100, 0, 0]


def test_further_nodules_are_shares_of_their_own_readers():
    label, others = np.zeros((2, 5, 1, 1), np.uint8)
    label[0], others[3], others[4] = 1, 0b0011, 0b0001
    data = {name: to_meta_tensor(Volume(mask, np.eye(4))) for name, mask in (("label", label), ("others", others))}
    found = ReaderSharesd("label")(data)
    assert found["label"][0].numpy().ravel().tolist() == [100, 0, 0, 100, 50]
    assert "others" not in found
