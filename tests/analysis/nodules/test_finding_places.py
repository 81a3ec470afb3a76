"""Findings in a chest of known shape: lungs, the tissue around them, and what may be a nodule there."""

import numpy as np
import pytest
from scipy import ndimage
from scipy.spatial.transform import Rotation

from lungseg3d.analysis import NoduleMap, anatomy_reasons
from lungseg3d.core import Grid, Volume
from lungseg3d.core.labels import NODULE
from lungseg3d.data import NoduleSpec, PhantomSpec, Texture, make_phantom
from lungseg3d.data.phantom.anatomy import RIGHT, Anatomy
from lungseg3d.data.phantom.shapes import Places

AIR_HU, TISSUE_HU, GLASS_HU, BONE_HU = -850, 40, -550, 500
HALF_MM = 25.0
"""The mediastinum reaches from -25 to 25 mm; the right lung lies at larger x, the left one at smaller x."""


class Chest:
    """Two lungs with a mediastinum between them, 60 mm wide each, and the chest wall beyond."""

    def __init__(self, grid: Grid) -> None:
        self.grid = grid
        self.world = grid.to_world(np.stack(np.meshgrid(*map(np.arange, grid.shape), indexing="ij"), axis=-1))
        x = self.world[..., 0]
        in_lung = (np.abs(x) > HALF_MM) & (np.abs(x) < HALF_MM + 60)
        self.lungs = np.where(in_lung, np.where(x > 0, 1, 2), 0).astype(np.uint8)
        self.hu = np.where(in_lung, AIR_HU, TISSUE_HU).astype(np.int16)
        self.found = np.zeros(grid.shape, np.uint16)

    def ball(self, x_mm: float, diameter_mm: float, y_mm: float = 0.0) -> np.ndarray:
        return np.linalg.norm(self.world - (x_mm, y_mm, 0.0), axis=-1) <= diameter_mm / 2

    def rod(self, start_mm: float, stop_mm: float, diameter_mm: float, y_mm: float = 0.0) -> np.ndarray:
        """A vessel along x."""
        x, y, z = np.moveaxis(self.world, -1, 0)
        return (x >= start_mm) & (x <= stop_mm) & (np.hypot(y - y_mm, z) <= diameter_mm / 2)

    def add(self, mask: np.ndarray, hu: int | None = TISSUE_HU) -> None:
        """Find a mask as the next finding; with `hu`, its part in the lungs becomes that tissue."""
        if hu is not None:
            self.hu[mask & (self.lungs > 0)] = hu
        self.found[mask] = self.found.max() + 1

    def reasons(self, cut_out: bool = False) -> tuple[str, ...]:
        """With the nodules in the lungs' mask, or left out of it."""
        lungs = np.where(self.found > 0, 0, self.lungs).astype(np.uint8) if cut_out else self.lungs
        found = NoduleMap(Volume(self.found, self.grid.affine), (0.9,) * int(self.found.max()))
        return anatomy_reasons(Volume(self.hu, self.grid.affine), Volume(lungs, self.grid.affine), found)


def centred(shape: tuple[int, int, int], axes: np.ndarray) -> Grid:
    affine = np.eye(4)
    affine[:3, :3] = axes
    affine[:3, 3] = -axes @ (np.array(shape) / 2)
    return Grid(shape, affine)


PLAIN = centred((120, 60, 40), np.diag([1.6, 1.6, 2.0]))
GRIDS = {
    "isotropic": centred((190, 80, 40), np.eye(3)),
    "thick slices": centred((200, 80, 10), np.diag([0.95, 0.95, 5.0])),
    "permuted": centred((40, 200, 100), np.array([[0, -0.95, 0], [0, 0, -0.8], [1.25, 0, 0.0]])),
    "oblique": centred((200, 110, 60), Rotation.from_euler("xyz", [6, -5, 9], degrees=True).as_matrix() * (0.95, 1, 1)),
}
PLEURA_MM = HALF_MM + 60


