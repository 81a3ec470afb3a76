"""DICOM folders: several series, junk, enhanced files, zip; which one is read and what is told."""

import json
import zipfile

import numpy as np
import pydicom
import pytest
from pydicom.dataelem import RawDataElement
from pydicom.tag import Tag

from lungseg3d.core import Volume
from lungseg3d.io import ReadOptions, inspect, open_ct, read_volume


def resampled(volume: Volume, step: int) -> Volume:
    """Every `step`-th slice: the same CT with thicker slices."""
    affine = volume.affine.copy()
    affine[:3, 2] *= step
    return Volume(np.ascontiguousarray(volume.array[:, :, ::step]), affine)


@pytest.mark.parametrize("thin_first", [True, False])
def test_the_thinner_of_two_series_is_read_and_the_other_named(
    make_series, tmp_path, ct, thin_first, codes_of, refusal
):
    thin = make_series(number=1 if thin_first else 2)
    thick = make_series(resampled(ct, 2), number=2 if thin_first else 1)
    folder = tmp_path / "s"
    thin.write(folder / ("a" if thin_first else "b"))
    thick.write(folder / ("b" if thin_first else "a"))
    reading = open_ct(folder)
    assert codes_of(reading) == {"W_MULTI_SERIES"}
    assert thick.slices[0].SeriesInstanceUID in reading.issues[0].message
    assert np.array_equal(reading.volume.array, thin.lps_array)
    other = open_ct(folder, ReadOptions(series=thick.slices[0].SeriesInstanceUID))
    assert other.volume.spacing_mm[2] == pytest.approx(5)
    assert refusal(folder, ReadOptions(series="1.2.3")).code == "E_SERIES_NOT_FOUND"


def test_of_two_kernels_the_softer_is_read(make_series, tmp_path):
    sharp, soft = make_series(number=1, kernel="B70f"), make_series(number=2, kernel="B30f")
    sharp.write(tmp_path / "s" / "a")
    soft.write(tmp_path / "s" / "b")
    assert open_ct(tmp_path / "s").source["kernel"] == "B30f"


def test_a_few_thin_slices_do_not_win_over_the_whole_chest(make_series, tmp_path, ct):
    affine = ct.affine.copy()
    affine[:3, 2] *= 0.25
    make_series(Volume(ct.array[:, :, :6], affine), number=2).write(tmp_path / "s" / "a")
    make_series().write(tmp_path / "s" / "b")
    assert read_volume(tmp_path / "s").shape[2] == 40


def test_a_series_with_a_gap_does_not_win_over_a_whole_one(make_series, tmp_path, ct):
    thin = make_series()
    del thin.slices[20]
    thin.write(tmp_path / "s" / "a")
    make_series(resampled(ct, 2), number=2).write(tmp_path / "s" / "b")
    found = inspect(tmp_path / "s")
    assert found.status == "warn"
    assert {info.problem[:16] for info in found.series} == {"", "E_MISSING_SLICES"}


def test_two_studies_in_a_folder_are_refused_unless_one_series_is_asked_for(make_series, tmp_path, refusal):
    first, second = make_series(), make_series(seed="another")
    first.write(tmp_path / "s" / "a")
    second.write(tmp_path / "s" / "b")
    error = refusal(tmp_path / "s")
    assert error.code == "E_MIXED_STUDIES"
    assert "series=" in error.remedy
    wanted = ReadOptions(series=first.slices[0].SeriesInstanceUID)
    assert np.array_equal(read_volume(tmp_path / "s", wanted).array, first.lps_array)


@pytest.mark.parametrize("own_series", [True, False])
def test_a_scout_is_left_out(make_series, tmp_path, own_series, codes_of):
    series = make_series()
    scout = series.copy_of(0, ".9")
    scout.ImageType = ["ORIGINAL", "PRIMARY", "LOCALIZER"]
    scout.ImageOrientationPatient = [0, 1, 0, 0, 0, -1]
    scout.Rows, scout.Columns = 24, 20
    if own_series:
        scout.SeriesInstanceUID = "1.2.3.4"
    series.slices.append(scout)
    reading = open_ct(series.write(tmp_path / "s"))
    assert codes_of(reading) == {"W_LOCALIZER_DROPPED"}
    assert np.array_equal(reading.volume.array, series.lps_array)


def set_bytes(dataset: pydicom.Dataset, keyword: str, value: bytes) -> None:
    """A value just as a sloppy writer leaves it, past everything that pydicom puts right."""
    value += b" " * (len(value) % 2)
    tag = Tag(keyword)
    vr = pydicom.datadict.dictionary_VR(tag)
    dataset._dict[tag] = RawDataElement(tag, vr, len(value), value, 0, False, True)


