"""NIfTI, NRRD, MetaImage: read exactly, or refused; nothing comes back as zeros."""

import gzip
import struct

import nibabel
import numpy as np
import pytest
import SimpleITK

from lungseg3d.core import IntakeError, Volume
from lungseg3d.io import ReadOptions, inspect, open_ct, read_labels, read_volume, write_labels, write_volume


def oblique(volume: Volume) -> Volume:
    cos, sin = np.cos(0.3), np.sin(0.3)
    turn = np.array([[cos, -sin, 0, 5], [sin, cos, 0, -7], [0, 0, 1, 9], [0, 0, 0, 1]])
    return Volume(volume.array, turn @ volume.affine)


def write_nifti(path, array, affine, *, version=1, sform=1, qform=0, order="<", tweak=None, **header):
    kind = nibabel.Nifti1Image if version == 1 else nibabel.Nifti2Image
    image = kind(array, affine, dtype=array.dtype)
    image.set_sform(affine, sform)
    image.set_qform(affine, qform)
    h = image.header.as_byteswapped(order) if order == ">" else image.header
    if order == ">":
        image = kind(array, affine, h, dtype=array.dtype)
        h = image.header
    h.set_slope_inter(1, 0)
    image.to_filename(path)
    if header or tweak:  # straight into the bytes, past every check of nibabel
        raw = bytearray(open_bytes(path))
        fields = type(h)(bytes(raw[: h.sizeof_hdr]), endianness=h.endianness, check=False)
        for key, value in header.items():
            fields[key] = value
        raw[: h.sizeof_hdr] = fields.binaryblock
        if tweak:
            raw = tweak(raw)
        path.write_bytes(gzip.compress(bytes(raw)) if path.name.endswith(".gz") else bytes(raw))
    return path


def open_bytes(path):
    return gzip.decompress(path.read_bytes()) if path.name.endswith(".gz") else path.read_bytes()


@pytest.mark.parametrize("dtype", ["int16", "int32", "float64", "float32", "int64"])
@pytest.mark.parametrize("version", [1, 2])
@pytest.mark.parametrize("order", ["<", ">"])
def test_every_number_type_and_byte_order_gives_the_same_hu(tmp_path, ct, dtype, version, order):
    path = write_nifti(tmp_path / "a.nii", ct.array.astype(dtype), ct.affine, version=version, order=order)
    reading = open_ct(path)
    assert reading.issues == ()
    assert reading.volume.array.dtype == np.int16
    assert np.array_equal(reading.volume.array, ct.array)
    assert reading.volume.grid.matches(ct.grid, 1e-3)


def test_scaled_values_are_scaled_and_fractions_rounded(tmp_path, ct):
    path = write_nifti(tmp_path / "a.nii.gz", (ct.array + 1000) * 2, ct.affine, scl_slope=0.5, scl_inter=-1000)
    assert np.array_equal(read_volume(path).array, ct.array)
    path = write_nifti(tmp_path / "b.nii.gz", ct.array + 0.3, ct.affine)
    assert np.array_equal(read_volume(path).array, ct.array)


@pytest.mark.parametrize("slope", [0, np.nan])
def test_a_slope_of_zero_or_nan_means_not_scaled(tmp_path, ct, slope):
    path = write_nifti(tmp_path / "a.nii", ct.array, ct.affine, scl_slope=slope, scl_inter=np.nan)
    assert np.array_equal(read_volume(path).array, ct.array)


@pytest.mark.parametrize("codes", [(1, 0), (0, 1), (2, 1), (4, 4)])
def test_an_oblique_grid_comes_from_sform_or_qform(tmp_path, ct, codes):
    turned = oblique(ct)
    path = write_nifti(tmp_path / "a.nii", ct.array, turned.affine, sform=codes[0], qform=codes[1])
    assert read_volume(path).grid.matches(turned.grid, 1e-3)


