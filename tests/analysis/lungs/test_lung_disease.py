"""What the program is not made for: masses, consolidation, ground glass, drawn into a phantom with known volumes."""

from __future__ import annotations

import numpy as np
import pytest

from lungseg3d.analysis import check_disease, measure_disease
from lungseg3d.core import Volume
from lungseg3d.data import PhantomSpec, make_phantom

MM = 4.0


@pytest.fixture(scope="module")
def healthy():
    """HU and lungs (1 right, 2 left) of a chest, axes right, front, head, voxels of 4 mm."""
    spec = PhantomSpec(seed=4, shape=(88, 72, 80), spacing_mm=(MM,) * 3, nodule_count=0)
    phantom = make_phantom(spec)
    return phantom.ct.as_ras().array.astype(np.float32), phantom.labels.as_ras().array


def ball(shape, centre, radius_mm):
    return np.linalg.norm((np.indices(shape).T - np.array(centre)).T * MM, axis=0) <= radius_mm


def measured(hu, lungs, nodules=None):
    affine = np.diag([MM, MM, MM, 1])
    none = np.zeros(hu.shape, np.uint8)
    return measure_disease(*(Volume(a, affine) for a in (hu, lungs, none if nodules is None else nodules)))


def codes(disease) -> list[str]:
    return [issue.code for issue in check_disease(disease)]


def middle_of(lung) -> tuple[int, int, int]:
    return tuple(np.rint(np.argwhere(lung).mean(axis=0)).astype(int))


def painted(healthy, region, tissue_hu=40.0, stays_lung=False):
    hu, lungs = healthy
    inside = region & (lungs > 0)
    return np.where(inside, tissue_hu, hu).astype(np.float32), np.where(inside & ~stays_lung, 0, lungs).astype(np.uint8)


def test_a_healthy_phantom_gives_nothing(healthy):
    disease = measured(*healthy)
    assert codes(disease) == []
    assert disease.opacity_share < 0.01
    assert max(disease.bare_wall_right, disease.bare_wall_left) < 0.01
    assert (disease.mass_ml < 6, disease.patch_cm2 < 5) == (True, True)


@pytest.mark.parametrize(("value", "side"), [(1, "right"), (2, "left")])
@pytest.mark.parametrize("stays_lung", [False, True])
def test_a_mass_of_44_mm_is_named_with_its_side_and_about_its_volume(healthy, value, side, stays_lung):
    lung = healthy[1] == value
    x, y, z = middle_of(lung)
    outwards = 3 if side == "right" else -3
    region = ball(lung.shape, (x + outwards, y - 5, z + 6), 22)
    disease = measured(*painted(healthy, region, stays_lung=stays_lung))
    assert "W_LARGE_LESION" in codes(disease)
    assert disease.mass_side == side
    # Of 45 ml an opening by a ball of 16 mm on voxels of 4 mm leaves most.
    assert 25 <= disease.mass_ml <= 50


def test_a_mass_among_the_nodules_is_no_surprise(healthy):
    lung = healthy[1] == 1
    x, y, z = middle_of(lung)
    region = ball(lung.shape, (x + 3, y - 5, z + 6), 22)
    hu, lungs = painted(healthy, region)
    assert codes(measured(hu, lungs, (region & lung).astype(np.uint8))) == []
    # Of a nodule that is a small part of it, it is.
    assert "W_LARGE_LESION" in codes(measured(hu, lungs, ball(lung.shape, (x + 3, y - 5, z + 6), 8).astype(np.uint8)))


def test_a_nodule_of_20_mm_is_no_mass(healthy):
    lung = healthy[1] == 1
    x, y, z = middle_of(lung)
    assert codes(measured(*painted(healthy, ball(lung.shape, (x + 3, y - 5, z + 6), 10)))) == []


def test_a_mass_on_the_pleura_is_a_patch_of_bare_wall(healthy):
    lung = healthy[1] == 1
    z = middle_of(lung)[2] + 4
    x = int(np.flatnonzero(lung[:, :, z].any(axis=1))[-1])
    y = int(np.rint(np.flatnonzero(lung[x - 1, :, z]).mean()))
    disease = measured(*painted(healthy, ball(lung.shape, (x - 1, y, z), 25)))
    assert "W_LARGE_LESION" in codes(disease)
    assert disease.patch_side == "right"
    assert disease.patch_cm2 > 8


@pytest.mark.parametrize(("value", "side", "other"), [(1, "right", "left"), (2, "left", "right")])
def test_a_consolidated_lower_half_of_a_back_is_bare_wall_of_its_side(healthy, value, side, other):
    lung = healthy[1] == value
    _, y, z = np.indices(lung.shape)
    middle = middle_of(lung)
    disease = measured(*painted(healthy, lung & (y < middle[1]) & (z < middle[2])))
    (issue,) = [issue for issue in check_disease(disease) if issue.code == "W_DISEASED_LUNG"]
    assert f"of the {side} ribs" in issue.message
    assert f"of the {other} ribs" not in issue.message
    assert getattr(disease, f"bare_wall_{side}") > 0.15
    assert getattr(disease, f"bare_wall_{other}") < 0.01


def test_both_bases_without_lung_behind_are_not_taken_for_the_diaphragm(healthy):
    lung = healthy[1] > 0
    _, y, z = np.indices(lung.shape)
    middle = middle_of(lung)
    disease = measured(*painted(healthy, lung & (y < middle[1]) & (z < middle[2] - 4)))
    assert min(disease.bare_wall_right, disease.bare_wall_left) > 0.04
    assert "W_DISEASED_LUNG" in codes(disease)


def test_ground_glass_that_stays_lung_is_counted_as_opacity(healthy):
    lungs = healthy[1]
    x, y, z = middle_of(lungs == 2)
    region = ball(lungs.shape, (x, y, z), 40) & (lungs == 2)
    hu = np.where(region, healthy[0] + 320, healthy[0]).astype(np.float32)
    disease = measured(hu, lungs)
    assert "W_DISEASED_LUNG" in codes(disease)
    share = region.sum() / (lungs > 0).sum()
    assert 0.5 * share < disease.opacity_share < 1.5 * share


def test_without_lungs_nothing_is_measured(healthy):
    assert measured(healthy[0], np.zeros_like(healthy[1])).to_json() == {
        "opacity_share": 0.0,
        "bare_wall_right": 0.0,
        "bare_wall_left": 0.0,
        "mass_ml": 0.0,
        "mass_side": "",
        "patch_cm2": 0.0,
        "patch_side": "",
    }
