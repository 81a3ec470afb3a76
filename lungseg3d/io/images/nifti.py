"""NIfTI-1 and NIfTI-2, plain or gzip -> array and RAS affine, nothing taken on trust.

In: a path. Out: `Raster`. nibabel parses the header; sizes, checksum and affines are checked here, because readers
return zeros for what is missing.
"""

from __future__ import annotations

import gzip
import struct
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import nibabel
import numpy as np
from nibabel.quaternions import quat2mat
from nibabel.spatialimages import HeaderDataError

from lungseg3d.io.intake.geometry import assumed_affine, checked_affine
from lungseg3d.io.intake.limits import check_claim, check_memory
from lungseg3d.io.intake.raster import Raster, pick_3d
from lungseg3d.io.intake.reading import Findings, ReadOptions, refuse, shown

_TRAILING_LIMIT = 16 * 2**20
_EXTENSIONS_LIMIT = 64 * 2**20
_MM_PER_UNIT = {0: 1.0, 1: 1000.0, 2: 1.0, 3: 0.001}
_AGAIN = "Write or copy the file again from its source."
_CODES = {0, 1, 2, 3, 4, 5}
_HALF_TURN_BELOW = 1e-7
# Of the square of its length: what float32, or a header that was kept as text, leaves; a wrong quaternion is far off.
_QUATERNION_EXCESS = 1e-3


def read_nifti(path: Path, compressed: bool, options: ReadOptions, findings: Findings) -> Raster:
    """Read one NIfTI file.

    Raises:
        IntakeError: E_TRUNCATED, E_CORRUPT, E_BAD_HEADER, E_NOT_CT, E_NOT_3D, E_NO_GEOMETRY, E_BAD_AFFINE,
            E_AFFINE_CONFLICT, E_RESOURCE_LIMIT, E_DETACHED_DATA.
    """
    name = shown(path)
    stored = path.stat().st_size
    try:
        with open(path, "rb") as plain:
            stream: BinaryIO = gzip.GzipFile(fileobj=plain, mode="rb") if compressed else plain  # type: ignore[assignment]
            layout = _read_header(stream, name)
            check_claim(name, layout.shape, layout.dtype.itemsize, stored if compressed else None)
            check_memory(name, layout.shape, layout.dtype.itemsize, options)
            data = _read_data(stream, layout, name, findings)
    except EOFError:
        refuse("E_TRUNCATED", f"{name}: the gzip data end too early ({stored} bytes on disk).", _AGAIN)
    except (gzip.BadGzipFile, zlib.error) as error:
        refuse("E_CORRUPT", f"{name}: the gzip data are damaged ({error}).", _AGAIN)
    array = np.frombuffer(data, layout.dtype).reshape(layout.shape, order="F")
    affine = _affine(layout.header, options, name, findings)
    about = {"format": "NIfTI", "datatype": layout.dtype.name, "sform_code": layout.sform, "qform_code": layout.qform}
    return Raster(pick_3d(array, options, name), affine, layout.slope, layout.intercept, about)


@dataclass(frozen=True)
class _Layout:
    header: Any
    shape: tuple[int, ...]
    dtype: np.dtype
    offset: int
    read: int
    slope: float
    intercept: float
    sform: int
    qform: int


def _read_header(stream: BinaryIO, name: str) -> _Layout:
    start = stream.read(4)
    order = next((o for o in "<>" if len(start) == 4 and struct.unpack(o + "i", start)[0] in (348, 540)), "<")
    size = struct.unpack(order + "i", start)[0]
    raw = start + stream.read(size - 4)
    if len(raw) < size:
        refuse("E_TRUNCATED", f"{name}: expected a header of {size} bytes, got {len(raw)}.", _AGAIN)
    kind: Any = nibabel.Nifti1Header if size == 348 else nibabel.Nifti2Header
    header = kind(raw, endianness=order, check=False)
    magic = bytes(header["magic"].tobytes())[:3]
    if magic in (b"ni1", b"ni2"):
        refuse("E_DETACHED_DATA", f"{name}: the voxels lie in another file (.hdr/.img).", "Write it as one .nii.")
    if magic not in (b"n+1", b"n+2"):
        refuse("E_BAD_HEADER", f"{name}: no NIfTI magic; Analyze 7.5 has no orientation.", _AGAIN)
    dim = [int(n) for n in header["dim"]]
    if not 1 <= dim[0] <= 7 or min(dim[1 : dim[0] + 1]) < 1:
        refuse("E_BAD_HEADER", f"{name}: dimensions {dim}.", _AGAIN)
    shape = tuple(dim[1 : dim[0] + 1])
    dtype = _dtype(header, name)
    offset = float(header["vox_offset"])
    if not np.isfinite(offset) or offset < size:
        refuse("E_BAD_HEADER", f"{name}: vox_offset {offset}; expected {size + 4} or more.", _AGAIN)
    if offset > _EXTENSIONS_LIMIT:
        found = f"{name}: vox_offset {offset:.0f}, so {offset / 2**20:.0f} MiB of header extensions"
        refuse("E_RESOURCE_LIMIT", f"{found}; the limit is {_EXTENSIONS_LIMIT} bytes.", _AGAIN)
    slope, intercept = float(header["scl_slope"]), float(header["scl_inter"])
    if np.isnan(slope) or slope == 0:
        slope, intercept = 1.0, 0.0  # the standard's sign for "not scaled"
    if np.isinf(slope) or not np.isfinite(intercept):
        refuse("E_BAD_HEADER", f"{name}: scl_slope {slope}, scl_inter {intercept}.", _AGAIN)
    codes = int(header["sform_code"]), int(header["qform_code"])
    return _Layout(header, shape, dtype, int(offset), size, slope, intercept, *codes)


