"""`segment --format` and `export`: objects beside the results, the same ones either way; NIfTI needs its series."""

from __future__ import annotations

import datetime
import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pydicom
import pytest
from typer.testing import CliRunner

from lungseg3d.cli.program import app
from lungseg3d.core import IntakeError, OutputError, UsageError
from lungseg3d.io import CaseFolder, ReadOptions, find_source_series, read_labels, write_dicom_series, write_volume
from lungseg3d.workflows import export as export_module
from lungseg3d.workflows.export import export
from lungseg3d.workflows.segment import case as segment_case
from lungseg3d.workflows.segment import cases as segment
from lungseg3d.workflows.segment import formats as dicom_objects
from lungseg3d.workflows.segment.cases import SegmentOptions, segment_cases
from lungseg3d.workflows.segment.formats import formats_of
from tests.support.seg_reading import read_masks, read_measurements

SEG, SR = "segmentation.dcm", "measurements.dcm"


@pytest.fixture(scope="module")
def run(chest, bundles, tmp_path_factory):
    """A DICOM series, a NIfTI of it asked for DICOM objects, and the NIfTI alone."""
    folder = tmp_path_factory.mktemp("objects")
    write_dicom_series(folder / "chest-dicom", chest.ct)
    write_volume(folder / "chest-nifti.nii.gz", chest.ct)
    options = SegmentOptions(device="cpu", precision="fp32", lung_bundle=bundles.lungs, nodule_bundle=bundles.nodules)
    with_objects = replace(options, formats=("nifti", "seg", "sr"))
    results = segment_cases([folder / "chest-dicom", folder / "chest-nifti.nii.gz"], folder / "out", with_objects)
    results += segment_cases([folder / "chest-nifti.nii.gz"], folder / "plain", options)
    return folder, results


@pytest.fixture
def results(run, tmp_path) -> Path:
    """A copy of the results without objects."""
    folder = tmp_path / "chest-dicom"
    shutil.copytree(run[0] / "out" / "chest-dicom", folder)
    (folder / SEG).unlink()
    (folder / SR).unlink()
    return folder


def test_segment_writes_objects_that_hold_its_masks_and_numbers(run):
    folder, (result, *_) = run
    out = folder / "out" / "chest-dicom"
    assert {SEG, SR, "labels.nii.gz"} <= set(result.files) == {path.name for path in out.iterdir()}
    labels, nodules = read_labels(out / "labels.nii.gz"), read_labels(out / "nodules.nii.gz")
    masks = read_masks(out / SEG, labels.affine, labels.shape)
    groups = read_measurements(out / SR)
    assert set(groups) == set(masks)
    values = {"Right lung": (labels, 1), "Left lung": (labels, 2)}
    for uid, mask in masks.items():
        volume, value = values.get(groups[uid]["id"]) or (nodules, int(groups[uid]["id"].split()[-1]))
        assert np.array_equal(mask, volume.array == value)
    for nodule in result.nodules:
        (group,) = (group for group in groups.values() if group["id"] == f"Nodule {nodule.id}")
        assert group["118565006", ""][0] == pytest.approx(nodule.volume_mm3, abs=0.01)


def test_a_nifti_has_no_series_to_refer_to_and_is_refused_before_the_work(run):
    folder, (_, refused, plain) = run
    assert (refused.status, refused.issues[0].code) == ("refused", "E_NO_DICOM_SOURCE")
    assert "export" in refused.issues[0].remedy
    assert not (folder / "out" / "chest-nifti" / "labels.nii.gz").exists()
    assert plain.status == "done"


def test_export_writes_the_bytes_that_segment_would_have_written(run, results):
    written = export(results, run[0] / "chest-dicom")
    assert [path.name for path in written] == [SEG, SR]
    for path in written:
        assert path.read_bytes() == (run[0] / "out" / "chest-dicom" / path.name).read_bytes()


def test_export_lists_its_files_in_the_record_and_changes_nothing_else(run, results):
    record = json.loads((results / "result.json").read_text(encoding="utf-8"))
    record["files"] = [name for name in record["files"] if name not in (SEG, SR)]
    record["of_a_later_version"] = 1
    (results / "result.json").write_text(json.dumps(record), encoding="utf-8")
    export(results, run[0] / "chest-dicom", "seg")
    after = json.loads((results / "result.json").read_text(encoding="utf-8"))
    assert after == {**record, "files": [*record["files"], SEG]}
    assert not (results / SR).exists()


def test_the_results_of_a_nifti_go_onto_the_series_it_was_made_of(run, tmp_path):
    folder = tmp_path / "result"
    shutil.copytree(run[0] / "plain" / "chest-nifti", folder)
    export(folder, run[0] / "chest-dicom")
    of_dicom = read_measurements(run[0] / "out" / "chest-dicom" / SR)
    assert {g["id"] for g in read_measurements(folder / SR).values()} == {g["id"] for g in of_dicom.values()}


def test_objects_that_are_there_stay_unless_told(run):
    with pytest.raises(OutputError, match="E_OUTPUT_EXISTS"):
        export(run[0] / "out" / "chest-dicom", run[0] / "chest-dicom")
    export(run[0] / "out" / "chest-dicom", run[0] / "chest-dicom", overwrite=True)


