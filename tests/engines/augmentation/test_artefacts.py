"""Streaks and covers: where they are, how strong, and that they leave label and the rest alone."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from lungseg3d.engines import MetalStreaks, Occlusion

P = 32


def generators(seed: int, count: int) -> list[np.random.Generator]:
    return [np.random.default_rng((seed, i)) for i in range(count)]


def changed(augmentation, count: int = 20, hu: float = -850.0, seed: int = 0) -> torch.Tensor:
    """What the augmentation adds to flat patches (count, P, P, P); the label must stay."""
    image = torch.full((count, 1, P, P, P), hu)
    label = torch.randint(0, 2, image.shape, dtype=torch.uint8)
    result, after = augmentation(image, label, ["a"] * count, generators(seed, count))
    assert torch.equal(after, label)
    assert (image == hu).all()
    return (result - image)[:, 0]


@pytest.mark.parametrize("augmentation", [MetalStreaks(probability=0.0), Occlusion(probability=0.0)])
def test_a_probability_of_0_changes_nothing(augmentation):
    assert not changed(augmentation).any()


@pytest.mark.parametrize(
    ("augmentation", "expected"), [(MetalStreaks(probability=0.3), 60), (Occlusion(probability=0.3), 60)]
)
def test_patches_are_spoilt_as_often_as_asked(augmentation, expected):
    spoilt = int((changed(augmentation, count=200).abs() > 1).flatten(1).any(dim=1).sum())
    # 60 of 200 expected, with a standard deviation of 6.5.
    assert expected - 26 <= spoilt <= expected + 26


def test_streaks_are_dark_and_bright_and_no_stronger_than_asked():
    streaks = changed(MetalStreaks(strength_hu=200.0, probability=1.0))
    assert streaks.abs().max() <= 200
    assert streaks.max() > 40
    assert streaks.min() < -40


def test_a_streak_runs_straight_from_the_metal_and_fades():
    class Known(MetalStreaks):
        def _draw(self, rng, size):
            # Metal in the middle of the left side; a bright beam along +x, a dark one along +y.
            return np.array([0.0, 15.0, 16.0]), np.array([0.0, np.pi / 2]), np.array([0.1, 0.1]), 100.0

    streaks = changed(Known(beams=2, reach=0.5, probability=1.0), count=1)[0]
    along = streaks[:, 15, 16]
    # At half the patch (16 voxels) half of the strength.
    assert along[16].item() == pytest.approx(50, rel=1e-3)
    assert along[1].item() == pytest.approx(100 / (1 + 1 / 16), rel=1e-3)
    assert (along[1:].diff() < 0).all()
    assert streaks[0, 31, 16].item() == pytest.approx(-50, rel=1e-3)
    assert streaks[16, 0, 16].abs() < 1e-3  # between the beams
    # Slices: the profile is a bell of 0.1 patches about the metal's own.
    assert streaks[16, 15, 16 + 3].item() == pytest.approx(50 * np.exp(-0.5 * (3 / 3.2) ** 2), rel=1e-3)
    assert streaks[:, :, 0].abs().max() < 1e-3


def test_a_beam_across_the_seam_of_the_angle_is_whole():
    class Known(MetalStreaks):
        def _draw(self, rng, size):
            return np.array([31.0, 15.5, 16.0]), np.array([np.pi, 0.0]), np.array([0.2, 0.01]), 100.0

    streaks = changed(Known(beams=2, probability=1.0), count=1)[0]
    torch.testing.assert_close(streaks[:30, :, 16], streaks[:30, :, 16].flip(1), atol=0.05, rtol=0)
    assert streaks[10, 15, 16] > 20


def test_a_cover_is_a_box_of_one_value_within_its_bounds():
    covers = changed(Occlusion(share=0.5, hu_range=(-100.0, 0.0), probability=1.0), hu=-850.0)
    for cover in covers:
        inside = cover != 0
        voxels = torch.nonzero(inside)
        sides = voxels.max(dim=0).values - voxels.min(dim=0).values + 1
        assert inside.sum() == sides.prod()  # a full box
        assert sides.max() <= P // 2
        values = cover[inside].unique()
        assert len(values) == 1
        assert -100 <= values.item() - 850 <= 0


@pytest.mark.parametrize("share", [0.0, 1.5])
def test_a_cover_of_nothing_or_of_more_than_all_is_refused(share):
    with pytest.raises(ValueError, match="expected 0 < share <= 1"):
        Occlusion(share=share)