@pytest.mark.parametrize("cut_out", [False, True])
@pytest.mark.parametrize("grid", GRIDS.values(), ids=GRIDS)
def test_what_bulges_into_the_lung_is_kept_and_what_lies_behind_its_border_is_not(grid, cut_out):
    chest = Chest(grid)
    chest.add(chest.ball(55, 14))
    chest.add(chest.ball(PLEURA_MM - 4, 12))
    chest.add(chest.ball(-PLEURA_MM, 18, 20) & (chest.lungs > 0))
    chest.add(chest.ball(HALF_MM + 4, 14, -20))
    chest.add(chest.ball(-PLEURA_MM - 6, 16, -20))
    assert chest.reasons(cut_out) == ("", "", "", "", "outside-lungs")


def test_ground_glass_on_the_pleura_the_mediastinum_and_a_vessel_is_kept():
    chest = Chest(PLAIN)
    chest.hu[chest.rod(40, 84, 3) & (chest.lungs > 0)] = TISSUE_HU
    for x_mm, y_mm in ((PLEURA_MM - 3, 0), (-HALF_MM - 3, 0), (60, 3)):
        outline = chest.ball(x_mm, 15, y_mm)
        chest.hu[chest.ball(x_mm, 12, y_mm) & (chest.lungs > 0) & (chest.hu < GLASS_HU)] = GLASS_HU
        chest.add(outline, hu=None)
    assert chest.reasons() == ("", "", "")
    assert chest.reasons(cut_out=True) == ("", "", "")


def test_ground_glass_that_the_lungs_leave_out_with_all_around_it_is_kept_and_tissue_there_is_not():
    chest = Chest(PLAIN)
    for x_mm, hu in ((PLEURA_MM - 8, GLASS_HU), (-PLEURA_MM + 8, TISSUE_HU)):
        chest.lungs[chest.ball(x_mm, 45)] = 0
        chest.hu[chest.ball(x_mm, 45)] = hu
        chest.add(chest.ball(x_mm, 24), hu=None)
    assert chest.reasons() == ("", "outside-lungs")


def test_a_piece_of_a_trunk_that_leaves_the_mediastinum_is_a_hilar_vessel_and_a_nodule_on_a_twig_is_not():
    chest = Chest(PLAIN)
    chest.hu[chest.rod(0, 60, 14) & (chest.lungs > 0)] = TISSUE_HU
    chest.hu[chest.rod(-60, 0, 4, 20) & (chest.lungs > 0)] = TISSUE_HU
    chest.add(chest.rod(18, 40, 14), hu=None)
    chest.add(chest.ball(-HALF_MM - 5, 14, 20))
    assert chest.reasons() == ("hilar-vessel", "")


@pytest.mark.parametrize(("trunk_hu", "reason"), [(200, "hilar-vessel"), (40, "")])
def test_where_contrast_fills_the_vessels_only_what_is_as_bright_is_one(trunk_hu, reason):
    chest = Chest(PLAIN)
    chest.hu[np.abs(chest.world[..., 0]) <= HALF_MM] = 200
    chest.hu[chest.rod(HALF_MM, 60, 14)] = trunk_hu
    chest.add(chest.rod(24, 40, 14), hu=None)
    assert chest.reasons() == (reason,)


def test_a_trunk_far_below_the_hilum_is_no_hilar_vessel():
    chest = Chest(centred((120, 60, 80), np.diag([1.6, 1.6, 2.0])))
    chest.world[..., 2] += 60
    chest.hu[chest.rod(0, 60, 14) & (chest.lungs > 0)] = TISSUE_HU
    chest.add(chest.rod(18, 40, 14), hu=None)
    assert chest.reasons() == ("",)


def test_what_bulges_out_of_the_mediastinum_by_less_than_half_lies_outside_the_lungs():
    chest = Chest(PLAIN)
    chest.add(chest.ball(HALF_MM - 3, 20))
    chest.add(chest.ball(PLEURA_MM + 2, 20))
    assert chest.reasons() == ("outside-lungs", "")


