"""How the NIfTI rows are written: nibabel makes a valid file, then fields and bytes are set past its checks.

In: a volume, header fields. Out: bytes of a .nii.
"""

from __future__ import annotations

import functools
import gzip
import io
from collections.abc import Callable
from pathlib import Path

import nibabel
import numpy as np

from lungseg3d.core import Volume
from tests.corpus.case import Made
from tests.corpus.phantom import chest, reordered


def ras_chest() -> Volume:
    """The phantom as converters write it: axes to the right, front and top."""
    return reordered(chest(), (0, 1, 2), (-1, -1, 1))


def nifti_bytes(
    array: np.ndarray,
    affine: np.ndarray,
    *,
    version: int = 1,
    order: str = "<",
    sform: int = 1,
    qform: int = 1,
    qform_affine: np.ndarray | None = None,
    **fields: object,
) -> bytes:
    """One NIfTI file; `fields` are written into the header unchecked."""
    kind = nibabel.Nifti1Header if version == 1 else nibabel.Nifti2Header
    header = kind(endianness=order)
    header.set_data_dtype(array.dtype)
    header.set_data_shape(array.shape)
    header.set_xyzt_units("mm")
    header["magic"] = b"n+1" if version == 1 else b"n+2"
    header["vox_offset"] = header.sizeof_hdr + 4
    header.set_qform(affine if qform_affine is None else qform_affine, qform, strip_shears=True)
    header.set_sform(affine, sform)
    header["scl_slope"], header["scl_inter"] = 1, 0
    for key, value in fields.items():
        header[key] = value
    return header.binaryblock + bytes(4) + array.astype(array.dtype.newbyteorder(order)).tobytes(order="F")


@functools.cache
def plain() -> bytes:
    """The phantom as a valid .nii."""
    return nifti_bytes(ras_chest().array, ras_chest().affine)


def packed(data: bytes) -> bytes:
    """gzip, always the same bytes."""
    buffer = io.BytesIO()
    with gzip.GzipFile(filename="", mode="wb", fileobj=buffer, mtime=0, compresslevel=6) as stream:
        stream.write(data)
    return buffer.getvalue()


def nifti(
    change: Callable[[np.ndarray], np.ndarray] = lambda hu: hu,
    truth: bool | Callable[[Volume], Volume] = True,
    volume: Volume | None = None,
    name: str = "ct.nii.gz",
    **header: object,
) -> Callable[[Path], Made]:
    """A builder: the phantom with changed values and header.

    Args:
        change: HU -> the array that is stored.
        truth: whether the phantom is what truly lies there, or what does.
        volume: instead of the phantom.
        name: of the file; its ending chooses compression.
        header: as for `nifti_bytes`.
    """

    def make(folder: Path) -> Made:
        source = ras_chest() if volume is None else volume
        data = nifti_bytes(change(source.array), **{"affine": source.affine, **header})
        (folder / name).write_bytes(packed(data) if name.endswith(".gz") else data)
        return Made(folder / name, truth(source) if callable(truth) else source if truth else None)

    return make


def file_of(name: str, data: Callable[[], bytes], truth: bool = False) -> Callable[[Path], Made]:
    """A builder: one file of these bytes."""

    def make(folder: Path) -> Made:
        (folder / name).write_bytes(data())
        return Made(folder / name, ras_chest() if truth else None)

    return make
