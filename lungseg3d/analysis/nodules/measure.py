"""Nodule map + CT -> nodules measured in mm and HU; label map -> lung volumes.

In: Volumes on one grid (HU, nodule ids, lungs). Out: `core.records.Nodule`, largest first, and `Lung`.
Knows no network and no file format. Each nodule is measured in a box of its own.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from scipy import ndimage

from lungseg3d.analysis.distances import shortest_way
from lungseg3d.analysis.morphology import ANY_NEIGHBOUR
from lungseg3d.analysis.nodules.diameters import axial_diameters_mm
from lungseg3d.analysis.nodules.partial_volume import SmallVolume, look_around, small_volume
from lungseg3d.analysis.nodules.size_classes import NoduleSize, fleischner, lung_rads
from lungseg3d.analysis.nodules.surroundings import lung_heights_mm, third_of, vessel_distance_mm
from lungseg3d.analysis.nodules.volume_interval import sampling_sd, volume_interval_mm3
from lungseg3d.core import Box, GeometryError, Lung, Nodule, Volume, boxes_by_value, islands
from lungseg3d.core.labels import LEFT_LUNG, LUNGS, NODULE, RIGHT_LUNG
from lungseg3d.core.nodule import (
    Centroid,
    Certainty,
    Density,
    Diameters,
    LungPosition,
    SizeClasses,
    SolidPart,
    VolumeEstimate,
)

SOLID_HU = -300.0
COUNTED_WITHIN = 0.02
"""Where the count of voxels errs by more than this share (one standard deviation), HU are asked, too."""
_GROUND_GLASS_BELOW = 0.06
_SOLID_FROM = 0.30
_SIDE_NAMES = {RIGHT_LUNG.value: "right", LEFT_LUNG.value: "left"}


@dataclass(frozen=True)
class _Scene:
    """What nodules are measured in: one grid, with or without lungs."""

    ct: Volume
    nodules: Volume
    lungs: Volume | None
    heights_mm: Mapping[int, tuple[float, float]]
    blur_mm: tuple[float, float, float]


def measure_nodules(
    ct: Volume,
    nodules: Volume,
    *,
    lungs: Volume | None = None,
    confidence: Sequence[float] | None = None,
    slice_thickness_mm: float | None = None,
) -> list[Nodule]:
    """Measure every nodule of an integer map.

    Args:
        ct: HU.
        nodules: integer map on the CT's grid, 0 = none; each value becomes the `id` of its nodule.
        lungs: label map on the CT's grid, 1 right, 2 left (`core.labels`); None leaves side and pleura unknown.
        confidence: of each nodule, `confidence[id - 1]`; None for a reference mask.
        slice_thickness_mm: widens the interval of the volume where slices are thicker than their distance.

    Returns:
        Nodules by volume, largest first; equal volumes by id. An empty map gives an empty list.

    Raises:
        GeometryError: E_GRID_MISMATCH when the volumes do not lie on one grid.
        ValueError: an id has no confidence.
    """
    for name, other in (("nodule map", nodules), ("lung map", lungs)):
        if other is not None and not ct.grid.matches(other.grid):
            raise GeometryError("E_GRID_MISMATCH", f"the {name} {other.shape} does not lie on the CT's grid {ct.shape}")
    scene = _scene(ct, nodules, lungs, slice_thickness_mm)
    measured = []
    for number, box in boxes_by_value(nodules.array).items():
        if confidence is not None and number > len(confidence):
            raise ValueError(f"nodule {number} has no confidence: {len(confidence)} are given")
        certainty = None if confidence is None else float(confidence[number - 1])
        measured.append(_measured(number, box, scene, certainty))
    return sorted(measured, key=lambda nodule: (-nodule.volume_mm3, nodule.id))


def _scene(ct: Volume, nodules: Volume, lungs: Volume | None, slice_thickness_mm: float | None) -> _Scene:
    blur_mm = list(ct.spacing_mm)
    slice_axis = ct.grid.ras_axes[0][2]
    blur_mm[slice_axis] = max(blur_mm[slice_axis], slice_thickness_mm or 0.0)
    heights_mm = {} if lungs is None else lung_heights_mm(lungs)
    return _Scene(ct, nodules, lungs, heights_mm, tuple(blur_mm))  # type: ignore[arg-type]


def _measured(number: int, box: Box, scene: _Scene, confidence: float | None) -> Nodule:
    ct = scene.ct
    mask = scene.nodules.array[box.slices] == number
    hu = ct.array[box.slices][mask].astype(np.float64)
    volume = _volume(number, box, mask, scene)
    long_axis_mm, perpendicular_mm = axial_diameters_mm(mask, ct.grid.cropped(box))
    centroid_voxel = np.argwhere(mask).mean(axis=0) + np.array(box.start)
    ras_mm = ct.grid.to_world(centroid_voxel)
    solid_fraction = float((hu > SOLID_HU).mean())
    kind = kind_of(solid_fraction)
    nodule = Nodule(
        id=number,
        volume=volume,
        diameters=Diameters(
            equivalent_mm=float(np.cbrt(6 * volume.mm3 / np.pi)),
            long_axis_mm=long_axis_mm,
            perpendicular_mm=perpendicular_mm,
            mean_mm=(long_axis_mm + perpendicular_mm) / 2,
        ),
        density=Density(float(hu.mean()), float(hu.std()), solid_fraction, kind),
        centroid=Centroid(_triple(ras_mm), _triple(ras_mm * (-1, -1, 1)), _triple(centroid_voxel)),
        position=_position(mask, box, scene, float(ras_mm[2])),
        certainty=Certainty(confidence),
        solid_part=_solid_part(mask, box, ct) if kind == "part-solid" else SolidPart(),
    )
    return classed(nodule)


def _volume(number: int, box: Box, mask: np.ndarray, scene: _Scene) -> VolumeEstimate:
    ct = scene.ct
    voxel_sum_mm3 = float(mask.sum()) * ct.voxel_volume_mm3
    small = _small_volume(number, box, mask, scene)
    if small is not None:
        return VolumeEstimate(small.mm3, small.low_mm3, small.high_mm3, "partial-volume", voxel_sum_mm3)
    low_mm3, high_mm3 = volume_interval_mm3(mask, ct.spacing_mm, ct.voxel_volume_mm3, scene.blur_mm)
    return VolumeEstimate(voxel_sum_mm3, low_mm3, high_mm3, "voxels", voxel_sum_mm3)


def _position(mask: np.ndarray, box: Box, scene: _Scene, height_mm: float) -> LungPosition:
    lungs = scene.lungs
    side = 0 if lungs is None else _side(mask, box, lungs)
    if lungs is None or not side:
        return LungPosition("unknown", None)
    return LungPosition(
        side=_SIDE_NAMES.get(side, "unknown"),
        pleura_distance_mm=_pleura_distance_mm(mask, box, lungs, side),
        third=third_of(height_mm, scene.heights_mm[side]) if side in scene.heights_mm else "unknown",
        vessel_distance_mm=vessel_distance_mm(mask, box, scene.ct, lungs),
    )


def _small_volume(number: int, box: Box, mask: np.ndarray, scene: _Scene) -> SmallVolume | None:
    """The volume by HU and voxels where the voxels alone are too few to tell it; None elsewhere."""
    count_sd = sampling_sd(mask) / float(mask.sum())
    if count_sd <= COUNTED_WITHIN:
        return None
    slice_mm = scene.blur_mm[scene.ct.grid.ras_axes[0][2]]
    return small_volume(look_around(box, number, (scene.ct, scene.nodules, scene.lungs), slice_mm), count_sd)


def _solid_part(mask: np.ndarray, box: Box, ct: Volume) -> SolidPart:
    solid = mask & (ct.array[box.slices] > SOLID_HU)
    parts, _ = ndimage.label(solid, structure=ANY_NEIGHBOUR)
    largest = parts == int(np.bincount(parts[solid]).argmax())
    long_axis_mm, perpendicular_mm = axial_diameters_mm(largest, ct.grid.cropped(box))
    return SolidPart(long_axis_mm, perpendicular_mm, float(solid.sum()) * ct.voxel_volume_mm3)


def classed(nodule: Nodule, *, is_new: bool = False) -> Nodule:
    """The nodule with the size classes of Lung-RADS 2022 and Fleischner 2017; see `analysis.size_classes`.

    Args:
        is_new: not there in an earlier CT.
    """
    solid = nodule.solid_part
    solid_mm = ((solid.long_axis_mm or 0.0) + (solid.perpendicular_mm or 0.0)) / 2
    mean_mm = (nodule.diameters.long_axis_mm + nodule.diameters.perpendicular_mm) / 2
    size = NoduleSize(nodule.kind, mean_mm, nodule.volume_mm3, solid_mm, solid.volume_mm3 or 0.0, is_new)
    return replace(nodule, size_classes=SizeClasses(*lung_rads(size), *fleischner(size)))


def kind_of(solid_fraction: float) -> str:
    """`ground-glass` below 0.06, `part-solid` below 0.30, else `solid`.

    Solid means above -300 HU; with that threshold 6 % of the volume best parts pure ground glass from part-solid in
    102 subsolid nodules (AUC 0.98; "Threshold segmentation of pulmonary subsolid nodules on CT images", 2017).
    Partial volume takes the rim of a solid nodule, so it does not reach 1: the median of 57 solid LIDC nodules is
    0.52, and 0.30 lets three quarters of them be solid. On LIDC the fraction tells ground glass from solid (AUC 0.93),
    but hardly part-solid from solid (AUC 0.54): read `part-solid` as "neither clearly".
    """
    if solid_fraction < _GROUND_GLASS_BELOW:
        return "ground-glass"
    return "part-solid" if solid_fraction < _SOLID_FROM else "solid"


def measure_lungs(labels: Volume) -> tuple[Lung, ...]:
    """Volume of each lung of a label map, right first; a lung without voxels is left out.

    Args:
        labels: 1 right lung, 2 left lung, 3 nodule (`core.labels`). A nodule counts to the lung that surrounds it: the
            one that touches it most, the nearest where none does.
    """
    whole = Box.around(labels.array) or Box((0, 0, 0), (1, 1, 1))
    held = labels.array[whole.slices]
    voxels = {lung.value: int(np.count_nonzero(held == lung.value)) for lung in LUNGS}
    for island in islands(held == NODULE.value):
        parts, _ = ndimage.label(held[island.slices] == NODULE.value, structure=ANY_NEIGHBOUR)
        for index, place in boxes_by_value(parts).items():
            mask = parts[place.slices] == index
            side = _side(mask, place.moved(island.start).moved(whole.start), labels)
            if side:
                voxels[side] += int(mask.sum())
    return tuple(
        Lung(lung.name, voxels[lung.value] * labels.voxel_volume_mm3 / 1000) for lung in LUNGS if voxels[lung.value]
    )


def _side(mask: np.ndarray, box: Box, lungs: Volume) -> int:
    """Label of the lung under most of the mask, else of the one touching it most, else of the nearest; 0 without."""
    under = lungs.array[box.slices][mask]
    counts = [int((under == lung.value).sum()) for lung in LUNGS]
    if max(counts):
        return LUNGS[int(np.argmax(counts))].value
    for reach_mm in (0.0, 20.0, np.inf):
        margin = [int(min(reach_mm / s, 10_000)) + 1 for s in lungs.spacing_mm]
        around = box.grown(margin, lungs.shape)
        local = lungs.array[around.slices]
        if not any((local == lung.value).any() for lung in LUNGS):
            continue
        distance_mm = ndimage.distance_transform_edt(~_placed(mask, box, around), sampling=lungs.spacing_mm)
        nearest_mm = [distance_mm[local == lung.value].min(initial=np.inf) for lung in LUNGS]
        touching = [int(((local == lung.value) & (distance_mm <= min(nearest_mm) + 1e-6)).sum()) for lung in LUNGS]
        return LUNGS[int(np.argmax(touching))].value
    return 0


def _pleura_distance_mm(mask: np.ndarray, box: Box, lungs: Volume, side: int) -> float | None:
    """Shortest way from the mask's surface to the border of its lung; 0 when it touches or crosses it.

    The border is where the lung's label ends inside the image; other nodules (label 3) are no border.
    """
    if np.isin(lungs.array[box.slices][mask], (side, NODULE.value), invert=True).any():
        return 0.0
    for reach_mm in (10.0, 20.0, 40.0, np.inf):
        margin = [int(min(reach_mm / s, 10_000)) + 1 for s in lungs.spacing_mm]
        around = box.grown(margin, lungs.shape)
        local = lungs.array[around.slices]
        inside = (local == side) | (local == NODULE.value)
        if inside.all():
            continue
        way_mm, step = shortest_way(_placed(mask, box, around), ~inside, lungs.spacing_mm)
        if way_mm > reach_mm:
            continue  # beyond this box the border may come nearer
        # Centres lie half a voxel inside the nodule and half a voxel outside the lung.
        return max(0.0, way_mm * (1 - 1 / float(step.max())))
    return None


def _placed(mask: np.ndarray, box: Box, around: Box) -> np.ndarray:
    """The mask of `box` inside the larger box `around`."""
    placed = np.zeros(around.shape, bool)
    inner = tuple(slice(a - o, b - o) for a, b, o in zip(box.start, box.stop, around.start, strict=True))
    placed[inner] = mask
    return placed


def _triple(values: np.ndarray) -> tuple[float, float, float]:
    x, y, z = (float(v) for v in values)
    return x, y, z