def test_a_4d_file_with_one_volume_is_3d_and_one_with_two_asks_which(tmp_path, ct, refusal):
    assert read_volume(write_nifti(tmp_path / "a.nii", ct.array[..., None], ct.affine)).shape == ct.shape
    both = write_nifti(tmp_path / "b.nii", np.stack([ct.array, ct.array + 1], -1), ct.affine)
    assert refusal(both).code == "E_NOT_3D"
    assert np.array_equal(read_volume(both, ReadOptions(volume_index=1)).array, ct.array + 1)


def test_metres_and_microns_become_millimetres(tmp_path, ct, codes_of):
    for unit, scale in ((1, 1e-3), (3, 1e3)):
        affine = ct.affine.copy()
        affine[:3] *= scale
        path = write_nifti(tmp_path / f"{unit}.nii", ct.array, affine, xyzt_units=unit)
        reading = open_ct(path)
        assert codes_of(reading) == {"W_UNITS_CONVERTED"}
        assert reading.volume.grid.matches(ct.grid, 1e-3)


def test_a_broken_pixdim_gives_way_to_the_sform(tmp_path, ct, codes_of):
    path = write_nifti(tmp_path / "a.nii", ct.array, ct.affine, pixdim=[1, 0, -3, 2.5, 0, 0, 0, 0])
    reading = open_ct(path)
    assert codes_of(reading) == {"W_HEADER_REPAIRED"}
    assert reading.volume.grid.matches(ct.grid, 1e-3)


def test_a_sheared_grid_is_flagged_and_kept(tmp_path, ct, codes_of):
    affine = ct.affine.copy()
    affine[1, 2] = 0.9
    reading = open_ct(write_nifti(tmp_path / "a.nii", ct.array, affine))
    assert codes_of(reading) == {"W_GANTRY_TILT"}
    assert np.allclose(reading.volume.affine, affine, atol=1e-4)


def flipped(affine):
    other = affine.copy()
    other[0, 0] *= -1
    return other


def test_sform_and_qform_that_disagree_are_refused(tmp_path, ct, refusal):
    moved = ct.affine.copy()
    moved[2, 3] += 40
    for name, other in (("moved", moved), ("flipped", flipped(ct.affine))):
        image = nibabel.Nifti1Image(ct.array, ct.affine)
        image.set_sform(ct.affine, 1)
        image.set_qform(other, 1)
        image.to_filename(tmp_path / f"{name}.nii.gz")
        error = refusal(tmp_path / f"{name}.nii.gz")
        assert error.code == "E_AFFINE_CONFLICT"
    assert "RAS" in error.message
    assert "LAS" in error.message


def test_sform_and_qform_4_cm_apart_are_refused_in_metres_too(tmp_path, ct, refusal):
    metres = ct.affine.copy()
    metres[:3] /= 1000
    moved = metres.copy()
    moved[2, 3] += 0.04
    image = nibabel.Nifti1Image(ct.array, metres)
    image.set_sform(metres, 1)
    image.set_qform(moved, 1)
    image.header["xyzt_units"] = 1
    image.to_filename(tmp_path / "a.nii.gz")
    error = refusal(tmp_path / "a.nii.gz")
    assert error.code == "E_AFFINE_CONFLICT"
    assert "40.0 mm apart" in error.message


HALF_TURNS = {"x": (1.0, -1.0, -1.0), "y": (-1.0, 1.0, -1.0), "z": (-1.0, -1.0, 1.0)}


