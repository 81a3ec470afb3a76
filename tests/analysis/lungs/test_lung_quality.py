"""Lungs of known size and place: each code where it belongs, none where it does not."""

from __future__ import annotations

import numpy as np
import pytest

from lungseg3d.analysis import check_lungs, compare_lungs
from lungseg3d.core import GeometryError, Volume

SPACING_MM = 4.0


def chest(right_mm: float = 62.0, left_mm: float = 60.0, shape=(80, 50, 50), shift_z_mm: float = 0.0) -> Volume:
    """Two balls of lung (1.0 and 0.9 l) in a grid of 320 x 200 x 200 mm, axes R, A, S."""
    affine = np.diag([SPACING_MM] * 3 + [1.0])
    affine[:3, 3] = [-SPACING_MM * (n - 1) / 2 for n in shape]
    voxels = np.stack(np.meshgrid(*[np.arange(n) for n in shape], indexing="ij"), axis=-1)
    world = voxels * SPACING_MM + affine[:3, 3]
    labels = np.zeros(shape, np.uint8)
    for value, x_mm, radius_mm in ((1, 75, right_mm), (2, -75, left_mm)):
        labels[np.linalg.norm(world - (x_mm, 0, shift_z_mm), axis=-1) <= radius_mm] = value
    return Volume(labels, affine)


def codes(labels: Volume) -> list[str]:
    return [issue.code for issue in check_lungs(labels)]


def test_two_whole_lungs_of_like_size_give_no_issue():
    assert codes(chest()) == []
    assert codes(chest(right_mm=62, left_mm=50)) == []  # 1.9 to 1


def test_less_than_300_ml_is_no_lung_and_says_only_that():
    (issue,) = check_lungs(chest(right_mm=36, left_mm=20))  # 195 + 34 ml
    assert issue.code == "W_NO_LUNG"
    assert float(issue.message.split(" ml")[0]) == pytest.approx(229, rel=0.02)
    assert codes(chest(right_mm=0, left_mm=0)) == ["W_NO_LUNG"]


def test_a_childs_lungs_of_half_a_litre_are_lungs():
    assert codes(chest(right_mm=40, left_mm=38)) == []  # 268 + 230 ml


@pytest.mark.parametrize(("right_mm", "left_mm", "code"), [(62, 0, "W_ONE_LUNG"), (62, 42, "W_ASYMMETRY")])
def test_a_missing_and_a_small_lung_are_told_apart_and_named(right_mm, left_mm, code):
    (issue,) = check_lungs(chest(right_mm, left_mm))
    assert issue.code == code
    assert " left lung" in issue.message
    (mirrored,) = check_lungs(chest(left_mm, right_mm))
    assert mirrored.code == code
    assert " right lung" in mirrored.message


@pytest.mark.parametrize(("shift_mm", "end"), [(70, "upper end"), (-70, "lower end")])
def test_lungs_cut_by_the_first_or_last_slice_are_named_with_the_area(shift_mm, end):
    (issue,) = check_lungs(chest(shift_z_mm=shift_mm))
    assert issue.code == "W_LUNG_TOUCHES_EDGE"
    # Two discs, 28 mm off the centres: pi (62^2 - 28^2 + 60^2 - 28^2) mm2 = 185 cm2.
    area_cm2 = float(issue.message.split("(")[1].split(" cm2")[0])
    assert area_cm2 == pytest.approx(185, rel=0.05)
    assert end in issue.message


def test_a_lung_cut_by_the_side_of_the_image_is_named_however_the_axes_run():
    whole = chest()
    cut = Volume(whole.array[:70], whole.affine)  # the right lung ends at +117 mm of 137 mm
    turn = np.eye(4)
    turn[0, 0], turn[0, 3] = -1, 69
    flipped = Volume(cut.array[::-1], cut.affine @ turn)
    for labels in (cut, flipped):
        (issue,) = check_lungs(labels)
        assert issue.code == "W_LUNG_TOUCHES_EDGE"
        assert "right side" in issue.message
        assert "left side" not in issue.message


def test_equal_lungs_agree_and_a_lung_that_one_of_the_two_missed_is_told():
    ours = chest()
    assert compare_lungs(ours, ours) == []
    (issue,) = compare_lungs(ours, Volume(np.where(ours.array == 1, 1, 0).astype(np.uint8), ours.affine))
    assert issue.code == "W_LUNG_DISAGREEMENT"
    # Dice of both lungs against the right one: 2 * 62^3 / (2 * 62^3 + 60^3) = 0.69.
    assert "Dice of 0.69" in issue.message


def test_no_lung_in_either_map_is_agreement():
    nothing = chest(right_mm=0, left_mm=0)
    assert compare_lungs(nothing, nothing) == []


def test_maps_on_two_grids_are_an_error():
    ours = chest()
    with pytest.raises(GeometryError, match="two grids"):
        compare_lungs(ours, Volume(ours.array[1:], ours.affine))
