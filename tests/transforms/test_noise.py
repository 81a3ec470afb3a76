"""LimitNoised: noise is found, quiet images stay, noisy ones become quieter and keep their place."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from monai.data import MetaTensor

from lungseg3d.transforms import LimitNoised, estimate_noise_hu


def lung(noise_hu: float, shape=(70, 60, 50), seed: int = 0) -> np.ndarray:
    """Lung at -850 HU with a wall and a ball of tissue, and white noise."""
    hu = np.full(shape, -850.0, np.float32)
    hu[:12] = 40
    x, y, z = np.ogrid[: shape[0], : shape[1], : shape[2]]
    hu[(x - 40) ** 2 + (y - 30) ** 2 + (z - 25) ** 2 <= 64] = 30
    return hu + np.random.default_rng(seed).normal(0, noise_hu, shape).astype(np.float32)


@pytest.mark.parametrize("noise_hu", [10, 30, 60])
def test_the_noise_of_lung_is_found_to_a_tenth(noise_hu):
    # Beyond 60 HU the range of HU that counts as lung cuts the noise's own tails.
    assert estimate_noise_hu(lung(noise_hu)) == pytest.approx(noise_hu, rel=0.12)


def test_more_noise_reads_as_more():
    found = [estimate_noise_hu(lung(noise_hu)) for noise_hu in (20, 50, 80, 120)]
    assert found == sorted(found)
    assert found[-1] > 80


def test_without_lung_there_is_no_noise_to_speak_of():
    assert estimate_noise_hu(np.full((40, 40, 40), 40.0, np.float32)) == 0
    assert estimate_noise_hu(np.full((3, 3, 3), -850.0, np.float32)) == 0


def limited(hu: np.ndarray, **options) -> torch.Tensor:
    return LimitNoised("image", **options)({"image": torch.from_numpy(hu)[None]})["image"]


def test_a_quiet_image_stays_to_the_bit():
    hu = lung(30)
    assert torch.equal(limited(hu)[0], torch.from_numpy(hu))


def test_a_noisy_image_loses_most_of_its_noise_and_none_of_its_tissue():
    hu = lung(90)
    smooth = limited(hu)[0].numpy()
    assert (smooth[20:30] + 850).std() < 0.45 * (hu[20:30] + 850).std()
    assert smooth[36:45, 26:35, 21:30].mean() == pytest.approx(30, abs=10)
    assert smooth.mean() == pytest.approx(hu.mean(), abs=0.5)


def test_smoothing_grows_with_the_noise():
    steps = [np.abs(limited(lung(h))[0].numpy() - lung(h)).std() / h for h in (52, 58, 75)]
    assert steps == sorted(steps)


def test_where_the_image_lies_is_kept():
    affine = np.diag([1.0, 1.0, 1.2, 1.0])
    image = MetaTensor(torch.from_numpy(lung(90))[None], affine=affine)
    result = LimitNoised("image")({"image": image})["image"]
    assert np.allclose(result.affine, affine)


def test_limits_that_cross_are_an_error():
    with pytest.raises(ValueError, match="known_hu 80"):
        LimitNoised("image", known_hu=80)
