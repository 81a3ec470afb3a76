"""Findings in a chest of known shape: a lung, the tissue around it, and what may be a nodule there."""

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from lungseg3d.analysis import NoduleMap, anatomy_reasons
from lungseg3d.core import Grid, Volume

LUNG_X_MM = 0.0
"""Lung on the side of larger x, tissue on the other."""


def make_chest(grid: Grid, spheres, in_mask: bool = False) -> tuple[Volume, Volume, NoduleMap]:
    """A flat wall at x = 0 mm and dense spheres (x of the centre, diameter; mm), 40 mm apart along y."""
    world = grid.to_world(np.stack(np.meshgrid(*map(np.arange, grid.shape), indexing="ij"), axis=-1))
    lung = world[..., 0] > LUNG_X_MM
    hu = np.where(lung, -850, 40).astype(np.int16)
    labels = np.zeros(grid.shape, np.uint16)
    for number, (x_mm, diameter_mm) in enumerate(spheres, start=1):
        away = np.linalg.norm(world - np.array([x_mm, 40.0 * (number - 1), 0.0]), axis=-1)
        labels[away <= diameter_mm / 2] = number
    hu[labels > 0] = 40
    if not in_mask:
        lung &= labels == 0
    assert np.unique(labels).size == len(spheres) + 1
    found = NoduleMap(Volume(labels, grid.affine), (0.9,) * len(spheres))
    return Volume(hu, grid.affine), Volume(lung.astype(np.uint8), grid.affine), found


def centred(shape, axes) -> Grid:
    affine = np.eye(4)
    affine[:3, :3] = axes
    affine[:3, 3] = np.array([0.0, 60.0, 0.0]) - axes @ (np.array(shape) / 2)
    return Grid(shape, affine)


GRIDS = {
    "isotropic": centred((70, 150, 40), np.eye(3)),
    "thick slices": centred((80, 200, 10), np.diag([0.8, 0.8, 5.0])),
    "permuted": centred((34, 80, 190), np.array([[0, -0.9, 0], [0, 0, -0.8], [1.25, 0, 0.0]])),
    "oblique": centred(
        (100, 170, 70), Rotation.from_euler("xyz", [12, -18, 9], degrees=True).as_matrix() * (0.9, 1, 1)
    ),
}


@pytest.mark.parametrize("grid", GRIDS.values(), ids=GRIDS)
def test_what_bulges_into_the_lung_is_kept_and_what_lies_behind_its_border_is_not(grid):
    free, on_the_pleura, half_sunk, behind = (20, 12), (4, 12), (0, 16), (-9, 16)
    reasons = anatomy_reasons(*make_chest(grid, (free, on_the_pleura, half_sunk, behind)))
    assert reasons == ("", "", "", "outside-lungs")


def test_a_reason_stands_at_the_place_of_its_value_even_where_a_value_is_missing():
    ct, lungs, found = make_chest(GRIDS["isotropic"], ((-9, 16), (20, 12), (-9, 16)))
    found.labels.array[found.labels.array == 1] = 0
    assert anatomy_reasons(ct, lungs, found) == ("", "", "outside-lungs")


def test_without_lungs_anatomy_says_nothing():
    ct, lungs, found = make_chest(GRIDS["isotropic"], ((-9, 16), (20, 12)))
    assert anatomy_reasons(ct, lungs.with_array(np.zeros_like(lungs.array)), found) == ("", "")
