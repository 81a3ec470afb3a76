"""A synthetic thorax CT with lung nodules of known place, size and density, drawn again exactly from its seed.

In: a `PhantomSpec`. Out: a `Phantom`: CT in HU, label map, nodule map, the list of nodules.
Everything is drawn from distances in mm, so any grid and spacing shows the same person.
Knows no file format; research and testing only.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from lungseg3d.core import Grid, Lung, Volume
from lungseg3d.core.labels import LEFT_LUNG, NODULE, RIGHT_LUNG
from lungseg3d.data.phantom_anatomy import Anatomy
from lungseg3d.data.phantom_nodules import NoduleSpec, make_nodule_specs, nodule_box, nodule_hu
from lungseg3d.data.phantom_placement import PlacedNodule, lung_occupancy, place_nodules
from lungseg3d.data.phantom_scanner import HIGHEST_HU, LOWEST_HU, blur, kernel_named, make_noise, noise_strength
from lungseg3d.data.phantom_scene import Scene
from lungseg3d.data.phantom_shapes import Places

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
    scene = Scene(anatomy, spec.seed, table=spec.table, arms=spec.arms)
    wanted = spec.nodules
    if wanted is None:
        count = spec.nodule_count if anatomy.aerated else 0
        wanted = make_nodule_specs(count, np.random.default_rng((spec.seed, 42)))
    placed = place_nodules(anatomy, scene.vessels, wanted, grid, spec.scale, spec.seed)
    hu = np.empty(spec.shape, dtype=np.float32)
    labels = np.zeros(spec.shape, dtype=np.uint8)
    thickness = max(4, _SLAB_VOXELS // (spec.shape[0] * spec.shape[1]))
    whole = Places.of_grid(grid, spec.scale)
    for start in range(0, spec.shape[2], thickness):
        slab = slice(start, start + thickness)
        places = Places(whole.x, whole.y, whole.z[:, :, slab], whole.spacing_mm)
        hu[:, :, slab], right, left = scene.draw(places)
        labels[:, :, slab][right] = RIGHT_LUNG.value
        labels[:, :, slab][left] = LEFT_LUNG.value
    nodule_map = _draw_nodules(hu, labels, placed, anatomy, grid, spec.scale)
    ct = _scan(hu, spec, whole)
    nodules = tuple(
        PhantomNodule(n.spec, i, n.centre_ras_mm, n.volume_mm3, float(np.cbrt(6 * n.volume_mm3 / np.pi)), n.side)
        for i, n in enumerate(placed, start=1)
    )
    return Phantom(Volume(ct, grid.affine), Volume(labels, grid.affine), Volume(nodule_map, grid.affine), nodules)


def _draw_nodules(
    hu: np.ndarray,
    labels: np.ndarray,
    placed: tuple[PlacedNodule, ...],
    anatomy: Anatomy,
    grid: Grid,
    scale: float,
) -> np.ndarray:
    """Mix the nodules into `hu` and `labels` in place; returns their map."""
    nodule_map = np.zeros(grid.shape, dtype=np.uint16)
    for number, nodule in enumerate(placed, start=1):
        box = nodule_box(nodule.spec, grid, nodule.centre_ras_mm)
        if box is None:
            continue
        part = grid.cropped(box)
        occupancy, own_hu = nodule_hu(nodule.spec, part, nodule.centre_ras_mm)
        occupancy = np.minimum(occupancy, lung_occupancy(anatomy, Places.of_grid(part, scale)))
        block = hu[box.slices]
        # The nodule takes the place of air-filled lung: vessels in it stay, and the pleura stays in its own voxels.
        lung_hu = np.minimum(block, anatomy.habitus.lung_hu)
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


def _scan(hu: np.ndarray, spec: PhantomSpec, places: Places) -> np.ndarray:
    """Blur, noise, rounding: float32 HU (overwritten) -> int16."""
    kernel = kernel_named(spec.kernel)
    blur(hu, spec.spacing_mm, kernel)
    if spec.noise_hu > 0:
        noise = make_noise(spec.shape, spec.spacing_mm, kernel, np.random.default_rng((spec.seed, 50)))
        noise *= noise_strength(places) * np.float32(spec.noise_hu)
        hu += noise
        del noise
    np.rint(hu, out=hu)
    return np.clip(hu, LOWEST_HU, HIGHEST_HU, out=hu).astype(np.int16)
