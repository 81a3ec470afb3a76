"""Targets of the finder: the middle of nodules, a rim that is not asked about, and marks of readers and detectors."""

from __future__ import annotations

import numpy as np
import pytest

from lungseg3d.core import Volume
from lungseg3d.tensors import to_meta_tensor
from lungseg3d.transforms import CentreTargetsd, WithoutCentresd
from lungseg3d.transforms.centre_targets import CENTRE, UNASKED

MARKS = """id,kind,x,y,z,diameter_mm,n_readers,score,near_reader_mark,on
a,luna_nodule,30,30,8,10,4,,,
a,excluded_nodule,8,30,8,8,2,,,
a,non_nodule,30,8,8,,1,,,
a,detector_false_positive,20,32,8,,,0.4,0,
a,detector_false_positive,22,32,8,,,0.4,1,
a,detector_false_positive,8,8,8,,,0.4,0,nodule
b,small_nodule,8,8,8,,2,,,
"""
SHAPE = (40, 40, 16)


@pytest.fixture
def marks(tmp_path):
    path = tmp_path / "marks.csv"
    path.write_text(MARKS, encoding="utf-8")
    return path


def away_mm(middle: tuple[float, float, float], spacing=(1.0, 1.0, 1.0)) -> np.ndarray:
    grid = np.indices(SHAPE) - np.array(middle)[:, None, None, None]
    return np.sqrt(((grid * np.array(spacing)[:, None, None, None]) ** 2).sum(axis=0))


def outlined(middle: tuple[float, float, float], radius_mm: float, spacing=(1.0, 1.0, 1.0)) -> Volume:
    mask = (away_mm(middle, spacing) <= radius_mm).astype(np.uint8)
    return Volume(mask, np.diag([*spacing, 1.0]))


def target_of(volume: Volume, **more) -> np.ndarray:
    data = {"label": to_meta_tensor(volume), "case_id": "a", **more}
    return CentreTargetsd("label")(data)["label"][0].numpy()


@pytest.mark.parametrize("spacing", [(1.0, 1.0, 1.0), (0.8, 0.8, 2.0)])
def test_the_middle_is_half_the_radius_and_around_the_outline_nothing_is_asked(spacing):
    target = target_of(outlined((12, 14, 7), 4.0, spacing))
    away = away_mm((12, 14, 7), spacing)
    assert (target[away <= 1.9] == CENTRE).all()
    assert (target[(away > 2.1) & (away <= 5.4)] == UNASKED).all()
    assert (target[away > 7.7] == 0).all()  # a voxel of 2 mm is on the outline as a whole


def test_the_middle_of_a_small_nodule_has_a_least_radius():
    target = target_of(outlined((20, 20, 8), 1.0))
    assert np.array_equal(target == CENTRE, away_mm((20, 20, 8)) <= 1.5)


def test_two_nodules_have_two_middles_and_what_others_outlined_is_not_asked():
    volume = outlined((10, 10, 8), 3.0)
    two = volume.with_array(volume.array | outlined((28, 28, 8), 3.0).array)
    target = target_of(two, others=to_meta_tensor(outlined((10, 28, 8), 3.0)))
    assert target[10, 10, 8] == target[28, 28, 8] == CENTRE
    assert target[10, 28, 8] == target[10, 32, 8] == UNASKED
    assert target[10, 33, 8] == 0


def test_marks_add_nodules_and_what_is_unsure_and_leave_non_nodules_to_be_none(marks):
    target = target_of(outlined((8, 8, 8), 3.0), marks=str(marks))
    assert target[30, 30, 8] == CENTRE
    assert target[8, 30, 8] == UNASKED
    assert target[8, 35, 8] == UNASKED  # half of 8 mm and the rim
    assert target[8, 36, 8] == target[30, 8, 8] == 0


def test_false_alarms_of_a_detector_are_tempting_where_nothing_else_lies(marks):
    data = {"label": to_meta_tensor(outlined((8, 8, 8), 3.0)), "case_id": "a", "marks": str(marks)}
    tempting = CentreTargetsd("label")(data)["tempting"][0].numpy()
    assert np.argwhere(tempting).tolist() == [[20, 32, 8]]


def test_a_chest_without_known_nodules_has_no_middle_and_asks_nothing_near_what_is_unsure(marks):
    chest = Volume(np.zeros(SHAPE, np.int16), np.eye(4))
    data = {"image": to_meta_tensor(chest), "case_id": "a", "marks": str(marks)}
    data["ignore"] = to_meta_tensor(outlined((20, 10, 8), 2.0))
    target = WithoutCentresd("image")(data)["label"][0].numpy()
    assert set(np.unique(target)) == {0, UNASKED}
    assert target[20, 10, 8] == target[25, 10, 8] == target[30, 30, 8] == UNASKED
    assert target[26, 10, 8] == target[30, 8, 8] == 0
    assert not WithoutCentresd("image")({"image": to_meta_tensor(chest)})["label"].any()


def test_a_middle_outside_the_image_changes_nothing(marks):
    small = Volume(np.zeros((6, 6, 6), np.uint8), np.eye(4))
    assert not target_of(small, marks=str(marks)).any()
