"""MetaImage (.mha, .mhd) -> array and RAS affine; sizes checked, because ITK fills what is missing with zeros.

In: a path. Out: `Raster`. MetaImage's world is LPS. One file, or data in the same folder.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from lungseg3d.io.images.attached import find_block
from lungseg3d.io.intake.geometry import LPS_TO_RAS, assumed_affine, checked_affine
from lungseg3d.io.intake.raster import Raster, pick_3d
from lungseg3d.io.intake.reading import Findings, ReadOptions, refuse, shown

_TYPES = {
    "MET_CHAR": "i1",
    "MET_UCHAR": "u1",
    "MET_SHORT": "i2",
    "MET_USHORT": "u2",
    "MET_INT": "i4",
    "MET_UINT": "u4",
    "MET_LONG": "i4",
    "MET_ULONG": "u4",
    "MET_LONG_LONG": "i8",
    "MET_ULONG_LONG": "u8",
    "MET_FLOAT": "f4",
    "MET_DOUBLE": "f8",
}
_HEADER_LIMIT = 2**16
_AGAIN = "Write the file again from its source."


def read_metaimage(path: Path, options: ReadOptions, findings: Findings) -> Raster:
    """Read one MetaImage.

    Raises:
        IntakeError: E_BAD_HEADER, E_NO_GEOMETRY, E_BAD_AFFINE, E_DETACHED_DATA, E_TRUNCATED, E_CORRUPT, E_NOT_3D,
            E_RESOURCE_LIMIT.
    """
    name = shown(path)
    fields, offset = _read_fields(path, name)
    sizes = [int(n) for n in _numbers(fields, "DimSize", name)]
    if not sizes or min(sizes) < 1 or [len(sizes)] != [int(n) for n in _numbers(fields, "NDims", name)]:
        refuse("E_BAD_HEADER", f"{name}: NDims {fields.get('NDims')}, DimSize {fields.get('DimSize')}.", _AGAIN)
    kind = fields.get("ElementType", "")
    if kind not in _TYPES:
        refuse("E_BAD_HEADER", f"{name}: ElementType {kind or 'absent'} is not a number type that a CT has.", _AGAIN)
    if fields.get("ElementNumberOfChannels", "1") != "1":
        refuse("E_NOT_CT", f"{name}: {fields['ElementNumberOfChannels']} channels per voxel.", "Give the CT in HU.")
    if fields.get("BinaryData", "True").lower() != "true" or fields.get("HeaderSize", "0") != "0":
        refuse("E_BAD_HEADER", f"{name}: text data or a header inside the data are not read.", "Write it as one .mha.")
    big = fields.get("BinaryDataByteOrderMSB", fields.get("ElementByteOrderMSB", "False")).lower() == "true"
    dtype = np.dtype((">" if big else "<") + _TYPES[kind])
    reference = fields["ElementDataFile"] if fields["ElementDataFile"].upper() != "LOCAL" else None
    encoding = "zlib" if fields.get("CompressedData", "False").lower() == "true" else "raw"
    block = find_block(path, offset, reference, encoding, sizes, dtype, options)
    affine = _affine(fields, len(sizes), options, name, findings)
    about = {"format": "MetaImage", "datatype": dtype.name}
    return Raster(pick_3d(block.read(findings), options, name), affine, 1.0, 0.0, about)


def _read_fields(path: Path, name: str) -> tuple[dict[str, str], int]:
    """(header fields, offset of the data: the byte after the line of ElementDataFile, which is the last)."""
    with open(path, "rb") as stream:
        head = stream.read(_HEADER_LIMIT)
    fields: dict[str, str] = {}
    offset = 0
    for line in head.splitlines(keepends=True):
        offset += len(line)
        key, equals, value = line.decode("latin-1").partition("=")
        if not equals:
            break
        fields[key.strip()] = value.strip()
        if key.strip() == "ElementDataFile":
            return fields, offset
    refuse("E_TRUNCATED", f"{name}: the header ends before ElementDataFile.", _AGAIN)


def _numbers(fields: dict[str, str], key: str, name: str) -> np.ndarray:
    try:
        return np.array([float(part) for part in fields.get(key, "").split()])
    except ValueError:
        refuse("E_BAD_HEADER", f"{name}: {key} = {fields[key]} holds no numbers.", _AGAIN)


def _affine(fields: dict[str, str], count: int, options: ReadOptions, name: str, findings: Findings) -> np.ndarray:
    matrix_key = next((key for key in ("TransformMatrix", "Rotation", "Orientation") if key in fields), None)
    origin_key = next((key for key in ("Offset", "Position", "Origin") if key in fields), None)
    spacing = _numbers(fields, "ElementSpacing" if "ElementSpacing" in fields else "ElementSize", name)
    if spacing.shape != (count,) or not np.isfinite(spacing).all() or (spacing <= 0).any():
        refuse("E_BAD_HEADER", f"{name}: ElementSpacing {spacing.tolist()}; expected {count} sizes above 0.", _AGAIN)
    if count < 3:
        refuse("E_NOT_3D", f"{name}: {count} dimensions; expected 3.", "Give one 3D volume.")
    if matrix_key is None or origin_key is None:
        if options.assume_axes is None:
            refuse(
                "E_NO_GEOMETRY",
                f"{name}: TransformMatrix or Offset is absent.",
                "Write it with its orientation[, or pass --assume-axes=LPS when you know the directions of the axes].",
            )
        return assumed_affine(options.assume_axes, spacing[:3], name, findings)
    matrix, origin = _numbers(fields, matrix_key, name), _numbers(fields, origin_key, name)
    if matrix.shape != (count * count,) or origin.shape != (count,):
        refuse("E_BAD_HEADER", f"{name}: {matrix_key} or {origin_key} has the wrong number of values.", _AGAIN)
    affine = np.eye(4)
    # MetaImage writes the direction of each axis as one row.
    affine[:3, :3] = matrix.reshape(count, count)[:3, :3].T * spacing[:3]
    affine[:3, 3] = origin[:3]
    return checked_affine(LPS_TO_RAS @ affine, name)
