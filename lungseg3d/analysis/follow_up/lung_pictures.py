"""Lungs of one CT drawn for registration: lung dark, vessels brighter, all else flat, and what the CT covers.

In: a `Chest`: a label map and, where it is at hand, the CT. Out: a `LungPicture` on a coarse grid. Knows no second CT.
What lies outside the lungs is one flat value, because ribs stay behind when lungs slide along them.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import SimpleITK as sitk
from scipy import ndimage

from lungseg3d.analysis.follow_up.field_of_view import FieldOfView
from lungseg3d.analysis.image.blocks import coarse_grid_around, covered_by, mean_on
from lungseg3d.core import GeometryError, Grid, Volume
from lungseg3d.core.labels import LUNGS

TISSUE = 100.0
_TISSUE_ABOVE_LUNG_HU = 350.0
_LEAST_CUT_VOXELS = 30
"""Of the coarse grid: a lung is cut off where 5 square centimetres of it lie at the edge of the field of view."""


@dataclass(frozen=True, eq=False)
class Chest:
    """What one time point gives to registration.

    Attributes:
        labels: label map of `core.labels`; all that is labelled counts as lung.
        ct: HU on the same grid; None = masks alone.

    Raises:
        GeometryError: E_GRID_MISMATCH when they do not lie on one grid.
    """

    labels: Volume
    ct: Volume | None = None

    def __post_init__(self) -> None:
        if self.ct is not None and not self.ct.grid.matches(self.labels.grid):
            found = f"the label map {self.labels.shape} does not lie on the CT's grid {self.ct.shape}"
            raise GeometryError("E_GRID_MISMATCH", found, "Give the CT that was segmented.")

    @cached_property
    def field_of_view(self) -> FieldOfView:
        """What the CT covers."""
        return FieldOfView.of(self.labels, self.ct)


@dataclass(frozen=True, eq=False)
class LungPicture:
    """What is registered, on a grid along R, A, S.

    Attributes:
        image: lung 0, vessels up to 100, everything else 100.
        share: the lungs' share of each voxel, 0 to 1.
        covered: which voxels the CT covers.
        grid: of all three.
    """

    image: sitk.Image
    share: np.ndarray
    covered: np.ndarray
    grid: Grid

    @property
    def lung(self) -> np.ndarray:
        """Voxels that are lung for the most part: bool."""
        return self.share > 0.5

    @property
    def middle_mm(self) -> np.ndarray:
        """The middle of the lungs, RAS mm (3,)."""
        return self.grid.to_world(np.argwhere(self.lung).mean(axis=0))

    @property
    def is_cut(self) -> bool:
        """Whether the field of view cuts a lung off."""
        edge = ndimage.binary_dilation(~self.covered, iterations=2)
        return int((edge & self.lung).sum()) >= _LEAST_CUT_VOXELS

    @property
    def mask(self) -> sitk.Image:
        """What is covered, as an image of 0 and 1."""
        return image_of(self.covered.astype(np.uint8), self.grid)


def draw_lungs(chest: Chest, with_ct: bool) -> LungPicture:
    """The lungs by their HU above their own median, since a breath makes them lighter, not different.

    Args:
        chest: what is drawn.
        with_ct: False draws the lungs flat, so that their surfaces lead.

    Raises:
        GeometryError: E_NO_LUNG when the label map holds no lung.
    """
    labels = chest.labels
    grid = coarse_grid_around(labels)
    if grid is None or not any((labels.array == lung.value).any() for lung in LUNGS):
        text = "the label map holds no lung, so that there is nothing to register."
        raise GeometryError("E_NO_LUNG", text, "Look at the CT; segment it with lungseg3d segment --roi lungs.")
    share = mean_on(grid, labels.with_array((labels.array > 0).view(np.uint8)))
    lung = np.zeros_like(share)
    if with_ct and chest.ct is not None:
        hu = mean_on(grid, chest.ct)
        inside = share > min(0.95, share.max() - 1e-3)
        lung = np.clip((hu - np.median(hu[inside])) / _TISSUE_ABOVE_LUNG_HU, -0.2, 1)
    drawn = (TISSUE * (share * lung + (1 - share))).astype(np.float32)
    covered = covered_by(labels.grid, grid)
    padding = chest.field_of_view.from_padding_mm
    if padding is not None:
        covered &= padding.array > 0
    return LungPicture(image_of(drawn, grid), share, covered, grid)


def image_of(array: np.ndarray, grid: Grid) -> sitk.Image:
    """SimpleITK's image; its world is ours (RAS) without turning, as all coarse grids run along the axes."""
    image = sitk.GetImageFromArray(np.ascontiguousarray(array.T))
    image.SetSpacing(grid.spacing_mm)
    image.SetOrigin(grid.affine[:3, 3].tolist())
    return image


def array_of(image: sitk.Image) -> np.ndarray:
    """The voxels of an image (X, Y, Z)."""
    array: np.ndarray = np.asarray(sitk.GetArrayFromImage(image)).T  # a copy: a view would outlive its image
    return array
