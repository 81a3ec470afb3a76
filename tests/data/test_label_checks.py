"""Label maps against their manifest: unknown values, masks turned round, impossible sizes; real masks pass."""

from __future__ import annotations

import numpy as np
import pytest

from lungseg3d.core.labels import LEFT_LUNG, NODULE, RIGHT_LUNG
from lungseg3d.data import count_values, inverted_issue, label_issues, shape_issues, value_issue

SHAPE = (20, 18, 16)
STRUCTURES = {1: NODULE}


def nodule(value: int = 1, background: int = 0) -> np.ndarray:
    """A block of 4 x 4 x 4 voxels in the middle of nothing."""
    array = np.full(SHAPE, background, np.uint8)
    array[8:12, 7:11, 6:10] = value
    return array


def codes(array: np.ndarray, known=(1,), structures=STRUCTURES) -> list[str]:
    return [issue.code for issue in label_issues("the label", array, structures, known, 1.0)]


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.int16])
def test_values_are_counted_in_every_type_that_labels_have(dtype):
    array = nodule(3).astype(dtype)
    array[0, 0, 0] = 200
    assert count_values(array) == {3: 64, 200: 1}
    assert count_values(np.zeros(SHAPE, dtype)) == {}


def test_negative_values_are_counted_too():
    assert count_values(np.array([[-3, 0, 2, -3]], np.int16)) == {-3: 2, 2: 1}


@pytest.mark.parametrize("value", [255, 3])
def test_a_map_of_unknown_values_alone_is_refused_with_value_and_voxels(value):
    issue = value_issue("the label", count_values(nodule(value)), {1})
    assert issue.code == "E_LABEL_VALUES"
    assert f"only {value} (64 voxels); the manifest knows 1" in issue.message


def test_a_reference_is_refused_for_any_unknown_value_and_a_prediction_warned_of():
    array = nodule(1)
    array[0, 0, :2] = 7
    counts = count_values(array)
    assert value_issue("the label", counts, {1}).code == "E_LABEL_VALUES"
    warning = value_issue("the prediction", counts, {1}, is_reference=False)
    assert warning.code == "W_LABEL_VALUES"
    assert "7 (2 voxels)" in warning.message
    assert value_issue("the prediction", count_values(nodule(7)), {1}, is_reference=False).code == "E_LABEL_VALUES"


def test_known_values_and_empty_maps_are_no_fault():
    assert codes(nodule()) == []
    assert codes(np.zeros(SHAPE, np.uint8)) == []
    both = nodule()
    both[0, 0, 0] = 9
    assert codes(both, known=(1, 9)) == []


@pytest.mark.parametrize("structures", [{1: NODULE}, {1: RIGHT_LUNG, 2: LEFT_LUNG}], ids=["nodule", "lung"])
@pytest.mark.parametrize("what", ["turned round", "all foreground"])
def test_a_background_that_is_called_a_structure_is_refused_with_its_share(what, structures):
    array = nodule(0, background=1) if what == "turned round" else np.ones(SHAPE, np.uint8)
    (issue,) = shape_issues("the label", array, structures, 1000.0)
    assert issue.code == "E_LABEL_INVERTED"
    share = 100 * (1 - 64 / array.size) if what == "turned round" else 100
    assert f"fills {share:.1f} % of the image" in issue.message
    assert "covers 100 % of its six faces" in issue.message


def test_a_mask_turned_round_in_a_crop_that_the_nodule_nearly_fills_is_still_one():
    array = np.ones(SHAPE, bool)
    array[1:-1, 1:-1, 1:-1] = False  # three quarters are "nodule 0"
    assert inverted_issue("the label", array, 1.0).code == "E_LABEL_INVERTED"


def test_lungs_cut_by_all_six_faces_and_a_tumour_that_fills_its_crop_are_not_refused():
    lungs = np.zeros(SHAPE, np.uint8)
    lungs[:9, 3:-3], lungs[11:, 3:-3] = 1, 2
    lungs[4, 0, 8] = lungs[15, -1, 8] = 1
    assert [i.code for i in shape_issues("the label", lungs, {1: RIGHT_LUNG, 2: LEFT_LUNG}, 1.0)] == []
    tumour = np.zeros(SHAPE, np.uint8)
    tumour[1:-1, 1:-1, 1:-1] = 1
    tumour[5, 5, :] = tumour[5, :, 5] = tumour[:, 5, 5] = 1
    assert codes(tumour) == []


def test_a_body_that_is_called_a_nodule_is_named_with_its_volume():
    body = np.zeros(SHAPE, np.uint8)
    body[3:-3, 3:-3] = 1
    (issue,) = shape_issues("the label", body, STRUCTURES, 1000.0)
    assert issue.code == "W_LABEL_LARGE"
    assert "2,688 ml" in issue.message
    assert list(shape_issues("the label", nodule(), STRUCTURES, 1000.0)) == []


def test_a_nodule_in_the_air_beside_the_body_is_named_and_one_of_ground_glass_is_not():
    for hu, expected in ((-1000, ["W_LABEL_IN_AIR"]), (-780, [])):
        found = shape_issues("the label", nodule(), STRUCTURES, 1.0, np.full(SHAPE, hu, np.int16))
        assert [issue.code for issue in found] == expected


@pytest.mark.real
def test_no_real_mask_is_refused_and_all_of_them_turned_round_are(real_data):
    from lungseg3d.io import read_labels

    paths = [*sorted((real_data / "nodules_luna" / "labels").glob("*.nii.gz"))[::30]]
    paths += [real_data / "ct" / name for name in ("lung1-001/tumour.nii.gz", "4dlung-113/tumour.nii.gz")]
    for path in paths:
        array = read_labels(path).array
        assert codes(array) == [], path.name
        assert codes((array == 0).astype(np.uint8)) == ["E_LABEL_INVERTED"], path.name
    lungs = read_labels(real_data / "ct" / "lung1-001" / "lungs.nii.gz").array
    sides = {1: LEFT_LUNG, 2: RIGHT_LUNG}
    assert list(shape_issues("the label", lungs, sides, 1.0)) == []
    assert [i.code for i in shape_issues("the label", (lungs == 0).astype(np.uint8), sides, 1.0)] == [
        "E_LABEL_INVERTED"
    ]