@pytest.mark.parametrize("axis", HALF_TURNS)
@pytest.mark.parametrize(("version", "order", "square"), [(1, "<", 1 + 4e-7), (1, ">", 1 + 1e-5), (2, "<", 1.0005)])
def test_a_quaternion_a_hair_longer_than_1_is_half_a_turn(tmp_path, ct, axis, version, order, square):
    turn = np.diag([*HALF_TURNS[axis], 1.0])
    length = dict.fromkeys(("quatern_b", "quatern_c", "quatern_d"), 0.0)
    length[f"quatern_{'bcd'['xyz'.index(axis)]}"] = square**0.5
    path = write_nifti(
        tmp_path / "a.nii", ct.array, turn @ ct.affine, version=version, order=order, sform=0, qform=1, **length
    )
    reading = open_ct(path)
    assert reading.issues == ()
    assert np.allclose(reading.volume.affine, turn @ ct.affine, atol=1e-4)


def test_what_is_left_below_the_reference_librarys_threshold_is_half_a_turn_and_above_it_an_angle(tmp_path, ct):
    turn = np.diag([-1.0, -1.0, 1.0, 1.0])
    for left, angle in ((5e-8, np.pi), (1e-4, 2 * np.arccos(0.01))):
        path = write_nifti(
            tmp_path / "a.nii", ct.array, turn @ ct.affine, version=2, sform=0, qform=1, quatern_d=(1 - left) ** 0.5
        )
        turned = read_volume(path).affine[:2, 0] / 0.8
        assert np.allclose(turned, [np.cos(angle), np.sin(angle)], atol=1e-9)


@pytest.mark.parametrize("qfac", [0.0, 2.0, np.nan])
@pytest.mark.parametrize("version", [1, 2])
def test_a_qfac_that_is_not_negative_means_1(tmp_path, ct, qfac, version):
    pixdim = [qfac, 0.8, 0.7, 2.5, 1, 1, 1, 1]
    path = write_nifti(tmp_path / "a.nii", ct.array, ct.affine, version=version, sform=0, qform=1, pixdim=pixdim)
    assert np.allclose(read_volume(path).affine, ct.affine, atol=1e-4)


def test_a_negative_qfac_mirrors_the_last_axis_and_one_of_0_leaves_the_word_to_the_sform(tmp_path, ct):
    left_handed = flipped(ct.affine)
    for sform, qfac in ((0, -1), (0, -3), (1, 0), (1, -1)):
        pixdim = [qfac, 0.8, 0.7, 2.5, 1, 1, 1, 1]
        path = write_nifti(tmp_path / "a.nii", ct.array, left_handed, sform=sform, qform=1, pixdim=pixdim)
        assert np.allclose(read_volume(path).affine, left_handed, atol=1e-4)


@pytest.mark.parametrize("vector", [(0.8, 0.8, 0.0), (0.0, 0.0, 1.01), (2.0, 0.0, 0.0), (np.nan, 0, 0), (np.inf, 0, 0)])
def test_a_quaternion_that_is_truly_wrong_is_refused_with_its_length(tmp_path, ct, refusal, vector):
    parts = dict(zip(("quatern_b", "quatern_c", "quatern_d"), vector, strict=True))
    path = write_nifti(tmp_path / "a.nii", ct.array, ct.affine, sform=0, qform=1, **parts)
    error = refusal(path)
    assert error.code == "E_BAD_AFFINE"
    assert f"length {np.linalg.norm(vector):.6g}" in error.message


def test_a_long_quaternion_beside_an_sform_that_lies_elsewhere_is_a_conflict(tmp_path, ct, refusal):
    other = np.diag([-1.0, -1.0, 1.0, 1.0]) @ ct.affine
    path = write_nifti(
        tmp_path / "a.nii", ct.array, other, sform=1, qform=1, quatern_b=(1 + 1e-6) ** 0.5, quatern_d=0.0
    )
    assert refusal(path).code == "E_AFFINE_CONFLICT"


def test_no_orientation_needs_a_word_of_the_user(tmp_path, ct, refusal, codes_of):
    path = write_nifti(tmp_path / "a.nii", ct.array, ct.affine, sform=0, qform=0)
    assert 'assume_axes="' in refusal(path).remedy
    reading = open_ct(path, ReadOptions(assume_axes="LPS"))
    assert codes_of(reading) == {"W_ASSUMED_AXES"}
    assert np.allclose(np.diag(reading.volume.affine), [-0.8, -0.7, 2.5, 1])
    assert refusal(path, ReadOptions(assume_axes="RAR")).code == "E_BAD_OPTION"


