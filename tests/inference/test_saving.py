"""Label maps and nodules onto the disk: names, types, places; and nodules from probabilities."""

from __future__ import annotations

import nibabel
import numpy as np
import pytest
import torch
from monai.data import MetaTensor

from lungseg3d.core import Volume
from lungseg3d.inference import NodulesOnSourced, SaveLabelMapsd
from lungseg3d.tensors import to_meta_tensor, to_volume

AFFINE = np.array([[-1.0, 0, 0, 9.0], [0, -1.0, 0, 8.0], [0, 0, 2.0, -7.0], [0, 0, 0, 1]])


@pytest.mark.parametrize("dtype", [np.uint8, np.int32, np.float32])
def test_each_key_becomes_a_file_of_its_type_in_the_cases_folder(tmp_path, dtype):
    array = np.arange(24).reshape(2, 3, 4) % 4
    maps = {key: to_meta_tensor(Volume(array.astype(dtype), AFFINE)) for key in ("labels", "nodules")}
    data = SaveLabelMapsd(["labels", "nodules"], str(tmp_path / "out"))({**maps, "case_id": "case-7"})
    assert data["case_id"] == "case-7"
    folder = tmp_path / "out" / "case-7"
    assert sorted(path.name for path in folder.iterdir()) == ["labels.nii.gz", "nodules.nii.gz"]
    for name, saved_type in (("labels", np.uint8), ("nodules", np.uint16)):
        image = nibabel.load(folder / f"{name}.nii.gz")
        assert image.get_data_dtype() == saved_type
        assert np.array_equal(np.asarray(image.dataobj), array)
        np.testing.assert_allclose(image.affine, AFFINE)


def test_nodule_300_is_not_nodule_44(tmp_path):
    nodules = to_meta_tensor(Volume(np.full((2, 2, 2), 300, np.uint16), AFFINE))
    SaveLabelMapsd("nodules", str(tmp_path))({"nodules": nodules, "case_id": "a"})
    assert np.asarray(nibabel.load(tmp_path / "a" / "nodules.nii.gz").dataobj).max() == 300


def test_two_cases_never_share_a_folder(tmp_path):
    save = SaveLabelMapsd("labels", str(tmp_path), case_key="name")
    for name, value in (("a", 1), ("a-2", 2)):
        save({"labels": to_meta_tensor(Volume(np.full((2, 2, 2), value, np.uint8), AFFINE)), "name": name})
    values = [int(np.asarray(nibabel.load(tmp_path / n / "labels.nii.gz").dataobj).max()) for n in ("a", "a-2")]
    assert values == [1, 2]


def probability_with(*balls: tuple[tuple[float, float, float], float, float]) -> Volume:
    """Balls (centre in mm, radius in mm, probability inside) on a grid of 1 mm."""
    affine = np.eye(4)
    affine[:3, 3] = -20
    x, y, z = np.meshgrid(*[np.arange(40) - 20.0] * 3, indexing="ij")
    array = np.zeros((40, 40, 40), np.float32)
    for (cx, cy, cz), radius, value in balls:
        array[(x - cx) ** 2 + (y - cy) ** 2 + (z - cz) ** 2 <= radius**2] = value
    return Volume(array, affine)


def data_with(probability: Volume, lungs: np.ndarray) -> dict:
    """A CT that runs against the working grid's axes, in slices of 2 mm."""
    affine = np.diag([-1.0, -1.0, 2.0, 1.0])
    affine[:3, 3] = (20, 20, -20)
    lung_map = Volume(lungs, affine)
    pred = MetaTensor(torch.from_numpy(probability.array)[None], affine=torch.from_numpy(probability.affine.copy()))
    ct = to_meta_tensor(lung_map.with_array(np.zeros(lungs.shape, np.int16)), {"filename_or_obj": "ct.nii"})
    return {"pred": pred, "ct": ct, "lungs": to_meta_tensor(lung_map)}


def test_nodules_come_onto_the_cts_grid_largest_first_with_their_confidence():
    probability = probability_with(((-8, 5, 4), 3.5, 0.7), ((9, -4, -6), 6.0, 0.9))
    lungs = np.ones((41, 41, 20), np.uint8)
    data = NodulesOnSourced("pred")(data_with(probability, lungs))
    nodules, labels = to_volume(data["nodules"]), to_volume(data["labels"])
    assert sorted(np.unique(nodules.array)) == [0, 1, 2]
    for number, centre in ((1, (9, -4, -6)), (2, (-8, 5, 4))):
        found = nodules.grid.to_world(np.argwhere(nodules.array == number)).mean(axis=0)
        np.testing.assert_allclose(found, centre, atol=0.6)
    assert np.array_equal(labels.array == 3, nodules.array > 0)
    assert set(np.unique(labels.array)) == {1, 3}
    assert labels.array.dtype == np.uint8
    assert data["nodules"].meta["confidence"] == pytest.approx([0.9, 0.7], abs=0.08)
    assert data["nodules"].meta["filename_or_obj"] == "ct.nii"


def test_a_nodule_outside_the_lungs_is_dropped_unless_no_lungs_are_known():
    probability = probability_with(((9, -4, -6), 6.0, 0.9))
    lungs = np.zeros((41, 41, 20), np.uint8)
    assert to_volume(NodulesOnSourced("pred")(data_with(probability, lungs))["nodules"]).array.max() == 1
    lungs[30:] = 2  # x below -10 mm: far from the nodule
    data = NodulesOnSourced("pred")(data_with(probability, lungs))
    assert not to_volume(data["nodules"]).array.any()
    assert np.array_equal(to_volume(data["labels"]).array, lungs)
    assert data["nodules"].meta["confidence"] == []


def test_the_rule_reaches_the_search():
    probability = probability_with(((9, -4, -6), 6.0, 0.6))
    lungs = np.ones((41, 41, 20), np.uint8)
    data = NodulesOnSourced("pred", threshold=0.7)(data_with(probability, lungs))
    assert not to_volume(data["nodules"]).array.any()
    with pytest.raises(TypeError):
        NodulesOnSourced("pred", no_such_rule=1)
