"""Inputs that the fuzzer found, each made here by hand: what once was an exception of a library is a refusal."""

import io
import struct
import zipfile

import nibabel
import numpy as np
import pytest
from pydicom.sequence import Sequence

from lungseg3d.core import IntakeError
from lungseg3d.io import inspect, open_ct

from .conftest import phantom

DIRECTORY_ENTRY, LOCAL_HEADER = b"PK\x01\x02", b"PK\x03\x04"


@pytest.fixture
def zip_of(make_series, tmp_path):
    """`zip_of(method)` -> the bytes of a zip with a series of three slices."""

    def make(method=zipfile.ZIP_DEFLATED) -> bytes:
        folder = make_series(phantom(shape=(24, 20, 3))).write(tmp_path / "slices")
        packed = io.BytesIO()
        with zipfile.ZipFile(packed, "w", method) as archive:
            for path in sorted(folder.iterdir()):
                archive.write(path, path.name)
        return packed.getvalue()

    return make


@pytest.fixture
def refused_zip(refusal, tmp_path):
    """`refused_zip(bytes)` -> the refusal of a zip."""

    def refuse(data: bytes) -> IntakeError:
        path = tmp_path / "s.zip"
        path.write_bytes(data)
        return refusal(path)

    return refuse


def test_a_whole_zip_is_read(zip_of, tmp_path):
    (tmp_path / "s.zip").write_bytes(zip_of())
    assert open_ct(tmp_path / "s.zip").volume.shape == (24, 20, 3)


def test_a_zip_whose_member_fails_its_checksum_is_refused(zip_of, refused_zip):
    data = bytearray(zip_of(zipfile.ZIP_STORED))
    data[data.find(b"DICM") + 600] ^= 1
    assert refused_zip(bytes(data)).code == "E_CORRUPT"


def test_a_zip_without_its_directory_is_refused(zip_of, refused_zip):
    data = zip_of()
    assert refused_zip(data[: data.find(DIRECTORY_ENTRY)]).code == "E_CORRUPT"


def test_a_zip_whose_directory_points_behind_its_end_is_refused(zip_of, refused_zip):
    data = bytearray(zip_of())
    at = data.rfind(DIRECTORY_ENTRY)
    data[at + 42 : at + 46] = struct.pack("<L", len(data) - 10)  # the member's header is cut: struct.error in zipfile
    assert refused_zip(bytes(data)).code == "E_CORRUPT"


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_a_zip_packed_by_a_method_that_cannot_be_bounded_is_refused(zip_of, refused_zip, method):
    assert refused_zip(zip_of(method)).code == "E_UNSAFE_ARCHIVE"


def test_a_zip_member_without_a_name_is_refused(zip_of, refused_zip):
    packed = io.BytesIO(zip_of())
    with zipfile.ZipFile(packed, "a") as archive:
        info = zipfile.ZipInfo("x")
        info.filename = ""
        archive.writestr(info, b"")
    assert refused_zip(packed.getvalue()).code == "E_UNSAFE_ARCHIVE"


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_two_zip_members_of_one_name_are_refused(zip_of, refused_zip):
    packed = io.BytesIO(zip_of())
    with zipfile.ZipFile(packed, "a") as archive:
        archive.writestr("000.dcm", b"another")
    assert refused_zip(packed.getvalue()).code == "E_UNSAFE_ARCHIVE"


def test_a_zip_member_that_inflates_beyond_what_the_directory_says_is_cut_there(refused_zip):
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("0.dcm", bytes(50_000_000))
    data = bytearray(packed.getvalue())
    for header, at in ((LOCAL_HEADER, 22), (DIRECTORY_ENTRY, 24)):
        start = data.find(header) + at
        data[start : start + 4] = struct.pack("<L", 1000)
    assert refused_zip(bytes(data)).code == "E_CORRUPT"


