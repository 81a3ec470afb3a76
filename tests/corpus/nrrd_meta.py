"""Rows N30-N33 and their valid neighbours: NRRD and MetaImage, in one file or with data beside the header."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np

from lungseg3d.core import Volume
from tests.corpus.case import Made, row
from tests.corpus.nifti_files import ras_chest
from tests.corpus.phantom import reordered, rotation, turned

_LPS = np.diag([-1.0, -1.0, 1.0])


def _vector(values: np.ndarray) -> str:
    return "(" + ",".join(f"{v:.10g}" for v in values) + ")"


def _numbers(values: np.ndarray) -> str:
    return " ".join(f"{v:.10g}" for v in values)


def nrrd_bytes(volume: Volume, space: str = "left-posterior-superior", gz: bool = True, **fields: str | None) -> bytes:
    """One NRRD; `fields` replace header lines (with _ for a space), None takes one away."""
    to_space = np.eye(3) if space == "right-anterior-superior" else _LPS
    directions, origin = to_space @ volume.affine[:3, :3], to_space @ volume.affine[:3, 3]
    lines: dict[str, str | None] = {
        "type": "short",
        "dimension": "3",
        "space": space,
        "sizes": " ".join(map(str, volume.shape)),
        "space directions": " ".join(_vector(column) for column in directions.T),
        "kinds": "domain domain domain",
        "endian": "little",
        "encoding": "gzip" if gz else "raw",
        "space origin": _vector(origin),
        **{key.replace("_", " "): value for key, value in fields.items()},
    }
    header = "".join(f"{key}: {value}\n" for key, value in lines.items() if value is not None)
    data = volume.array.astype("<i2").tobytes(order="F")
    return b"NRRD0004\n" + header.encode() + b"\n" + (gzip.compress(data, mtime=0) if gz else data)


def meta_bytes(volume: Volume, packed: bool = False, data_file: str = "LOCAL", **fields: str | None) -> bytes:
    """One MetaImage; `fields` replace header lines, None takes one away; without data where they lie elsewhere."""
    spacing = np.array(volume.spacing_mm)
    directions = _LPS @ volume.affine[:3, :3] / spacing
    data = volume.array.astype("<i2").tobytes(order="F")
    data = zlib.compress(data) if packed else data
    lines: dict[str, str | None] = {
        "ObjectType": "Image",
        "NDims": "3",
        "BinaryData": "True",
        "BinaryDataByteOrderMSB": "False",
        "CompressedData": str(packed),
        "TransformMatrix": _numbers(directions.T.ravel()),
        "Offset": _numbers(_LPS @ volume.affine[:3, 3]),
        "ElementSpacing": _numbers(spacing),
        "DimSize": " ".join(map(str, volume.shape)),
        "ElementType": "MET_SHORT",
        **fields,
        "ElementDataFile": data_file,
    }
    header = "".join(f"{key} = {value}\n" for key, value in lines.items() if value is not None).encode()
    return header + (data if data_file == "LOCAL" else b"")


def _file(name: str, data: Callable[[], bytes], truth: Volume | None = None) -> Callable[[Path], Made]:
    def make(folder: Path) -> Made:
        (folder / name).write_bytes(data())
        return Made(folder / name, truth)

    return make


def _beside(folder: Path) -> Made:
    (folder / "ct.mhd").write_bytes(meta_bytes(_OBLIQUE, data_file="ct.raw"))
    (folder / "ct.raw").write_bytes(_OBLIQUE.array.tobytes(order="F"))
    return Made(folder / "ct.mhd", _OBLIQUE)


def _linked_away(folder: Path) -> Made:
    (folder / "in").mkdir()
    (folder / "in" / "ct.mhd").write_bytes(meta_bytes(_CT, data_file="ct.raw"))
    (folder / "ct.raw").write_bytes(_CT.array.tobytes(order="F"))
    (folder / "in" / "ct.raw").symlink_to(folder / "ct.raw")
    return Made(folder / "in" / "ct.mhd")


def _cut(data: bytes, keep: float) -> bytes:
    return data[: int(keep * len(data))]


def _nrrd(**fields: str | None) -> Callable[[Path], Made]:
    return _file("ct.nrrd", lambda: nrrd_bytes(_CT, **fields))


_CT = ras_chest()
_OBLIQUE = turned(turned(ras_chest(), rotation(17)), rotation(9, 0))
_PERMUTED = reordered(_OBLIQUE, (2, 0, 1), (1, -1, 1))
_AWAY = "E_DETACHED_DATA"

CASES = (
    row("N30", "NRRD without space directions", _nrrd(space_directions=None), "E_NO_GEOMETRY"),
    row("N30-space", "NRRD without space", _nrrd(space=None), "E_NO_GEOMETRY"),
    row(
        "N31",
        "NRRD in RAS, oblique",
        _file("ct.nrrd", lambda: nrrd_bytes(_OBLIQUE, "right-anterior-superior"), _OBLIQUE),
    ),
    row(
        "N31-lps",
        "NRRD in LPS, permuted axes, raw",
        _file("ct.nrrd", lambda: nrrd_bytes(_PERMUTED, gz=False), _PERMUTED),
    ),
    row("N31-mha", "MHA, permuted axes, compressed", _file("ct.mha", lambda: meta_bytes(_PERMUTED, True), _PERMUTED)),
    row("N31-mhd", "MHD with its data beside it", _beside),
    row("N32", "NRRD that points at another file", _nrrd(data_file="/etc/services"), _AWAY),
    row("N32-up", "NRRD that points out of its folder", _nrrd(data_file="../ct.raw"), _AWAY),
    row(
        "N32-mhd",
        "MHD that points at another file",
        _file("ct.mhd", lambda: meta_bytes(_CT, data_file="/etc/services")),
        _AWAY,
    ),
    row("N32-link", "MHD whose data are a link out of the folder", _linked_away, _AWAY),
    row("N33", "NRRD cut, raw", _file("ct.nrrd", lambda: _cut(nrrd_bytes(_CT, gz=False), 0.5)), "E_TRUNCATED"),
    row("N33-gz", "NRRD cut, gzip", _file("ct.nrrd", lambda: _cut(nrrd_bytes(_CT), 0.9)), "E_TRUNCATED"),
    row("N33-mha", "MHA cut", _file("ct.mha", lambda: _cut(meta_bytes(_CT), 0.5)), "E_TRUNCATED"),
    row(
        "N33-mha-zlib", "MHA cut, compressed", _file("ct.mha", lambda: _cut(meta_bytes(_CT, True), 0.9)), "E_TRUNCATED"
    ),
    row(
        "N33-spacing",
        "MHA with negative spacing",
        _file("ct.mha", lambda: meta_bytes(_CT, ElementSpacing="0.8 -0.7 2.5")),
        "E_BAD_HEADER",
        says="-0.7",
    ),
    row(
        "N33-claim",
        "MHA that claims 8192^3",
        _file("ct.mha", lambda: meta_bytes(_CT, DimSize="8192 8192 8192")),
        "E_RESOURCE_LIMIT",
        heavy=True,
    ),
)
