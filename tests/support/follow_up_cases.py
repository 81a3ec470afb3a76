"""Two small chests with nodules at known places, as `segment` would have written them, and simple registrations.

In: balls. Out: volumes, records, folders of results. Reads no real data and runs no network.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import SimpleITK as sitk

from lungseg3d.analysis import LungRegistration, RegistrationFit, measure_lungs, measure_nodules
from lungseg3d.core import CaseResult, Nodule, Volume
from lungseg3d.core.nodule import nodule_of
from lungseg3d.io import write_labels, write_text, write_volume
from lungseg3d.report import result_json

SHAPE, SPACING_MM = (75, 60, 60), (4.0, 4.0, 4.0)
Ball = tuple[tuple[float, float, float], float]


def grid_points(shape=SHAPE, spacing_mm=SPACING_MM) -> tuple[np.ndarray, np.ndarray]:
    """World places (X, Y, Z, 3) of a grid about the origin, and its affine."""
    affine = np.diag([*spacing_mm, 1.0])
    affine[:3, 3] = [-s * (n - 1) / 2 for s, n in zip(spacing_mm, shape, strict=True)]
    voxels = np.stack(np.meshgrid(*[np.arange(n) for n in shape], indexing="ij"), axis=-1)
    return voxels @ affine[:3, :3] + affine[:3, 3], affine


def chest_with(
    balls: list[Ball], to_prior=lambda points: points, shape=SHAPE, spacing_mm=SPACING_MM
) -> tuple[Volume, Volume, Volume]:
    """CT, label map and nodule map: two lungs with vessels, and balls (centre mm, diameter mm) as nodules.

    Args:
        balls: in the CT's own world.
        to_prior: takes places of this CT to those where lungs and vessels were drawn.
        shape, spacing_mm: of the grid.
    """
    world, affine = grid_points(shape, spacing_mm)
    drawn = to_prior(world)
    sides = [np.linalg.norm((drawn - (x, 0, 0)) / (48, 80, 100), axis=-1) <= 1 for x in (62, -62)]
    waves = np.random.default_rng(3).normal(0, 2 * np.pi / 45, (12, 3))
    texture = np.cos(drawn @ waves.T + np.arange(12)).sum(axis=-1)
    hu = np.full(shape, 40, np.int16)
    lungs = sides[0] | sides[1]
    hu[lungs] = np.where(texture[lungs] > 4, -100, -860)
    labels = np.where(sides[0], 1, np.where(sides[1], 2, 0)).astype(np.uint8)
    nodules = np.zeros(shape, np.uint16)
    for number, (centre, diameter) in enumerate(balls, start=1):
        mask = np.linalg.norm(world - centre, axis=-1) <= diameter / 2
        hu[mask], labels[mask], nodules[mask] = 30, 3, number
    return tuple(Volume(array, affine) for array in (hu, labels, nodules))  # type: ignore[return-value]


def record_of(case_id: str, ct: Volume, labels: Volume, nodules: Volume, **source: object) -> CaseResult:
    """As `segment` would have written it."""
    facts = {"format": "NIfTI", "kernel": "B30f", "slice_thickness_mm": 4.0, "kvp": 120.0, **source}
    grid = {"shape": ct.shape, "spacing_mm": ct.spacing_mm, "affine_ras": ct.affine}
    measured = tuple(measure_nodules(ct, nodules, lungs=labels))
    return CaseResult(case_id, "done", source=facts, grid=grid, lungs=measure_lungs(labels), nodules=measured)


def write_result(folder: Path, ct: Volume, labels: Volume, nodules: Volume, **source: object) -> Path:
    """A folder as `segment` writes it, and `<folder>-ct.nii.gz`; returns the folder."""
    folder.mkdir(parents=True)
    write_labels(folder / "labels.nii.gz", labels)
    write_labels(folder / "nodules.nii.gz", nodules)
    write_text(folder / "result.json", result_json(record_of(folder.name, ct, labels, nodules, **source)))
    write_volume(folder.parent / f"{folder.name}-ct.nii.gz", ct)
    return folder


GOOD_FIT = RegistrationFit(0.97, (1.0, 1.0), 4000.0, 0.9)


def shifted_by(
    x_mm: float, y_mm: float, z_mm: float, driven_by: str = "CT", fit: RegistrationFit = GOOD_FIT
) -> LungRegistration:
    """A registration that only shifts."""
    shift = sitk.TranslationTransform(3, (x_mm, y_mm, z_mm))
    return LungRegistration(shift, driven_by, 0.9, fit, 0.0)


def nodule_at(number: int, place_mm: tuple[float, float, float], volume_mm3: float = 500.0, **changes) -> Nodule:
    """A nodule with a volume known to 10 %, at a place of the right lung."""
    diameter_mm = float(np.cbrt(6 * volume_mm3 / np.pi))
    x, y, z = place_mm
    facts = dict(
        id=number,
        volume_mm3=volume_mm3,
        equivalent_diameter_mm=diameter_mm,
        long_axis_mm=diameter_mm,
        perpendicular_mm=diameter_mm,
        mean_hu=20.0,
        sd_hu=10.0,
        solid_fraction=0.8,
        kind="solid",
        centroid_ras_mm=place_mm,
        centroid_lps_mm=(-x, -y, z),
        centroid_voxel=(50.0, 50.0, 50.0),
        side="right",
        pleura_distance_mm=10.0,
        confidence=0.9,
        volume_low_mm3=volume_mm3 / 1.1,
        volume_high_mm3=volume_mm3 * 1.1,
    )
    return nodule_of({**facts, **changes})
