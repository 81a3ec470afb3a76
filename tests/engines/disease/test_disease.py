"""Painted disease: it keeps to one lung, the label says what is still lung, HU and sizes are those asked for."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from lungseg3d.engines import (
    Collapse,
    Consolidation,
    Emphysema,
    Fibrosis,
    GroundGlass,
    LargeTumour,
    PleuralEffusion,
)

P = 32
WALL_HU, LUNG_HU = 40.0, -850.0
RIGHT, LEFT = 1, 2
KINDS = [Collapse, Consolidation, Emphysema, Fibrosis, GroundGlass, LargeTumour, PleuralEffusion]
SAME_LABEL = [kind for kind in KINDS if kind is not PleuralEffusion]


def thorax(count: int = 1) -> tuple[torch.Tensor, torch.Tensor]:
    """Two boxes of lung of 10 x 22 x 26 voxels without noise in soft tissue, the right one at high X."""
    label = torch.zeros((count, 1, P, P, P), dtype=torch.uint8)
    label[:, :, 19:29, 5:27, 3:29] = RIGHT
    label[:, :, 3:13, 5:27, 3:29] = LEFT
    return torch.where(label > 0, LUNG_HU, WALL_HU), label


def generators(seed: int, count: int) -> list[np.random.Generator]:
    return [np.random.default_rng((seed, i)) for i in range(count)]


def painted(disease, seed: int = 0, count: int = 1) -> tuple[torch.Tensor, torch.Tensor]:
    hu, label = thorax(count)
    return disease(hu, label, ["a"] * count, generators(seed, count))


@pytest.mark.parametrize("kind", KINDS)
def test_a_probability_of_0_changes_nothing(kind):
    hu, label = thorax()
    after, label_after = painted(kind(probability=0.0))
    assert torch.equal(after, hu)
    assert torch.equal(label_after, label)


@pytest.mark.parametrize("kind", KINDS)
def test_a_patch_without_lung_or_with_a_corner_of_one_stays_as_it_is(kind):
    hu = torch.full((2, 1, P, P, P), -900.0)
    label = torch.zeros(hu.shape, dtype=torch.uint8)
    label[1, 0, :10, :10, :11] = RIGHT  # 29.7 ml
    after, label_after = kind(probability=1.0)(hu, label, ["a"] * 2, generators(0, 2))
    assert torch.equal(after, hu)
    assert torch.equal(label_after, label)


@pytest.mark.parametrize("kind", KINDS)
def test_disease_is_seen_in_one_lung_and_nothing_beyond_it_changes(kind):
    hu, label = thorax(4)
    before = hu.clone(), label.clone()
    after, label_after = kind(probability=1.0, bilateral=0.0)(hu, label, ["a"] * 4, generators(1, 4))
    changed = (after != hu) | (label_after != label)
    assert not changed[label == 0].any()
    for patch, lungs in zip(changed, label, strict=True):
        # A lung's 5720 voxels hold at least a 20 mm tumour cut in two by the wall: 2.1 ml, 77 voxels.
        ill = [int(patch[lungs == value].sum()) > 50 for value in (RIGHT, LEFT)]
        assert sorted(ill) == [False, True]
        assert not patch[lungs == (RIGHT, LEFT)[ill.index(False)]].any()
    assert torch.isfinite(after).all()
    assert torch.equal(hu, before[0])
    assert torch.equal(label, before[1])


@pytest.mark.parametrize("kind", KINDS)
def test_bilateral_disease_is_in_both_lungs(kind):
    hu, label = thorax()
    after, _ = painted(kind(probability=1.0, bilateral=1.0))
    assert (after != hu)[label == RIGHT].any()
    assert (after != hu)[label == LEFT].any()


@pytest.mark.parametrize("kind", SAME_LABEL)
def test_diseased_lung_is_still_lung(kind):
    _, label = thorax(3)
    _, label_after = painted(kind(probability=1.0), count=3)
    assert torch.equal(label_after, label)


@pytest.mark.parametrize("kind", KINDS)
def test_a_patch_depends_on_its_own_generator_alone(kind):
    hu, label = thorax(3)
    disease = kind(probability=0.7)
    together, labels_together = disease(hu, label, ["a"] * 3, generators(2, 3))
    for i, rng in enumerate(generators(2, 3)):
        alone, label_alone = disease(hu[i : i + 1], label[i : i + 1], ["b"], [rng])
        assert torch.equal(alone[0], together[i])
        assert torch.equal(label_alone[0], labels_together[i])
    other, _ = disease(hu, label, ["a"] * 3, generators(3, 3))
    assert not torch.equal(other, together)


@pytest.mark.parametrize(
    ("disease", "low_hu", "high_hu"),
    [
        # Slow variation adds twice 8 HU at most, in fluid twice 3.
        (Consolidation(1.0, hu_range=(20.0, 30.0), bronchogram=0.0), 4, 46),
        (Collapse(1.0, hu_range=(60.0, 70.0), bronchogram=0.0), 44, 86),
        (LargeTumour(1.0, hu_range=(40.0, 50.0), necrosis=0.0), 24, 66),
        (PleuralEffusion(1.0, hu_range=(10.0, 12.0), compressed=0.0), 4, 18),
        (GroundGlass(1.0, hu_range=(-600.0, -500.0), share_range=(0.6, 0.6)), -600.001, -499.999),
        (Emphysema(1.0, hu_range=(-980.0, -970.0)), -980.001, -969.999),
    ],
    ids=lambda value: type(value).__name__ if callable(value) else "",
)
def test_where_disease_fills_voxels_their_hu_are_those_asked_for(disease, low_hu, high_hu):
    hu, label = thorax(3)
    after, _ = disease(hu, label, ["a"] * 3, generators(5, 3))
    inside = after[label > 0]
    extreme_hu = inside.min() if isinstance(disease, Emphysema) else inside.max()
    assert low_hu <= extreme_hu <= high_hu
    assert min(LUNG_HU, low_hu) - 0.01 <= inside.min()
    assert inside.max() <= max(LUNG_HU, high_hu) + 0.01


def test_as_much_of_a_lung_is_consolidated_as_asked():
    _, label = thorax()
    for seed in range(4):
        disease = Consolidation(1.0, share_range=(0.3, 0.3), bronchogram=0.0, bilateral=1.0)
        after, _ = painted(disease, seed)
        assert float((after[label == RIGHT] > LUNG_HU / 2).float().mean()) == pytest.approx(0.3, abs=0.01)


def test_vessels_are_seen_through_ground_glass_and_what_is_denser_than_consolidation_stays():
    hu, label = thorax()
    hu[0, 0, :, 15, 15] = 200.0
    glass, _ = GroundGlass(1.0)(hu, label, ["a"], generators(0, 1))
    dense, _ = Consolidation(1.0, bronchogram=0.0)(hu, label, ["a"], generators(0, 1))
    assert torch.equal(glass[0, 0, :, 15, 15], hu[0, 0, :, 15, 15])
    assert torch.equal(dense[0, 0, :, 15, 15], hu[0, 0, :, 15, 15])


def test_consolidation_has_the_noise_of_the_host():
    hu, label = thorax()
    hu = hu + 15 * torch.randn(hu.shape, generator=torch.Generator().manual_seed(0))
    disease = Consolidation(1.0, hu_range=(40.0, 40.0), share_range=(0.6, 0.6), bronchogram=0.0, bilateral=1.0)
    after, _ = disease(hu, label, ["a"], generators(0, 1))
    part = after[0, 0, :, 6:26, 4:28]
    second = part[:, :, 2:] - 2 * part[:, :, 1:-1] + part[:, :, :-2]
    dense = torch.nn.functional.max_pool3d(-part[None, None], 3, stride=1)[0, 0] < 100
    dense &= label[0, 0, 1:-1, 7:25, 5:27] > 0
    assert dense.sum() > 500
    assert float(second[1:-1, 1:-1][dense].std()) / 6**0.5 == pytest.approx(15, rel=0.2)


def test_a_voxel_that_is_half_lung_is_filled_by_half_and_an_airway_is_not_filled():
    hu, label = thorax()
    half_hu = (LUNG_HU - 30.0) / 2  # half air and half of the wall, at -30 HU
    hu[0, 0, :, 4] = half_hu
    label[0, 0, 20:24, 10:14, 10:14] = 0
    hu[0, 0, 20:24, 10:14, 10:14] = -950.0
    # A tumour larger than the lung fills all of it.
    disease = LargeTumour(1.0, diameter_range_mm=(600.0, 600.0), hu_range=(50.0, 50.0), necrosis=0.0, bilateral=1.0)
    after, label_after = disease(hu, label, ["a"], generators(0, 1))
    assert (after[0, 0, 20:24, 10:14, 10:14] == -950.0).all()
    assert torch.equal(label_after, label)
    filled = after[0, 0, 21:27, 4, 8:24]
    torch.testing.assert_close(filled, torch.full_like(filled, half_hu + (50.0 - LUNG_HU) / 2), atol=20, rtol=0)
    assert torch.equal(after[0, 0, :, :4], hu[0, 0, :, :4])


def test_the_other_lung_keeps_its_hu_where_the_two_touch():
    hu, label = thorax()
    label[0, 0, 3:19, 5:27, 3:29] = LEFT
    hu[label > 0] = LUNG_HU
    hu[0, 0, 18] = -400.0  # the membrane between them
    disease = LargeTumour(1.0, diameter_range_mm=(600.0, 600.0), lungs=(RIGHT,))
    after, _ = disease(hu, label, ["a"], generators(0, 1))
    assert (after[label == RIGHT] > LUNG_HU / 2).all()
    assert torch.equal(after[label == LEFT], hu[label == LEFT])


def test_a_tumour_has_about_the_volume_of_a_ball_of_its_diameter():
    hu = torch.full((1, 1, 40, 40, 40), LUNG_HU)
    label = torch.ones(hu.shape, dtype=torch.uint8)
    volumes_ml = []
    for seed in range(6):
        disease = LargeTumour(1.0, diameter_range_mm=(30.0, 30.0), at_border=0.0)
        disease_hu, _ = disease(hu, label, ["a"], generators(seed, 1))
        volumes_ml.append(float((disease_hu > LUNG_HU / 2).sum()) * 0.027)
    # 14.1 ml; some are cut off by the patch, some are stretched.
    assert 14.1 / 2.5 < np.median(volumes_ml) < 14.1 * 1.6
    assert max(volumes_ml) < 14.1 * 2.5


def test_fluid_lies_behind_and_below_is_no_lung_and_what_it_leaves_is():
    disease = PleuralEffusion(1.0, thickness_range_mm=(25.0, 25.0), compressed=0.0, bilateral=1.0)
    hu, label = thorax()
    after, label_after = painted(disease)
    lost = (label > 0) & (label_after == 0)
    places = torch.nonzero(lost[0, 0]).float().mean(dim=0)
    assert places[1] < 16 - 5  # the middle of the lungs is 16, behind is low Y
    assert places[2] < 16
    assert lost[0, 0, 21:27, 5, 3:8].all()  # the back of the base
    assert not lost[0, 0, :, 16:].any()  # 25 mm from the back are 8 voxels, and the lung begins at 5
    assert (after[lost] > LUNG_HU / 2).all()
    assert torch.equal(label_after[~lost], label[~lost])
    assert (after[(label_after > 0) & (after == hu)] == LUNG_HU).any()


def test_lung_pressed_by_fluid_is_dense_and_still_lung():
    options = {"thickness_range_mm": (25.0, 25.0), "hu_range": (10.0, 10.0), "bilateral": 0.0}
    _, label_without = painted(PleuralEffusion(1.0, compressed=0.0, **options))
    after, label_with = painted(PleuralEffusion(1.0, compressed=1.0, compressed_hu=(80.0, 80.0), **options))
    assert torch.equal(label_with, label_without)
    pressed = (label_with > 0) & (after > 50)
    assert pressed.sum() > 50


def test_a_convention_that_counts_fluid_as_lung_keeps_the_label_and_the_picture():
    _, label = thorax()
    as_lung, label_after = painted(PleuralEffusion(1.0, is_lung=True))
    apart, _ = painted(PleuralEffusion(1.0))
    assert torch.equal(as_lung, apart)
    assert torch.equal(label_after, label)


def test_a_patch_that_ends_before_the_back_of_the_lung_shows_the_front_of_the_crescent():
    hu, label = thorax()
    hu, label = hu[..., 10:, :], label[..., 10:, :]
    disease = PleuralEffusion(1.0, thickness_range_mm=(20.0, 20.0), compressed=0.0, bilateral=1.0)
    _, label_after = disease(hu, label, ["a"], generators(0, 1))
    assert (label_after[0, 0, 21:27, 0, 3:8] == 0).all()
    assert torch.equal(label_after[0, 0, :, 9:], label[0, 0, :, 9:])


def test_voxels_without_size_are_refused():
    with pytest.raises(ValueError, match="expected above 0 mm"):
        Consolidation(voxel_mm=0.0)