def _dtype(header: Any, name: str) -> np.dtype:
    code = int(header["datatype"])
    if code in (128, 2304, 32, 1792, 2048):
        refuse("E_NOT_CT", f"{name}: colour or complex voxels (datatype {code}).", "Give the CT in HU.")
    try:
        dtype: np.dtype | None = header.get_data_dtype()
    except (HeaderDataError, KeyError):
        dtype = None
    if dtype is None or dtype.kind not in "iuf" or dtype.itemsize > 8:
        refuse("E_BAD_HEADER", f"{name}: datatype {code} is not a number type that a CT has.", _AGAIN)
    return dtype


def _read_data(stream: BinaryIO, layout: _Layout, name: str, findings: Findings) -> bytearray:
    """All voxels; the stream is read to its end, because only there gzip checks its sum."""
    expected = int(np.prod(layout.shape, dtype=np.int64)) * layout.dtype.itemsize
    to_skip = layout.offset - layout.read
    while to_skip > 0:
        skipped = len(stream.read(min(to_skip, 2**20)))
        if not skipped:
            refuse("E_TRUNCATED", f"{name}: the voxels start at byte {layout.offset}, behind the end.", _AGAIN)
        to_skip -= skipped
    data = bytearray()
    while len(data) < expected:  # grows with what is there, not with what the header claims
        part = stream.read(min(expected - len(data), 16 * 2**20))
        if not part:
            refuse("E_TRUNCATED", f"{name}: expected {expected} bytes of voxels, got {len(data)}.", _AGAIN)
        data += part
    trailing = 0
    try:
        while part := stream.read(2**20):
            trailing += len(part)
            if trailing > _TRAILING_LIMIT:
                refuse("E_RESOURCE_LIMIT", f"{name}: more than {_TRAILING_LIMIT} bytes after the voxels.", _AGAIN)
    except gzip.BadGzipFile as error:
        if "Not a gzipped file" not in str(error):
            raise
        trailing += 1
    if trailing:
        findings.warn("W_TRAILING_BYTES", f"{name}: bytes after the voxels are ignored.")
    return data


def _affine(header: Any, options: ReadOptions, name: str, findings: Findings) -> np.ndarray:
    sform_code, qform_code = int(header["sform_code"]), int(header["qform_code"])
    if not {sform_code, qform_code} <= _CODES:
        refuse("E_BAD_HEADER", f"{name}: sform_code {sform_code}, qform_code {qform_code}; expected 0 to 5.", _AGAIN)
    unit = int(header["xyzt_units"]) & 7
    if unit not in _MM_PER_UNIT:
        refuse("E_BAD_HEADER", f"{name}: spatial unit {unit} is unknown.", _AGAIN)
    if unit in (1, 3):
        findings.warn("W_UNITS_CONVERTED", f"{name}: {'metres' if unit == 1 else 'microns'} converted to mm.")
    mm = _MM_PER_UNIT[unit]
    if sform_code <= 0 and qform_code <= 0:
        if options.assume_axes is None:
            remedy = (
                "Write it with its orientation[, or pass --assume-axes=RAS when you know the directions of the axes]."
            )
            if not (np.isfinite(_pixdim(header)).all() and (_pixdim(header) > 0).all()):
                remedy = "Write it with its orientation and its voxel size, which pixdim does not say either."
            refuse("E_NO_GEOMETRY", f"{name}: sform_code and qform_code are 0, so the orientation is unknown.", remedy)
        return assumed_affine(options.assume_axes, _pixdim(header) * mm, name, findings)
    if sform_code > 0:
        return _sform(header, qform_code, mm, name, findings)
    qform = _qform(header, mm)
    if qform is None:
        quaternion = [float(header[f"quatern_{letter}"]) for letter in "bcd"]
        found = f"pixdim {_pixdim(header)}, quaternion {quaternion} of length {np.linalg.norm(quaternion):.6g}"
        refuse("E_BAD_AFFINE", f"{name}: {found}; expected voxel sizes above 0 and a length of at most 1.", _AGAIN)
    return checked_affine(qform, name)


