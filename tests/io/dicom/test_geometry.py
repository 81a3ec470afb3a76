"""DICOM series: where the voxels lie, and which slices are accepted."""

import itertools
import random
import shutil

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lungseg3d.core import Volume
from lungseg3d.io import ReadOptions, open_ct, read_volume, write_volume


def test_a_clean_series_is_read_exactly_and_without_a_word(make_series, tmp_path, in_world):
    series = make_series()
    reading = open_ct(series.write(tmp_path / "s"))
    assert reading.issues == ()
    assert np.array_equal(reading.volume.array, series.lps_array)
    assert np.allclose(np.linalg.det(reading.volume.affine), np.linalg.det(series.volume.affine))
    assert in_world(reading.volume) == in_world(series.volume)
    assert [path.name for path in reading.files] == [f"{n:03d}.dcm" for n in range(40)]


def test_file_names_and_instance_numbers_do_not_matter(make_series, tmp_path):
    series = make_series()
    numbers = list(range(40))
    random.Random(3).shuffle(numbers)
    for dataset, number in zip(series.slices, numbers, strict=True):
        dataset.InstanceNumber = number
    del series.slices[5].InstanceNumber
    random.Random(4).shuffle(series.slices)
    assert np.array_equal(read_volume(series.write(tmp_path / "s")).array, series.lps_array)


def test_a_missing_slice_is_refused_with_its_place(make_series, tmp_path, refusal):
    series = make_series()
    del series.slices[19]
    error = refusal(series.write(tmp_path / "s"))
    assert error.code == "E_MISSING_SLICES"
    assert "1 slice missing near z = -2.5 mm" in error.message
    assert "allow_gaps=True" in error.remedy


def test_five_missing_slices_are_counted_and_can_be_filled(make_series, tmp_path, codes_of, refusal):
    series = make_series()
    for k in (30, 29, 20, 10, 9):
        del series.slices[k]
    folder = series.write(tmp_path / "s")
    assert "5 slices missing" in refusal(folder).message
    reading = open_ct(folder, ReadOptions(allow_gaps=True))
    assert "W_GAPS_FILLED" in codes_of(reading)
    assert reading.volume.shape == series.volume.shape
    block = reading.volume.as_ras().array[4, 4]
    assert np.array_equal(block, 10 * np.arange(40))


def test_two_spacings_in_one_series_are_refused(make_series, tmp_path, refusal):
    series = make_series()
    series.slices = series.slices[:20] + series.slices[20::2]
    error = refusal(series.write(tmp_path / "s"))
    assert error.code == "E_NONUNIFORM_SPACING"
    assert "2.50 to 5.00 mm" in error.message


def test_a_series_cut_short_is_flagged(make_series, tmp_path, codes_of):
    series = make_series()
    series.slices = series.slices[:30]
    reading = open_ct(series.write(tmp_path / "s"))
    assert codes_of(reading) == {"W_SHORT_COVERAGE"}
    assert reading.volume.shape == (24, 20, 30)


@pytest.mark.parametrize("suffix", ["", ".9"])
def test_repeated_slices_with_equal_pixels_are_dropped(make_series, tmp_path, suffix, codes_of):
    series = make_series()
    series.slices += [series.copy_of(3, suffix), series.copy_of(7, suffix)]
    reading = open_ct(series.write(tmp_path / "s"))
    assert codes_of(reading) == {"W_DUPLICATE_DROPPED"}
    assert np.array_equal(reading.volume.array, series.lps_array)


def test_two_images_at_one_place_are_refused(make_series, tmp_path, refusal):
    series = make_series()
    twin = series.copy_of(3, ".9")
    twin.PixelData = series.slices[4].PixelData
    series.slices.append(twin)
    assert refusal(series.write(tmp_path / "s")).code == "E_DUPLICATE_CONFLICT"


def test_two_phases_under_one_uid_are_refused_with_their_acquisitions(make_series, tmp_path, refusal):
    series = make_series()
    second = [series.copy_of(k, ".9") for k in range(40)]
    for dataset in second:
        dataset.AcquisitionNumber = 2
        dataset.RescaleIntercept = "-1000"
    series.slices += second
    error = refusal(series.write(tmp_path / "s"))
    assert error.code == "E_DUPLICATE_CONFLICT"
    assert "1, 2" in error.message


def test_a_tilted_gantry_keeps_its_shear(make_series, tmp_path, ct, codes_of, in_world):
    affine = ct.affine.copy()
    affine[1, 2] = 2.5 * np.tan(np.radians(20))
    reading = open_ct(make_series(Volume(ct.array, affine)).write(tmp_path / "s"))
    assert codes_of(reading) == {"W_GANTRY_TILT"}
    assert "20.0 degrees" in reading.issues[0].message
    assert in_world(reading.volume) == in_world(Volume(ct.array, affine))


def test_slices_shifted_sideways_are_refused(make_series, tmp_path, refusal):
    series = make_series()
    series.slices[11].ImagePositionPatient[0] += 3
    assert refusal(series.write(tmp_path / "s"), ReadOptions(allow_gaps=True)).code == "E_NONUNIFORM_SPACING"


def test_positions_rounded_to_a_tenth_of_a_millimetre_are_accepted(make_series, tmp_path):
    series = make_series(Volume(np.array(make_series().volume.array), np.diag([0.8, 0.7, 2.625, 1.0])))
    for dataset in series.slices:
        x, y, z = dataset.ImagePositionPatient
        dataset.ImagePositionPatient = [x, y, round(float(z), 1)]
    reading = open_ct(series.write(tmp_path / "s"))
    assert reading.issues == ()
    assert reading.volume.spacing_mm[2] == pytest.approx(2.625, abs=0.003)


