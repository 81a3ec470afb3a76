"""Inputs that claim, or grow to, more than any CT: refused in 2 s of CPU and 400 MiB above idle."""

import io
import json
import struct
import subprocess
import sys
import zipfile
import zlib
from pathlib import Path

import nibabel
import numpy as np
import pytest
from pydicom.uid import RLELossless

from lungseg3d.core import IntakeError
from lungseg3d.io.intake.limits import check_claim

MIB = 2**20
MOST_S, MOST_BYTES = 2.0, 400 * MIB
LITTLE, DEFLATED = "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.1.99"

# Imports once, then forks for every path: a child has the memory of the import and its own reading, no more.
_READER = """
import json, os, resource, sys
from lungseg3d.core import LungSegError
from lungseg3d.io import ReadOptions, open_ct
import lungseg3d.io.dicom.read, gzip, bz2
def read(path):
    before = resource.getrusage(resource.RUSAGE_SELF)
    code = "read"
    try:
        if path:
            open_ct(path)
    except LungSegError as error:
        code = error.code
    except BaseException as error:
        code = repr(error)[:300]
    after = resource.getrusage(resource.RUSAGE_SELF)
    seconds = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    print(json.dumps({"code": code, "seconds": seconds, "bytes": after.ru_maxrss * 1024}), flush=True)
for path in ["", *sys.argv[1:]]:
    child = os.fork()
    if not child:
        read(path)
        os._exit(0)
    _, status = os.waitpid(child, 0)
    if status:
        print(json.dumps({"code": f"died with {status}", "seconds": 0, "bytes": 0}), flush=True)
"""