@pytest.mark.parametrize(
    ("header", "code"),
    [
        ({"scl_slope": np.inf}, "E_BAD_HEADER"),
        ({"srow_x": [0, 0, 0, 0]}, "E_BAD_AFFINE"),
        ({"srow_x": [np.nan, 0, 0, 0]}, "E_BAD_AFFINE"),
        ({"srow_x": [0, 0.7, 0, 0], "srow_y": [0, 0.7, 0, 0]}, "E_BAD_AFFINE"),
        ({"srow_x": [0.0008, 0, 0, 0]}, "E_BAD_AFFINE"),
        ({"dim": [9, 24, 20, 40, 1, 1, 1, 1]}, "E_BAD_HEADER"),
        ({"dim": [3, 24, -20, 40, 1, 1, 1, 1]}, "E_BAD_HEADER"),
        ({"dim": [2, 24, 800, 1, 1, 1, 1, 1]}, "E_NOT_3D"),
        ({"dim": [3, 24, 800, 1, 1, 1, 1, 1]}, "E_TOO_FEW_SLICES"),
        ({"dim": [3, 8192, 8192, 8192, 1, 1, 1, 1]}, "E_RESOURCE_LIMIT"),
        ({"dim": [3, 24, 20, 41, 1, 1, 1, 1]}, "E_TRUNCATED"),
        ({"datatype": 9999}, "E_BAD_HEADER"),
        ({"datatype": 128}, "E_NOT_CT"),
        ({"datatype": 32}, "E_NOT_CT"),
        ({"vox_offset": 1e6}, "E_TRUNCATED"),
        ({"vox_offset": np.nan}, "E_BAD_HEADER"),
        ({"magic": b"ni1"}, "E_DETACHED_DATA"),
        ({"magic": b""}, "E_BAD_HEADER"),
    ],
)
@pytest.mark.parametrize("ending", [".nii", ".nii.gz"])
def test_a_header_that_cannot_be_is_refused(tmp_path, ct, refusal, header, code, ending):
    assert refusal(write_nifti(tmp_path / f"a{ending}", ct.array, ct.affine, **header)).code == code


@pytest.mark.parametrize("keep", [0.5, 0.99, -4])
def test_a_cut_gzip_is_refused(tmp_path, ct, refusal, keep):
    write_volume(tmp_path / "a.nii.gz", ct)
    data = (tmp_path / "a.nii.gz").read_bytes()
    (tmp_path / "a.nii.gz").write_bytes(data[: int(keep * len(data)) if keep > 0 else keep])
    assert refusal(tmp_path / "a.nii.gz").code == "E_TRUNCATED"


@pytest.mark.parametrize("keep", [20, 348, 352, 20000])
def test_a_cut_plain_file_is_refused_with_its_bytes(tmp_path, ct, refusal, keep):
    write_volume(tmp_path / "a.nii", ct)
    data = (tmp_path / "a.nii").read_bytes()
    (tmp_path / "a.nii").write_bytes(data[:keep])
    error = refusal(tmp_path / "a.nii")
    assert error.code == "E_TRUNCATED"
    assert str(max(0, keep - 352) if keep > 348 else keep) in error.message or keep == 348


@pytest.mark.parametrize("at", [-6, -2, 5000])
def test_a_flipped_byte_in_a_gzip_is_refused(tmp_path, ct, refusal, at):
    write_volume(tmp_path / "a.nii.gz", ct)
    data = bytearray((tmp_path / "a.nii.gz").read_bytes())
    data[at] ^= 0x55
    (tmp_path / "a.nii.gz").write_bytes(data)
    assert refusal(tmp_path / "a.nii.gz").code in ("E_CORRUPT", "E_TRUNCATED")