@pytest.mark.parametrize("position", ["FFS", "HFP", "HFDR"])
def test_a_patient_on_the_belly_or_side_is_flagged_and_one_with_feet_first_is_not(
    make_series, tmp_path, position, codes_of
):
    reading = open_ct(make_series(patient_position=position).write(tmp_path / "s"))
    assert codes_of(reading) == (set() if position == "FFS" else {"W_PATIENT_POSITION"})


def test_thick_and_sparse_slices_are_flagged(make_series, tmp_path, ct, codes_of):
    thick = Volume(ct.array, np.diag([0.8, 0.7, 10, 1]))
    assert codes_of(open_ct(make_series(thick).write(tmp_path / "thick"))) == {"W_THICK_SLICES"}
    sparse = make_series(thick, thickness_mm=1.0)
    assert codes_of(open_ct(sparse.write(tmp_path / "sparse"))) == {"W_SPARSE_COVERAGE"}


def test_the_tag_spacing_between_slices_is_not_believed(make_series, tmp_path):
    series = make_series(thickness_mm=5.0)
    for dataset in series.slices:
        dataset.SpacingBetweenSlices = "7"
    assert open_ct(series.write(tmp_path / "s")).volume.spacing_mm[2] == pytest.approx(2.5)


@pytest.mark.parametrize(
    ("tag", "value", "code"),
    [
        ("ImageOrientationPatient", [0, 1, 0, 1, 0, 0], "E_MIXED_ORIENTATION"),
        ("PixelSpacing", [0.9, 0.8], "E_MIXED_SPACING"),
        ("StudyInstanceUID", "1.2.3", "E_MIXED_STUDIES"),
        ("PatientID", "ANOTHER", "E_MIXED_STUDIES"),
        ("PixelSpacing", [0, 0.8], "E_MIXED_SPACING"),
        ("Modality", "MR", "E_NOT_CT"),
    ],
)
def test_one_slice_that_differs_stops_the_series(make_series, tmp_path, tag, value, code, refusal):
    series = make_series()
    setattr(series.slices[8], tag, value)
    error = refusal(series.write(tmp_path / "s"))
    assert error.code == code


def test_one_slice_with_another_matrix_stops_the_series_and_is_named(make_series, tmp_path, refusal):
    series = make_series()
    series.slices[8].Rows, series.slices[8].Columns = 24, 20
    error = refusal(series.write(tmp_path / "s"))
    assert error.code == "E_MIXED_MATRIX"
    assert "008.dcm" in error.message


@pytest.mark.parametrize(
    "tag",
    ["ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing", "RescaleSlope", "Rows", "PixelData"],
)
@pytest.mark.parametrize("everywhere", [True, False])
def test_an_absent_tag_is_never_assumed(make_series, tmp_path, tag, everywhere, refusal):
    series = make_series()
    for dataset in series.slices if everywhere else series.slices[8:9]:
        delattr(dataset, tag)
    error = refusal(series.write(tmp_path / "s"))
    assert error.code == "E_MISSING_TAG"
    assert tag in error.message
    assert ("000.dcm" if everywhere else "008.dcm") in error.message


def test_one_slice_is_no_volume(make_series, tmp_path, refusal):
    series = make_series()
    folder = series.write(tmp_path / "s")
    error = refusal(folder / "003.dcm")
    assert error.code == "E_TOO_FEW_SLICES"
    assert "folder" in error.remedy
    for n in range(1, 40):
        (folder / f"{n:03d}.dcm").unlink()
    assert refusal(folder).code == "E_TOO_FEW_SLICES"


_TURNS = list(itertools.product(itertools.permutations(range(3)), itertools.product((1, -1), repeat=3)))


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    turn=st.sampled_from(_TURNS),
    angle=st.floats(-0.4, 0.4),
    axis=st.integers(0, 2),
    origin=st.tuples(*[st.integers(-300, 300)] * 3),
)
def test_a_turned_ct_written_as_dicom_and_as_nifti_reads_back_the_same(
    make_series, tmp_path, turn, angle, axis, origin
):
    (order, signs) = turn
    rng = np.random.default_rng(5)
    hu = rng.integers(-1000, 900, (6, 7, 8)).astype(np.int16)
    affine = np.eye(4)
    cos, sin = np.cos(angle), np.sin(angle)
    a, b = [k for k in range(3) if k != axis]
    rotation = np.eye(3)
    rotation[a, a] = rotation[b, b] = cos
    rotation[a, b], rotation[b, a] = -sin, sin
    affine[:3, :3] = rotation @ np.eye(3)[:, order] @ np.diag(np.array(signs) * (0.7, 0.9, 1.3))
    affine[:3, 3] = origin
    volume = Volume(hu, affine)
    folder = make_series_folder(make_series, tmp_path, volume)
    from_dicom = read_volume(folder)
    assert from_dicom.as_ras().grid.matches(volume.as_ras().grid, 1e-3)
    assert np.array_equal(from_dicom.as_ras().array, volume.as_ras().array)
    write_volume(tmp_path / "x.nii.gz", from_dicom)
    from_nifti = read_volume(tmp_path / "x.nii.gz")
    assert np.array_equal(from_nifti.array, from_dicom.array)
    assert from_nifti.grid.matches(from_dicom.grid, 1e-3)


def make_series_folder(make_series, tmp_path, volume):
    for folder in tmp_path.glob("*"):
        if folder.is_dir():
            shutil.rmtree(folder)
    return make_series(volume).write(tmp_path / "series")
