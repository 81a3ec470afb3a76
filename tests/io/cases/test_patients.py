"""Two CTs of one patient are told by their headers, placeholders of anonymisers tell nothing, and nothing is shown."""

from __future__ import annotations

import numpy as np
import pydicom
import pytest

from lungseg3d.core import Volume
from lungseg3d.io import PatientHeader, read_patient, write_dicom_series, write_volume

HU = Volume(np.zeros((8, 8, 4), np.int16) + 40, np.diag([1.0, 1.0, 2.0, 1.0]))


def series(folder, **tags):
    write_dicom_series(folder, HU)
    for path in folder.rglob("*"):
        if path.is_file():
            dataset = pydicom.dcmread(path)
            for keyword, value in tags.items():
                setattr(dataset, keyword, value)
            dataset.save_as(path)
    return folder


@pytest.mark.parametrize(
    ("ours", "theirs", "same"),
    [
        ({"patient_id": "4711"}, {"patient_id": " 4711".strip()}, True),
        ({"patient_id": "4711"}, {"patient_id": "4712"}, False),
        ({"patient_id": "4711", "issuer": "A"}, {"patient_id": "4711", "issuer": "B"}, False),
        ({"patient_id": "4711", "issuer": "A"}, {"patient_id": "4711"}, True),
        ({"patient_id": "7", "birth_date": "19500101"}, {"patient_id": "7", "birth_date": "19600101"}, False),
        ({"patient_id": ""}, {"patient_id": ""}, False),
        ({"patient_id": "ANONYMOUS"}, {"patient_id": "anonymous"}, False),
        ({"patient_id": "0000"}, {"patient_id": "0000"}, False),
        ({"patient_id": "", "study_uid": "1.2"}, {"patient_id": "", "study_uid": "1.2"}, True),
    ],
)
def test_whether_two_headers_are_of_one_patient(ours, theirs, same):
    assert PatientHeader(**ours).is_same(PatientHeader(**theirs)) is same


def test_a_series_says_whose_it_is_and_its_header_shows_nothing(tmp_path):
    one = read_patient(series(tmp_path / "a", PatientID="4711", StudyInstanceUID="1.2.3"))
    other = read_patient(series(tmp_path / "b", PatientID="4711", StudyInstanceUID="1.2.4"))
    assert one.is_known
    assert one.is_same(other)
    assert "4711" not in f"{one!r} {one}"


def test_what_is_no_dicom_says_nothing(tmp_path):
    write_volume(tmp_path / "a.nii.gz", HU)
    (tmp_path / "empty").mkdir()
    assert [read_patient(tmp_path / name) for name in ("a.nii.gz", "empty", "absent")] == [None] * 3