def test_bytes_after_the_voxels_are_flagged(tmp_path, ct, codes_of):
    for name in ("a.nii", "a.nii.gz"):
        write_volume(tmp_path / name, ct)
        (tmp_path / name).write_bytes((tmp_path / name).read_bytes() + b"junk")
        reading = open_ct(tmp_path / name)
        assert codes_of(reading) == {"W_TRAILING_BYTES"}
        assert np.array_equal(reading.volume.array, ct.array)


def test_a_file_is_what_it_holds_and_not_what_it_is_called(tmp_path, ct, codes_of):
    write_volume(tmp_path / "a.nii", ct)
    (tmp_path / "a.nii").rename(tmp_path / "b.nii.gz")
    assert codes_of(open_ct(tmp_path / "b.nii.gz")) == {"W_EXTENSION"}


@pytest.mark.parametrize(
    ("data", "look"),
    [
        (b"", "empty"),
        (b"hello, world\n" * 40, "text"),
        (b"<!DOCTYPE html><html>403</html>", "web page"),
        (b"\x89PNG....", "PNG"),
        (gzip.compress(b"no image" * 100, mtime=0), "gzip"),
        (b"\0" * 1000, "zeros"),
    ],
)
def test_what_is_no_image_is_named(tmp_path, refusal, data, look):
    (tmp_path / "a.nii.gz").write_bytes(data)
    error = refusal(tmp_path / "a.nii.gz")
    assert error.code == "E_NOT_AN_IMAGE"
    assert look in error.message


def test_a_gzip_bomb_is_refused_from_its_header(tmp_path, refusal):
    header = nibabel.Nifti1Header()
    header.set_data_shape((1600, 1000, 1000))
    header.set_data_dtype(np.int16)
    header.set_sform(np.eye(4), 1)
    header["vox_offset"] = 352
    header["magic"] = b"n+1"
    (tmp_path / "a.nii.gz").write_bytes(gzip.compress(header.binaryblock + b"\0" * 10_000_000, 9))
    assert refusal(tmp_path / "a.nii.gz").code == "E_RESOURCE_LIMIT"


def test_nan_around_the_patient_becomes_air_and_elsewhere_is_refused(tmp_path, ct, refusal, codes_of):
    around = ct.array.astype(np.float32)
    around[0] = around[:, -1] = np.nan
    reading = open_ct(write_nifti(tmp_path / "a.nii", around, ct.affine))
    assert codes_of(reading) == {"W_NONFINITE_REPLACED"}
    assert (reading.volume.array[0] == -1000).all()
    for place, value in (((12, 10, 20), np.nan), ((0, 0, 0), np.inf)):
        bad = ct.array.astype(np.float32)
        bad[place] = value
        error = refusal(write_nifti(tmp_path / "b.nii", bad, ct.affine))
        assert error.code == "E_NONFINITE"
        assert f"{place[0]}..{place[0]}, {place[1]}..{place[1]}" in error.message
    assert refusal(write_nifti(tmp_path / "c.nii", around * np.nan, ct.affine)).code == "E_NONFINITE"