def test_export_says_what_is_missing(run, results, tmp_path):
    with pytest.raises(IntakeError, match=r"E_NO_DICOM_SOURCE: [\s\S]*--source"):
        export(results, None)
    (tmp_path / "empty").mkdir()
    with pytest.raises(IntakeError, match=r"E_NOT_A_RESULT: empty: no readable result.json"):
        export(tmp_path / "empty", run[0] / "chest-dicom")
    with pytest.raises(IntakeError, match="E_NOT_A_RESULT: chest-nifti: the case was refused"):
        export(run[0] / "out" / "chest-nifti", run[0] / "chest-dicom")
    (results / "nodules.nii.gz").unlink()
    with pytest.raises(IntakeError, match=r"E_NOT_A_RESULT: .*nodules.nii.gz missing"):
        export(results, run[0] / "chest-dicom")


def test_formats_are_words_in_any_order_and_sr_brings_seg():
    assert formats_of("sr, NIFTI") == ("nifti", "seg", "sr")
    assert formats_of("seg") == ("seg",)
    for wrong in ("", "nifti,dicom"):
        with pytest.raises(UsageError, match=r"E_BAD_OPTION[\s\S]*nifti, seg, sr"):
            formats_of(wrong)


def test_the_command_line_exports_and_refuses_by_exit_code(run, results):
    runner = CliRunner()
    done = runner.invoke(app, ["export", str(results), "--source", str(run[0] / "chest-dicom"), "--format", "seg"])
    assert (done.exit_code, (results / SEG).is_file()) == (0, True)
    assert runner.invoke(app, ["export", str(results)]).exit_code == 3
    assert runner.invoke(app, ["export", str(results), "--format", "pdf"]).exit_code == 2


@pytest.fixture
def one_uid(run, tmp_path) -> Path:
    """The chest with one SOPInstanceUID for all slices, as anonymisers have written it."""
    folder = tmp_path / "anonymised"
    shutil.copytree(run[0] / "chest-dicom", folder)
    for path in folder.iterdir():
        dataset = pydicom.dcmread(path)
        dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = "1.2.3"
        dataset.save_as(path)
    return folder


@pytest.fixture
def options(bundles) -> SegmentOptions:
    return SegmentOptions(device="cpu", precision="fp32", lung_bundle=bundles.lungs, nodule_bundle=bundles.nodules)


def test_of_a_series_that_no_seg_can_refer_to_the_nifti_results_are_made_and_say_why_there_is_no_more(
    one_uid, options, tmp_path
):
    (result,) = segment_cases([one_uid], tmp_path / "out", replace(options, formats=("nifti", "seg", "sr")))
    assert result.status == "done"
    out = tmp_path / "out" / "anonymised"
    assert {path.name for path in out.iterdir()} == set(result.files) >= {"labels.nii.gz", "nodules.nii.gz"}
    assert not {SEG, SR} & set(result.files)
    codes = {issue.code: issue for issue in result.issues}
    assert "W_REPEATED_INSTANCE_UID" in codes
    assert "share 1 SOPInstanceUID" in codes["W_NO_DICOM_OBJECTS"].message
    assert "lungseg3d export" in codes["W_NO_DICOM_OBJECTS"].remedy
    with pytest.raises(IntakeError, match=r"E_NO_DICOM_OBJECTS: .*share 1 SOPInstanceUID"):
        export(out, one_uid)
    assert CliRunner().invoke(app, ["export", str(out), "--source", str(one_uid)]).exit_code == 3


def test_asked_for_seg_alone_such_a_series_is_refused_before_the_networks(one_uid, options, tmp_path, monkeypatch):
    monkeypatch.setattr(segment_case, "run_networks", lambda *_: pytest.fail("the networks ran"))
    (result,) = segment_cases(one_uid, tmp_path / "out", replace(options, formats=("seg",)))
    assert (result.status, [issue.code for issue in result.issues]) == ("refused", ["E_NO_DICOM_OBJECTS"])
    assert "without seg and sr" in result.issues[0].remedy


def raising(error: Exception):
    def make(*_):
        raise error

    return make


@pytest.mark.parametrize(
    ("formats", "broken", "kept"),
    [
        (("nifti", "seg", "sr"), "make_dicom_seg", {*CaseFolder.MASKS}),
        (("nifti", "seg", "sr"), "make_dicom_sr", {*CaseFolder.MASKS, SEG}),
        (("seg",), "make_dicom_seg", {*CaseFolder.MASKS}),
        (("seg", "sr"), "encode", {*CaseFolder.MASKS}),
    ],
)
def test_a_fault_in_making_an_object_costs_no_other_file(run, options, tmp_path, monkeypatch, formats, broken, kept):
    monkeypatch.setattr(dicom_objects, broken, raising(ValueError("of a library, with PatientName in it")))
    (result,) = segment_cases(run[0] / "chest-dicom", tmp_path, replace(options, formats=formats))
    assert result.status == "done"
    (issue,) = [issue for issue in result.issues if issue.code == "W_NO_DICOM_OBJECTS"]
    assert "ValueError" in issue.message
    assert "PatientName" not in issue.message
    there = {path.name for path in (tmp_path / "chest-dicom").iterdir()}
    assert there == set(result.files) == kept | {CaseFolder.CANDIDATES, "nodules.csv", "report.html", "result.json"}