@pytest.mark.parametrize("image_type", [b"ORIGINAL\\PRIMARY\\ LOCALIZER \\CT TOP", b"original\\primary\\localizer\0"])
def test_a_scout_is_known_by_its_image_type_whatever_surrounds_the_words(make_series, tmp_path, codes_of, image_type):
    series = make_series()
    scout = series.copy_of(0, ".9")
    set_bytes(scout, "ImageType", image_type)
    scout.ImageOrientationPatient = [0, 1, 0, 0, 0, -1]
    series.slices.append(scout)
    assert codes_of(open_ct(series.write(tmp_path / "s"))) == {"W_LOCALIZER_DROPPED"}


def test_derived_images_are_known_by_their_image_type_whatever_surrounds_the_words(
    make_series, tmp_path, codes_of, refusal
):
    series = make_series()
    for dataset in series.slices:
        set_bytes(dataset, "ImageType", b"  derived \0\\ SECONDARY")
    folder = series.write(tmp_path / "s")
    assert codes_of(open_ct(folder)) == {"W_DERIVED_IMAGE"}
    assert refusal(folder, ReadOptions(strict=True)).code == "E_DERIVED_IMAGE"


SLOPPY = {
    "Modality": b" ct",
    "PhotometricInterpretation": b" monochrome2\0",
    "RescaleType": b"  HU ",
    "RescaleSlope": b" 1\0",
    "RescaleIntercept": b"-1024 \0\0",
    "PatientPosition": b" hfs",
    "LossyImageCompression": b" 00",
    "SOPClassUID": b" 1.2.840.10008.5.1.4.1.1.2\0\0",
}


@pytest.mark.parametrize("keyword", SLOPPY)
def test_a_sloppy_value_is_read_as_what_it_says(make_series, tmp_path, keyword):
    series = make_series()
    for dataset in series.slices:
        set_bytes(dataset, keyword, SLOPPY[keyword])
    reading = open_ct(series.write(tmp_path / "s"))
    assert reading.issues == ()
    assert np.array_equal(reading.volume.array, series.lps_array)


def test_uids_that_differ_by_spaces_name_one_series_and_one_study(make_series, tmp_path):
    series = make_series()
    for keyword, pads in (("SeriesInstanceUID", b" \0"), ("StudyInstanceUID", b"\0 "), ("PatientID", b"  ")):
        for k, dataset in enumerate(series.slices):
            value = str(dataset.get(keyword) or "X").encode()
            set_bytes(dataset, keyword, (pads[:1] * (k % 2)) + value + pads[1:] * (k % 3))
    reading = open_ct(series.write(tmp_path / "s"))
    assert reading.issues == ()
    assert reading.source["slices"] == 40


@pytest.mark.filterwarnings("ignore:Invalid value for VR:UserWarning")  # pydicom says so as it is written
def test_a_transfer_syntax_with_spaces_is_the_one_it_names(make_series, tmp_path):
    series = make_series()
    for dataset in series.slices:
        set_bytes(dataset.file_meta, "TransferSyntaxUID", b" 1.2.840.10008.1.2.1 ")
    folder = tmp_path / "s"
    folder.mkdir()
    for n, dataset in enumerate(series.slices):
        pydicom.dcmwrite(folder / f"{n}.dcm", dataset, implicit_vr=False, little_endian=True)
    reading = open_ct(folder)
    assert reading.source["transfer_syntaxes"] == ["1.2.840.10008.1.2.1"]


def test_junk_and_other_objects_beside_the_slices_are_ignored_and_counted(make_series, tmp_path):
    series = make_series()
    folder = series.write(tmp_path / "s")
    (folder / "notes.txt").write_text("hello")
    (folder / "Thumbs.db").write_bytes(b"\0" * 300)
    (folder / ".DS_Store").write_bytes(b"")
    (folder / "empty.txt").write_bytes(b"")
    other = series.copy_of(0, ".9")
    other.SOPClassUID, other.Modality, other.SeriesInstanceUID = "1.2.840.10008.5.1.4.1.1.481.3", "RTSTRUCT", "1.2.9"
    other.save_as(folder / "rt.dcm")
    reading = open_ct(folder)
    assert reading.issues == ()
    assert reading.source["ignored_files"] == 4
    assert reading.source["other_objects"] == {"RTSTRUCT": 1}


def test_names_without_endings_in_sub_folders_with_odd_letters_are_read(make_series, tmp_path):
    series = make_series()
    for n, dataset in enumerate(series.slices):
        folder = tmp_path / "s" / ("päth one" if n % 2 else "new\nline")
        folder.mkdir(parents=True, exist_ok=True)
        dataset.save_as(folder / f"I{n}")
    assert np.array_equal(read_volume(tmp_path / "s").array, series.lps_array)


