"""Files -> MetaTensors: HU and labels as they lie in the file."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

from lungseg3d.core import IntakeError, Volume
from lungseg3d.io import write_labels, write_volume
from lungseg3d.transforms import JoinLabelsd, ReadCTd, ReadLabelsd

AFFINE = np.array([[-0.7, 0, 0, 12.0], [0, -0.7, 0, 5.0], [0, 0, 2.5, -40], [0, 0, 0, 1]])


@pytest.fixture
def ct(tmp_path):
    hu = np.full((12, 12, 12), -1000, np.int16)
    hu[2:10, 2:10] = 40
    hu[4:8, 4:8, 3:6] = -850
    hu[1, 2, 3] = 1234
    write_volume(tmp_path / "ct.nii.gz", Volume(hu, AFFINE))
    return tmp_path / "ct.nii.gz"


@pytest.fixture
def labels(tmp_path):
    array = np.zeros((3, 4, 5), np.uint8)
    array[0], array[1], array[2, 0] = 1, 2, 5
    write_labels(tmp_path / "labels.nii.gz", Volume(array, AFFINE))
    return tmp_path / "labels.nii.gz"


def test_a_ct_becomes_int16_hu_on_its_own_grid_and_the_rest_goes_along(ct):
    data = ReadCTd("image")({"image": str(ct), "case_id": "a"})
    assert data["case_id"] == "a"
    assert data["image"].shape == (1, 12, 12, 12)
    assert data["image"].dtype == torch.int16
    assert data["image"][0, 1, 2, 3] == 1234
    np.testing.assert_allclose(data["image"].affine.numpy(), AFFINE, atol=1e-5)


def test_what_the_reader_found_travels_as_text(ct):
    image = ReadCTd("image")({"image": ct})["image"]
    assert image.meta["filename_or_obj"] == str(ct)
    reading = json.loads(image.meta["reading"])
    assert reading["source"]["format"] == "NIfTI"
    assert reading["issues"] == []


def test_a_file_that_is_no_ct_is_refused_with_its_code(tmp_path):
    (tmp_path / "a.nii").write_text("no image")
    with pytest.raises(IntakeError, match="E_NOT_AN_IMAGE"):
        ReadCTd("image")({"image": tmp_path / "a.nii"})


def test_options_reach_the_reader(tmp_path):
    write_volume(tmp_path / "ct.nii.gz", Volume(np.full((12, 12, 12), -1000, np.int16), np.eye(4)))
    assert ReadCTd("image", assume_axes="LPS").options.assume_axes == "LPS"
    with pytest.raises(TypeError):
        ReadCTd("image", no_such_option=True)


def test_a_missing_key_is_an_error_unless_it_may_be_missing(ct):
    with pytest.raises(KeyError):
        ReadCTd(["image", "other"])({"image": ct})
    assert set(ReadCTd(["image", "other"], allow_missing_keys=True)({"image": ct})) == {"image"}
    assert ReadLabelsd("ignore", allow_missing_keys=True)({}) == {}


def test_labels_keep_their_values_where_there_is_no_table(labels):
    data = ReadLabelsd("label")({"label": labels})["label"]
    assert data.dtype == torch.uint8
    assert data.shape == (1, 3, 4, 5)
    assert torch.bincount(data.flatten().int()).tolist() == [15, 20, 20, 0, 0, 5]


def test_the_table_swaps_sides_and_drops_what_it_does_not_name(labels):
    data = ReadLabelsd("label", values={"1": 2, "2": 1})({"label": labels})["label"]
    assert (data[0, 0] == 2).all()
    assert (data[0, 1] == 1).all()
    assert (data[0, 2] == 0).all()
    np.testing.assert_allclose(data.affine.numpy(), AFFINE, atol=1e-5)


def test_further_nodules_of_a_crop_are_joined_to_its_label_and_their_mask_is_dropped():
    label = torch.tensor([[[[0, 1, 2, 0, 0]]]], dtype=torch.uint8)
    others = torch.tensor([[[[0, 8, 8, 3, 0]]]], dtype=torch.uint8)
    joined = JoinLabelsd("label", "others")({"label": label, "others": others, "case_id": "a"})
    assert joined["label"].tolist() == [[[[0, 1, 2, 1, 0]]]]
    assert joined["label"].dtype == torch.uint8
    assert set(joined) == {"label", "case_id"}
    assert label.tolist() == [[[[0, 1, 2, 0, 0]]]]
    assert JoinLabelsd("label", "others")({"label": label})["label"] is label
