"""Rows N12-N19: where a NIfTI file says that its voxels lie, twice, once, wrongly or not at all."""

from __future__ import annotations

import numpy as np

from lungseg3d.core import Volume
from tests.corpus.case import row
from tests.corpus.nifti_files import nifti, ras_chest
from tests.corpus.phantom import reordered, rotation, turned


def _moved(affine: np.ndarray) -> np.ndarray:
    other = affine.copy()
    other[2, 3] += 40
    return other


def _mirrored(affine: np.ndarray) -> np.ndarray:
    other = affine.copy()
    other[0, :] *= -1
    return other


def _scaled(affine: np.ndarray, factor: float) -> np.ndarray:
    other = affine.copy()
    other[:3] *= factor
    return other


def _sheared() -> Volume:
    affine = _AFFINE.copy()
    affine[1, 2] = 0.9
    return Volume(ras_chest().array, affine)


def _assumed(volume: Volume) -> Volume:
    """Axes L, P, S, the origin at voxel 0."""
    return Volume(volume.array, np.diag([-0.8, -0.7, 2.5, 1.0]))


_AFFINE = ras_chest().affine
_OBLIQUE = turned(turned(ras_chest(), rotation(17)), rotation(9, 0))
_NEGATIVE = reordered(ras_chest(), (0, 1, 2), (-1, 1, 1))
_PERMUTED = reordered(ras_chest(), (2, 0, 1), (1, -1, 1))
_CONFLICT, _BAD = "E_AFFINE_CONFLICT", "E_BAD_AFFINE"

CASES = (
    row(
        "N12",
        "qform and sform 40 mm apart",
        nifti(truth=False, qform_affine=_moved(_AFFINE)),
        _CONFLICT,
        says="40.0 mm",
    ),
    row(
        "N13",
        "qform and sform differ in left and right",
        nifti(truth=False, qform_affine=_mirrored(_AFFINE)),
        _CONFLICT,
        says="LAS",
    ),
    row("N14", "both codes 0", nifti(truth=False, sform=0, qform=0), "E_NO_GEOMETRY"),
    row(
        "N14-assume",
        "both codes 0, axes given",
        nifti(truth=_assumed, sform=0, qform=0),
        "W_ASSUMED_AXES",
        assume_axes="LPS",
    ),
    row(
        "N14-nonsense",
        "both codes 0, axes given that are none",
        nifti(truth=False, sform=0, qform=0),
        "E_BAD_OPTION",
        assume_axes="LRS",
    ),
    row("N15", "sform of zeros", nifti(truth=False, qform=0, srow_x=[0] * 4, srow_y=[0] * 4, srow_z=[0] * 4), _BAD),
    row("N15-rank2", "sform of rank 2", nifti(truth=False, qform=0, srow_y=[0.8, 0, 0, 0]), _BAD),
    row("N15-nan", "NaN in the sform", nifti(truth=False, qform=0, srow_z=[0, 0, np.nan, 0]), _BAD),
    row("N16-negative", "negative determinant", nifti(volume=_NEGATIVE)),
    row("N16-oblique", "oblique", nifti(volume=_OBLIQUE)),
    row("N16-permuted", "permuted axes", nifti(volume=_PERMUTED)),
    row("N16-qform", "qform only, oblique", nifti(volume=_OBLIQUE, sform=0)),
    row("N16-qform-left", "qform only, negative determinant", nifti(volume=_NEGATIVE, sform=0)),
    row("N16-sform", "sform only, permuted axes", nifti(volume=_PERMUTED, qform=0)),
    row("N17", "sheared sform, no qform", nifti(volume=_sheared(), qform=0), "W_GANTRY_TILT"),
    row("N17-both", "sheared sform beside the nearest qform", nifti(volume=_sheared()), "W_GANTRY_TILT"),
    row("N18", "pixdim 0", nifti(qform=0, pixdim=[1, 0, 0.7, 2.5, 1, 1, 1, 1]), "W_HEADER_REPAIRED"),
    row("N18-negative", "pixdim negative", nifti(qform=0, pixdim=[1, 0.8, 0.7, -2.5, 1, 1, 1, 1]), "W_HEADER_REPAIRED"),
    row("N18-qform", "pixdim 0, qform set", nifti(pixdim=[1, 0, 0.7, 2.5, 1, 1, 1, 1]), "W_HEADER_REPAIRED"),
    row("N19", "in metres", nifti(affine=_scaled(_AFFINE, 1e-3), xyzt_units=1), "W_UNITS_CONVERTED"),
    row("N19-micron", "in microns", nifti(affine=_scaled(_AFFINE, 1e3), xyzt_units=3), "W_UNITS_CONVERTED"),
)