def test_a_dicom_file_with_a_zip_behind_it_is_a_dicom_file(make_series, tmp_path, zip_of):
    series = make_series(phantom(shape=(24, 20, 3)))
    folder = series.write(tmp_path / "tail")
    with (folder / "000.dcm").open("ab") as file:
        file.write(zip_of())
    assert inspect(folder / "000.dcm").issues[-1].code == "E_TOO_FEW_SLICES"


def test_an_nrrd_without_dimension_is_refused(refusal, tmp_path):
    path = tmp_path / "v.nrrd"
    path.write_bytes(b"NRRD0004\ntype: short\nsizes: 4 4\n\n")
    error = refusal(path)
    assert (error.code, "dimension" in error.message) == ("E_BAD_HEADER", True)


def test_a_data_file_with_a_name_longer_than_names_can_be_is_refused(refusal, tmp_path):
    path = tmp_path / "v.mhd"
    header = "NDims = 3\nDimSize = 4 4 4\nElementType = MET_SHORT\nElementSpacing = 1 1 1\nElementDataFile = "
    path.write_text(header + "x" * 5000 + ".raw\n")
    error = refusal(path)
    assert error.code == "E_DETACHED_DATA"
    assert len(str(error)) < 1500


def test_what_a_header_says_comes_back_as_one_short_line(refusal, tmp_path):
    path = tmp_path / "v.nrrd"
    path.write_bytes(b"NRRD0004\ntype: short\ndimension: 3\nsizes: " + b"7\x1b[2J" * 9000 + b"\n\n")
    text = str(refusal(path))
    assert len(text) < 1500
    assert "\x1b" not in text


def test_an_enhanced_file_with_an_empty_list_of_frames_is_refused(refusal, make_series, tmp_path):
    dataset = make_series().slices[0]
    dataset.SOPClassUID = "1.2.840.10008.5.1.4.1.1.2.1"
    dataset.PerFrameFunctionalGroupsSequence = Sequence([])
    dataset.save_as(tmp_path / "e.dcm")
    assert refusal(tmp_path / "e.dcm").code == "E_UNREADABLE_SLICE"


@pytest.mark.parametrize("rows", [0, 1])
def test_a_matrix_of_one_row_or_none_is_refused(refusal, make_series, tmp_path, rows):
    series = make_series()
    for dataset in series.slices:
        dataset.Rows = rows
    assert refusal(series.write(tmp_path / "flat")).code == "E_BAD_HEADER"


def test_a_nifti_header_that_claims_a_far_offset_of_its_voxels_is_refused(refusal, tmp_path):
    volume = phantom(shape=(8, 8, 8))
    image = nibabel.Nifti1Image(volume.array.astype(np.int16), volume.affine)
    data = bytearray(image.to_bytes())
    data[108:112] = struct.pack("<f", 2.0**39)
    (tmp_path / "v.nii").write_bytes(data)
    assert refusal(tmp_path / "v.nii").code == "E_RESOURCE_LIMIT"


@pytest.mark.parametrize("lengths", [(1e-200, 1e150, 1e60), (1e200, 1e-100, 1.0)])
def test_a_sform_whose_lengths_overflow_or_vanish_is_refused_at_once(tmp_path, lengths):
    image = nibabel.Nifti2Image(np.zeros((4, 4, 4), np.int16), None)
    image.header["sform_code"] = image.header["qform_code"] = 1
    image.header["pixdim"][1:4] = 1.0
    image.header["vox_offset"] = 544
    image.header["xyzt_units"] = 2
    for axis, row in enumerate(("srow_x", "srow_y", "srow_z")):
        image.header[row] = np.eye(3, 4)[axis] * lengths[axis]
    path = tmp_path / "v.nii"
    path.write_bytes(image.header.binaryblock + b"\0" * 4 + np.zeros(64, np.int16).tobytes())
    with pytest.raises(IntakeError, match="E_BAD_AFFINE"):
        open_ct(path)
