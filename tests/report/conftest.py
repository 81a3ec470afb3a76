"""A chest made of blocks, small enough for milliseconds, and a record that fits it."""

from collections.abc import Callable

import numpy as np
import pytest

from lungseg3d.core import CaseResult, Lung, Volume
from tests.support.nodule_records import flat_nodule


def make_chest(cubes=((14, 20, 10, 6),), spacing_mm=(1.5, 1.5, 3.0)) -> tuple[Volume, Volume, Volume]:
    """Soft tissue, two block lungs, cubes (x, y, z, side in voxels) as nodules; axes run to R, A, S.

    High X is the patient's right, so the right lung lies at x 34-55 and the left one at x 8-29.
    """
    shape = (64, 48, 30)
    hu = np.full(shape, 40, dtype=np.int16)
    labels = np.zeros(shape, dtype=np.uint8)
    nodules = np.zeros(shape, dtype=np.uint16)
    for value, first, last in ((1, 34, 56), (2, 8, 30)):
        hu[first:last, 8:40, 4:26] = -850
        labels[first:last, 8:40, 4:26] = value
    for number, (x, y, z, side) in enumerate(cubes, start=1):
        cube = np.s_[x : x + side, y : y + side, z : z + side]
        hu[cube], labels[cube], nodules[cube] = 30, 3, number
    affine = np.diag([*spacing_mm, 1.0])
    affine[:3, 3] = (-48.0, -100.0, -300.0)
    return Volume(hu, affine), Volume(labels, affine), Volume(nodules, affine)


def make_result(ct: Volume, nodule_map: Volume, **changes) -> CaseResult:
    """The record of `make_chest`, with simple numbers where the figures need none."""
    nodules = []
    for number in range(1, int(nodule_map.array.max()) + 1):
        voxels = np.argwhere(nodule_map.array == number)
        volume_mm3 = len(voxels) * ct.voxel_volume_mm3
        x, y, z = ct.grid.to_world(voxels.mean(axis=0))
        nodules.append(
            flat_nodule(
                id=number,
                volume_mm3=volume_mm3,
                equivalent_diameter_mm=(6 * volume_mm3 / np.pi) ** (1 / 3),
                long_axis_mm=12.7,
                perpendicular_mm=9.0,
                mean_hu=30.0,
                sd_hu=0.0,
                solid_fraction=1.0,
                kind="solid",
                centroid_ras_mm=(x, y, z),
                centroid_lps_mm=(-x, -y, z),
                centroid_voxel=tuple(voxels.mean(axis=0)),
                side="left",
                pleura_distance_mm=None,
                confidence=0.93,
            )
        )
    facts = {
        "case_id": "case-1",
        "status": "done",
        "source": {"format": "NIfTI"},
        "lungs": (Lung("right_lung", 2965.4), Lung("left_lung", 2253.1)),
        "nodules": tuple(nodules),
        "provenance": {"bundles": [{"name": "lung_ct_segmentation", "weights_sha256": "ab12" * 16}]},
        "timings_s": {"read": 1.0, "nodules": 2.5},
    }
    return CaseResult(**{**facts, **changes})


@pytest.fixture
def chest() -> Callable[..., tuple[Volume, Volume, Volume]]:
    return make_chest


@pytest.fixture
def record() -> Callable[..., CaseResult]:
    return make_result