@pytest.mark.parametrize("junk", [{}, {"a.txt": b"x"}, {"a.dcm": b"<html>no</html>"}])
def test_a_folder_without_dicom_is_refused(tmp_path, junk, refusal):
    for name, data in junk.items():
        (tmp_path / name).write_bytes(data)
    assert refusal(tmp_path).code == "E_NO_DICOM"


def test_a_link_that_leads_out_of_the_folder_is_not_followed_and_named(make_series, tmp_path, codes_of):
    folder = make_series().write(tmp_path / "s")
    (folder / "039.dcm").rename(tmp_path / "away.dcm")
    (folder / "039.dcm").symlink_to(tmp_path / "away.dcm")
    reading = open_ct(folder)
    assert reading.volume.shape[2] == 39
    assert codes_of(reading) == {"W_LINK_NOT_FOLLOWED", "W_SHORT_COVERAGE"}
    assert "1 link leads outside" in reading.issues[0].message
    assert "follow_links=True" in reading.issues[0].remedy
    followed = open_ct(folder, ReadOptions(follow_links=True))
    assert followed.volume.shape[2] == 40
    assert followed.issues == ()


def test_no_patient_identifier_reaches_the_record(make_series, tmp_path):
    series = make_series()
    for dataset in series.slices:
        dataset.PatientName, dataset.PatientID, dataset.PatientBirthDate = "Doe^Jane", "ID-4711", "19500102"
    reading = open_ct(series.write(tmp_path / "s"))
    text = json.dumps(reading.source)
    assert not any(secret in text for secret in ("Doe", "4711", "1950", series.slices[0].SeriesInstanceUID))


def test_the_inspection_is_plain_json(make_series, tmp_path):
    series = make_series()
    del series.slices[9]
    found = inspect(series.write(tmp_path / "s")).to_json()
    assert json.loads(json.dumps(found)) == found
    assert found["status"] == "refused"
    assert found["issues"][0]["code"] == "E_MISSING_SLICES"
    assert found["issues"][0]["severity"] == "error"
    assert found["series"][0]["slices"] == 39
    assert found["chosen"] is None


@pytest.mark.filterwarnings("ignore:Invalid value for VR:UserWarning")  # pydicom says so as it is written
def test_a_dicomdir_is_never_followed_and_refused_where_it_leads_away(make_series, tmp_path, refusal):
    series = make_series()
    folder = series.write(tmp_path / "s")
    index = pydicom.Dataset()
    index.file_meta = pydicom.dataset.FileMetaDataset()
    index.file_meta.MediaStorageSOPClassUID = "1.2.840.10008.1.3.10"
    index.file_meta.MediaStorageSOPInstanceUID = "1.2.3"
    index.file_meta.TransferSyntaxUID = pydicom.uid.ExplicitVRLittleEndian
    record = pydicom.Dataset()
    index.DirectoryRecordSequence = [record]
    for name in ("DICOMDIR", "index.dcm"):
        record.ReferencedFileID = ["NOT", "THERE"]
        index.save_as(folder / name, enforce_file_format=True)
        reading = open_ct(folder)
        assert reading.issues == ()
        assert np.array_equal(reading.volume.array, series.lps_array)
        for reference in (["..", "AWAY", "SECRET"], ["", "ETC", "PASSWD"]):
            record.ReferencedFileID = reference
            index.save_as(folder / name, enforce_file_format=True)
            assert refusal(folder).code == "E_UNSAFE_ARCHIVE"
        (folder / name).unlink()


def test_mutated_files_end_in_a_refusal_and_never_in_another_error(make_series, tmp_path, ct):
    series = make_series(Volume(ct.array[:, :, :4], ct.affine))
    series.slices[1].compress(pydicom.uid.RLELossless)
    series.slices[2].file_meta.TransferSyntaxUID = pydicom.uid.DeflatedExplicitVRLittleEndian
    paths = sorted(series.write(tmp_path / "s").iterdir())
    rng = np.random.default_rng(3)
    statuses = []
    for turn in range(80):
        path = paths[turn % 4]
        clean = path.read_bytes()
        data = bytearray(clean)
        for at in rng.integers(0, len(data), 4):
            data[at] = rng.integers(256)
        path.write_bytes(data[: rng.integers(len(data))] if turn % 3 == 0 else data)
        statuses.append(inspect(tmp_path / "s").status)
        path.write_bytes(clean)
    assert "refused" in statuses
    assert inspect(tmp_path / "s").status == "warn"


