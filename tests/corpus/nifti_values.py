"""Rows N01-N11, N20, N21: number types, scaling, missing values, and values that are not HU."""

from __future__ import annotations

import numpy as np

from lungseg3d.core import Volume
from tests.corpus.case import row
from tests.corpus.nifti_files import nifti


def _nan_around(hu: np.ndarray) -> np.ndarray:
    values = hu.astype(np.float32)
    values[:2] = values[:, -2:] = np.nan
    return values


def _spoilt(value: float) -> object:
    def change(hu: np.ndarray) -> np.ndarray:
        values = hu.astype(np.float32)
        values[10:12, 9:11, 20] = value
        return values

    return change


def _two_volumes(hu: np.ndarray) -> np.ndarray:
    return np.stack([hu, hu[::-1]], axis=-1)


def _second(volume: Volume) -> Volume:
    return Volume(np.ascontiguousarray(volume.array[::-1]), volume.affine)


def _one_slice(volume: Volume) -> Volume:
    return Volume(volume.array[:, :, :1], volume.affine)


def _as_labels(hu: np.ndarray) -> np.ndarray:
    return (hu < -500).astype(np.uint8) + (hu > -200).astype(np.uint8) * 2


def _as_colour(hu: np.ndarray) -> np.ndarray:
    colour = np.zeros(hu.shape, [("R", "u1"), ("G", "u1"), ("B", "u1")])
    for name in "RGB":
        colour[name] = (hu + 1000) // 8
    return colour


def _offset(hu: np.ndarray) -> np.ndarray:
    return (hu + 1024).astype(np.uint16)


def _scaled(hu: np.ndarray) -> np.ndarray:
    return ((hu + 1000) * 2).astype(np.int16)


def _typed(name: str) -> object:
    return lambda hu: hu.astype(name)


_NOT_HU = "E_NOT_HOUNSFIELD"

CASES = (
    *(row(f"N01-{name}", f"{name} voxels", nifti(_typed(name))) for name in ("int16", "int32", "float32", "float64")),
    row("N01-nifti2", "NIfTI-2", nifti(version=2)),
    row("N01-big", "big endian", nifti(order=">")),
    row("N01-big2", "NIfTI-2, big endian, float64", nifti(_typed("float64"), order=">", version=2)),
    row("N01-plain", "uncompressed", nifti(name="ct.nii")),
    row("N01-scaled", "scl_slope 0.5, scl_inter -1000", nifti(_scaled, scl_slope=0.5, scl_inter=-1000)),
    row("N02", "NaN around the patient", nifti(_nan_around), "W_NONFINITE_REPLACED", says="3360 NaN"),
    row("N03", "NaN inside the body", nifti(_spoilt(np.nan), False), "E_NONFINITE", says="10..11, 9..10, 20..20"),
    row("N03-inf", "Inf", nifti(_spoilt(np.inf), False), "E_NONFINITE", says="10..11, 9..10, 20..20"),
    row("N03-all", "all NaN", nifti(lambda hu: hu * np.float32(np.nan), False), "E_NONFINITE", says="100 %"),
    row("N04", "one value everywhere", nifti(lambda hu: hu * 0, False), _NOT_HU),
    row("N05", "4D with one volume", nifti(lambda hu: hu[..., None])),
    row("N06", "4D with two volumes", nifti(_two_volumes, False), "E_NOT_3D"),
    row("N06-index", "4D with two volumes, one asked for", nifti(_two_volumes, _second), volume_index=1),
    row(
        "N06-beyond",
        "4D, a volume asked for that is not there",
        nifti(_two_volumes, False),
        "E_BAD_OPTION",
        volume_index=2,
    ),
    row("N07", "2D", nifti(lambda hu: hu[:, :, 20], False), "E_NOT_3D"),
    row("N07-slice", "one slice", nifti(lambda hu: hu[:, :, :1], _one_slice), "E_TOO_FEW_SLICES"),
    row("N08", "HU + 1024, unsigned", nifti(_offset, False), _NOT_HU, says="is the rescale missing?"),
    row("N08-fix", "HU + 1024, to be fixed", nifti(_offset), "W_OFFSET_FIXED", fix_offset=True),
    row("N09", "attenuation 0 to 2.9", nifti(lambda hu: (hu.astype(np.float32) + 1000) / 1000, False), _NOT_HU),
    row(
        "N09-8bit",
        "windowed to 8 bits",
        nifti(lambda hu: np.clip((hu + 1000) // 6, 0, 255).astype(np.uint8), False),
        _NOT_HU,
    ),
    row("N10", "scl_slope 0", nifti(scl_slope=0, scl_inter=7)),
    row("N10-nan", "scl_slope NaN", nifti(scl_slope=np.nan, scl_inter=np.nan)),
    row("N11", "scl_slope Inf", nifti(truth=False, scl_slope=np.inf), "E_BAD_HEADER", says="inf"),
    row("N20", "RGB", nifti(_as_colour, False), "E_NOT_CT"),
    row("N20-complex", "complex numbers", nifti(_typed("complex64"), False), "E_NOT_CT"),
    row("N21", "a label map", nifti(_as_labels, False), _NOT_HU),
)
