"""What the scanner does to the anatomy: the table, the kernel's blur and sharpening, the slice profile, the noise.

In: noise-free HU on a grid. Out: HU as reconstructed. Knows no anatomy.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.ndimage import gaussian_filter1d

from lungseg3d.data.phantom.shapes import Places, paint, soft_step

LOWEST_HU, HIGHEST_HU = -1024, 3071


@dataclass(frozen=True)
class Kernel:
    """A reconstruction kernel.

    Attributes:
        blur_mm: standard deviation of the in-plane point spread.
        sharpen, sharpen_mm: strength and width of the edge enhancement (an unsharp mask).
        grain_mm: (fine, coarse) scales between which the noise lives: filtered back projection has no slow noise.
    """

    blur_mm: float
    sharpen: float
    sharpen_mm: float
    grain_mm: tuple[float, float]


# Soft: half contrast at about 3.5 line pairs per cm, as B30f. Lung: at about 6, with overshoot, as B60f.
KERNELS = {"soft": Kernel(0.55, 0.0, 1.0, (0.55, 1.9)), "lung": Kernel(0.38, 0.45, 1.1, (0.25, 0.9))}


def kernel_named(name: str) -> Kernel:
    """The kernel of that name.

    Raises:
        ValueError: there is none.
    """
    if name not in KERNELS:
        raise ValueError(f"{name!r} is no kernel of the phantom's scanner; it has {', '.join(KERNELS)}")
    return KERNELS[name]


def scan(
    hu: np.ndarray,
    places: Places,
    spacing_mm: tuple[float, float, float],
    kernel: Kernel,
    noise_hu: float,
    rng: np.random.Generator,
) -> np.ndarray:
    """Blur, noise, rounding: noise-free HU, float32 (overwritten) -> int16.

    Args:
        hu: on the scanner's grid.
        places: its voxels in the body's own measure.
        spacing_mm: of the grid.
        kernel: what reconstructs.
        noise_hu: standard deviation of the noise in the middle of the chest.
        rng: of the noise.
    """
    blur(hu, spacing_mm, kernel)
    if noise_hu > 0:
        noise = make_noise(hu.shape, spacing_mm, kernel, rng)
        noise *= noise_strength(places) * np.float32(noise_hu)
        hu += noise
        del noise
    np.rint(hu, out=hu)
    return np.clip(hu, LOWEST_HU, HIGHEST_HU, out=hu).astype(np.int16)


def blur(hu: np.ndarray, spacing_mm: tuple[float, float, float], kernel: Kernel) -> np.ndarray:
    """Point spread in the plane and slice profile along z; the input is overwritten."""
    _smooth(hu, kernel.blur_mm, spacing_mm[:2])
    # The soft edges hold the box of the slice already; this is the profile's tail into its neighbours.
    gaussian_filter1d(hu, 0.32, axis=2, output=hu, mode="nearest", truncate=3.0)
    if kernel.sharpen > 0:
        slow = hu.copy()
        _smooth(slow, kernel.sharpen_mm, spacing_mm[:2])
        slow -= hu
        slow *= np.float32(-kernel.sharpen)
        hu += slow
    return hu


def make_noise(
    shape: tuple[int, int, int], spacing_mm: tuple[float, float, float], kernel: Kernel, rng: np.random.Generator
) -> np.ndarray:
    """Band-passed Gaussian noise, float32, mean 0, standard deviation 1; its grain follows the kernel."""
    noise = rng.standard_normal(shape, dtype=np.float32)
    _smooth(noise, kernel.grain_mm[0], spacing_mm[:2])
    slow = noise.copy()
    _smooth(slow, float(np.sqrt(kernel.grain_mm[1] ** 2 - kernel.grain_mm[0] ** 2)), spacing_mm[:2])
    noise -= slow * np.float32(0.85)
    del slow
    gaussian_filter1d(noise, 0.45, axis=2, output=noise, mode="nearest", truncate=3.0)
    spread = float(noise.std())
    if spread > 1e-3:  # a single voxel has no spread to scale by
        noise *= np.float32(1 / spread)
    return noise


def noise_strength(places: Places) -> np.ndarray:
    """Noise relative to the middle of the chest: less at the rim, more between the shoulders; broadcastable."""
    middle = np.exp(-np.square(places.x / 110) - np.square((places.y + 10) / 80))
    shoulders = 1 / (1 + np.exp(-(places.z - 95) / 10))
    weights: np.ndarray = ((0.65 + 0.35 * middle) * (1 + 0.35 * shoulders)).astype(np.float32)
    return weights


def paint_table(hu: np.ndarray, places: Places, top_y: float) -> None:
    """A curved couch of two thin shells with foam between, its top at `top_y` in the middle, in place."""
    x = np.abs(places.x)
    above = places.y - (top_y + np.square(x) / 1400)
    below = top_y - 26 + np.square(x) / 900 - places.y
    couch = np.maximum(np.maximum(above, below), x - 205)
    edge = places.edge_mm
    paint(hu, soft_step(couch, edge), -180.0)
    paint(hu, soft_step(couch + np.float32(1.8), edge), -960.0)


def _smooth(array: np.ndarray, sigma_mm: float, spacing_mm: tuple[float, ...]) -> None:
    """Gaussian in the plane, in place; widths far below a pixel change nothing."""
    for axis, spacing in enumerate(spacing_mm):
        if sigma_mm / spacing > 0.15:
            gaussian_filter1d(array, sigma_mm / spacing, axis=axis, output=array, mode="nearest", truncate=3.0)