@pytest.mark.parametrize(
    "change",
    [
        lambda hu: hu * 0,
        lambda hu: (hu + 1024).astype(np.uint16),
        lambda hu: (hu.astype(np.float32) + 1000) / 1000,
        lambda hu: np.clip((hu + 1000) // 6, 0, 255).astype(np.uint8),
        lambda hu: (hu > -500).astype(np.uint8) * 3,
        lambda hu: hu * np.int16(3),
        lambda hu: hu.astype(np.float32) * 100,
    ],
)
def test_values_that_are_not_hu_are_refused(tmp_path, ct, refusal, change):
    path = write_nifti(tmp_path / "a.nii", change(ct.array), ct.affine)
    assert refusal(path).code == "E_NOT_HOUNSFIELD"


def test_a_missing_offset_is_named_and_can_be_fixed(tmp_path, ct, refusal, codes_of):
    path = write_nifti(tmp_path / "a.nii", (ct.array + 1024).astype(np.uint16), ct.affine)
    error = refusal(path)
    assert "is the rescale missing" in error.message
    assert "fix_offset=True" in error.remedy
    reading = open_ct(path, ReadOptions(fix_offset=True))
    assert codes_of(reading) == {"W_OFFSET_FIXED"}
    assert np.array_equal(reading.volume.array, ct.array)


def test_padding_of_minus_3024_becomes_air(tmp_path, ct):
    padded = ct.array.copy()
    padded[:2] = -3024
    array = read_volume(write_nifti(tmp_path / "a.nii", padded, ct.affine)).array
    assert (array[:2] == -1000).all()
    assert np.array_equal(array[2:], ct.array[2:])


def write_by_itk(path, volume, compress):
    image = SimpleITK.GetImageFromArray(volume.array.T)
    spacing = np.array(volume.spacing_mm)
    image.SetSpacing(spacing.tolist())
    image.SetOrigin((volume.affine[:3, 3] * (-1, -1, 1)).tolist())
    image.SetDirection((np.array([[-1], [-1], [1]]) * volume.affine[:3, :3] / spacing).ravel().tolist())
    SimpleITK.WriteImage(image, str(path), compress)
    return path


@pytest.mark.parametrize("ending", [".nrrd", ".mha", ".mhd", ".nhdr", ".nii.gz"])
@pytest.mark.parametrize("compress", [True, False])
def test_what_itk_writes_lies_in_its_place(tmp_path, ct, ending, compress):
    turned = oblique(ct)
    reading = open_ct(write_by_itk(tmp_path / f"a{ending}", turned, compress))
    assert reading.issues == ()
    assert np.array_equal(reading.volume.array, ct.array)
    assert reading.volume.grid.matches(turned.grid, 1e-3)


@pytest.mark.parametrize("ending", [".nrrd", ".mha"])
@pytest.mark.parametrize("compress", [True, False])
@pytest.mark.parametrize("keep", [0.5, 0.99])
def test_a_cut_nrrd_or_mha_is_refused_and_not_filled_with_zeros(tmp_path, ct, refusal, ending, compress, keep):
    path = write_by_itk(tmp_path / f"a{ending}", ct, compress)
    data = path.read_bytes()
    path.write_bytes(data[: int(keep * len(data))])
    assert refusal(path).code == "E_TRUNCATED"


def replaced(path, *pairs):
    data = path.read_bytes()
    for old, new in pairs:
        assert old in data
        data = data.replace(old, new, 1)
    path.write_bytes(data)
    return path


def test_a_nrrd_in_ras_is_read(tmp_path, ct):
    path = write_by_itk(tmp_path / "a.nrrd", ct, False)
    replaced(path, (b"left-posterior-superior", b"right-anterior-superior"))
    assert np.allclose(read_volume(path).affine, np.diag([-1, -1, 1, 1]) @ ct.affine, atol=1e-6)


@pytest.mark.parametrize(
    ("pair", "code"),
    [
        ((b"space: left-posterior-superior", b"space: scanner-xyz"), "E_NO_GEOMETRY"),
        ((b"space directions:", b"# directions:"), "E_NO_GEOMETRY"),
        ((b"endian: little", b"# endian"), "E_BAD_HEADER"),
        ((b"type: short", b"type: block"), "E_BAD_HEADER"),
        ((b"sizes: 24 20 40", b"sizes: 24 20 9999999"), "E_RESOURCE_LIMIT"),
        ((b"sizes: 24 20 40", b"sizes: 24 20 41"), "E_TRUNCATED"),
        ((b"sizes: 24 20 40", b"sizes: 24 x 40"), "E_BAD_HEADER"),
        ((b"encoding: raw", b"encoding: raw\ndata file: /etc/services"), "E_DETACHED_DATA"),
        ((b"encoding: raw", b"encoding: raw\ndata file: ../a.raw"), "E_DETACHED_DATA"),
        ((b"encoding: raw", b"encoding: raw\ndata file: LIST"), "E_DETACHED_DATA"),
    ],
)
def test_a_bad_nrrd_header_is_refused(tmp_path, ct, refusal, pair, code):
    assert refusal(replaced(write_by_itk(tmp_path / "a.nrrd", ct, False), pair)).code == code


@pytest.mark.parametrize(
    ("pair", "code"),
    [
        ((b"ElementDataFile = LOCAL", b"ElementDataFile = /etc/services"), "E_DETACHED_DATA"),
        ((b"ElementDataFile = LOCAL", b"ElementDataFile = LIST"), "E_DETACHED_DATA"),
        ((b"ElementDataFile = LOCAL", b"ElementDataFile = "), "E_DETACHED_DATA"),  # no file, and not this one
        ((b"TransformMatrix", b"Transform__trix"), "E_NO_GEOMETRY"),
        ((b"ElementSpacing = 0.8", b"ElementSpacing = -0.8"), "E_BAD_HEADER"),
        ((b"DimSize = 24 20 40", b"DimSize = 24 20 41"), "E_TRUNCATED"),
        ((b"DimSize = 24 20 40", b"DimSize = 24 20 4e9"), "E_RESOURCE_LIMIT"),
        ((b"MET_SHORT", b"MET_OTHER"), "E_BAD_HEADER"),
    ],
)
def test_a_bad_metaimage_header_is_refused(tmp_path, ct, refusal, pair, code):
    assert refusal(replaced(write_by_itk(tmp_path / "a.mha", ct, False), pair)).code == code


def test_detached_data_may_not_be_a_link_that_leads_away(tmp_path, ct, refusal):
    (tmp_path / "here").mkdir()
    path = write_by_itk(tmp_path / "here" / "a.mhd", ct, False)
    (tmp_path / "here" / "a.raw").rename(tmp_path / "a.raw")
    (tmp_path / "here" / "a.raw").symlink_to(tmp_path / "a.raw")
    assert refusal(path).code == "E_DETACHED_DATA"


def test_labels_are_whole_numbers_in_the_narrowest_type(tmp_path, ct):
    labels = np.zeros(ct.shape, np.uint8)
    labels[3:9, 4:9, 5:20] = 3
    write_labels(tmp_path / "l.nii.gz", Volume(labels, ct.affine))
    back = read_labels(tmp_path / "l.nii.gz")
    assert back.array.dtype == np.uint8
    assert np.array_equal(back.array, labels)
    assert back.grid.matches(ct.grid, 1e-3)
    floats = write_nifti(tmp_path / "f.nii", labels.astype(np.float64), ct.affine)
    assert np.array_equal(read_labels(floats).array, labels)
    with pytest.raises(IntakeError, match="E_LABEL_VALUES"):
        read_labels(write_nifti(tmp_path / "h.nii", labels / 2.0, ct.affine))


def test_a_path_that_is_not_there_is_refused(tmp_path, refusal):
    assert refusal(tmp_path / "no.nii").code == "E_NOT_FOUND"
    assert inspect(tmp_path / "no.nii").status == "refused"


def test_random_bytes_after_a_good_start_never_escape_as_another_error(tmp_path, ct):
    write_volume(tmp_path / "a.nii.gz", ct)
    write_by_itk(tmp_path / "a.nrrd", ct, True)
    write_by_itk(tmp_path / "a.mha", ct, True)
    rng = np.random.default_rng(11)
    outcomes = set()
    for path in sorted(tmp_path.iterdir()):
        clean = path.read_bytes()
        for _ in range(60):
            data = bytearray(clean)
            for at in rng.integers(0, min(len(data), 600), 3):
                data[at] = rng.integers(256)
            path.write_bytes(data)
            outcomes.add(inspect(path).status)
    assert "refused" in outcomes


def test_a_header_of_random_numbers_never_escapes_as_another_error(tmp_path, ct):
    write_volume(tmp_path / "a.nii", ct)
    clean = (tmp_path / "a.nii").read_bytes()
    rng = np.random.default_rng(12)
    statuses = []
    for _ in range(150):
        data = bytearray(clean)
        at = int(rng.integers(4, 344))
        data[at : at + 4] = struct.pack("<f", rng.choice([np.nan, np.inf, -1, 0, 1e30, 7]))
        (tmp_path / "a.nii").write_bytes(data)
        statuses.append(inspect(tmp_path / "a.nii").status)
    assert "refused" in statuses


@pytest.mark.real
def test_the_chest_at_4_mm_is_the_same_as_nrrd_and_as_dicom(real_data):
    nrrd, dicom = read_volume(real_data / "cip-64" / "ct-64.nrrd"), read_volume(real_data / "cip-64" / "dicom")
    assert np.array_equal(nrrd.array, dicom.array)
    assert nrrd.grid.matches(dicom.grid, 0.5)
    regions = read_labels(real_data / "cip-64" / "lm-64.nrrd")
    assert regions.grid.matches(nrrd.grid)


def assert_read_without_a_word(path):
    reading = open_ct(path)
    assert reading.issues == ()
    assert np.array_equal(reading.volume.array, np.asanyarray(nibabel.load(path).dataobj))


@pytest.mark.real
def test_a_real_nifti_file_is_read_without_a_word(real_data):
    assert_read_without_a_word(real_data / "ct" / "lung1-001" / "ct.nii.gz")


@pytest.mark.real
def test_the_real_cubes_are_read_without_a_word(real_data):
    paths = sorted((real_data / "nodules_luna" / "images").iterdir())
    assert len(paths) == 930
    for path in paths[::5]:
        assert_read_without_a_word(path)


@pytest.mark.parametrize("ending", ["nii.gz", "nrrd", "mha"])
@pytest.mark.parametrize("miss", [1e-7, 9e-4, -1e-3])
def test_labels_that_miss_whole_numbers_by_a_float_are_rounded_in_every_format(tmp_path, ending, miss):
    import SimpleITK as sitk

    array = np.zeros((4, 5, 6), np.float32)
    array[1, 2, 3], array[2, 2, 2] = 1 + miss, 2 + miss
    sitk.WriteImage(sitk.GetImageFromArray(array), str(tmp_path / f"label.{ending}"))
    labels = read_labels(tmp_path / f"label.{ending}")
    assert labels.array.dtype == np.uint8
    assert sorted(labels.array[labels.array > 0]) == [1, 2]


@pytest.mark.parametrize("slope", [1 / 255, 1 / 3, 0.1])
def test_a_float32_slope_gives_the_whole_numbers_that_it_stands_for(tmp_path, ct, slope):
    stored = np.zeros(ct.shape, np.uint8)
    stored[2, 2, 2] = round(1 / slope)
    path = write_nifti(tmp_path / "label.nii.gz", stored, ct.affine, scl_slope=slope, scl_inter=0)
    labels = read_labels(path)
    assert (labels.array.max(), int((labels.array == 1).sum())) == (1, 1)


@pytest.mark.parametrize("value", [0.5, 1.01, 0.998, np.nan])
def test_labels_that_are_truly_fractional_stay_refused(tmp_path, ct, value):
    array = np.zeros(ct.shape, np.float32)
    array[1, 1, 1] = value
    path = write_nifti(tmp_path / "label.nii.gz", array, ct.affine)
    with pytest.raises(IntakeError, match=r"E_LABEL_VALUES.*1 values that are not whole numbers"):
        read_labels(path)