def _sform(header: Any, qform_code: int, mm: float, name: str, findings: Findings) -> np.ndarray:
    affine = checked_affine(_in_mm(header.get_sform(), mm), name)
    if qform_code > 0:
        qform = _qform(header, mm)
        if qform is not None:
            _check_agreement(affine, qform, header, name)
    pixdim = _pixdim(header)
    spacing = np.linalg.norm(affine[:3, :3], axis=0) / mm
    if not np.allclose(np.abs(pixdim), spacing, rtol=0.01) or (pixdim <= 0).any():
        findings.warn("W_HEADER_REPAIRED", f"{name}: pixdim {pixdim} is not the spacing of the sform, which is used.")
    return affine


def _pixdim(header: Any) -> np.ndarray:
    """In the header's own unit."""
    return np.array(header["pixdim"][1:4], float)


def _in_mm(affine: np.ndarray, mm: float) -> np.ndarray:
    """An affine of a unit that is `mm` long."""
    with np.errstate(over="ignore", invalid="ignore"):  # what is not finite is refused later
        scaled: np.ndarray = np.diag([mm, mm, mm, 1.0]) @ np.array(affine, float)
        return scaled


def _qform(header: Any, mm: float) -> np.ndarray | None:
    """The qform in mm, or None where pixdim or quaternion make none.

    As the reference library has it (nifti1_io.c, nifti_quatern_to_mat44): a `qfac` (pixdim[0]) of 0 means 1, and what
    is left for the first part of the quaternion, when below 1e-7, is rounding: half a turn. nibabel refuses both.
    """
    pixdim = _pixdim(header)
    vector = np.array([float(header[f"quatern_{letter}"]) for letter in "bcd"])
    origin = np.array([float(header[f"qoffset_{letter}"]) for letter in "xyz"])
    square = float(vector @ vector)
    if not (pixdim > 0).all() or not square <= 1 + _QUATERNION_EXCESS or not np.isfinite(origin).all():
        return None
    first = np.sqrt(1 - square) if 1 - square >= _HALF_TURN_BELOW else 0.0
    affine = np.eye(4)
    affine[:3, :3] = quat2mat([first, *vector]) * pixdim  # quat2mat makes it as long as 1
    if float(header["pixdim"][0]) < 0:
        affine[:3, 2] *= -1
    affine[:3, 3] = origin
    affine = _in_mm(affine, mm)
    return affine if np.isfinite(affine).all() else None


def _check_agreement(sform: np.ndarray, qform: np.ndarray, header: Any, name: str) -> None:
    """sform and qform must put every corner at one place: readers differ in which they believe."""
    if _mm_apart(sform, qform, header) == 0:
        return
    # A qfac of 0 does not say which hand it is of; where the other hand is meant, the sform says so.
    if float(header["pixdim"][0]) == 0 and _mm_apart(sform, qform * [1, 1, -1, 1], header) == 0:
        return
    refuse(
        "E_AFFINE_CONFLICT",
        f"{name}: sform and qform lie up to {_mm_apart(sform, qform, header):.1f} mm apart: "
        f"sform origin {sform[:3, 3].round(2)}, qform origin {qform[:3, 3].round(2)}, "
        f"sform axes {_axes(sform)}, qform axes {_axes(qform)}.",
        "Convert it from DICOM again, or set the wrong one's code to 0.",
    )


def _mm_apart(sform: np.ndarray, qform: np.ndarray, header: Any) -> float:
    """The largest distance of a corner by the two; 0 within the tolerance, or where they differ by a shear alone."""
    shape = np.array(header["dim"][1:4], float) - 1
    corners = np.array([[x, y, z, 1] for x in (0, shape[0]) for y in (0, shape[1]) for z in (0, shape[2])])
    spacing = np.linalg.norm(sform[:3, :3], axis=0)
    apart = float(np.linalg.norm(corners @ sform.T[:, :3] - corners @ qform.T[:, :3], axis=1).max())
    if apart <= max(0.1, 0.5 * spacing.min()):
        return 0.0
    # A qform cannot hold a shear: it is then the nearest rotation, and the sform is the truth.
    left, _, right = np.linalg.svd(sform[:3, :3] / spacing)
    nearest = left @ right
    same_origin = np.abs(sform[:3, 3] - qform[:3, 3]).max() < 0.1
    sheared = same_origin and np.abs(nearest * spacing - qform[:3, :3]).max() < 0.01 * spacing.max()
    return 0.0 if sheared else apart


def _axes(affine: np.ndarray) -> str:
    return "".join(axis or "?" for axis in nibabel.aff2axcodes(affine))
