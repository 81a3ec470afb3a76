"""An image against its header: each way of turning a phantom is named, nothing is said of what lies right."""

from __future__ import annotations

from itertools import permutations, product
from pathlib import Path

import numpy as np
import pytest

from lungseg3d.analysis import check_orientation, find_orientation
from lungseg3d.core import Volume
from lungseg3d.data import PhantomSpec, make_phantom
from lungseg3d.io import open_ct
from lungseg3d.tensors import orthogonalise, resample

MM = 4.0
WAYS = [
    (order, signs)
    for order in permutations(range(3))
    for signs in product((1, -1), repeat=3)
    if (order, signs) != ((0, 1, 2), (1, 1, 1))
]


@pytest.fixture(scope="module")
def phantom() -> np.ndarray:
    """HU of a chest on a couch, axes right, front, head, voxels of 4 mm."""
    spec = PhantomSpec(seed=3, shape=(88, 72, 80), spacing_mm=(MM,) * 3, nodule_count=0, table=False)
    hu = make_phantom(spec).ct.as_ras().array.astype(np.float32)
    hu[10:78, max(np.flatnonzero((hu > -300).any(axis=(0, 2)))[0] - 4, 0)] = 100
    return hu


def volume(hu: np.ndarray) -> Volume:
    return Volume(np.ascontiguousarray(hu), np.diag([MM, MM, MM, 1]))


def turned(hu: np.ndarray, order, signs) -> Volume:
    return volume(hu.transpose(order)[tuple(slice(None, None, sign) for sign in signs)])


def said(ct: Volume) -> str:
    issues = check_orientation(find_orientation(ct))
    assert [issue.code for issue in issues] in ([], ["W_ANATOMY_ORIENTATION"])
    return issues[0].message if issues else ""


def test_a_chest_that_lies_right_agrees_on_all_axes_and_gives_its_signs(phantom):
    found = find_orientation(volume(phantom))
    assert (found.left_right, found.front_back, found.head_feet) == ("agrees",) * 3
    assert found.to_json()["found"] == {
        "spine": "back",
        "apex": "head",
        "couch": "back",
        "liver": "right",
        "heart": "left",
        "aorta": "left",
    }
    assert check_orientation(found) == []


@pytest.mark.parametrize(
    ("order", "signs", "against", "words"),
    [
        ((0, 1, 2), (-1, -1, 1), ("left_right", "front_back"), "the spine lies at the front"),
        ((0, 1, 2), (1, -1, 1), ("front_back",), "the spine lies at the front"),
        ((0, 1, 2), (1, 1, -1), ("head_feet",), "the trachea lie at the feet"),
        ((0, 1, 2), (-1, 1, 1), ("left_right",), "situs inversus"),
        ((2, 1, 0), (1, 1, 1), ("left_right", "head_feet"), "the spine runs from left to right"),
        ((1, 0, 2), (1, 1, 1), ("left_right", "front_back"), "the spine lies at the left"),
        ((0, 2, 1), (1, 1, 1), ("front_back", "head_feet"), "the spine runs from back to front"),
    ],
)
def test_what_is_turned_or_mirrored_is_named_by_axis_and_sign(phantom, order, signs, against, words):
    ct = turned(phantom, order, signs)
    assert words in said(ct)
    found = find_orientation(ct)
    states = {name: getattr(found, name) for name in ("left_right", "front_back", "head_feet")}
    assert {name for name, state in states.items() if state == "against"} == set(against)


@pytest.mark.slow
def test_all_47_wrong_ways_are_found(phantom):
    assert [way for way in WAYS if not said(turned(phantom, *way))] == []


def test_axes_of_the_file_do_not_matter_when_the_affine_says_so(phantom):
    affine = np.array([[0, 0, -MM, 0], [MM, 0, 0, 0], [0, MM, 0, 0], [0, 0, 0, 1.0]])
    # Array axes front, head, left: the same person, told rightly.
    stored = phantom.transpose(1, 2, 0)[:, :, ::-1]
    found = find_orientation(Volume(np.ascontiguousarray(stored), affine))
    assert (found.left_right, found.front_back, found.head_feet) == ("agrees",) * 3


def test_a_heart_on_the_right_alone_leaves_left_and_right_open(phantom):
    # Chest mirrored, abdomen as it was: dextrocardia, and the liver on the right.
    dome = int(phantom.shape[2] * 0.33)
    hu = phantom.copy()
    hu[:, :, dome:] = phantom[::-1, :, dome:]
    found = find_orientation(volume(hu))
    assert found.found["heart"] == "right"
    assert found.found["liver"] == "right"
    assert found.left_right == "not determined"
    assert check_orientation(found) == []


def test_lying_on_the_belly_is_no_fault(phantom):
    hu = phantom.copy()
    rows = np.flatnonzero((hu > -300).any(axis=(0, 2)))
    hu[:, rows[0]] = -1000
    front = rows[-1]
    hu[10:78, min(front + 4, hu.shape[1] - 1)] = 100
    found = find_orientation(volume(hu))
    assert (found.front_back, found.found["couch"]) == ("agrees", "front")
    assert check_orientation(found) == []


@pytest.mark.parametrize(
    "part",
    [
        (slice(30, 55), slice(20, 45), slice(30, 55)),  # 100 mm of everything
        (slice(44, None), slice(None), slice(None)),  # the right half, from the spine on
        (slice(None, 44), slice(None), slice(None)),
        (slice(None), slice(None), slice(0, 25)),  # the lowest 100 mm
        (slice(None), slice(36, None), slice(None)),  # the front half, without a spine
        (slice(None), slice(None, 36), slice(None)),
    ],
)
def test_a_part_of_a_chest_is_never_against_its_header(phantom, part):
    assert said(volume(phantom[part])) == ""


def test_without_lungs_or_voxels_nothing_is_determined(phantom):
    nothing = np.where(phantom < -400, 40, phantom)
    for hu in (nothing, np.full((40, 40, 40), -1000.0), np.zeros((3, 3, 3))):
        found = find_orientation(volume(hu))
        assert found.to_json() == {
            "left_right": "not determined",
            "front_back": "not determined",
            "head_feet": "not determined",
            "found": {},
        }


def coarse(path: Path) -> Volume:
    return resample(orthogonalise(open_ct(path).volume), MM)


@pytest.mark.real
def test_a_real_chest_agrees_and_turned_it_does_not(real_data):
    ct = coarse(real_data / "cip-64" / "ct-64.nrrd").as_ras()
    found = find_orientation(ct)
    assert (found.left_right, found.front_back, found.head_feet) == ("agrees",) * 3
    for axis, name in enumerate(("left_right", "front_back", "head_feet")):
        assert getattr(find_orientation(Volume(np.flip(ct.array, axis), ct.affine)), name) == "against"


@pytest.mark.real
@pytest.mark.slow
@pytest.mark.parametrize(
    "name",
    [
        "4dlung-113/dicom",
        "lungdx-A0001/dicom",
        "lung1-001/ct.nii.gz",
        "lidc-0002/ct.nii.gz",
        "c3n-00247/ct.nii.gz",
        "ricord-000082/dicom",
    ],
)
def test_no_real_ct_is_said_to_be_turned_and_each_turned_one_is(real_data, name):
    ct = coarse(real_data / "ct" / name).as_ras()
    found = find_orientation(ct)
    assert (found.front_back, found.head_feet, found.reasons) == ("agrees", "agrees", ())
    for axes in ((1,), (2,), (0, 1), (0, 2), (1, 2)):
        assert said(Volume(np.flip(ct.array, axes), ct.affine))
