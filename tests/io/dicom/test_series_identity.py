"""Whose and which a series is, as its headers say it.

What is odd is named when the CT is read, with its consequence; the DICOM objects that are made all the same are valid,
and bear nothing that was emptied or cut in silence.
"""

from __future__ import annotations

import datetime
import shutil
import subprocess
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom.datadict import dictionary_VR
from pydicom.dataelem import RawDataElement
from pydicom.tag import Tag

from lungseg3d.analysis import measure_lungs
from lungseg3d.core import IntakeError, Volume
from lungseg3d.io import (
    Algorithm,
    Masks,
    Measured,
    ReadOptions,
    find_source_series,
    list_segments,
    make_dicom_seg,
    make_dicom_sr,
    open_ct,
    write_dicom_series,
)
from tests.corpus.phantom import chest

SLICES = 8
UID = "1.2.826.0.1.3680043.8.498.{}"


@pytest.fixture(scope="module")
def clean(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("clean") / "ct"
    write_dicom_series(folder, chest((24, 20, SLICES)))
    return folder


@pytest.fixture
def spoil(clean, tmp_path) -> Callable[..., Path]:
    """`spoil(values, only)`: a copy of the series whose headers hold these bytes; None takes an attribute away."""

    def make(values: Mapping[str, bytes | None], only: range = range(SLICES)) -> Path:
        folder = tmp_path / "ct"
        if not folder.exists():
            shutil.copytree(clean, folder)
        for k, path in enumerate(sorted(folder.iterdir())):
            if k not in only:
                continue
            dataset, letters = pydicom.dcmread(path), {}
            for keyword, value in values.items():
                tag = Tag(keyword)
                if value is None:
                    dataset.pop(tag, None)
                    continue
                value = value.replace(b"{k}", str(k + 1).encode())
                vr = dictionary_VR(tag)
                padded = value + (b"" if len(value) % 2 == 0 else b"\0" if vr == "UI" else b" ")
                # pydicom would encode letters anew: they are put in their place in the file.
                stand_in = padded if padded.isascii() else b"Q" * len(padded)
                letters[stand_in] = padded
                dataset[tag] = RawDataElement(tag, vr, len(padded), stand_in, 0, False, True)
            dataset.save_as(path)
            for stand_in, padded in letters.items():
                if stand_in != padded:
                    path.write_bytes(path.read_bytes().replace(stand_in, padded, 1))
        return folder

    return make


def codes_of(folder: Path) -> set[str]:
    """Codes of the reading, without those of the small phantom itself."""
    return {issue.code for issue in open_ct(folder).issues} - {"W_SHORT_COVERAGE"}


def masks_of(ct: Volume, dates: str = "source") -> Masks:
    labels, nodules = np.zeros(ct.shape, np.uint8), np.zeros(ct.shape, np.uint16)
    labels[4:11, 5:15, 1:7] = 1
    nodules[6:9, 7:10, 2:4], labels[6:9, 7:10, 2:4] = 1, 3
    algorithm = Algorithm("a network", "1", {})
    return Masks(ct.with_array(labels), ct.with_array(nodules), algorithm, algorithm, "9.9", {1: "right"}, dates)


def objects_of(folder: Path, out: Path, dates: str = "source") -> list[pydicom.Dataset]:
    """SEG and SR as they are read back from their files; dciodvfy, where it is there, finds no error in them."""
    series = find_source_series(folder)
    masks = masks_of(open_ct(folder).volume, dates)
    seg = make_dicom_seg(masks, series)
    sr = make_dicom_sr(Measured(measure_lungs(masks.labels), (), list_segments(masks, series), masks, seg), series)
    made = []
    for name, dataset in (("seg.dcm", seg), ("sr.dcm", sr)):
        dataset.save_as(out / name, enforce_file_format=True)
        if shutil.which("dciodvfy"):
            said = subprocess.run(["dciodvfy", "-new", out / name], capture_output=True, text=True, check=False)
            assert [line for line in (said.stdout + said.stderr).splitlines() if line.startswith("Error")] == []
        made.append(pydicom.dcmread(out / name))
    return made


def test_a_clean_series_says_nothing(spoil):
    folder = spoil({})
    assert codes_of(folder) == set()
    assert find_source_series(folder).issues == ()


SOME, OTHERS = range(3), range(3, SLICES)
FRAMES = {
    "absent in some": ({"FrameOfReferenceUID": None}, SOME, "W_MIXED_FRAMES_OF_REFERENCE", "in 3 of 8 slices"),
    "empty in some": ({"FrameOfReferenceUID": b""}, SOME, "W_MIXED_FRAMES_OF_REFERENCE", "in 3 of 8 slices"),
    "no UID in some": ({"FrameOfReferenceUID": b"frame"}, SOME, "W_MIXED_FRAMES_OF_REFERENCE", "in 3 of 8 slices"),
    "another in some": (
        {"FrameOfReferenceUID": UID.format("77").encode()},
        SOME,
        "W_MIXED_FRAMES_OF_REFERENCE",
        "2 frames of reference (5, 3 slices)",
    ),
    "absent in all": ({"FrameOfReferenceUID": None}, range(SLICES), "W_NO_FRAME_OF_REFERENCE", "no frame"),
    "no UID in all": ({"FrameOfReferenceUID": b"1.02.3"}, range(SLICES), "W_NO_FRAME_OF_REFERENCE", "no valid frame"),
}


@pytest.mark.filterwarnings("ignore:Invalid value for VR:UserWarning")  # pydicom says so as it is read here
@pytest.mark.parametrize("name", FRAMES)
def test_frames_of_reference_that_are_mixed_or_missing_give_a_warning_and_a_seg_in_one_frame(spoil, tmp_path, name):
    values, only, code, text = FRAMES[name]
    folder = spoil(values, only)
    (issue,) = [issue for issue in open_ct(folder).issues if issue.code != "W_SHORT_COVERAGE"]
    assert issue.code == code
    assert text in issue.message
    assert "SEG and SR bear" in issue.message
    assert [issue.code for issue in find_source_series(folder).issues] == [code]
    seg, _ = objects_of(folder, tmp_path)
    stated = pydicom.dcmread(sorted(folder.iterdir())[-1]).get("FrameOfReferenceUID")
    if "some" in name and name != "another in some":
        assert seg.FrameOfReferenceUID == stated
    else:
        assert seg.FrameOfReferenceUID
        assert seg.FrameOfReferenceUID not in (stated, UID.format("77"))


FORBIDDEN = {
    "one for all": ({"SOPInstanceUID": UID.format("5").encode()}, range(SLICES), "W_REPEATED_INSTANCE_UID", "8 of 8"),
    "one for two": ({"SOPInstanceUID": UID.format("5").encode()}, range(2), "W_REPEATED_INSTANCE_UID", "2 of 8 slices"),
    "too long": ({"SOPInstanceUID": b"1.2." + b"9" * 70 + b".{k}"}, range(SLICES), "W_INVALID_UID", "76 characters"),
    "letters": ({"SOPInstanceUID": b"1.2.slice.{k}"}, SOME, "W_INVALID_UID", "SOPInstanceUID of 3 of 8 files"),
    "leading zero": ({"SOPInstanceUID": b"1.2.03.{k}"}, range(SLICES), "W_INVALID_UID", "leading zero"),
    "no instance": ({"SOPInstanceUID": b""}, range(SLICES), "W_INVALID_UID", "absent or empty"),
    "no study": ({"StudyInstanceUID": None}, range(SLICES), "W_INVALID_UID", "StudyInstanceUID of 8 of 8 files"),
    "a study of letters": ({"StudyInstanceUID": b"study-1"}, range(SLICES), "W_INVALID_UID", "other than digits"),
    "a series too long": ({"SeriesInstanceUID": b"1." + b"8" * 64}, range(SLICES), "W_INVALID_UID", "66 characters"),
    "two values": ({"StudyInstanceUID": b"1.2\\1.3"}, range(SLICES), "W_INVALID_UID", "StudyInstanceUID"),
}


@pytest.mark.parametrize("name", FORBIDDEN)
def test_uids_that_no_object_can_refer_to_are_named_at_reading_and_refused_before_objects_are_made(spoil, name):
    values, only, code, text = FORBIDDEN[name]
    folder = spoil(values, only)
    found = [issue for issue in open_ct(folder).issues if issue.code == code]
    assert any(text in issue.message and "cannot be made" in issue.message for issue in found)
    assert all("without seg and sr" in issue.remedy for issue in found)
    with pytest.raises(IntakeError, match=r"E_NO_DICOM_OBJECTS|E_MISSING_TAG") as refused:
        find_source_series(folder)
    assert "without seg and sr" in refused.value.remedy


@pytest.mark.parametrize("padding", [b"\0", b"\0\0\0", b" "])
def test_padding_behind_a_uid_is_no_part_of_it(spoil, tmp_path, padding):
    uid = UID.format("321").encode()
    folder = spoil({"StudyInstanceUID": uid + padding, "SOPInstanceUID": uid + b".{k}" + padding})
    assert codes_of(folder) == set()
    seg, sr = objects_of(folder, tmp_path)
    assert seg.StudyInstanceUID == sr.StudyInstanceUID == uid.decode()


@pytest.mark.parametrize("number", [b"A12", b"3.5", b"99999999999", b"4\\5"])
def test_numbers_that_are_none_spoil_no_object(spoil, tmp_path, number):
    folder = spoil({"SeriesNumber": number, "InstanceNumber": number})
    found = [issue.message for issue in open_ct(folder).issues if issue.code == "W_INVALID_NUMBER"]
    assert [message.split()[0] for message in found] == ["SeriesNumber", "InstanceNumber"]
    seg, sr = objects_of(folder, tmp_path)
    assert (seg.SeriesNumber, sr.SeriesNumber) == (1, 2)


LONG = {
    "AccessionNumber": (b"ACC-2025-000123-4567", "ACC-2025-000123~", "has 20 characters, DICOM allows 16"),
    "StudyID": (b"STUDY-2025-0001-0000-ABC", "STUDY-2025-0001~", "has 24 characters, DICOM allows 16"),
    "PatientName": (b"A" * 80 + b"^B", "A" * 63 + "~", "has 82 characters, DICOM allows 64"),
}


@pytest.mark.parametrize("keyword", LONG)
def test_identifiers_that_are_too_long_are_cut_with_a_mark_and_a_warning_and_never_emptied(spoil, tmp_path, keyword):
    value, expected, problem = LONG[keyword]
    folder = spoil({keyword: value})
    (issue,) = [issue for issue in open_ct(folder).issues if issue.code == "W_INVALID_IDENTIFIER"]
    assert issue.message.startswith(f"{keyword} {problem}")
    assert value.decode()[:8] not in issue.message
    assert [str(made[keyword].value) for made in objects_of(folder, tmp_path)] == [expected] * 2


def test_a_value_as_long_as_dicom_allows_stays_as_it_is(spoil, tmp_path):
    given = {"PatientID": b"7" * 64, "AccessionNumber": b"8" * 16, "StudyID": b"9" * 16, "PatientName": b"N" * 64}
    folder = spoil(given)
    assert codes_of(folder) == set()
    for made in objects_of(folder, tmp_path):
        assert (made.PatientID, made.AccessionNumber, made.StudyID) == ("7" * 64, "8" * 16, "9" * 16)
        assert str(made.PatientName) == "N" * 64


def test_each_of_the_three_parts_of_a_name_has_64_characters_of_its_own(spoil):
    fits, parts = b"N" * 64 + b"=I=P", b"N=I=P=more"
    assert codes_of(spoil({"PatientName": fits})) == set()
    folder = spoil({"PatientName": parts})
    assert "4 parts of a name" in open_ct(folder).issues[-1].message
    assert str(find_source_series(folder).headers[0].PatientName) == "N=I=P~"


@pytest.mark.parametrize(
    "value",
    [b"PID-" + b"7" * 66, b"ONE\\TWO", b"AB\x07C", "Ä-12".encode("latin-1")],
    ids=["long", "two", "bell", "set"],
)
def test_a_patient_id_is_never_altered_so_that_no_object_goes_to_another_patient(spoil, value):
    folder = spoil({"PatientID": value})
    (issue,) = [issue for issue in open_ct(folder).issues if issue.code == "W_INVALID_IDENTIFIER"]
    assert issue.message.startswith("PatientID ")
    assert "another patient" in issue.message
    with pytest.raises(IntakeError, match="E_NO_DICOM_OBJECTS: PatientID"):
        find_source_series(folder)


def test_several_values_where_one_is_allowed_stay_readable(spoil, tmp_path):
    folder = spoil({"AccessionNumber": b"A-1\\A-2"})
    assert codes_of(folder) == {"W_INVALID_IDENTIFIER"}
    assert [made.AccessionNumber for made in objects_of(folder, tmp_path)] == ["A-1/A-2"] * 2


@pytest.mark.parametrize("encoding", ["latin-1", "utf-8"])
def test_letters_that_no_character_set_declares_are_read_and_named(spoil, tmp_path, encoding):
    folder = spoil({"SpecificCharacterSet": None, "PatientName": "Müller^Åsa".encode(encoding)})
    (issue,) = [issue for issue in open_ct(folder).issues if issue.code == "W_INVALID_IDENTIFIER"]
    assert "SpecificCharacterSet does not declare" in issue.message
    assert [str(made.PatientName) for made in objects_of(folder, tmp_path)] == ["Müller^Åsa"] * 2


def test_other_texts_that_are_too_long_are_cut_and_named_together_and_what_cannot_be_is_left_out_by_name(
    spoil, tmp_path
):
    folder = spoil(
        {"StudyDescription": b"x" * 100, "PatientAge": b"0Y", "PatientSex": b"X", "ReferringPhysicianName": b"R" * 70}
    )
    assert codes_of(folder) == set()
    issues = {issue.code: issue.message for issue in find_source_series(folder).issues}
    assert set(issues) == {"W_INVALID_TEXT", "W_INVALID_VALUE"}
    assert issues["W_INVALID_TEXT"].startswith("ReferringPhysicianName, StudyDescription of the header")
    assert issues["W_INVALID_VALUE"].startswith("PatientAge, PatientSex of the header")
    for made in objects_of(folder, tmp_path):
        assert made.StudyDescription == "x" * 63 + "~"
        assert str(made.ReferringPhysicianName) == "R" * 63 + "~"


def test_objects_bear_the_dates_of_the_ct_or_those_of_their_creation(spoil, tmp_path, monkeypatch):
    monkeypatch.delenv("SOURCE_DATE_EPOCH", raising=False)
    folder = spoil({"ContentDate": b"20010203", "ContentTime": b"040506"})
    of_source, again = (objects_of(folder, tmp_path) for _ in range(2))
    before = datetime.datetime.now()
    created, later = (objects_of(folder, tmp_path, "now") for _ in range(2))
    for made in of_source:
        assert (made.ContentDate, made.ContentTime) == ("20010203", "040506")
    for made in created:
        for kind in ("Content", "InstanceCreation", "Series"):
            moment = datetime.datetime.strptime(
                made[f"{kind}Date"].value + made[f"{kind}Time"].value, "%Y%m%d%H%M%S.%f"
            )
            assert before <= moment <= datetime.datetime.now()
        assert made.StudyDate == of_source[0].StudyDate
    # One UID is one object for ever: what is made at another time is another one.
    assert [made.SOPInstanceUID for made in of_source] == [made.SOPInstanceUID for made in again]
    uids = [made.SOPInstanceUID for made in (*of_source, *created, *later)]
    assert len(set(uids)) == len(uids)
    assert created[0].SegmentSequence[0].TrackingUID == of_source[0].SegmentSequence[0].TrackingUID


def test_identifiers_that_cannot_be_parsed_cost_the_objects_and_not_the_ct(clean):
    """As the fuzzer found: deflated slices whose meta information gives its length in two bytes instead of four."""
    for path in sorted(clean.iterdir()):
        header = pydicom.dcmread(path)
        header.file_meta.TransferSyntaxUID = pydicom.uid.DeflatedExplicitVRLittleEndian
        header.save_as(path)
        data = path.read_bytes()
        assert data[132:140] == b"\x02\x00\x00\x00UL\x04\x00"
        path.write_bytes(data[:138] + b"\x02\x00" + data[140:142] + data[144:])
    reading = open_ct(clean, ReadOptions(decode="in-process"))
    assert reading.volume.array.shape == (24, 20, SLICES)
    (said,) = [issue.message for issue in reading.issues if issue.code == "W_INVALID_VALUE"]
    assert "BytesLengthException" in said
    assert "no SEG or SR" in said
