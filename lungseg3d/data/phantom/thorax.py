"""A synthetic thorax CT with lung nodules of known place, size and density, drawn again exactly from its seed.

In: a `PhantomSpec`. Out: a `Phantom`: CT in HU, label map, nodule map, the list of nodules.
Everything is drawn from distances in mm, so any grid and spacing shows the same person.
Knows no file format; research and testing only.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from lungseg3d.core import Grid, Lung, Volume
from lungseg3d.core.labels import LEFT_LUNG, NODULE, RIGHT_LUNG
from lungseg3d.data.phantom.anatomy import Anatomy
from lungseg3d.data.phantom.habitus import Habitus
from lungseg3d.data.phantom.nodules import NoduleSpec, make_nodule_specs, nodule_box, nodule_hu
from lungseg3d.data.phantom.placement import PlacedNodule, lung_occupancy, place_nodules
from lungseg3d.data.phantom.scanner import kernel_named, scan
from lungseg3d.data.phantom.scene import PhantomScene
from lungseg3d.data.phantom.shapes import Places

_SLAB_VOXELS = 1_200_000


@dataclass(frozen=True)
class PhantomSpec:
    """What to make.

    Attributes:
        seed: the person, the nodules and the noise.
        shape, spacing_mm: the grid; its middle is the middle of the chest, and what it does not reach is not shown.
        nodule_count: random nodules, by the frequencies of `make_nodule_specs`; fewer where the field shows no place.
        nodules: these nodules instead.
        kernel: "soft" or "lung".
        noise_hu: standard deviation of the noise in the middle of the chest.
        table: show the couch. arms: hanging down (seen in wide fields) instead of raised.
        scale: size of the body; 1 = a grown-up. Nodules keep their size.
        lungs: which lungs hold air; the place of a missing one holds fluid.

    Raises:
        ValueError: a value outside these.
    """

    seed: int = 0
    shape: tuple[int, int, int] = (256, 256, 160)
    spacing_mm: tuple[float, float, float] = (1.4, 1.4, 2.0)
    nodule_count: int = 8
    nodules: tuple[NoduleSpec, ...] | None = None
    kernel: str = "soft"
    noise_hu: float = 20.0
    table: bool = True
    arms: bool = False
    scale: float = 1.0
    lungs: Literal["both", "right", "left", "none"] = "both"

    def __post_init__(self) -> None:
        if min(self.shape) < 1 or min(self.spacing_mm) <= 0 or self.scale <= 0 or self.noise_hu < 0:
            raise ValueError(f"shape, spacing_mm and scale must be positive and noise_hu not negative: {self}")
        if self.lungs not in ("both", "right", "left", "none"):
            raise ValueError(f"lungs is one of both, right, left, none, not {self.lungs!r}")
        kernel_named(self.kernel)

    @property
    def grid(self) -> Grid:
        """The phantom's grid: RAS order, centred on the origin."""
        affine = np.diag([*self.spacing_mm, 1.0])
        affine[:3, 3] = [-s * (n - 1) / 2 for s, n in zip(self.spacing_mm, self.shape, strict=True)]
        return Grid(self.shape, affine)


@dataclass(frozen=True)
class PhantomNodule:
    """A nodule of a phantom.

    Attributes:
        spec: what was asked for.
        id: its value in the nodule map; 1 = largest.
        centre_ras_mm: its centre.
        volume_mm3: true volume inside the lung.
        equivalent_diameter_mm: of the sphere of that volume.
        side: its lung.
    """

    spec: NoduleSpec
    id: int
    centre_ras_mm: tuple[float, float, float]
    volume_mm3: float
    equivalent_diameter_mm: float
    side: Lung


@dataclass(frozen=True, eq=False)
class Phantom:
    """A CT and all that is known about it.

    Attributes:
        ct: int16 HU.
        labels: uint8, values of `core.labels`; a lung holds its small vessels and airways, not the main bronchi.
        nodule_map: uint16, 0 or the nodule's id. A voxel is a nodule's when the nodule fills half of it.
        nodules: largest first.
    """

    ct: Volume
    labels: Volume
    nodule_map: Volume
    nodules: tuple[PhantomNodule, ...]


