"""Lungs by rules: a thorax made of ellipsoids with known lungs, and real CTs where they are at hand."""

import nibabel
import numpy as np
import pytest
from scipy import ndimage

from lungseg3d.analysis import segment_lungs_by_rules
from lungseg3d.core import Volume
from lungseg3d.core.labels import NSCLC_RADIOMICS_LUNGS

SPACING_MM = (3.0, 3.0, 4.0)
SHAPE = (120, 90, 75)
RIGHT, LEFT = 1, 2


def ellipsoid(centre_mm, radii_mm) -> np.ndarray:
    axes = [np.arange(n) * s for n, s in zip(SHAPE, SPACING_MM, strict=True)]
    x, y, z = np.meshgrid(*axes, indexing="ij")
    return sum(((a - c) / r) ** 2 for a, c, r in zip((x, y, z), centre_mm, radii_mm, strict=True)) <= 1


def make_thorax(gap_mm: float = 40.0) -> tuple[Volume, np.ndarray]:
    """A body 300 x 200 mm with two lungs `gap_mm` apart, trachea, gut gas and a table; and the true label map."""
    hu = np.full(SHAPE, -1000, np.int16)
    hu[ellipsoid((180, 135, 150), (150, 100, 1000))] = 40
    hu[:, 4:6, :] = 200  # table, 15 mm behind the back
    truth = np.zeros(SHAPE, np.uint8)
    truth[ellipsoid((180 + gap_mm / 2 + 50, 135, 165), (50, 75, 100))] = RIGHT
    truth[ellipsoid((180 - gap_mm / 2 - 50, 135, 165), (50, 75, 100))] = LEFT
    hu[truth > 0] = -850
    hu[ellipsoid((180, 135, 300), (9, 9, 120)) & (truth == 0)] = -1000  # trachea
    hu[ellipsoid((120, 190, 30), (45, 25, 22))] = -1000  # stomach gas
    rng = np.random.default_rng(1)
    affine = np.diag([*SPACING_MM, 1.0])
    return Volume(hu + rng.normal(0, 15, SHAPE).astype(np.int16), affine), truth


def dice(a: np.ndarray, b: np.ndarray) -> float:
    return float(2 * (a & b).sum() / (a.sum() + b.sum()))


def test_both_lungs_are_found_and_the_patients_right_is_plus_x():
    ct, truth = make_thorax()
    found = segment_lungs_by_rules(ct)
    assert found.array.dtype == np.uint8
    assert dice(found.array == RIGHT, truth == RIGHT) > 0.98
    assert dice(found.array == LEFT, truth == LEFT) > 0.98


def test_trachea_gut_gas_table_and_room_air_are_not_lung():
    ct, _ = make_thorax()
    found = segment_lungs_by_rules(ct).array > 0
    assert not found[ellipsoid((180, 135, 300), (9, 9, 120))].any()
    assert not found[ellipsoid((120, 190, 30), (45, 25, 22))].any()
    assert not found[~ellipsoid((180, 135, 150), (150, 100, 1000))].any()


def test_lungs_that_touch_are_parted_at_the_junction():
    ct, truth = make_thorax(gap_mm=-6.0)
    found = segment_lungs_by_rules(ct).array
    both = truth > 0
    middle = ellipsoid((180, 135, 165), (6, 75, 100))
    right = np.arange(SHAPE[0])[:, None, None] * SPACING_MM[0] > 180
    assert dice((found == RIGHT) & ~middle, both & right & ~middle) > 0.97
    assert dice((found == LEFT) & ~middle, both & ~right & ~middle) > 0.97


def test_a_nodule_on_the_pleura_and_a_vessel_stay_inside_the_lung():
    ct, truth = make_thorax()
    nodule = ellipsoid((291, 135, 165), (7, 7, 7)) & (truth > 0)
    vessel = ellipsoid((250, 135, 165), (4, 40, 4))
    hu = ct.array.copy()
    hu[nodule | vessel] = 40
    found = segment_lungs_by_rules(ct.with_array(hu)).array
    assert (found[nodule] == RIGHT).mean() > 0.9
    assert (found[vessel] == RIGHT).all()


def test_most_of_a_24_mm_wide_consolidation_on_the_ribs_stays_inside_the_lung_and_the_mediastinum_outside():
    ct, truth = make_thorax()
    consolidation = ellipsoid((296, 135, 165), (10, 12, 12)) & (truth == RIGHT)
    hu = ct.array.copy()
    hu[consolidation] = 40
    found = segment_lungs_by_rules(ct.with_array(hu)).array
    assert (found[consolidation] == RIGHT).mean() > 0.65
    assert not found[ellipsoid((180, 135, 165), (12, 75, 60))].any()


def test_the_dome_of_the_diaphragm_is_no_lung_though_lung_surrounds_it_in_a_slice():
    ct, truth = make_thorax()
    dome = ellipsoid((240, 135, 60), (32, 45, 65))
    hu = ct.array.copy()
    hu[dome] = 40
    found = segment_lungs_by_rules(ct.with_array(hu)).array
    assert (found[dome] > 0).mean() < 0.05
    assert dice(found == RIGHT, (truth == RIGHT) & ~dome) > 0.97


def test_a_turned_and_permuted_scan_gives_the_same_lungs_in_the_world():
    ct, _ = make_thorax()
    straight = segment_lungs_by_rules(ct).array
    array = ct.array.transpose(2, 0, 1)[:, ::-1, :]
    affine = ct.affine[:, [2, 0, 1, 3]].copy()
    affine[:3, 3] += affine[:3, 1] * (array.shape[1] - 1)
    affine[:3, 1] *= -1
    turned = segment_lungs_by_rules(Volume(array, affine))
    assert (turned.array == straight.transpose(2, 0, 1)[:, ::-1, :]).all()


@pytest.mark.parametrize("hu", [-1000, 40])
def test_a_scan_without_lungs_gives_an_empty_label_map(hu):
    ct, _ = make_thorax()
    assert not segment_lungs_by_rules(ct.with_array(np.full(SHAPE, hu, np.int16))).array.any()


@pytest.mark.real
def test_expert_lungs_are_met_at_dice_0_96_with_the_tumour_left_out(real_data):
    folder = real_data / "ct" / "lung1-001"
    image = nibabel.load(folder / "ct.nii.gz")
    expert = np.asarray(nibabel.load(folder / "lungs.nii.gz").dataobj)
    tumour = ndimage.binary_dilation(np.asarray(nibabel.load(folder / "tumour.nii.gz").dataobj) > 0, iterations=2)
    found = segment_lungs_by_rules(Volume(np.asarray(image.dataobj).astype(np.int16), image.affine)).array
    for theirs, ours in NSCLC_RADIOMICS_LUNGS.items():
        assert dice((found == ours) & ~tumour, (expert == theirs) & ~tumour) > 0.96
