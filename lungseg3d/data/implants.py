"""Real nodules put into other CTs, where no reader has to say where they are: semi-synthetic scans with known answers.

In: a CT, crops with one nodule each, places. Out: the CT with the nodules, and their label map. Reads no file.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from lungseg3d.core import Box, Grid, Volume

_RIM_MM = 2.0
_FADE_MM = 1.0
_FINE_MM = 1.0


@dataclass(frozen=True, eq=False)
class Donor:
    """A crop around one nodule.

    Attributes:
        ct: HU.
        mask: bool or 0/1 on the same grid.
    """

    ct: Volume
    mask: Volume

    @property
    def centre_ras_mm(self) -> np.ndarray:
        """Centre of mass of the nodule, (3,)."""
        return self.mask.grid.to_world(np.argwhere(self.mask.array > 0).mean(axis=0))

    @property
    def reach_mm(self) -> float:
        """Distance from the centre to the furthest voxel of the nodule."""
        places = self.mask.grid.to_world(np.argwhere(self.mask.array > 0))
        return float(np.linalg.norm(places - self.centre_ras_mm, axis=1).max())


def implant(ct: Volume, donor: Donor, centre_ras_mm: Sequence[float], turn: np.ndarray) -> tuple[Volume, np.ndarray]:
    """The CT with one nodule more.

    The nodule replaces what lay there; a rim of 2 mm fades into the host, so that vessels run into it. Outside the
    nodule the denser of both stays (pleura, vessels of the host). The CT's own voxels average over the donor's where
    they are larger, as slices of a scanner do.

    Args:
        ct: HU, any grid.
        donor: the nodule.
        centre_ras_mm: where its centre goes.
        turn: rotation (3, 3) of the donor, such as SciPy's `Rotation.random(...).as_matrix()`.

    Returns:
        CT, and the nodule as a bool mask on its grid.
    """
    box = _box_around(ct.grid, np.asarray(centre_ras_mm, float), donor.reach_mm + 3 * (_RIM_MM + _FADE_MM))
    part = ct.crop(box)
    steps = [max(1, int(np.ceil(mm / _FINE_MM))) for mm in part.spacing_mm]
    tissue, soft = np.zeros(part.shape, np.float64), np.zeros(part.shape, np.float64)
    for offset in itertools.product(*[(np.arange(n) + 0.5) / n - 0.5 for n in steps]):
        voxels = np.moveaxis(np.indices(part.shape, dtype=np.float64), 0, -1) + np.array(offset)
        away = (part.grid.to_world(voxels) - centre_ras_mm) @ np.asarray(turn)
        places = np.moveaxis(donor.ct.grid.to_voxel(away + donor.centre_ras_mm), -1, 0)
        tissue += ndimage.map_coordinates(donor.ct.array.astype(np.float32), places, order=1, mode="nearest")
        soft += ndimage.map_coordinates((donor.mask.array > 0).astype(np.float32), places, order=1, mode="constant")
    tissue, soft = tissue / np.prod(steps), soft / np.prod(steps)
    inside = soft >= 0.5
    away_mm = ndimage.distance_transform_edt(~inside, sampling=part.spacing_mm)
    rim = np.clip(1 - (away_mm - _RIM_MM / 2) / _RIM_MM, 0, 1)
    host = part.array.astype(np.float64)
    pasted = np.where(inside, tissue, rim * tissue + (1 - rim) * host)
    pasted = np.where(~inside & (host > pasted), host, pasted)
    changed = part.with_array(np.rint(pasted).astype(ct.array.dtype))
    mask = np.zeros(ct.shape, bool)
    mask[box.slices] = inside
    return ct.pasted(changed, box), mask


def free_places(
    lungs: Volume, reaches_mm: Sequence[float], rng: np.random.Generator, *, gap_mm: float = 8.0
) -> list[np.ndarray | None]:
    """Places inside the lungs for nodules of these reaches, none nearer than `gap_mm` to another; None where none is.

    Args:
        lungs: mask or label map, 0 outside.
        reaches_mm: from centre to furthest voxel of each nodule; the larger ones choose first.
        rng: draws the places.
        gap_mm: between two nodules.

    Returns:
        RAS mm (3,), in the order of `reaches_mm`.
    """
    depth_mm = ndimage.distance_transform_edt(lungs.array > 0, sampling=lungs.spacing_mm)
    taken: list[tuple[np.ndarray, float]] = []
    found: list[np.ndarray | None] = [None] * len(reaches_mm)
    for i in sorted(range(len(reaches_mm)), key=lambda i: -reaches_mm[i]):
        candidates = np.argwhere(depth_mm > reaches_mm[i])
        for voxel in candidates[rng.permutation(len(candidates))[:500]]:
            place = lungs.grid.to_world(voxel)
            if all(np.linalg.norm(place - other) > reach + reaches_mm[i] + gap_mm for other, reach in taken):
                taken.append((place, reaches_mm[i]))
                found[i] = place
                break
    return found


def _box_around(grid: Grid, centre_ras_mm: np.ndarray, reach_mm: float) -> Box:
    half = np.abs(np.linalg.inv(grid.affine[:3, :3])).sum(axis=1) * reach_mm
    centre = grid.to_voxel(centre_ras_mm)
    start = np.clip(np.floor(centre - half).astype(int), 0, np.array(grid.shape) - 1)
    stop = np.clip(np.ceil(centre + half).astype(int) + 1, start + 1, grid.shape)
    return Box(tuple(start.tolist()), tuple(stop.tolist()))
