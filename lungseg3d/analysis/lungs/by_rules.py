"""CT -> right and left lung by classical rules, without a network.

In: a CT Volume in HU on any grid. Out: label map on the same grid, 1 right lung, 2 left lung.
The teacher of the lung network, and the fallback that quality control compares with. Works on blocks of about
2 mm and goes back to the CT's own voxels only at the lung's border.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy import ndimage

from lungseg3d.analysis.lungs.airways import find_airways
from lungseg3d.analysis.lungs.sides import split_sides
from lungseg3d.analysis.morphology import (
    ANY_NEIGHBOUR,
    closed,
    dilated,
    eroded,
    filled,
    filled_in_plane,
    largest_component,
    opened,
)
from lungseg3d.core import Box, Volume
from lungseg3d.core.labels import LEFT_LUNG, RIGHT_LUNG

_COARSE_MM = 2.0
_LEAST_LUNG_MM3 = 300_000.0
_CLOSING_MM = 9.0
_COSTAL_CLOSING_MM = 20.0
_LARGEST_SLICE_HOLE_MM2 = 600.0
_GAS_HU = -935.0
_THRESHOLD_RANGE_HU = (-340.0, -280.0)


def segment_lungs_by_rules(ct: Volume) -> Volume:
    """Right and left lung with the vessels, bronchi and nodules inside them; trachea and main bronchi left out.

    Air inside the body is what remains of HU below a threshold half-way between air and tissue (Hu et al. 2001,
    IEEE TMI 20:490-498); the large airways are cut away, gas of the gut is told from lung by its HU, the sides are
    parted, and each lung is closed with a ball of 9 mm radius so that nodules and vessels at its border stay in.

    Args:
        ct: HU on any grid; the lungs must not be cut by the sides of the image (its first and last slice may).

    Returns:
        uint8 label map on the grid of `ct`; all zero when less than 0.3 l of lung is in view.
    """
    ras = ct.as_ras()
    factors = tuple(max(1, round(_COARSE_MM / s)) for s in ras.spacing_mm)
    coarse = _block_means(ras.array, factors)
    spacing_mm = tuple(s * f for s, f in zip(ras.spacing_mm, factors, strict=True))
    nothing = ct.with_array(np.zeros(ct.shape, np.uint8))

    body = find_body(coarse, spacing_mm)
    if not body.any():
        return nothing
    threshold_hu = _air_threshold_hu(coarse, body)
    air = body & (coarse < threshold_hu)
    midline_mm = float(np.average(np.arange(body.shape[0]), weights=body.sum(axis=(1, 2)))) * spacing_mm[0]
    airways = find_airways(coarse, air, midline_mm, spacing_mm)
    tissue = _lung_tissue(coarse, air & ~airways, spacing_mm)
    if tissue.sum() * np.prod(spacing_mm) < _LEAST_LUNG_MM3:
        return nothing
    sides = split_sides(tissue, coarse, midline_mm, spacing_mm)
    whole = _whole_lungs(sides, coarse, airways, body, spacing_mm)
    fine = _at_full_resolution(ras.array, tissue, whole, airways, factors, threshold_hu)
    return ct.from_ras(Volume(fine, ras.affine))


def find_body(hu: np.ndarray, spacing_mm: Sequence[float]) -> np.ndarray:
    """The patient with the air inside: bool (X, Y, Z) in RAS order; table, clothes and bags left out."""
    solid = largest_component(opened(hu > -300, 3.0, spacing_mm))
    return filled_in_plane(solid)


def _block_means(hu: np.ndarray, factors: Sequence[int]) -> np.ndarray:
    """Mean of every block of `factors` voxels, float32; the last block is padded with the array's edge."""
    padding = [(0, -n % f) for n, f in zip(hu.shape, factors, strict=True)]
    padded = np.pad(hu, padding, mode="edge") if any(p for _, p in padding) else hu
    x, y, z = (n // f for n, f in zip(padded.shape, factors, strict=True))
    clipped = np.clip(padded, -1024, 1024)
    blocks = clipped.reshape(x, factors[0], y, factors[1], z, factors[2])
    means: np.ndarray = blocks.mean(axis=(1, 3, 5), dtype=np.float32)
    return means


def _air_threshold_hu(hu: np.ndarray, body: np.ndarray) -> float:
    """Half-way between the means of air and tissue inside the body (Ridler & Calvard 1978), within limits."""
    inside = hu[body]
    threshold_hu = _THRESHOLD_RANGE_HU[0]
    for _ in range(10):
        air, tissue = inside[inside < threshold_hu], inside[inside >= threshold_hu]
        if air.size == 0 or tissue.size == 0:
            break
        threshold_hu = float(np.clip((air.mean() + tissue.mean()) / 2, *_THRESHOLD_RANGE_HU))
    return threshold_hu


def _lung_tissue(hu: np.ndarray, air: np.ndarray, spacing_mm: Sequence[float]) -> np.ndarray:
    """The components of `air` that are lung: large, or beside a large one, and not pure gas."""
    parts, count = ndimage.label(opened(air, 0.9 * min(spacing_mm), spacing_mm))
    if count == 0:
        return air
    index = np.arange(1, count + 1)
    sizes_mm3 = np.bincount(parts.ravel())[1:] * float(np.prod(spacing_mm))
    core = np.where(eroded(parts > 0, 1.1 * max(spacing_mm), spacing_mm), parts, 0)
    # A component without a core gets -1000, so that it counts as gas and is dropped.
    core_voxels = np.bincount(core.ravel(), minlength=count + 1)[1:]
    core_sums = np.bincount(core.ravel(), weights=hu.ravel(), minlength=count + 1)[1:]
    is_gas = np.divide(core_sums, core_voxels, out=np.full(count, -1000.0), where=core_voxels > 0) < _GAS_HU
    large = index[~is_gas & (sizes_mm3 >= 0.1 * sizes_mm3[~is_gas].max(initial=1.0))]
    lungs = np.isin(parts, large)
    near = dilated(lungs, _CLOSING_MM, spacing_mm)
    beside = np.unique(parts[near & (parts > 0)])
    wanted = [i for i in beside if i in large or (not is_gas[i - 1] and sizes_mm3[i - 1] > 300)]
    wanted_air: np.ndarray = air & dilated(np.isin(parts, wanted), 1.1 * max(spacing_mm), spacing_mm)
    return wanted_air


def _whole_lungs(
    sides: np.ndarray, hu: np.ndarray, airways: np.ndarray, body: np.ndarray, spacing_mm: Sequence[float]
) -> np.ndarray:
    """Each lung closed and filled; where both closings claim a voxel, neither does unless it was theirs before.

    Holes of one slice are filled up to 6 cm2 (vessels at the hilum); the diaphragm's dome makes larger ones.
    """
    claims = []
    largest = _LARGEST_SLICE_HOLE_MM2 / (spacing_mm[0] * spacing_mm[1])
    for value in (RIGHT_LUNG.value, LEFT_LUNG.value):
        lung = sides == value
        if not lung.any():
            claims.append(lung)
            continue
        grown = filled_in_plane(filled(closed(lung, _CLOSING_MM, spacing_mm)), largest)
        grown |= _costal_pits(grown, hu, sides > 0, spacing_mm)
        claims.append(filled_in_plane(grown, largest) & body & (~airways | lung))
    whole = np.zeros(sides.shape, np.uint8)
    whole[claims[0] & ~claims[1]] = RIGHT_LUNG.value
    whole[claims[1] & ~claims[0]] = LEFT_LUNG.value
    return np.where(sides > 0, sides, whole)


def _costal_pits(lung: np.ndarray, hu: np.ndarray, lungs: np.ndarray, spacing_mm: Sequence[float]) -> np.ndarray:
    """Pits of up to 40 mm in the surface towards the ribs: consolidation and nodules on the pleura.

    A ball this large would also fill the hilum and the diaphragm's edge, so a pit counts only where the way
    to the middle of the chest, in its axial slice, leads through this lung; and ribs are not filled in.
    """
    added = closed(lung, _COSTAL_CLOSING_MM, spacing_mm) & ~lung & (hu < 150)
    voxels = np.argwhere(added)
    middle = ndimage.center_of_mass(lungs)[:2]
    inwards_mm = (np.array(middle) - voxels[:, :2]) * np.array(spacing_mm[:2])
    distance_mm = np.linalg.norm(inwards_mm, axis=1)
    crossed_mm = np.zeros(len(voxels))
    step_mm = 4.0
    for way_mm in np.arange(step_mm, 60.0, step_mm):
        share = np.minimum(way_mm / np.maximum(distance_mm, 1e-6), 1.0)
        x, y = np.rint(voxels[:, :2] + share[:, None] * inwards_mm / np.array(spacing_mm[:2])).astype(int).T
        crossed_mm += step_mm * lung[x, y, voxels[:, 2]]
    pits = np.zeros_like(lung)
    pits[tuple(voxels[crossed_mm >= 12.0].T)] = True
    return opened(pits, 2.0, spacing_mm)


def _at_full_resolution(
    hu: np.ndarray,
    tissue: np.ndarray,
    whole: np.ndarray,
    airways: np.ndarray,
    factors: Sequence[int],
    threshold_hu: float,
) -> np.ndarray:
    """The coarse lungs on the fine voxels: air decides the border where lung meets tissue, the closing elsewhere."""
    result = np.zeros(hu.shape, np.uint8)
    found = Box.around(whole)
    if found is None:
        return result
    box = found.grown(2, whole.shape)
    start = tuple(a * f for a, f in zip(box.start, factors, strict=True))
    stop = tuple(min(b * f, n) for b, f, n in zip(box.stop, factors, hu.shape, strict=True))
    fine = Box(start, stop)  # type: ignore[arg-type]
    part = hu[fine.slices]

    def up(mask: np.ndarray) -> np.ndarray:
        blocks = mask[box.slices]
        for axis, factor in enumerate(factors):
            blocks = np.repeat(blocks, factor, axis=axis)
        return blocks[tuple(slice(0, n) for n in part.shape)]

    def up_smooth(mask: np.ndarray) -> np.ndarray:
        share = ndimage.uniform_filter(up(mask).astype(np.float32), size=[2 * f - 1 for f in factors])
        smoothed: np.ndarray = share > 0.5
        return smoothed

    lung = whole > 0
    is_air = (part < threshold_hu) & up(ndimage.binary_dilation(tissue, ANY_NEIGHBOUR) & ~airways)
    inside = up_smooth(lung)
    deep = up(ndimage.binary_erosion(lung, ANY_NEIGHBOUR, border_value=1))
    added = up(ndimage.binary_dilation(lung & ~tissue, ANY_NEIGHBOUR) & lung)
    mask = is_air | deep | (inside & added)
    mask = ndimage.uniform_filter(mask.astype(np.float32), size=3) > 0.5
    side = up(np.where(whole > 0, whole, ndimage.grey_dilation(whole, size=3)))
    result[fine.slices] = np.where(mask, side, 0)
    return result