def enhanced(series, order) -> pydicom.Dataset:
    """The slices as one enhanced multi-frame CT, frames in the given order."""
    d = series.copy_of(0)
    d.SOPClassUID = d.file_meta.MediaStorageSOPClassUID = "1.2.840.10008.5.1.4.1.1.2.1"
    shared = pydicom.Dataset()
    for group, tags in {
        "PlaneOrientationSequence": ["ImageOrientationPatient"],
        "PixelMeasuresSequence": ["PixelSpacing", "SliceThickness"],
        "PixelValueTransformationSequence": ["RescaleSlope", "RescaleIntercept", "RescaleType"],
    }.items():
        item = pydicom.Dataset()
        for tag in tags:
            setattr(item, tag, getattr(d, tag))
            delattr(d, tag)
        setattr(shared, group, [item])
    del d.ImagePositionPatient
    frames = []
    for k in order:
        item, frame = pydicom.Dataset(), pydicom.Dataset()
        item.ImagePositionPatient = series.slices[k].ImagePositionPatient
        frame.PlanePositionSequence = [item]
        frames.append(frame)
    d.SharedFunctionalGroupsSequence, d.PerFrameFunctionalGroupsSequence = [shared], frames
    d.NumberOfFrames = len(frames)
    d.PixelData = b"".join(series.slices[k].PixelData for k in order)
    return d


@pytest.mark.parametrize("shuffled", [False, True])
@pytest.mark.parametrize("rle", [False, True])
def test_an_enhanced_ct_is_read_by_the_place_of_each_frame(make_series, tmp_path, shuffled, rle, in_world):
    series = make_series()
    order = np.random.default_rng(1).permutation(40) if shuffled else np.arange(40)
    dataset = enhanced(series, order.tolist())
    if rle:
        dataset.compress(pydicom.uid.RLELossless)
    path = tmp_path / "enhanced.dcm"
    dataset.save_as(path)
    reading = open_ct(path)
    assert reading.issues == ()
    assert in_world(reading.volume) == in_world(series.volume)


def test_a_zip_of_a_series_is_read(make_series, tmp_path):
    series = make_series()
    folder = series.write(tmp_path / "s")
    with zipfile.ZipFile(tmp_path / "s.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        for path in folder.iterdir():
            archive.write(path, f"inside/{path.name}")
    assert np.array_equal(read_volume(tmp_path / "s.zip").array, series.lps_array)


def test_a_zip_that_leads_out_of_itself_or_is_a_bomb_is_refused(tmp_path, refusal):
    with zipfile.ZipFile(tmp_path / "out.zip", "w") as archive:
        archive.writestr("../../evil.dcm", "x")
    assert refusal(tmp_path / "out.zip").code == "E_UNSAFE_ARCHIVE"
    with zipfile.ZipFile(tmp_path / "bomb.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a.dcm", b"\0" * (100 * 2**20))
    assert refusal(tmp_path / "bomb.zip").code == "E_RESOURCE_LIMIT"


@pytest.mark.real
@pytest.mark.parametrize(
    ("folder", "shape", "codes"),
    [
        ("ct/4dlung-113/dicom", (512, 512, 99), set()),
        ("ct/lungdx-A0001/dicom", (512, 512, 64), {"W_MULTI_SERIES"}),
        ("cip-64/dicom", (64, 64, 79), set()),
        ("dicom_corner_cases/segmentation/ct-3slice", (512, 512, 3), {"W_SHORT_COVERAGE"}),
        (
            "dicom_corner_cases/conversion/gantrytilting",
            (512, 512, 4),
            {"W_UNUSUAL_HU", "W_GANTRY_TILT", "W_SHORT_COVERAGE", "W_NO_FRAME_OF_REFERENCE"},
        ),
    ],
)
def test_real_series_are_read(real_data, folder, shape, codes, codes_of):
    reading = open_ct(real_data / folder)
    assert reading.volume.shape == shape
    assert codes_of(reading) == codes


@pytest.mark.real
@pytest.mark.parametrize(
    ("folder", "code"),
    [
        ("conversion/notavolume", "E_DUPLICATE_CONFLICT"),
        ("conversion/sliceincrement/001", "E_MISSING_SLICES"),
        ("conversion/sliceincrement/002", "E_MISSING_SLICES"),
        ("segmentation", "E_MIXED_STUDIES"),
    ],
)
def test_real_series_that_are_no_volume_are_refused(real_data, folder, code, refusal):
    assert refusal(real_data / "dicom_corner_cases" / folder).code == code


@pytest.mark.real
def test_a_legacy_converted_ct_equals_its_single_slices(real_data):
    folder = real_data / "dicom_corner_cases" / "segmentation"
    single, multi = read_volume(folder / "image"), read_volume(folder / "multiframe" / "mf.dcm")
    assert single.grid.matches(multi.grid)
    assert np.array_equal(single.array, multi.array)