def test_a_bump_of_bone_lies_outside_the_lungs_and_a_calcified_nodule_does_not():
    chest = Chest(PLAIN)
    bump, calcified = chest.ball(PLEURA_MM - 1, 16), chest.ball(60, 16, -20)
    chest.hu[bump | chest.ball(PLEURA_MM + 8, 16)] = BONE_HU
    chest.hu[calcified] = BONE_HU
    chest.add(bump, hu=None)
    chest.add(calcified, hu=None)
    assert chest.reasons() == ("outside-lungs", "")


def test_what_lies_on_the_diaphragm_is_not_taken_for_mediastinum():
    chest = Chest(PLAIN)
    below = chest.world[..., 2] < -12
    chest.lungs[below & (np.abs(chest.world[..., 0]) < HALF_MM + 35)] = 0
    chest.hu[below & (chest.lungs == 0)] = TISSUE_HU
    sunk = np.linalg.norm(chest.world - (HALF_MM + 18, 0, -13), axis=-1) <= 9
    chest.add(sunk)
    assert chest.reasons() == ("",)


def test_a_reason_stands_at_the_place_of_its_value_even_where_a_value_is_missing():
    chest = Chest(PLAIN)
    for x_mm, y_mm in ((-10, 0), (55, 0), (-10, 20)):
        chest.add(chest.ball(x_mm, 14, y_mm))
    chest.found[chest.found == 1] = 0
    assert chest.reasons() == ("", "", "outside-lungs")


def test_without_lungs_anatomy_says_nothing():
    chest = Chest(PLAIN)
    chest.add(chest.ball(0, 14), hu=None)
    assert chest.reasons() == ("outside-lungs",)
    chest.lungs[:] = 0
    assert chest.reasons() == ("",)


def planted_specs(anatomy: Anatomy) -> tuple[NoduleSpec, ...]:
    """A solid, a part-solid and a ground-glass nodule on each: pleura, diaphragm, hilum, fissure of the right lung."""
    points = np.random.default_rng(0).uniform((2, -120, -160), (150, 100, 120), (12_000, 3))
    places = Places.of_points(points)
    depth = -anatomy.lung_distances(places)[0]
    to = {
        "pleura": np.where(np.abs(points[:, 2]) < 60, -anatomy.cavity.distance(places), np.inf),
        "diaphragm": anatomy.diaphragm_distance(places),
        "hilum": np.where(np.abs(points[:, 2]) < 25, anatomy.mediastinum_distance(places), np.inf),
        "fissure": np.where(depth > 25, np.abs(anatomy.fissures(places, RIGHT)[0]), np.inf),
    }
    kinds: tuple[tuple[Texture, float], ...] = (("solid", 10), ("part-solid", 14), ("ground-glass", 18))
    centres: list[np.ndarray] = []
    specs: list[NoduleSpec] = []
    for name, away in to.items():
        for texture, diameter_mm in kinds:
            sunk = diameter_mm * 0.3
            fits = away < 1 if name == "fissure" else (np.abs(away - sunk) < 1) & (np.abs(depth - sunk) < 1.5)
            for other in centres:
                fits = fits & (np.linalg.norm(points - other, axis=1) > 30)
            centres.append(points[fits][0])
            x, y, z = centres[-1].tolist()
            specs.append(NoduleSpec(diameter_mm, texture, centre_ras_mm=(x, y, z), seed=len(specs)))
    return tuple(specs)


def test_nodules_planted_on_pleura_diaphragm_hilum_and_fissure_of_a_phantom_are_kept():
    specs = planted_specs(Anatomy(3))
    phantom = make_phantom(PhantomSpec(3, (104, 82, 64), (3.2, 3.2, 4.5), nodules=specs, table=False))
    labels = phantom.labels.array
    found = phantom.nodule_map.with_array(ndimage.grey_dilation(phantom.nodule_map.array, footprint=np.ones((3, 3, 1))))
    assert len(phantom.nodules) == 12
    for value in (0, 1):  # the nodules left out of the lungs, and in the right one
        lungs = phantom.labels.with_array(np.where(labels == NODULE.value, value, labels).astype(np.uint8))
        assert anatomy_reasons(phantom.ct, lungs, NoduleMap(found, (1.0,) * 12)) == ("",) * 12
