"""HU augmentation stays within its bounds, and leaves the label alone."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from lungseg3d.engines import GammaContrast, HuAugmentation, LowResolution
from lungseg3d.engines.augmentation.blur import gaussian_blur

P = 24
NOTHING = {"shift_hu": 0, "scale": 0, "noise_hu": 0, "blur": 0, "sharpen": 0, "thick_slices": 1, "probability": 1.0}


def patches(seed: int = 0, count: int = 3) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    hu = torch.rand(count, 1, P, P, P, generator=generator) * 1200 - 1000
    return hu, (hu > 0).to(torch.uint8)


def generators(seed: int, count: int) -> list[np.random.Generator]:
    """One for each patch."""
    return [np.random.default_rng((seed, i)) for i in range(count)]


def augmented(hu: torch.Tensor, seed: int = 0, **options) -> torch.Tensor:
    label = torch.zeros(hu.shape, dtype=torch.uint8)
    result, _ = HuAugmentation(**{**NOTHING, **options})(hu, label, ["a"] * len(hu), generators(seed, len(hu)))
    return result


def test_shape_and_label_stay_and_the_given_batch_too():
    hu, label = patches()
    before = hu.clone()
    result, label_after = HuAugmentation(probability=1.0)(hu, label, ["a", "b", "c"], generators(0, 3))
    assert result.shape == hu.shape
    assert result.dtype == torch.float32
    assert torch.isfinite(result).all()
    assert torch.equal(label_after, label)
    assert torch.equal(hu, before)
    assert not torch.equal(result, hu)


def test_a_probability_of_0_changes_nothing_and_neither_do_amounts_of_0():
    hu, label = patches()
    result, _ = HuAugmentation(probability=0.0)(hu, label, ["a"] * 3, generators(0, 3))
    assert torch.equal(result, hu)
    torch.testing.assert_close(augmented(hu), hu, atol=1e-3, rtol=0)


def test_a_shift_moves_a_patch_as_a_whole_within_its_bound_and_each_on_its_own():
    hu, _ = patches(count=8)
    change = augmented(hu, shift_hu=40) - hu
    per_patch = change.flatten(1)
    assert per_patch.std(dim=1).max() < 1e-3
    assert per_patch.abs().max() <= 40.001
    assert per_patch[:, 0].std() > 5


def test_a_change_of_contrast_turns_about_minus_600_hu_within_its_bound():
    hu, _ = patches()
    factor = (augmented(hu, scale=0.2) + 600) / (hu + 600)
    clear = (hu + 600).abs() > 50
    assert factor[clear].min() >= 0.8 - 1e-3
    assert factor[clear].max() <= 1.2 + 1e-3
    middle = torch.full((1, 1, P, P, P), -600.0)
    torch.testing.assert_close(augmented(middle, scale=0.2), middle)


def test_noise_has_no_bias_and_at_most_the_sd_that_was_asked():
    flat = torch.full((20, 1, P, P, P), -850.0)
    noise = (augmented(flat, noise_hu=50) - flat).flatten(1)
    # Half white, half a mean of 27 scaled to the same power: their sum has at most (1 + 2 / 27 ** 0.5) of it.
    assert noise.std(dim=1).max() < 50 * (1 + 2 / 27**0.5) ** 0.5 * 1.05
    assert noise.std(dim=1).max() > 25
    # The mean of a patch has a standard deviation of 50 (1 + 27 ** 0.5) / 2 ** 0.5 / P ** 1.5 = 1.9 HU at most.
    assert noise.mean(dim=1).abs().max() < 4 * 1.9
    assert abs(noise.mean()) < 4 * 1.9 / 20**0.5


@pytest.mark.parametrize("options", [{"blur": 0.9}, {"thick_slices": 4.0}])
def test_soft_kernels_and_thick_slices_smooth_within_the_range_that_was_there(options):
    hu, _ = patches()
    result = augmented(hu, **options)
    assert result.min() >= hu.min() - 1e-2
    assert result.max() <= hu.max() + 1e-2
    change = result.flatten(1).std(dim=1) / hu.flatten(1).std(dim=1)
    assert (change <= 1).all()
    assert change.min() < 0.8
    flat = torch.full((2, 1, P, P, P), 40.0)
    torch.testing.assert_close(augmented(flat, **options), flat)


def test_thick_slices_leave_a_picture_that_changes_only_within_the_plane():
    hu = torch.rand(1, 1, P, P, 1).expand(1, 1, P, P, P) * 500
    torch.testing.assert_close(augmented(hu, thick_slices=4.0), hu, atol=1e-2, rtol=1e-4)


def test_a_lung_kernel_sharpens_an_edge_and_leaves_the_flat():
    edge = torch.full((1, 1, P, P, P), -850.0)
    edge[:, :, P // 2 :] = 0
    # Blur and sharpening exclude each other: where the blur is drawn, sharpening waits.
    augmentation = HuAugmentation(**{**NOTHING, "sharpen": 0.8, "probability": 0.5})
    results = [augmentation(edge, edge.byte(), ["a"], generators(seed, 1))[0] for seed in range(20)]
    sharpened = [r for r in results if not torch.allclose(r, edge, atol=1.0)]
    assert sharpened
    for result in sharpened:
        assert result.max() > 1
        torch.testing.assert_close(result[:, :, [0, -1]], edge[:, :, [0, -1]], atol=0.5, rtol=0)


def test_the_same_random_numbers_give_the_same_patches():
    hu, _ = patches()
    options = {"noise_hu": 50.0, "shift_hu": 20.0, "blur": 0.9}
    assert torch.equal(augmented(hu, seed=4, **options), augmented(hu, seed=4, **options))
    assert not torch.equal(augmented(hu, seed=4, **options), augmented(hu, seed=5, **options))


def test_a_patch_becomes_the_same_whatever_else_is_in_its_batch():
    hu, label = patches(count=4)
    whole, _ = HuAugmentation(probability=0.6)(hu, label, ["a"] * 4, generators(3, 4))
    for i in range(4):
        alone, _ = HuAugmentation(probability=0.6)(hu[i : i + 1], label[i : i + 1], ["a"], [generators(3, 4)[i]])
        torch.testing.assert_close(alone[0], whole[i], atol=1e-2, rtol=1e-5)


def test_blur_gives_a_point_the_bell_of_its_own_width():
    point = torch.zeros(3, 1, 21, 21, 21)
    point[:, 0, 10, 10, 10] = 1
    blurred = gaussian_blur(point, [[1.0, 1.0, 1.0], [0.0, 2.0, 0.0], [0.0, 0.0, 0.0]])
    torch.testing.assert_close(blurred.flatten(1).sum(dim=1), torch.ones(3), atol=1e-4, rtol=0)
    away = torch.arange(21) - 10.0
    variance = [(blurred[0, 0].sum(dim=(1, 2)) * away**2).sum(), (blurred[1, 0].sum(dim=(0, 2)) * away**2).sum()]
    # A bell cut off at 2.5 SD, or further where a wider one shares the batch, has at most its full variance.
    assert 0.8 < variance[0] <= 1.05
    assert 3.3 < variance[1] <= 4.1
    torch.testing.assert_close(blurred[2], point[2])
    assert (blurred[1, 0, 9] == 0).all()


def test_gamma_keeps_both_ends_and_bends_what_lies_between_them():
    hu = torch.tensor([-1500.0, -1000.0, -300.0, 400.0, 900.0]).reshape(1, 1, 1, 1, 5)
    bent, _ = GammaContrast((2.0, 2.0), (-1000.0, 400.0), probability=1.0)(hu, hu.byte(), ["a"], generators(0, 1))
    # Half-way up becomes a quarter: -1000 + 1400 / 4.
    torch.testing.assert_close(bent.flatten(), torch.tensor([-1500.0, -1000.0, -650.0, 400.0, 900.0]))


def test_gamma_keeps_the_order_of_hu_and_the_patches_that_were_not_drawn():
    hu, label = patches(count=40)
    bent, _ = GammaContrast(probability=0.5)(hu, label, ["a"] * 40, generators(0, 40))
    same = torch.isclose(bent, hu).flatten(1).all(dim=1)
    assert 8 <= int(same.sum()) <= 32  # 20 expected, with a standard deviation of 3.2
    assert (bent[~same][0].flatten()[hu[~same][0].flatten().argsort()].diff() >= -1e-3).all()


def test_low_resolution_takes_away_what_is_finer_than_its_voxels_and_keeps_the_mean():
    stripes = torch.zeros(1, 1, P, P, P)
    stripes[:, :, ::2] = 1000.0
    coarse, _ = LowResolution(factor=2.0, probability=1.0)(stripes, stripes.byte(), ["a"], [AlwaysHighest()])
    # Two voxels in one: every pair has the mean 500.
    torch.testing.assert_close(coarse, torch.full_like(coarse, 500.0))
    ramp = torch.arange(P, dtype=torch.float32).expand(1, 1, P, P, P).clone()
    kept, _ = LowResolution(factor=2.0, probability=1.0)(ramp, ramp.byte(), ["a"], [AlwaysHighest()])
    torch.testing.assert_close(kept[..., 2:-2], ramp[..., 2:-2], atol=1e-3, rtol=0)


class AlwaysHighest(np.random.Generator):
    """Draws the top of every range."""

    def __init__(self) -> None:
        super().__init__(np.random.PCG64(0))

    def random(self, *args, **kwargs):
        return 0.0

    def uniform(self, low=0.0, high=1.0, size=None):
        return high


def test_a_finer_resolution_than_there_is_is_refused():
    with pytest.raises(ValueError, match="at least 1"):
        LowResolution(factor=0.5)