def make_phantom(spec: PhantomSpec = PhantomSpec()) -> Phantom:
    """Draw a thorax.

    Raises:
        ValueError: an explicit nodule lies in no aerated lung.
    """
    grid = spec.grid
    anatomy = Anatomy(spec.seed, spec.lungs)
    scene = PhantomScene(anatomy, spec.seed, table=spec.table, arms=spec.arms)
    wanted = spec.nodules
    if wanted is None:
        count = spec.nodule_count if anatomy.aerated else 0
        wanted = make_nodule_specs(count, np.random.default_rng((spec.seed, 42)))
    placed = place_nodules(anatomy, scene.vessels, wanted, grid, spec.scale, spec.seed)
    hu, labels = draw_thorax(scene, grid, spec.scale)

    def lung_in(part: Grid) -> np.ndarray:
        return lung_occupancy(anatomy, Places.of_grid(part, spec.scale))

    nodule_map = draw_nodules(hu, labels, placed, grid, lung_in, anatomy.habitus)
    rng = np.random.default_rng((spec.seed, 50))
    ct = scan(hu, Places.of_grid(grid, spec.scale), spec.spacing_mm, kernel_named(spec.kernel), spec.noise_hu, rng)
    nodules = tuple(
        PhantomNodule(n.spec, i, n.centre_ras_mm, n.volume_mm3, float(np.cbrt(6 * n.volume_mm3 / np.pi)), n.side)
        for i, n in enumerate(placed, start=1)
    )
    return Phantom(Volume(ct, grid.affine), Volume(labels, grid.affine), Volume(nodule_map, grid.affine), nodules)


def draw_thorax(scene: PhantomScene, grid: Grid, scale: float = 1.0) -> tuple[np.ndarray, np.ndarray]:
    """(HU float32, label map uint8) of a person without nodules, noise and blur, slab by slab."""
    hu = np.empty(grid.shape, dtype=np.float32)
    labels = np.zeros(grid.shape, dtype=np.uint8)
    thickness = max(4, _SLAB_VOXELS // (grid.shape[0] * grid.shape[1]))
    whole = Places.of_grid(grid, scale)
    for start in range(0, grid.shape[2], thickness):
        slab = slice(start, start + thickness)
        places = Places(whole.x, whole.y, whole.z[:, :, slab], whole.spacing_mm)
        hu[:, :, slab], right, left = scene.draw(places)
        labels[:, :, slab][right] = RIGHT_LUNG.value
        labels[:, :, slab][left] = LEFT_LUNG.value
    return hu, labels


def draw_nodules(
    hu: np.ndarray,
    labels: np.ndarray,
    placed: Sequence[PlacedNodule],
    grid: Grid,
    lung_in: Callable[[Grid], np.ndarray],
    habitus: Habitus,
) -> np.ndarray:
    """Mix the nodules into `hu` and `labels` in place; returns their map, numbered from 1 in the order given.

    Args:
        hu, labels: as `draw_thorax` gives them.
        placed: nodules with a place; what lies outside the grid is not drawn.
        grid: of the arrays.
        lung_in: share of each voxel of a part of the grid that lies in aerated lung.
        habitus: the person.
    """
    nodule_map = np.zeros(grid.shape, dtype=np.uint16)
    for number, nodule in enumerate(placed, start=1):
        box = nodule_box(nodule.spec, grid, nodule.centre_ras_mm)
        if box is None:
            continue
        part = grid.cropped(box)
        occupancy, own_hu = nodule_hu(nodule.spec, part, nodule.centre_ras_mm)
        occupancy = np.minimum(occupancy, lung_in(part))
        block = hu[box.slices]
        # The nodule takes the place of air-filled lung: vessels in it stay, and the pleura stays in its own voxels.
        lung_hu = np.minimum(block, habitus.lung_hu)
        np.maximum(block, np.minimum(block + occupancy * (own_hu - lung_hu), np.maximum(block, own_hu)), out=block)
        mask = fullest_voxels(occupancy)
        nodule_map[box.slices][mask] = number
        labels[box.slices][mask] = NODULE.value
    return nodule_map


def fullest_voxels(occupancy: np.ndarray) -> np.ndarray:
    """The mask whose volume is nearest to the true one: as many of the fullest voxels as all together would fill.

    Cutting at one half would lose a tenth of a 5 mm nodule on a grid of 1.4 x 1.4 x 2 mm. At least one voxel is true.

    Args:
        occupancy: share of each voxel that lies in the object, 0 to 1, any shape.
    """
    count = max(1, round(float(occupancy.sum())))
    mask = np.zeros(occupancy.size, dtype=bool)
    mask[np.argpartition(occupancy.ravel(), -count)[-count:]] = True
    return mask.reshape(occupancy.shape)