@pytest.fixture
def counting(monkeypatch):
    """One more format in the table, of masks alone: how many voxels the nodules have."""

    def make(case):
        return {"count.txt": str(int((case.masks.nodules.array > 0).sum())).encode()}

    row = dicom_objects.OutputFormat("count", "count", ("count.txt",), make)
    monkeypatch.setattr(dicom_objects, "OUTPUT_FORMATS", (*dicom_objects.OUTPUT_FORMATS, row))
    monkeypatch.setattr(dicom_objects, "FORMATS", (*dicom_objects.FORMATS, "count"))
    monkeypatch.setattr(export_module, "OBJECTS", (*export_module.OBJECTS, "count"))


def test_export_of_what_refers_to_no_series_asks_for_none(results, counting):
    (path,) = export(results, None, "count")
    assert int(path.read_text()) == (read_labels(results / "nodules.nii.gz").array > 0).sum() > 0
    with pytest.raises(IntakeError, match="E_NO_DICOM_SOURCE"):
        export(results, None, "count,seg", overwrite=True)


def test_a_fault_in_making_dicom_costs_no_file_that_refers_to_no_series(run, counting, monkeypatch):
    folder, (result, *_) = run
    labels, nodules = (read_labels(folder / "out" / "chest-dicom" / name) for name in CaseFolder.MASKS)
    series = find_source_series(folder / "chest-dicom", ReadOptions(), None)
    empty = nodules.with_array(np.zeros_like(nodules.array))
    record, files = dicom_objects.with_objects(result, empty, empty, series, ("seg", "count"))
    assert files == {"count.txt": b"0"}
    assert "W_EMPTY_RESULT" in {issue.code for issue in record.issues}
    monkeypatch.setattr(dicom_objects, "make_dicom_seg", raising(ValueError("of a library")))
    record, files = dicom_objects.with_objects(result, labels, nodules, series, ("seg", "count"))
    assert set(files) == {"count.txt"}
    assert "W_NO_DICOM_OBJECTS" in {issue.code for issue in record.issues}


def test_export_says_by_a_code_that_an_object_could_not_be_made_and_writes_nothing(run, results, monkeypatch):
    before = {path.name for path in results.iterdir()}
    monkeypatch.setattr(dicom_objects, "make_dicom_seg", raising(ValueError("of a library")))
    with pytest.raises(OutputError, match=r"E_NO_DICOM_OBJECTS: .*ValueError"):
        export(results, run[0] / "chest-dicom")
    assert {path.name for path in results.iterdir()} == before


@pytest.mark.parametrize("formats", ["seg", "sr", "nifti,seg"])
def test_dicom_objects_of_a_nifti_are_refused_before_any_model_is_opened(run, tmp_path, monkeypatch, formats):
    monkeypatch.setattr(segment, "open_models", lambda _: pytest.fail("models were opened"))
    source = str(run[0] / "chest-nifti.nii.gz")
    done = CliRunner().invoke(app, ["segment", source, "--out", str(tmp_path / "out"), "--format", formats])
    assert done.exit_code == 3, done.output
    record = json.loads((tmp_path / "out" / "chest-nifti" / "result.json").read_text(encoding="utf-8"))
    assert (record["status"], [issue["code"] for issue in record["issues"]]) == ("refused", ["E_NO_DICOM_SOURCE"])
    again = CliRunner().invoke(app, ["segment", source, "--out", str(tmp_path / "out"), "--format", formats])
    assert "E_OUTPUT_EXISTS" in again.output


def test_one_path_is_one_input(run, options, tmp_path):
    for number, source in enumerate((run[0] / "chest-nifti.nii.gz", str(run[0] / "chest-nifti.nii.gz"))):
        results = segment_cases(source, tmp_path / str(number), options)
        assert [(result.case_id, result.status) for result in results] == [("chest-nifti", "done")]


def test_export_gives_the_dates_of_its_own_time_where_asked(run, results):
    before = datetime.datetime.now().replace(microsecond=0)
    asked = ["export", str(results), "--source", str(run[0] / "chest-dicom"), "--dates"]
    assert CliRunner().invoke(app, [*asked, "now"]).exit_code == 0
    for name in (SEG, SR):
        made = pydicom.dcmread(results / name)
        moment = datetime.datetime.strptime(made.ContentDate + made.ContentTime, "%Y%m%d%H%M%S.%f")
        assert before <= moment <= datetime.datetime.now()
    assert CliRunner().invoke(app, [*asked, "source", "--overwrite"]).exit_code == 0
    assert (results / SEG).read_bytes() == (run[0] / "out" / "chest-dicom" / SEG).read_bytes()
    assert CliRunner().invoke(app, [*asked, "tomorrow"]).exit_code == 2
