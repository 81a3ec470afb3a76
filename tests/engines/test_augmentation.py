"""HU augmentation within its bounds, and nodules inserted where the label says."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from lungseg3d.engines import HuAugmentation, NoduleInsertion

P = 24
NOTHING = {"shift_hu": 0, "scale": 0, "noise_hu": 0, "blur": 0, "sharpen": 0, "thick_slices": 1, "probability": 1.0}


def patches(seed: int = 0, count: int = 3) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    hu = torch.rand(count, 1, P, P, P, generator=generator) * 1200 - 1000
    return hu, (hu > 0).to(torch.uint8)


def augmented(hu: torch.Tensor, seed: int = 0, **options) -> torch.Tensor:
    label = torch.zeros(hu.shape, dtype=torch.uint8)
    result, _ = HuAugmentation(**{**NOTHING, **options})(hu, label, ["a"] * len(hu), np.random.default_rng(seed))
    return result


def test_shape_and_label_stay_and_the_given_batch_too():
    hu, label = patches()
    before = hu.clone()
    result, label_after = HuAugmentation(probability=1.0)(hu, label, ["a", "b", "c"], np.random.default_rng(0))
    assert result.shape == hu.shape
    assert result.dtype == torch.float32
    assert torch.isfinite(result).all()
    assert torch.equal(label_after, label)
    assert torch.equal(hu, before)
    assert not torch.equal(result, hu)


def test_a_probability_of_0_changes_nothing_and_neither_do_amounts_of_0():
    hu, label = patches()
    result, _ = HuAugmentation(probability=0.0)(hu, label, ["a"] * 3, np.random.default_rng(0))
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
    rng = np.random.default_rng(0)
    results = [augmentation(edge, edge.byte(), ["a"], rng)[0] for _ in range(20)]
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


DONOR_HU, LUNG_HU = 60.0, -850.0


def donor(radius: float = 6.0, size: int = 31) -> dict[str, torch.Tensor]:
    """A ball of soft tissue in lung."""
    axis = torch.arange(size) - size // 2
    away = (axis[:, None, None] ** 2 + axis[None, :, None] ** 2 + axis[None, None] ** 2).float().sqrt()
    ball = (away <= radius)[None]
    return {"image": torch.where(ball, DONOR_HU, LUNG_HU), "label": ball.to(torch.uint8)}


def lung(count: int = 4, size: int = 32) -> tuple[torch.Tensor, torch.Tensor]:
    return torch.full((count, 1, size, size, size), LUNG_HU), torch.zeros(count, 1, size, size, size, dtype=torch.uint8)


def insertion(**options) -> NoduleInsertion:
    return NoduleInsertion([donor()], **{"groups": ["hosts"], "probability": 1.0, **options})


def test_the_label_marks_exactly_what_was_pasted():
    hu, label = lung()
    image, marked = insertion()(hu, label, ["hosts"] * 4, np.random.default_rng(0))
    middle = (DONOR_HU + LUNG_HU) / 2
    clear = (image - middle).abs() > 2  # a voxel half filled may fall to either side by rounding
    assert torch.equal((image > middle)[clear], (marked > 0)[clear])
    assert marked.flatten(1).any(dim=1).all()
    assert image.max() <= DONOR_HU + 0.1
    assert image.min() >= LUNG_HU - 0.1
    assert not label.any()
    assert (hu == LUNG_HU).all()


@pytest.mark.parametrize("zoom", [0.5, 1.0])
def test_a_pasted_nodule_has_the_donors_volume_times_the_zoom_cubed(zoom):
    hu, label = lung(count=6, size=48)
    _, marked = insertion(scale_range=(zoom, zoom))(hu, label, ["hosts"] * 6, np.random.default_rng(1))
    wanted = float(donor()["label"].sum()) * zoom**3
    for count in marked.flatten(1).sum(dim=1).tolist():
        assert count == pytest.approx(wanted, rel=0.12)


def test_the_value_of_a_nodule_is_the_one_that_was_asked():
    _, marked = insertion(value=3)(*lung(), ["hosts"] * 4, np.random.default_rng(0))
    assert set(marked.unique().tolist()) == {0, 3}


def test_patches_that_show_a_nodule_already_and_other_groups_stay_as_they_are():
    hu, label = lung()
    label[1, 0, 3, 3, 3] = 1
    image, marked = insertion()(hu, label, ["hosts", "hosts", "nodules", "hosts"], np.random.default_rng(0))
    for i in (1, 2):
        assert torch.equal(image[i], hu[i])
        assert torch.equal(marked[i], label[i])
    for i in (0, 3):
        assert marked[i].any()


def test_denser_tissue_of_the_host_is_never_lowered_beside_the_nodule():
    rng = np.random.default_rng(2)
    hu, label = lung()
    hu[:, :, 16:] = 200.0  # a wall, denser than the donor's rim and than the nodule
    hu[:, :, :, ::5] = -300.0  # vessels
    image, marked = insertion()(hu, label, ["hosts"] * 4, rng)
    outside = marked == 0
    assert (image[outside] >= hu[outside] - 1e-3).all()
    assert (image[~outside] <= DONOR_HU + 0.1).all()


def test_far_from_the_nodule_nothing_changes():
    hu, label = lung(count=4, size=48)
    hu += torch.rand(hu.shape) * 40
    image, marked = insertion()(hu, label, ["hosts"] * 4, np.random.default_rng(3))
    near = torch.nn.functional.max_pool3d(marked.float(), 13, stride=1, padding=6) > 0
    assert (~near).any()
    torch.testing.assert_close(image[~near], hu[~near], atol=0.5, rtol=0)


def test_nodules_are_inserted_as_often_as_asked():
    hu, label = lung(count=60, size=12)
    _, marked = insertion(probability=0.4)(hu, label, ["hosts"] * 60, np.random.default_rng(0))
    # 24 expected, with a standard deviation of 3.8.
    assert 10 <= int(marked.flatten(1).any(dim=1).sum()) <= 38


def test_no_donor_means_no_nodule():
    hu, label = lung()
    image, marked = NoduleInsertion([], ["hosts"], 1.0)(hu, label, ["hosts"] * 4, np.random.default_rng(0))
    assert torch.equal(image, hu)
    assert not marked.any()


def test_a_donor_without_a_nodule_is_an_error_that_names_it():
    empty = torch.zeros(1, 8, 8, 8)
    with pytest.raises(ValueError, match="donor case-7 has an empty label"):
        NoduleInsertion([{"image": empty, "label": empty, "case_id": "case-7"}], groups=["hosts"])
