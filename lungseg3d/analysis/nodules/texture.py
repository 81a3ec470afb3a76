"""What readers would call a nodule: ground glass, part-solid or solid, by what its HU look like.

In: a CT, a nodule's mask, a fitted classifier. Out: a probability of each texture. Knows no file.
A single HU limit mixes two questions: how dense the inside is, and how much of it partial volume hides. Here the
density of the core, the tail of the distribution, the size and the lung around are weighed together, as fitted to
LIDC's readers (ratings of texture, 1 ground glass ... 5 solid; Armato et al. 2011, Med Phys 38:915).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import ndimage

from lungseg3d.core import Box

TEXTURES = ("ground-glass", "part-solid", "solid")
FEATURES = (
    "median_hu",
    "percentile_90_hu",
    "percentile_97_hu",
    "core_hu",
    "spread_hu",
    "log_volume_mm3",
    "surrounding_hu",
    "share_above_minus_500_hu",
)
_SMOOTHED_MM = 0.7
_CORE_SHARE = 0.6
"""The core is what lies at least this share of the greatest depth below the surface."""
_SHELL_MM = (2.0, 4.0)
"""The surroundings are a shell so far from the mask; their lower quartile is lung, whatever touches the nodule."""
_DENSE_HU = -500


def texture_features(hu: np.ndarray, mask: np.ndarray, spacing_mm: Sequence[float]) -> np.ndarray:
    """The `FEATURES` of a nodule, (F,).

    Args:
        hu: (X, Y, Z), the nodule and at least 4 mm around where the CT goes on.
        mask: of the nodule, bool (X, Y, Z).
        spacing_mm: of the voxels.

    Raises:
        ValueError: the mask is empty.
    """
    box = Box.around(mask)
    if box is None:
        raise ValueError("the mask of a nodule is empty")
    spacing = np.asarray(spacing_mm, float)
    margin = [int(np.ceil(_SHELL_MM[1] / step)) + 2 for step in spacing]
    near = box.grown(margin, mask.shape).slices
    inside = mask[near]
    smooth = ndimage.gaussian_filter(hu[near].astype(float), _SMOOTHED_MM / spacing)
    depth = ndimage.distance_transform_edt(np.pad(inside, 1), sampling=spacing)[(slice(1, -1),) * 3]
    away = ndimage.distance_transform_edt(~inside, sampling=spacing)
    shell = (away > _SHELL_MM[0]) & (away <= _SHELL_MM[1])
    values = smooth[inside]
    median, high, highest = np.percentile(values, [50, 90, 97])
    return np.array(
        [
            median,
            high,
            highest,
            smooth[depth >= _CORE_SHARE * depth.max()].mean(),
            values.std(),
            np.log(inside.sum() * spacing.prod()),
            np.percentile(smooth[shell], 25) if shell.any() else median,
            (values > _DENSE_HU).mean(),
        ]
    )


@dataclass(frozen=True)
class TextureClassifier:
    """A multinomial logistic regression over standardised features.

    Attributes:
        mean, scale: of each feature, (F,).
        weights: (3, F), a row for each of `TEXTURES`.
        bias: (3,).
    """

    mean: np.ndarray
    scale: np.ndarray
    weights: np.ndarray
    bias: np.ndarray

    @classmethod
    def of(cls, content: Mapping[str, Any]) -> TextureClassifier:
        """From plain numbers, as `plain` gives them.

        Raises:
            ValueError: numbers are missing, or are not those of these features and textures.
        """
        if list(content.get("features", ())) != list(FEATURES) or list(content.get("textures", ())) != list(TEXTURES):
            raise ValueError("the classifier of textures is for other features or textures than this program knows")
        numbers = {name: np.array(content.get(name, ()), float) for name in ("mean", "scale", "weights", "bias")}
        shapes = {"mean": (8,), "scale": (8,), "weights": (3, 8), "bias": (3,)}
        for name, shape in shapes.items():
            if numbers[name].shape != shape or not np.isfinite(numbers[name]).all():
                raise ValueError(f"{name} of the classifier of textures: expected {shape} finite numbers")
        if not (numbers["scale"] > 0).all():
            raise ValueError("scale of the classifier of textures: expected positive numbers")
        return cls(**numbers)

    def plain(self) -> dict[str, Any]:
        """As lists of numbers."""
        numbers = {name: getattr(self, name).tolist() for name in ("mean", "scale", "weights", "bias")}
        return {"features": list(FEATURES), "textures": list(TEXTURES), **numbers}

    def probabilities(self, features: np.ndarray) -> np.ndarray:
        """Of each of `TEXTURES`, (..., 3), of features (..., F)."""
        scores = (np.asarray(features) - self.mean) / self.scale @ self.weights.T + self.bias
        powers = np.exp(scores - scores.max(axis=-1, keepdims=True))
        shares: np.ndarray = powers / powers.sum(axis=-1, keepdims=True)
        return shares

    def texture(self, features: np.ndarray) -> str:
        """The most probable one of features (F,)."""
        return TEXTURES[int(self.probabilities(features).argmax())]
