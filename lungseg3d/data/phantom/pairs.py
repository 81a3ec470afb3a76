"""One phantom person scanned twice: known growth, another breath and place, other slices and another kernel.

In: a `PairSpec`. Out: a `PhantomPair`: two phantoms, and which nodule of one is which of the other, with true volumes.
The person is drawn once and both CTs are sampled from it, so what differs is what the spec says. Nodules are rigid:
they move with the lung and grow about their centre. Knows no file format; research and testing only.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np
from scipy import ndimage

from lungseg3d.core import Grid, Volume
from lungseg3d.core.labels import LEFT_LUNG, RIGHT_LUNG
from lungseg3d.data.phantom.anatomy import Anatomy
from lungseg3d.data.phantom.breathing import Motion
from lungseg3d.data.phantom.nodules import NoduleSpec, nodule_box, nodule_occupancy
from lungseg3d.data.phantom.placement import PlacedNodule, lung_occupancy, place_nodules
from lungseg3d.data.phantom.scanner import kernel_named, scan
from lungseg3d.data.phantom.scene import PhantomScene
from lungseg3d.data.phantom.shapes import Places
from lungseg3d.data.phantom.thorax import Phantom, PhantomNodule, PhantomSpec, draw_nodules, draw_thorax

_SLAB_VOXELS = 1_200_000


@dataclass(frozen=True)
class PlannedNodule:
    """A nodule over time.

    Attributes:
        spec: its form and place in the prior CT; its diameter is not read.
        diameters_mm: (prior, current); None = not there.

    Raises:
        ValueError: it is there at no time.
    """

    spec: NoduleSpec
    diameters_mm: tuple[float | None, float | None]

    def __post_init__(self) -> None:
        if self.diameters_mm == (None, None):
            raise ValueError("a planned nodule is there in the prior or in the current CT")


@dataclass(frozen=True)
class PairSpec:
    """What to make.

    Attributes:
        person: seed of the person.
        seed: places of nodules without one, motion and noise.
        nodules: over time.
        prior, current: the CTs; of these specs grid, kernel and noise are read.
        diaphragm_mm: how much deeper the breath of the current CT is; negative = breathed out.
    """

    person: int
    seed: int
    nodules: tuple[PlannedNodule, ...]
    prior: PhantomSpec
    current: PhantomSpec
    diaphragm_mm: float = 0.0


@dataclass(frozen=True)
class PairedNodule:
    """A nodule of a pair.

    Attributes:
        plan: what was asked for.
        ids: its value in the prior's and in the current's nodule map; None = not there.
        volumes_mm3: true volumes inside the lung; 0 = not there.
        centres_ras_mm: where it lies, or would lie, in both.
    """

    plan: PlannedNodule
    ids: tuple[int | None, int | None]
    volumes_mm3: tuple[float, float]
    centres_ras_mm: tuple[np.ndarray, np.ndarray] = field(compare=False)


@dataclass(frozen=True, eq=False)
class PhantomPair:
    """Two CTs of one person and all that is known about them.

    Attributes:
        prior, current: the phantoms.
        nodules: every nodule of either.
        motion: from the prior to the current CT.
    """

    prior: Phantom
    current: Phantom
    nodules: tuple[PairedNodule, ...]
    motion: Motion


@dataclass(frozen=True, eq=False)
class Person:
    """A person drawn once, without nodules and noise.

    Attributes:
        seed: who.
        anatomy, scene: its form.
        hu, labels: drawn on `grid`, finely enough for both CTs.
    """

    seed: int
    anatomy: Anatomy
    scene: PhantomScene
    hu: np.ndarray
    labels: np.ndarray
    grid: Grid

    @staticmethod
    def of(seed: int, spec: PhantomSpec) -> Person:
        """Draw a person on the grid of `spec`; both CTs of a pair are sampled from that drawing."""
        anatomy = Anatomy(seed)
        scene = PhantomScene(anatomy, seed)
        return Person(seed, anatomy, scene, *draw_thorax(scene, spec.grid), spec.grid)


def make_phantom_pair(spec: PairSpec, person: Person | None = None) -> PhantomPair:
    """Scan a person twice.

    Args:
        spec: what to make.
        person: where it is at hand; else it is drawn on the prior's grid. Drawing it takes longest.

    Raises:
        ValueError: an explicit nodule lies in no lung.
    """
    person = person or Person.of(spec.person, spec.prior)
    motion = Motion.of(spec.seed, spec.diaphragm_mm)
    planned = {plan.spec.seed: plan for plan in spec.nodules}
    widest = [replace(plan.spec, diameter_mm=max(d for d in plan.diameters_mm if d)) for plan in spec.nodules]
    places = place_nodules(person.anatomy, person.scene.vessels, widest, spec.prior.grid, 1.0, spec.seed)
    scans = []
    for time, scan_spec in enumerate((spec.prior, spec.current)):
        moved = motion if time else Motion.none()
        there = [_at(place, planned[place.spec.seed], time, moved) for place in places]
        scans.append(_scanned(person, scan_spec, [nodule for nodule in there if nodule], moved, (spec.seed, 61 + time)))
    nodules = tuple(_paired(planned[place.spec.seed], place, motion, scans) for place in places)
    return PhantomPair(scans[0], scans[1], nodules, motion)


def _at(place: PlacedNodule, plan: PlannedNodule, time: int, motion: Motion) -> PlacedNodule | None:
    """The nodule in the prior (0) or the current (1) CT; None when it is not there."""
    diameter_mm = plan.diameters_mm[time]
    if diameter_mm is None:
        return None
    centre = motion.to_current(np.array(place.centre_ras_mm))
    spec = replace(plan.spec, diameter_mm=diameter_mm)
    return PlacedNodule(spec, tuple(float(c) for c in centre), place.side, 0.0)  # type: ignore[arg-type]


def _paired(plan: PlannedNodule, place: PlacedNodule, motion: Motion, scans: list[Phantom]) -> PairedNodule:
    found = [next((n for n in phantom.nodules if n.spec.seed == plan.spec.seed), None) for phantom in scans]
    centre = np.array(place.centre_ras_mm)
    ids = tuple(nodule.id if nodule else None for nodule in found)
    volumes = tuple(nodule.volume_mm3 if nodule else 0.0 for nodule in found)
    return PairedNodule(plan, ids, volumes, (centre, motion.to_current(centre)))  # type: ignore[arg-type]


def _scanned(
    person: Person, spec: PhantomSpec, nodules: list[PlacedNodule], motion: Motion, seed: tuple[int, int]
) -> Phantom:
    """One CT of the moved person."""
    grid = spec.grid
    measured = [replace(n, volume_mm3=_true_volume_mm3(person.anatomy, n, motion)) for n in nodules]
    measured.sort(key=lambda nodule: -nodule.volume_mm3)
    hu, labels = _sampled(person, grid, motion)
    nodule_map = draw_nodules(
        hu, labels, measured, grid, lambda part: lung_share(person.anatomy, part, motion), person.anatomy.habitus
    )
    rng = np.random.default_rng(seed)
    ct = scan(hu, Places.of_grid(grid), spec.spacing_mm, kernel_named(spec.kernel), spec.noise_hu, rng)
    listed = tuple(
        PhantomNodule(n.spec, i, n.centre_ras_mm, n.volume_mm3, float(np.cbrt(6 * n.volume_mm3 / np.pi)), n.side)
        for i, n in enumerate(measured, start=1)
    )
    return Phantom(Volume(ct, grid.affine), Volume(labels, grid.affine), Volume(nodule_map, grid.affine), listed)


def _sampled(person: Person, grid: Grid, motion: Motion) -> tuple[np.ndarray, np.ndarray]:
    """(HU float32, label map) of the moved person; a thick slice is the mean of as many thin ones as it holds."""
    if motion.is_none and grid.matches(person.grid):
        return person.hu.copy(), person.labels.copy()
    hu = np.zeros(grid.shape, dtype=np.float32)
    labels = np.zeros(grid.shape, dtype=np.uint8)
    count = max(1, round(grid.spacing_mm[2] / person.grid.spacing_mm[2]))
    drawn = {lung.value: (person.labels == lung.value).astype(np.float32) for lung in (RIGHT_LUNG, LEFT_LUNG)}
    across = np.stack(np.meshgrid(np.arange(grid.shape[0]), np.arange(grid.shape[1]), indexing="ij"), axis=-1)
    thickness = max(1, _SLAB_VOXELS // (grid.shape[0] * grid.shape[1]))
    for start in range(0, grid.shape[2], thickness):
        heights = np.arange(start, min(start + thickness, grid.shape[2]))
        voxels = np.empty((*grid.shape[:2], len(heights), 3))
        voxels[..., :2], voxels[..., 2] = across[:, :, None], heights
        slab = slice(start, start + thickness)
        share = {value: np.zeros(voxels.shape[:3], np.float32) for value in drawn}
        for step in (np.arange(count) + 0.5) / count - 0.5:
            places = person.grid.to_voxel(motion.to_prior(grid.to_world(voxels + np.array([0, 0, step]))))
            places = np.moveaxis(places, -1, 0).astype(np.float32)
            hu[:, :, slab] += ndimage.map_coordinates(person.hu, places, order=1, mode="nearest") / count
            for value, mask in drawn.items():
                share[value] += ndimage.map_coordinates(mask, places, order=1, mode="nearest") / count
        for value, occupied in share.items():
            labels[:, :, slab][occupied >= 0.5] = value
    return hu, labels


def lung_share(anatomy: Anatomy, part: Grid, motion: Motion) -> np.ndarray:
    """Share of each voxel of a grid that lies in the moved lungs, float32."""
    voxels = np.stack(np.meshgrid(*[np.arange(n) for n in part.shape], indexing="ij"), axis=-1)
    points = motion.to_prior(part.to_world(voxels)).reshape(-1, 3)
    places = replace(Places.of_points(points), spacing_mm=part.spacing_mm)
    return lung_occupancy(anatomy, places).reshape(part.shape)


def _true_volume_mm3(anatomy: Anatomy, nodule: PlacedNodule, motion: Motion) -> float:
    """Volume inside the moved lung, counted on a grid of a twentieth of the diameter."""
    whole = float(np.pi / 6 * nodule.spec.diameter_mm**3)
    pitch = nodule.spec.diameter_mm / 20
    size = int(np.ceil(5 * nodule.spec.diameter_mm / pitch))
    affine = np.diag([pitch, pitch, pitch, 1.0])
    affine[:3, 3] = np.array(nodule.centre_ras_mm) - pitch * (size - 1) / 2
    grid = Grid((size, size, size), affine)
    box = nodule_box(nodule.spec, grid, nodule.centre_ras_mm)
    if box is None:
        return whole
    part = grid.cropped(box)
    if nodule.spec.attachment != "pleura" and lung_share(anatomy, _corners(part), motion).min() > 0.99:
        return whole
    occupancy = nodule_occupancy(nodule.spec, part, nodule.centre_ras_mm)
    return whole * float((occupancy * lung_share(anatomy, part, motion)).sum() / occupancy.sum(dtype=np.float64))


def _corners(part: Grid) -> Grid:
    """A grid of 5 x 5 x 5 points that spans another."""
    steps = [(n - 1) / 4 for n in part.shape]
    return Grid((5, 5, 5), part.affine @ np.diag([*steps, 1.0]))
