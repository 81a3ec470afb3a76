"""Person and dates of two CTs, by their headers: spelling counts for nothing, and no value comes out."""

from __future__ import annotations

import zipfile
from dataclasses import asdict

import pydicom
import pytest
from pydicom.dataset import Dataset

from lungseg3d.io import compare_persons, time_between, time_point_header, write_dicom_series
from lungseg3d.io.dicom_headers.dates import date_of, mend_dates
from tests.support.follow_up_cases import chest_with


def header(**values) -> Dataset:
    made = Dataset()
    with pydicom.config.disable_value_validation():
        for keyword, value in values.items():
            setattr(made, keyword, value)
    return made


@pytest.mark.parametrize(
    "text",
    [
        "20230501",
        "2023.05.01",
        "2023-05-01",
        "2023/5/1",
        "2023 05 01",
        " 20230501\0",
        "2023. 05. 01",
        "20230501123000.000000+0100",
        "202305011230",
        "20230501+0100",
        "2023-05-01T12:30:00Z",
        "2023.05.01 12:30",
        "20230501\\20240601",
    ],
)
def test_one_day_in_many_spellings(text):
    assert str(date_of(text)) == "2023-05-01"


@pytest.mark.parametrize("text", ["", "0", "20231301", "20230230", "2023", "01/05/2023", "20230501-20230601", "today"])
def test_what_is_no_day_or_may_be_two_is_no_date(text):
    assert date_of(text) is None


def test_dates_of_a_header_get_the_standards_spelling_and_what_is_no_day_stays():
    made = header(StudyDate="2023.05.01", SeriesDate="2023-05-01", PatientBirthDate="20AB0101", AcquisitionDate="")
    mend_dates(made)
    assert (made.StudyDate, made.SeriesDate) == ("20230501", "20230501")
    assert (made.PatientBirthDate, made.AcquisitionDate) == ("20AB0101", "")


@pytest.mark.parametrize(
    ("first", "second", "verdict"),
    [
        ("PX-0071", "px-71", "same"),
        ("12345 ", "0012345", "same"),
        ("AB 12", "ab12", "same"),
        ("\uff11\uff12\uff13", "123", "same"),  # full width digits
        ("PX-71", "PX-72", "different"),
        ("1-11", "11-1", "different"),
        ("10", "1", "different"),
        ("PX-71", "", "not compared"),
        ("PX-71", "ANONYMOUS", "not compared"),
        ("Anonymized", "anon", "not compared"),
        ("000", "PX-71", "not compared"),
    ],
)
def test_patient_ids_are_compared_without_their_spelling(first, second, verdict):
    assert compare_persons(header(PatientID=first), header(PatientID=second)).patient_id == verdict
    assert compare_persons(header(PatientID=second), header(PatientID=first)).patient_id == verdict


def test_numbers_of_two_hospitals_are_not_compared():
    first, second = (header(PatientID=n, IssuerOfPatientID=i) for n, i in (("71", "North"), ("99", "South")))
    assert compare_persons(first, second).patient_id == "not compared"


@pytest.mark.parametrize(
    ("first", "second", "verdict"),
    [
        ("M", "m ", "same"),
        ("Female", "F", "same"),
        ("M", "F", "different"),
        ("O", "F", "not compared"),
        ("", "M", "not compared"),
    ],
)
def test_sexes(first, second, verdict):
    assert compare_persons(header(PatientSex=first), header(PatientSex=second)).sex == verdict


@pytest.mark.parametrize(
    ("first", "second", "verdict"),
    [
        ("19540317", "1954.03.17", "same"),
        ("19540317", "1954-03-17", "same"),
        ("19540317", "19540101", "same"),  # the day is not known
        ("19540317", "19540318", "different"),
        ("19540317", "19550101", "different"),
        ("19540317", "19000101", "not compared"),
        ("19540317", "", "not compared"),
        ("19540317", "19541317", "not compared"),
    ],
)
def test_birth_dates(first, second, verdict):
    assert compare_persons(header(PatientBirthDate=first), header(PatientBirthDate=second)).birth_date == verdict


def test_the_comparison_names_what_differs_and_holds_no_value():
    first = header(PatientID="PID-7730911", PatientSex="M", PatientBirthDate="19540317")
    second = header(PatientID="QX-5512", PatientSex="F", PatientBirthDate="19610924")
    found = compare_persons(first, second)
    assert found.differing == ["PatientID", "sex", "birth date"]
    assert set(asdict(found).values()) == {"different"}
    assert compare_persons(first, None).differing == []
    assert set(asdict(compare_persons(None, None)).values()) == {"not compared"}


@pytest.mark.parametrize(
    ("first", "second", "days"),
    [
        ({"StudyDate": "2024.01.01"}, {"StudyDate": "20241231"}, 365),
        ({"StudyDate": "20240101"}, {"StudyDate": "20230101"}, -365),
        ({"AcquisitionDate": "20240101"}, {"SeriesDate": "2024-01-31"}, 30),
        ({"AcquisitionDateTime": "20240101235959.99+0100"}, {"AcquisitionDate": "20240102"}, 1),
        ({"StudyDate": "20249999", "SeriesDate": "20240101"}, {"StudyDate": "20240111"}, 10),
        ({"StudyDate": "19000101", "AcquisitionDate": "20240101"}, {"StudyDate": "20240111"}, 10),
    ],
)
def test_days_between_two_cts_by_whatever_date_both_have(first, second, days):
    found = time_between(header(**first), header(**second))
    assert (found.days, found.contradiction) == (days, "")


@pytest.mark.parametrize(
    ("first", "second", "words"),
    [
        (None, {"StudyDate": "20240101"}, "not both CTs are DICOM"),
        ({"StudyDate": ""}, {"StudyDate": "20240101"}, "the prior CT has no date"),
        ({"StudyDate": "20240101"}, {"StudyDate": "20240230"}, "what the current CT has for a date is none"),
        ({"StudyDate": "19000101"}, {"StudyDate": "20240230"}, "what the prior and the current CT has for a date"),
    ],
)
def test_an_unknown_time_is_explained_without_the_value(first, second, words):
    found = time_between(*(None if values is None else header(**values) for values in (first, second)))
    assert found.days is None
    assert words in found.why_unknown
    assert not any(digit in found.why_unknown for digit in "0123456789")


def test_dates_that_disagree_among_themselves_are_said_in_days():
    first = header(AcquisitionDate="20010101", StudyDate="20240101")
    found = time_between(first, header(AcquisitionDate="20010131", StudyDate="20240701"))
    assert found.days == 30
    said = "the DICOM dates disagree: 30 days by the acquisition dates, 182 days by the study dates."
    assert found.contradiction == said


def test_headers_are_read_from_a_folder_a_zip_and_a_seg_and_what_is_no_dicom_has_none(tmp_path):
    write_dicom_series(tmp_path / "ct", chest_with([])[0])
    file = min((tmp_path / "ct").iterdir())
    with zipfile.ZipFile(tmp_path / "ct.zip", "w") as archive:
        archive.write(file, "in/slice.dcm")
    (tmp_path / "text.nii.gz").write_bytes(b"no DICOM")
    plain = time_point_header((file,))
    assert plain.PatientID
    assert time_point_header((tmp_path / "ct.zip" / "in" / "slice.dcm",)) == plain
    assert time_point_header((tmp_path / "text.nii.gz",), seg=file).PatientID == plain.PatientID
    assert "AcquisitionDate" not in time_point_header((), seg=file)  # a SEG has dates of its own
    assert time_point_header((tmp_path / "text.nii.gz",)) is None
    assert time_point_header((), seg=tmp_path / "absent.dcm") is None
