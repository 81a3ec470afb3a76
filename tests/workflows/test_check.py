"""`check`: one look says what is there and whether it can be used."""

import json

import numpy as np

from lungseg3d.core import Volume
from lungseg3d.io import write_dicom_series, write_volume
from lungseg3d.workflows.check import check


def chest() -> Volume:
    hu = np.full((16, 14, 12), -1000, np.int16)
    hu[2:14, 2:12] = 40
    hu[4:7, 4:10] = -850
    return Volume(hu, np.diag([2.0, 2.0, 10.0, 1.0]))


def test_a_usable_file_is_ok_and_says_what_it_is(tmp_path):
    write_volume(tmp_path / "ct.nii.gz", Volume(chest().array, np.eye(4)))
    found = check(tmp_path / "ct.nii.gz")
    assert (found.status, found.chosen, found.issues) == ("ok", "", ())
    assert found.source["format"] == "NIfTI"
    assert found.series[0].slices == 12


def test_a_flagged_series_is_warn_and_names_the_chosen_one(tmp_path):
    write_dicom_series(tmp_path / "s", chest())
    found = check(tmp_path / "s")
    assert found.status == "warn"
    assert found.chosen == found.series[0].uid
    assert found.series[0].orientation == "axial"
    assert [issue.code for issue in found.issues] == ["W_THICK_SLICES"]


def test_a_bad_input_is_refused_without_an_exception(tmp_path):
    (tmp_path / "a.nii").write_text("no image")
    found = check(tmp_path / "a.nii").to_json()
    assert found["status"] == "refused"
    assert found["issues"][-1]["code"] == "E_NOT_AN_IMAGE"
    assert found["issues"][-1]["remedy"]
    assert set(json.loads(json.dumps(found))) == {"series", "chosen", "reason", "status", "issues", "source"}
