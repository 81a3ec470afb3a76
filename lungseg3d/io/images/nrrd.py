"""NRRD -> array and RAS affine; sizes and encoding checked, because common readers fill what is missing with zeros.

In: a path. Out: `Raster`. Format: teem.sourceforge.net/nrrd/format.html. One file, or data in the same folder.
"""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np

from lungseg3d.io.images.attached import find_block
from lungseg3d.io.intake.geometry import assumed_affine, checked_affine
from lungseg3d.io.intake.raster import Raster, pick_3d
from lungseg3d.io.intake.reading import Findings, ReadOptions, refuse, shown

_TYPES = {
    "int8": "signed char,int8,int8_t",
    "uint8": "uchar,unsigned char,uint8,uint8_t",
    "int16": "short,short int,signed short,signed short int,int16,int16_t",
    "uint16": "ushort,unsigned short,unsigned short int,uint16,uint16_t",
    "int32": "int,signed int,int32,int32_t",
    "uint32": "uint,unsigned int,uint32,uint32_t",
    "int64": "longlong,long long,long long int,signed long long,signed long long int,int64,int64_t",
    "uint64": "ulonglong,unsigned long long,unsigned long long int,uint64,uint64_t",
    "float32": "float",
    "float64": "double",
}
_DTYPES = {word: dtype for dtype, words in _TYPES.items() for word in words.split(",")}
_SPACES = {
    "right-anterior-superior": (1, 1, 1),
    "ras": (1, 1, 1),
    "left-anterior-superior": (-1, 1, 1),
    "las": (-1, 1, 1),
    "left-posterior-superior": (-1, -1, 1),
    "lps": (-1, -1, 1),
}
_ENCODINGS = {"raw": "raw", "gz": "gzip", "gzip": "gzip", "bz2": "bzip2", "bzip2": "bzip2"}
_HEADER_LIMIT = 2**20
_AGAIN = "Write the file again from its source."


def read_nrrd(path: Path, options: ReadOptions, findings: Findings) -> Raster:
    """Read one NRRD file.

    Raises:
        IntakeError: E_BAD_HEADER, E_NO_GEOMETRY, E_BAD_AFFINE, E_DETACHED_DATA, E_TRUNCATED, E_CORRUPT, E_NOT_3D,
            E_RESOURCE_LIMIT.
    """
    name = shown(path)
    fields, offset = _read_fields(path, name)
    words = _need(fields, "sizes", name).split()
    sizes = [int(word) if word.isascii() and word.isdigit() else 0 for word in words]
    dimension = _need(fields, "dimension", name)
    if not sizes or min(sizes) < 1 or str(len(sizes)) != dimension:
        refuse("E_BAD_HEADER", f"{name}: dimension {dimension}, sizes {fields['sizes']}.", _AGAIN)
    kind = _need(fields, "type", name).lower()
    if kind not in _DTYPES:
        refuse("E_BAD_HEADER", f"{name}: type {kind} is not a number type that a CT has.", _AGAIN)
    dtype = np.dtype(_DTYPES[kind])
    if dtype.itemsize > 1:
        endian = _need(fields, "endian", name).lower()
        if endian not in ("little", "big"):
            refuse("E_BAD_HEADER", f"{name}: endian {endian}; expected little or big.", _AGAIN)
        dtype = dtype.newbyteorder("<" if endian == "little" else ">")
    encoding = _ENCODINGS.get(_need(fields, "encoding", name).lower(), "")
    if not encoding:
        refuse("E_BAD_HEADER", f"{name}: encoding {fields['encoding']} is not read.", "Write it as raw or gzip.")
    if any(fields.get(key, "0") != "0" for key in ("line skip", "lineskip", "byte skip", "byteskip")):
        refuse("E_BAD_HEADER", f"{name}: skipped lines or bytes are not read.", "Write it as one file.")
    reference = fields.get("data file") or fields.get("datafile") or None
    block = find_block(path, offset, reference, encoding, sizes, dtype, options)
    affine, spatial = _affine(fields, sizes, options, name, findings)
    array = block.read(findings)
    array = np.moveaxis(array, spatial, range(3)) if len(spatial) == 3 else array
    about = {"format": "NRRD", "datatype": dtype.name, "space": fields.get("space", "")}
    return Raster(pick_3d(array, options, name), affine, 1.0, 0.0, about)


