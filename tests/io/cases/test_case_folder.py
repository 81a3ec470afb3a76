"""The folder of one segmented case: names of its files, and the one parser of its record."""

from __future__ import annotations

import json

import pytest

from lungseg3d.core import CaseResult, IntakeError, Lung, QualityIssue
from lungseg3d.io import CaseFolder
from lungseg3d.report import result_json
from lungseg3d.workflows.segment.stopped import write_stopped

RESULT = CaseResult("p1", "done", lungs=(Lung("right_lung", 2000.5),), files=("labels.nii.gz",))


def test_what_is_written_is_read_as_it_was(tmp_path):
    folder = CaseFolder(tmp_path / "p1")
    folder.path.mkdir()
    assert not folder.has_record
    (folder.path / "result.json").write_text(result_json(RESULT), encoding="utf-8")
    assert folder.has_record
    assert folder.record() == RESULT
    assert folder.content()["schema_version"] == 2


def test_a_record_of_the_first_schema_and_keys_of_a_later_one_are_read(tmp_path):
    old = {"schema_version": 1, "case_id": "p1", "status": "no_lungs", "key_of_a_later_version": [1]}
    (tmp_path / "result.json").write_text(json.dumps(old), encoding="utf-8")
    assert CaseFolder(tmp_path).record() == CaseResult("p1", "no_lungs")
    assert CaseFolder(tmp_path).content() == old


@pytest.mark.parametrize("text", [None, "{", "[]", "{}", '{"case_id": "p1"}', '{"nodules": 1}', b"\xff\xfe"])
def test_what_is_no_record_has_one_code_and_names_the_case_alone(tmp_path, text):
    folder = CaseFolder(tmp_path / "p1")
    folder.path.mkdir()
    if text is not None:
        (folder.path / "result.json").write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(IntakeError, match=r"^E_NOT_A_RESULT: p1: no readable result.json \(") as caught:
        folder.record()
    assert caught.value.__cause__ is not None


def test_a_case_that_stopped_has_a_record_and_a_page_under_their_names(tmp_path):
    issue = QualityIssue("E_CORRUPT", "p1: broken.", "Copy it again.")
    written = write_stopped("p1", "refused", issue, tmp_path / "p1")
    folder = CaseFolder(tmp_path / "p1")
    assert folder.record() == written
    assert folder.report.is_file()
    assert folder.absent(*written.files, *CaseFolder.MASKS) == ["labels.nii.gz", "nodules.nii.gz"]