def zeros_deflated(size: int, wbits: int) -> bytes:
    """`size` zero bytes in a deflate stream, made in milliseconds: one flushed block again and again."""
    engine = zlib.compressobj(9, zlib.DEFLATED, wbits)
    head = engine.compress(bytes(MIB)) + engine.flush(zlib.Z_FULL_FLUSH)
    engine = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    block = engine.compress(bytes(MIB)) + engine.flush(zlib.Z_FULL_FLUSH)
    return head + block * (size // MIB - 1)


def nifti_header(shape: tuple[int, ...], **fields: float) -> bytes:
    header = nibabel.Nifti1Header()
    header.set_data_dtype(np.int16)
    header.set_data_shape(shape)
    header.set_sform(np.diag([0.7, 0.7, 1.0, 1.0]), 1)
    header["magic"], header["vox_offset"] = b"n+1", 352
    for name, value in fields.items():
        header[name] = value
    return header.binaryblock + bytes(4)


def gzip_of(head: bytes, zeros: int) -> bytes:
    """A gzip file that starts with `head` and goes on with zeros; its trailer is missing, nobody should get there."""
    engine = zlib.compressobj(9, zlib.DEFLATED, zlib.MAX_WBITS | 16)
    start = engine.compress(head) + engine.flush(zlib.Z_FULL_FLUSH)
    return start + zeros_deflated(zeros, -zlib.MAX_WBITS)


def element(tag: int, vr: bytes, value: bytes) -> bytes:
    """One element of explicit VR little endian."""
    long = vr in (b"OB", b"OW", b"SQ", b"UN")
    length = b"\0\0" + struct.pack("<L", len(value)) if long else struct.pack("<H", len(value))
    return struct.pack("<HH", tag >> 16, tag & 0xFFFF) + vr + length + value


def dicom_head(syntax: str) -> bytes:
    """Preamble and group 2."""
    uid = syntax.encode() + b"\0" * (len(syntax) % 2)
    group = element(0x00020010, b"UI", uid)
    return bytes(128) + b"DICM" + element(0x00020000, b"UL", struct.pack("<L", len(group))) + group


_CT_CLASS = element(0x00080016, b"UI", b"1.2.840.10008.5.1.4.1.1.2\0")


def _nifti_claim(path: Path) -> Path:
    path = path / "v.nii"
    path.write_bytes(nifti_header((8192, 8192, 8192)) + bytes(1000))
    return path


def _nifti_bomb(path: Path) -> Path:
    path = path / "v.nii.gz"
    path.write_bytes(gzip_of(nifti_header((1024, 1024, 1600)), 3200 * MIB))
    return path


def _nifti_bomb_behind_the_voxels(path: Path) -> Path:
    path = path / "v.nii.gz"
    path.write_bytes(gzip_of(nifti_header((64, 64, 64)), 3200 * MIB))
    return path


def _nifti_bomb_before_the_voxels(path: Path) -> Path:
    path = path / "v.nii.gz"
    path.write_bytes(gzip_of(nifti_header((64, 64, 64), vox_offset=2.0**32), 6000 * MIB))
    return path


def _nrrd_bomb(path: Path) -> Path:
    path = path / "v.nrrd"
    head = (
        b"NRRD0004\ntype: short\ndimension: 3\nsizes: 1024 1024 1600\nendian: little\nencoding: gzip\nspace: LPS\n"
        b"space directions: (1,0,0) (0,1,0) (0,0,1)\nspace origin: (0,0,0)\n\n"
    )
    path.write_bytes(head + gzip_of(b"", 3200 * MIB))
    return path


def _metaimage_bomb(path: Path) -> Path:
    path = path / "v.mha"
    head = (
        b"ObjectType = Image\nNDims = 3\nDimSize = 64 64 64\nElementType = MET_SHORT\nElementSpacing = 1 1 1\n"
        b"TransformMatrix = 1 0 0 0 1 0 0 0 1\nOffset = 0 0 0\nCompressedData = True\nElementDataFile = LOCAL\n"
    )
    path.write_bytes(head + zeros_deflated(3200 * MIB, zlib.MAX_WBITS))
    return path


def _deflated_dicom_bomb(path: Path) -> Path:
    path = path / "0.dcm"
    head = _CT_CLASS + struct.pack("<HH", 0x0009, 0x0010) + b"OB\0\0" + struct.pack("<L", 968 * MIB)
    engine = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    body = engine.compress(head) + engine.flush(zlib.Z_FULL_FLUSH) + zeros_deflated(968 * MIB, -zlib.MAX_WBITS)
    path.write_bytes(dicom_head(DEFLATED) + body)
    return path


def _nested_sequences(path: Path) -> Path:
    path = path / "0.dcm"
    nest = struct.pack("<HH", 0x0008, 0x1140) + b"SQ\0\0" + b"\xff" * 4 + b"\xfe\xff\x00\xe0" + b"\xff" * 4
    path.write_bytes(dicom_head(LITTLE) + _CT_CLASS + nest * 20_000)
    return path


def _zip_bomb(path: Path) -> Path:
    path = path / "s.zip"
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("0.dcm", bytes(100 * MIB))
    path.write_bytes(packed.getvalue())
    return path


def _zip_bomb_that_lies(path: Path) -> Path:
    """The directory says 1,000 bytes, the member inflates to 3 GiB."""
    path = path / "s.zip"
    data, name = zeros_deflated(3072 * MIB, -zlib.MAX_WBITS), b"0.dcm"
    sizes = struct.pack("<LLLHH", 0, len(data), 1000, len(name), 0)
    local = b"PK\x03\x04" + struct.pack("<HHHHH", 20, 0, 8, 0, 33) + sizes + name
    entry = b"PK\x01\x02" + struct.pack("<HHHHHH", 20, 20, 0, 8, 0, 33) + sizes
    entry += struct.pack("<HHHLL", 0, 0, 0, 0, 0) + name
    end = b"PK\x05\x06" + struct.pack("<HHHHLLH", 0, 0, 1, 1, len(entry), len(local) + len(data), 0)
    path.write_bytes(local + data + entry + end)
    return path


BOMBS = {
    _nifti_claim: "E_RESOURCE_LIMIT",
    _nifti_bomb: "E_RESOURCE_LIMIT",
    _nifti_bomb_behind_the_voxels: "E_RESOURCE_LIMIT",
    _nifti_bomb_before_the_voxels: "E_RESOURCE_LIMIT",
    _nrrd_bomb: "E_RESOURCE_LIMIT",
    _metaimage_bomb: "E_TRUNCATED",
    _deflated_dicom_bomb: "E_RESOURCE_LIMIT",
    _nested_sequences: "E_UNREADABLE_SLICE",
    _zip_bomb: "E_RESOURCE_LIMIT",
    _zip_bomb_that_lies: "E_CORRUPT",
}


@pytest.fixture
def measured():
    """`measured(paths)` -> of an idle child and one per path: code, CPU seconds, largest resident bytes."""

    def measure(paths: list[Path]) -> list[dict]:
        command = [sys.executable, "-c", _READER, *map(str, paths)]
        output = subprocess.run(command, capture_output=True, text=True, check=True, timeout=600).stdout
        return [json.loads(line) for line in output.splitlines()]

    return measure


def _claiming_series(make_series, folder: Path, packed: bool) -> Path:
    """Two slices whose header claims 65535 x 65535 pixels, 10,000 frames."""
    series = make_series()
    del series.slices[2:]
    for dataset in series.slices:
        if packed:
            dataset.compress(RLELossless, generate_instance_uid=False)
        dataset.Rows = dataset.Columns = 65535
        dataset.NumberOfFrames = 10_000
    return series.write(folder)


def test_bombs_and_boasts_are_refused_in_2_s_and_400_mib_over_idle(make_series, measured, tmp_path):
    expected = {}
    for make, code in BOMBS.items():
        folder = tmp_path / make.__name__
        folder.mkdir()
        expected[make(folder)] = code
    for packed in (False, True):
        expected[_claiming_series(make_series, tmp_path / f"claim-{packed}", packed)] = "E_RESOURCE_LIMIT"
    idle, *results = measured(list(expected))
    assert {path: result["code"] for path, result in zip(expected, results, strict=True)} == expected
    over = {path: (r["seconds"], r["bytes"] - idle["bytes"]) for path, r in zip(expected, results, strict=True)}
    assert {path: found for path, found in over.items() if found[0] > MOST_S or found[1] > MOST_BYTES} == {}


@pytest.mark.parametrize(
    ("shape", "stored", "allowed"),
    [
        ((512, 512, 2000), None, True),
        ((1024, 1024, 2048), None, True),
        ((1024, 1024, 2049), None, False),
        ((512, 512, 1200), 200_000_000, True),  # a real CT shrinks to a half or a third
        ((512, 512, 400), 300_000, True),  # a phantom without noise
        ((512, 512, 1000), 500_000, False),  # zeros: 1000:1
        ((1024, 1024, 1000), 9_000_000, False),
    ],
)
def test_a_claim_is_allowed_up_to_the_largest_ct_and_the_ratio_that_noise_reaches(shape, stored, allowed):
    if allowed:
        check_claim("v", shape, 2, stored)
        return
    with pytest.raises(IntakeError) as caught:
        check_claim("v", shape, 2, stored)
    assert caught.value.code == "E_RESOURCE_LIMIT"
    assert caught.value.remedy


def test_a_gzip_file_is_what_the_bomb_maker_says():
    data = gzip_of(b"head", 3 * MIB)
    assert zlib.decompressobj(zlib.MAX_WBITS | 16).decompress(data) == b"head" + bytes(3 * MIB)
    assert len(data) < 20_000