def _read_fields(path: Path, name: str) -> tuple[dict[str, str], int]:
    """(header fields in lower case, offset of the data)."""
    with open(path, "rb") as stream:
        head = stream.read(_HEADER_LIMIT)
    found = re.search(rb"\r?\n\r?\n", head)
    end = found.end() if found else len(head)
    detached = re.search(rb"(?im)^data ?file:", head[:end])
    if found is None and not detached:
        refuse("E_TRUNCATED", f"{name}: the header has no end.", _AGAIN)
    fields: dict[str, str] = {}
    for line in head[:end].decode("latin-1").splitlines()[1:]:
        if line.startswith("#") or ":" not in line or ":=" in line:
            continue
        key, _, value = line.partition(":")
        fields[key.strip().lower()] = value.strip()
    return fields, end


def _need(fields: dict[str, str], key: str, name: str) -> str:
    if not fields.get(key):
        refuse("E_BAD_HEADER", f"{name}: the field '{key}' is absent.", _AGAIN)
    return fields[key]


def _affine(
    fields: dict[str, str], sizes: list[int], options: ReadOptions, name: str, findings: Findings
) -> tuple[np.ndarray, list[int]]:
    """(RAS affine, which axes of the array are spatial)."""
    signs = _SPACES.get(fields.get("space", "").lower())
    directions = re.findall(r"none|\([^)]*\)", fields.get("space directions", ""))
    if signs is None or not directions or "space origin" not in fields:
        spacings = _spacings(fields, directions, name)
        if options.assume_axes is None:
            refuse(
                "E_NO_GEOMETRY",
                f"{name}: space, space directions or space origin is absent or has no patient axes.",
                "Write it with its orientation[, or pass --assume-axes=RAS when you know the directions of the axes].",
            )
        return assumed_affine(options.assume_axes, spacings, name, findings), [0, 1, 2]
    spatial = [axis for axis, text in enumerate(directions) if text != "none"]
    origin = re.findall(r"\([^)]*\)", fields["space origin"])
    if len(directions) != len(sizes) or len(spatial) != 3 or len(origin) != 1:
        refuse("E_NOT_3D", f"{name}: {len(spatial)} spatial axes of {len(sizes)}; expected 3.", "Give one 3D volume.")
    units = set(re.findall(r'"([^"]*)"', fields.get("space units", ""))) - {"", "mm"}
    if units:
        refuse("E_BAD_HEADER", f"{name}: space units {sorted(units)}; expected mm.", _AGAIN)
    affine = np.eye(4)
    for column, axis in enumerate(spatial):
        affine[:3, column] = _vector(directions[axis], name)
    affine[:3, 3] = _vector(origin[0], name)
    affine = np.diag([*signs, 1.0]) @ affine
    return checked_affine(affine, name), spatial


def _vector(text: str, name: str) -> np.ndarray:
    try:
        vector = np.array([float(part) for part in text.strip("()").split(",")])
    except ValueError:
        vector = np.empty(0)
    if vector.shape != (3,):
        refuse("E_BAD_HEADER", f"{name}: {text} is not a vector of 3 numbers.", _AGAIN)
    return vector


def _spacings(fields: dict[str, str], directions: list[str], name: str) -> np.ndarray:
    if len(directions) >= 3 and "none" not in directions[:3]:
        return np.array([np.linalg.norm(_vector(text, name)) for text in directions[:3]])
    try:
        spacings = np.array([float(s) for s in fields.get("spacings", "").split()[:3]])
    except ValueError:
        spacings = np.empty(0)
    if spacings.shape != (3,) or not np.isfinite(spacings).all():
        refuse("E_NO_GEOMETRY", f"{name}: no voxel size.", "Write it with its orientation and spacing.")
    return spacings
